"""Images to train on: never one that tests or validates, whatever it comes in."""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from semsim.data import cifar, fetch, folders
from semsim.data.images import load

CIFAR_VALIDATION = 1000
"""The last so many CIFAR-10 training images are never trained on."""
HELD_OUT = ("natural", "embedded")
"""Sets that results are measured on; embedded shares scenes with natural-24."""

Part = Literal["train", "validation"]


def training_images(
    name_or_path: str | Path, size: int, part: Part = "train"
) -> UInt8[np.ndarray, "n size size 3"]:
    """The training images of a set, or those of them that are held out for validation.

    Of CIFAR-10, by name or in any container, "train" is the training split but its last `CIFAR_VALIDATION` images, and
    "validation" these; its test split is never read. Another set is cut into tiles of `size`, all of them "train"; of a
    DIV2K folder those of DIV2K_train_HR.
    Errors: ValueError for sets that are for tests, a container without training images or with too few, a set without
    a validation part, and as `load`.
    """
    source = _cifar(name_or_path)
    if source is not None:
        images = _part(_training_split(source).images, source, part)
        try:
            folders.check_size(images[0], (size, size), None)
        except ValueError as error:
            raise ValueError(f"{source.name} has images of {error}") from None
        return images
    if part == "validation":
        raise ValueError(f"{name_or_path} has no validation images: CIFAR-10 has")
    if name_or_path in HELD_OUT:
        raise ValueError(
            f"{name_or_path} is held out for tests: train on cifar10, natural-train or a folder of your own"
        )
    path = Path(name_or_path).expanduser()
    published = path / "DIV2K_train_HR"
    if path.name == "DIV2K_valid_HR" or ((path / "DIV2K_valid_HR").is_dir() and not published.is_dir()):
        raise ValueError(f"{path} has the held-out part of DIV2K alone: train on DIV2K_train_HR")
    return load(published if published.is_dir() else name_or_path, tile=size).images


def validation_images(name_or_path: str | Path, size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """What a training on the set is scored on: its validation images; of a set without, those of the cached CIFAR-10."""
    return training_images(name_or_path if _cifar(name_or_path) else "cifar10", size, "validation")


def training_labels(name_or_path: str | Path) -> UInt8[np.ndarray, " n"]:
    """Labels of `training_images`. Errors: ValueError for a set that has none, and as there."""
    source = _cifar(name_or_path)
    if source is None:
        raise ValueError(f"{name_or_path} has no labels to split by: take another split, or cifar10")
    return _part(_training_split(source).labels, source, "train")


def _cifar(name_or_path: str | Path) -> Path | None:
    """Where a CIFAR-10 lies, or None for another set. Errors: ValueError where it is not in the cache."""
    if name_or_path in ("cifar10", "cifar10-train"):
        load("cifar10-train", limit=1)  # which says what to do where the set is not here
        return fetch.cached("cifar10")
    path = Path(name_or_path).expanduser()
    return path if cifar.kind(path) else None


def _training_split(source: Path) -> cifar.Split:
    return cifar.read(source, "train")


def _part(values: np.ndarray, source: Path, part: Part) -> np.ndarray:
    if len(values) <= CIFAR_VALIDATION:
        raise ValueError(
            f"{source} has {len(values)} training images, of which the last {CIFAR_VALIDATION:,} are for validation"
        )
    return values[-CIFAR_VALIDATION:] if part == "validation" else values[:-CIFAR_VALIDATION]
