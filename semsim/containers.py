"""What of an image file crosses the air: each format's bytes without what both ends know, and the way back to the file.

    image -> complete file -> pack -> payload on air (zeros may follow it) -> unpack -> the same complete file -> image

Both ends know the plan: format, image size, encoder and its settings. The receiver writes a blank picture of that size
with its own encoder and takes from that file whatever does not depend on the picture: markers, quantisation and Huffman
tables, boxes, sequence headers. `pack` and `unpack` rely on details of a writer; `SourceCodec.encode` therefore compares
`unpack(pack(file))` with the file every time and sends the complete file where they differ.
"""

from __future__ import annotations

import abc
import functools
import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, features

COMPLETE = 0xFF
"""First byte of a payload that is a complete file; no format uses it for anything else."""
# Settings for most PSNR at equal bytes, measured on CIFAR-10. WebP: the slowest search, 0.2 dB at 96 to 256 bytes for
# 0.2 ms. AVIF: libavif's own tuning is for a perceptual measure and loses 0.2 to 1.2 dB at 64 to 512 bytes; speed 4 wins
# 0.15 dB (64 bytes) to 0.5 dB (512) over the default of 6 for three times its time; speed 2 adds 0.2 dB for 2.5 times more.
WEBP_METHOD = 6
AVIF_SPEED, AVIF_TUNE = 4, {"tune": "psnr"}

Size = tuple[int, int]


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


