"""Laws of the least-squares estimate with linear interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    with pytest.raises(ValueError, match="one number per frame"):
        phy.ls_estimate(GRIDS["one pilot"], y, jnp.ones((3, 8)))
