"""Laws of LMMSE channel estimation: the dense float64 solution, its error variance, never worse than LS."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import channels
import phy
from channels.covariance import covariance
from phy.lmmse_estimation import lmmse_estimate
from phy.pilot_filter import PilotFilter, lmmse_filter, pad_filters, robust_filter

GRIDS = {
    "full": phy.ResourceGrid(7, 24, cyclic_prefix_length=4, pilot_ofdm_symbol_indices=(5, 1)),
    "comb": phy.ResourceGrid(6, 25, cyclic_prefix_length=3, num_guard_carriers=(2, 1), dc_null=True,
                             pilot_ofdm_symbol_indices=(0, 2, 5), pilot_subcarrier_stride=3),
}  # fmt: skip
LONG = phy.ResourceGrid(120, 4, cyclic_prefix_length=1, pilot_ofdm_symbol_indices=tuple(range(1, 120, 2)))
"""Far more pilot symbols than a gain of 5 ms has time modes."""
FRAMES = 48  # of the one shape that every test uses; no fewer than there are pilots
NOISE = (10.0, 0.1, 1e-3, 1e-5)
MAX_DOPPLER = 800.0
KNOWN = ("tdl-a", "tdl-d", "rician", "awgn")
CASES = pytest.mark.parametrize(
    "case", [(g, c) for g in (*GRIDS, "long") for c in (*KNOWN, "robust")], ids="-".join
)

ESTIMATE = jax.jit(lmmse_estimate, static_argnums=0)


def level(noise_var: float) -> jax.Array:
    """One noise variance for each frame, of the one type that keeps to one program."""
    return jnp.asarray(np.full((FRAMES, 1, 1), noise_var), jnp.float32)


class Moments(NamedTuple):
    """What is true, or assumed, of a gain."""

    time: np.ndarray
    frequency: np.ndarray
    specular: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        wave = self.specular.ravel()
        return np.kron(self.time, self.frequency) + np.outer(wave, wave.conj())


@functools.cache
def fading(grid: phy.ResourceGrid, name: str) -> channels.GridFading:
    axes = {"frequencies": grid.frequencies, "times": grid.times}
    if name == "awgn":
        return channels.grid_awgn(**axes)
    if name == "rician":
        return channels.grid_rician(3.0, **axes)
    return channels.tdl(name, delay_spread=300e-9, carrier_frequency=3.5e9, speed=60.0, **axes)


@functools.cache
def moments(grid: phy.ResourceGrid, name: str) -> Moments:
    """Of the robust receiver's channel by its definition: even power from half a sample before 0 to half a sample
    behind the prefix, and over all shifts up to the maximum. Midpoint sums: no closed form is repeated here."""
    if name != "robust":
        return Moments(*covariance(fading(grid, name)))
    samples = (np.arange(4000) + 0.5) / 4000 * (grid.cyclic_prefix_length + 1) - 0.5
    delays = samples / (grid.fft_size * grid.subcarrier_spacing)
    waves = np.exp(-2j * np.pi * np.outer(grid.frequencies, delays))
    shifts = (np.arange(4000) + 0.5) / 2000 * MAX_DOPPLER - MAX_DOPPLER
    drifts = np.exp(2j * np.pi * np.outer(grid.times, shifts))
    return Moments(
        np.real(drifts @ drifts.conj().T / 4000),
        waves @ waves.conj().T / 4000,
        np.zeros(grid.data_mask.shape),
    )


@functools.cache
def filters(grid: phy.ResourceGrid) -> dict[str, PilotFilter]:
    """Of equal shapes: every test of a grid runs one program."""
    known = {name: lmmse_filter(grid, *moments(grid, name)) for name in KNOWN}
    known["robust"] = robust_filter(grid, MAX_DOPPLER)
    return dict(zip(known, pad_filters(list(known.values())), strict=True))


def dense(grid: phy.ResourceGrid, true: Moments, noise_var: float) -> np.ndarray:
    """R_gp (R_pp + N0 I)^-1, float64. [T F, pilots]"""
    at = grid.pilot_mask.ravel()
    correlation = true.whole
    return np.linalg.solve(
        correlation[np.ix_(at, at)] + noise_var * np.eye(at.sum()), correlation[at]
    ).conj().T  # fmt: skip


def error(grid: phy.ResourceGrid, weights: np.ndarray, true: Moments, noise_var: float) -> np.ndarray:
    """E|weights (h + noise)_pilots - h|^2 of any linear estimate: a sum of squares, so nothing cancels. [T, F]"""
    left = np.eye(grid.pilot_mask.size, dtype=complex)
    left[:, grid.pilot_mask.ravel()] -= weights
    power = np.einsum("ij,ij->i", left @ true.whole, left.conj()).real
    return (power + noise_var * np.sum(np.abs(weights) ** 2, axis=1)).reshape(grid.pilot_mask.shape)


def one_by_one(grid: phy.ResourceGrid) -> jax.Array:
    """Received grids with one pilot each, of gain 1; then empty ones. [FRAMES, T, F]"""
    y = np.zeros((FRAMES, *grid.pilot_mask.shape), np.complex64)
    for frame, place, pilot in zip(
        range(grid.num_pilots), np.argwhere(grid.pilot_mask), grid.pilots, strict=True
    ):
        y[(frame, *place)] = pilot
    return jnp.asarray(y)


@functools.cache
def weights_of(grid: phy.ResourceGrid, name: str, noise_var: float) -> np.ndarray:
    """The estimator as a matrix. [T F, pilots]"""
    y = one_by_one(grid)
    if name == "ls":
        gain = jax.jit(lambda y: phy.ls_estimate(grid, y, 1.0).gain)(y)
    else:
        gain = ESTIMATE(grid, filters(grid)[name], y, level(noise_var)).gain
    return np.asarray(gain, np.complex128)[: grid.num_pilots].reshape(grid.num_pilots, -1).T


@CASES
def test_the_dense_solution_in_float64(case: tuple[str, str]) -> None:
    """Gains and error variances, four noise variances in one batch; data between the pilots do not matter."""
    grid, name = (GRIDS | {"long": LONG})[case[0]], case[1]
    rng = np.random.default_rng(0)
    y = rng.normal(size=(FRAMES, *grid.pilot_mask.shape, 2)) @ [1, 1j]
    noise_var = np.repeat(NOISE, FRAMES // len(NOISE))
    estimate = ESTIMATE(
        grid,
        filters(grid)[name],
        jnp.asarray(y, jnp.complex64),
        jnp.asarray(noise_var, jnp.float32).reshape(-1, 1, 1),
    )
    assert estimate.gain.dtype == jnp.complex64 and estimate.error_var.dtype == jnp.float32
    true = moments(grid, name)
    for n in NOISE:
        weights = dense(grid, true, n)
        said = error(grid, weights, true, n)
        for frame in np.flatnonzero(noise_var == n):
            np.testing.assert_allclose(estimate.error_var[frame], said, rtol=1e-3, atol=1e-9)
        # Noise this strong against the model is weighted up at high SNR: an error relative to the weights.
        size = 1e-5 * np.sum(np.abs(weights), axis=1).reshape(said.shape) + 1e-6
        at_pilots = y[:, grid.pilot_mask] * grid.pilots.conj()
        expected = (at_pilots @ weights.T).reshape(y.shape)
        assert np.all(np.abs(np.asarray(estimate.gain) - expected)[noise_var == n] < size * 10)


@pytest.mark.parametrize("name", ["tdl-a", "tdl-d"])
def test_error_variance_is_the_measured_one(name: str) -> None:
    """Real draws of the fading, random data between the pilots: the mean within 4 sigma, the worst of 150 places
    within 4.5."""
    grid, blocks, noise_var = GRIDS["comb"], 40, 0.02
    shape = (blocks, FRAMES, *grid.pilot_mask.shape)
    gain = jax.jit(lambda key: fading(grid, name).gains(key, shape))(jax.random.key(11))
    rng = np.random.default_rng(3)
    noise = (
        np.sqrt(noise_var / 2)
        * rng.normal(size=(*shape, 2)).astype(np.float32)
        @ np.array([1, 1j], np.complex64)
    )
    sent = (1 - 2 * rng.integers(0, 2, shape)).astype(np.complex64)
    sent[..., grid.pilot_mask] = grid.pilots
    y = jnp.asarray(np.asarray(gain) * sent + noise)
    noise_vars = level(noise_var)
    estimates = [ESTIMATE(grid, filters(grid)[name], block, noise_vars) for block in y]
    square = np.abs(np.asarray([e.gain for e in estimates]) - np.asarray(gain)) ** 2
    square = square.reshape(-1, *grid.pilot_mask.shape).astype(np.float64)
    said, frames = np.asarray(estimates[0].error_var)[0], len(square)
    assert np.max(np.abs(square.mean(0) - said) / (square.std(0) / np.sqrt(frames))) < 4.5
    whole = square.mean((1, 2))
    assert abs(whole.mean() - said.mean()) < 4 * whole.std() / np.sqrt(frames)


@pytest.mark.parametrize("case", [(g, c) for g in GRIDS for c in KNOWN], ids="-".join)
def test_never_worse_than_ls(case: tuple[str, str]) -> None:
    """At every place, by the exact error of either as a matrix; at low SNR far better on average."""
    grid, true = GRIDS[case[0]], moments(GRIDS[case[0]], case[1])
    for n in NOISE:
        ours = error(grid, weights_of(grid, case[1], n), true, n)
        theirs = error(grid, weights_of(grid, "ls", 1.0), true, n)
        assert np.all(ours <= theirs * (1 + 1e-3))
        if n == NOISE[0]:
            assert ours.mean() < 0.1 * theirs.mean()


@pytest.mark.parametrize("case", [(g, c) for g in GRIDS for c in KNOWN], ids="-".join)
def test_without_noise_the_pilots_decide(case: tuple[str, str]) -> None:
    """Real gains: LS at the pilots, where no doubt is left, and no number that is not finite."""
    grid = GRIDS[case[0]]
    gain = jax.jit(lambda key: fading(grid, case[1]).gains(key, (FRAMES, *grid.pilot_mask.shape)))(
        jax.random.key(2)
    )
    y = gain * phy.place(grid, jnp.ones(grid.num_data_symbols, jnp.complex64))[None]
    estimate = ESTIMATE(grid, filters(grid)[case[1]], y, level(0.0))
    ls = jax.jit(lambda y: phy.ls_estimate(grid, y, 0.0).gain)(y)
    assert np.all(np.isfinite(estimate.gain)) and np.all(np.isfinite(estimate.error_var))
    np.testing.assert_allclose(
        np.asarray(estimate.gain)[:, grid.pilot_mask], np.asarray(ls)[:, grid.pilot_mask], atol=1e-4
    )
    assert np.max(np.asarray(estimate.error_var)[:, grid.pilot_mask]) < 1e-7


def test_with_noise_alone_nothing_is_known() -> None:
    grid = GRIDS["full"]
    y = 1e3 * jax.random.normal(jax.random.key(0), (FRAMES, 7, 24), jnp.complex64)
    estimate = ESTIMATE(grid, filters(grid)["tdl-d"], y, level(1e12))
    np.testing.assert_allclose(estimate.gain, 0, atol=1e-5)
    np.testing.assert_allclose(estimate.error_var, 1, atol=1e-5)


@pytest.mark.parametrize("case", [(g, c) for g in GRIDS for c in ("tdl-a", "tdl-d", "rician")], ids="-".join)
def test_robust_on_channels_it_was_not_built_for(case: tuple[str, str]) -> None:
    """Channels of 700 Hz within the prefix: no better than the true LMMSE, hardly worse than it says, and at
    10 dB well ahead of LS."""
    grid, true = GRIDS[case[0]], moments(GRIDS[case[0]], case[1])
    for n in NOISE[1:3]:
        weights = weights_of(grid, "robust", n)
        real, said = (error(grid, weights, of, n).mean() for of in (true, moments(grid, "robust")))
        assert error(grid, dense(grid, true, n), true, n).mean() <= real < 1.25 * said
        if n == 0.1:
            assert real < 0.65 * error(grid, weights_of(grid, "ls", 1.0), true, n).mean()


def test_padding_and_mapping_change_nothing() -> None:
    """A filter of its own width, alone; all filters of a grid at once, one noise variance for all."""
    grid = GRIDS["comb"]
    y = jax.random.normal(jax.random.key(4), grid.pilot_mask.shape, jnp.complex64)
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(filters(grid)[name] for name in KNOWN))
    mapped = jax.jit(jax.vmap(lambda f: lmmse_estimate(grid, f, y, 0.1)))(stack)
    for i, name in enumerate(KNOWN):
        estimate = ESTIMATE(grid, filters(grid)[name], jnp.broadcast_to(y, (FRAMES, *y.shape)), level(0.1))
        for ours, theirs in zip(mapped, estimate, strict=True):
            np.testing.assert_allclose(ours[i], theirs[0], atol=2e-6)
    alone = lmmse_filter(grid, *moments(grid, "rician"))
    assert alone.power.shape[1] < stack.power.shape[2]
    narrow = jax.jit(functools.partial(lmmse_estimate, grid))(alone, y, 0.1)
    for ours, theirs in zip(narrow, mapped, strict=True):
        np.testing.assert_allclose(ours, theirs[KNOWN.index("rician")], atol=2e-6)


def test_a_long_grid_keeps_few_time_modes() -> None:
    """That they are enough, padded, `test_the_dense_solution_in_float64` says; alone, the numbers are the same."""
    y = jax.random.normal(jax.random.key(5), (FRAMES, *LONG.pilot_mask.shape), jnp.complex64)
    widest = filters(LONG)["tdl-d"].time_modes.shape
    assert widest[0] == 60 and widest[1] < 30
    for name in ("rician", "tdl-a"):  # one constant mode, written out; all but those of the line of sight
        alone = lmmse_filter(LONG, *moments(LONG, name))
        assert alone.time_modes.shape[1] < widest[1]
        narrow = ESTIMATE(LONG, alone, y, level(0.1))
        for ours, theirs in zip(narrow, ESTIMATE(LONG, filters(LONG)[name], y, level(0.1)), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_the_program_does_not_grow_with_the_grid() -> None:
    """As many operations for 60 pilot symbols as for 40: compiling a whole photograph takes no minutes."""
    sizes = []
    for symbols in (80, 120):
        grid = phy.ResourceGrid(
            symbols, 4, cyclic_prefix_length=1, pilot_ofdm_symbol_indices=tuple(range(1, symbols, 2))
        )
        y = jnp.zeros((symbols, 4), jnp.complex64)
        program = jax.jit(functools.partial(lmmse_estimate, grid)).lower(robust_filter(grid, 1e4), y, 0.1)
        sizes.append(program.as_text().count("stablehlo."))
    assert sizes[0] == sizes[1] < 200


def test_a_gain_of_zero() -> None:
    """Nothing to estimate: 0, without doubt."""
    grid = phy.ResourceGrid(2, 4, pilot_ofdm_symbol_indices=(0,))
    nothing = lmmse_filter(grid, np.zeros((2, 2)), np.zeros((4, 4), complex))
    estimate = jax.jit(functools.partial(lmmse_estimate, grid))(nothing, jnp.ones((2, 4), jnp.complex64), 0.1)
    assert not np.any(estimate.gain) and not np.any(estimate.error_var)


def test_errors() -> None:
    grid, bare = GRIDS["full"], phy.ResourceGrid(7, 24, cyclic_prefix_length=4)
    time, frequency, specular = moments(grid, "tdl-a")
    with pytest.raises(ValueError, match="LMMSE estimation needs pilots: set pilot_ofdm_symbol_indices"):
        lmmse_filter(bare, time, frequency)
    with pytest.raises(ValueError, match="LMMSE estimation needs pilots"):
        robust_filter(bare, 10.0)
    with pytest.raises(ValueError, match=r"time correlation of this grid is \[7, 7\]; got shape \(6, 6\)"):
        lmmse_filter(grid, time[1:, 1:], frequency)
    with pytest.raises(ValueError, match=r"frequency correlation of this grid is \[24, 24\]"):
        lmmse_filter(grid, time, frequency[0])
    with pytest.raises(ValueError, match="frequency correlation must be finite"):
        lmmse_filter(grid, time, np.nan * frequency)
    with pytest.raises(ValueError, match="frequency correlation must be Hermitian"):
        lmmse_filter(grid, time, np.triu(frequency))
    with pytest.raises(
        ValueError,
        match="time correlation must be positive semidefinite; its eigenvalues at the pilots go from -1",
    ):
        lmmse_filter(grid, -np.eye(7), frequency)
    with pytest.raises(ValueError, match="the pilots would explain more than the power of the gain"):
        lmmse_filter(grid, time + np.diag([0.0, 0, 0, -0.9, 0, 0, 0]), frequency)
    with pytest.raises(ValueError, match="time correlation must be real"):
        lmmse_filter(grid, np.exp(1j * np.subtract.outer(grid.times, grid.times) * 1e3), frequency)
    with pytest.raises(ValueError, match=r"specular must be finite, \[T, F\] = \(7, 24\) on this grid"):
        lmmse_filter(grid, time, frequency, specular.T)
    for shift in (-1.0, np.inf):
        with pytest.raises(ValueError, match="max_doppler must be a finite number of hertz >= 0"):
            robust_filter(grid, shift)
    with pytest.raises(ValueError, match="the grid needs one; set cyclic_prefix_length"):
        robust_filter(phy.ResourceGrid(7, 24, pilot_ofdm_symbol_indices=(1,)), 10.0)
    with pytest.raises(ValueError, match="estimators of one program need one grid"):
        pad_filters([filters(grid)["awgn"], filters(GRIDS["comb"])["awgn"]])
    y = jnp.ones((7, 24), jnp.complex64)
    with pytest.raises(
        ValueError, match=r"built for \(6, 25\) \(symbol, subcarrier\) with 3 pilot symbols; got \(7, 24\)"
    ):
        lmmse_estimate(grid, filters(GRIDS["comb"])["awgn"], y, 0.1)
    with pytest.raises(ValueError, match=r"last two axes must be \(7, 24\)"):
        lmmse_estimate(grid, filters(grid)["awgn"], y.T, 0.1)
    with pytest.raises(ValueError, match="one number per frame"):
        lmmse_estimate(grid, filters(grid)["awgn"], y, jnp.ones((7, 24)))
