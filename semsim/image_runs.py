"""What all runs over images have in common, so that any two can be compared in pairs: order, batches, conventions."""

import math
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from channels import Fading
from phy import PilotFilter, ResourceGrid
from semsim.data import ImageSet
from semsim.energy import CONVENTION
from semsim.link import Csi, Demap, Link
from semsim.metrics import WINDOW
from semsim.scenario import (
    NORMALISATION,
    Propagation,
    dialect_convention,
    dialect_of,
    flat_fading,
    grid_fadings,
    pilot_filters,
)
from semsim.stopping import Stop

BLOCK = 16
"""Images in a block, what a core works on at once: so many of at most `BLOCK_PIXELS` together."""
BLOCK_PIXELS = 16 * 128 * 128
"""Of all images of a block: what bounds the memory that a net takes."""
BLOCKS = 8
"""Blocks in a batch, of sets that have so many."""

DRAWS = 8
"""Channel draws of a block in a call: what bounds the work after which a run looks whether to stop."""
MOST_DRAWS = 100_000
"""Of an image; more would not narrow its interval, which is over images."""


def check_realizations(realizations: int) -> None:
    """Errors: ValueError for a number of channel draws that cannot be."""
    if not (isinstance(realizations, int | np.integer) and 1 <= realizations <= MOST_DRAWS):
        raise ValueError(f"realizations must be in [1, {MOST_DRAWS:,}] and whole; got {realizations}")


def quality_stop(images: ImageSet, width: float | None, total_images: float | None) -> Stop:
    """When a point has been simulated long enough. Errors: ValueError for numbers that make no rule."""
    for name, value, unit in (("width", width, " of dB"), ("total_images", total_images, "")):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number{unit}; got {value:g}")
    if total_images is not None and width is None:
        raise ValueError(
            "without a width every point takes all images, and total_images has nothing to give: add a width"
        )
    return Stop("psnr", len(images.images), abs_width=width, total=total_images)


