"""Channels by name: recordings and dialects among them, what they are called in results, what is refused."""

from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.interpolate import interp1d

from channels import GridFading
from channels.dialects import DIALECTS, DialectFading
from channels.recorded import Recorded
from channels.recording import Recording, save_recording
from phy import ResourceGrid
from semsim.conventions import check_overlay
from semsim.interference import InterferenceWarning
from semsim.plot import error_rate_figure
from semsim.runs import Run
from semsim.scenario import (
    CHANNELS,
    Propagation,
    channel_identity,
    check_channel,
    dialect_convention,
    dialect_of,
    flat_fading,
    grid_fading,
    grid_fadings,
    needs_grid,
    pilot_filters,
    textbook_row,
)
from semsim.sweep import Totals, count_sums, draw_id

GRID = ResourceGrid(4, 16, 8, subcarrier_spacing=60e3, pilot_ofdm_symbol_indices=(0, 3))
PREFIX = 8 / (16 * 60e3)
PLAIN = Propagation()


def file_of(folder, name="street", longest=1e-6, antennas=(), number=0):
    rng = np.random.default_rng(number)
    gains = rng.normal(size=(6, *antennas, 1, 3)) + 0j
    return save_recording(folder / f"{number}.npz", Recording(gains, np.array([0, 0, longest]), name=name))


def test_recordings_and_dialects_are_channels(tmp_path):
    recorded = f"recorded:{file_of(tmp_path)}"
    for name in (*CHANNELS, recorded, *(f"dialect:{each}" for each in DIALECTS)):
        assert check_channel(name) == name
        assert needs_grid(name) == (name.startswith("tdl-") or name == recorded)
    assert dialect_of("dialect:deepsc") == "deepsc" and dialect_of("rayleigh") is dialect_of(recorded) is None
    assert flat_fading("dialect:kaira", PLAIN) == DialectFading("kaira")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tdl-f", "unknown channel 'tdl-f'; did you mean tdl-.*Choices: awgn.*recorded:FILE"),
        (
            "dialect:swinjsc",
            "unknown channel 'dialect:swinjsc'; did you mean dialect:swinjscc.*dialect:kaira",
        ),
        ("dialect:", "unknown channel 'dialect:'"),
        ("recorded:none.npz", "there is no recording none.npz"),
        ("recorded:", "[.] cannot be read as an .npz|there is no recording"),
    ],
)
def test_unknown_channels_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        check_channel(name)


def test_fadings_of_one_grid_keep_their_order_and_share_what_they_can(tmp_path):
    names = ["tdl-a", f"recorded:{file_of(tmp_path)}", "awgn", "tdl-d"]
    fast = Propagation(speed=100.0)
    found = grid_fadings(names, fast, GRID)
    assert [type(fading) for fading in found] == [GridFading, Recorded, GridFading, GridFading]
    shapes = {fading.time_factor.shape for fading in found if isinstance(fading, GridFading)}
    assert len(shapes) == 1
    shape = (5, GRID.num_ofdm_symbols, GRID.fft_size)
    for name, fading in zip(names, found, strict=True):
        alone = grid_fading(name, fast, GRID)
        np.testing.assert_allclose(
            fading.gains(jax.random.key(1), shape), alone.gains(jax.random.key(1), shape), atol=1e-6
        )
    assert grid_fadings([], fast, GRID) == []


def test_a_recording_goes_by_its_name_and_contents(tmp_path):
    """Not by its path: a copy elsewhere meets the same draws; other contents under the same path are another channel."""
    path = file_of(tmp_path)
    copy = tmp_path / "elsewhere.npz"
    copy.write_bytes(path.read_bytes())
    identity = channel_identity(f"recorded:{path}", PLAIN)
    assert identity == channel_identity(f"recorded:{copy}", Propagation(speed=99.0))
    assert identity["channel"].startswith("recorded:street@") and str(tmp_path) not in identity["channel"]
    path.write_bytes(Path(file_of(tmp_path, number=1)).read_bytes())
    changed = channel_identity(f"recorded:{path}", PLAIN)
    assert changed != identity and draw_id(changed, 3.0) != draw_id(identity, 3.0)
    assert channel_identity("dialect:deepsc", PLAIN) == {"channel": "dialect:deepsc"}


def test_what_does_not_fit_the_grid_is_refused(tmp_path):
    long = f"recorded:{file_of(tmp_path, longest=1.01 * PREFIX)}"
    with pytest.raises(ValueError, match="lasts 8.42 us, longer than the cyclic prefix of 8.33 us: lengthen"):
        grid_fading(long, PLAIN, GRID)
    grid_fading(f"recorded:{file_of(tmp_path, longest=0.99 * PREFIX, number=1)}", PLAIN, GRID)
    pair = f"recorded:{file_of(tmp_path, antennas=(2, 1), number=2)}"
    with pytest.raises(ValueError, match="recorded with 2 x 1 antennas .rx x tx.; the link has 1 x 1"):
        grid_fading(pair, PLAIN, GRID)
    fading = grid_fading(pair, PLAIN, GRID, (2, 1))
    assert fading.gains(jax.random.key(0), (3, 2, 1, 4, 16)).shape == (3, 2, 1, 4, 16)
    with pytest.raises(ValueError, match="dialect:deepsc is a channel for symbols sent one after the other"):
        grid_fading("dialect:deepsc", PLAIN, GRID)


