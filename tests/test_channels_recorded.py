"""Recorded responses against a direct sum over taps; replay by its statistics; files that cannot be a channel."""

import io
import json
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from channels.recorded import replay
from channels.recording import LARGEST, MEMBERS, Recording, load_recording, save_recording

N, T, F, TAPS = 12, 4, 16, 5
STEP = 40e-6
FREQUENCIES, TIMES = (np.arange(F) - F // 2) * 60e3, np.arange(T) * STEP


def recording(shape=(N, T, TAPS), delays=(TAPS,), step=STEP, seed=0, name="street"):
    rng = np.random.default_rng(seed)
    gains = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return Recording(gains, rng.uniform(1e-6, 3e-6, delays), step, name, {"place": "Rue A"})


def fading(found, order="random", times=TIMES):
    return replay(found, frequencies=FREQUENCIES, times=times, order=order)


def direct(found):
    """sum_m a_m(t) exp(-j 2 pi f (tau_m - tau_0)) in double precision, of mean power 1 over the file. [n, .., T, F]"""
    delays = np.broadcast_to(found.delays, (len(found.gains), found.gains.shape[-1]))
    delays = delays - delays.min(axis=-1, keepdims=True)
    steering = np.exp(-2j * np.pi * delays[:, :, None] * FREQUENCIES)
    response = np.einsum("n...tm,nmf->n...tf", found.gains.astype(np.complex128), steering)
    response = np.broadcast_to(response, (*response.shape[:-2], T, F))
    return response / np.sqrt(np.mean(np.abs(response) ** 2))


@pytest.mark.parametrize(
    ("shape", "delays"),
    [((N, T, TAPS), (TAPS,)), ((N, T, TAPS), (N, TAPS)), ((N, 1, TAPS), (N, TAPS)), ((N, 2, 3, T, TAPS), (N, TAPS))],
    ids=["common delays", "delays of its own", "at rest", "antennas"],
)  # fmt: skip
def test_every_record_is_the_sum_of_its_taps(shape, delays):
    found = recording(shape, delays)
    ours = fading(found).responses(jnp.arange(N))
    # The components may leave out 1e-9 of the power: 3e-5 of the amplitude, and some four times that at one element.
    np.testing.assert_allclose(ours, direct(found), atol=2e-4)
    assert np.mean(np.abs(np.asarray(ours, np.complex128)) ** 2) == pytest.approx(1, rel=1e-6)


def test_few_directions_of_time_and_frequency_hold_a_narrow_channel():
    """Sixty taps of every record's own within a fifth of a microsecond, at rest: no table of 4 x 16 numbers a record."""
    rng = np.random.default_rng(1)
    found = Recording(rng.normal(size=(50, 1, 60)) + 0j, rng.uniform(0, 0.2e-6, (50, 60)))
    table = fading(found).coefficients
    assert table.shape[1] == 1 and table.shape[2] <= 2 * 6
    np.testing.assert_allclose(fading(found).responses(jnp.arange(50)), direct(found), atol=2e-4)


def test_snapshots_between_symbols_are_interpolated():
    """A single tap that turns slowly: gains on the chord between snapshots, the last of which the grid does not reach."""
    turning = np.exp(2j * np.pi * 400 * np.arange(5) * STEP)[None, :, None]
    found = fading(Recording(turning, np.zeros(1), STEP), times=TIMES * 1.25 / 1.5)
    position = np.arange(T) * 1.25 / 1.5
    left = position.astype(int)
    chord = (1 - position + left) * turning[0, left, 0] + (position - left) * turning[0, left + 1, 0]
    chord /= np.sqrt(np.mean(np.abs(chord) ** 2))
    np.testing.assert_allclose(found.responses(jnp.arange(1))[0], np.repeat(chord[:, None], F, 1), atol=1e-5)


def number_of(found, gains):
    """Which record each of the gains is."""
    table = np.asarray(found.responses(jnp.arange(N))).reshape(N, -1)
    gains = np.asarray(gains).reshape(-1, table.shape[1])
    distance = np.abs(gains[:, None] - table[None]).max(axis=-1)
    assert np.all(distance.min(axis=-1) < 1e-5)
    return distance.argmin(axis=-1)


def test_realisations_are_records_drawn_evenly_and_independently():
    found = fading(recording())
    gains = found.gains(jax.random.key(1), (4800, T, F))
    assert gains.shape == (4800, T, F) and gains.dtype == jnp.complex64
    numbers = number_of(found, gains)
    counts = np.bincount(numbers, minlength=N)
    assert np.all(np.abs(counts - 400) <= 4 * np.sqrt(400 * (1 - 1 / N)))
    repeats = np.sum(numbers[1:] == numbers[:-1])
    assert abs(repeats - 4799 / N) <= 4 * np.sqrt(4799 / N * (1 - 1 / N))
    np.testing.assert_array_equal(gains, found.gains(jax.random.key(1), (4800, T, F)))
    assert np.any(numbers[:50] != number_of(found, found.gains(jax.random.key(2), (50, T, F))))


def test_in_sequence_they_follow_each_other_from_a_random_start():
    found = fading(recording(), "sequence")
    starts = set()
    for seed in range(8):
        numbers = number_of(found, found.gains(jax.random.key(seed), (2, 10, T, F)))
        np.testing.assert_array_equal(np.diff(numbers) % N, 1)
        starts.add(numbers[0])
    assert len(starts) > 2


def test_antenna_pairs_of_a_file_belong_together_and_of_another_are_apart():
    together, apart = fading(recording((N, 2, 3, T, TAPS))), fading(recording())
    gains = together.gains(jax.random.key(3), (7, 2, 3, T, F))
    assert gains.shape == (7, 2, 3, T, F)
    number_of(together, gains)
    numbers = number_of(apart, apart.gains(jax.random.key(3), (7, 2, 3, T, F)))
    assert len(numbers) == 42 and len(np.unique(numbers)) > 6
    one = recording((N, 1, 1, T, TAPS))
    assert one.antennas == () and fading(one).gains(jax.random.key(4), (2, T, F)).shape == (2, T, F)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, T, F + 1), r"\[\*batch, 4, 16\] \(symbol, subcarrier\); got one of shape \(5, 4, 17\)"),
        ((F,), r"got one of shape \(16,\)"),
    ],
)
def test_a_signal_of_another_grid_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        fading(recording()).gains(jax.random.key(0), shape)


