"""Channels too fast for their subcarriers: said, kept in the rows, refused; and nothing else changes."""

import json
from dataclasses import replace

import numpy as np
import pytest

import channels
from semsim import record
from semsim.cli import main
from semsim.error_rates import GRID, ber, sweep
from semsim.interference import InterferenceWarning
from semsim.resume import differences
from semsim.scenario import Propagation, channel_identity, grid_fading, ici_power, interference
from semsim.sweep import draw_id

NARROW = replace(GRID, subcarrier_spacing=15e3)
TRAIN = Propagation(speed=139.0, carrier_frequency=5.9e9)
POINT = ("ber", "--modulation", "qam16", "--channel", "tdl-c", "--ebno-db", "30", "--max-bits", "1e4",
         "--grid.subcarrier-spacing", "15000", "--carrier-frequency", "5.9e9")  # fmt: skip


def test_the_command_line_says_it_on_stderr_and_in_the_row(capsys):
    assert main([*POINT, "--speed", "139", "--json"]) == 0
    out, err = capsys.readouterr()
    assert {row["ici_sir_db"] for row in map(json.loads, out.splitlines())} == {12.53}
    (line,) = [line for line in err.splitlines() if "interference" in line]
    assert line.startswith(
        "semsim: warning: tdl-c at 139 m/s and 5.9 GHz turns 5.3 % of the power into interference"
    )
    assert "15 kHz apart (signal to interference 12.5 dB), which is not simulated" in line


def test_above_a_tenth_it_is_refused_unless_allowed(capsys):
    assert main([*POINT, "--speed", "200"]) == 2
    err = capsys.readouterr().err
    assert "turns 11 % of the power" in err and "or allow it with --allow-ici" in err and err.count("\n") == 1
    fast = replace(TRAIN, speed=200.0)
    with pytest.raises(
        ValueError, match="not simulated: take a wider subcarrier spacing or a slower channel"
    ):
        grid_fading("tdl-c", fast, NARROW)
    with pytest.warns(InterferenceWarning, match="turns 11 % of the power"):
        grid_fading("tdl-c", replace(fast, allow_ici=True), NARROW)


def test_where_it_begins():
    """1 % is fD T = 0.0785 by the first terms of the Jakes integral; the tests make a warning an error."""
    for turns, share in ((0.0775, None), (0.0795, 0.01)):
        speed = turns * 15e3 * 299_792_458 / 5.9e9
        moving = replace(TRAIN, speed=speed)
        if share is None:
            grid_fading("tdl-c", moving, NARROW)
            assert interference(["tdl-c"], moving, NARROW) == {}
        else:
            with pytest.warns(InterferenceWarning, match="turns 1 % of the power"):
                grid_fading("tdl-c", moving, NARROW)
    for name in ("awgn", "rayleigh-block", "rician-block", "rayleigh"):  # no Doppler, whatever the speed
        assert ici_power(name, replace(TRAIN, speed=1e4), NARROW) == 0.0
    assert ici_power("tdl-d", TRAIN, NARROW) < ici_power(
        "tdl-a", TRAIN, NARROW
    )  # its line of sight moves at 0.7 fD


def test_only_the_rows_of_the_channels_concerned_have_it():
    with pytest.warns(InterferenceWarning):
        found = ber("qpsk", ["tdl-c", "rayleigh"], [10.0], max_bits=1, propagation=TRAIN, grid=NARROW)
    said = {row["channel"]: row.get("ici_sir_db") for row in found.rows()}
    assert said == {"tdl-c": 12.53, "rayleigh": None}


def test_a_permission_changes_neither_draws_nor_the_settings_of_a_run():
    """The number of the draws of a point is that of versions that had no such option, and their runs can be resumed."""
    identity = channel_identity("tdl-c", replace(TRAIN, allow_ici=True))
    assert identity == {"channel": "tdl-c", "delay_spread": 1e-7, "carrier_frequency": 5.9e9, "speed": 139.0}
    assert draw_id(channel_identity("tdl-a", Propagation()), 10.0) == 15342376794819217471
    with pytest.warns(InterferenceWarning):
        config = sweep("qpsk", "tdl-c", [10.0], propagation=TRAIN, grid=NARROW).config
    older = json.loads(json.dumps(config))
    del older["interference"], older["propagation"]["allow_ici"]
    assert differences(older, json.loads(json.dumps(config))) == {}
    slow = sweep("qpsk", "tdl-c", [10.0]).config
    assert "interference" not in slow and slow["propagation"]["allow_ici"] is False


def test_recordings_and_what_is_recorded(tmp_path):
    path = tmp_path / "train.npz"
    with pytest.warns(InterferenceWarning, match="tdl-c at 139 m/s"):
        made = record.record("tdl-c", path, NARROW, records=400, propagation=TRAIN)
    with pytest.warns(InterferenceWarning, match="recorded:.*train.npz turns 5.* % of the power"):
        grid_fading(f"recorded:{path}", Propagation(), NARROW)
    assert channels.recorded_ici_power(made, 1 / 15e3) == pytest.approx(0.053, rel=0.1)
    (rows,) = interference([f"recorded:{path}"], Propagation(), NARROW)["interference"].values()
    assert rows["ici_sir_db"] == pytest.approx(12.5, abs=0.5)
    with pytest.raises(ValueError, match="turns .* % of the power"):
        record.record("tdl-c", path, NARROW, records=1, propagation=replace(TRAIN, speed=250.0))
    assert np.array_equal(channels.load_recording(path).gains, made.gains)