def test_ls_is_told_the_error_of_interpolation_of_a_recording(tmp_path):
    """The mean over records and antenna pairs of |line - response|^2, at mean power 1, by NumPy and SciPy from the file."""
    rng = np.random.default_rng(3)
    gains = rng.normal(size=(7, 2, 1, 14, 3, 2)) @ [1, 1j] * [1, 0.5, 0.2]
    gains[:, 1] *= 3  # antennas of unequal strength
    grid = ResourceGrid(14, 24, 8, pilot_ofdm_symbol_indices=(2, 11), pilot_subcarrier_stride=3)
    delays = np.array([0, 1e-6, 3e-6])
    recording = Recording(gains, delays, time_step=grid.times[1], name="street")
    path = save_recording(tmp_path / "r.npz", recording)
    fast = Propagation(allow_ici=True)  # its gains are drawn anew for each symbol
    with pytest.warns(InterferenceWarning, match="14 % of the power"):
        (fading,) = grid_fadings([f"recorded:{path}"], fast, grid, (2, 1))
    (known,) = pilot_filters("ls", [f"recorded:{path}"], [fading], fast, grid)
    response = gains @ np.exp(-2j * np.pi * np.outer(delays, grid.frequencies))
    rows = interp1d(grid.pilot_subcarriers, response[..., [2, 11], ::3], fill_value="extrapolate")(
        np.arange(24)
    )
    lines = interp1d([2, 11], rows, axis=-2, fill_value="extrapolate")(np.arange(14))
    stray = np.mean(np.abs(lines - response) ** 2, axis=(0, 1, 2)) / np.mean(np.abs(response) ** 2)
    np.testing.assert_allclose(known.stray, stray, rtol=1e-3, atol=1e-6)
    assert stray.max() > 1


def test_what_receivers_know_of_their_channels(tmp_path):
    names, axes = ["tdl-a", "awgn"], (Propagation(speed=90.0), GRID)
    fadings = grid_fadings(names, *axes)
    assert pilot_filters("perfect", names, fadings, *axes) == [None, None]
    bent, straight = pilot_filters("ls", names, fadings, *axes)
    assert np.max(bent.stray) > 1e-5 and not np.any(straight.stray)
    recorded = f"recorded:{file_of(tmp_path)}"
    with pytest.raises(ValueError, match="csi lmmse needs the covariance of the channel, which recorded:"):
        pilot_filters("lmmse", [recorded], grid_fadings([recorded], *axes), *axes)


def a_run(folder, channels):
    conventions = {"snr": "Es/N0", "normalisation": "E|h|^2 = 1", **dialect_convention(channels)}
    label = {"modulation": "qpsk", "csi": "perfect", "demap": "nearest", "ebno_db": 7.0, "esno_db": 10.0}
    lines = [
        {
            "point": {**label, "channel": channel}, "batch": 0,
            "sums": {"ber": count_sums(np.full(64, 20), 512)}, "parts": {},
        } for channel in channels
    ]  # fmt: skip
    return Run(Path(folder), {"command": "ber", "conventions": conventions}, Totals(lines))


def test_a_figure_speaks_one_dialect():
    ours, theirs = a_run("ours", ["rayleigh"]), a_run("theirs", ["dialect:swinjscc"])
    assert dialect_convention(["rayleigh", "tdl-a"]) == dialect_convention(["dialect:textbook"]) == {}
    assert dialect_convention(["awgn", "dialect:kaira", "dialect:deepsc"]) == {
        "dialect": "deepsc, kaira, textbook"
    }
    check_overlay([ours, a_run("more", ["awgn"])])
    check_overlay([theirs, a_run("more", ["dialect:swinjscc"])])
    with pytest.raises(
        ValueError, match="ours and theirs do not share a figure: .*dialect differs.*'swinjscc'"
    ):
        check_overlay([ours, theirs])
    with pytest.raises(ValueError, match="do not share a figure.*'deepsc'"):
        check_overlay([theirs, a_run("more", ["dialect:deepsc"])])


def test_rows_of_a_dialect_can_be_said_in_the_textbooks_words():
    """The label corrected, a curve lies in the panel of the textbook channel; counts and intervals stay."""
    (row,) = a_run("theirs", ["dialect:deepsc"]).rows()
    converted = textbook_row(row)
    assert (converted["channel"], converted["esno_db"], converted["ebno_db"]) == (
        "rayleigh-block",
        13.0103,
        10.0103,
    )
    assert {
        **row,
        **{key: converted[key] for key in ("channel", "esno_db", "ebno_db")},
        "dialect": "deepsc",
    } == converted
    (ours,) = a_run("ours", ["rayleigh-block"]).rows()
    assert textbook_row(ours) == ours
    figure = error_rate_figure([ours, converted])
    assert [axes.get_title() for axes in figure.axes] == ["rayleigh-block"]
    (rician,) = a_run("theirs", ["dialect:deepsc-rician"]).rows()
    assert (textbook_row(rician)["channel"], textbook_row(rician)["k_db"]) == ("rician-block", 0.0)
    with pytest.raises(ValueError, match="no shift turns chunbaobao into a textbook channel"):
        textbook_row(a_run("theirs", ["dialect:chunbaobao"]).rows()[0])
