"""natural-train: photographs out of a Debian package of Qt resource files, built here by hand."""

import io
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from semsim import data
from semsim.data import photographs, training_images

RNG = np.random.default_rng(1)


def webp(side, mode="RGB"):
    pixels = RNG.integers(0, 256, (side, side, len(mode)), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, "WEBP")
    return file.getvalue()


def rcc(files, version=3):
    """A resource file of a flat tree of folders: {"folder/name": (content, compressed)}."""
    tree: dict = {}
    for path, content in files.items():
        at = tree
        *folders, last = path.split("/")
        for folder in folders:
            at = at.setdefault(folder, {})
        at[last] = content
    names, data_, nodes = bytearray(), bytearray(), []

    def named(name):
        offset = len(names)
        names.extend(struct.pack(">HI", len(name), 0) + name.encode("utf-16-be"))
        return offset

    def place(entries):
        """Numbers of all of a folder's entries come before those of what they hold."""
        first = len(nodes)
        nodes.extend([None] * len(entries))
        for number, (name, entry) in enumerate(entries.items(), first):
            if isinstance(entry, dict):
                children = place(entry)
                nodes[number] = struct.pack(">IHII", named(name), 2, len(entry), children)
            else:
                content, compressed = entry
                if compressed:
                    content = struct.pack(">I", len(content)) + zlib.compress(content)
                nodes[number] = struct.pack(">IHHHI", named(name), int(compressed), 0, 0, len(data_))
                data_.extend(struct.pack(">I", len(content)) + content)
        return first

    nodes.append(None)
    nodes[0] = struct.pack(">IHII", 0, 2, len(tree), place(tree))
    body = b"".join(node + bytes(8 if version > 1 else 0) for node in nodes)
    head = 20 + (4 if version > 2 else 0)
    offsets = struct.pack(">4I", version, head, head + len(body), head + len(body) + len(data_))
    return b"qres" + offsets + bytes(head - 20) + body + bytes(data_) + bytes(names)


def deb(path, resources):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:xz") as archive:
        for name, content in resources.items():
            member = tarfile.TarInfo(f"./usr/share/gcompris-qt/rcc/{name}.rcc")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in (("debian-binary", b"2.0\n "), ("data.tar.xz", tar.getvalue())):
            file.write(f"{name:16}{0:12}{0:6}{0:6}{644:8}{len(content):10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("SEMSIM_DATA", str(folder))
    return folder


LION, CAT = webp(300), webp(260)
ERASE = "gcompris/src/activities/erase/resource"
MONUMENTS = "gcompris/src/activities/explore_monuments/resource"


@pytest.mark.parametrize("version", [1, 3])
def test_photographs_come_out_as_they_went_in_and_others_stay(cache, tmp_path, version):
    erase = {
        f"{ERASE}/lion.webp": (LION, False), f"{ERASE}/drawing.webp": (webp(300, "RGBA"), False),
        f"{ERASE}/small.webp": (webp(200), False), f"{ERASE}/erase.svg": (b"<svg/>", True),
    }  # fmt: skip
    explore = {
        f"{MONUMENTS}/france/eiffel.webp": (webp(300), False),
        f"{MONUMENTS}/france/cat.webp": (CAT, True),
    }
    other = {"gcompris/src/activities/chess/resource/board.webp": (webp(300), False)}
    path = deb(
        tmp_path / "gcompris-qt-data_0_all.deb",
        {
            "erase": rcc(erase, version),
            "explore_monuments": rcc(explore, version),
            "chess": rcc(other, version),
        },
    )
    with pytest.warns(UserWarning, match="is not version"):
        fetched = data.get("natural-train", path)
    assert fetched.note.startswith("2 photographs")
    found = {file.name: file.read_bytes() for file in fetched.path.iterdir()}
    assert found == {"erase-resource-lion.webp": LION, "resource-france-cat.webp": CAT}
    assert sorted(file.name for file in cache.iterdir()) == ["natural-train"]
    assert data.load("natural-train", tile=128).images.shape == (8, 128, 128, 3)
    assert data.load("natural-train", tile=256).name == "natural-train"
    assert "already in the cache" in data.get("natural-train").note
    with pytest.warns(UserWarning, match="is not version"):
        data.get("natural-train", tmp_path)  # again, from the folder of the package


def test_what_is_no_such_package_is_refused_and_leaves_nothing(cache, tmp_path):
    whole = deb(tmp_path / "whole", {"erase": rcc({f"{ERASE}/lion.webp": (LION, True)})})
    cases = {
        "text": b"no archive",
        "torn": whole.read_bytes()[:4000],
        "empty": deb(tmp_path / "e", {"chess": rcc({"chess/a.webp": (LION, False)})}).read_bytes(),
        "noise": deb(tmp_path / "n", {"erase": b"qres" + bytes(30)}).read_bytes(),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with (
            pytest.warns(UserWarning),
            pytest.raises(ValueError, match="no Debian package|holds no photograph"),
        ):
            data.get("natural-train", tmp_path / name)
    with pytest.raises(ValueError, match=r"no gcompris-qt-data_\*.deb in"):
        data.get("natural-train", cache)
    assert list(cache.iterdir()) == []
    with pytest.raises(ValueError, match="semsim data get natural-train"):
        data.load("natural-train", tile=64)


def test_the_held_out_photographs_are_not_for_training(tmp_path):
    with pytest.raises(ValueError, match="held out for tests"):
        training_images("natural", 64)
    for folder, value in (("DIV2K_train_HR", 10), ("DIV2K_valid_HR", 200)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (64, 64), (value, value, value)).save(tmp_path / folder / "0001.png")
    assert training_images(str(tmp_path), 64).max() == 10
    assert data.load(tmp_path, tile=64).images.max() == 200
    assert photographs.PACKAGE in next(
        info.description for info in data.list_sets() if info.name == "natural-train"
    )
