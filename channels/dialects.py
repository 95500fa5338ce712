"""Channels of public semantic communication code, as found: what "10 dB Rayleigh" means there, on a stream of symbols.

    x --> [ x gain ] --> [ + noise of the dialect ] --> [ receiver: coherent, or the dialect's own ] --> symbols

The default of everything else is the textbook; a dialect is for laying a published curve over ours. Its SNR is the label
that its authors wrote, Es/N0 by the textbook is `shift_db` more. Facts are from the code named in each entry, none of which
is used here. Real values there are the real and imaginary parts of symbols here, in pairs; what is "one per batch" there is
one per transmission here, so that transmissions stay independent and intervals honest.
"""

import difflib
import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from channels.base import Fading, awgn
from channels.flat import no_fading, rayleigh, rician


@dataclass(frozen=True)
class Dialect:
    """What one code base does between sender and receiver, and which textbook channel that is.

    gain: "complex" Rayleigh; "magnitude", its modulus, the phase removed; "real", an N(0, 1) of its own for the real and for
    the imaginary part; "rician", K = 0 dB; "none". coherence: 1: a gain for each symbol, 0: one for each transmission.
    reference: power that the noise is set from: "label", 1; "sent", "faded": measured on the transmission before or after
    the gain. shift_db: textbook mean Es/N0 above the label. receiver: what reaches the decoder of an analogue code,
    "lmmse" or "zf" by the true gain, or "none".
    law: channel of the textbook with the same error rates at Es/N0 = label + shift; None where there is none.
    """

    summary: str
    gain: Literal["complex", "magnitude", "real", "rician", "none"]
    coherence: int
    reference: Literal["label", "sent", "faded"]
    receiver: Literal["lmmse", "zf", "none"]
    shift_db: float
    law: str | None


# Two real values of unit power, noise of variance 1 / (2 SNR) on each: Es = 2, N0 = 1 / SNR.
_PER_REAL_VALUE = 10 * math.log10(2)

_DIALECTS = {
    "textbook": Dialect(
        "h ~ CN(0, 1) per symbol, N0 = 1 / SNR", "complex", 1, "label", "lmmse", 0.0, "rayleigh"
    ),
    "swinjscc": Dialect(
        "semcomm/SwinJSCC, WITT, semantics-pytorch: |h| per symbol, no equaliser, power normalised over the batch and undone"
        " at the receiver; described as block fading",
        "magnitude", 1, "sent", "none", 0.0, "rayleigh",
    ),
    "deepsc": Dialect(
        "13274086/DeepSC, the cap on its power reached: 1 / sqrt(2 SNR) on values of unit power, one h per batch, inverted",
        "complex", 0, "label", "zf", _PER_REAL_VALUE, "rayleigh-block",
    ),
    "deepsc-awgn": Dialect(
        "13274086/DeepSC without fading", "none", 0, "label", "zf", _PER_REAL_VALUE, "awgn"
    ),
    "deepsc-rician": Dialect(
        "13274086/DeepSC, Rician K = 1 whose E|h|^2 is 2: mean and deviation are given to each part in full",
        "rician", 0, "label", "zf", 2 * _PER_REAL_VALUE, "rician-block",
    ),
    "chunbaobao": Dialect(
        "chunbaobao/Deep-JSCC-PyTorch: P / (2 SNR) on values of power P, two real Gaussian gains per batch, no equaliser",
        "real", 0, "sent", "none", _PER_REAL_VALUE, None,
    ),
    "chunbaobao-awgn": Dialect(
        "chunbaobao/Deep-JSCC-PyTorch without fading", "none", 0, "sent", "none", _PER_REAL_VALUE, "awgn"
    ),
    "fed-semcom": Dialect(
        "samerlahoud/fed-semcom: a real Gaussian gain per value, 1 / (2 SNR) on values of any power, (h x + n) / (h + 1e-6)",
        "real", 1, "label", "zf", 0.0, None,
    ),
    "lizyoko9": Dialect(
        "lizyoko9/semantic-comm-benchmark: |h| per image, 1 / (2 SNR) on values of unit power, zero forcing",
        "magnitude", 0, "sent", "zf", _PER_REAL_VALUE, "rayleigh-block",
    ),
    "kaira": Dialect(
        "ipc-lab/kaira: noise set from the faded power, which undoes block fading at batch 1",
        "complex", 0, "faded", "none", 0.0, "awgn",
    ),
}  # fmt: skip

