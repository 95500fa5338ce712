"""Image sets by name, file, folder or array: what every experiment and training starts from.

Images are uint8 NHWC RGB; `as_float` turns a batch into float32 in [0, 1] when it is used, because a float copy of
CIFAR-10 would take four times the memory. Nothing is downloaded here: `semsim.data.get` does that, when asked.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files as package_files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from semsim.data import cifar, fetch, folders, pictures

EMBEDDED = ("astronaut", "chelsea", "coffee", "rocket", "hubble-left", "hubble-right", "retina", "ihc")
_STRIP, _PHOTOGRAPH, _TILE = "demo_cc0_8x256.png", 256, 32
_HUBBLE = EMBEDDED.index("hubble-left"), EMBEDDED.index("hubble-right")  # two crops of one photograph


class ImageSet(NamedTuple):
    """Images with their names, and where they came from.

    images: uint8 (or float32 in [0, 1] from `from_array`) [n, height, width, 3]; where sizes are mixed an array of n
    objects, each uint8 [height, width, 3]. note: one line for records and figures. left_out: what of the source is not
    here, skipped files and cut borders; it is part of the note. groups: number of the photograph that each image was cut
    from, int [n]; None: each is one of its own. Pieces of one photograph resemble each other, so what is said of
    photographs in general rests on the number of these.
    """

    name: str
    images: np.ndarray
    names: tuple[str, ...]
    note: str
    left_out: str = ""
    groups: np.ndarray | None = None

    @property
    def mixed(self) -> bool:
        """Whether images have different sizes."""
        return self.images.dtype == object

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image."""
        if self.mixed:
            return [image.shape[:2] for image in self.images]
        return [self.images.shape[1:3]] * len(self.images)


def load(
    name_or_path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    resize: int | tuple[int, int] | None = None,
    tile: int | None = None,
    limit: int | None = None,
    on_bad: str = "stop",
) -> ImageSet:
    """An image set by name (`NAMES`), or from an image, a folder or a CIFAR-10 file of the user's.

    size: side, or (height, width), that every image must have.
    resize: side, or (height, width): every image is scaled until it fills it and cropped about its centre. Without it images
        are never scaled.
    tile: cut every image into tiles of that side, taken from the images in turn; the note says what borders this loses.
    limit: keep the first so many. on_bad: `"stop"` names the first file that is no image, damaged or of another size;
        `"skip"` leaves such files out and says so in the note.
    Raises ValueError for all of that, for an unknown name, and for a set that is not in the cache yet.
    """
    for what, value in (("tile", tile), ("limit", limit)):
        if value is not None and value < 1:
            raise ValueError(f"{what} must be at least 1; got {value}")
    if on_bad not in ("stop", "skip"):
        raise ValueError(f"on_bad must be 'stop' or 'skip'; got {on_bad!r}")
    sides, scaled = _sides("size", size), _sides("resize", resize)
    if name_or_path == NATURAL_TRAIN:
        return _from_folder(_cached(NATURAL_TRAIN), sides, scaled, tile, limit, on_bad)
    if isinstance(name_or_path, str) and name_or_path in _NAMED:
        return _select(_NAMED[name_or_path](), sides, scaled, tile, limit)
    path = Path(name_or_path).expanduser()
    if not path.exists():
        raise ValueError(_unknown(name_or_path))
    if cifar.kind(path):
        return _select(_cifar(path, "test", "cifar10"), sides, scaled, tile, limit)
    return _from_folder(path, sides, scaled, tile, limit, on_bad)


def image_set(images: ImageSet | np.ndarray | str | Path) -> ImageSet:
    """Whatever names or holds images as a set. Errors: ValueError as `load` and `from_array`, and for anything else."""
    if isinstance(images, ImageSet):
        return images
    if isinstance(images, str | Path):
        return load(images)
    if hasattr(images, "__array__"):  # of NumPy, JAX or PyTorch
        return from_array(np.asarray(images))
    raise ValueError(
        "images are the name of a set, a path, an array [n, height, width, 3] or an ImageSet; got "
        f"{type(images).__name__}"
    )


def from_array(images: np.ndarray, name: str = "array", *, limit: int | None = None) -> ImageSet:
    """An image set from an array the user has: uint8, or floating point in [0, 1] (kept as float32), [n, h, w, 3].

    Raises ValueError for another type or shape, values outside the range, NaN or infinity, naming the first image concerned.
    """
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(
            f"images must be [n, height, width, 3] (NHWC, RGB) and not empty; got shape {array.shape}"
        )
    if np.issubdtype(array.dtype, np.floating):
        flat = array.reshape(len(array), -1)
        broken = np.flatnonzero(~np.isfinite(flat).all(axis=1))
        if broken.size:
            raise ValueError(
                f"image {broken[0]} has pixels that are NaN or infinite ({broken.size} of {len(array)} images do)"
            )
        outside = np.flatnonzero((flat.min(axis=1) < 0.0) | (flat.max(axis=1) > 1.0))
        if outside.size:
            low, high = flat[outside[0]].min(), flat[outside[0]].max()
            raise ValueError(
                f"floating-point images must lie in [0, 1]; image {outside[0]} spans [{low:g}, {high:g}]: divide by 255, "
                "or pass uint8"
            )
        array = array.astype(np.float32)
    elif array.dtype != np.uint8:
        raise ValueError(f"images must be uint8, or floating point in [0, 1]; got {array.dtype}")
    width = len(str(len(array) - 1))
    names = tuple(f"{name}/{i:0{width}d}" for i in range(len(array)))
    return ImageSet(name, array[:limit], names[:limit], f"{len(array)} images given as an array")


