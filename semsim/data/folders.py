"""Images from a user's folder: which files count, what a damaged one is called, and how tiles are cut.

Accepted: one file; a flat folder of PNG, JPEG or WebP files (Kodak's `kodim01.png` ... is one); or a DIV2K folder, of which
the held-out `DIV2K_valid_HR` is read. Every visible file counts, so a stray text file is reported and not overlooked.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semsim.data import pictures

EXPECTED = (
    "an image, a flat folder of PNG, JPEG or WebP images, Kodak's kodim01.png ... kodim24.png, DIV2K_valid_HR/0801.png "
    "..., or a CIFAR-10 folder (cifar-10-batches-bin or cifar-10-batches-py)"
)


class FolderImages(NamedTuple):
    """uint8 [height, width, 3] images in the order of their file names, why others were skipped, and what was changed."""

    images: list[np.ndarray]
    names: list[str]
    skipped: list[str]
    changes: Counter[str]


def files(path: Path) -> list[Path]:
    """The files of an image folder in the order of their names, or the one file.

    Errors: ValueError with the layouts expected for a folder that has none.
    """
    if path.is_file():
        return [path]
    held_out = path / "DIV2K_valid_HR"
    flat = held_out if held_out.is_dir() else path
    found = sorted(p for p in flat.iterdir() if p.is_file() and not p.name.startswith("."))
    if not found:
        inside = sorted(p.name for p in flat.iterdir() if p.is_dir())
        what = f"only the folders {', '.join(inside[:5])}" if inside else "no file"
        raise ValueError(f"{flat} holds {what}; expected {EXPECTED}")
    return found


def read_folder(
    folder: Path,
    *,
    size: tuple[int, int] | None,
    resize: tuple[int, int] | None,
    tile: int | None,
    limit: int | None,
    on_bad: str,
) -> FolderImages:
    """Read an image folder; a bad file stops with a ValueError that names it (`"stop"`) or is skipped (`"skip"`).

    size: (height, width) every image must have, either way up. resize: (height, width) they are scaled and cropped to.
    tile: least height and width. limit: stop after so many.
    """
    result = FolderImages([], [], [], Counter())
    for path in files(folder):
        if limit is not None and len(result.images) == limit:
            break
        try:
            pixels, changes = pictures.read(path, resize)
            check_size(pixels, size, tile)
        except ValueError as error:
            if on_bad == "stop":
                raise ValueError(
                    f"{path}: {error}; take the file out of the folder, or have such files skipped "
                    "(run --on-bad skip, load(on_bad='skip'))"
                ) from error
            result.skipped.append(f"{path.name}: {error}")
            continue
        result.images.append(pixels)
        result.names.append(path.name)
        result.changes.update(changes)
    if not result.images:
        raise ValueError(
            f"no usable image in {folder}; the first of {len(result.skipped)}: {result.skipped[0]}"
        )
    return result


def check_size(image: np.ndarray, size: tuple[int, int] | None, tile: int | None) -> None:
    """ValueError unless the image has the height and width asked for, either way up, and room for one tile."""
    height, width = image.shape[:2]
    if size is not None and size not in ((height, width), (width, height)):
        raise ValueError(f"{height}x{width} pixels (height x width), asked for {size[0]}x{size[1]}")
    if tile is not None and min(height, width) < tile:
        raise ValueError(f"{height}x{width} pixels (height x width) have no room for a tile of {tile}x{tile}")


def together(images: list[np.ndarray], size: tuple[int, int] | None = None) -> tuple[np.ndarray, int]:
    """Images as one array, and how many of them were turned for it: [n, h, w, 3], or [n] objects where sizes are mixed.

    Those of one size are stacked, after a turn by 90 degrees for those that stand the other way: the way up is `size`, or
    that of most images. A turn moves pixels and changes none, so PSNR and SSIM are unaffected up to the direction of a
    codec's own asymmetries. Where there is another size too, nothing is turned.
    """
    shapes = [image.shape[:2] for image in images]
    height, width = size or max(sorted(set(shapes)), key=shapes.count)
    if not set(shapes) <= {(height, width), (width, height)}:
        mixed = np.empty(len(images), object)
        for place, image in enumerate(images):  # a slice would try to stack them
            mixed[place] = image
        return mixed, 0
    upright = [
        image if shape == (height, width) else np.rot90(image)
        for image, shape in zip(images, shapes, strict=True)
    ]
    return np.stack(upright), sum(shape != (height, width) for shape in shapes)


def tile_order(count: int) -> list[int]:
    """A fixed order of `count` tiles that scatters the first few over the image: steps of the golden ratio."""
    step = max(1, round(count * (math.sqrt(5.0) - 1.0) / 2.0))
    while math.gcd(step, count) != 1:
        step += 1
    return [(i * step) % count for i in range(count)]


def cut(image: np.ndarray, tile: int) -> np.ndarray:
    """Non-overlapping tiles [count, tile, tile, 3] of one image, row by row; a remainder at the edges is lost."""
    rows, columns = image.shape[0] // tile, image.shape[1] // tile
    grid = image[: rows * tile, : columns * tile].reshape(rows, tile, columns, tile, 3)
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * columns, tile, tile, 3)


def lost_to_tiles(images: list[np.ndarray], tile: int) -> float:
    """Share of the pixels that lie in no tile, at right and lower edges."""
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    kept = sum((image.shape[0] // tile) * (image.shape[1] // tile) * tile**2 for image in images)
    return 1 - kept / pixels


def tiles(
    images: list[np.ndarray], names: list[str], tile: int, limit: int | None
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Tiles of all images taken in turn, so that a small `limit` sees every image.

    Returns the tiles, their names `image/row-major index`, and the number of the image that each was cut from.
    """
    pieces: list[tuple[int, int, np.ndarray, str]] = []
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        grid = cut(image, tile)
        order = tile_order(len(grid))[:limit]
        pieces.extend((turn, i, grid[k], f"{name}/{k:03d}") for turn, k in enumerate(order))
    pieces.sort(key=lambda piece: piece[:2])
    kept = pieces[:limit]
    sources = np.array([piece[1] for piece in kept])
    return np.stack([piece[2] for piece in kept]), [piece[3] for piece in kept], sources
