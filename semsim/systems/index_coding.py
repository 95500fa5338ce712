"""How the VQ indices of an image get on the air: a point each, or as bits of a labelling, with a channel code or without.

    indices -> labels -> bits -> LDPC -> symbols of any modulation -> air -> soft bits -> decoder -> labels -> indices

At equal channel use: N indices take N symbols, as when each is a point, so bits of an index = bits of a symbol x coderate.
The code has the codebook of a lower order to protect, with the difference in bits.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int, Key

import phy
from models.vq import VectorQuantizer
from phy import PilotFilter
from phy.coding import TransportBlock
from semsim.coding import Decoding, soft_words, word_symbols
from semsim.energy import Sent, index_amplitude, sent
from semsim.link import Link, carry, detect
from semsim.names import check_name
from semsim.payload import Ledger, Line


@dataclass(frozen=True)
class IndexCoding:
    """How indices become symbols.

    Errors: ValueError for unknown names, a coderate that is no number in (0, 1), a code without labels, and settings of a
    code where there is none.
    """

    index_map: Literal["point", "labelled"] = "point"
    """Of VQ indices: codeword i is point i of a constellation as large as its codebook, or each index is written as the bits
    of its label, which any modulation carries; likely errors lead to similar codewords then."""
    code: Literal["none", "ldpc"] = "none"
    """Channel code of the labelled indices."""
    coderate: str = "1"
    """Index bits per sent bit: 1/2 or 0.5."""
    decoding: Decoding = Decoding()

    def __post_init__(self) -> None:
        check_name("index map", self.index_map, ("point", "labelled"))
        check_name("code", self.code, ("none", "ldpc"))
        try:
            rate = self.rate
        except (ValueError, ZeroDivisionError):
            raise ValueError(
                f"coderate is a fraction or a number: 1/2 or 0.5; got {self.coderate!r}"
            ) from None
        if self.code == "none":
            if rate != 1 or self.decoding != Decoding():
                raise ValueError(
                    "coderate, num_iterations, rule, ... are settings of a channel code: add code ldpc"
                )
            return
        if self.index_map == "point":
            raise ValueError("a code carries bits, not points: take index_map labelled")
        if not 0 < rate < 1:
            raise ValueError(f"the coderate of a code lies between 0 and 1; got {self.coderate}")

    @property
    def rate(self) -> Fraction:
        return Fraction(self.coderate)

    @property
    def coded(self) -> bool:
        return self.code != "none"

    def priced(self, ledger: Ledger) -> Ledger:
        """The ledger of a system whose indices are points, for its indices as bits: the same channel uses."""
        note = "as bits, uncoded"
        if self.coded:
            note = (
                f"as bits, NR {self.code} at coderate {self.rate}, one word an image, used as decided when its checks fail; "
                "no CRC, for which there is no room at equal channel use"
            )
        declared = Line("index labelling", 0, "fixed in the plan: made of the trained codebook")
        return replace(
            ledger, payload=replace(ledger.payload, note=note), overhead=(*ledger.overhead, declared)
        )


@dataclass(frozen=True)
class IndexPlan:
    """Static plan: the codebook `order`, row `row` of a system's tables, as bits on `modulation`. Hashable, never traced."""

    modulation: str
    order: str
    row: int
    coding: IndexCoding

    @property
    def bits_per_index(self) -> int:
        return phy.num_bits(self.order)

    @property
    def label(self) -> dict[str, str | int]:
        """What it adds to the name of a point. `words`: of a transmission."""
        how, decoding = self.coding, self.coding.decoding
        found: dict[str, str | int] = {"index_map": how.index_map, "order": self.order}
        if how.coded:
            found |= {
                "demap": decoding.llr, "code": how.code, "coderate": str(how.rate), "words": 1,
                "decoder": f"{decoding.schedule} {decoding.rule} {decoding.precision} {decoding.num_iterations}",
            }  # fmt: skip
        return found

    def block(self, num_indices: int) -> TransportBlock:
        """The word of an image: its index bits, without a CRC, on as many symbols as it has indices."""
        width = phy.num_bits(self.modulation)
        return TransportBlock(num_indices * self.bits_per_index, num_indices * width, width, crc=None)