def test_a_signal_of_other_antennas_is_refused():
    with pytest.raises(ValueError, match=r"\[\*batch, 2, 3, 4, 16\] \(rx, tx, symbol, subcarrier\)"):
        fading(recording((N, 2, 3, T, TAPS))).gains(jax.random.key(0), (5, T, F))


def test_replay_is_clean_under_jit_and_vmap():
    """And the records are data: another file of the same shape compiles nothing."""
    traces = []

    @jax.jit
    def gains(found, keys):
        traces.append(1)
        return jax.vmap(lambda key: found.gains(key, (2, T, F)))(keys)

    keys = jax.random.split(jax.random.key(5), 3)
    first = fading(recording())
    np.testing.assert_allclose(gains(first, keys)[1], first.gains(keys[1], (2, T, F)), atol=1e-5)
    gains(fading(Recording(recording(seed=9).gains, recording().delays, STEP)), keys)
    assert len(traces) == 1


@pytest.mark.parametrize("delays", [(TAPS,), (N, TAPS)])
def test_only_delays_after_the_first_arrival_count(delays):
    """A tap without power is no arrival; a later file of the same records is the same channel."""
    found = recording(delays=delays)
    later = Recording(found.gains, found.delays + 1e-3, STEP)
    np.testing.assert_allclose(later.arrivals, found.arrivals, atol=1e-15)
    gains = np.pad(found.gains, ((0, 0), (0, 0), (0, 1)))
    padded = Recording(gains, np.pad(found.delays, [(0, 0)] * (len(delays) - 1) + [(0, 1)]), STEP)
    assert padded.longest == pytest.approx(found.longest) == np.ptp(found.delays, axis=-1).max()
    np.testing.assert_allclose(
        fading(padded).responses(jnp.arange(N)), fading(found).responses(jnp.arange(N)), atol=1e-5
    )


