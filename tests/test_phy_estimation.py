"""Laws of the least-squares estimate with linear interpolation, and of what it knows of its own error."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.interpolate
import scipy.special

import channels
import phy

GRIDS = {
    "full": phy.ResourceGrid(14, 24, pilot_ofdm_symbol_indices=(11, 2)),
    "comb": phy.ResourceGrid(6, 25, num_guard_carriers=(2, 1), dc_null=True, pilot_ofdm_symbol_indices=(0, 2, 5),
                             pilot_subcarrier_stride=3),
    "one symbol": phy.ResourceGrid(4, 16, pilot_ofdm_symbol_indices=(2,), pilot_subcarrier_stride=5),
    "one pilot": phy.ResourceGrid(3, 8, pilot_ofdm_symbol_indices=(1,), pilot_subcarrier_stride=8),
}  # fmt: skip
over_grids = pytest.mark.parametrize("name", GRIDS)


def plane(grid: phy.ResourceGrid, name: str) -> np.ndarray:
    """A gain linear in time and in frequency, as far as the pilots can see such a slope. [t, f]"""
    t, f = np.arange(grid.num_ofdm_symbols)[:, None], np.arange(grid.fft_size)[None, :]
    in_time = 0.0 if name.startswith("one") else 1.0
    in_frequency = 0.0 if name == "one pilot" else 1.0
    slope_t, slope_f = in_time * (0.03 - 0.05j), in_frequency * (0.02 + 0.01j)
    return (1.0 + 0.5j) + slope_t * t + slope_f * f + 0.7 * slope_t * slope_f * t * f


@over_grids
def test_exact_on_a_linear_gain(name: str) -> None:
    grid = GRIDS[name]
    gain = plane(grid, name)
    x = phy.place(grid, jnp.ones(grid.num_data_symbols, jnp.complex64))
    estimate = phy.ls_estimate(grid, x * jnp.asarray(gain, jnp.complex64), 0.0)
    np.testing.assert_allclose(estimate.gain, gain, atol=5e-6)
    assert estimate.gain.dtype == jnp.complex64 and estimate.error_var.dtype == jnp.float32
    assert not np.any(estimate.error_var)


@over_grids
def test_error_variance_is_the_measured_one(name: str) -> None:
    grid, noise_var, frames = GRIDS[name], 0.3, 4096
    gain = jnp.asarray(plane(grid, name), jnp.complex64)
    noise = jax.random.normal(jax.random.key(7), (frames, *gain.shape), jnp.complex64)
    y = phy.place(grid, jnp.ones(grid.num_data_symbols, jnp.complex64)) * gain
    estimate = jax.jit(lambda y: phy.ls_estimate(grid, y, noise_var))(y[None] + np.sqrt(noise_var) * noise)
    error = np.abs(np.asarray(estimate.gain - gain[None])) ** 2
    said = np.asarray(estimate.error_var)[0]
    deviations = (error.mean(0) - said) / (said / np.sqrt(frames))  # |complex normal|^2 is exponential
    # One noise sample reaches many elements, so the worst deviation is that of about as many draws as there are pilots.
    assert np.max(np.abs(deviations)) < 4.5
    np.testing.assert_allclose(said[grid.pilot_mask], noise_var, rtol=1e-5)


SPREAD, CARRIER = 300e-9, 3.5e9
FADING_GRIDS = {
    "full": phy.ResourceGrid(14, 24, 4, pilot_ofdm_symbol_indices=(11, 2)),
    "comb": phy.ResourceGrid(6, 25, 4, num_guard_carriers=(2, 1), dc_null=True, pilot_ofdm_symbol_indices=(0, 2, 5),
                             pilot_subcarrier_stride=3),
}  # fmt: skip


def fading(grid: phy.ResourceGrid, model: str, speed: float, tolerance: float = 1e-7) -> channels.GridFading:
    axes = {"frequencies": grid.frequencies, "times": grid.times}
    if model == "awgn":
        return channels.grid_awgn(**axes)
    return channels.tdl(
        model, delay_spread=SPREAD, carrier_frequency=CARRIER, speed=speed, tolerance=tolerance, **axes
    )


def lines_between(grid: phy.ResourceGrid, gain: np.ndarray) -> np.ndarray:
    """SciPy's piecewise line through the pilots of gains [.., t, f], in frequency and then in time."""
    symbols = np.sort(grid.pilot_ofdm_symbol_indices)
    through = functools.partial(scipy.interpolate.interp1d, fill_value="extrapolate")
    rows = through(grid.pilot_subcarriers, gain[..., symbols, :][..., grid.pilot_subcarriers])(
        np.arange(grid.fft_size)
    )
    return through(symbols, rows, axis=-2)(np.arange(grid.num_ofdm_symbols))


