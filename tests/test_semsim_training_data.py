"""Training never sees a test image: every container of CIFAR-10 through the real loader, and folders that hold others."""

import hashlib
import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from semsim import data
from semsim.data import cifar, training_images, training_labels, validation_images
from semsim.data.training import CIFAR_VALIDATION

EACH = 203  # images of a batch: five of them are more than are held out
NAMES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
PIXELS = np.random.default_rng(7).integers(0, 256, (6, EACH, 32, 32, 3), np.uint8)
LABELS = np.random.default_rng(8).integers(0, 10, (6, EACH))
TRAIN = PIXELS[:5].reshape(-1, 32, 32, 3)
KEPT = len(TRAIN) - CIFAR_VALIDATION


def files(form):
    """The published files of a form, by name."""
    if form == "png":
        found = {}
        for name, images in zip(NAMES, PIXELS, strict=True):
            sheet = io.BytesIO()
            Image.fromarray(images.reshape(EACH, 1024, 3)).save(sheet, "PNG")
            found[f"{name}.png"] = sheet.getvalue()
        found["train_lables.json"] = json.dumps(LABELS[:5].ravel().tolist()).encode()
        found["test_lables.json"] = json.dumps(LABELS[5].tolist()).encode()
        return found
    planes = PIXELS.transpose(0, 1, 4, 2, 3).reshape(6, EACH, 3072)
    if form == "bin":
        return {
            f"{name}.bin": np.concatenate([label[:, None].astype(np.uint8), plane], 1).tobytes()
            for name, plane, label in zip(NAMES, planes, LABELS, strict=True)
        }
    return {
        name: pickle.dumps({b"batch_label": b"batch", b"labels": label.tolist(), b"data": plane}, protocol=2)
        for name, plane, label in zip(NAMES, planes, LABELS, strict=True)
    }


INSIDE = {"bin": "cifar-10-batches-bin", "py": "cifar-10-batches-py", "png": "package"}