def pieces_of(draws: int) -> int:
    """Calls that so many draws of a block take."""
    return -(-draws // DRAWS)


def draws_of_piece(number: Int[Array, ""]) -> Int[Array, " d"]:
    """Their numbers; those of the last piece may go beyond the draws that there are, and `joined` drops them."""
    return number * DRAWS + jnp.arange(DRAWS)


def joined(found: Sequence[Any], draws: int) -> Any:
    """What pieces hold, leaves [blocks, b, draws, ...], one behind the other."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=2)[:, :, :draws], *found)


def conventions(channel: tuple[str, ...]) -> dict[str, str]:
    """By which definitions the numbers are to be read, for a run's config."""
    return {
        "snr": "esno_db: mean Es/N0 of a data symbol over fading, noise variance N0 per complex sample",
        "normalisation": NORMALISATION,
        "energy": CONVENTION,
        "psnr": "mean over images of the PSNR of each, float, range [0, 1], all channels pooled",
        **dialect_convention(channel),
    }


def data_entry(images: ImageSet) -> dict[str, str | int]:
    """Which images, for a run's config."""
    pixels = b"".join(image.tobytes() for image in images.images) if images.mixed else images.images.tobytes()
    checksum = f"{crc32(pixels):08x}"
    entry = {"name": images.name, "images": len(images.images), "crc32": checksum, "note": images.note}
    return entry if images.groups is None else entry | {"photographs": len(np.unique(images.groups))}


def one_size(images: ImageSet, what: str) -> tuple[int, int]:
    """Height and width of images that must agree in them. Errors: ValueError where they do not."""
    if images.mixed:
        found = ", ".join(f"{height}x{width}" for height, width in list(dict.fromkeys(images.sizes))[:4])
        raise ValueError(
            f"{what} takes images of one size; got {found} (height x width): scale and crop them to one "
            "(run --size, load(resize=)), or cut tiles (run --tile, load(tile=))"
        )
    return images.sizes[0]


def check_room(images: ImageSet) -> None:
    """Errors: ValueError for an image that is smaller than a window of SSIM."""
    for name, size in zip(images.names, images.sizes, strict=True):
        if min(size) < WINDOW:
            raise ValueError(
                f"{name} has {size[0]}x{size[1]} pixels (height x width); SSIM needs {WINDOW} on each side: leave it out"
            )


def row_entry(images: ImageSet) -> dict[str, str]:
    """What rows say of the images: what of the source is not in the numbers."""
    return {"left_out": images.left_out} if images.left_out else {}


def draws_entry(generator: str, realizations: int, shown: "ImageOrder") -> dict[str, str | int]:
    """How batches are made, for a run's config: runs that agree in it meet the same draws."""
    blocks = BLOCKS if shown.block > 1 else 1
    return {"generator": generator, "blocks": blocks, "block": shown.block, "realizations": realizations}


def image_link(
    channel: tuple[str, ...], csi: Csi, demap: Demap, propagation: Propagation, grid: ResourceGrid
) -> tuple[Link, list[Fading], list[PilotFilter | None]]:
    """The link that all channels of a run share, and of each its fading and what the receiver knows of it.

    Errors: ValueError where a dialect, spoken without a grid, is mixed with another channel.
    """
    spoken = {dialect_of(name) for name in channel}
    if not any(spoken):
        fadings = grid_fadings(channel, propagation, grid)
        return Link(grid, csi, demap), [*fadings], pilot_filters(csi, channel, fadings, propagation, grid)
    if len(channel) > 1:
        raise ValueError(
            f"a dialect has a link of its own, without a grid: simulate it alone; got {', '.join(channel)}"
        )
    fadings = [flat_fading(name, propagation) for name in channel]
    return Link(None, csi, demap, dialect=spoken.pop()), fadings, [None]


class ImageOrder:
    """Numbers of images in an order drawn from the seed, batch by batch; the last batch is filled up and says so.

    sizes: height and width of each. Photographs, and images of mixed sizes, are batches of their own, so that a batch has
    one shape and those of a point that ends early are still a random sample. How they are portioned follows from their
    sizes alone: all systems meet the same draws. groups: the photographs that they were cut from, as `ImageSet` has them.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], seed: int, groups: np.ndarray | None = None):
        count, pixels = len(sizes), max(height * width for height, width in sizes)
        self.order = np.random.default_rng(seed).permutation(count)
        self.groups = groups
        self.block = 1 if len(set(sizes)) > 1 else max(1, min(BLOCK, BLOCK_PIXELS // pixels))
        self.blocks = min(BLOCKS, -(-count // self.block)) if self.block > 1 else 1
        self.batches = -(-count // (self.block * self.blocks))

    def streams(self, batch: int) -> Int[np.ndarray, "blocks b"]:
        """[blocks, block], always the same shape, so that the last one compiles nothing."""
        chosen = self.chosen(batch)
        return np.pad(chosen, (0, self.block * self.blocks - len(chosen)), mode="edge").reshape(
            self.blocks, self.block
        )

    def size(self, batch: int) -> int:
        """Images of a batch that are no filling."""
        return len(self.chosen(batch))

    def photographs(self, batch: int) -> Int[np.ndarray, "n"] | None:
        """Of each image of a batch, without the filling, the number of its photograph; None: each is one of its own."""
        return None if self.groups is None else self.groups[self.chosen(batch)]

    def real(self, batch: int, values: Shaped[np.ndarray, "blocks b *c"]) -> Shaped[np.ndarray, "n *c"]:
        """Values of the images of a batch, without those of the filling."""
        return values.reshape(-1, *values.shape[2:])[: self.size(batch)]

    def chosen(self, batch: int) -> Int[np.ndarray, " n"]:
        """The images of a batch, without the filling."""
        return self.order[batch * self.block * self.blocks :][: self.block * self.blocks]
