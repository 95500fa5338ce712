"""The tables of TR 38.901 by the laws the standard gives them, and against Sionna's copy where it is installed."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import channels


def second_moment(profile):
    delays, powers = np.append(profile.delays, 0.0), np.append(profile.scattered, profile.specular)
    return np.sqrt(np.sum(powers * delays**2) - np.sum(powers * delays) ** 2)


@pytest.mark.parametrize(
    ("model", "taps"), [("tdl-a", 23), ("tdl-b", 23), ("tdl-c", 24), ("tdl-d", 13), ("tdl-e", 14)]
)
def test_profile_has_unit_power_and_the_delay_spread_asked_for(model, taps):
    """The tables are normalised to a root-mean-square delay spread of 1 (TDL-D: 0.994) including the specular path."""
    profile = channels.tdl_profile(model, 100e-9)
    assert profile.delays.shape == profile.scattered.shape == (taps,) and profile.delays.dtype == np.float64
    assert profile.scattered.sum() + profile.specular == pytest.approx(1, abs=1e-12)
    assert profile.delays.min() == 0
    assert second_moment(profile) == pytest.approx(100e-9, rel=7e-3 if model == "tdl-d" else 3e-4)


@pytest.mark.parametrize(
    ("model", "k_db"), [("tdl-a", None), ("tdl-b", None), ("tdl-c", None), ("tdl-d", 13.3), ("tdl-e", 22.0)]
)
def test_first_tap_of_d_and_e_is_rician_with_the_k_factor_of_the_standard(model, k_db):
    profile = channels.tdl_profile(model, 1.0)
    if k_db is None:
        assert profile.specular == 0
    else:
        assert 10 * np.log10(profile.specular / profile.scattered[0]) == pytest.approx(k_db, abs=1e-9)


def test_delays_scale_with_the_spread_and_powers_do_not():
    small, large = channels.tdl_profile("tdl-c", 30e-9), channels.tdl_profile("tdl-c", 300e-9)
    np.testing.assert_allclose(10 * small.delays, large.delays, rtol=1e-12)
    np.testing.assert_array_equal(small.scattered, large.scattered)
    assert not channels.tdl_profile("tdl-c", 0.0).delays.any()


@pytest.mark.parametrize("model", channels.TDL_MODELS)
def test_tables_equal_sionnas(model):
    spec = importlib.util.find_spec(
        "sionna"
    )  # found, not imported: its files are read, PyTorch is not needed
    if spec is None:
        pytest.skip("sionna-no-rt is not installed (extra `sionna`)")
    folder = Path(list(spec.submodule_search_locations or [])[0]) / "phy/channel/tr38901/models"
    files = sorted(folder.rglob(f"{model.upper()}.json"))
    assert files, f"no {model} under {folder}"
    ours = channels.tdl_profile(model, 1.0)
    for file in files:
        theirs = json.loads(file.read_text())
        powers = 10 ** (np.array(theirs["powers"], np.float64) / 10)
        first = theirs["los"]  # 1: the first entry is the specular path
        np.testing.assert_allclose(ours.delays, theirs["delays"][first:], atol=1e-12)
        np.testing.assert_allclose(ours.scattered, powers[first:] / powers.sum(), rtol=1e-12)
        assert ours.specular == pytest.approx(powers[0] / powers.sum() if first else 0.0)


def test_user_errors_say_what_would_do():
    with pytest.raises(
        ValueError, match="unknown TDL model 'TDL_B': did you mean 'tdl-b'.*tdl-a, tdl-b, tdl-c"
    ):
        channels.tdl_profile("TDL_B", 1e-7)
    for bad in (-1e-9, float("nan"), float("inf")):
        with pytest.raises(
            ValueError, match=f"delay_spread must be a finite number of seconds >= 0.*got {bad}"
        ):
            channels.tdl_profile("tdl-a", bad)