def container(kind, folder):
    """A CIFAR-10 of the six batches: an official folder, the folder around it, an archive, or our own file."""
    form, _, shape = kind.partition(" ")
    if form == "npz":
        path = folder / "cifar10.npz"
        np.savez(
            path, train_images=TRAIN, train_labels=LABELS[:5].ravel().astype(np.uint8),
            test_images=PIXELS[5], test_labels=LABELS[5].astype(np.uint8),
        )  # fmt: skip
        return path
    if shape == "archive":
        path = folder / "cifar-10.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, content in files(form).items():
                info = tarfile.TarInfo(f"{INSIDE[form]}/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path
    inner = folder / INSIDE[form]
    inner.mkdir()
    for name, content in files(form).items():
        (inner / name).write_bytes(content)
    return inner if shape == "itself" else folder


def sums(images):
    return {hashlib.sha256(image.tobytes()).hexdigest() for image in images}


@pytest.mark.parametrize(
    "kind",
    ["npz", "bin folder", "bin itself", "bin archive", "py folder", "py itself", "py archive", "png folder", "png archive"],
)  # fmt: skip
def test_training_sees_neither_test_nor_validation_images(tmp_path, kind):
    path = container(kind, tmp_path)
    trained, validated = training_images(str(path), 32), validation_images(str(path), 32)
    np.testing.assert_array_equal(trained, TRAIN[:KEPT])
    np.testing.assert_array_equal(validated, TRAIN[KEPT:])
    np.testing.assert_array_equal(training_labels(str(path)), LABELS[:5].ravel()[:KEPT])
    tested = sums(data.load(path).images)
    assert len(tested) == EACH and len(sums(trained)) == KEPT and len(sums(validated)) == CIFAR_VALIDATION
    assert not sums(trained) & (tested | sums(validated)) and not sums(validated) & tested


@pytest.mark.parametrize("name", ["cifar10", "cifar10-train"])
def test_names_mean_the_same_images_as_the_file(tmp_path, monkeypatch, name):
    container("npz", tmp_path)
    monkeypatch.setenv("SEMSIM_DATA", str(tmp_path))
    np.testing.assert_array_equal(training_images(name, 32), TRAIN[:KEPT])
    np.testing.assert_array_equal(validation_images(name, 32), TRAIN[KEPT:])
    np.testing.assert_array_equal(training_labels(name), LABELS[:5].ravel()[:KEPT])


def test_a_folder_is_scored_on_cifar(tmp_path, monkeypatch):
    container("npz", tmp_path)
    monkeypatch.setenv("SEMSIM_DATA", str(tmp_path))
    own = tmp_path / "own"
    own.mkdir()
    Image.fromarray(PIXELS[0, 0]).save(own / "a.png")
    np.testing.assert_array_equal(training_images(own, 32), PIXELS[0, :1])
    np.testing.assert_array_equal(validation_images(own, 32), TRAIN[KEPT:])
    with pytest.raises(ValueError, match="own has no validation images: CIFAR-10 has"):
        training_images(own, 32, "validation")
    with pytest.raises(ValueError, match="own has no labels to split by"):
        training_labels(own)


@pytest.mark.parametrize("left", [["test_batch"], ["test_batch", "data_batch_1"]])
@pytest.mark.parametrize("form", ["bin", "py", "png"])
def test_a_container_without_training_images_is_refused(tmp_path, form, left):
    for name, content in files(form).items():
        if name.partition(".")[0] in left:
            (tmp_path / name).write_bytes(content)
    assert len(data.load(tmp_path, limit=3).images) == 3 if form != "png" else cifar.kind(tmp_path) == "png"
    with pytest.raises(ValueError, match="cannot read the train split of CIFAR-10 from"):
        training_images(tmp_path, 32)


def test_an_npz_of_test_images_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", test_images=PIXELS[5], test_labels=LABELS[5].astype(np.uint8))
    assert len(data.load(tmp_path / "x.npz").images) == EACH
    with pytest.raises(ValueError, match="cannot read the train split"):
        training_images(tmp_path / "x.npz", 32)


def test_too_few_images_and_another_size_are_refused(tmp_path):
    np.savez(
        tmp_path / "x.npz", train_images=TRAIN[:CIFAR_VALIDATION], test_images=PIXELS[5],
        train_labels=np.zeros(CIFAR_VALIDATION, np.uint8), test_labels=np.zeros(EACH, np.uint8),
    )  # fmt: skip
    with pytest.raises(
        ValueError, match="has 1000 training images, of which the last 1,000 are for validation"
    ):
        training_images(tmp_path / "x.npz", 32)
    path = container("npz", tmp_path)
    with pytest.raises(ValueError, match="cifar10.npz has images of 32x32 pixels .* asked for 64x64"):
        training_images(path, 64)


@pytest.mark.parametrize("name", ["natural", "embedded"])
def test_sets_for_tests_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is held out for tests: train on cifar10, natural-train or"):
        training_images(name, 32)


def test_the_held_out_part_of_div2k_is_refused(tmp_path):
    held_out = tmp_path / "DIV2K_valid_HR"
    held_out.mkdir()
    Image.fromarray(PIXELS[0, 0]).save(held_out / "0801.png")
    for path in (tmp_path, held_out):
        with pytest.raises(ValueError, match="held-out part of DIV2K alone: train on DIV2K_train_HR"):
            training_images(path, 32)
    (tmp_path / "DIV2K_train_HR").mkdir()
    Image.fromarray(PIXELS[1, 0]).save(tmp_path / "DIV2K_train_HR" / "0001.png")
    for path in (tmp_path, tmp_path / "DIV2K_train_HR"):
        np.testing.assert_array_equal(training_images(path, 32), PIXELS[1, :1])


def batch_of(data_part):
    return pickle.dumps({b"labels": [1], b"data": data_part}, protocol=2)


def test_a_pickle_that_asks_for_memory_is_refused(tmp_path):
    """A place far out in the memo, which the unpickler makes room for, and an array that starts with a shape."""

    class Large:
        def __reduce__(self):
            return (np.empty(0).__reduce__()[0], (np.ndarray, (2**40,), b"b"))

    shared = [1] * 10
    for _ in range(12):
        shared = [shared] * 10
    many = pickle.dumps({b"labels": shared, b"data": np.zeros((1, 3072), np.uint8)}, protocol=2)
    bombs = {
        many: "has labels that are no list of numbers",
        b"\x80\x02}r\xff\xff\xff\x7f.": "more memory than its length explains",
        batch_of(Large()): r"starts an array of shape \(1099511627776,\)",
        b"\x80\x04)\x81.": "it uses NEWOBJ",
        b"no pickle": "it is no pickle, or damaged",
    }
    for content, message in bombs.items():
        for name in NAMES:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"cannot read the train split of CIFAR-10 from .*: .*{message}"):
            training_images(tmp_path, 32)


def test_a_batch_has_a_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "LARGEST_MEMBER", 3073 * EACH - 1)
    for kind in ("bin archive", "bin"):
        (tmp_path / kind).mkdir()
        with pytest.raises(
            ValueError, match="data_batch_1.bin has 623,819 bytes, more than a batch can have"
        ):
            training_images(container(kind, tmp_path / kind), 32)