def test_a_record_without_power_is_an_outage():
    found = recording()
    gains = found.gains.copy()
    gains[3] = 0
    response = np.asarray(fading(Recording(gains, found.delays, STEP)).responses(jnp.arange(N)))
    assert np.all(np.abs(response[3]) < 1e-6) and np.mean(np.abs(response) ** 2) == pytest.approx(1, rel=1e-5)


def test_files_come_back_and_go_by_their_contents(tmp_path):
    found = recording(delays=(N, TAPS))
    path = save_recording(tmp_path / "a.npz", found)
    again = load_recording(path)
    for ours, theirs in ((again.gains, found.gains), (again.delays, found.delays)):
        np.testing.assert_array_equal(ours, theirs)
    assert (again.time_step, again.name, dict(again.metadata)) == (STEP, "street", {"place": "Rue A"})
    other = tmp_path / "b.npz"
    np.savez_compressed(
        other, gains=found.gains.astype(np.complex128), delays=found.delays, time_step=STEP, metadata='{"name": "x"}'
    )  # fmt: skip
    assert load_recording(other).digest == again.digest and load_recording(other).name == "x"
    changed = found.gains.copy()
    changed[0, 0, 0] += 1e-3
    others = [
        Recording(changed, found.delays, STEP), Recording(found.gains, found.delays * 2, STEP),
        Recording(found.gains, found.delays, 2 * STEP),
    ]  # fmt: skip
    assert len({again.digest, *(each.digest for each in others)}) == 4
    assert len(list(tmp_path.iterdir())) == 2  # no partial file stays


GOOD = {"gains": np.ones((N, T, TAPS), np.complex64), "delays": np.zeros(TAPS), "time_step": STEP}


def with_nan(values, index):
    values = values.copy()
    values[index] = np.nan
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gains": np.ones((N, T, TAPS))}, "gains must be complex .record, time, tap.*got float64 of shape"),
        ({"gains": np.ones((N, TAPS), "c8")}, r"gains must be complex.*got complex64 of shape \(12, 5\)"),
        ({"gains": np.ones((0, T, TAPS), "c8")}, "no axis empty"),
        (
            {"delays": np.zeros(TAPS + 1)},
            r"delays must be real.*\(5,\) or \(12, 5\).*got float64 of shape \(6,\)",
        ),
        ({"delays": np.zeros((T, TAPS))}, r"got float64 of shape \(4, 5\)"),
        ({"delays": np.zeros(TAPS, "c8")}, "delays must be real, seconds.*got complex64"),
        (
            {"gains": with_nan(GOOD["gains"], (3, 1, 2))},
            "1 of 12 records are not finite, the first is number 3",
        ),
        (
            {"delays": with_nan(np.zeros((N, TAPS)), 5)},
            "1 of 12 records are not finite, the first is number 5",
        ),
        ({"gains": np.zeros((N, T, TAPS), "c8")}, "all gains are zero"),
        ({"time_step": 0.0}, "4 snapshots a record need a time_step"),
        ({"time_step": -1.0}, "time_step must be a finite number of seconds >= 0; got -1"),
        ({"time_step": np.zeros(2)}, r"time_step must be one number of seconds; got shape \(2,\)"),
        ({"metadata": "[1]"}, "metadata must be a JSON object"),
        ({"metadata": "{"}, "bad.npz: Expecting property name"),
        ({"metadata": json.dumps({"name": "a b/c"})}, "letters, digits and . . - _ only; got 'a b/c'"),
        ({"delays": None}, "has no array delays: a recording needs gains"),
        ({"gains": np.array([{}], object)}, "cannot be read as an .npz of plain arrays"),
    ],
)
def test_files_that_cannot_be_a_channel_are_refused_in_one_line(change, message, tmp_path):
    arrays = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message) as error:
        load_recording(tmp_path / "bad.npz")
    assert "bad.npz" in str(error.value) and "\n" not in str(error.value)


