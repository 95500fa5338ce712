"""Images through a system at every point of a sweep: quality and symbol errors, with intervals."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, UInt8

import phy
from channels import pad
from phy import ResourceGrid
from semsim.checkpoint import named_arrays
from semsim.data import ImageSet
from semsim.link import Csi, Demap, Link
from semsim.metrics import psnr, ssim
from semsim.names import check_name, parse_range
from semsim.runs import Run, RunWriter
from semsim.scenario import CHANNELS, Propagation, channel_identity, grid_fading
from semsim.sweep import batch_key, check_seed, count_sums, draw_id, mean_sums, names
from semsim.systems import SYSTEMS, Delivered, Point, System

BATCH = 128


class Scores(NamedTuple):
    """Per image, over the channel realisations of a batch."""

    psnr: Array  # [b] mean, dB
    ssim: Array  # [b] mean
    symbol_errors: Array | None  # [b] sum


@partial(jax.jit, static_argnames=("system", "graph", "link", "realizations"))
def scores(
    state: nnx.State,
    images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"],
    key: Key[Array, ""],
    point: Point,
    *,
    system: System,
    graph: nnx.GraphDef,
    link: Link,
    realizations: int,
) -> Scores:
    """One batch of images over `realizations` independent draws each. Compiles once per plan, whatever the points."""
    codec = nnx.merge(graph, state)
    images = _as_float(images)

    def once(draw: Array) -> Scores:
        delivered = system.transmit(codec, images, jax.random.fold_in(key, draw), link, point)
        return Scores(psnr(delivered.images, images), ssim(delivered.images, images), delivered.symbol_errors)

    each = jax.lax.map(once, jnp.arange(realizations))
    errors = None if each.symbol_errors is None else jnp.sum(each.symbol_errors, axis=0)
    return Scores(jnp.mean(each.psnr, axis=0), jnp.mean(each.ssim, axis=0), errors)


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
    propagation: Propagation | None = None,
    grid: ResourceGrid | None = None,
    seed: int = 0,
    title: str = "",
    out: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> Run:
    """PSNR, SSIM and symbol error rate of a system at every combination of modulation, channel and Es/N0.

    Every channel is met on the same resource grid, so all curves cost the same channel uses. Weights come from `codec`, else
    from `checkpoint`, else from the ones that ship. Intervals are over images, each the mean over its channel realisations.
    `title` is kept in the run's config. `progress` is called with the point, finished and all batches. Ctrl-C ends the run
    with the batches that are finished.
    Errors: ValueError for unknown names, impossible values and images the codec does not take, before anything compiles;
    FloatingPointError, naming the point, for a metric that is not finite; OSError when a finished batch cannot be stored.
    """
    if realizations < 1:
        raise ValueError(f"realizations must be at least 1; got {realizations}")
    check_seed(seed)
    modulation, channel, propagation = names(modulation), names(channel), propagation or Propagation()
    esno_db = parse_range("esno_db", [float(value) for value in esno_db])
    link, points = _points(system, grid, csi, demap, modulation, channel, esno_db, propagation)
    chosen = SYSTEMS[system]
    used = _codec(chosen, codec, checkpoint, images.images)
    ledger = chosen.ledger(used, link)
    graph, state = nnx.split(used)
    config = {
        "command": "run", "title": title, "system": system, "modulation": modulation, "channel": channel,
        "esno_db": esno_db, "csi": csi, "demap": demap, "realizations": realizations, "seed": seed,
        "propagation": asdict(propagation), "grid": asdict(grid or chosen.grid),
        "data": {"name": images.name, "images": len(images.images), "note": images.note},
        "weights": {"checkpoint": str(checkpoint) if checkpoint else None, "sha256": _digest(used)},
        "ledger": ledger.as_dict(), "row": {"cbr": ledger.cbr, "cbr_payload": ledger.cbr_payload},
        "snr": "esno_db: mean Es/N0 of a data symbol over fading, E|h|^2 = 1, noise variance N0 per complex sample",
        "psnr": "mean over images of the PSNR of each, float, range [0, 1], all channels pooled",
    }  # fmt: skip
    chunks = _chunks(images.images)
    total, interrupted = len(points) * len(chunks), False
    with RunWriter(out, config) as writer:
        try:
            for number, (name, draw, point) in enumerate(points):
                for batch, chunk in enumerate(chunks):
                    text = f"{name['modulation']} {name['channel']} {name['esno_db']:g} dB"
                    progress(text, number * len(chunks) + batch, total)
                    found = jax.device_get(
                        scores(
                            state, chunk.padded, batch_key(seed, draw, batch), point,
                            system=chosen, graph=graph, link=link, realizations=realizations,
                        )
                    )  # fmt: skip
                    sums = {
                        "psnr": mean_sums(found.psnr[: chunk.size]),
                        "ssim": mean_sums(found.ssim[: chunk.size]),
                    }
                    if found.symbol_errors is not None:
                        trials = int(ledger.payload.channel_uses) * realizations
                        sums["ser"] = count_sums(found.symbol_errors[: chunk.size], trials)
                    _check_finite(sums, name, out)
                    writer.append(name, batch, sums)
            progress("", total, total)
        except KeyboardInterrupt:
            interrupted = True
    return writer.finish(interrupted)


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
    """The images themselves after one realisation at one point, for looking at. Arguments and errors as `run`."""
    check_seed(seed)
    wanted = (modulation,), (channel,), parse_range("esno_db", [float(esno_db)]), propagation or Propagation()
    link, ((_, draw, point),) = _points(system, None, csi, "nearest", *wanted)
    chosen = SYSTEMS[system]
    graph, state = nnx.split(_codec(chosen, codec, checkpoint, images))
    key = jax.random.fold_in(
        batch_key(seed, draw, 0), 0
    )  # the first realisation of `run`, for the first batch of images
    return _deliver(state, jnp.asarray(images), key, point, system=chosen, graph=graph, link=link)


@partial(jax.jit, static_argnames=("system", "graph", "link"))
def _deliver(state, images, key, point, *, system: System, graph: nnx.GraphDef, link: Link) -> Delivered:
    return system.transmit(nnx.merge(graph, state), _as_float(images), key, link, point)


def _as_float(images: Array) -> Float[Array, "b h w 3"]:
    """In [0, 1]. Images stay whole numbers until they are on the device: a quarter of the memory and of the transfer."""
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


class _Chunk(NamedTuple):
    padded: Array  # always the same shape, so that the last one compiles nothing
    size: int  # of which the rest is padding


def _chunks(images: np.ndarray) -> list[_Chunk]:
    size = min(BATCH, len(images))
    found = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        padded = np.pad(part, ((0, size - len(part)), (0, 0), (0, 0), (0, 0)), mode="edge")
        found.append(_Chunk(jnp.asarray(padded), len(part)))
    return found


def _check_finite(sums: dict, point: dict, out: Path | None) -> None:
    if not all(np.isfinite(value) for part in sums.values() for value in part.values()):
        kept = f"; what was finished is in {out}" if out else ""
        raise FloatingPointError(f"a metric is not finite at {point}{kept}")
