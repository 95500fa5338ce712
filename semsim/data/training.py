"""Images to train on, with the validation images left out."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from semsim.data import cifar, fetch
from semsim.data.images import load

CIFAR_VALIDATION = 1000
"""The last so many CIFAR-10 training images are never trained on."""


def training_images(name_or_path: str, size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """CIFAR-10 without its validation images, or every image of another set cut into tiles of `size`.

    Of a DIV2K folder those of DIV2K_train_HR. Errors: ValueError for natural-24, which is for tests, and as `load`.
    """
    if name_or_path == "natural":
        raise ValueError("natural is held out for tests: train on natural-train, or a folder")
    if name_or_path == "cifar10":
        return load("cifar10-train", size=size).images[:-CIFAR_VALIDATION]
    published = Path(name_or_path).expanduser() / "DIV2K_train_HR"
    return load(published if published.is_dir() else name_or_path, tile=size).images


def validation_images(size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """The CIFAR-10 training images that `training_images` leaves out. Errors: as `load`."""
    return load("cifar10-train", size=size).images[-CIFAR_VALIDATION:]


def training_labels(name_or_path: str) -> UInt8[np.ndarray, " n"]:
    """Labels of `training_images`. Errors: ValueError for a set that has none, and as `load`."""
    if name_or_path != "cifar10":
        raise ValueError(f"{name_or_path} has no labels to split by: take another split, or cifar10")
    load("cifar10-train", limit=1)  # which says what to do where the set is not here
    return cifar.read(fetch.cached("cifar10"), "train").labels[:-CIFAR_VALIDATION]
