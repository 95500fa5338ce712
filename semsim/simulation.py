"""Images through a system at every point of a sweep: quality and symbol errors, with intervals."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, UInt8

import phy
from channels import GENERATORS, pad
from phy import ResourceGrid
from semsim.backend import prepare
from semsim.checkpoint import named_arrays
from semsim.data import ImageSet
from semsim.devices import Evaluator, Execution, Kernel, Work
from semsim.engine import Job, Progress, Sweep, execute, silent
from semsim.link import Csi, Demap, Link
from semsim.metrics import psnr, ssim
from semsim.names import check_name, parse_range
from semsim.runs import Run
from semsim.scenario import CHANNELS, NORMALISATION, Propagation, channel_identity, grid_fading
from semsim.stopping import Stop
from semsim.sweep import (
    DEFAULT_GENERATOR,
    Parts,
    Sums,
    check_seed,
    count_sums,
    draw_id,
    draw_words,
    mean_sums,
    names,
    point_name,
)
from semsim.systems import SYSTEMS, Delivered, Point, System

BLOCK = 16
"""Images in a block: what a core works on at once."""
BLOCKS = 8
"""Blocks in a batch."""


class Scores(NamedTuple):
    """Per image, over its channel realisations."""

    psnr: Array  # [b] mean, dB
    ssim: Array  # [b] mean
    symbol_errors: Array | None  # [b] sum


@dataclass(frozen=True)
class Quality(Kernel):
    """Kernel: a block of images through a system, each over `draws` independent fades and noises."""

    system: System
    graph: nnx.GraphDef
    link: Link
    draws: int
    realizations: int

    def __call__(
        self,
        key: Key[Array, ""],
        mapped: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"],
        shared: tuple[nnx.State, Point],
    ) -> Scores:
        state, point = shared
        codec, images = nnx.merge(self.graph, state), _as_float(mapped)

        def once(draw: Array) -> Scores:
            sent = self.system.transmit(codec, images, jax.random.fold_in(key, draw), self.link, point)
            return Scores(psnr(sent.images, images), ssim(sent.images, images), sent.symbol_errors)

        each = jax.lax.map(once, jnp.arange(self.draws))
        errors = None if each.symbol_errors is None else jnp.sum(each.symbol_errors, axis=0)
        return Scores(jnp.mean(each.psnr, axis=0), jnp.mean(each.ssim, axis=0), errors)


@dataclass(frozen=True)
class Pictures(Kernel):
    """Kernel: the images of a block as `Quality` sees them after the first of its draws."""

    system: System
    graph: nnx.GraphDef
    link: Link
    realizations: int

    def __call__(self, key: Key[Array, ""], mapped: Array, shared: tuple[nnx.State, Point]) -> Delivered:
        state, point = shared
        first = jax.random.fold_in(key, 0)
        return self.system.transmit(nnx.merge(self.graph, state), _as_float(mapped), first, self.link, point)


def run(
    system: str,
    images: ImageSet,
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    esno_db: Sequence[float],
    *,
    codec: nnx.Module | None = None,
    checkpoint: Path | None = None,
    realizations: int = 1,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    width: float | None = None,
    total_images: float | None = None,
    propagation: Propagation | None = None,
    grid: ResourceGrid | None = None,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    title: str = "",
    execution: Execution = Execution(),  # noqa: B008 (frozen)
    out: Path | None = None,
    resume: bool = False,
    force_config: bool = False,
    progress: Progress = silent,
) -> Run:
    """PSNR, SSIM and symbol error rate of a system at every combination of modulation, channel and Es/N0.

    What is simulated: as `sweep`. Where, and what happens to the rows: as `engine.execute`.
    Errors: besides theirs, FloatingPointError that names the point, for a metric that is not finite.
    """
    wanted = sweep(
        system,
        images,
        modulation,
        channel,
        esno_db,
        codec=codec,
        checkpoint=checkpoint,
        realizations=realizations,
        csi=csi,
        demap=demap,
        width=width,
        total_images=total_images,
        propagation=propagation,
        grid=grid,
        generator=generator,
        seed=seed,
        title=title,
    )
    return execute(wanted, execution, out, resume=resume, force_config=force_config, progress=progress)


def sweep(
    system: str,
    images: ImageSet,
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    esno_db: Sequence[float],
    *,
    codec: nnx.Module | None = None,
    checkpoint: Path | None = None,
    realizations: int = 1,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    width: float | None = None,
    total_images: float | None = None,
    propagation: Propagation | None = None,
    grid: ResourceGrid | None = None,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    title: str = "",
) -> Sweep:
    """What `run` simulates, point by point.

    Every channel is met on the same resource grid, so all curves cost the same channel uses. Weights come from `codec`,
    else from `checkpoint`, else from the ones that ship. Intervals are over images, each the mean over its
    `realizations` of the channel. A point ends when the 95 % interval of its PSNR reaches no further than `width` dB,
    or with the last image;
    images come in an order drawn from the seed, so that those of a point that ends early are a random sample.
    total_images: budget of the sweep; what the points leave of it goes to those with the widest intervals. generator:
    of random bits, one of `channels.GENERATORS`. title: kept in the run's config.
    Errors: ValueError for unknown names, impossible values and images the codec does not take.
    """
    prepare()
    if realizations < 1:
        raise ValueError(f"realizations must be at least 1; got {realizations}")
    check_name("generator", generator, GENERATORS)
    check_seed(seed)
    modulation, channel, propagation = names(modulation), names(channel), propagation or Propagation()
    esno_db = parse_range("esno_db", [float(value) for value in esno_db])
    if total_images is not None and width is None:
        raise ValueError(
            "without a width every point takes all images, and total_images has nothing to give: add a width"
        )
    stop = Stop("psnr", len(images.images), abs_width=width, total=total_images)
    link, points = _points(system, grid, csi, demap, modulation, channel, esno_db, propagation)
    chosen = SYSTEMS[system]
    used = _codec(chosen, codec, checkpoint, images.images)
    ledger = chosen.ledger(used, link)
    graph, state = nnx.split(used)
    shown = _Images(images.images, seed)
    trials = int(ledger.payload.channel_uses) * realizations
    kernel = Quality(chosen, graph, link, realizations, BLOCK)
    jobs = [
        Job(
            point=name,
            title=f"{name['modulation']} {name['channel']} {name['esno_db']:g} dB",
            curve=point_name({key: value for key, value in name.items() if key != "esno_db"}),
            work=Work(kernel, BLOCKS, draw_words(seed, draw), generator, (state, point), shown.blocks),
            budget=shown.batches,
            most=shown.batches,
            sums=partial(_sums, point=name, shown=shown, trials=trials),
        )
        for name, draw, point in points
    ]
    config = {
        "command": "run", "title": title, "system": system, "modulation": modulation, "channel": channel,
        "esno_db": esno_db, "csi": csi, "demap": demap, "stop": stop.as_dict(), "seed": seed,
        "propagation": asdict(propagation), "grid": asdict(grid or chosen.grid),
        "draws": {"generator": generator, "blocks": BLOCKS, "block": BLOCK, "realizations": realizations},
        "data": {"name": images.name, "images": len(images.images), "crc32": _checksum(images), "note": images.note},
        "weights": {"checkpoint": str(checkpoint) if checkpoint else None, "sha256": _digest(used)},
        "ledger": ledger.as_dict(), "row": {"cbr": ledger.cbr, "cbr_payload": ledger.cbr_payload},
        "conventions": {
            "snr": "esno_db: mean Es/N0 of a data symbol over fading, noise variance N0 per complex sample",
            "normalisation": NORMALISATION,
            "psnr": "mean over images of the PSNR of each, float, range [0, 1], all channels pooled",
        },
    }  # fmt: skip
    return Sweep(jobs, stop, config)


def reconstruct(
    system: str,
    images: np.ndarray,
    modulation: str,
    channel: str,
    esno_db: float,
    *,
    codec: nnx.Module | None = None,
    checkpoint: Path | None = None,
    csi: Csi = "perfect",
    propagation: Propagation | None = None,
    seed: int = 0,
) -> Delivered:
    """The images themselves after one realisation at one point, the first one of `run`. Arguments and errors as there."""
    prepare()
    check_seed(seed)
    wanted = (modulation,), (channel,), parse_range("esno_db", [float(esno_db)]), propagation or Propagation()
    link, ((_, draw, point),) = _points(system, None, csi, "nearest", *wanted)
    chosen = SYSTEMS[system]
    graph, state = nnx.split(_codec(chosen, codec, checkpoint, images))
    shown = _Images(images, seed)
    kernel = Pictures(chosen, graph, link, BLOCK)
    work = Work(kernel, BLOCKS, draw_words(seed, draw), DEFAULT_GENERATOR, (state, point), shown.blocks)
    batches = [found for _, found in Evaluator().batches(work, range(shown.batches))]
    place = np.argsort(shown.order)  # back into the order of the caller
    return jax.tree.map(
        lambda *leaves: np.concatenate([leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves])[place],
        *batches,
    )


def _as_float(images: Array) -> Float[Array, "b h w 3"]:
    """In [0, 1]. Images stay whole numbers until they are on the device: a quarter of the memory and of the
    transfer."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def _codec(chosen: System, codec: Any, checkpoint: Path | None, images: np.ndarray) -> Any:
    """The codec to use, checked against the images it is to carry."""
    if codec is None:
        path = Path(checkpoint) if checkpoint else chosen.checkpoint
        if path is None or not (checkpoint or path.exists()):
            raise ValueError(
                f"no weights of {chosen.name} ship with this version: train them and give their checkpoint"
            )
        codec = chosen.load(path)
    size = codec.config.image_size
    if images.shape[1:] != (size, size, 3):
        height, width = images.shape[1:3]
        raise ValueError(
            f"the codec takes images of {size} x {size}; got {height} x {width}: cut them into tiles of {size}"
        )
    return codec


