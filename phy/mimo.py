"""Several antennas: linear detection of the streams sent from them, and Alamouti's space-time code.

Model per channel use: y = H x + n, with one row of H for each receive antenna, one column for each stream, E|x_t|^2 = 1
and the same noise variance on every receive antenna. Letters: `*b` free batch axes, `r` receive antennas, `t` streams,
`s` the signal, one axis: flatten a grid, whose resource elements are detected one by one.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from phy.equalise import Equalised
from phy.shapes import broadcastable

_SMALLEST_NOISE = 1e-12
_ROUNDING = 3e-7
"""Of the mean power of a stream: what float32 leaves of it when the others are taken out counts as noise."""
_SMALLEST_SHARE = 1e-6
"""Of a symbol in its estimate: a stream that is 60 dB below noise and interference is an erasure."""

T = TypeVar("T", Array, "_Parts")


class _Parts(NamedTuple):
    """Real and imaginary part of complex arrays, kept apart: XLA's CPU loops over interleaved ones are 1.5 times slower."""

    real: Array
    imag: Array

    def conj_times(self, other: "_Parts") -> "_Parts":
        """conj(self) other."""
        return _Parts(
            self.real * other.real + self.imag * other.imag, self.real * other.imag - self.imag * other.real
        )

    def times(self, other: "_Parts") -> "_Parts":
        return _Parts(
            self.real * other.real - self.imag * other.imag, self.real * other.imag + self.imag * other.real
        )

    def plus(self, other: "_Parts") -> "_Parts":
        return _Parts(self.real + other.real, self.imag + other.imag)

    def minus(self, other: "_Parts") -> "_Parts":
        return _Parts(self.real - other.real, self.imag - other.imag)

    def scaled(self, factor: Array) -> "_Parts":
        return _Parts(self.real * factor, self.imag * factor)

    def conj(self) -> "_Parts":
        return _Parts(self.real, -self.imag)

    @property
    def power(self) -> Array:
        return self.real * self.real + self.imag * self.imag


def lmmse_detect(
    y: Complex[Array, "*b r s"],
    gain: Complex[Array, "*#b r t #s"],
    noise_var: Float[Array, "*#b #s"] | Float[Array, ""] | float,
    unbiased: bool = True,
) -> Equalised:
    """Streams [*b, t, s] of least mean square error given the channel matrix, and the noise variance of each.

    With one stream it is maximum-ratio combining of the receive antennas. noise_var: N0 (plus the variance of an estimated
    gain), of every receive antenna: scalar, or with the axes of a stream.
    unbiased (for demapping): each stream scaled to unit gain; its noise variance is that of the remaining noise and
    interference, 1 / SINR. biased (for analogue payloads): the estimate of least mean square error and that error.
    Laws: E|error|^2 is the noise variance it says; unbiased errors have no part along the symbol; a stream without power is
    an erasure (huge noise variance). Normal equations in float32: noise is taken to be at most 65 dB below the streams.
    Source: S. M. Kay, Fundamentals of Statistical Signal Processing, vol. 1, theorem 12.1; unbiased as in Sionna.
    Errors: ValueError for shapes that do not fit each other.
    """
    if gain.ndim != y.ndim + 1 or gain.shape[-3] != y.shape[-2]:
        raise ValueError(
            f"the gain of y [*b, rx, s] is [*b, rx, streams, s]; got y of shape {y.shape} and a gain of shape {gain.shape}"
        )
    receive, streams = gain.shape[-3:-1]
    rows = [[_parts(gain[..., i, k, :]) for k in range(streams)] for i in range(receive)]
    noise = broadcastable("noise_var", noise_var, y.ndim - 1).astype(y.real.dtype)
    return _detect([_parts(y[..., i, :]) for i in range(receive)], rows, noise, unbiased)


def alamouti_encode(symbols: Complex[Array, "*b 2 p"]) -> Complex[Array, "*b 2 2 p"]:
    """What two antennas send in the two channel uses of each pair of symbols (a, b): [*b, antenna, use, p].

    Antenna 0 sends a, then -conj(b); antenna 1 sends b, then conj(a) (S. M. Alamouti, IEEE JSAC 16(8), 1998).
    """
    a, b = symbols[..., 0, :], symbols[..., 1, :]
    return jnp.stack([jnp.stack([a, -jnp.conj(b)], axis=-2), jnp.stack([b, jnp.conj(a)], axis=-2)], axis=-3)