DIALECTS = tuple(_DIALECTS)
RICIAN_K_DB = 0.0
_SMALLEST = 1e-6  # no divisor is smaller, as in fed-semcom, which adds so much to it


class Heard(NamedTuple):
    """Symbols in the sender's scale, and the variance of their complex error (of an analogue receiver: of its noise)."""

    symbols: Array  # [*b, s]
    noise_var: Array  # [*b, s]


def dialect(name: str) -> Dialect:
    """Errors: ValueError for an unknown name."""
    if name not in _DIALECTS:
        near = difflib.get_close_matches(name, DIALECTS, n=1)
        hint = f": did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown dialect {name!r}{hint} Choices: {', '.join(DIALECTS)}")
    return _DIALECTS[name]


def label_shift_db(name: str) -> float:
    """What to add to the SNR on a published curve of this dialect, dB: Es/N0 of the textbook channel `dialect(name).law`.

    Errors: ValueError for an unknown name, and for a dialect that no shift turns into a textbook channel.
    """
    found = dialect(name)
    if found.law is None:
        raise ValueError(
            f"no shift turns {name} into a textbook channel: its gains are real Gaussians, one for each real value; compare "
            "it with simulations in the same dialect only"
        )
    return found.shift_db


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DialectFading(Fading):
    """The gains of a dialect, [*b, s] or [*b, 1]. E|gain|^2 = 1, what the code has more of is in its shift; but "real" gains
    are two, one in each part, each of unit power."""

    name: str = field(metadata={"static": True})

    def gains(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Complex[Array, "..."]:
        found = dialect(self.name)
        if found.gain == "none":
            return no_fading().gains(key, shape)
        if found.gain == "rician":
            return rician(RICIAN_K_DB, found.coherence).gains(key, shape)
        gain = rayleigh(found.coherence).gains(key, shape)
        if found.gain == "magnitude":
            return jnp.abs(gain).astype(gain.dtype)
        return math.sqrt(2) * gain if found.gain == "real" else gain


def converse(
    key: PRNGKeyArray,
    name: str,
    x: Complex[Array, "*b s"],
    gain: Complex[Array, "*b #s"],
    noise_var: ArrayLike,
    *,
    coherent: bool = True,
) -> Heard:
    """Sends symbols of unit mean energy in a dialect; `gain` is its `DialectFading`'s. Consumes `key`.

    noise_var: 10^(-label / 10), [] or broadcastable to `x`: the noise that is added follows from it by the dialect.
    coherent: divide by the true gain, as detection needs (whatever the dialect does); otherwise its own receiver, for codes
    that decode analogue values. Laws: coherent error rates are those of `law` at Es/N0 = label + `label_shift_db`.
    The parts of a symbol with "real" gains err by different amounts, of which `noise_var` is the mean: no input for LLRs.
    """
    found = dialect(name)
    faded = jax.lax.complex(gain.real * x.real, gain.imag * x.imag) if found.gain == "real" else gain * x
    variance = jnp.asarray(noise_var, x.real.dtype) * 10 ** (-found.shift_db / 10)
    if found.reference != "label":
        measured = x if found.reference == "sent" else faded
        variance = variance * jnp.mean(jnp.abs(measured) ** 2, axis=-1, keepdims=True)
    y = awgn(key, faded, variance)
    variance = jnp.broadcast_to(variance, x.shape)
    receiver = "zf" if coherent else found.receiver
    if receiver == "none":
        return Heard(y, variance)
    if found.gain == "real":
        real, imag = _away_from_zero(gain.real), _away_from_zero(gain.imag)
        return Heard(
            jax.lax.complex(y.real / real, y.imag / imag), variance * (1 / real**2 + 1 / imag**2) / 2
        )
    power = jnp.abs(gain) ** 2 + (variance if receiver == "lmmse" else 0.0)
    power = jnp.maximum(power, _SMALLEST**2)
    return Heard(y * jnp.conj(gain) / power, variance / power)


def _away_from_zero(gain: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(jnp.abs(gain) < _SMALLEST, _SMALLEST, gain)
