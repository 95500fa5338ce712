"""What a training folder says of itself: all that `--resume` needs beside the saved state."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from semsim.checkpoint import read_metadata
from semsim.recipe import Recipe
from semsim.runs import write_text

FILE = "training.json"
START = "start.safetensors"
"""Weights that the training began with, where it did not begin from nothing."""


@dataclass(frozen=True)
class Training:
    """What is trained, on what, and how. orders: empty for all; size, method: None for the system's first."""

    system: str
    data: str
    recipe: Recipe
    size: str | None = None
    method: str | None = None
    orders: tuple[str, ...] = ()


def begin(out: Path, training: Training, checkpoint: Path | None) -> dict[str, object] | None:
    """Writes the folder's description, with a copy of the weights to start from; returns what these are.

    Errors: ValueError where the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        started = None
        if checkpoint is None:
            (out / START).unlink(missing_ok=True)  # of an attempt that ended before it had begun
        else:
            with suppress(shutil.SameFileError):
                shutil.copyfile(checkpoint, out / START)
            digest = hashlib.sha256((out / START).read_bytes()).hexdigest()[:12]
            started = {
                "file": checkpoint.name, "sha256": digest, "step": read_metadata(checkpoint).get("step"),
            }  # fmt: skip
        _write(out, training, started)
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror}") from None
    return started


def check_free(out: Path) -> None:
    """Errors: ValueError where the folder holds a training."""
    if (out / FILE).exists() or (out / "recipe.json").exists():
        raise ValueError(
            f"{out} already holds a training run: add --resume to continue it, or choose another folder"
        )


def lengthened(out: Path, training: Training) -> dict[str, object] | None:
    """Notes that a folder's training is to have the steps of `training` in all; returns what it started from."""
    _, started = _read(out)
    _write(out, training, started)
    return started


def resumed(out: Path, given: Mapping[str, Any]) -> Training:
    """The training of a folder, at the length that is given.

    given: by the names of `Training` and `Recipe`, where `recipe` is the name of one; None and what is empty are left to the
    folder. Data may be given again, as they may have moved: their sum says whether they are the same. steps may be raised.
    Errors: ValueError for a folder without a training, and for what differs from it.
    """
    training = read(out)
    known = {**asdict(training), **asdict(training.recipe), "recipe": training.recipe.name}
    changed = [
        f"{name} {_shown(known[name])} -> {_shown(value)}"
        for name, value in given.items()
        if value not in (None, (), "") and value != known[name] and name not in ("data", "name", "steps")
    ]
    steps = given.get("steps") or training.recipe.steps
    if steps < training.recipe.steps:
        changed.append(f"steps {training.recipe.steps} -> {steps}")
    if changed:
        raise ValueError(
            f"the training in {out} is another one ({', '.join(changed)}): leave these out; steps alone may be raised"
        )
    return replace(
        training, data=given.get("data") or training.data, recipe=replace(training.recipe, steps=steps)
    )


def read(out: Path) -> Training:
    """The training of a folder. Errors: ValueError for a folder without one."""
    return _read(out)[0]


def _shown(value: object) -> str:
    return " ".join(map(str, value)) or "all" if isinstance(value, tuple) else str(value)


def _read(out: Path) -> tuple[Training, dict[str, object] | None]:
    path = out / FILE
    if not path.is_file():
        raise ValueError(
            f"there is no training in {out} to resume: leave resume out to begin one, or name its folder"
        )
    try:
        found = json.loads(path.read_text())
        started = found.pop("started_from")
        recipe = Recipe(**found.pop("recipe"))
        training = Training(**{**found, "orders": tuple(found["orders"]), "recipe": recipe})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{path} is damaged, or of another version: restore it, or begin in another folder"
        ) from None
    return training, started


def _write(out: Path, training: Training, started: dict[str, object] | None) -> None:
    write_text(out / FILE, json.dumps({**asdict(training), "started_from": started}, indent=1) + "\n")