def _points(
    system: str,
    grid: ResourceGrid | None,
    csi: Csi,
    demap: Demap,
    modulation: tuple[str, ...],
    channel: tuple[str, ...],
    esno_db: tuple[float, ...],
    propagation: Propagation,
) -> tuple[Link, list[tuple[dict, int, Point]]]:
    """The link they share, and every point: what it is called, the number of its draws, its data."""
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    for name in channel:
        check_name("channel", name, CHANNELS)
    if not (modulation and channel):
        raise ValueError("give at least one modulation and one channel")
    orders = [chosen.order(name) for name in modulation]
    grid = grid or chosen.grid
    link = Link(grid, csi, demap)
    fadings = pad([grid_fading(name, propagation, grid) for name in channel])
    points = []
    for name, order in zip(modulation, orders, strict=True):
        for place, fading in zip(channel, fadings, strict=True):
            identity = channel_identity(place, propagation)
            for value in esno_db:
                label = {
                    "system": system, "modulation": name, **identity, "csi": csi, "demap": demap, "esno_db": value,
                }  # fmt: skip
                point = Point(jnp.int32(order), fading, jnp.float32(phy.esnodb2no(value)))
                points.append((label, draw_id(identity, value), point))
    return link, points


def _digest(codec: nnx.Module) -> str:
    """A fingerprint of the weights, by which two runs know that they used the same."""
    found = hashlib.sha256()
    for name, array in sorted(named_arrays(codec).items()):
        found.update(name.encode() + array.tobytes())
    return found.hexdigest()[:16]


