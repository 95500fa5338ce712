"""What of an image file crosses the air: each format's bytes without what both ends know, and the way back to the file.

    image -> complete file -> pack -> payload on air (zeros may follow it) -> unpack -> the same complete file -> image

Both ends know the plan: format, image size, encoder and its settings. The receiver writes a blank picture of that size
with its own encoder and takes from that file whatever does not depend on the picture: markers, quantisation and Huffman
tables, boxes, sequence headers. `pack` and `unpack` rely on details of a writer; `SourceCodec.encode` therefore compares
`unpack(pack(file))` with the file every time and sends the complete file where they differ.
"""

import abc
import functools
import io

import numpy as np
from PIL import Image, features

COMPLETE = 0xFF
"""First byte of a payload that is a complete file; no format uses it for anything else."""

Size = tuple[int, int]
"""Height and width."""


class Format(abc.ABC):
    """One image format. qualities: ascending; subsamplings of the chroma: the first is the default.

    files: complete files of one image at one setting, each of which decodes to the same pixels.
    pack: the bytes that cross the air. unpack: the file again, from these bytes with any number of zeros behind them.
    read: pixels [height, width, 3] uint8. note: what made the bytes, with versions, for a run's record.
    All raise whatever they like on bytes that make no sense; `SourceCodec` turns it into one ValueError.
    """

    qualities: tuple[int, ...]
    subsamplings: tuple[str, ...]

    @property
    @abc.abstractmethod
    def note(self) -> str: ...

    @abc.abstractmethod
    def files(self, image: np.ndarray, quality: int, subsampling: str) -> tuple[bytes, ...]: ...

    @abc.abstractmethod
    def pack(self, file: bytes, size: Size, quality: int, subsampling: str) -> bytes: ...

    @abc.abstractmethod
    def unpack(self, data: bytes, size: Size) -> bytes: ...

    @abc.abstractmethod
    def read(self, file: bytes, size: Size) -> np.ndarray: ...


@functools.lru_cache(maxsize=1024)
def blank_file(form: Format, size: Size, quality: int, subsampling: str) -> bytes:
    """The file of a grey picture, which the receiver can write itself."""
    return form.files(np.full((*size, 3), 128, np.uint8), quality, subsampling)[0]


def write(image: np.ndarray, form: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form, **settings)
    return stream.getvalue()


def read(file: bytes, form: str, size: Size) -> np.ndarray:
    with Image.open(io.BytesIO(file), formats=(form,)) as image:
        if image.size != size[::-1]:  # before any pixel is decoded: a damaged header may ask for gigabytes
            raise ValueError(f"a picture of {image.size[1]}x{image.size[0]}")
        return np.asarray(image.convert("RGB"))


def library(feature: str, name: str) -> str:
    version = features.version_feature(feature) if feature == "libjpeg_turbo" else features.version(feature)
    return f"{name} {version}"
