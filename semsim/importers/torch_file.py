"""PyTorch checkpoint files as NumPy arrays by name, without PyTorch.

`torch.save` writes a zip archive, uncompressed: `NAME/data.pkl` says which tensors there are, and `NAME/data/0`, `1`, ...
hold the numbers of each storage. The pickle is read by names that are known here and mean arrays; it can call nothing else,
and an array has no more elements than its storage, so that a file takes a few times its own size and no more.
Source: torch/serialization.py and torch/_utils.py of PyTorch 2.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from semsim.pickles import check_pickle

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Names under which training scripts put the weights beside the state of the optimiser."""
PREFIXES = ("module.", "_orig_mod.")
"""Before every name, put there by DataParallel and by torch.compile."""
STORAGES = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16, "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
    "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip
MOST_OF_FILE = 4
"""Bytes of all tensors together, as a multiple of the file's: some share their numbers."""
NOT_TENSORS = "is not a PyTorch state dict of tensors alone"


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict that `torch.save` wrote, by the names of the class itself; fractions as float32.

    Errors: ValueError for a missing file, a file that is no such checkpoint, is of a PyTorch before 1.6 or holds a whole
    pickled model, and for tensors that are sparse, quantised or without numbers.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            loaded = _load(archive, path.stat().st_size)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} {NOT_TENSORS} ({error}): load it where it was made and save model.state_dict()"
        ) from None
    except (
        zipfile.BadZipFile, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
        ArithmeticError,
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} is not a PyTorch checkpoint of version 1.6 or later: {error or type(error).__name__}"
        ) from None
    found = unwrapped(loaded, str(path))
    return {
        name: array.astype(np.float32) if array.dtype.kind not in "iub" else array
        for name, array in found.items()
    }


def unwrapped(loaded: object, source: str = "this") -> dict[str, Any]:
    """The arrays of a state dict without what training scripts wrap around it and put before its names.

    Errors: ValueError where there is none.
    """
    if isinstance(loaded, Mapping):
        arrays = {str(name): value for name, value in loaded.items() if hasattr(value, "shape")}
        for prefix in PREFIXES:
            if arrays and all(name.startswith(prefix) for name in arrays):
                arrays = {name.removeprefix(prefix): value for name, value in arrays.items()}
        if any(name.startswith(("encoder.", "decoder.")) for name in arrays):
            return arrays
        for name in WRAPPERS:
            if isinstance(loaded.get(name), Mapping):
                return unwrapped(loaded[name], source)
    raise ValueError(f"{source} holds no state dict with an encoder and a decoder")


def _load(archive: zipfile.ZipFile, size: int) -> object:
    """size: bytes of the file."""
    packed = [info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
    if packed or sum(info.file_size for info in archive.infolist()) > size:
        raise ValueError("its parts are compressed or overlap, which torch.save never does")
    roots = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError("it holds no data.pkl, or several")
    (root,) = roots
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    content = archive.read(f"{root}data.pkl")
    check_pickle(content)
    return _Tensors(io.BytesIO(content), archive, root, MOST_OF_FILE * size).load()


class _Storage(NamedTuple):
    """The type of numbers, and what is read of them; None for the type alone."""

    dtype: np.dtype
    content: np.ndarray | None = None


class _Tensors(pickle.Unpickler):
    """Dicts, numbers, texts and tensors, the last as arrays; and nothing else. most: bytes that these may have together."""

    def __init__(self, stream: io.BytesIO, archive: zipfile.ZipFile, root: str, most: int):
        super().__init__(stream)
        self.archive, self.root, self.left = archive, root, most
        self.read: dict[str, bytes] = {}

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage: ("storage", its class, name of its file, device, elements)."""
        kind, of, key, _, count = pid
        if kind != "storage" or not isinstance(of, _Storage):
            raise pickle.UnpicklingError("it holds something stored that is no tensor")
        if key not in self.read:
            self.read[key] = self.archive.read(f"{self.root}data/{key}")
        if len(self.read[key]) < count * of.dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {key} has fewer numbers than it says")
        return _Storage(of.dtype, np.frombuffer(self.read[key], of.dtype, count))

    def find_class(self, module: str, name: str) -> Any:
        # A function of its own for each load: a pickle can set attributes of what it is given.
        if module == "torch" and name in STORAGES:
            return _Storage(np.dtype(STORAGES[name]))
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: self._tensor(*arguments)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda array, *_: array
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch", "Size"):
            return tuple
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no plain tensor")

    def _tensor(
        self, storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
    ) -> np.ndarray:
        if not isinstance(storage, _Storage) or storage.content is None:
            raise pickle.UnpicklingError("it holds a tensor without numbers")
        numbers, count = storage.content, math.prod(size)
        last = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if min((offset, *size, *stride)) < 0 or (count and offset + last >= len(numbers)):
            raise pickle.UnpicklingError(f"a tensor of shape {list(size)} reaches beyond its numbers")
        self.left -= count * numbers.itemsize
        if count > len(numbers) or self.left < 0:
            raise pickle.UnpicklingError(
                f"a tensor of shape {list(size)} repeats its {len(numbers):,} numbers: save contiguous() ones"
            )
        if not count:
            return np.zeros(size, numbers.dtype)
        steps = tuple(step * numbers.itemsize for step in stride)
        return np.lib.stride_tricks.as_strided(numbers[offset:], size, steps, writeable=False)
