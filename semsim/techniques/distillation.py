"""Knowledge distillation: what a small net takes over from a large one, and which parts are left alone meanwhile.

Three losses for three places (outputs, features, logits), weights transferred by name or cut out of wider ones, and the
filter that keeps a part frozen: `semsim.train.fit` neither differentiates nor moves what it does not name.
"""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.filterlib import Filter
from jaxtyping import Array, Float


def output_loss(student: Float[Array, "b *s"], teacher: Float[Array, "b *s"]) -> Float[Array, ""]:
    """Mean squared difference of two outputs; the teacher gets no gradient. Zero for a student that equals its teacher."""
    return jnp.mean((student - jax.lax.stop_gradient(teacher)) ** 2)


def feature_loss(
    student: Float[Array, "b *s c"], teacher: Float[Array, "b *s d"], bridge: nnx.Linear | None = None
) -> Float[Array, ""]:
    """Mean squared difference of features, relative to the teacher's mean square (FitNets, arXiv 1412.6550).

    bridge: from the student's channels to the teacher's, trained with the student; None where they are as many.
    Errors: ValueError where they are not.
    """
    mapped = student if bridge is None else bridge(student)
    if mapped.shape != teacher.shape:
        raise ValueError(
            f"features of {student.shape} and {teacher.shape} differ: give a bridge from {student.shape[-1]} to "
            f"{teacher.shape[-1]} channels"
        )
    goal = jax.lax.stop_gradient(teacher)
    return jnp.mean((mapped - goal) ** 2) / jnp.maximum(jnp.mean(goal**2), 1e-12)


def logit_loss(
    student: Float[Array, "*b k"], teacher: Float[Array, "*b k"], temperature: float = 2.0
) -> Float[Array, ""]:
    """T^2 KL(teacher || student) of softened classes, nats (Hinton et al., arXiv 1503.02531).

    T^2 keeps the gradient's size as the temperature changes. Errors: ValueError unless the temperature is positive.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive; got {temperature}")
    goal = jax.nn.log_softmax(jax.lax.stop_gradient(teacher) / temperature, axis=-1)
    mine = jax.nn.log_softmax(student / temperature, axis=-1)
    return temperature**2 * jnp.mean(jnp.sum(jnp.exp(goal) * (goal - mine), axis=-1))


def within(*parts: str) -> Filter:
    """The parameters of the named parts of a module (dotted names such as "decoders.small"), for `semsim.train.fit`.

    All other parts are frozen then.
    """
    wanted = tuple(tuple(part.split(".")) for part in parts)

    def inside(path: tuple[object, ...], value: object) -> bool:
        names = tuple(str(step) for step in path)
        return any(names[: len(part)] == part for part in wanted)

    return nnx.All(nnx.Param, inside)


def transfer(teacher: nnx.Module, student: nnx.Module) -> tuple[str, ...]:
    """Copies every parameter whose dotted name and shape both modules have; returns the names, which a log should keep."""
    theirs = _parameters(teacher)
    found = {
        name: theirs[name] for name, mine in _parameters(student).items()
        if name in theirs and theirs[name].shape == mine.shape
    }  # fmt: skip
    _assign(student, found)
    return tuple(found)


def slice_from(
    teacher: nnx.Module, student: nnx.Module, groups: Mapping[str, tuple[int, int]]
) -> tuple[str, ...]:
    """Fills a narrower student with the leading channels of a wider teacher, as HeteroFL (arXiv 2010.01264) does.

    groups: (input, output) channels of a layer are so many groups side by side, each of which is cut by itself: the three
    of queries, keys and values, the four of merged neighbours; by a regular expression for the end of a layer's dotted name.
    Returns the names that were filled. Parameters that only one of them has stay as they are.
    Errors: ValueError for a student that is wider, naming the parameter.
    """
    theirs = _parameters(teacher)
    found = {}
    for name, mine in _parameters(student).items():
        if name not in theirs:
            continue
        layer, _, leaf = name.rpartition(".")
        inside, outside = next(
            (value for end, value in groups.items() if re.search(f"({end})$", layer)), (1, 1)
        )
        of_axes = (
            (*([1] * (mine.ndim - 2)), inside, outside)
            if leaf == "kernel"
            else (1,) * (mine.ndim - 1) + (max(inside, outside),)
        )
        found[name] = _leading(name, theirs[name], mine.shape, of_axes)
    _assign(student, found)
    return tuple(found)


def _leading(name: str, wide: np.ndarray, shape: tuple[int, ...], groups: tuple[int, ...]) -> np.ndarray:
    for axis, (size, parts) in enumerate(zip(shape, groups, strict=True)):
        if size > wide.shape[axis] or size % parts or wide.shape[axis] % parts:
            raise ValueError(f"{name} of shape {shape} cannot be cut out of {wide.shape} in {parts} groups")
        split = wide.reshape(*wide.shape[:axis], parts, -1, *wide.shape[axis + 1 :])
        kept = np.take(split, np.arange(size // parts), axis=axis + 1)
        wide = kept.reshape(*wide.shape[:axis], size, *wide.shape[axis + 1 :])
    return wide


def _parameters(module: nnx.Module) -> dict[str, np.ndarray]:
    return {
        ".".join(map(str, path)): np.asarray(leaf[...])
        for path, leaf in nnx.to_flat_state(nnx.state(module, nnx.Param))
    }


def _assign(module: nnx.Module, values: Mapping[str, np.ndarray]) -> None:
    flat = [
        (
            path,
            leaf.replace(jnp.asarray(values[name])) if (name := ".".join(map(str, path))) in values else leaf,
        )
        for path, leaf in nnx.to_flat_state(nnx.state(module, nnx.Param))
    ]
    nnx.update(module, nnx.from_flat_state(flat))
