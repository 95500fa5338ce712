"""Recordings of channel models: their statistics, the link over them, what Sionna gives where it is installed."""

import importlib.util
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import j0, ndtr

import channels
import phy
from channels.doppler import doppler_of_speed
from channels.recording import Recording, load_recording
from phy import ResourceGrid
from semsim import record
from semsim.link import Link, fade, random_labels, send_labels, split_keys
from semsim.scenario import Propagation, grid_fading
from semsim.stats import FOUR_SIGMA, ratio_interval

GRID = ResourceGrid(4, 16, 8, subcarrier_spacing=60e3, pilot_ofdm_symbol_indices=(0, 3))
FAST = Propagation(delay_spread=100e-9, speed=150.0)


def assert_mean(samples, expected):
    for part, value in ((samples.real, np.real(expected)), (samples.imag, np.imag(expected))):
        error = np.abs(part.mean(axis=0) - value)
        assert np.all(error <= 4 * part.std(axis=0) / np.sqrt(len(part)) + 1e-6), error.max()


def taps_of(recording):
    """Gains and delays with taps of one delay added up: TDL-E has two such, and the line of sight is one."""
    delays, which = np.unique(recording.delays, return_inverse=True)
    gains = recording.gains.astype(np.complex128) @ np.eye(len(delays))[which]
    return gains, delays


@pytest.mark.parametrize("model", ["tdl-a", "tdl-e"])
def test_our_own_models_are_recorded_tap_by_tap(model, tmp_path):
    """Delay profile, Jakes process on every tap, line of sight at 0.7 of the Doppler shift, independent taps and pairs."""
    found = record.record(model, tmp_path / "r.npz", GRID, records=3000, num_rx=2, propagation=FAST, seed=1)
    assert found.gains.shape[:4] == (3000, 2, 1, GRID.num_ofdm_symbols) and found.name == model
    gains, delays = taps_of(found)
    profile = channels.tdl_profile(model, FAST.delay_spread)
    np.testing.assert_allclose(delays, np.unique(np.append(profile.delays, 0.0)))
    powers = np.array([profile.scattered[profile.delays == delay].sum() for delay in delays])
    correlation = powers * j0(2 * np.pi * doppler_of_speed(150.0, 3.5e9) * GRID.times)[:, None]
    turning = np.exp(2j * np.pi * 0.7 * doppler_of_speed(150.0, 3.5e9) * GRID.times)
    correlation = correlation + (delays == 0) * profile.specular * turning[:, None]
    assert_mean(gains[:, 0, 0] * gains[:, 0, 0, :1].conj(), correlation)
    assert_mean(gains[:, 0, 0] * gains[:, 1, 0].conj(), 0.0)
    assert_mean(gains[:, 0, 0, :, 1:] * gains[:, 0, 0, :, :1].conj(), 0.0)


def test_a_recording_is_determined_by_its_seed_and_says_what_it_is(tmp_path):
    def one(seed, name="a.npz"):
        return record.record("tdl-d", tmp_path / name, GRID, records=5, propagation=FAST, seed=seed)

    first = one(7)
    stored = load_recording(tmp_path / "a.npz")
    assert first.digest == one(7, "b.npz").digest == stored.digest != one(8).digest
    assert stored.time_step == pytest.approx(GRID.times[1])
    assert json.loads(json.dumps(dict(stored.metadata))) == {
        "source": "semsim", "seed": 7, "delay_spread": 1e-7, "speed": 150.0, "carrier_frequency": 3.5e9, "antennas": [1, 1],
    }  # fmt: skip


def test_at_rest_one_snapshot_is_enough(tmp_path):
    still = Propagation(delay_spread=100e-9, speed=0.0)
    found = record.record("tdl-a", tmp_path / "r.npz", GRID, records=5, propagation=still)
    assert found.gains.shape == (5, 1, 23)


def test_long_records_are_left_out_and_counted():
    delays = np.array([[0.0, 1e-6], [2e-6, 5e-6], [0.0, 2e-6]])
    found = record.shorter(Recording(np.ones((3, 1, 2), "c8"), delays, name="umi"), 2e-6)
    np.testing.assert_array_equal(found.delays, delays[[0, 2]])
    assert (found.name, dict(found.metadata)) == ("umi", {"max_delay": 2e-6, "left_out": 1})
    with pytest.raises(
        ValueError, match="all records last longer than 0.5 us, the shortest 1.00 us: allow more"
    ):
        record.shorter(Recording(np.ones((3, 1, 2), "c8"), delays), 0.5e-6)


