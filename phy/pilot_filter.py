"""What LMMSE channel estimation needs to know of a channel, worked out once on the host, in float64.

Pilots stand on whole rows and columns, so the correlation of a gain that is separable in time and frequency
(Kronecker) has eigenmodes that are products of a time mode and a frequency mode. Letters: `T` OFDM symbols,
`F` subcarriers, `p` pilot symbols, `m` time modes, `r` frequency modes. Only modes that matter are kept: gains
that move slowly against a long grid have few time modes, however many pilot symbols it has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from phy.estimation import LsFilter, check_pilots
from phy.ofdm import ResourceGrid

_SMALLEST_MODE = 1e-10
"""Power, relative to the mean of a pilot, below which a mode is left out; what it would explain stays in error_var."""
_NOT_POSITIVE = 1e-6  # an eigenvalue this negative, relative to the largest one, is no rounding error


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LmmseFilter:
    """What `lmmse_estimate` needs of a correlation: all fields traced, so that one program serves every channel.

    Build it with `lmmse_filter` or `robust_filter`; `pad_filters` makes shapes equal. A padded mode has power
    0 and changes nothing.
    """

    time_modes: Array  # [p, m] float32, orthonormal columns: modes on the pilot symbols
    freq_modes: Array  # [F, r] complex64, orthonormal columns: modes on the pilot subcarriers, 0 elsewhere
    power: Array  # [m, r] float32, mean power of each product of modes in the pilots
    time_factor: Array  # [T, m] float32, the time modes over the grid, scaled: A A^T = time correlation
    freq_factor: Array  # [F, r] complex64, likewise: B B^H = frequency correlation
    residual: Array  # [T, F] float32, power that pilots without noise would leave unexplained
    specular: Array  # [T, F] complex64, a known waveform of unknown phase (line of sight)
    specular_modes: Array  # [m, r] complex64, the same in the modes of the pilots


PilotFilter = LmmseFilter | LsFilter
"""What a receiver that estimates from pilots knows of its channel, by its rule."""


def lmmse_filter(
    grid: ResourceGrid,
    time: Shaped[np.ndarray, "..."],
    frequency: Shaped[np.ndarray, "..."],
    specular: Shaped[np.ndarray, "..."] | None = None,
) -> LmmseFilter:
    """The estimator for gains with E[h(t, f) h*(t', f')] = time(t, t') frequency(f, f') + specular(t, f) specular*(t', f').

    time: real symmetric, [T, T] (Doppler spectra are symmetric); frequency: Hermitian, [F, F]. specular: [T, F],
    a line of sight, which has a Doppler shift of its own and so is no part of the product; default none. Only
    second moments count: a specular part of fixed phase is estimated like one of random phase. The diagonal
    is the mean power of the gain; nothing is rescaled.
    Errors: ValueError without pilots, for another shape, or for what is no correlation (not finite, not
    Hermitian, not positive semidefinite).
    """
    check_pilots("LMMSE", grid)
    if np.iscomplexobj(time) and np.any(np.imag(time)):
        raise ValueError(
            "the time correlation must be real: give a path with a Doppler shift of its own as specular"
        )
    time = _correlation("time", np.real(time), grid.num_ofdm_symbols)
    frequency = _correlation("frequency", frequency, grid.fft_size)
    shape = (grid.num_ofdm_symbols, grid.fft_size)
    waveform = np.zeros(shape, np.complex128) if specular is None else np.asarray(specular, np.complex128)
    if waveform.shape != shape or not np.all(np.isfinite(waveform)):
        raise ValueError(
            f"specular must be finite, [T, F] = {shape} on this grid; got shape {waveform.shape}"
        )

    symbols, subcarriers = np.sort(np.asarray(grid.pilot_ofdm_symbol_indices)), grid.pilot_subcarriers
    power_t, time_modes = _modes("time", time[np.ix_(symbols, symbols)])
    power_f, freq_modes = _modes("frequency", frequency[np.ix_(subcarriers, subcarriers)])
    seen = waveform[np.ix_(symbols, subcarriers)]
    # Time modes are real: the real and the imaginary part of the waveform each need to be held.
    power_t, time_modes = _with_row_space(np.hstack([seen.real, seen.imag]).T, power_t, time_modes)
    power_f, freq_modes = _with_row_space(seen, power_f, freq_modes)
    time_factor = time[:, symbols] @ time_modes * _inverse_root(power_t)
    freq_factor = frequency[:, subcarriers] @ freq_modes * _inverse_root(power_f)

    explained = np.outer(np.sum(time_factor**2, axis=1), np.sum(np.abs(freq_factor) ** 2, axis=1))
    total = np.outer(np.diag(time), np.real(np.diag(frequency)))
    if np.any(explained > total + _NOT_POSITIVE * np.abs(total).max()):
        raise ValueError(
            "the correlation must be positive semidefinite; the pilots would explain more than the power of the gain"
        )
    everywhere = np.zeros((grid.fft_size, len(power_f)), np.complex128)
    everywhere[subcarriers] = freq_modes
    return LmmseFilter(
        time_modes=jnp.asarray(time_modes, jnp.float32),
        freq_modes=jnp.asarray(everywhere, jnp.complex64),
        power=jnp.asarray(np.outer(power_t, power_f), jnp.float32),
        time_factor=jnp.asarray(time_factor, jnp.float32),
        freq_factor=jnp.asarray(freq_factor, jnp.complex64),
        residual=jnp.asarray(np.maximum(total - explained, 0.0), jnp.float32),
        specular=jnp.asarray(waveform, jnp.complex64),
        specular_modes=jnp.asarray(time_modes.T @ seen @ freq_modes.conj(), jnp.complex64),
    )


def robust_filter(grid: ResourceGrid, max_doppler: float) -> LmmseFilter:
    """The estimator for every channel within the cyclic prefix whose Doppler shifts are at most `max_doppler` (Hz).

    It assumes power spread evenly over all delays that the prefix admits and all Doppler shifts up to the
    maximum: what is left when only the supports are known (Li, Cimini, Sollenberger, "Robust channel estimation
    for OFDM systems with rapid dispersive fading channels", IEEE Trans. Commun. 46(7), 1998). The delays are
    continued by half a sample at either end: a narrow band blurs a path at the very edge.
    error_var is that of the assumed channel, about what a real one inside the supports meets on average over
    the grid: less if it is slower than declared, up to twice if all its power sits at the maximum shift.
    Beyond the supports it is no bound. Where the noise is weak and the channel far smoother than the supports
    allow, `ls_estimate` may be better: it bets on straight lines.
    Errors: ValueError for a negative or infinite shift, a grid without pilots, or one without a prefix.
    """
    check_pilots("LMMSE", grid)
    if not (np.isfinite(max_doppler) and max_doppler >= 0):
        raise ValueError(f"max_doppler must be a finite number of hertz >= 0; got {max_doppler}")
    if not grid.cyclic_prefix_length:
        raise ValueError(
            "robust estimation takes the longest delay from the cyclic prefix: the grid needs one;"
            " set cyclic_prefix_length"
        )
    window = (grid.cyclic_prefix_length + 1) / grid.sample_rate
    middle = 0.5 * grid.cyclic_prefix_length / grid.sample_rate
    apart_t = grid.times[:, None] - grid.times[None, :]
    apart_f = grid.frequencies[:, None] - grid.frequencies[None, :]
    time = np.sinc(2 * max_doppler * apart_t)
    frequency = np.sinc(window * apart_f) * np.exp(-2j * np.pi * middle * apart_f)
    return lmmse_filter(grid, time, frequency)


def pad_filters(filters: Sequence[LmmseFilter]) -> list[LmmseFilter]:
    """The same estimators with equal shapes: one compiled program serves them all.

    ValueError if they were built for different grids.
    """
    grids = {one.specular.shape + one.time_modes.shape[:1] for one in filters}
    if len(grids) > 1:
        raise ValueError(
            f"estimators of one program need one grid (symbols, subcarriers, pilot symbols); got {sorted(grids)}"
        )
    most = np.max([one.power.shape for one in filters], axis=0, initial=0)

    def pad(one: LmmseFilter) -> LmmseFilter:
        time, frequency = ((0, int(n)) for n in most - one.power.shape)
        whole = (0, 0)
        return replace(
            one,
            time_modes=jnp.pad(one.time_modes, (whole, time)),
            freq_modes=jnp.pad(one.freq_modes, (whole, frequency)),
            power=jnp.pad(one.power, (time, frequency)),
            time_factor=jnp.pad(one.time_factor, (whole, time)),
            freq_factor=jnp.pad(one.freq_factor, (whole, frequency)),
            specular_modes=jnp.pad(one.specular_modes, (time, frequency)),
        )

    return [pad(one) for one in filters]


def _modes(name: str, correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, strongest first, and eigenvectors (columns), without what counts as rounding."""
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < -_NOT_POSITIVE * np.abs(values).max():
        raise ValueError(
            f"the {name} correlation must be positive semidefinite; its eigenvalues at the pilots go from"
            f" {values[0]:.3g} to {values[-1]:.3g}"
        )
    kept = np.flatnonzero(values > _SMALLEST_MODE * np.mean(np.maximum(values, 0.0)))[::-1]
    return values[kept], vectors[:, kept]


def _with_row_space(
    seen: Shaped[np.ndarray, "n k"], power: np.ndarray, modes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Modes that also hold the rows of the specular part: new ones, orthonormal to the others, of power 0."""
    beyond = seen - (seen @ modes.conj()) @ modes.T
    _, size, rows = np.linalg.svd(beyond, full_matrices=False)
    wanted = size**2 > _SMALLEST_MODE * np.sum(np.abs(seen) ** 2)
    added = rows[wanted].T
    if not power.size and not added.size:  # a gain of 0: one empty mode keeps the arrays an axis
        added = np.eye(seen.shape[1], 1)
    return np.append(power, np.zeros(added.shape[1])), np.hstack([modes, added])


def _inverse_root(power: np.ndarray) -> np.ndarray:
    return np.where(power > 0, 1.0 / np.sqrt(np.where(power > 0, power, 1.0)), 0.0)


def _correlation(name: str, values: np.ndarray, size: int) -> np.ndarray:
    values = np.asarray(values, np.complex128 if np.iscomplexobj(values) else np.float64)
    if values.shape != (size, size):
        raise ValueError(f"the {name} correlation of this grid is [{size}, {size}]; got shape {values.shape}")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"the {name} correlation must be finite; got NaN or infinity")
    if not np.allclose(values, values.conj().T, rtol=0, atol=_NOT_POSITIVE * np.abs(values).max()):
        raise ValueError(f"the {name} correlation must be Hermitian: E[h(i) h*(j)] in row i, column j")
    return values
