"""PyTorch's files read without it: what it wrote comes back, and nothing else is built, called or made room for."""

import io
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from semsim.importers.torch_file import read_state

SIX = np.arange(6, dtype=np.float32).tobytes()
REFERENCE = Path(__file__).parent / "reference"


def test_what_pytorch_wrote_comes_back_as_pytorch_reads_it():
    """By `make_torch_fixtures.py`: every type, views of one storage, a parameter, an optimiser beside the weights."""
    found = read_state(REFERENCE / "torch.pth")
    with np.load(REFERENCE / "torch.npz") as expected:
        assert found.keys() == set(expected.files)
        for name, array in found.items():
            assert array.dtype == expected[name].dtype, name
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


class Named:
    """Stands for a name in a pickle: of a class or function that is not here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Kept:
    def __init__(self, *pid):
        self.pid = pid


class Writer(pickle._Pickler):
    """Protocol 2, as torch.save writes it, with names that need not exist."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Kept) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Named):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


REBUILD = Named("torch._utils", "_rebuild_tensor_v2")
FLOAT = Named("torch", "FloatStorage")


def tensor(size, stride, *, offset=0, numbers=6, key="0", storage=FLOAT):
    return Call(
        REBUILD, Kept("storage", storage, key, "cpu", numbers), offset, size, stride, False, OrderedDict()
    )


def written(
    path,
    content,
    *,
    data=SIX,
    compression=zipfile.ZIP_STORED,
    order=b"little",
):
    """A file as torch.save lays it out. content: the object, or bytes of the pickle."""
    if not isinstance(content, bytes):
        stream = io.BytesIO()
        Writer(stream, 2).dump(content)
        content = stream.getvalue()
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/byteorder", order)
        archive.writestr("x/data/0", data)
        archive.writestr("x/version", b"3\n")
    return path


def test_a_file_written_by_hand(tmp_path):
    """Rows and columns by strides and offset, and one storage shared by two."""
    state = {"encoder.a": tensor((2, 3), (3, 1)), "encoder.b": tensor((2, 2), (1, 2), offset=1)}
    found = read_state(written(tmp_path / "a.pth", state))
    np.testing.assert_array_equal(found["encoder.a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["encoder.b"], [[1, 3], [2, 4]])
    assert found["encoder.a"].flags.writeable


def refused(path, message):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            read_state(path)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


TENSORS = {
    "strides of zero": (tensor((2**15, 2**15), (0, 0)), r"shape \[32768, 32768\] repeats its 6 numbers"),
    "one number twice": (tensor((7,), (0,)), r"shape \[7\] repeats its 6 numbers"),
    "more than there is": (tensor((2**30,), (1,)), r"shape \[1073741824\] reaches beyond its numbers"),
    "an offset beyond": (tensor((2,), (1,), offset=5), "reaches beyond"),
    "a negative offset": (tensor((2,), (1,), offset=-1), "reaches beyond"),
    "a negative stride": (tensor((2,), (-1,), offset=5), "reaches beyond"),
    "a negative size": (tensor((-2, -3), (3, 1)), "reaches beyond"),
    "a storage that is shorter": (tensor((2**30,), (1,), numbers=2**30), "storage 0 has fewer numbers than it says"),
    "a storage that is not there": (tensor((2,), (1,), key="7"), "There is no item named 'x/data/7'"),
    "strides that are too few": (tensor((2, 3), (1,)), "zip"),
    "a storage of numbers unknown": (tensor((2,), (1,), storage=Named("torch", "ComplexFloatStorage")), "ComplexFloat"),
    "something else stored": (Kept("module", FLOAT, "0", "cpu", 6), "something stored that is no tensor"),
    "no storage": (Call(REBUILD, FLOAT, 0, (2,), (1,), False, OrderedDict()), "a tensor without numbers"),
    "a sparse tensor": (Call(Named("torch._utils", "_rebuild_sparse_tensor"), 1), "_rebuild_sparse_tensor, which is no"),
    "a meta tensor": (Call(Named("torch._utils", "_rebuild_meta_tensor_no_storage"), 1), "_rebuild_meta_tensor_no"),
    "a quantised tensor": (Call(Named("torch._utils", "_rebuild_qtensor"), 1), "_rebuild_qtensor, which is no plain"),
    "a call": (Call(Named("os", "system"), "true"), "asks for os.system, which is no plain tensor"),
    "a whole model": (Call(Named("__main__", "SwinJSCC")), r"__main__.SwinJSCC.*: load it where it was made and save"),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_what_is_no_plain_tensor_is_refused_in_one_line(tmp_path, case):
    value, message = TENSORS[case]
    refused(written(tmp_path / "a.pth", {"encoder.a": value}), message)


def test_all_tensors_together_are_bounded_by_the_file(tmp_path):
    many = {f"encoder.{number}": tensor((6,), (1,)) for number in range(3000)}
    large = np.zeros(2**16, np.float32).tobytes()
    whole = {name: tensor((2**16,), (1,), numbers=2**16) for name in many}
    assert len(read_state(written(tmp_path / "a.pth", many))) == 3000  # as long as the names are
    path = written(tmp_path / "b.pth", whole, data=large)
    with pytest.raises(ValueError, match=r"shape \[65536\] repeats its 65,536 numbers: save contiguous"):
        read_state(path)


def test_archives_that_torch_never_writes_are_refused(tmp_path):
    state = {"encoder.a": tensor((6,), (1,))}
    path = written(tmp_path / "a.pth", state, data=bytes(2**24), compression=zipfile.ZIP_DEFLATED)
    refused(path, "its parts are compressed or overlap")
    noise = np.random.default_rng(0).bytes(4096)  # does not shrink, but may hide what does
    path = written(tmp_path / "d.pth", state, data=noise, compression=zipfile.ZIP_DEFLATED)
    refused(path, "its parts are compressed or overlap")
    refused(written(tmp_path / "b.pth", state, order=b"big"), "its numbers are big-endian")
    with zipfile.ZipFile(tmp_path / "c.pth", "w") as archive:
        archive.writestr("x/constants.pkl", b"")
    refused(tmp_path / "c.pth", "holds no data.pkl")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no checkpoint",
        b"PK\x03\x04 a broken archive",
        b"\x80\x02}q\x00.",
        pickle.dumps({"encoder.a": [1.0]}, 2),
    ],
)
def test_files_that_are_no_archives_are_refused(content, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    refused(
        tmp_path / "a.pth",
        "a.pth is not a PyTorch checkpoint of version 1.6 or later: File is not a zip file",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7f.", "more memory than its length explains"),
        (b"\x80\x02]" + b"(" * 10, "no pickle, or damaged"),
        (b"(iposix\nsystem\n.", "it uses INST"),
        (b"\x80\x02]\x94}b.", "no attribute '__dict__'|not a PyTorch checkpoint"),
        (b"\x80\x02K\x01.", "holds no state dict with an encoder and a decoder"),
    ],
)
def test_pickles_that_ask_for_more_are_refused(tmp_path, content, message):
    refused(written(tmp_path / "a.pth", content), message)