@pytest.mark.parametrize("speed", [3.0, 30.0, 120.0])
@pytest.mark.parametrize("model", ["tdl-a", "tdl-c", "tdl-d"])
@pytest.mark.parametrize("name", FADING_GRIDS)
def test_the_error_of_interpolation_is_that_of_jakes_and_the_delay_profile(
    name: str, model: str, speed: float
) -> None:
    """W R W^H in float64 with R = J0(2 pi fD dt) x sum of p exp(-j 2 pi df tau), and the line of sight at 0.7 fD."""
    grid = FADING_GRIDS[name]
    places = grid.num_ofdm_symbols * grid.fft_size
    units = np.eye(places).reshape(-1, grid.num_ofdm_symbols, grid.fft_size)
    wrong = (lines_between(grid, units) - units).reshape(places, places).T  # [place, pilot at]
    doppler = speed * CARRIER / 299_792_458
    profile = channels.tdl_profile(model, SPREAD)
    in_time = scipy.special.j0(2 * np.pi * doppler * np.subtract.outer(grid.times, grid.times))
    steering = np.exp(-2j * np.pi * np.outer(grid.frequencies, profile.delays))
    scattered = np.kron(in_time, (steering * profile.scattered) @ steering.conj().T)
    sight = np.sqrt(profile.specular) * np.repeat(
        np.exp(2j * np.pi * 0.7 * doppler * grid.times), grid.fft_size
    )
    expected = np.sum((wrong @ scattered) * wrong, axis=1).real + np.abs(wrong @ sight) ** 2
    found = phy.ls_filter(grid, channels.waveforms(fading(grid, model, speed, 1e-12))).stray
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-3, atol=1e-10)
    assert np.max(np.asarray(found)[grid.pilot_mask]) < 1e-12


@pytest.mark.parametrize("noise_var", [1e-5, 0.05])
@pytest.mark.parametrize("speed", [3.0, 30.0, 120.0])
@pytest.mark.parametrize("model", ["tdl-a", "tdl-b", "tdl-c", "tdl-d", "tdl-e"])
def test_error_variance_is_the_measured_one_over_fading(model: str, speed: float, noise_var: float) -> None:
    """|estimate - gain|^2 of real draws at every resource element, with noise and without much of it."""
    grid, frames = FADING_GRIDS["full"], 1024
    drawn, _ = channels.pad([fading(grid, model, speed), fading(grid, model, 120.0)])  # all of one shape
    known = phy.ls_filter(grid, channels.waveforms(drawn))
    error, said = squared_error(drawn, known, jax.random.key(5), frames, jnp.float32(noise_var))
    error, said = np.asarray(error, np.float64), np.broadcast_to(said, error.shape)[0]
    deviations = (error.mean(0) - said) / (error.std(0) / np.sqrt(frames))
    assert np.max(np.abs(deviations)) < 4.5  # the worst of 336 places
    whole = error.mean((1, 2))
    assert abs(whole.mean() - said.mean()) < 4 * whole.std() / np.sqrt(frames)


@functools.partial(jax.jit, static_argnums=3)
def squared_error(drawn, known, key, frames, noise_var):
    grid = FADING_GRIDS["full"]
    key_gain, key_noise = jax.random.split(key)
    gain = drawn.gains(key_gain, (frames, grid.num_ofdm_symbols, grid.fft_size))
    x = phy.place(grid, jnp.ones(grid.num_data_symbols, jnp.complex64))[None]
    estimate = phy.ls_estimate(grid, channels.awgn(key_noise, gain * x, noise_var), noise_var, known)
    return jnp.abs(estimate.gain - gain) ** 2, estimate.error_var