class Jpeg(Format):
    """Baseline JPEG: the entropy-coded segment behind one byte of quality and subsampling.

        c < 200      quality 1 + c // 2, subsampling c % 2, the Huffman tables of ITU-T T.81 annex K
        c = 200, 201 subsampling c - 200, then a byte of quality and four optimised Huffman tables

    The zero byte that JPEG stuffs behind every 0xFF does not cross the air: no marker can follow. The number of blocks is
    known from the size, so nothing says where the segment ends. JPEG has no check of its own: damaged bytes give a
    damaged picture, never an error.
    """

    qualities = tuple(range(1, 101))
    subsamplings = ("4:2:0", "4:4:4")
    _OWN = 200

    @property
    def note(self) -> str:
        return f"baseline JPEG, {_library('libjpeg_turbo', 'libjpeg-turbo')}"

    def files(self, image: np.ndarray, quality: int, subsampling: str) -> tuple[bytes, ...]:
        standard = _write(image, "JPEG", quality=quality, subsampling=subsampling)
        _, scan = _segments(standard)
        if len(scan) <= 4 * 17:  # shorter than the smallest tables: 16 counts and one symbol each
            return (standard,)
        return standard, _write(image, "JPEG", quality=quality, subsampling=subsampling, optimize=True)

    def pack(self, file: bytes, size: Size, quality: int, subsampling: str) -> bytes:
        segments, scan = _segments(file)
        variant = self.subsamplings.index(subsampling)
        scan = scan.replace(b"\xff\x00", b"\xff")
        if segments == _segments(_blank(self, size, quality, subsampling))[0]:
            return bytes((2 * (quality - 1) + variant,)) + scan
        tables = b"".join(segment[5:] for segment in segments if segment[1] == 0xC4)
        return bytes((self._OWN + variant, quality)) + tables + scan

    def unpack(self, data: bytes, size: Size) -> bytes:
        own = data[0] >= self._OWN
        quality, variant = (data[1], data[0] - self._OWN) if own else (data[0] // 2 + 1, data[0] % 2)
        if quality not in self.qualities:
            raise ValueError(f"no quality {quality}")
        segments, _ = _segments(_blank(self, size, quality, self.subsamplings[variant]))
        scan = data[2:] if own else data[1:]
        if own:
            for i, segment in enumerate(segments):
                if segment[1] == 0xC4:
                    length = 16 + sum(scan[:16])
                    segments[i] = b"\xff\xc4" + (length + 3).to_bytes(2, "big") + segment[4:5] + scan[:length]
                    scan = scan[length:]
        if not scan:
            raise ValueError("nothing behind the header")
        return b"\xff\xd8" + b"".join(segments) + scan.replace(b"\xff", b"\xff\x00") + b"\xff\xd9"

    def read(self, file: bytes, size: Size) -> np.ndarray:
        return _read(file, "JPEG", size)


class Webp(Format):
    """Lossy WebP: the VP8 key frame without RIFF and chunk headers, start code and size.

    Of the frame tag (RFC 6386 section 9.1) only the version and the size of the first partition vary; they take one byte up
    to a size of 31, two up to 4095, three beyond. Behind them come the two partitions. The second goes to the end of the
    chunk, and its arithmetic decoder ignores zeros there; the zero that pads a chunk to even length is not sent.
    """

    qualities = tuple(range(101))
    subsamplings = ("4:2:0",)

    @property
    def note(self) -> str:
        return f"lossy WebP, method {WEBP_METHOD}, {_library('webp', 'libwebp')}"

    def files(self, image: np.ndarray, quality: int, subsampling: str) -> tuple[bytes, ...]:
        return (_write(image, "WEBP", quality=quality, method=WEBP_METHOD),)

    def pack(self, file: bytes, size: Size, quality: int, subsampling: str) -> bytes:
        tag, partitions = int.from_bytes(file[20:23], "little"), file[30:]
        version, first = tag >> 1 & 7, tag >> 5
        if not len(partitions) % 2 and partitions[-1:] == b"\x00":
            partitions = partitions[:-1]
        # Version 3 is reserved: the first byte is never COMPLETE.
        more = [first & 0x7F] if first < 1 << 12 else [first >> 7 & 0x7F | 0x80, first & 0x7F]
        if first < 1 << 5:
            return bytes((version << 5 | first,)) + partitions
        return bytes((0x80 | version << 5 | first >> 7 * len(more), *more)) + partitions

    def unpack(self, data: bytes, size: Size) -> bytes:
        version, first, used = data[0] >> 5 & 3, data[0] & 0x1F, 1
        more = data[0] & 0x80
        while more:
            first, more, used = first << 7 | data[used] & 0x7F, data[used] & 0x80, used + 1
        tag = first << 5 | 1 << 4 | version << 1  # a key frame, shown
        height, width = size
        frame = tag.to_bytes(3, "little") + b"\x9d\x01\x2a"
        frame += width.to_bytes(2, "little") + height.to_bytes(2, "little") + data[used:]
        frame += bytes(len(frame) % 2)
        chunk = b"WEBPVP8 " + len(frame).to_bytes(4, "little") + frame
        return b"RIFF" + len(chunk).to_bytes(4, "little") + chunk

    def read(self, file: bytes, size: Size) -> np.ndarray:
        return _read(file, "WEBP", size)


class Avif(Format):
    """AVIF: the AV1 frame behind one byte of subsampling; boxes and sequence header come from the receiver's blank picture.

    An AV1 tile ends in a 1 and zeros up to the byte (AV1 specification, section 8.2.4), so the zeros of a padded payload
    can be told from it: its length need not be sent.
    """

    # libavif rounds 101 qualities to the 64 quantisers of libaom: of those that mean the same one, the lowest.
    qualities = tuple(sorted({(63 * (100 - q) + 50) // 100: q for q in range(100, -1, -1)}.values()))
    subsamplings = ("4:2:0", "4:4:4")

    @property
    def note(self) -> str:
        return f"AVIF, libaom speed {AVIF_SPEED}, tuned for PSNR, {_library('avif', 'libavif')}"

    def files(self, image: np.ndarray, quality: int, subsampling: str) -> tuple[bytes, ...]:
        # One thread an image: images are spread over threads, and small ones have one tile.
        settings = {"codec": "aom", "speed": AVIF_SPEED, "advanced": AVIF_TUNE, "max_threads": 1}
        return (_write(image, "AVIF", quality=quality, subsampling=subsampling, **settings),)

    def pack(self, file: bytes, size: Size, quality: int, subsampling: str) -> bytes:
        return bytes((self.subsamplings.index(subsampling),)) + _av1(file)[2]

    def unpack(self, data: bytes, size: Size) -> bytes:
        blank = _blank(self, size, self.qualities[0], self.subsamplings[data[0]])
        boxes, headers, _ = _av1(blank)
        frame = data[1:].rstrip(b"\x00")
        item = headers + b"\x32" + _leb128(len(frame)) + frame
        file = bytearray(boxes + item)
        # Of all the boxes, two numbers depend on the picture: the length of the item in iloc and the size of mdat.
        extent = boxes.index(b"iloc") + 22
        file[extent : extent + 4] = len(item).to_bytes(4, "big")
        file[len(boxes) - 8 : len(boxes) - 4] = (len(item) + 8).to_bytes(4, "big")
        return bytes(file)

    def read(self, file: bytes, size: Size) -> np.ndarray:
        return _read(file, "AVIF", size)


class Bpg(Format):
    """BPG by the programs `bpgenc` and `bpgdec`: the file without what it shares with a blank picture's.

    The first byte says how much that is (half of it, up to 126 bytes) and the subsampling (odd: 4:4:4): magic number, size,
    HEVC header, picture parameters. An HEVC slice ends in a 1 and zeros up to the byte (ITU-T H.265, section 7.3.2.11), and
    bpgenc writes no length: the zeros of a padded payload can be told from it.
    """

    qualities = tuple(range(52))  # 51 - quantiser
    subsamplings = ("4:2:0", "4:4:4")

    @property
    def note(self) -> str:
        return "BPG, bpgenc with its default compression level; quality is 51 - quantiser"

    def files(self, image: np.ndarray, quality: int, subsampling: str) -> tuple[bytes, ...]:
        options = ("-q", str(51 - quality), "-f", subsampling.replace(":", ""))
        return (_run("bpgenc", options, _write(image, "PNG"), "image.png", "image.bpg"),)

    def pack(self, file: bytes, size: Size, quality: int, subsampling: str) -> bytes:
        blank = _blank(self, size, self.qualities[0], subsampling)
        pairs = enumerate(zip(file, blank, strict=False))
        shared = next((i for i, (a, b) in pairs if a != b), min(len(file), len(blank)))
        shared = min(shared, 126)
        return bytes((2 * shared + self.subsamplings.index(subsampling),)) + file[shared:]

    def unpack(self, data: bytes, size: Size) -> bytes:
        blank = _blank(self, size, self.qualities[0], self.subsamplings[data[0] % 2])
        return blank[: data[0] // 2] + data[1:].rstrip(b"\x00")

    def read(self, file: bytes, size: Size) -> np.ndarray:
        return _read(_run("bpgdec", (), file, "image.bpg", "image.png"), "PNG", size)


@functools.lru_cache(maxsize=1024)
def _blank(form: Format, size: Size, quality: int, subsampling: str) -> bytes:
    """The file of a grey picture, which the receiver can write itself."""
    return form.files(np.full((*size, 3), 128, np.uint8), quality, subsampling)[0]


def _write(image: np.ndarray, form: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form, **settings)
    return stream.getvalue()


def _read(file: bytes, form: str, size: Size) -> np.ndarray:
    with Image.open(io.BytesIO(file), formats=(form,)) as image:
        if image.size != size[::-1]:  # before any pixel is decoded: a damaged header may ask for gigabytes
            raise ValueError(f"a picture of {image.size[1]}x{image.size[0]}")
        return np.asarray(image.convert("RGB"))


def _library(feature: str, name: str) -> str:
    version = features.version_feature(feature) if feature == "libjpeg_turbo" else features.version(feature)
    return f"{name} {version}"


def _segments(file: bytes) -> tuple[list[bytes], bytes]:
    """Marker segments of a JPEG file between its start and its one scan, and the entropy-coded data of the scan."""
    segments, at = [], 2
    while not segments or segments[-1][1] != 0xDA:
        length = 2 + int.from_bytes(file[at + 2 : at + 4], "big")
        segments.append(file[at : at + length])
        at += length
        if at >= len(file):
            raise ValueError("no scan in the file")
    return segments, file[at:-2]


def _av1(file: bytes) -> tuple[bytes, bytes, bytes]:
    """An AVIF file's boxes up to the contents of mdat, what stands there before the last OBU, and the last OBU's payload."""
    start = file.index(b"mdat") + 4
    begin = start
    while True:
        at, length = begin + 1, 0  # one byte of OBU header, then the length of its payload as leb128
        for shift in range(0, 56, 7):  # AV1 specification, section 4.10.5
            length |= (file[at] & 0x7F) << shift
            at += 1
            if file[at - 1] < 0x80:
                break
        if at + length >= len(file):
            return file[:start], file[start:begin], file[at:]
        begin = at + length


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _run(program: str, options: tuple[str, ...], contents: bytes, given: str, wanted: str) -> bytes:
    """Bytes of the file `wanted` that the program makes of the file `given`."""
    path = shutil.which(program)
    if path is None:
        raise ValueError(
            f"{program} is not on the PATH: install libbpg (bpgenc and bpgdec), or choose another codec"
        )
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, given), Path(folder, wanted)
        source.write_bytes(contents)
        ran = subprocess.run(
            [path, *options, "-o", str(result), str(source)], capture_output=True, text=True, check=False
        )
        if ran.returncode or not result.is_file():
            said = (ran.stderr or ran.stdout).strip().splitlines()
            raise ValueError(
                f"{program} stopped with code {ran.returncode}: {said[-1] if said else 'no word'}"
            )
        return result.read_bytes()
