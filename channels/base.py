"""What a channel is: key, signal, noise variance in; what the receiver gets and the gain that made it out.

          key_fading             key_noise, noise_var
              |                          |
    x --> [ x gain ] ---------------> [ + noise ] --> y

Letters: `*b` free batch axes (every entry is an independent realisation), `s` symbols. Signals are `[*batch,
symbol]` or, on a resource grid, `[*batch, symbol, subcarrier]`. The mean symbol energy is 1 by convention of
the sender; nothing here measures or rescales it, so 1 / noise_var is the SNR averaged over fading.
"""

import abc
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, PRNGKeyArray

from channels.random import complex_normal


class Received(NamedTuple):
    """y = gain * x + noise."""

    y: Array  # [*b, ...], the shape of the signal
    gain: Array  # broadcastable to y; known to the receiver only if the link says so
    noise_var: Array  # [] or broadcastable to y: variance N0 of a complex noise sample


class Fading(abc.ABC):
    """A random multiplicative channel with E|gain|^2 = 1."""

    @abc.abstractmethod
    def gains(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Complex[Array, "..."]:
        """The gain met by a signal of this shape: same rank, broadcastable to it. Consumes `key`.

        Laws: E|gain|^2 = 1 at every position; independent across the batch axes; the same key gives the same
        gain whatever is sent and whatever the noise, so a transmitter may look at it first (link adaptation):
        `gain = fading.gains(key_fading, x.shape)`, then `y = awgn(key_noise, gain * x, noise_var)`.
        """


def transmit(key: PRNGKeyArray, fading: Fading, x: Complex[Array, "..."], noise_var: ArrayLike) -> Received:
    """Send `x` through the fading and add white noise of variance `noise_var` (N0). Consumes `key`.

    The noise does not depend on the gain: it is never derived from the faded signal at hand. `noise_var`: []
    or broadcastable to `x` with the same rank. TypeError if `x` is not complex.
    """
    _require_complex(x)
    key_fading, key_noise = jax.random.split(key)
    gain = fading.gains(key_fading, x.shape)
    return Received(awgn(key_noise, gain * x, noise_var), gain, jnp.asarray(noise_var, x.real.dtype))


def awgn(key: PRNGKeyArray, x: Complex[Array, "..."], noise_var: ArrayLike) -> Complex[Array, "..."]:
    """`x` plus white circular Gaussian noise of variance `noise_var` (N0), half per real dimension.

    `noise_var`: [] or broadcastable to `x` with the same rank, not negative (traced, hence not checked: a
    negative one gives NaN). TypeError if `x` is not complex. Consumes `key`.
    """
    _require_complex(x)
    noise = complex_normal(key, x.shape).astype(x.dtype)  # CN(0, 1): total variance 1
    return x + jnp.sqrt(jnp.asarray(noise_var, x.real.dtype)) * noise


def _require_complex(x: Array) -> None:
    """The noise of a real sample would be a matter of opinion (3.01 dB)."""
    if not jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"a channel needs complex symbols; got {x.dtype}: pair real values into complex ones")
