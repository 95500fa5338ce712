"""Arrays of PyTorch layers as arrays of Flax layers, and what does not fit said in one line."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx


@dataclass(frozen=True)
class Imported:
    """What became of a checkpoint.

    codec: with the imported weights. system: of `semsim.systems`, which the codec belongs to. notes: what was decided, and
    in what the codec differs from its origin.
    """

    codec: Any
    system: str
    notes: tuple[str, ...]


class Layout(NamedTuple):
    """How PyTorch holds an array: the shape there of an array of ours, and the array of ours from theirs."""

    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    array: Callable[[np.ndarray], np.ndarray]


class Origin(NamedTuple):
    """Where an array of ours comes from: its name in their state dict, and how they hold it."""

    name: str
    layout: Layout


def _shuffled(weight: np.ndarray) -> np.ndarray:
    """PixelShuffle(2) takes channel 4 c + 2 i + j to row i and column j; `depth_to_space` takes (2 i + j) C + c."""
    out, before = weight.shape
    return weight.T.reshape(before, out // 4, 4).swapaxes(1, 2).reshape(before, out)


SAME = Layout(lambda shape: shape, lambda array: array)
LINEAR = Layout(lambda shape: shape[::-1], np.transpose)  # [out, in]
CONV = Layout(
    lambda shape: (*shape[:1:-1], *shape[:2]), lambda array: array.transpose(2, 3, 1, 0)
)  # [out, in, h, w]
SHUFFLED = Layout(lambda shape: shape[::-1], _shuffled)  # [out, in] in front of PixelShuffle(2)
SCALAR = Layout(lambda shape: (1,), lambda array: array.reshape(()))


def linear(ours: str, theirs: str, *, bias: bool = True) -> dict[str, Origin]:
    """Of nn.Linear."""
    found = {f"{ours}.kernel": Origin(f"{theirs}.weight", LINEAR)}
    return {**found, f"{ours}.bias": Origin(f"{theirs}.bias", SAME)} if bias else found


def norm(ours: str, theirs: str) -> dict[str, Origin]:
    """Of nn.LayerNorm."""
    return {
        f"{ours}.scale": Origin(f"{theirs}.weight", SAME),
        f"{ours}.bias": Origin(f"{theirs}.bias", SAME),
    }


def shape_of(state: Mapping[str, np.ndarray], name: str, rank: int) -> tuple[int, ...]:
    """Errors: ValueError for an array that is missing or has another number of dimensions."""
    if name not in state:
        raise ValueError(f"this is another kind of checkpoint: {name} is missing")
    if state[name].ndim != rank or 0 in state[name].shape:
        raise ValueError(f"this is another kind of checkpoint: {name} is {list(state[name].shape)}")
    return state[name].shape


def count(state: Mapping[str, np.ndarray], prefix: str) -> int:
    """How many of PREFIX0, PREFIX1, ... there are; a gap is found when their arrays are asked for."""
    numbers = {name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)}
    return len(numbers)


def fill(
    build: Callable[[], Any],
    origins: Mapping[str, Origin],
    state: Mapping[str, np.ndarray],
    ignored: Callable[[str], bool],
) -> Any:
    """A module with the arrays of a state dict. build: makes the module. ignored: names that nothing is made of.

    Errors: ValueError that names arrays which are missing, unknown, of another shape or not finite.
    """
    module = nnx.eval_shape(build)  # drawing weights that are replaced would take longer than the rest
    flat = nnx.to_flat_state(nnx.state(module))
    wanted = {".".join(map(str, path)): leaf for path, leaf in flat}
    used = {origin.name for origin in origins.values()}
    differences = [f"{name} is unknown" for name in state if name not in used and not ignored(name)]
    for ours, leaf in wanted.items():
        name, layout = origins[ours]
        shape = layout.shape(tuple(leaf.shape))
        if name not in state:
            differences.append(f"{name} is missing")
        elif state[name].shape != shape:
            differences.append(f"{name} is {list(state[name].shape)}, not {list(shape)}")
        elif not np.isfinite(state[name]).all():
            differences.append(f"{name} is not finite")
    _refuse(differences)
    made = [
        (path, leaf.replace(jnp.asarray(origins[name].layout.array(state[origins[name].name]), leaf.dtype)))
        for (path, leaf), name in zip(flat, wanted, strict=True)
    ]
    nnx.update(module, nnx.from_flat_state(made))
    return module


def _refuse(differences: Collection[str]) -> None:
    if differences:
        shown = "; ".join(sorted(differences)[:6]) + ("; ..." if len(differences) > 6 else "")
        raise ValueError(
            f"the checkpoint has another architecture, {len(differences)} arrays differ: {shown}"
        )
