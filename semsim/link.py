"""The air interface: symbols in, equalised symbols and their noise out.

    symbols -> place on the grid -> x gain -> + noise -> estimate -> equalise -> take from the grid -> symbols, noise

One path carries every payload. The gain is drawn before anything is sent (`fade`), so a transmitter may adapt to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int, Key

import channels
import phy
from channels import Fading
from phy import ChannelEstimate, Equalised, LmmseFilter, LsFilter, Modulation, PilotFilter, ResourceGrid
from semsim.antennas import Antennas, carry_streams
from semsim.payload import Bits, Indices, Line, Symbols

Csi = Literal["perfect", "ls", "lmmse", "robust"]
Demap = Literal["nearest", "app"]


@dataclass(frozen=True)
class Link:
    """Static plan of the air interface; points (modulation, fading, SNR) are data.

    grid: OFDM resource grid, or None for symbols sent one after the other over a flat channel.
    csi: "perfect" hands the receiver the gain (declared in the ledger); the others estimate it from the grid's pilots: "ls"
    by least squares, told how large its error of interpolation is on average; "lmmse" knows the channel's true covariance,
    "robust" the cyclic prefix and the largest Doppler.
    demap: "nearest" decides for the nearest point, "app" for the most likely value of each bit.
    antennas: how many, and what they are used for; it also says what Es/N0 means then.
    dialect: of `channels.DIALECTS`, for symbols sent one after the other; None: the textbook.
    Errors: ValueError for an unknown choice, for estimation without pilots, or for antennas that cannot use the grid.
    """

    grid: ResourceGrid | None = None
    csi: Csi = "perfect"
    demap: Demap = "nearest"
    antennas: Antennas = Antennas()
    dialect: str | None = None

    def __post_init__(self) -> None:
        if self.csi not in get_args(Csi):
            raise ValueError(f"csi must be one of {', '.join(get_args(Csi))}; got {self.csi!r}")
        if self.demap not in get_args(Demap):
            raise ValueError(f"demap must be nearest or app; got {self.demap!r}")
        if self.csi != "perfect" and (self.grid is None or not self.grid.num_pilots):
            raise ValueError(
                f"csi {self.csi} estimates the channel from pilots: it needs a resource grid that has some"
            )
        if self.csi != "perfect" and self.antennas.num_tx > 1:
            raise ValueError(
                f"csi {self.csi} knows the pilots of one transmit antenna, and {self.antennas.num_tx} would send "
                "theirs on top of each other: use csi perfect"
            )
        if self.dialect is not None and (self.grid or self.demap != "nearest" or not self.antennas.single):
            raise ValueError(
                f"the dialect {self.dialect} is spoken by one antenna without a grid, to nearest points"
            )
        if self.grid is not None:
            self.antennas.check_grid(self.grid)

    def signal_shape(self, num_symbols: int) -> tuple[int, ...]:
        """Trailing shape of the signal that carries `num_symbols` from each antenna: [s], or [t, f] on the grid."""
        if self.grid is None:
            return (self.antennas.channel_uses(num_symbols),)
        return (self.grid.num_ofdm_symbols, self.grid.fft_size)

    def capacity(self, num_symbols: int) -> int:
        """Data symbols, padding included, of the signal that carries `num_symbols`."""
        uses = self.signal_shape(num_symbols)[0] if self.grid is None else self.grid.num_data_symbols
        return uses * self.antennas.num_streams


def fade(
    key: Key[Array, ""], link: Link, fading: Fading, batch: tuple[int, ...], num_symbols: int
) -> Complex[Array, "..."]:
    """The gain that the next `batch` transmissions of `num_symbols` will meet, broadcastable to the signal.

    Of several antennas: [*batch, rx, tx, ..], each pair an independent draw.
    """
    pairs = () if link.antennas.single else (link.antennas.num_rx, link.antennas.num_tx)
    return fading.gains(key, (*batch, *pairs, *link.signal_shape(num_symbols)))


def carry(
    key: Key[Array, ""],
    link: Link,
    symbols: Complex[Array, "*b s"],
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    *,
    pilot_filter: PilotFilter | None = None,
    unbiased: bool = True,
) -> Equalised:
    """Sends symbols through a known gain and white noise, and equalises. `noise_var` (N0): scalar or one per transmission.

    pilot_filter: what a receiver that estimates knows of the channel (`scenario.pilot_filters`). unbiased: unit gain after
    equalisation, as demapping needs; otherwise the estimate of least mean square error.
    """
    grid, estimate = link.grid, _estimator(link, pilot_filter)
    if link.dialect is not None:
        noise_var = jnp.reshape(noise_var, jnp.shape(noise_var) + (1,) * (symbols.ndim - jnp.ndim(noise_var)))
        return Equalised(*channels.converse(key, link.dialect, symbols, gain, noise_var, coherent=unbiased))
    if not link.antennas.single:
        received = carry_streams(
            key, link.antennas, grid, _fill(link, symbols), gain, noise_var, estimate=estimate, unbiased=unbiased
        )  # fmt: skip
        return Equalised(*(part[..., : symbols.shape[-1]] for part in received))
    x = symbols if grid is None else phy.place(grid, _fill(link, symbols))
    noise_var = jnp.reshape(noise_var, jnp.shape(noise_var) + (1,) * (x.ndim - jnp.ndim(noise_var)))
    y = channels.awgn(key, gain * x, noise_var)
    if estimate is None:
        equalised = phy.lmmse(y, gain, noise_var, unbiased=unbiased)
    else:
        found = estimate(y, noise_var)
        equalised = phy.lmmse(y, found.gain, noise_var, found.error_var, unbiased=unbiased)
    if grid is None:
        return equalised
    return Equalised(*(phy.take(grid, part)[..., : symbols.shape[-1]] for part in equalised))


def _estimator(
    link: Link, pilot_filter: PilotFilter | None
) -> Callable[[Array, Array], ChannelEstimate] | None:
    """(received grid, N0) -> estimate; None where the receiver is told the gain."""
    if link.grid is None or link.csi == "perfect":
        return None
    if isinstance(pilot_filter, LsFilter) and link.csi == "ls":
        return partial(phy.ls_estimate, link.grid, known=pilot_filter)
    if isinstance(pilot_filter, LmmseFilter) and link.csi != "ls":
        return partial(phy.lmmse_estimate, link.grid, pilot_filter)
    raise ValueError(
        f"csi {link.csi} needs the pilot_filter of its grid and channel (`scenario.pilot_filters`)"
    )


def detect(link: Link, modulation: Modulation, equalised: Equalised) -> Int[Array, "*b s"]:
    """Hard labels by the link's rule."""
    if link.demap == "nearest":
        return modulation.decide(equalised.symbols)
    return phy.decide_llr(modulation, modulation.llr(equalised.symbols, equalised.noise_var))