def as_float(images: np.ndarray) -> np.ndarray:
    """Images as float32 in [0, 1]: uint8 divided by 255, float32 as it is."""
    return (
        images.astype(np.float32) / np.float32(255)
        if images.dtype == np.uint8
        else images.astype(np.float32, copy=False)
    )


def _embedded() -> ImageSet:
    with (
        package_files("semsim.data").joinpath("embedded", _STRIP).open("rb") as stream,
        Image.open(stream) as image,
    ):
        photographs = list(folders.cut(np.asarray(image.convert("RGB")), _PHOTOGRAPH))
    images, names, sources = folders.tiles(photographs, list(EMBEDDED), _TILE, None)
    note = "eight crops of seven CC0 or public-domain photographs of scikit-image, cut to 512 patches of 32x32: toy data"
    groups = np.where(sources == _HUBBLE[1], _HUBBLE[0], sources)
    return ImageSet("embedded", images, tuple(names), note, groups=groups)


def _cached(name: str) -> Path:
    path = fetch.cached(name)
    if not path.exists():
        raise ValueError(
            f"{name} is not in the cache ({path}): run `semsim data get {name}`, or `semsim data get {name} --from PATH`"
        )
    return path


def _cifar(path: Path, split: str, name: str) -> ImageSet:
    images = cifar.read(path, split).images
    names = tuple(f"{split}/{i:05d}" for i in range(len(images)))
    return ImageSet(name, images, names, f"CIFAR-10 {split} split from {path.name}")


def _natural() -> ImageSet:
    path = _cached("natural")
    with np.load(path, allow_pickle=False) as store:
        names = tuple(str(n) for n in store["names"])
        return ImageSet(
            "natural-24", store["images"], names, "24 held-out photographs of 384x512; the portrait is turned"
        )


_NAMED: dict[str, Callable[[], ImageSet]] = {
    "embedded": _embedded,
    "cifar10": lambda: _cifar(_cached("cifar10"), "test", "cifar10"),
    "cifar10-train": lambda: _cifar(_cached("cifar10"), "train", "cifar10-train"),
    "natural": _natural,
}
NATURAL_TRAIN = "natural-train"
NAMES = (*_NAMED, NATURAL_TRAIN)


def _unknown(given: str | Path) -> str:
    hint = fetch.nearest(str(given), NAMES)
    return f"no data set and no folder {str(given)!r}; {hint}the choices are {', '.join(NAMES)}, or a folder of images"


def _sides(name: str, value: int | tuple[int, int] | None) -> tuple[int, int] | None:
    sides = (value, value) if isinstance(value, int) else value
    if sides is not None and min(sides) < 1:
        raise ValueError(f"{name} must be positive; got {value}")
    return sides


def _select(
    found: ImageSet,
    size: tuple[int, int] | None,
    resize: tuple[int, int] | None,
    tile: int | None,
    limit: int | None,
) -> ImageSet:
    """Check the size of a set that is in memory, scale it, cut its tiles, keep its first images."""
    images, names, note, groups = found.images, found.names, found.note, found.groups
    if resize is not None and found.images.shape[1:3] != resize:
        kept = images if tile is not None else images[:limit]
        images = np.stack([pictures.resized(image, resize) for image in kept])
        note += f"; {_scaled(resize)}"
    try:
        folders.check_size(images[0], size, tile)
    except ValueError as error:
        raise ValueError(f"{found.name} has images of {error}") from error
    left_out = ""
    if tile is not None:
        left_out = _lost_to_tiles(list(images), tile)
        images, tiled, sources = folders.tiles(list(images), list(names), tile, limit)
        names, note = tuple(tiled), f"{note}; tiles of {tile}x{tile}"
        groups = sources if groups is None else groups[sources]
    note = "; ".join(part for part in (note, left_out) if part)
    kept = None if groups is None else groups[:limit]
    return ImageSet(found.name, images[:limit], names[:limit], note, left_out, kept)


def _from_folder(
    path: Path,
    size: tuple[int, int] | None,
    resize: tuple[int, int] | None,
    tile: int | None,
    limit: int | None,
    on_bad: str,
) -> ImageSet:
    read = folders.read_folder(
        path, size=size, resize=resize, tile=tile, limit=None if tile else limit, on_bad=on_bad
    )
    count = len(read.images)
    notes = [f"{count} {'file' if count == 1 else 'files'} of {path}"]
    notes += [f"{number} {change}" for change, number in read.changes.items()]
    notes += [_scaled(resize)] if resize is not None else []
    left_out = []
    if tile is None:
        images, turned = folders.together(read.images, size)
        names, groups = read.names, None
        notes += [f"{turned} turned by 90 degrees"] if turned else []
    else:
        images, names, groups = folders.tiles(read.images, read.names, tile, limit)
        notes.append(f"tiles of {tile}x{tile}")
        left_out.append(_lost_to_tiles(read.images, tile))
    if read.skipped:
        files = count + len(read.skipped)
        more = f" and {len(read.skipped) - 3} more" if len(read.skipped) > 3 else ""
        left_out.append(f"skipped {len(read.skipped)} of {files} files: {'; '.join(read.skipped[:3])}{more}")
    lost = "; ".join(part for part in left_out if part)
    note = "; ".join([*notes, lost] if lost else notes)
    return ImageSet(path.resolve().name, images, tuple(names), note, lost, groups)


def _scaled(size: tuple[int, int]) -> str:
    return f"scaled and cropped to {size[0]}x{size[1]}"


def _lost_to_tiles(images: list[np.ndarray], tile: int) -> str:
    share = folders.lost_to_tiles(images, tile)
    return f"tiles leave out {100 * share:.2g} % of the pixels, at right and lower edges" if share else ""