def test_a_gain_without_bends_adds_nothing() -> None:
    """Over AWGN and block fading error_var is that of the noise, to the last bit."""
    grid = GRIDS["full"]
    axes = {"frequencies": grid.frequencies, "times": grid.times}
    y = jax.random.normal(jax.random.key(1), (14, 24), jnp.complex64)
    for flat in (
        channels.grid_awgn(**axes),
        channels.grid_rayleigh(**axes),
        channels.grid_rician(3.0, **axes),
    ):
        known = phy.ls_filter(grid, channels.waveforms(flat))
        found, plain = (phy.ls_estimate(grid, y, 1e-9, what) for what in (known, None))
        np.testing.assert_array_equal(found.error_var, plain.error_var)
        np.testing.assert_array_equal(found.gain, plain.gain)


def test_lines_continue_beyond_the_outermost_pilots() -> None:
    """Two pilot symbols 2 and 11: weights (11 - t) / 9 and (t - 2) / 9 at every t, also outside [2, 11]."""
    grid = GRIDS["full"]
    y = np.zeros((14, 24), np.complex64)
    first, second = np.random.default_rng(0).normal(size=(2, 24))
    y[2], y[11] = first * grid.pilots[:24], second * grid.pilots[24:]
    t = np.arange(14)[:, None]
    expected = ((11 - t) * first + (t - 2) * second) / 9
    estimate = phy.ls_estimate(grid, jnp.asarray(y), 1.0)
    np.testing.assert_allclose(estimate.gain, expected, atol=3e-6)
    np.testing.assert_allclose(
        estimate.error_var[:, 0], (((11 - t) / 9) ** 2 + ((t - 2) / 9) ** 2)[:, 0], rtol=1e-5
    )


def test_frames_are_independent_and_noise_may_differ() -> None:
    grid = GRIDS["comb"]
    y = jax.random.normal(jax.random.key(1), (3, 6, 25), jnp.complex64)
    noise_var = jnp.array([0.1, 0.2, 0.4]).reshape(3, 1, 1)
    whole = phy.ls_estimate(grid, y, noise_var)
    mapped = jax.vmap(lambda y, n: phy.ls_estimate(grid, y, n))(y, noise_var[:, 0, 0])
    for i in range(3):
        alone = phy.ls_estimate(grid, y[i], float(noise_var[i, 0, 0]))
        np.testing.assert_allclose(whole.gain[i], alone.gain, atol=1e-6)
        np.testing.assert_allclose(whole.error_var[i], alone.error_var, rtol=1e-6)
    np.testing.assert_allclose(whole.gain, mapped.gain, atol=1e-6)
    np.testing.assert_allclose(whole.error_var, mapped.error_var, rtol=1e-6)


def test_a_quarter_rotation_of_the_channel_rotates_the_estimate() -> None:
    grid = GRIDS["comb"]
    y = jax.random.normal(jax.random.key(2), (6, 25), jnp.complex64)
    rotated = phy.ls_estimate(grid, 1j * y, 0.1).gain
    np.testing.assert_allclose(rotated, 1j * phy.ls_estimate(grid, y, 0.1).gain, atol=1e-6)


def test_errors() -> None:
    y = jnp.ones((3, 8), jnp.complex64)
    with pytest.raises(ValueError, match="needs pilots: set pilot_ofdm_symbol_indices"):
        phy.ls_estimate(phy.ResourceGrid(3, 8), y, 0.1)
    with pytest.raises(ValueError, match=r"last two axes must be \(3, 8\)"):
        phy.ls_estimate(GRIDS["one pilot"], y.T, 0.1)
    with pytest.raises(ValueError, match="LS estimation needs pilots"):
        phy.ls_filter(phy.ResourceGrid(3, 8), [np.ones((1, 3, 8), complex)])
    with pytest.raises(
        ValueError, match=r"waveforms of this grid are \[n, \(3, 8\)\]; got shape \(1, 8, 3\)"
    ):
        phy.ls_filter(GRIDS["one pilot"], [np.ones((1, 8, 3), complex)])
    with pytest.raises(ValueError, match=r"was built for \(3, 1\) .symbol, subcarrier.; got \(3, 8\)"):
        phy.ls_estimate(GRIDS["one pilot"], y, 0.1, phy.LsFilter(jnp.zeros((3, 1))))
    with pytest.raises(ValueError, match="one number per frame"):
        phy.ls_estimate(GRIDS["one pilot"], y, jnp.ones((3, 8)))