def alamouti_detect(
    y: Complex[Array, "*b r 2 p"],
    gain: Complex[Array, "*#b r 2 2 #p"],
    noise_var: Float[Array, "*#b #p"] | Float[Array, ""] | float,
    unbiased: bool = True,
) -> Equalised:
    """The pairs [*b, 2, p] of `alamouti_encode` from what each receive antenna got in the two channel uses.

    gain: [*b, rx, antenna, use, p]. noise_var and unbiased: as `lmmse_detect`. The conjugate of the second use makes
    the pair two streams seen by 2 rx antennas. Where the gains do not change within a pair these are orthogonal, and this
    is Alamouti's combining: the noise variance is noise_var / sum |gain|^2. Where they change it is still the linear
    estimate of least error, and says what the interference costs.
    """
    if y.ndim < 3 or gain.shape[-4:-1] != (y.shape[-3], 2, 2) or y.shape[-2] != 2 or gain.ndim != y.ndim + 1:
        raise ValueError(
            "Alamouti's code needs y [*b, rx, 2 uses, p] and a gain [*b, rx, 2 antennas, 2 uses, p]; "
            f"got {y.shape} and {gain.shape}"
        )
    seen, rows = [], []
    for i in range(y.shape[-3]):
        (first, late_first), (second, late_second) = (
            [_parts(gain[..., i, antenna, use, :]) for use in (0, 1)] for antenna in (0, 1)
        )
        seen += [_parts(y[..., i, 0, :]), _parts(y[..., i, 1, :]).conj()]
        late = late_first.conj()
        rows += [[first, second], [late_second.conj(), _Parts(-late.real, -late.imag)]]
    noise = broadcastable("noise_var", noise_var, y.ndim - 2).astype(y.real.dtype)
    return _detect(seen, rows, noise, unbiased)


def _detect(y: list[_Parts], rows: list[list[_Parts]], noise: Array, unbiased: bool) -> Equalised:
    """x = (H^H H + N I)^-1 H^H y by L D L^H, written out element by element over whole signals.

    A factorisation of small matrices by the thousand spends its time in calls; arrays of signals in vector units do not.
    """
    streams = len(rows[0])
    columns = [[row[k] for row in rows] for k in range(streams)]
    own = [_total([x.power for x in column]) for column in columns]  # of each stream, N not included
    cross = {
        (i, k): _total([a.conj_times(b) for a, b in zip(columns[i], columns[k], strict=True)])
        for i in range(streams)
        for k in range(i)
    }
    z = [_total([a.conj_times(b) for a, b in zip(column, y, strict=True)]) for column in columns]

    noise = jnp.maximum(noise, jnp.maximum(_total(own) * (_ROUNDING / streams), _SMALLEST_NOISE))

    # Stream by stream: lower[i, k] = L, inverse[k] = 1 / D, z becomes L^-1 H^H y. `own` stays free of N, so that the
    # share of a weak stream is not the difference of two numbers near 1.
    inverse: list[Array] = []
    lower: dict[tuple[int, int], _Parts] = {}
    for k in range(streams):
        own[k] = jnp.maximum(own[k], 0.0)
        inverse.append(1.0 / (own[k] + noise))
        for i in range(k + 1, streams):
            lower[i, k] = cross[i, k].scaled(inverse[k])
            own[i] = own[i] - cross[i, k].power * inverse[k]
            z[i] = z[i].minus(lower[i, k].times(z[k]))
            for j in range(k + 1, i):
                cross[i, j] = cross[i, j].minus(cross[j, k].conj_times(lower[i, k]))

    left = _inverse_of_unit_lower(lower, streams)
    found, errors = [], []
    for k in range(streams):
        x, spread = z[k].scaled(inverse[k]), jnp.zeros_like(inverse[k])
        for i in range(k + 1, streams):
            x = x.plus(left[i, k].conj_times(z[i].scaled(inverse[i])))
            spread = spread + left[i, k].power * inverse[i]
        error = noise * (inverse[k] + spread)  # of the biased estimate
        if unbiased:
            share = own[k] * inverse[k] - noise * spread  # 1 - error
            undo = 1.0 / jnp.maximum(share, _SMALLEST_SHARE)
            x, error = x.scaled(undo), error * undo
        found.append(jax.lax.complex(x.real, x.imag))
        errors.append(jnp.broadcast_to(error, found[-1].shape))
    return Equalised(jnp.stack(found, axis=-2), jnp.stack(errors, axis=-2))


def _inverse_of_unit_lower(lower: dict[tuple[int, int], _Parts], size: int) -> dict[tuple[int, int], _Parts]:
    """L^-1 below its diagonal of ones."""
    left: dict[tuple[int, int], _Parts] = {}
    for k in range(size):
        for i in range(k + 1, size):
            terms = [lower[i, k], *(lower[i, j].times(left[j, k]) for j in range(k + 1, i))]
            total = _total(terms)
            left[i, k] = _Parts(-total.real, -total.imag)
    return left


def _parts(x: Array) -> _Parts:
    return _Parts(x.real, x.imag)


def _total(values: Sequence[T]) -> T:
    """Sum of arrays, or of complex parts, one after the other: inside one fused loop nothing is written to memory."""
    total = values[0]
    for value in values[1:]:
        total = total.plus(value) if isinstance(total, _Parts) else total + value
    return total
