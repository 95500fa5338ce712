"""Source codecs of the separation baseline: an image to the bytes that cross the air, back, and the best that fits a budget.

    codec("avif").encode(image, quality) -> bytes -> decode(bytes, (h, w)) -> image
    fit(codec("avif"), image, num_bytes) -> the quality of highest PSNR whose bytes fit, or None

What both ends know from the plan does not cross the air and is not counted (see `semsim.containers`); everything else is in
the bytes, and `len` of them is what the ledger pays.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import features

from semsim.containers import COMPLETE, Format, Size
from semsim.names import check_name
from semsim.picture_formats import Jpeg, Webp
from semsim.video_formats import Avif, Bpg

# When the search through nearly monotone sizes and errors stops: at the second setting in a row that fails clearly, by its
# bytes (MUCH_LARGER of the budget and MORE_BYTES) or by its squared error (MUCH_WORSE of the least). Measured at 32x32, half
# CIFAR-10, half patches of photographs, many of them smooth, 24 to 800 bytes: none of 6400 searches (JPEG), 8000 (WebP) and
# 5600 (AVIF) missed the best that fits, with a fifth to a quarter of the qualities tried. Four failures in a row, clear or
# not, missed 3 % of those of AVIF on the smooth patches, by up to 0.4 dB.
MUCH_LARGER, MORE_BYTES, MUCH_WORSE, FAILURES = 1.2, 4, 1.5, 2

_FORMATS: dict[str, Format] = {"jpeg": Jpeg(), "webp": Webp(), "avif": Avif(), "bpg": Bpg()}
CODECS = tuple(_FORMATS)


@dataclass(frozen=True)
class SourceCodec:
    """A codec of photographs with integer qualities.

    encode and decode raise ValueError: for what is no uint8 image [height, width, 3], for a quality or subsampling that the
    codec does not have, for an image that the format cannot hold, and for bytes that do not decode to the known size. No
    format carries a checksum: most damaged bytes of JPEG and many of the others give a damaged picture. Use a CRC.
    """

    name: str
    form: Format

    @property
    def qualities(self) -> tuple[int, ...]:
        """Ascending; size and PSNR rise with it, with few exceptions."""
        return self.form.qualities

    @property
    def subsamplings(self) -> tuple[str, ...]:
        """Of the chroma; the first is the default, `fit` tries all."""
        return self.form.subsamplings

    @property
    def note(self) -> str:
        """Encoder, settings and versions in one line, for the record of a run."""
        return self.form.note

    def encode(self, image: np.ndarray, quality: int, subsampling: str | None = None) -> bytes:
        """What crosses the air. Zeros behind it change nothing: pad it to the block."""
        _check_image(image)
        subsampling = subsampling or self.subsamplings[0]
        if quality not in self.qualities:
            raise ValueError(
                f"{self.name} has qualities {self.qualities[0]} to {self.qualities[-1]}; got {quality}"
            )
        if subsampling not in self.subsamplings:
            raise ValueError(f"{self.name} has chroma {' or '.join(self.subsamplings)}; got {subsampling!r}")
        size = (image.shape[0], image.shape[1])
        try:
            files = self.form.files(image, quality, subsampling)
            return min((self._pack(file, size, quality, subsampling) for file in files), key=len)
        except Exception as error:  # each library has its own
            raise ValueError(f"{self.name} cannot encode an image of {size[0]}x{size[1]}: {error}") from error

    def restore(self, data: bytes, size: Size) -> bytes:
        """The complete file that the receiver makes of the bytes (and zeros behind them) for an image of (height, width)."""
        try:
            if data[0] == COMPLETE:
                return data[5 : 5 + int.from_bytes(data[1:5], "big")]
            return self.form.unpack(data, size)
        except Exception as error:
            raise ValueError(self._undecodable(data, size, error)) from error

    def decode(self, data: bytes, size: Size) -> UInt8[np.ndarray, "h w 3"]:
        """The image of (height, width) that the bytes mean, zeros behind them or not."""
        file = self.restore(bytes(data), size)
        try:
            return self.form.read(file, size)
        except Exception as error:
            raise ValueError(self._undecodable(data, size, error)) from error

    def _pack(self, file: bytes, size: Size, quality: int, subsampling: str) -> bytes:
        try:
            data = self.form.pack(file, size, quality, subsampling)
            if self.form.unpack(data, size) == file:
                return data
        except Exception:  # a layout that we do not know, which the complete file below survives
            pass
        return bytes((COMPLETE,)) + len(file).to_bytes(4, "big") + file

    def _undecodable(self, data: bytes, size: Size, error: Exception) -> str:
        return f"these {len(data)} bytes are no {self.name} image of {size[0]}x{size[1]}: {error}"


class Fitted(NamedTuple):
    """The best of an image within a budget: the bytes on air, what the receiver makes of them, and the setting."""

    data: bytes
    image: np.ndarray  # [h, w, 3] uint8
    quality: int
    subsampling: str


def codec(name: str) -> SourceCodec:
    """A codec of `CODECS`. Errors: ValueError for another name, and for one that this machine lacks, naming the remedy."""
    check_name("codec", name, CODECS)
    if name == "bpg":
        missing = [program for program in ("bpgenc", "bpgdec") if shutil.which(program) is None]
        if missing:
            raise ValueError(
                f"bpg needs {' and '.join(missing)} on the PATH: install libbpg, or choose one of "
                f"{', '.join(other for other in CODECS if other != 'bpg')}; no other codec stands in for it"
            )
    elif not features.check("jpg" if name == "jpeg" else name):
        raise ValueError(f"this Pillow was built without {name}: pip install --upgrade Pillow")
    return SourceCodec(name, _FORMATS[name])


def fit(codec: SourceCodec, image: np.ndarray, num_bytes: int) -> Fitted | None:
    """The setting with the highest PSNR whose bytes fit `num_bytes`; None if not even the smallest fits.

    For each subsampling the largest quality that fits is bracketed as if sizes rose with quality. They nearly do, so the
    search goes on from there: upwards until two in a row are clearly too large, then from the largest that fits downwards
    until two in a row are clearly worse than the best.
    """
    return Fitter(codec, image).best(num_bytes)


class Fitter:
    """`fit` of one image for any number of budgets, which share what was tried; it keeps numbers only, no pictures."""

    def __init__(self, codec: SourceCodec, image: np.ndarray):
        _check_image(image)
        self.codec, self.image = codec, image
        shape = (len(codec.subsamplings), len(codec.qualities))
        self._sizes, self._errors = np.full(shape, -1), np.full(shape, -1)  # -1: not tried
        self._files: dict[tuple[int, str], bytes] = {}  # of the search at hand

    def _encoded(self, index: int, subsampling: str) -> bytes:
        if (index, subsampling) not in self._files:
            file = self.codec.encode(self.image, self.codec.qualities[index], subsampling)
            self._files[index, subsampling] = file
            self._sizes[self.codec.subsamplings.index(subsampling), index] = len(file)
        return self._files[index, subsampling]

    def _decoded(self, index: int, subsampling: str) -> np.ndarray:
        return self.codec.decode(self._encoded(index, subsampling), self.image.shape[:2])

    def _size(self, index: int, subsampling: str) -> int:
        place = (self.codec.subsamplings.index(subsampling), index)
        if self._sizes[place] < 0:
            self._encoded(index, subsampling)
        return int(self._sizes[place])

    def _error(self, index: int, subsampling: str) -> int:
        """Sum of squared errors, an integer: equal images compare equal."""
        place = (self.codec.subsamplings.index(subsampling), index)
        if self._errors[place] < 0:
            difference = self._decoded(index, subsampling).astype(np.int64) - self.image
            self._errors[place] = np.sum(difference * difference)
        return int(self._errors[place])

    def best(self, num_bytes: int) -> Fitted | None:
        """The setting with the highest PSNR whose bytes fit; None if not even the smallest fits."""
        found = [
            (self._error(index, subsampling), self._size(index, subsampling), index, subsampling)
            for subsampling in self.codec.subsamplings
            if (index := self._search(num_bytes, subsampling)) is not None
        ]
        best = None
        if found:
            _, _, index, subsampling = min(found)
            data, image = self._encoded(index, subsampling), self._decoded(index, subsampling)
            best = Fitted(data, image, self.codec.qualities[index], subsampling)
        self._files.clear()
        return best

    def _search(self, num_bytes: int, subsampling: str) -> int | None:
        """Index of the quality of least error that fits."""
        count = len(self.codec.qualities)

        def size(index: int) -> int:
            return self._size(index, subsampling)

        low = self._bracket(num_bytes, subsampling) if size(0) <= num_bytes else -1
        top, index, failures = low, low + 1, 0
        while index < count and failures < FAILURES:
            if size(index) <= num_bytes:
                top, failures = index, 0
            elif size(index) > MUCH_LARGER * num_bytes + MORE_BYTES:
                failures += 1
            index += 1
        best, least, index, failures = None, math.inf, top, 0
        while index >= 0 and failures < FAILURES:
            if size(index) <= num_bytes:
                error = self._error(index, subsampling)
                if error < least:
                    best, least, failures = index, error, 0
                elif error > MUCH_WORSE * least:
                    failures += 1
            index -= 1
        return best

    def _bracket(self, num_bytes: int, subsampling: str) -> int:
        """An index that fits before one that does not (or before the end); the first one fits."""
        low, high, steps = 0, len(self.codec.qualities), 0
        while high - low > 1:
            middle = (low + high) // 2
            # The logarithm of the size is nearly a line: interpolation takes half of bisection's steps, if its end is known.
            if high < len(self.codec.qualities) and steps < 5:
                least, most = (self._size(index, subsampling) for index in (low, high))
                share = math.log(num_bytes / least) / math.log(most / least)
                middle = min(max(low + round((high - low) * share), low + 1), high - 1)
            steps += 1
            if self._size(middle, subsampling) <= num_bytes:
                low = middle
            else:
                high = middle
        return low


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"a codec takes one uint8 image [height, width, 3]; got {image.dtype} {list(image.shape)}"
        )