def index_plan(orders: tuple[str, ...], modulation: str, coding: IndexCoding) -> IndexPlan:
    """The plan of a modulation for a system with one codebook for each of the constellations `orders`.

    Errors: ValueError, with all that would do, where no codebook has the bits that an index gets.
    """
    if modulation == "auto":
        raise ValueError(
            "auto takes each realisation's own order, and indices as bits have one plan: name modulations"
        )
    check_name("modulation", modulation, phy.MODULATIONS)
    bits = phy.num_bits(modulation) * coding.rate
    for row, order in enumerate(orders):
        if phy.num_bits(order) == bits:
            return IndexPlan(modulation, order, row, coding)
    raise ValueError(
        f"{modulation} at coderate {coding.rate} leaves {bits} bits for an index, and there are codebooks for "
        f"{', '.join(str(phy.num_bits(order)) for order in orders)}. Possible: {_possible(orders, coding.coded)}"
    )


def _possible(orders: tuple[str, ...], coded: bool) -> str:
    found = {
        name: [
            str(Fraction(phy.num_bits(order), phy.num_bits(name)))
            for order in orders
            if (phy.num_bits(order) < phy.num_bits(name) if coded else order == name)
        ]
        for name in phy.MODULATIONS
    }
    return "; ".join(f"{name} {' '.join(rates)}" for name, rates in found.items() if rates)


def labelling(
    quantizer: VectorQuantizer, row: int, confusion: Float[np.ndarray, "k k"]
) -> Int[np.ndarray, " k"]:
    """index -> label of one codebook, so that likely errors lead to similar codewords (`phy.pseudo_gray`).

    confusion[sent, decided]: of labels; codewords are used as often as training found.
    """
    size = quantizer.sizes[row]
    codewords = np.asarray(quantizer.codewords[...], np.float64)[row, :size]
    usage = np.asarray(quantizer.count[...], np.float64)[row, :size]
    return phy.pseudo_gray(codewords, confusion, usage / usage.sum())


def bit_confusion(bits: int, rate: float) -> Float[np.ndarray, "k k"]:
    """P(decided | sent) of labels whose bits err independently with probability `rate`."""
    labels = np.arange(2**bits)
    distance = np.bitwise_count(labels[:, None] ^ labels[None, :]).astype(int)
    return rate**distance * (1 - rate) ** (bits - distance)


class Arrived(NamedTuple):
    """Indices as decided. wrong_words: [b], 1 where the word of an image has a wrong bit; None without a code."""

    indices: Array  # [b, n]
    wrong_words: Array | None
    sent: Sent


def send_as_bits(
    key: Key[Array, ""],
    link: Link,
    plan: IndexPlan,
    indices: Int[Array, "b n"],
    labels: Int[Array, " k"],
    usage: Float[Array, " k"],
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    pilot_filter: PilotFilter | None = None,
) -> Arrived:
    """The indices of each image through the air. labels: of `labelling`, data like the codebook they are made of. usage: of
    the indices, to scale.

    Without a code an index is a symbol, and points are sent with the gain that makes their mean energy 1. Coded bits are
    scrambled: all points are sent equally often, whatever the indices.
    """
    modulation, width = phy.modulation(plan.modulation), plan.bits_per_index
    batch, count = indices.shape
    if not plan.coding.coded:
        amplitude = index_amplitude(usage, modulation.modulate(labels))
        symbols = amplitude * modulation.modulate(labels[indices])
        heard = carry(key, link, symbols, gain, noise_var, pilot_filter=pilot_filter)
        equalised = phy.Equalised(heard.symbols / amplitude, heard.noise_var / amplitude**2)
        received = detect(link, modulation, equalised)
        return Arrived(jnp.argsort(labels)[received], None, sent(symbols))
    decoding, block = plan.coding.decoding, plan.block(count)
    payload = phy.label_bits(labels[indices], width, width).reshape(batch, 1, count * width)
    symbols = word_symbols(block, payload, modulation, interleaved=True)
    soft = soft_words(
        key,
        link,
        block,
        symbols,
        modulation,
        gain,
        noise_var,
        llr=decoding.llr,
        interleaved=True,
        pilot_filter=pilot_filter,
    )
    # What the checks say is not used: a word that failed still has most of its bits right.
    decided = block.receive(soft, decoding.decoder(block, (0,), batch)).bits
    received = phy.labels_of_bits(decided.reshape(batch, count, width))
    wrong = jnp.any(decided != payload, axis=(1, 2)).astype(jnp.int32)
    return Arrived(jnp.argsort(labels)[received], wrong, sent(symbols))
