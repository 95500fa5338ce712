"""Recorded impulse responses: a file of gains and delays, replayed on a resource grid as any other fading.

    gains [n, (rx, tx,) t, taps], delays --> responses on the grid --> time_factor, coefficients [n, ...], freq_factor
    key --> number of a record ---------------------------------------------> its response [(rx, tx,) T, F]

The responses of one file span few dimensions of time and frequency, whatever the number of taps and whether or not every
record has delays of its own. Their Karhunen-Loeve components are found once, on the host; a realisation is then one row of a
table and one matrix product.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int, PRNGKeyArray

from channels.base import Fading
from channels.recording import Recording

Order = Literal["random", "sequence"]

# Share of the power that the components may leave out: an error of the gain 90 dB below it.
_TOLERANCE = 1e-9
# Between snapshots gains are interpolated linearly; what that may cost of the power.
_LOST = 0.01
_CHUNK = 1 << 22  # complex numbers of the responses that are held at a time: 64 MB


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Recorded(Fading):
    """The records of a file on signals `[*b, T, F]`, or `[*b, rx, tx, T, F]` if it has antennas. Build it with `replay`.

    Mean |gain|^2 over all records, antenna pairs and resource elements is 1: strong records stay strong. Results hold for
    the file: n records are n channels, drawn again and again. order "random": each realisation is a record of its own draw.
    "sequence": the realisations of one call are records in a row from a random one on, to look at a route; they are not
    independent, and sweeps do not use it. A file without antennas gives every antenna pair a record of its own.
    """

    coefficients: Array  # [n, (rx, tx,) RT, 2 RF] float32: [real | imaginary] parts
    time_factor: Array  # [T, RT] float32
    freq_factor: Array  # [RF, F] complex64
    order: Order = field(default="random", metadata={"static": True})

    def gains(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Complex[Array, "..."]:
        """The shape asked for. ValueError if the signal does not end in the antennas and grid this fading was built for."""
        records, *antennas = self.coefficients.shape[:-2]
        inner = (*antennas, self.time_factor.shape[0], self.freq_factor.shape[1])
        if shape[len(shape) - len(inner) :] != inner:
            axes = "rx, tx, symbol, subcarrier" if antennas else "symbol, subcarrier"
            raise ValueError(
                f"this recording is for signals [*batch, {', '.join(map(str, inner))}] ({axes}); got one of shape {shape}"
            )
        count = math.prod(shape[: len(shape) - len(inner)])
        if self.order == "random":
            numbers = jax.random.randint(key, (count,), 0, records)
        else:
            numbers = (jax.random.randint(key, (), 0, records) + jnp.arange(count)) % records
        return self.responses(numbers).reshape(shape)

    def responses(self, numbers: Int[Array, " i"]) -> Complex[Array, "i *antennas t f"]:
        """The responses of these records."""
        chosen, w, highest = self.coefficients[numbers], self.freq_factor, jax.lax.Precision.HIGHEST
        # Two real products on [real | imaginary] halves, in full precision, for the reasons given in `GridFading`.
        real = jnp.matmul(chosen, jnp.concatenate([w.real, -w.imag]), precision=highest)  # [i, .., RT, F]
        imag = jnp.matmul(chosen, jnp.concatenate([w.imag, w.real]), precision=highest)
        return jax.lax.complex(_over_time(self.time_factor, real), _over_time(self.time_factor, imag))


def replay(
    recording: Recording,
    *,
    frequencies: Float[np.ndarray, " f"],
    times: Float[np.ndarray, " t"],
    order: Order = "random",
) -> Recorded:
    """A recording as a fading on a resource grid.

    `frequencies`: hertz, of each subcarrier relative to the carrier; `times`: seconds, of each OFDM symbol. A record starts
    with the first symbol; snapshots beyond the last are not used, gains between two are interpolated linearly. One snapshot
    holds for the whole grid. ValueError for an order of another name, records shorter than the grid, and snapshots so far
    apart that interpolation would lose more than 1 % of the power.
    """
    if order not in ("random", "sequence"):
        raise ValueError(f"order must be random or sequence; got {order!r}")
    frequencies, times = np.asarray(frequencies, np.float64), np.asarray(times, np.float64)
    weights = _interpolation(recording, times - times[0])

    gram = np.zeros((len(frequencies), len(frequencies)), np.complex128)
    for _, response in _responses(recording, weights, frequencies):
        flat = response.reshape(-1, len(frequencies))
        gram += flat.conj().T @ flat
    basis = _strongest(gram)  # [F, RF]
    in_frequency = np.zeros((*recording.gains.shape[:-2], len(times), basis.shape[1]), np.complex128)
    for part, response in _responses(recording, weights, frequencies):
        in_frequency[part] = response @ basis
    flat = in_frequency.reshape(-1, *in_frequency.shape[-2:])
    # A real basis of time spares half of the work on the grid; its correlation matrix is real for a symmetric Doppler.
    in_time = _strongest(np.einsum("ntr,nur->tu", flat, flat.conj()).real)  # [T, RT]
    scale = math.sqrt(recording.gains[..., 0, 0].size * weights.shape[0] * len(frequencies))
    scale /= math.sqrt(float(np.trace(gram).real))
    coefficients = scale * np.einsum("tk,...tr->...kr", in_time, in_frequency)
    return Recorded(
        coefficients=jnp.asarray(
            np.concatenate([coefficients.real, coefficients.imag], axis=-1), jnp.float32
        ),
        time_factor=jnp.asarray(in_time, jnp.float32),
        freq_factor=jnp.asarray(basis.conj().T, jnp.complex64),
        order=order,
    )


def _interpolation(recording: Recording, times: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t snapshots"]:
    """Weights of the snapshots in each of the instants."""
    snapshots = recording.gains.shape[-2]
    if snapshots == 1:
        return np.ones((len(times), 1))
    position = times / recording.time_step
    if position[-1] > snapshots - 1 + 1e-6:
        raise ValueError(
            f"records of {snapshots} snapshots each {recording.time_step * 1e6:g} us end before the grid, whose last symbol "
            f"starts at {times[-1] * 1e6:g} us: record longer ones, or use fewer symbols"
        )
    left = np.clip(np.floor(position + 1e-6).astype(int), 0, snapshots - 2)
    share = np.clip(position - left, 0.0, 1.0)
    share = np.where(np.abs(share - np.round(share)) < 1e-6, np.round(share), share)
    weights = np.zeros((len(times), snapshots))
    weights[np.arange(len(times)), left] = 1 - share
    weights[np.arange(len(times)), left + 1] += share
    if np.any((share > 0) & (share < 1)):
        power = np.sum(np.abs(np.matmul(weights.astype(np.float32), recording.gains)) ** 2, dtype=np.float64)
        lost = 1 - power / np.sum(weights @ np.abs(recording.gains) ** 2, dtype=np.float64)
        if lost > _LOST:
            raise ValueError(
                f"interpolation between snapshots {recording.time_step * 1e6:g} us apart would lose {lost:.1%} of the power:"
                " record them at the symbols of the grid, or closer together"
            )
    return weights


def _responses(
    recording: Recording, weights: Float[np.ndarray, "t snapshots"], frequencies: Float[np.ndarray, " f"]
) -> Iterator[tuple[slice, Complex[np.ndarray, "part ..."]]]:
    """The responses on the grid, [.., (rx, tx,) T, F], some records at a time. complex128"""
    gains, delays = recording.gains, recording.arrivals
    size = math.prod(recording.antennas) * len(weights) * len(frequencies)
    step = max(1, _CHUNK // max(size, gains.shape[-1] * len(frequencies)))
    for start in range(0, len(gains), step):
        part = slice(start, start + step)
        after = delays if len(delays) == 1 else delays[part]
        steering = np.exp(-2j * np.pi * after[:, :, None] * frequencies)  # [1 or part, taps, F]
        steering = steering.reshape(len(after), *(1,) * len(recording.antennas), *steering.shape[1:])
        yield part, (weights @ gains[part].astype(np.complex128)) @ steering


def _strongest(correlation: np.ndarray) -> np.ndarray:
    """The fewest orthonormal directions that hold all of the power but the tolerance. [n, rank]"""
    power, directions = np.linalg.eigh(correlation)
    left = np.cumsum(np.maximum(power, 0.0))  # power in the weakest ones
    rank = max(1, int(np.sum(left > _TOLERANCE * left[-1])))
    return directions[:, ::-1][:, :rank]


def _over_time(factor: Float[Array, "t r"], components: Float[Array, "*b r f"]) -> Float[Array, "*b t f"]:
    """Sum over the rank, written out so that it fuses into one pass: a matrix product this thin is slower."""
    columns = factor.reshape(*(1,) * (components.ndim - 2), *factor.shape, 1)
    return sum(
        (columns[..., r, :] * components[..., r : r + 1, :] for r in range(1, factor.shape[1])),
        start=columns[..., 0, :] * components[..., :1, :],
    )
