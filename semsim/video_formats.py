"""AVIF and BPG on air: key frames of video codecs without their containers (see `semsim.containers`)."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from semsim.containers import Format, Size, blank_file, library, read, write

# Settings for most PSNR at equal bytes, measured on CIFAR-10: libavif's own tuning is for a perceptual measure and loses 0.2
# to 1.2 dB at 64 to 512 bytes; speed 4 wins 0.15 dB (64 bytes) to 0.5 dB (512) over the default of 6 for three times its
# time; speed 2 adds 0.2 dB for 2.5 times more.
AVIF_SPEED, AVIF_TUNE = 4, {"tune": "psnr"}
PATIENCE = 600.0
"""Seconds that a program may take for a picture."""


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
        return f"AVIF, libaom speed {AVIF_SPEED}, tuned for PSNR, {library('avif', 'libavif')}"

    def files(self, image: np.ndarray, quality: int, subsampling: str) -> tuple[bytes, ...]:
        # One thread an image: images are spread over threads, and small ones have one tile.
        settings = {"codec": "aom", "speed": AVIF_SPEED, "advanced": AVIF_TUNE, "max_threads": 1}
        return (write(image, "AVIF", quality=quality, subsampling=subsampling, **settings),)

    def pack(self, file: bytes, size: Size, quality: int, subsampling: str) -> bytes:
        return bytes((self.subsamplings.index(subsampling),)) + _av1(file)[2]

    def unpack(self, data: bytes, size: Size) -> bytes:
        blank = blank_file(self, size, self.qualities[0], self.subsamplings[data[0]])
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
        return read(file, "AVIF", size)


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
        return (_run("bpgenc", options, write(image, "PNG"), "image.png", "image.bpg"),)

    def pack(self, file: bytes, size: Size, quality: int, subsampling: str) -> bytes:
        blank = blank_file(self, size, self.qualities[0], subsampling)
        pairs = enumerate(zip(file, blank, strict=False))
        shared = next((i for i, (a, b) in pairs if a != b), min(len(file), len(blank)))
        shared = min(shared, 126)
        return bytes((2 * shared + self.subsamplings.index(subsampling),)) + file[shared:]

    def unpack(self, data: bytes, size: Size) -> bytes:
        blank = blank_file(self, size, self.qualities[0], self.subsamplings[data[0] % 2])
        return blank[: data[0] // 2] + data[1:].rstrip(b"\x00")

    def read(self, file: bytes, size: Size) -> np.ndarray:
        if file[:4] == b"BPG\xfb" and (found := _bpg_size(file)) != size:  # before a pixel is decoded
            raise ValueError(f"a picture of {found[0]}x{found[1]}")
        return read(_run("bpgdec", (), file, "image.bpg", "image.png"), "PNG", size)


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


def _bpg_size(file: bytes) -> Size:
    """Height and width that a BPG file says it has: two numbers of seven bits a byte, highest first, behind six bytes."""
    found, at = [], 6
    for _ in range(2):
        value, more = 0, True
        while more:
            value, more, at = value << 7 | file[at] & 0x7F, file[at] & 0x80, at + 1
        found.append(value)
    width, height = found
    return height, width


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
        try:
            ran = subprocess.run(
                [path, *options, "-o", str(result), str(source)],
                capture_output=True, text=True, check=False, timeout=PATIENCE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ValueError(f"{program} did not end within {PATIENCE:g} s") from None
        if ran.returncode or not result.is_file():
            said = (ran.stderr or ran.stdout).strip().splitlines()
            raise ValueError(
                f"{program} stopped with code {ran.returncode}: {said[-1] if said else 'no word'}"
            )
        return result.read_bytes()