def _checksum(images: ImageSet) -> str:
    return f"{crc32(images.images.tobytes()):08x}"


class _Images:
    """The images in an order drawn from the seed, block by block; the last batch is filled up and says so."""

    def __init__(self, images: np.ndarray, seed: int):
        self.images = images
        self.order = np.random.default_rng(seed).permutation(len(images))
        self.batches = -(-len(images) // (BLOCK * BLOCKS))

    def blocks(self, batch: int) -> np.ndarray:
        """[BLOCKS, BLOCK, h, w, 3], always the same shape, so that the last one compiles nothing."""
        chosen = self.images[self._chosen(batch)]
        missing = BLOCK * BLOCKS - len(chosen)
        whole = np.pad(chosen, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge") if missing else chosen
        return whole.reshape(BLOCKS, BLOCK, *chosen.shape[1:])

    def size(self, batch: int) -> int:
        """Images of a batch that are no filling."""
        return len(self._chosen(batch))

    def _chosen(self, batch: int) -> np.ndarray:
        return self.order[batch * BLOCK * BLOCKS :][: BLOCK * BLOCKS]


def _sums(batch: int, found: Scores, *, point: dict, shown: _Images, trials: int) -> tuple[Sums, Parts]:
    size = shown.size(batch)
    quality = {"psnr": np.asarray(found.psnr).ravel()[:size], "ssim": np.asarray(found.ssim).ravel()[:size]}
    sums: Sums = {name: mean_sums(values) for name, values in quality.items()}
    parts: Parts = {name: np.round(values.astype(float), 6).tolist() for name, values in quality.items()}
    if found.symbol_errors is not None:
        errors = np.asarray(found.symbol_errors).ravel()[:size]
        sums["ser"], parts["ser"] = count_sums(errors, trials), errors.tolist()
    if not all(np.isfinite(value) for part in sums.values() for value in part.values()):
        raise FloatingPointError(f"a metric is not finite at {point}; what was finished before is kept")
    return sums, parts