def peak_bytes(action):
    """What `action` has in memory at most, beyond what was there."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_members_that_nobody_needs_are_not_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **GOOD, filler=np.zeros(2**26, np.uint8))
    assert peak_bytes(lambda: load_recording(path)) < 2**21 < 2**26
    np.testing.assert_array_equal(load_recording(path).gains, GOOD["gains"].astype(np.complex64))


@pytest.mark.parametrize("name", ["gains", "delays", "time_step", "metadata"])
def test_arrays_have_a_largest_size(tmp_path, monkeypatch, name):
    assert MEMBERS["gains"] == MEMBERS["delays"] == LARGEST == 2**30
    monkeypatch.setitem(MEMBERS, "gains", 2**20)
    monkeypatch.setitem(MEMBERS, "delays", 2**20)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **{**GOOD, name: np.zeros(2**23, np.complex64)})

    def load():
        with pytest.raises(
            ValueError, match=rf"a.npz cannot be read .*: {name} has 67,108,\d+ bytes, of [\d,]+ at most"
        ):
            load_recording(path)

    assert peak_bytes(load) < 2**21


@pytest.mark.parametrize(("shape", "dtype"), [((2**40, 1, 1), "<c8"), ((3, 1, 1), "<c8"), ((5, 1, 1), "<c8")])
def test_a_header_that_says_another_size_is_refused(tmp_path, shape, dtype):
    """Four numbers are there; memory would be taken for what is said."""
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"shape": shape, "fortran_order": False, "descr": dtype})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("gains.npy", member.getvalue() + bytes(32))

    def load():
        with pytest.raises(ValueError, match=r"gains declares shape \(\d+, 1, 1\), which its bytes are not"):
            load_recording(tmp_path / "a.npz")

    assert peak_bytes(load) < 2**21


def test_metadata_nested_too_deep_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **{**GOOD, "metadata": "[" * 200_000})
    with pytest.raises(ValueError, match=r"a.npz: .*(recursion|Expecting|of 1,048,576)"):
        load_recording(tmp_path / "a.npz")


def test_what_is_no_file_of_arrays_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("gains")
    (tmp_path / "torn.npz").write_bytes(save_recording(tmp_path / "a.npz", recording()).read_bytes()[:500])
    for name in ("text.npz", "torn.npz"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as an .npz of plain arrays"):
            load_recording(tmp_path / name)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(
        ValueError, match="one.npy cannot be read as an .npz of plain arrays: File is not a zip"
    ):
        load_recording(tmp_path / "one.npy")
    with pytest.raises(ValueError, match="there is no recording .*none.npz: `semsim record` makes one"):
        load_recording(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("found", "times", "order", "message"),
    [
        (
            recording(),
            np.arange(T + 1) * STEP,
            "random",
            "4 snapshots each 40 us end before the grid.*at 160 us",
        ),
        (
            recording(),
            TIMES / 1.5,
            "random",
            "snapshots 40 us apart would lose .*% of the power: record them at",
        ),
        (recording(), TIMES, "sorted", "must be random or sequence; got 'sorted'|Actual value: 'sorted'"),
    ],
)
def test_what_does_not_fit_the_grid_is_refused(found, times, order, message):
    with pytest.raises((ValueError, TypeError), match=message):  # checked annotations would speak first
        fading(found, order, times)