def test_the_link_over_a_recording_errs_as_the_file_says(tmp_path):
    """QPSK with perfect CSI: the mean of Q(sqrt(|H|^2 / N0)) over records and data positions, of which there are few."""
    record.record("tdl-c", tmp_path / "r.npz", GRID, records=20, propagation=FAST, seed=2)
    fading = grid_fading(f"recorded:{tmp_path / 'r.npz'}", FAST, GRID)
    modulation, noise_var, shape = phy.modulation("qpsk"), 0.2, (4000, GRID.num_data_symbols)

    @jax.jit
    def errors(key):
        key_source, key_fading, key_noise = split_keys(key)
        labels = random_labels(key_source, modulation, shape)
        link = Link(GRID)
        gain = fade(key_fading, link, fading, shape[:1], shape[1])
        decided = send_labels(key_noise, link, labels, modulation, gain, jnp.float32(noise_var))
        return jnp.sum(phy.count_bit_errors(labels, decided), axis=-1)

    found = np.asarray(errors(jax.random.key(3)), np.int64)
    power = np.abs(np.asarray(fading.responses(jnp.arange(20)))[:, GRID.data_mask]) ** 2
    assert np.mean(np.abs(np.asarray(fading.responses(jnp.arange(20)))) ** 2) == pytest.approx(1, rel=1e-5)
    exact = np.mean(ndtr(-np.sqrt(power / noise_var)))
    _, low, high = ratio_interval(
        shape[0], int(found.sum()), float(np.sum(found**2)), 2 * shape[1], FOUR_SIGMA
    )
    assert low < exact < high < 1.3 * low


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "cdl-f"}, "unknown model to record 'cdl-f'; did you mean cdl-.*Choices: tdl-a"),
        ({"records": 0}, "records must be at least 1; got 0"),
        ({"num_tx": 0}, "num_tx must be at least 1; got 0"),
        ({"seed": -1}, "seed must be in"),
        ({"out": Path("nowhere/r.npz")}, "there is no folder nowhere to write r.npz into: make it first"),
    ],
)
def test_impossible_recordings_are_refused(change, message, tmp_path):
    arguments = {"model": "tdl-a", "out": tmp_path / "r.npz", "grid": GRID, **change}
    with pytest.raises(ValueError, match=message):
        record.record(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_without_sionna_its_models_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sionna", None)
    with pytest.raises(ValueError, match="recording umi needs Sionna: pip install 'semsim-jax.sionna.'"):
        record.record("umi", tmp_path / "r.npz", GRID)


needs_sionna = pytest.mark.skipif(
    importlib.util.find_spec("sionna") is None, reason="Sionna is not installed (extra: sionna)"
)


@needs_sionna
@pytest.mark.parametrize(("model", "like"), [("cdl-a", "tdl-a"), ("cdl-b", "tdl-b")])
def test_sionnas_clusters_have_the_powers_of_the_standard(model, like, tmp_path):
    """Tables 7.7.1-1 and 7.7.1-2 of TR 38.901 have the delays and powers of TDL-A and TDL-B, the angles apart."""
    found = record.record(model, tmp_path / "r.npz", GRID, records=600, propagation=FAST, seed=4)
    assert found.gains.shape == (600, 4, 23) and found.name == model
    profile = channels.tdl_profile(like, FAST.delay_spread)
    order = np.argsort(profile.delays)  # in which Sionna has them
    np.testing.assert_allclose(found.delays, profile.delays[order], rtol=1e-5, atol=1e-12)
    gains = found.gains.astype(np.complex128)
    assert_mean(np.mean(np.abs(gains) ** 2, axis=1), profile.scattered[order])
    assert_mean(gains[:, :, 1] * gains[:, :, 0].conj(), 0.0)  # clusters have phases of their own


@needs_sionna
@pytest.mark.parametrize("model", ["umi", "uma"])
def test_sionnas_users_fit_a_prefix_after_a_selection(model, tmp_path):
    prefix = GRID.cyclic_prefix_length / GRID.sample_rate
    path = tmp_path / "r.npz"
    found = record.record(
        model, path, GRID, records=100, num_rx=2, max_delay=prefix, propagation=FAST, seed=5
    )
    assert len(found.gains) + found.metadata["left_out"] == 100 and found.longest <= prefix
    assert found.gains.shape[1:4] == (2, 1, 4) and found.metadata["source"].startswith("sionna 2.")
    replayed = np.asarray(
        grid_fading(f"recorded:{path}", FAST, GRID, (2, 1)).responses(jnp.arange(len(found.gains)))
    )
    assert np.mean(np.abs(replayed) ** 2) == pytest.approx(1, rel=1e-5)