def random_labels(key: Key[Array, ""], modulation: Modulation, shape: tuple[int, int]) -> Int[Array, "b s"]:
    """Uniform labels of the modulation's own size, of which there are a power of two."""
    transmissions, count = shape
    words = channels.uniform_words(key, (transmissions, (count + 1) // 2))
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(transmissions, -1)[:, :count]
    return halves.astype(jnp.int32) & ((1 << modulation.num_bits_per_symbol) - 1)


def send_labels(
    key: Key[Array, ""],
    link: Link,
    labels: Int[Array, "*b s"],
    modulation: Modulation,
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    pilot_filter: PilotFilter | None = None,
) -> Int[Array, "*b s"]:
    """The digital link: labels -> points of the modulation -> air -> labels."""
    symbols = modulation.modulate(labels)
    return detect(link, modulation, carry(key, link, symbols, gain, noise_var, pilot_filter=pilot_filter))


def send_bits(
    key: Key[Array, ""],
    link: Link,
    bits: Bits,
    modulation: Modulation,
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    pilot_filter: PilotFilter | None = None,
) -> Bits:
    """Bits in groups of the modulation's width, zeros filling the last symbol; `phy.num_carriers(n, 1, width)` symbols.

    modulation: of its own width (`phy.modulation(name)`): the number of symbols is part of the plan. Errors: ValueError
    for a member of a wider bank.
    """
    width = _own_width(modulation)
    labels = phy.indices_to_labels(bits.values, 1, width)
    received = send_labels(key, link, labels, modulation, gain, noise_var, pilot_filter)
    return Bits(phy.labels_to_indices(received, bits.values.shape[-1], 1, width))


def send_indices(
    key: Key[Array, ""],
    link: Link,
    indices: Indices,
    modulation: Modulation,
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    *,
    to_label: Int[Array, " k"],
    bits_per_index: int | None = None,
    pilot_filter: PilotFilter | None = None,
) -> Indices:
    """VQ indices, each on a point of its own or as bits on any modulation.

    to_label: the labelling, a permutation of the K indices (`phy.index_map`). bits_per_index: None maps codeword i straight
    onto the point to_label[i], so K = M; log2 K sends the bits of to_label[i] as one stream, so the modulation is free, and
    must be of its own width as in `send_bits`.
    """
    labels = to_label[indices.values]
    if bits_per_index is None:
        received = send_labels(key, link, labels, modulation, gain, noise_var, pilot_filter)
    else:
        width = _own_width(modulation)
        carried = phy.indices_to_labels(labels, bits_per_index, width)
        received = send_labels(key, link, carried, modulation, gain, noise_var, pilot_filter)
        received = phy.labels_to_indices(received, labels.shape[-1], bits_per_index, width)
    return Indices(jnp.argsort(to_label)[received])


def send_symbols(
    key: Key[Array, ""],
    link: Link,
    symbols: Symbols,
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    pilot_filter: PilotFilter | None = None,
) -> Symbols:
    """Analogue values of unit mean energy -> their least-mean-square-error estimates; differentiable throughout."""
    return Symbols(
        carry(key, link, symbols.values, gain, noise_var, pilot_filter=pilot_filter, unbiased=False).symbols
    )


def _own_width(modulation: Modulation) -> int:
    bits = modulation.num_bits_per_symbol
    if not isinstance(bits, jax.core.Tracer) and jnp.any(jnp.asarray(bits) != modulation.max_bits):
        raise ValueError(
            f"a bit stream needs a modulation of its own width; got {bits} bits in a bank of {modulation.max_bits}"
        )
    return modulation.max_bits


def _fill(link: Link, symbols: Complex[Array, "*b s"]) -> Complex[Array, "*b n"]:
    """Symbols padded with unit ones to fill the signal; the ledger calls them padding."""
    capacity = link.capacity(symbols.shape[-1])
    missing = capacity - symbols.shape[-1]
    if missing < 0:
        raise ValueError(
            f"the grid holds {capacity} data symbols; the payload has {symbols.shape[-1]}: use a larger grid"
        )
    return (
        jnp.pad(symbols, [(0, 0)] * (symbols.ndim - 1) + [(0, missing)], constant_values=1)
        if missing
        else symbols
    )


def declared(link: Link) -> tuple[Line, ...]:
    """What the receiver is told for nothing, for a ledger."""
    known = {
        "perfect": "channel gain", "ls": "mean square error of interpolation", "lmmse": "covariance of the channel",
        "robust": "largest Doppler and longest delay",
    }  # fmt: skip
    return (
        Line("noise variance", 0, "declared: known to the receiver"),
        Line(known[link.csi], 0, f"declared: csi {link.csi}"),
    )


def mean_snr(gain: Complex[Array, "b ..."], noise_var: Float[Array, "*#b"]) -> Float[Array, " b"]:
    """Es/N0 of each transmission after its own fading, averaged over the signal: what link adaptation looks at.

    Of several antennas: the mean over those that receive, what combining gains not included.
    """
    power = jnp.mean(jnp.abs(gain) ** 2, axis=tuple(range(1, gain.ndim)))
    return power / noise_var


def split_keys(key: Key[Array, ""]) -> tuple[Key[Array, ""], Key[Array, ""], Key[Array, ""]]:
    """(source, fading, noise): the same three uses in every system, so that systems meet the same channel at one point."""
    key_source, key_fading, key_noise = jax.random.split(key, 3)
    return key_source, key_fading, key_noise
