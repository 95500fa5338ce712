"""How often a source uses the codewords of an index system: measured on images, kept with the weights, known to both ends.

The share of each codeword says what gain an order is sent with (`semsim.energy`), and which labels its bits get
(`semsim.systems.index_coding`). Training keeps a running share; its end, and `semsim calibrate` for another source than the
one trained on, measure it with the weights as they are. Nothing else of a checkpoint changes.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

import phy
from semsim.checkpoint import read_metadata, rewrite
from semsim.data import training_images
from semsim.energy import index_amplitude
from semsim.names import check_name
from semsim.systems import SYSTEMS
from semsim.systems.per_order import ORDERS

SAMPLE = 5_000
"""Images that are looked at. The energies of single images scatter by a third, so their mean is known to 0.02 dB."""
BLOCK_PIXELS = 100 * 32 * 32
"""Of the images that are encoded at once."""
USAGE = "quantizer.count"
"""Name of the shares in a checkpoint."""


def calibrate(checkpoint: Path, data: str, out: Path, sample: int = SAMPLE) -> list[dict[str, str | float]]:
    """Writes the checkpoint of an index system to `out` with its usage of codewords measured on some images of `data`.

    data: as `semsim train` reads it, so that no image of a test is looked at. out: may be the checkpoint itself. Returns as
    `write_usage`.
    Errors: ValueError for a file of another kind of system, and as its `load` and `training_images`; OSError when `out`
    cannot be written.
    """
    if sample < 1:
        raise ValueError(f"sample is a number of images, at least 1; got {sample}")
    name = str(read_metadata(checkpoint).get("system"))
    system = SYSTEMS[check_name(f"system of {checkpoint}", name, tuple(SYSTEMS))]
    if system.as_bits is None:
        raise ValueError(
            f"{checkpoint} belongs to {name}, which normalises every image: only codecs of indices, such as ujscc and "
            "stsc-vq, have a usage to measure"
        )
    codec = system.load(checkpoint)
    images = training_images(data, codec.config.image_shape[0])
    return write_usage(checkpoint, codec, images, out, Path(data).name, sample)


def write_usage(
    checkpoint: Path,
    codec: Any,
    images: UInt8[np.ndarray, "n h w 3"],
    out: Path,
    source: str,
    sample: int = SAMPLE,
) -> list[dict[str, str | float]]:
    """The same for a codec and images at hand. source: what the images are called in the metadata.

    Returns a row an order: `gain_db` is its gain from now on, and `es_db_before` the energy of a symbol of these images at
    the gain that it had.
    """
    chosen = images[np.random.default_rng(0).permutation(len(images))[:sample]]
    before, usage = np.asarray(codec.quantizer.count[...]), measure_usage(codec, chosen)
    rewrite(checkpoint, out, {USAGE: usage}, {"usage": {"source": source, "images": len(chosen)}})
    rows: list[dict[str, str | float]] = []
    for row, order in enumerate(ORDERS):
        size = 2 ** phy.num_bits(order)
        points = phy.modulation(order).modulate(jnp.arange(size))
        old, new = (
            float(index_amplitude(jnp.asarray(shares[row, :size]), points)) for shares in (before, usage)
        )
        rows.append(
            {"order": order, "images": len(chosen), "gain_db": _db(new), "es_db_before": _db(old / new)}
        )
    return rows


def measure_usage(codec: Any, images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "r k"]:
    """Share of each codeword among the indices of the images, for every order: rows sum to 1, padding is 0."""
    graph, state = nnx.split(codec)
    rows, size = codec.quantizer.count.shape
    block = max(1, min(len(images), BLOCK_PIXELS // int(np.prod(images.shape[1:3]))))

    @jax.jit
    def count(state: nnx.State, pixels: Array, row: Array, real: Array) -> Array:
        indices = nnx.merge(graph, state).encode(pixels.astype(jnp.float32) / 255, jnp.full(block, row))
        seen = jnp.broadcast_to(jnp.arange(block)[:, None] < real, indices.shape)
        return jnp.zeros(size, jnp.int32).at[indices].add(seen.astype(jnp.int32))

    counts = np.zeros((rows, size), np.int64)
    for start in range(0, len(images), block):
        part = images[start : start + block]
        padded = np.pad(part, ((0, block - len(part)), (0, 0), (0, 0), (0, 0)), mode="edge")
        for row in range(rows):
            counts[row] += np.asarray(count(state, padded, jnp.int32(row), jnp.int32(len(part))))
    return (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


def _db(amplitude: float) -> float:
    return round(20 * float(np.log10(amplitude)), 3) + 0.0
