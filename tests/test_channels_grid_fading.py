"""Grid fading by its statistics: power, delay profile, correlation over frequency and time, envelope, independence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import j0
from scipy.stats import kstest, rayleigh, rice, uniform

import channels
from channels.doppler import doppler_of_speed

T, F, CARRIER = 14, 24, 3.5e9
TIMES = np.arange(T) * (1 + 6 / 72) / 30e3
FREQUENCIES = (np.arange(F) - F // 2) * 90e3
GRID = {"frequencies": FREQUENCIES, "times": TIMES}


def tdl(model, speed=30.0, delay_spread=300e-9, frequencies=FREQUENCIES, times=TIMES):
    return channels.tdl(
        model,
        delay_spread=delay_spread,
        carrier_frequency=CARRIER,
        speed=speed,
        frequencies=frequencies,
        times=times,
    )


def tapped(profile, max_doppler=0.0):
    return channels.tapped(profile, max_doppler=max_doppler, frequencies=FREQUENCIES, times=TIMES)


@functools.partial(jax.jit, static_argnames="shape")
def _gains(fading, key, shape):
    return fading.gains(key, shape)


def draw(fading, n, seed=0):
    return np.asarray(_gains(fading, jax.random.key(seed), (n, *fading.los.shape))).astype(np.complex128)


def assert_mean(samples, expected, sigmas=4.0):
    """The mean over axis 0 of independent complex samples is `expected` within so many standard errors per part."""
    for part, value in ((samples.real, np.real(expected)), (samples.imag, np.imag(expected))):
        error = np.abs(part.mean(axis=0) - value)
        assert np.all(error <= sigmas * part.std(axis=0) / np.sqrt(len(part)) + 1e-6), error.max()


@functools.cache
def members():
    """Every kind of grid fading, padded to one program."""
    flat = [channels.grid_awgn(**GRID), channels.grid_rayleigh(**GRID), channels.grid_rician(5.0, **GRID)]
    return tuple(channels.pad([*flat, *(tdl(model) for model in channels.TDL_MODELS)]))


@pytest.mark.parametrize("index", range(8))
def test_mean_power_is_one_at_every_resource_element(index):
    fading = members()[index]
    elements = np.sum(np.abs(fading.freq_factor) ** 2, axis=0)[None] + np.abs(fading.los) ** 2
    np.testing.assert_allclose(elements, 1, atol=2e-6)
    np.testing.assert_allclose(np.sum(np.asarray(fading.time_factor) ** 2, axis=1), 1, atol=2e-6)
    assert_mean(np.mean(np.abs(draw(fading, 4000)) ** 2, axis=(1, 2)), 1.0)


@pytest.mark.parametrize("model", channels.TDL_MODELS)
def test_power_delay_profile_tap_by_tap(model):
    """Taps are recovered from the frequency response, by least squares on random frequencies over 3 GHz.

    The profile is the standard's; taps of equal delay (two in TDL-E; the specular path) count as one.
    """
    n, frequencies = 3000, np.sort(np.random.default_rng(0).uniform(-1.5e9, 1.5e9, 400))
    profile = channels.tdl_profile(model, 1e-6)
    delays, which = np.unique(np.append(profile.delays, 0.0), return_inverse=True)
    powers = np.bincount(which, np.append(profile.scattered, profile.specular))
    h = draw(tdl(model, delay_spread=1e-6, frequencies=frequencies, times=np.zeros(1)), n)[:, 0]
    steering = np.exp(-2j * np.pi * np.outer(frequencies, delays))
    assert np.linalg.cond(steering) < 10
    taps = np.linalg.lstsq(steering, h.T, rcond=None)[0].T
    assert_mean(np.abs(taps) ** 2, powers)
    # Different taps are uncorrelated. 276 pairs: the largest of them is held to 5 sigma.
    pairs = np.triu_indices(len(delays), 1)
    assert_mean((taps[:, :, None] * taps[:, None, :].conj())[:, pairs[0], pairs[1]], 0.0, sigmas=5.0)


@pytest.mark.parametrize("model", channels.TDL_MODELS)
def test_frequency_correlation_is_the_transform_of_the_profile(model):
    profile = channels.tdl_profile(model, 300e-9)
    h = draw(tdl(model), 8000)[:, 0]
    delta = FREQUENCIES - FREQUENCIES[0]
    expected = profile.specular + np.exp(-2j * np.pi * np.outer(delta, profile.delays)) @ profile.scattered
    assert_mean(h * h[:, :1].conj(), expected)


@pytest.mark.parametrize("speed", [0.0, 3.0, 30.0, 150.0, 400.0])
def test_time_correlation_is_j0_and_quadratures_are_independent(speed):
    fd = doppler_of_speed(speed, CARRIER)
    h = draw(tdl("tdl-a", speed=speed), 12_000)[:, :, 0]
    assert_mean(h * h[:, :1].conj(), j0(2 * np.pi * fd * TIMES))
    assert_mean(h * h[:, :1], 0.0)  # circular: neither quadrature is favoured nor predicts the other
    assert_mean(h.real * h.imag[:, :1], 0.0)


@pytest.mark.parametrize("model", ["tdl-d", "tdl-e"])
def test_line_of_sight_moves_at_0_7_of_the_maximum_doppler(model):
    fd, profile = doppler_of_speed(150.0, CARRIER), channels.tdl_profile(model, 300e-9)
    h = draw(tdl(model, speed=150.0), 8000)[:, :, 0]
    specular = profile.specular * np.exp(2j * np.pi * 0.7 * fd * TIMES)
    assert_mean(h * h[:, :1].conj(), specular + (1 - profile.specular) * j0(2 * np.pi * fd * TIMES))


def test_doppler_spread_is_the_one_asked_for():
    """Root-mean-square width of the Jakes spectrum: fD / sqrt(2); from E|h(t + d) - h(t)|^2 = (2 pi width d)^2."""
    fd, step = doppler_of_speed(100.0, CARRIER), 1e-6
    h = draw(tdl("tdl-b", speed=100.0, times=np.array([0.0, step])), 20_000)[:, :, 0]
    # The share of the increment in the power, 7e-6, is well above the tolerance of the rank, 1e-7.
    assert_mean(np.abs((h[:, 1] - h[:, 0]) / (2 * np.pi * step * fd)) ** 2, 0.5)


def test_envelope_and_phase_without_line_of_sight():
    h = draw(tdl("tdl-c"), 20_000)[:, 3, 5]
    assert kstest(np.abs(h), rayleigh(scale=np.sqrt(0.5)).cdf).pvalue > 6e-5
    assert kstest(np.angle(h), uniform(-np.pi, 2 * np.pi).cdf).pvalue > 6e-5


@pytest.mark.parametrize("model", ["tdl-d", "tdl-e"])
def test_envelope_is_rician_and_phase_uniform_with_line_of_sight(model):
    share = 1 - channels.tdl_profile(model, 0.0).specular
    h = draw(tdl(model), 20_000)[:, 9, 20]
    nu, sigma = np.sqrt(1 - share), np.sqrt(share / 2)
    assert kstest(np.abs(h), rice(nu / sigma, scale=sigma).cdf).pvalue > 6e-5
    assert kstest(np.angle(h), uniform(-np.pi, 2 * np.pi).cdf).pvalue > 6e-5


def test_awgn_is_exactly_one_and_block_fading_is_constant_over_the_grid():
    awgn, block, rician = (draw(fading, 5000) for fading in members()[:3])
    np.testing.assert_array_equal(awgn, 1)
    for h in (block, rician):
        np.testing.assert_allclose(h, np.broadcast_to(h[:, :1, :1], h.shape), atol=1e-6)
    assert kstest(np.abs(block[:, 0, 0]), rayleigh(scale=np.sqrt(0.5)).cdf).pvalue > 6e-5
    k = 10**0.5
    assert_mean(rician[:, 0, 0], np.sqrt(k / (1 + k)))  # specular phase 0
    assert_mean(np.abs(rician[:, 0, 0] - np.sqrt(k / (1 + k))) ** 2, 1 / (1 + k))


def test_standing_still_and_no_spread_are_flat():
    still = draw(tdl("tdl-e", speed=0.0), 10)
    np.testing.assert_allclose(still, np.broadcast_to(still[:, :1], still.shape), atol=1e-6)
    flat = draw(tdl("tdl-a", delay_spread=0.0), 10)
    np.testing.assert_allclose(flat, np.broadcast_to(flat[:, :, :1], flat.shape), atol=2e-6)


def test_realisations_are_independent_across_the_batch():
    h = np.asarray(_gains(tdl("tdl-d"), jax.random.key(1), (3000, 2, T, F))).astype(np.complex128)
    assert_mean(h[:, 0, 0] * h[:, 1, 0].conj(), 0.0)
    assert_mean(h[1:, 0, 0] * h[:-1, 0, 0].conj(), 0.0)


def test_one_compilation_serves_every_member():
    traces = []

    @jax.jit
    def gains(fading, key):
        traces.append(1)
        return fading.gains(key, (2, T, F))

    for fading in members():
        gains(fading, jax.random.key(0))
    assert len(traces) == 1


def test_padding_does_not_change_a_realisation():
    alone = tdl("tdl-a", speed=3.0)
    padded = channels.pad([alone, tdl("tdl-a", speed=150.0)])[0]
    assert padded.time_factor.shape[1] > alone.time_factor.shape[1]
    np.testing.assert_allclose(draw(alone, 50), draw(padded, 50), atol=1e-6)
    assert channels.pad([]) == []


def test_a_stack_of_members_under_vmap_equals_a_loop():
    fadings, key = members(), jax.random.key(2)
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fadings)
    together = jax.jit(jax.vmap(lambda fading: fading.gains(key, (4, T, F))))(stack)
    for fading, h in zip(fadings, together, strict=True):
        np.testing.assert_allclose(h, _gains(fading, key, (4, T, F)), atol=2e-6)


def test_single_realisation_and_vmap_over_keys():
    fading, keys = tdl("tdl-d"), jax.random.split(jax.random.key(3), 5)
    together = jax.jit(jax.vmap(lambda key: fading.gains(key, (T, F))))(keys)
    assert together.shape == (5, T, F)
    for key, h in zip(keys, together, strict=True):
        np.testing.assert_allclose(h, _gains(fading, key, (T, F)), atol=2e-6)


def test_same_key_same_fade_and_keys_are_consumed_once():
    fading = tdl("tdl-d")
    np.testing.assert_array_equal(draw(fading, 3, seed=4), draw(fading, 3, seed=4))
    assert not np.any(np.isclose(draw(fading, 3, seed=4), draw(fading, 3, seed=5)))
    with jax.debug_key_reuse(True):
        jax.block_until_ready(fading.gains(jax.random.key(0), (2, T, F)))


def test_the_program_does_not_grow_with_the_batch():
    def size(batch):
        return len(jax.make_jaxpr(lambda k: tdl("tdl-a").gains(k, (batch, T, F)))(jax.random.key(0)).eqns)

    assert size(1) == size(500)


def test_the_grid_signal_is_faded_element_by_element():
    x = jax.random.normal(jax.random.key(5), (3, T, F), jnp.complex64)
    received = jax.jit(channels.transmit)(jax.random.key(6), tdl("tdl-b"), x, 0.0)
    np.testing.assert_allclose(received.y, np.asarray(received.gain) * np.asarray(x), atol=1e-6)


def test_single_precision_stays_single_when_double_is_enabled():
    with jax.enable_x64(True):
        gain = _gains(tdl("tdl-d"), jax.random.key(0), (2, T, F))
        assert gain.dtype == jnp.complex64


def test_user_errors_say_what_would_do():
    call = {"delay_spread": 1e-7, "carrier_frequency": 3.5e9, "speed": 3.0, **GRID}
    for change, message in (
        ({"delay_spread": -1e-9}, "delay_spread must be a finite number of seconds >= 0.*got -1e-09"),
        ({"delay_spread": float("nan")}, "delay_spread must be a finite number.*got nan"),
        ({"carrier_frequency": 0.0}, "carrier_frequency must be a finite number of hertz > 0.*got 0.0"),
        ({"speed": -3.0}, "speed must be a finite number of metres per second >= 0; got -3.0"),
        ({"speed": float("nan")}, "speed must be a finite number.*got nan"),
        ({"tolerance": 2.0}, "tolerance must be a share of the power.*got 2.0"),
        ({"times": np.zeros(0)}, "times must be a finite, non-empty vector; got shape .0,."),
        ({"frequencies": np.array([0.0, np.nan])}, "frequencies must be a finite, non-empty vector"),
    ):
        with pytest.raises(ValueError, match=message):
            channels.tdl("tdl-a", **{**call, **change})
    with pytest.raises(
        ValueError, match="unknown TDL model 'tdl-f': did you mean 'tdl-[a-e]'.*Choices: tdl-a, "
    ):
        channels.tdl("tdl-f", **call)
    with pytest.raises(ValueError, match="K-factor must be decibels.*got nan"):
        channels.grid_rician(float("nan"), **GRID)


def test_unsuitable_profiles_and_shapes_say_what_would_do():
    doubled = channels.DelayProfile(np.zeros(2), np.ones(2), 0.0)
    with pytest.raises(ValueError, match="must be >= 0 and sum to 1; got a sum of 2: divide by it"):
        tapped(doubled)
    long = channels.DelayProfile(np.zeros(25), np.full(25, 1 / 25), 0.0)
    with pytest.raises(
        ValueError, match="at most 24 taps and one power a delay; got 25 delays and 25 powers"
    ):
        tapped(long)
    lost = channels.DelayProfile(np.array([np.nan]), np.ones(1), 0.0)
    with pytest.raises(ValueError, match="delays of a profile must be finite numbers of seconds; got .nan."):
        tapped(lost)
    good = channels.DelayProfile(np.zeros(1), np.ones(1), 0.0)
    with pytest.raises(ValueError, match="max_doppler must be a finite number of hertz >= 0; got -1.0"):
        tapped(good, max_doppler=-1.0)
    with pytest.raises(
        ValueError, match=r"built for \[\*batch, 14, 24\].*got a signal of shape \(2, 24, 14\)"
    ):
        channels.grid_awgn(**GRID).gains(jax.random.key(0), (2, 24, 14))
    other = channels.grid_awgn(frequencies=FREQUENCIES, times=TIMES[:7])
    with pytest.raises(
        ValueError, match=r"need one grid \[symbol, subcarrier\]; got \[\(7, 24\), \(14, 24\)\]"
    ):
        channels.pad([channels.grid_awgn(**GRID), other])
