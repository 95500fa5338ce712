"""Decibels and the three ways to say how much noise there is: Es/N0, Eb/N0 and N0 itself.

Everything inside the simulator is linear; decibels exist only at the edge, in names that end in `_db`.
Symbols have unit mean energy, so the variance of a complex noise sample is `noise_var` = N0 = 1 / (Es/N0).
Works on floats, NumPy and JAX.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from phy.ofdm import ResourceGrid

Values = jax.Array | np.ndarray | float


def db_to_linear(db: ArrayLike) -> Values:
    """Power ratio of a value in decibels: 10^(db / 10)."""
    return 10.0 ** (_numeric(db) / 10.0)


def linear_to_db(x: ArrayLike) -> Values:
    """Decibels of a power ratio: 10 log10(x); zero gives -inf."""
    x = _numeric(x)
    if isinstance(x, jax.Array):
        return 10.0 * jnp.log10(x)
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(x)


def esnodb2no(esno_db: ArrayLike) -> Values:
    """Noise variance N0 of a complex sample for symbols of unit mean energy at `esno_db` dB per complex
    symbol."""
    return 10.0 ** (-_numeric(esno_db) / 10.0)


def ebnodb2no(
    ebno_db: ArrayLike,
    num_bits_per_symbol: ArrayLike,
    coderate: float = 1.0,
    resource_grid: ResourceGrid | None = None,
) -> Values:
    """Noise variance N0 of a complex sample at `ebno_db` dB per *information* bit.

    num_bits_per_symbol: bits of one data symbol (may be traced); coderate: information bits per coded bit, in
    (0, 1].
    Law: N0 = E / (10^(ebno_db / 10) * coderate * num_bits_per_symbol), where E is the transmitted energy per
    data symbol.
    Without a grid E = 1. With a grid the energy of pilots and cyclic prefix is charged to the data symbols
    (nulled guard and DC subcarriers cost nothing): E = T (1 + prefix / fft_size) * effective subcarriers /
    data symbols. This is the law of Sionna's function of the same name for one transmitted stream.
    Errors: ValueError if coderate is not in (0, 1].
    """
    if not 0.0 < coderate <= 1.0:
        raise ValueError(f"coderate must be in (0, 1]; got {coderate}")
    energy = 1.0 if resource_grid is None else resource_grid.energy_per_data_symbol
    return energy / (db_to_linear(ebno_db) * (coderate * _numeric(num_bits_per_symbol)))


def ebnodb2esnodb(
    ebno_db: ArrayLike,
    num_bits_per_symbol: ArrayLike,
    coderate: float = 1.0,
    resource_grid: ResourceGrid | None = None,
) -> Values:
    """Es/N0 in dB of a unit-energy data symbol at `ebno_db`; arguments, law and errors as `ebnodb2no`."""
    return -linear_to_db(ebnodb2no(ebno_db, num_bits_per_symbol, coderate, resource_grid))


def _numeric(x: ArrayLike) -> Values:
    """JAX values as they are, everything else in NumPy float64, so that host arithmetic stays exact."""
    return x if isinstance(x, jax.Array) else np.asarray(x, np.float64)[()]
