"""Images from a user's folder: which files count, what a damaged one is called, and how tiles are cut.

Accepted: a flat folder of PNG, JPEG or WebP files (Kodak's `kodim01.png` ... is one), or a DIV2K folder, of which the
held-out `DIV2K_valid_HR` is read. Every visible file counts, so a stray text file is reported and not overlooked.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
EXPECTED = (
    "a flat folder of PNG, JPEG or WebP images, Kodak's kodim01.png ... kodim24.png, DIV2K_valid_HR/0801.png ..., "
    "or a CIFAR-10 folder (cifar-10-batches-bin or cifar-10-batches-py)"
)


class FolderImages(NamedTuple):
    """uint8 [height, width, 3] images in the order of their file names, and why the others were skipped."""

    images: list[np.ndarray]
    names: list[str]
    skipped: list[str]


def files(folder: Path) -> list[Path]:
    """The files of an image folder in the order of their names; ValueError with the layouts expected when there are none."""
    held_out = folder / "DIV2K_valid_HR"
    flat = held_out if held_out.is_dir() else folder
    found = sorted(p for p in flat.iterdir() if p.is_file() and not p.name.startswith("."))
    if not found:
        inside = sorted(p.name for p in flat.iterdir() if p.is_dir())
        what = f"only the folders {', '.join(inside[:5])}" if inside else "no file"
        raise ValueError(f"{flat} holds {what}; expected {EXPECTED}")
    return found


def read_folder(
    folder: Path, *, size: tuple[int, int] | None, tile: int | None, limit: int | None, on_bad: str
) -> FolderImages:
    """Read an image folder; a bad file stops with a ValueError that names it (`"stop"`) or is skipped (`"skip"`).

    size: (height, width) every image must have, either way up. tile: least height and width. limit: stop after so many.
    """
    result = FolderImages([], [], [])
    for path in files(folder):
        if limit is not None and len(result.images) == limit:
            break
        try:
            image = read_image(path)
            check_size(image, size, tile)
        except ValueError as error:
            if on_bad == "stop":
                raise ValueError(f"{path}: {error} (on_bad='skip' leaves such files out)") from error
            result.skipped.append(f"{path.name}: {error}")
            continue
        result.images.append(image)
        result.names.append(path.name)
    if not result.images:
        raise ValueError(
            f"no usable image in {folder}; the first of {len(result.skipped)}: {result.skipped[0]}"
        )
    return result


def read_image(path: Path) -> np.ndarray:
    """One 8-bit image as uint8 [height, width, 3]; grey and palette images become RGB. ValueError says what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                image.load()
                return _rgb(image)
    except Image.UnidentifiedImageError as error:
        raise ValueError("not a PNG, JPEG or WebP image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"too large to open safely: {error}") from error
    except (OSError, SyntaxError, EOFError) as error:  # what Pillow's decoders raise for damage
        raise ValueError(f"damaged or truncated image: {error}") from error


def _rgb(image: Image.Image) -> np.ndarray:
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"an animation of {getattr(image, 'n_frames', 1)} frames: save the one you mean")
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise ValueError(f"pixels of mode {image.mode}: save it as 8-bit RGB or grey")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise ValueError("transparent pixels: flatten it onto a background first")
    return np.asarray(image.convert("RGB"))


def check_size(image: np.ndarray, size: tuple[int, int] | None, tile: int | None) -> None:
    """ValueError unless the image has the height and width asked for, either way up, and room for one tile."""
    height, width = image.shape[:2]
    if size is not None and size not in ((height, width), (width, height)):
        raise ValueError(
            f"{height}x{width} pixels (height x width), asked for {size[0]}x{size[1]}: give the right size, "
            "or cut tiles with tile="
        )
    if tile is not None and min(height, width) < tile:
        raise ValueError(f"{height}x{width} pixels (height x width) have no room for a tile of {tile}x{tile}")


def one_way_up(images: list[np.ndarray], size: tuple[int, int] | None) -> tuple[np.ndarray, int]:
    """Stack images of one size, turning those that stand the other way by 90 degrees; returns [n, h, w, 3] and how many.

    The way up is `size`, or that of most images. A turn moves pixels and changes none, so PSNR and SSIM are unaffected
    up to the direction of a codec's own asymmetries. ValueError when the images have different sizes.
    """
    shapes = [image.shape[:2] for image in images]
    height, width = size or max(sorted(set(shapes)), key=shapes.count)
    turned = 0
    upright = []
    for image, shape in zip(images, shapes, strict=True):
        if shape == (width, height) and height != width:
            image, turned = np.rot90(image), turned + 1
        elif shape != (height, width):
            raise ValueError(
                f"images of different sizes ({height}x{width} and {shape[0]}x{shape[1]}, height x width): ask for one with "
                "size= and on_bad='skip', or cut tiles with tile="
            )
        upright.append(image)
    return np.stack(upright), turned


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
