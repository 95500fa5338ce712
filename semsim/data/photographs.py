"""natural-train: photographs to train on, out of the Debian package gcompris-qt-data (the children's program GCompris).

A `.deb` is an `ar` archive around a tar file; in that lie Qt resource files (`.rcc`, a tree of names and contents), and in
those the photographs, as WebP files of 300 to 1,920 pixels. Licences are per file: CC-BY, CC-BY-SA, CC0, public domain or
GPL, listed in the package's `copyright`. No scene of natural-24 is among them: pictures of its monuments are left out.
"""

import io
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

PACKAGE = "gcompris-qt-data"
VERSION = "3.1-2"
DEB_SHA256 = "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f"

_PHOTOGRAPHS = re.compile(r"(erase/resource/[^/]+|explore_[^/]+/resource/.+)\.webp$")
_RESOURCES = re.compile(r"/rcc/(erase|explore_[a-z_]+)\.rcc$")
_HELD_OUT = re.compile(r"eiffel|notre", re.IGNORECASE)
LEAST = 256
"""Pixels on the short side: smaller pictures are left out."""


def photographs(deb: Path) -> Iterator[tuple[str, bytes]]:
    """Name and WebP content of every photograph in the package. Errors: ValueError for a file that is not the package."""
    found = False
    try:
        with tarfile.open(fileobj=io.BytesIO(_ar_member(deb.read_bytes(), "data.tar"))) as archive:
            for member in archive:
                if not _RESOURCES.search(member.name):
                    continue
                content = archive.extractfile(member)
                assert content is not None  # a plain file
                for path, picture in _resources(content.read()):
                    if _PHOTOGRAPHS.search(path) and not _HELD_OUT.search(path) and _is_photograph(picture):
                        found = True
                        yield "-".join(Path(path).parts[-3:]), picture
    except (tarfile.TarError, struct.error, IndexError, zlib.error, EOFError) as error:
        raise ValueError(f"{deb} is damaged, or no Debian package of {PACKAGE}: {error}") from None
    if not found:
        raise ValueError(f"{deb} holds no photograph: it is not {PACKAGE} {VERSION}")


def _ar_member(archive: bytes, prefix: str) -> bytes:
    """Content of the first member whose name begins with `prefix`."""
    if not archive.startswith(b"!<arch>\n"):
        raise tarfile.ReadError("not an ar archive")
    at = 8
    while at + 60 <= len(archive):
        name, size = archive[at : at + 16].decode("ascii", "replace"), int(archive[at + 48 : at + 58])
        if name.startswith(prefix):
            return archive[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise tarfile.ReadError(f"no {prefix} inside")


def _resources(rcc: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file of a Qt resource collection, whose format is that of Qt's tool rcc, versions 1 to 3."""
    if not rcc.startswith(b"qres"):
        raise tarfile.ReadError("not a Qt resource file")
    version, tree, data, names = struct.unpack_from(">4I", rcc, 4)
    node = 14 if version == 1 else 22

    def name(offset: int) -> str:
        (length,) = struct.unpack_from(">H", rcc, names + offset)
        return rcc[names + offset + 6 : names + offset + 6 + 2 * length].decode("utf-16-be")

    def walk(number: int, above: str) -> Iterator[tuple[str, bytes]]:
        offset, flags = struct.unpack_from(">IH", rcc, tree + number * node)
        path = f"{above}/{name(offset)}" if number else ""
        if flags & 2:
            count, first = struct.unpack_from(">II", rcc, tree + number * node + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
            return
        (start,) = struct.unpack_from(">I", rcc, tree + number * node + 10)
        (length,) = struct.unpack_from(">I", rcc, data + start)
        content = rcc[data + start + 4 : data + start + 4 + length]
        if flags & 4:
            return  # zstd: no photograph is kept so
        yield path, zlib.decompress(content[4:]) if flags & 1 else content

    yield from walk(0, "")


def _is_photograph(content: bytes) -> bool:
    """Large enough, and without transparency, which drawings have."""
    with Image.open(io.BytesIO(content)) as image:
        return min(image.size) >= LEAST and image.mode == "RGB"


def unpack(deb: Path, folder: Path) -> int:
    """Writes the photographs into `folder`, which must exist; how many there are. Errors: as `photographs`."""
    count = 0
    for name, content in photographs(deb):
        (folder / name).write_bytes(content)
        count += 1
    return count
