"""Indices over the air, one codebook for each modulation order: what uJSCC is made of, for any codec of indices.

    image -> encoder(order) -> nearest codeword -> index -> label -> QAM -> grid, fading, noise -> nearest point
          -> label -> index -> codeword -> decoder(order) -> image

Codewords are not used equally, and points of a constellation do not have one energy: each order is sent with the gain that
makes its mean energy 1 (`semsim.energy`), which the receiver takes back.

`transmit_bits` sends the indices as bits instead, on any modulation and with a channel code (`semsim.systems.index_coding`).
A codec of this kind has `encode`, `decode`, `decode_soft`, `vectors`, `picture`, `quantise` and `quantizer`, as
`models.UJSCC` and `models.Indexed` do.

Huh, Seo, Choi, "Universal Joint Source-Channel Coding for Modulation-Agnostic Semantic Communication", IEEE JSAC 43(7),
2025, arXiv 2405.10749. What its abstract does not settle (boundaries, loss weights) is our choice, named so here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

import phy
from channels import no_fading
from models import Quantised, VectorQuantizer, perplexity
from phy import Qam, ResourceGrid
from semsim.energy import index_amplitude, sent
from semsim.link import Link, carry, declared, detect, fade, mean_snr, send_labels, split_keys
from semsim.names import check_name
from semsim.payload import Ledger, Line, grid_overhead
from semsim.recipe import Recipes
from semsim.systems.base import AsBits, Delivered, Point, System
from semsim.systems.index_coding import IndexPlan, bit_confusion, index_plan, labelling, send_as_bits

ORDERS = ("bpsk", "qpsk", "qam16", "qam64", "qam256")
"""Row k of every per-order table of the codec belongs to ORDERS[k]."""

BITS = tuple(phy.num_bits(name) for name in ORDERS)
BOUNDARIES_DB = (5.0, 12.0, 20.0, 26.0)
"""Es/N0 from which the next order is used: uncoded SER is 5-11 % just above. Ours: the paper's values were not found."""
SNR_RANGE_DB = (0.0, 30.0)
LOST_BITS = 0.05
"""Share of wrong bits that labels under a code are made for: about what LDPC decoders leave in a word they just lose."""
AUTO = -1
"""The order that means: let the SNR of each realisation choose."""

GRID = ResourceGrid(num_ofdm_symbols=6, fft_size=64, cyclic_prefix_length=5, pilot_ofdm_symbol_indices=(1, 4))
"""One 32 x 32 image: 256 data symbols, 128 pilots, a prefix of 2.6 us at 30 kHz (longer than TDL-A at 100 ns)."""

Decoding = Literal["hard", "soft"]


@runtime_checkable
class IndexCodec(Protocol):
    """A codec of indices, as the link sees it. config: with `image_shape` and `num_vectors`."""

    config: Any
    quantizer: VectorQuantizer

    def encode(self, image: Array, row: Array) -> Array: ...
    def decode(self, indices: Array, row: Array) -> Array: ...
    def decode_soft(self, posterior: Array, row: Array) -> Array: ...
    def vectors(self, image: Array, row: Array, *, train: bool = False) -> Array: ...
    def picture(self, vectors: Array, row: Array, *, train: bool = False) -> Array: ...
    def quantise(self, image: Array, row: Array, *, train: bool = False) -> Quantised: ...


