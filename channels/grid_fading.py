"""Fading on a resource grid: doubly selective TDL, flat Rayleigh, Rician and plain AWGN as one law.

    g ~ CN(0, 1) [rank, taps] --> x freq_factor --> [rank, F] --> time_factor x --> [T, F] --(+)--> gains
                                                                    los x e^{j phase} --------^

The frequency response of fixed delays is a constant matrix, and the symbols of a grid span few Karhunen-Loeve
components (`channels.doppler`): applying the delays to the components, before time, costs the rank and not
the number of symbols. Letters: `T` OFDM symbols, `F` subcarriers, `R` rank, `*b` batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from channels.base import Fading
from channels.doppler import LOS_DOPPLER, doppler_of_speed, jakes_factor
from channels.flat import linear_k_factor
from channels.random import complex_normal
from channels.tdl import DelayProfile, tdl_profile

MAX_TAPS = 24  # of TDL-C, the longest table; every member is padded to it


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GridFading(Fading):
    """Gain of every resource element of signals `[*b, T, F]`: no inter-carrier interference is modelled
    (`channels.ici_power` says how much that leaves out).

    Every field is traced, so all members of one shape share one compiled program (`pad` makes shapes equal),
    and a stack of members may be `vmap`ped over. Build it with `tdl`, `tapped`, `grid_awgn`, `grid_rayleigh`
    or `grid_rician`. The scattered coefficients are drawn component by component: padding the rank does not
    change a realisation.
    """

    time_factor: Array  # [T, R] float32, A A^T = time correlation of every scattered tap
    freq_factor: Array  # [taps, F] complex64, sqrt(scattered power) exp(-j 2 pi f tau)
    los: Array  # [T, F] complex64, specular amplitude with its Doppler
    los_phase: Array  # [] float32; 1: uniformly random specular phase each realisation, 0: fixed

    def gains(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Complex[Array, "*b t f"]:
        """[*b, T, F]. ValueError if the signal does not end in the grid this fading was built for."""
        (symbols, rank), (taps, subcarriers) = self.time_factor.shape, self.freq_factor.shape
        if shape[-2:] != (symbols, subcarriers):
            raise ValueError(
                f"this fading was built for [*batch, {symbols}, {subcarriers}] (symbol, subcarrier);"
                f" got a signal of shape {shape}"
            )
        batch = shape[:-2]
        size = math.prod(batch)
        key_scattered, key_phase = jax.random.split(key)

        # A key per component, not one draw of [R, ...]: a component stays the same under every padded rank.
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key_scattered, jnp.arange(rank))
        g = jax.vmap(lambda k: complex_normal(k, (size, taps)))(keys)
        g = jnp.concatenate([g.real, g.imag], axis=-1)

        # Two real matrix products on [real | imaginary] halves are faster than one complex product on CPU.
        # HIGHEST, because a GPU or TPU would otherwise round the operands to ten or eight bits.
        w, highest = self.freq_factor, jax.lax.Precision.HIGHEST
        real = jnp.matmul(g, jnp.concatenate([w.real, -w.imag]), precision=highest)  # [R, batch, F]
        imag = jnp.matmul(g, jnp.concatenate([w.imag, w.real]), precision=highest)

        angle = jax.random.uniform(key_phase, (size, 1, 1), jnp.float32, maxval=2 * math.pi) * self.los_phase
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        los_real, los_imag = self.los.real[None], self.los.imag[None]
        gain = jax.lax.complex(
            _over_time(self.time_factor, real) + los_real * cos - los_imag * sin,
            _over_time(self.time_factor, imag) + los_real * sin + los_imag * cos,
        )
        return gain.reshape(*batch, symbols, subcarriers)


def grid_awgn(*, frequencies: Float[np.ndarray, " f"], times: Float[np.ndarray, " t"]) -> GridFading:
    """Gain exactly 1 on the whole grid."""
    return grid_rician(math.inf, frequencies=frequencies, times=times)


def grid_rayleigh(*, frequencies: Float[np.ndarray, " f"], times: Float[np.ndarray, " t"]) -> GridFading:
    """Block Rayleigh fading: one CN(0, 1) gain for the whole grid, independent across realisations."""
    return grid_rician(-math.inf, frequencies=frequencies, times=times)


def grid_rician(
    k_db: float, *, frequencies: Float[np.ndarray, " f"], times: Float[np.ndarray, " t"]
) -> GridFading:
    """Block Rician fading: one gain for the whole grid, K-factor `k_db`, specular phase 0.

    ValueError for a K-factor of NaN.
    """
    scattered = 1 / (1 + linear_k_factor(k_db))
    profile = DelayProfile(np.zeros(1), np.array([scattered]), 1 - scattered)
    return tapped(profile, max_doppler=0.0, frequencies=frequencies, times=times, random_phase=False)


def tdl(
    model: str,
    *,
    delay_spread: float,
    carrier_frequency: float,
    speed: float,
    frequencies: Float[np.ndarray, " f"],
    times: Float[np.ndarray, " t"],
    tolerance: float = 1e-7,
) -> GridFading:
    """TDL-A to TDL-E of TR 38.901 clause 7.7.2 on a resource grid, one antenna each side.

    `model`: "tdl-a" to "tdl-e". `delay_spread`: seconds, root mean square. `carrier_frequency`: hertz.
    `speed`: metres per second. `frequencies`: hertz, of each subcarrier relative to the carrier; `times`:
    seconds, of each OFDM symbol. Scattered taps have the Jakes spectrum; the specular path of D and E has
    Doppler shift 0.7 fD and a uniformly random phase. `tolerance`: share of the power of the time process
    that may be dropped. ValueError, before anything is compiled, for an unknown model and for negative,
    non-positive or NaN quantities.
    """
    profile = tdl_profile(model, delay_spread)
    max_doppler = doppler_of_speed(speed, carrier_frequency)
    return tapped(profile, max_doppler=max_doppler, frequencies=frequencies, times=times, tolerance=tolerance)


def tapped(
    profile: DelayProfile,
    *,
    max_doppler: float,
    frequencies: Float[np.ndarray, " f"],
    times: Float[np.ndarray, " t"],
    tolerance: float = 1e-7,
    random_phase: bool = True,
) -> GridFading:
    """Any profile of at most 24 taps as a grid fading; `max_doppler` is fD in hertz.

    `random_phase`: whether the specular path, if any, has a uniformly random phase in each realisation, or
    phase 0 at time 0. ValueError for powers that do not sum to 1, too many taps, delays or axes that are not
    finite, and a negative `max_doppler`.
    """
    frequencies, times = _axis("frequencies", frequencies), _axis("times", times)
    delays, scattered, specular = profile
    total = float(np.sum(scattered)) + specular
    if not (np.all(scattered >= 0) and specular >= 0 and abs(total - 1) < 1e-6):
        raise ValueError(
            f"the powers of a delay profile must be >= 0 and sum to 1; got a sum of {total:.6g}: divide by it"
        )
    if len(delays) > MAX_TAPS or len(delays) != len(scattered):
        raise ValueError(
            f"a delay profile needs at most {MAX_TAPS} taps and one power a delay; got {len(delays)} delays"
            f" and {len(scattered)} powers: merge the weakest taps"
        )
    if not np.all(np.isfinite(delays)):
        raise ValueError(f"the delays of a profile must be finite numbers of seconds; got {delays}")
    freq_factor = np.zeros((MAX_TAPS, len(frequencies)), np.complex128)
    freq_factor[: len(delays)] = np.sqrt(scattered)[:, None] * np.exp(
        -2j * np.pi * np.outer(delays, frequencies)
    )
    los = math.sqrt(specular) * np.exp(2j * np.pi * LOS_DOPPLER * max_doppler * times)
    return GridFading(
        time_factor=jnp.asarray(jakes_factor(max_doppler, times, tolerance), jnp.float32),
        freq_factor=jnp.asarray(freq_factor, jnp.complex64),
        los=jnp.asarray(np.repeat(los[:, None], len(frequencies), axis=1), jnp.complex64),
        los_phase=jnp.asarray(float(random_phase), jnp.float32),
    )


def pad(fadings: Sequence[GridFading]) -> list[GridFading]:
    """The same fadings, same realisations, with equal shapes: one compiled program serves them all.

    ValueError if they were built for different grids.
    """
    grids = {fading.los.shape for fading in fadings}
    if len(grids) > 1:
        raise ValueError(f"fadings of one program need one grid [symbol, subcarrier]; got {sorted(grids)}")
    rank = max((fading.time_factor.shape[1] for fading in fadings), default=0)
    return [replace(fading, time_factor=_widen(fading.time_factor, rank)) for fading in fadings]


def _over_time(factor: Float[Array, "t r"], components: Float[Array, "r b f"]) -> Float[Array, "b t f"]:
    """Sum over the rank, written out so that it fuses into one pass: a matrix product this thin is slower."""
    return sum(
        (factor[:, r][None, :, None] * components[r][:, None, :] for r in range(1, factor.shape[1])),
        start=factor[:, 0][None, :, None] * components[0][:, None, :],
    )


def _widen(factor: Float[Array, "t r"], rank: int) -> Float[Array, "t wide"]:
    return jnp.pad(factor, ((0, 0), (0, rank - factor.shape[1])))


def _axis(name: str, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError(
            f"{name} must be a finite, non-empty vector; got shape {values.shape} with values {values}"
        )
    return values
