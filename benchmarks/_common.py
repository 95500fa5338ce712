"""What the benchmarks share: arguments, the PSNR of each image at one point, and what is printed and written."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

import phy
import semsim
from channels import GridFading, pad
from models import UJSCC
from semsim.data import ImageSet, as_float
from semsim.environment import environment
from semsim.link import Link
from semsim.metrics import psnr
from semsim.scenario import channel_identity, grid_fading
from semsim.stats import Interval, paired_interval
from semsim.sweep import batch_key, draw_id
from semsim.systems import Point, ujscc

BATCH, FEWEST_BATCHES = 128, 8
EDGES_DB = (ujscc.SNR_RANGE_DB[0], *ujscc.BOUNDARIES_DB, ujscc.SNR_RANGE_DB[1])
"""The interval of ORDERS[k] is EDGES_DB[k] .. EDGES_DB[k + 1]."""


def image_arguments(description: str | None, name: str) -> argparse.ArgumentParser:
    """A parser with the arguments of every benchmark that looks at images; results go to `runs/<name>` by default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", default="cifar10", help="cifar10 (default), embedded, or a folder of 32 x 32 images"
    )
    parser.add_argument("--limit", type=int, help="use the first so many images (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="folder for the results")
    return parser


def fadings(channels: Sequence[str]) -> dict[str, GridFading]:
    """The named channels on the grid of uJSCC, padded to one shape so that one program serves them all."""
    return dict(
        zip(channels, pad([grid_fading(c, semsim.Propagation(), ujscc.GRID) for c in channels]), strict=True)
    )


@partial(jax.jit, static_argnames=("graph", "decoding"))
def _psnr(
    state, images, key, point: Point, labels: Array, *, graph: nnx.GraphDef, decoding: ujscc.Decoding
) -> Array:
    codec = nnx.merge(graph, state)
    link = Link(ujscc.GRID)
    delivered = ujscc.transmit(codec, images, key, link, point, labels=labels, decoding=decoding)
    return psnr(delivered.images, images)


def psnr_per_image(
    codec: UJSCC,
    images: ImageSet,
    modulation: str,
    channel: str,
    fading: GridFading,
    esno_db: float,
    *,
    seed: int,
    labels: Callable[[int], np.ndarray] | None = None,
    decoding: ujscc.Decoding = "hard",
) -> np.ndarray:
    """[n] PSNR of each image over one channel realisation.

    Fades and noise belong to the channel, the SNR and the seed: two calls that differ in codec, labels or
    decoding only are paired. labels: batch number -> index -> label, a row for each order [5, 256]; natural by default.
    """
    graph, state = nnx.split(codec)
    point = Point(jnp.int32(ujscc.SYSTEM.order(modulation)), fading, jnp.float32(phy.esnodb2no(esno_db)))
    draw = draw_id(channel_identity(channel, semsim.Propagation()), esno_db)
    size = batch_size(len(images.images))
    found = []
    for batch, start in enumerate(range(0, len(images.images), size)):
        part = as_float(images.images[start : start + size])
        padded = np.pad(part, ((0, size - len(part)), (0, 0), (0, 0), (0, 0)), mode="edge")
        key = batch_key(seed, draw, batch)
        table = ujscc.natural_labels() if labels is None else jnp.asarray(labels(batch))
        values = _psnr(state, jnp.asarray(padded), key, point, table, graph=graph, decoding=decoding)
        found.append(np.asarray(values)[: len(part)])
    return np.concatenate(found)


def batch_size(count: int) -> int:
    """Images in a batch: what fits, and small enough that there are some batches."""
    return min(BATCH, -(-count // FEWEST_BATCHES))


def difference(left: np.ndarray, right: np.ndarray) -> Interval:
    """Mean of left - right over images, dB, with its 95 % interval."""
    return paired_interval(np.asarray(left, np.float64) - np.asarray(right, np.float64))


def text(interval: Interval, number: str = "+.3f") -> str:
    """+0.123 [+0.101, +0.145]"""
    return f"{interval.value:{number}} [{interval.low:{number}}, {interval.high:{number}}]"


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Rows of text under their column names."""
    names = list(rows[0])
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in names]
    for cells in (names, *([row[name] for name in names] for row in rows)):
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """The results, with what they may depend on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, "environment": environment()}, indent=1) + "\n")
    print(f"written: {path}")
