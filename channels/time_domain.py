"""The sample-spaced channel: a band-limited impulse response, convolved with the transmitted samples.

    gains a_m, delays tau_m --> cir_to_taps --> taps[l]
    samples x[n] ------------------------------> convolve --> y[n] = sum_l taps[l] x[n - l]

It is the long way round to what `GridFading` does in one product, and it is the one that shows what the short
way leaves out: inter-symbol interference when the cyclic prefix is shorter than the channel. Block static:
the taps hold for the whole signal.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float


def cir_to_taps(
    gains: Complex[Array, "*b taps"],
    delays: Float[np.ndarray, " taps"],
    sample_rate: float,
    l_min: int,
    l_max: int,
) -> Complex[Array, "*b lags"]:
    """Taps of lags l_min..l_max after ideal band limitation: sum_m gains[m] sinc(l - sample_rate delays[m]).

    `delays` in seconds, `sample_rate` in hertz (static, like the lags). A delay on the sample grid is exactly
    one tap. Any other spreads over all lags, like 1 / distance: the energy outside l_min..l_max is cut off,
    so give it some (also negative) lags. ValueError for an empty range of lags, a rate that is not positive,
    and a delay beyond the range.
    """
    if l_min > l_max:
        raise ValueError(f"the lags l_min..l_max must not be empty; got {l_min}..{l_max}")
    if not (np.isfinite(sample_rate) and sample_rate > 0):
        raise ValueError(f"sample_rate must be a finite number of hertz > 0; got {sample_rate}")
    samples = np.asarray(delays, np.float64) * sample_rate
    if not np.all((samples > l_min - 1e-6) & (samples < l_max + 1e-6)):
        raise ValueError(
            f"delays of {samples.min():.4g} to {samples.max():.4g} samples leave the lags {l_min}..{l_max}:"
            f" use at least {int(np.floor(samples.min()))}..{int(np.ceil(samples.max()))}"
        )
    pulse = np.sinc(np.arange(l_min, l_max + 1)[None, :] - samples[:, None])
    weights = jnp.asarray(pulse, gains.real.dtype).astype(gains.dtype)
    return jnp.matmul(gains, weights, precision=jax.lax.Precision.HIGHEST)


def convolve(x: Complex[Array, "*#b n"], taps: Complex[Array, "*#b lags"]) -> Complex[Array, "*b m"]:
    """Linear convolution, m = n + lags - 1 samples; entry i is sample i + l_min of the transmitter's clock.

    The batch axes of both broadcast (same rank). By FFT of a size that holds the whole result, so nothing
    wraps around.
    """
    length = x.shape[-1] + taps.shape[-1] - 1
    size = 1 << (length - 1).bit_length()
    return jnp.fft.ifft(jnp.fft.fft(x, size) * jnp.fft.fft(taps, size))[..., :length]
