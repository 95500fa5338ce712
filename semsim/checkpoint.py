"""Weights on disk (safetensors, to share) and training state on disk (orbax, to resume)."""

import errno
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file


def save_weights(path: Path, module: nnx.Module, metadata: dict[str, object]) -> None:
    """Writes every array of `module` under its dotted name, with `metadata` as JSON in the header.

    The file appears under its name only when it is complete. Errors: OSError when it cannot be written.
    """
    _write(
        path, {name: np.asarray(value, order="C") for name, value in named_arrays(module).items()}, metadata
    )


def _write(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, object]) -> None:
    partial = path.with_suffix(".partial")
    try:
        save_file(dict(arrays), partial, metadata={"semsim": json.dumps(metadata)})
        partial.replace(path)
    except (SafetensorError, OSError) as error:  # safetensors wraps what the system said
        with suppress(OSError):
            partial.unlink()
        raise OSError(getattr(error, "errno", None) or errno.EIO, str(error), str(path)) from None


def read_metadata(path: Path) -> dict[str, object]:
    """The metadata `save_weights` wrote. Errors: ValueError for a file that is not such a checkpoint."""
    _check_there(path)
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("semsim")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a semsim checkpoint: {error}") from None
    try:
        found = json.loads(text or "")
    except (json.JSONDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} is not a semsim checkpoint: its header does not say which system it belongs to"
        )
    return found


class Contents(NamedTuple):
    """What a checkpoint holds: arrays, and numbers of all of them."""

    arrays: int
    numbers: int


def contents(path: Path) -> Contents:
    """From the header alone, which must agree with the file's length. Errors: as `read_metadata`."""
    _check_there(path)
    try:
        with safe_open(path, framework="np") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a semsim checkpoint: {error}") from None
    return Contents(len(shapes), sum(map(math.prod, shapes)))


def load_weights(path: Path, module: nnx.Module) -> None:
    """Fills `module`, whose arrays may be abstract, from `path`; arrays stored by `store_half` become float32 again.

    Errors: ValueError that names the arrays that differ, with nothing changed.
    """
    expected = _abstract_arrays(module)
    _check_there(path)
    try:
        with safe_open(path, framework="np") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (
        SafetensorError,
        OSError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # the last three: types NumPy has not
        raise ValueError(f"{path} is not a semsim checkpoint: {error}") from None
    found = {
        name: array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in stored.items()
    }
    differences = [f"{name} is missing" for name in expected.keys() - found.keys()]
    differences += [f"{name} is unknown" for name in found.keys() - expected.keys()]
    differences += [
        f"{name} is {_kind(found[name])}, not {_kind(expected[name])}"
        for name in expected.keys() & found.keys()
        if _kind(found[name]) != _kind(expected[name])
    ]
    if differences:
        shown = "; ".join(sorted(differences)[:6]) + ("; ..." if len(differences) > 6 else "")
        raise ValueError(f"{path} holds another architecture, {len(differences)} arrays differ: {shown}")
    state = nnx.state(module)
    flat = [
        (path_, leaf.replace(jnp.asarray(found[_dotted(path_)]))) for path_, leaf in nnx.to_flat_state(state)
    ]
    nnx.update(module, nnx.from_flat_state(flat))


def store_half(path: Path, out: Path) -> None:
    """Writes the checkpoint `path` with its float32 arrays as float16: half the bytes, 11 bits of every number.

    Errors: ValueError for a file that is no checkpoint, and for numbers that float16 does not reach.
    """
    metadata = read_metadata(path)
    with safe_open(path, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    for name, array in arrays.items():
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):
                arrays[name] = array.astype(np.float16)
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} of {path} has numbers that float16 does not reach")
    save_file(arrays, out, metadata={"semsim": json.dumps({**metadata, "stored": "float16"})})


def rewrite(path: Path, out: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, object]) -> None:
    """Writes the checkpoint `path` to `out` with some arrays in place of its own, and more metadata.

    The other arrays stay bit for bit. Errors: ValueError for a file that is no checkpoint, and for arrays that it does not
    have; OSError as `save_weights`.
    """
    known = read_metadata(path)
    with safe_open(path, framework="np") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if strange := arrays.keys() - stored.keys():
        raise ValueError(f"{path} has no array {', '.join(sorted(strange))}")
    _write(out, {**stored, **arrays}, {**known, **metadata})


def named_arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """Every parameter and statistic of a module by dotted name."""
    return {_dotted(path): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(module))}


def _abstract_arrays(module: nnx.Module) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of every parameter and statistic by dotted name; the module may be one of `nnx.eval_shape`."""
    return {
        _dotted(path): jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for path, leaf in nnx.to_flat_state(nnx.state(module))
    }


def _check_there(path: Path) -> None:
    if path.is_dir():
        raise ValueError(
            f"checkpoint {path} is a folder: name the file, such as {path / 'weights.safetensors'}"
        )
    if not path.is_file():
        raise ValueError(f"there is no checkpoint at {path}")


def _kind(array: np.ndarray | jax.ShapeDtypeStruct) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _dotted(path: tuple[object, ...]) -> str:
    return ".".join(str(part) for part in path)


class TrainingCheckpoints:
    """The last training states of a run, newest kept; `state` is any pytree of arrays.

    orbax is imported here and not above: it takes longer to import than all the rest, and only training needs it.
    """

    def __init__(self, folder: Path, keep: int = 2):
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, enable_async_checkpointing=False
        )
        self._args = ocp.args
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, state: object) -> None:
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
        self._manager.save(step, args=self._args.StandardSave({"leaves": leaves}))

    def restore(self, state: object) -> object:
        """The newest saved state, in the structure of `state`. Errors: ValueError if its arrays do not fit."""
        leaves, structure = jax.tree.flatten(state)
        target = {"leaves": [np.asarray(leaf) for leaf in leaves]}
        try:
            saved = self._manager.restore(
                self._manager.latest_step(), args=self._args.StandardRestore(target)
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"the saved training state does not fit this architecture: {error}") from None
        for mine, theirs in zip(leaves, saved["leaves"], strict=True):
            if np.shape(mine) != np.shape(theirs):
                raise ValueError(
                    f"the saved training state does not fit this architecture: {np.shape(theirs)} for {np.shape(mine)}"
                )
        return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in saved["leaves"]])

    def close(self) -> None:
        self._manager.close()
