"""JPEG and WebP on air: what still pictures need of their files (see `semsim.containers`)."""

import numpy as np

from semsim.containers import Format, Size, blank_file, library, read, write

# Settings for most PSNR at equal bytes, measured on CIFAR-10: the slowest search, 0.2 dB at 96 to 256 bytes for 0.2 ms.
WEBP_METHOD = 6


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
        return f"baseline JPEG, {library('libjpeg_turbo', 'libjpeg-turbo')}"

    def files(self, image: np.ndarray, quality: int, subsampling: str) -> tuple[bytes, ...]:
        standard = write(image, "JPEG", quality=quality, subsampling=subsampling)
        _, scan = _segments(standard)
        if len(scan) <= 4 * 17:  # shorter than the smallest tables: 16 counts and one symbol each
            return (standard,)
        return standard, write(image, "JPEG", quality=quality, subsampling=subsampling, optimize=True)

    def pack(self, file: bytes, size: Size, quality: int, subsampling: str) -> bytes:
        segments, scan = _segments(file)
        variant = self.subsamplings.index(subsampling)
        scan = scan.replace(b"\xff\x00", b"\xff")
        if segments == _segments(blank_file(self, size, quality, subsampling))[0]:
            return bytes((2 * (quality - 1) + variant,)) + scan
        tables = b"".join(segment[5:] for segment in segments if segment[1] == 0xC4)
        return bytes((self._OWN + variant, quality)) + tables + scan

    def unpack(self, data: bytes, size: Size) -> bytes:
        own = data[0] >= self._OWN
        quality, variant = (data[1], data[0] - self._OWN) if own else (data[0] // 2 + 1, data[0] % 2)
        if quality not in self.qualities:
            raise ValueError(f"no quality {quality}")
        segments, _ = _segments(blank_file(self, size, quality, self.subsamplings[variant]))
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
        return read(file, "JPEG", size)


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
        return f"lossy WebP, method {WEBP_METHOD}, {library('webp', 'libwebp')}"

    def files(self, image: np.ndarray, quality: int, subsampling: str) -> tuple[bytes, ...]:
        return (write(image, "WEBP", quality=quality, method=WEBP_METHOD),)

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
        return read(file, "WEBP", size)


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
