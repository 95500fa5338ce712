"""Several antennas on the link: how symbols spread over them, and come back.

    symbols -> streams -> [grid] -> x gain / sqrt(num_tx), summed over transmit antennas -> + noise -> detect -> symbols

The antennas together send energy 1 in a channel use, so 1 / noise_var, the Es/N0 of a point, is the mean energy that *each
receive antenna* gets in a channel use over N0. That is the energy of a data symbol for maximum-ratio combining and for
Alamouti's code, and of `num_tx` data symbols for multiplexing. Letters: `s` the signal, [s] or [t, f] on a grid.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Key

import channels
import phy
from phy import ChannelEstimate, Equalised, ResourceGrid
from phy.mimo import alamouti_detect, alamouti_encode, lmmse_detect

Scheme = Literal["none", "mrc", "multiplexing", "alamouti"]
SCHEMES = ("none", "mrc", "multiplexing", "alamouti")
_ANTENNAS = 0x616E74
MOST_ANTENNAS = 256
"""Of a side: a block of 64 transmissions takes 34 MB in each array then, and seconds."""
MOST_STREAMS = 4
"""Detection is written out for its number of streams: four compile in seconds, eight in minutes."""


@dataclass(frozen=True)
class Antennas:
    """Static plan: how many antennas, and what they are used for. The gains of all pairs are independent draws.

    scheme: "none" one antenna each; "mrc" one sends, maximum-ratio combining of all that receive; "multiplexing" each
    antenna sends a stream of its own, separated by linear detection of least mean square error; "alamouti" two antennas
    send each pair of symbols in two channel uses, adjacent symbols of a stream or of a subcarrier.
    Errors: ValueError, at construction, for numbers that do not fit the scheme.
    """

    num_tx: int = 1
    num_rx: int = 1
    scheme: Scheme = "none"

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"the scheme must be one of {', '.join(SCHEMES)}; got {self.scheme!r}")
        for name, count in (("num_tx", self.num_tx), ("num_rx", self.num_rx)):
            if not 1 <= count <= MOST_ANTENNAS:
                raise ValueError(f"{name} must be in [1, {MOST_ANTENNAS}]; got {count}")
        pair = f"got {self.num_tx} transmit and {self.num_rx} receive"
        if self.scheme == "none" and (self.num_tx, self.num_rx) != (1, 1):
            raise ValueError(
                f"several antennas need a scheme, one of {', '.join(SCHEMES[1:])}; {pair} antennas and none"
            )
        if self.scheme == "mrc" and self.num_tx != 1:
            raise ValueError(
                f"mrc combines the receive antennas of one transmit antenna; {pair} antennas: use multiplexing or alamouti"
            )
        if self.scheme == "alamouti" and self.num_tx != 2:
            raise ValueError(f"alamouti sends from 2 antennas; {pair} antennas")
        if self.scheme == "multiplexing" and not 2 <= self.num_tx <= min(self.num_rx, MOST_STREAMS):
            raise ValueError(
                f"multiplexing separates 2 to {MOST_STREAMS} streams by at least as many receive antennas; {pair} antennas"
            )

    @property
    def num_streams(self) -> int:
        """Data symbols in a channel use."""
        return self.num_tx if self.scheme == "multiplexing" else 1

    def channel_uses(self, num_symbols: int) -> int:
        """How many carry so many data symbols; Alamouti's code takes them in pairs."""
        uses = -(-num_symbols // self.num_streams)
        return uses + uses % 2 if self.scheme == "alamouti" else uses

    @property
    def coherence(self) -> int:
        """Symbols that share a gain where a channel draws one per symbol: the two uses of a pair of Alamouti's code."""
        return 2 if self.scheme == "alamouti" else 1

    @property
    def single(self) -> bool:
        """One antenna each side: nothing to combine."""
        return self.num_tx == self.num_rx == 1

    def check_grid(self, grid: ResourceGrid) -> None:
        """ValueError unless the scheme can use the grid."""
        rows, odd = divmod(grid.num_data_symbols, grid.num_effective_subcarriers)
        combed = bool(grid.num_pilots) and grid.pilot_subcarrier_stride > 1
        if self.scheme == "alamouti" and (combed or odd or rows % 2):
            raise ValueError(
                "alamouti sends pairs of whole OFDM symbols: it needs an even number of them without pilots, and "
                f"pilot_subcarrier_stride 1; got {grid.num_ofdm_symbols} OFDM symbols, "
                f"{len(grid.pilot_ofdm_symbol_indices)} of them with pilots of stride {grid.pilot_subcarrier_stride}"
            )


def carry_streams(
    key: Key[Array, ""],
    antennas: Antennas,
    grid: ResourceGrid | None,
    symbols: Complex[Array, "*b n"],
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    *,
    estimate: Callable[[Array, Array], ChannelEstimate] | None = None,
    unbiased: bool = True,
) -> Equalised:
    """The air between several antennas: symbols that fill the signal, and as many estimates of them.

    With several streams the k-th antenna sends the k-th of equal parts. gain: [*b, rx, tx, *s], of mean power 1 each.
    estimate: from the grid that a receive antenna got and N0, where the receiver is not told the gain; one stream only.
    """
    # Unit energy from each antenna and num_tx times the noise is the same link, and scales fewer numbers.
    noise_var = noise_var * antennas.num_tx
    if antennas.scheme == "alamouti":
        return _carry_pairs(key, grid, symbols, gain, noise_var, unbiased)
    parts = _split(symbols, antennas.num_streams)
    x = parts if grid is None else phy.place(grid, parts)
    noise = _on(noise_var, x.ndim - 1)
    y = _air(key, x, gain, noise, signal_axes=x.ndim - symbols.ndim)
    if estimate is not None:
        found = estimate(y, _on(noise_var, y.ndim))
        # Each receive antenna learns its gain from as much noise as the others: one variance for all.
        gain, noise = found.gain[..., None, :, :], noise + found.error_var[..., 0, :, :]
    if grid is None:
        detected = lmmse_detect(y, gain, noise, unbiased)
    else:
        detected = lmmse_detect(_flat(y, grid), _flat(gain, grid), _flat(noise, grid), unbiased)
        detected = Equalised(*(phy.take(grid, part.reshape(x.shape)) for part in detected))
    return Equalised(*(_join(part) for part in detected))


def _carry_pairs(
    key: Key[Array, ""],
    grid: ResourceGrid | None,
    symbols: Complex[Array, "*b n"],
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    unbiased: bool,
) -> Equalised:
    """Alamouti's code. The i-th pair is made of symbols i and i + n/2, since halves need no gather.

    On a grid only data positions are simulated: nothing looks at the pilots.
    """
    x, gain = alamouti_encode(_split(symbols, 2)), _pairs_of_uses(grid, gain)
    y = _air(key, x, gain, _on(noise_var, x.ndim - 1), signal_axes=2)
    detected = alamouti_detect(y, gain, _on(noise_var, symbols.ndim), unbiased)
    return Equalised(*(_join(part) for part in detected))


def _pairs_of_uses(grid: ResourceGrid | None, gain: Complex[Array, "..."]) -> Complex[Array, "..."]:
    """[*b, rx, tx, 2, #p]: the gains in the first and in the second channel use of each pair."""
    together = 1
    if grid is not None:
        gain, together = phy.take(grid, gain), grid.num_effective_subcarriers
    elif gain.shape[-1] == 1:
        return jnp.stack([gain, gain], axis=-2)
    pairs = gain.reshape(*gain.shape[:-1], -1, 2, together)
    return jnp.moveaxis(pairs, -2, -3).reshape(*gain.shape[:-1], 2, -1)


def _air(
    key: Key[Array, ""],
    x: Complex[Array, "..."],
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "..."],
    signal_axes: int,
) -> Complex[Array, "..."]:
    """[*b, tx, *s] through gains [*b, rx, tx, *s]: what each receive antenna gets, [*b, rx, *s], with noise of its own.

    noise_var: with the axes of what one antenna gets.
    """
    axis = -1 - signal_axes
    key_antennas = jax.random.fold_in(key, _ANTENNAS)  # apart from what a caller makes of its key

    def receive(antenna: Array) -> Array:
        row = jax.lax.dynamic_index_in_dim(gain, antenna, axis - 1, keepdims=False)
        arriving = [
            jax.lax.index_in_dim(row, k, axis, keepdims=False)
            * jax.lax.index_in_dim(x, k, axis, keepdims=False)
            for k in range(x.shape[axis])
        ]
        # Written out, not a sum over an axis: it fuses into one pass.
        return channels.awgn(
            jax.random.fold_in(key_antennas, antenna), functools.reduce(jnp.add, arriving), noise_var
        )

    # What a loop makes is made once: otherwise XLA's CPU compiler would send anew for every number that detection needs.
    y = jax.lax.platform_dependent(
        jnp.arange(gain.shape[axis - 1]),
        cpu=functools.partial(jax.lax.map, receive),
        default=jax.vmap(receive),
    )
    return jnp.moveaxis(y, 0, axis)


def _on(noise_var: Array, ndim: int) -> Array:
    """N0, a scalar or one per transmission, with `ndim` axes."""
    return jnp.reshape(noise_var, jnp.shape(noise_var) + (1,) * (ndim - jnp.ndim(noise_var)))


def _flat(x: Array, grid: ResourceGrid) -> Array:
    """The grid as one axis; what is common to all of it stays so."""
    elements = grid.num_ofdm_symbols * grid.fft_size
    return x.reshape(*x.shape[:-2], elements if x.shape[-2:] != (1, 1) else 1)


def _split(symbols: Complex[Array, "*b n"], parts: int) -> Complex[Array, "*b k m"]:
    return symbols.reshape(*symbols.shape[:-1], parts, -1)


def _join(parts: Array) -> Array:
    return parts.reshape(*parts.shape[:-2], -1)
