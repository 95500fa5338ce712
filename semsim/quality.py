"""Images through a system on the devices: the kernels of `semsim.simulation`, and what their results add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key, UInt8

from semsim.devices import Kernel
from semsim.energy import Sent, energy_sums, over_draws
from semsim.image_runs import ImageOrder, draws_of_piece, joined, pieces_of
from semsim.link import Link
from semsim.metrics import psnr, ssim
from semsim.padding import Padded
from semsim.sweep import Parts, Sums, count_sums, mean_sums
from semsim.systems import Delivered, Point, System
from semsim.systems.index_coding import IndexPlan


class Scores(NamedTuple):
    """Per image, over its channel realisations."""

    psnr: Array  # [b] mean, dB
    ssim: Array  # [b] mean
    symbol_errors: Array | None  # [b] sum
    word_errors: Array | None  # [b] sum
    sent: Sent | None = None


@dataclass(frozen=True)
class Quality(Kernel):
    """Kernel: a block of images through a system, each over `draws` independent fades and noises.

    plan: how their indices travel as bits; None sends what the system sends.
    """

    system: System
    graph: nnx.GraphDef
    link: Link
    draws: int
    realizations: int
    plan: IndexPlan | None = None

    def __call__(
        self,
        key: Key[Array, ""],
        mapped: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"] | Padded,
        shared: tuple[nnx.State, Point],
    ) -> Scores:
        each = self._draws(key, mapped, shared, jnp.arange(self.draws))
        symbols, words = jax.tree.map(partial(jnp.sum, axis=0), (each.symbol_errors, each.word_errors))
        sent = None if each.sent is None else over_draws(each.sent, 0)
        return Scores(jnp.mean(each.psnr, axis=0), jnp.mean(each.ssim, axis=0), symbols, words, sent)

    @property
    def pieces(self) -> int:
        return pieces_of(self.draws)

    def piece(self, key: Key[Array, ""], mapped: Any, shared: Any, number: Int[Array, ""]) -> Scores:
        each = self._draws(key, mapped, shared, draws_of_piece(number))
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), each)  # [b, draws]

    def join(self, found: Sequence[Scores]) -> Scores:
        each = joined(found, self.draws)
        symbols, words = jax.tree.map(
            lambda counts: counts.sum(axis=-1), (each.symbol_errors, each.word_errors)
        )
        sent = None if each.sent is None else over_draws(each.sent, -1)
        return Scores(
            each.psnr.mean(axis=-1, dtype=float), each.ssim.mean(axis=-1, dtype=float), symbols, words, sent
        )

    def _draws(self, key: Key[Array, ""], mapped: Any, shared: Any, numbers: Int[Array, " d"]) -> Scores:
        """Of each of these draws, [d, b]."""
        state, point = shared
        codec, (images, size) = nnx.merge(self.graph, state), _pictures(mapped)

        def once(draw: Array) -> Scores:
            found = _transmit(self, codec, images, jax.random.fold_in(key, draw), point)
            quality = psnr(found.images, images, size), ssim(found.images, images, size)
            return Scores(*quality, found.symbol_errors, found.word_errors, found.sent)

        return jax.lax.map(once, numbers)


@dataclass(frozen=True)
class Pictures(Kernel):
    """Kernel: the images of a block as `Quality` sees them after the first of its draws."""

    system: System
    graph: nnx.GraphDef
    link: Link
    realizations: int
    plan: IndexPlan | None = None

    def __call__(
        self, key: Key[Array, ""], mapped: Array | Padded, shared: tuple[nnx.State, Point]
    ) -> Delivered:
        state, point = shared
        first = jax.random.fold_in(key, 0)
        return _transmit(self, nnx.merge(self.graph, state), _pictures(mapped)[0], first, point)


def _transmit(
    kernel: Quality | Pictures, codec: Any, images: Array, key: Key[Array, ""], point: Point
) -> Delivered:
    system, plan = kernel.system, kernel.plan
    if plan is None or system.as_bits is None:
        return system.transmit(codec, images, key, kernel.link, point)
    return system.as_bits.transmit(codec, images, key, kernel.link, point, plan)


def _pictures(mapped: Array | Padded) -> tuple[Float[Array, "b h w 3"], Array | None]:
    """Images in [0, 1], and of padded ones the size of what counts. They stay whole numbers until they are on the
    device: a quarter of the memory and of the transfer."""
    images, size = mapped if isinstance(mapped, Padded) else (mapped, None)
    images = jnp.asarray(images)
    shown = images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images
    return shown, None if size is None else jnp.asarray(size)


def sums_of(
    batch: int, found: Scores, *, point: dict, shown: ImageOrder, draws: int, symbols: Int[np.ndarray, " n"]
) -> tuple[Sums, Parts]:
    """Sums and parts of a batch, without its filling. draws: of an image. symbols: of each image, sent in a draw.

    Images of mixed sizes have different numbers of symbols: their `ser` is the mean of the rates of each.

    Errors: FloatingPointError that names the point, for a metric that is not finite.
    """
    quality = {name: shown.real(batch, np.asarray(getattr(found, name))) for name in ("psnr", "ssim")}
    groups = shown.photographs(batch)
    sums: Sums = {name: mean_sums(values, groups) for name, values in quality.items()}
    parts: Parts = {name: np.round(values.astype(float), 6).tolist() for name, values in quality.items()}
    if found.symbol_errors is not None:
        errors = shown.real(batch, np.asarray(found.symbol_errors))
        rates = errors / (draws * symbols[shown.chosen(batch)])
        mixed = len(np.unique(symbols)) > 1
        sums["ser"] = (
            mean_sums(rates, groups) if mixed else count_sums(errors, draws * int(symbols[0]), groups)
        )
        parts["ser"] = rates.tolist() if mixed else errors.tolist()
    if found.word_errors is not None:
        errors = shown.real(batch, np.asarray(found.word_errors))
        sums["bler"], parts["bler"] = count_sums(errors, draws, groups), errors.tolist()
    if found.sent is not None:
        sums |= energy_sums(jax.tree.map(lambda x: shown.real(batch, np.asarray(x)), found.sent), groups)
    sent = () if found.sent is None else found.sent
    if not all(np.isfinite(np.asarray(values)).all() for values in (*quality.values(), *sent)):
        raise FloatingPointError(f"a metric is not finite at {point}; what was finished before is kept")
    return sums, parts