def snr_interval(row: Int[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Lower and upper Es/N0 in dB at which an order is meant to be used."""
    edges = jnp.asarray((SNR_RANGE_DB[0], *BOUNDARIES_DB, SNR_RANGE_DB[1]))
    return edges[row], edges[row + 1]


def choose_order(snr_db: Float[Array, "..."]) -> Int[Array, "..."]:
    """Link adaptation by fixed boundaries: the highest order whose interval has begun."""
    return jnp.searchsorted(jnp.asarray(BOUNDARIES_DB), snr_db, side="right")


def transmit(
    codec: IndexCodec,
    images: Float[Array, "b h w 3"],
    key: Key[Array, ""],
    link: Link,
    point: Point,
    *,
    labels: Int[Array, "r k"] | None = None,
    decoding: Decoding = "hard",
) -> Delivered:
    """Images through the whole system; `point.order` is a row of ORDERS, or AUTO for one chosen per realisation.

    labels: index -> label of each order, padded (default: index i is point i). decoding: "hard" looks up the codeword of the
    detected index; "soft" hands the decoder the posterior mean of the codeword, E[e | y].
    """
    _, key_fading, key_noise = split_keys(key)
    labels = natural_labels() if labels is None else labels
    gain = fade(key_fading, link, point.fading, (images.shape[0],), codec.config.num_vectors)
    chosen = choose_order(jnp.asarray(phy.linear_to_db(mean_snr(gain, point.noise_var))))
    orders = jnp.where(point.order == AUTO, chosen, point.order)
    modulation = Qam(jnp.asarray(BITS)[orders][:, None], max_bits=max(BITS))
    labelled = labels[orders[:, None], codec.encode(images, orders)]
    amplitude = amplitudes(codec, labels)[orders][:, None]
    symbols = amplitude * modulation.modulate(labelled)
    heard = carry(key_noise, link, symbols, gain, point.noise_var, pilot_filter=point.pilot_filter)
    equalised = phy.Equalised(heard.symbols / amplitude, heard.noise_var / amplitude**2)
    received = detect(link, modulation, equalised)
    if decoding == "hard":
        output = codec.decode(jnp.argsort(labels, axis=1)[orders[:, None], received], orders)
    else:
        of_labels = modulation.posterior(equalised.symbols, equalised.noise_var)
        of_indices = jnp.take_along_axis(of_labels, labels[orders][:, None, :], axis=-1)
        output = codec.decode_soft(of_indices, orders)
    return Delivered(output, orders, jnp.sum(labelled != received, axis=-1), sent=sent(symbols))


def transmit_bits(
    codec: IndexCodec,
    images: Float[Array, "b h w 3"],
    key: Key[Array, ""],
    link: Link,
    point: Point,
    plan: IndexPlan,
) -> Delivered:
    """Images whose indices travel as the bits of `point.labels`, in the order of the plan: same symbols, fades and noise.

    Symbol errors are wrong indices.
    """
    if point.labels is None:
        raise ValueError(
            "indices travel as bits by a labelling: give point.labels, of `semsim.systems.index_coding`"
        )
    _, key_fading, key_noise = split_keys(key)
    gain = fade(key_fading, link, point.fading, (images.shape[0],), codec.config.num_vectors)
    orders = jnp.broadcast_to(point.order, images.shape[:1])
    indices = codec.encode(images, orders)
    usage = codec.quantizer.count[...][plan.row, : len(point.labels)]
    arrived = send_as_bits(
        key_noise, link, plan, indices, point.labels, usage, gain, point.noise_var, point.pilot_filter
    )
    wrong = jnp.sum(indices != arrived.indices, axis=-1)
    output = codec.decode(arrived.indices, orders)
    return Delivered(output, orders, wrong, arrived.wrong_words, arrived.sent)


def amplitudes(codec: IndexCodec, labels: Int[Array, "r k"]) -> Float[Array, " r"]:
    """Of each order what its points are multiplied by, so that their mean energy is 1. labels: as `transmit`."""
    points = Qam(jnp.asarray(BITS)[:, None], max_bits=max(BITS)).modulate(labels)
    return index_amplitude(codec.quantizer.count[...], points)


def natural_labels() -> Int[Array, "r k"]:
    """Index i of every order is the point with label i."""
    return jnp.tile(jnp.arange(2 ** max(BITS))[None], (len(ORDERS), 1))


def ledger(codec: IndexCodec, link: Link) -> Ledger:
    """What one image costs on air, and what the receiver is given for nothing."""
    order = Line("modulation order", 0, "declared: follows from the SNR that both ends know")
    payload = Line("indices", codec.config.num_vectors, "one symbol each, uncoded")
    overhead = (*grid_overhead(link.grid, codec.config.num_vectors), order, *declared(link))
    return Ledger(3 * math.prod(codec.config.image_shape), payload, overhead)


def loss(rows: tuple[int, ...] = tuple(range(len(ORDERS))), commitment: float = 0.25, balance: float = 0.5):
    """Training loss over the orders `rows`, image i of a batch using row i mod len(rows).

    Mean over the orders of ln(MSE), so that a decibel counts the same at every order, plus the two VQ terms and, weighted by
    `balance`, the divergence of the codeword usage from uniform, without which BPSK wastes a third of its rate. Each image
    meets an Es/N0 drawn uniformly from its order's interval, over AWGN with nearest-point decisions: the decoder sees the
    codewords of the *detected* indices. Gradients pass to encoder and codebook as if detection were error-free
    (straight-through); the detection error is a constant shift.
    """

    def value(codec: IndexCodec, images: Array, key: Key[Array, ""]) -> tuple[Array, dict[str, Array]]:
        row = _rows_of_batch(rows, images.shape[0])
        quantised = codec.quantise(images, row, train=True)
        received = _through_noise(key, codec, quantised.indices, row)
        sent_code = codec.quantizer.lookup(quantised.indices, row)
        shift = jax.lax.stop_gradient(codec.quantizer.lookup(received, row) - sent_code)
        output = codec.picture(quantised.values + shift, row, train=True)
        member = jax.nn.one_hot(row, len(ORDERS))[:, jnp.asarray(rows)]  # [b, rows]
        share = member / jnp.sum(member, axis=0, keepdims=True)
        mse = jnp.mean((output - images) ** 2, axis=(1, 2, 3)) @ share
        vq = commitment * jnp.mean(quantised.commitment) + jnp.mean(quantised.codebook)
        vq += balance * jnp.mean(quantised.imbalance[jnp.asarray(rows)])
        log = {
            "psnr": -10 * jnp.log10(mse),
            "vq": vq,
            "perplexity": perplexity(quantised.usage)[jnp.asarray(rows)],
        }
        return jnp.mean(jnp.log(mse)) + vq, log

    return value


def upkeep(rows: tuple[int, ...] = tuple(range(len(ORDERS)))):
    """Revives codewords that have fallen out of use; logs how many."""

    def move(codec: IndexCodec, images: Array, key: Key[Array, ""]) -> dict[str, Array]:
        row = _rows_of_batch(rows, images.shape[0])
        return {"revived": jnp.sum(codec.quantizer.revive(key, codec.vectors(images, row), row))}

    return move


def _rows_of_batch(rows: tuple[int, ...], batch: int) -> Int[Array, " b"]:
    return jnp.asarray(rows)[np.arange(batch) % len(rows)]


def _through_noise(
    key: Key[Array, ""], codec: IndexCodec, indices: Int[Array, "b n"], row: Int[Array, " b"]
) -> Int[Array, "b n"]:
    """The indices that are detected, at the gain of the running usage: as the link would send what is trained so far.

    Over AWGN a gain of the sender is that much less noise to nearest-point decisions.
    """
    key_snr, key_noise = jax.random.split(key)
    low, high = snr_interval(row)
    noise_var = jnp.asarray(phy.esnodb2no(low + (high - low) * jax.random.uniform(key_snr, row.shape)))
    modulation = Qam(jnp.asarray(BITS)[row][:, None], max_bits=max(BITS))
    amplitude = amplitudes(codec, natural_labels())[row]
    gain = no_fading().gains(key_noise, indices.shape)
    return send_labels(key_noise, Link(), indices, modulation, gain, noise_var / amplitude**2)


def order(modulation: str, system: str) -> int:
    """Row of a modulation name; AUTO for "auto". Errors: ValueError for another name."""
    check_name(f"modulation of {system}", modulation, (*ORDERS, "auto"))
    return AUTO if modulation == "auto" else ORDERS.index(modulation)


def _labels(codec: IndexCodec, plan: IndexPlan) -> np.ndarray:
    """index -> label of the plan's codebook, made for the errors that its bits will see.

    Uncoded those of the modulation where its SNR interval begins; of a lost word every bit errs alike.
    Errors: ValueError where the indices of an image are too few for a word.
    """
    if not plan.coding.coded:
        confusion = phy.confusion(plan.modulation, (SNR_RANGE_DB[0], *BOUNDARIES_DB)[plan.row])
    else:
        plan.block(codec.config.num_vectors)
        confusion = bit_confusion(plan.bits_per_index, LOST_BITS)
    return labelling(codec.quantizer, plan.row, confusion)


def rows_of(names: tuple[str, ...]) -> tuple[int, ...]:
    """Rows of modulation names; all of them for none. Errors: ValueError for another name."""
    for name in names:
        check_name("modulation to train", name, ORDERS)
    return tuple(ORDERS.index(name) for name in names or ORDERS)


AS_BITS = AsBits(partial(index_plan, ORDERS), _labels, transmit_bits)
"""The second way onto the air."""


def index_system(
    name: str,
    sizes: Mapping[str, Any],
    build: Callable[[Any, int], Any],
    load: Callable[[Path], Any],
    recipes: Recipes,
    checkpoint: Path | None,
    adapt: Callable[..., Any] | None = None,
    start: Callable[[Any], tuple[str, ...]] | None = None,
) -> System:
    """A system that is a codec of indices on this link, as `System` describes it."""
    return System(
        name=name,
        modulations=(*ORDERS, "auto"),
        grid=GRID,
        recipes=recipes,
        checkpoint=checkpoint,
        sizes=tuple(sizes.items()),
        build=build,
        load=load,
        encode=lambda codec, images, row: codec.encode(images, row),
        decode=lambda codec, received, row: codec.decode(received, row),
        transmit=transmit,
        ledger=ledger,
        order=partial(order, system=name),
        loss=lambda names: loss(rows_of(names)),
        upkeep=lambda names: upkeep(rows_of(names)),
        metadata=lambda codec: {"system": name, "orders": list(ORDERS), "config": asdict(codec.config)},
        as_bits=AS_BITS,
        adapt=adapt,
        start=start,
    )
