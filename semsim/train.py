"""Training: one loop for every system, resumable, reproducible from (seed, step) alone.

The system brings a loss on its module; the loop owns data order, optimiser, schedule, log and checkpoints.
"""

import json
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.nnx.filterlib import Filter
from jaxtyping import Array, Key, UInt8

from semsim.checkpoint import TrainingCheckpoints, save_weights
from semsim.recipe import Recipe as Recipe
from semsim.recipe import batch_indices
from semsim.runs import write_text
from semsim.signals import saving

Loss = Callable[[Any, Array, Key[Array, ""]], tuple[Array, dict[str, Array]]]
"""(module, images [b, h, w, 3] in [0, 1], key) -> (scalar, what to log); may update the module's statistics."""

Upkeep = Callable[[Any, Array, Key[Array, ""]], dict[str, Array]]
"""Same arguments -> what to log; run between steps without a gradient, it may change parameters (dead codewords)."""

Progress = Callable[[int, int], None]
"""(step, steps) after every step that was handed to the device."""


def unwatched(step: int, steps: int) -> None:
    """A `Progress` that shows nothing."""


class TrainState(NamedTuple):
    params: nnx.State
    rest: nnx.State  # statistics
    opt_state: optax.OptState


def fit(
    module: nnx.Module,
    images: UInt8[np.ndarray, "n h w 3"],
    recipe: Recipe,
    loss: Loss,
    out: Path,
    *,
    upkeep: Upkeep | None = None,
    trainable: Filter = nnx.Param,
    metadata: dict[str, object] | None = None,
    source: str = "",
    resume: bool = False,
    report: Callable[[dict[str, object]], None] = lambda line: None,
    progress: Progress = unwatched,
) -> Path:
    """Trains `module` in place and returns the weights file `out/weights.safetensors`.

    trainable: which variables are (`techniques.distillation.within` names parts); others get no gradient, no decay, and no
    other value than the loss gives its statistics. metadata: of the weights file, which says besides, under `training`, by
    which recipe it was made, on what images, called `source`, and on which device.
    `out` also gets `recipe.json`, `log.jsonl` (one line per `log_every` steps; each line goes to `report` too) and
    `state/` for `resume`, which continues the newest saved state with the same recipe to the same end as an uninterrupted
    run. With more steps in the recipe it goes on along the schedule of the new length from the step that it is at: a
    finished cosine rises again, and the end is not that of a run which had this length from the start.
    Ctrl-C saves the state after the last whole step and raises KeyboardInterrupt.
    Errors: ValueError for images that are not enough or not uint8, if `out` cannot be written, holds a run and `resume` is
    not set, or none and it is, another recipe, other images or another codec; FloatingPointError, naming the step, for a
    loss or parameters that are not finite: the last good state stays on disk.
    """
    check_images(images, recipe)
    _check_recipe(out, recipe, images, metadata or {}, resume)
    optimiser = recipe.optimiser()
    graph, params, rest = nnx.split(module, trainable, ...)
    state = TrainState(params, rest, optimiser.init(params))
    saved = TrainingCheckpoints(out / "state")
    step = 0
    if resume and saved.latest_step() is not None:
        restored: Any = saved.restore(state)
        state = TrainState(*restored)
        step = saved.latest_step() or 0
    _cut_log(out / "log.jsonl", step)
    root = jax.random.key(recipe.seed)
    pool = jnp.asarray(images)
    first, started = step, time.monotonic()

    progress(step, recipe.steps)
    one_step = gradient_step(graph, optimiser, loss, trainable, recipe.flip)

    # The pool is an argument, not a constant of the program. The state is not donated: Ctrl-C may come between the call
    # and the assignment, and must find the old one alive.
    @jax.jit
    def advance(state: TrainState, pool: Array, chosen: Array, key: Key[Array, ""]):
        return one_step(state, pool[chosen], key)

    @jax.jit
    def keep_up(state: TrainState, pool: Array, chosen: Array, key: Key[Array, ""]):
        assert upkeep is not None
        live = nnx.merge(graph, state.params, state.rest, copy=True)
        log = upkeep(live, _augment(key, pool[chosen], False), key)
        _, params, rest = nnx.split(live, trainable, ...)
        return state._replace(params=params, rest=rest), log

    unseen: list[tuple[int, Array]] = []  # losses still on the device: looking at each would wait for it

    def check_losses() -> None:
        values = jax.device_get([value for _, value in unseen])
        for (at, _), value in zip(unseen, values, strict=True):
            if not np.isfinite(value):
                raise FloatingPointError(f"the loss is {value} at step {at}; the last good state is in {out}")
        unseen.clear()

    def finish(step: int, state: TrainState) -> None:
        check_losses()
        if not jax.device_get(_all_finite(state)):
            raise FloatingPointError(
                f"parameters are not finite after step {step}; the last good state is in {out}"
            )
        if step != saved.latest_step():
            saved.save(step, state)
        nnx.update(module, nnx.merge_state(state.params, state.rest))
        said = {**(metadata or {}), "step": step, "training": how_trained(recipe, source, images)}
        save_weights(out / "weights.safetensors", module, said)

    done = (
        step,
        state,
    )  # one name for both, so that Ctrl-C never finds the state of one step under the number of another
    upkeep_log: dict[str, Array] = {}
    kept = ExitStack()
    try:
        while done[0] < recipe.steps:
            step, state = done
            chosen = jnp.asarray(batch_indices(len(images), recipe, step))
            state, log = advance(state, pool, chosen, jax.random.fold_in(root, step))
            step += 1
            unseen.append((step, log["loss"]))
            if upkeep is not None and step % recipe.upkeep_every == 0 and step < 0.8 * recipe.steps:
                key = jax.random.fold_in(jax.random.fold_in(root, step), 1)
                state, upkeep_log = keep_up(state, pool, chosen, key)
            done = (step, state)
            if step == first + 1:  # compiled: from here on there is something to save
                kept.enter_context(saving())
            progress(step, recipe.steps)
            if step % recipe.log_every == 0 or step == recipe.steps:
                check_losses()
                line = _log_line(step, {**log, **upkeep_log}, (step - first) * recipe.batch, started)
                with (out / "log.jsonl").open("a") as file:
                    file.write(json.dumps(line) + "\n")
                report(line)
            if step % recipe.checkpoint_every == 0:
                finish(*done)
        finish(*done)
    except KeyboardInterrupt:
        with saving():
            finish(*done)
        raise
    finally:
        kept.close()
        saved.close()
    return out / "weights.safetensors"


def how_trained(recipe: Recipe, source: str, images: np.ndarray) -> dict[str, object]:
    """What a weights file says of its making. source: what the images are called."""
    return {
        "recipe": asdict(recipe),
        "source": source,
        "images": len(images),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def check_images(images: np.ndarray, recipe: Recipe) -> None:
    """Errors: ValueError for images that are not uint8 [n, h, w, 3], and for less than a batch of them."""
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"training images are uint8 [n, h, w, 3]; got {images.dtype} {list(images.shape)}")
    if len(images) < recipe.batch:
        raise ValueError(f"a batch of {recipe.batch} needs at least as many images; got {len(images)}")


def gradient_step(
    graph: Any, optimiser: optax.GradientTransformation, loss: Loss, trainable: Filter, flip: bool
) -> Callable[[TrainState, Array, Key[Array, ""]], tuple[TrainState, dict[str, Array]]]:
    """(state, images uint8, key) -> (state, log) of one step: what every way of training repeats. Pure.

    graph: of `nnx.split(module, trainable, ...)`, whose two states are those of the training state. flip: mirror half of
    the images.
    """

    def advance(
        state: TrainState, images: UInt8[Array, "b h w 3"], key: Key[Array, ""]
    ) -> tuple[TrainState, dict[str, Array]]:
        key_flip, key_loss = jax.random.split(key)
        batch = _augment(key_flip, images, flip)

        def objective(params, rest):
            live = nnx.merge(graph, params, rest, copy=True)
            value, log = loss(live, batch, key_loss)
            return value, (nnx.state(live, nnx.Not(trainable)), log)

        (value, (rest, log)), grads = jax.value_and_grad(objective, has_aux=True)(state.params, state.rest)
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        return TrainState(params, rest, opt_state), {"loss": value, **log}

    return advance


@jax.jit
def _all_finite(state: TrainState) -> Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def _augment(key: Key[Array, ""], images: UInt8[Array, "b h w 3"], flip: bool) -> Array:
    batch = images.astype(jnp.float32) / 255.0
    if not flip:
        return batch
    mirrored = jax.random.bernoulli(key, 0.5, (batch.shape[0], 1, 1, 1))
    return jnp.where(mirrored, batch[:, :, ::-1], batch)


def _check_recipe(
    out: Path, recipe: Recipe, images: np.ndarray, metadata: dict[str, object], resume: bool
) -> None:
    path = out / "recipe.json"
    crc = zlib.crc32(np.ascontiguousarray(images).tobytes())
    mine = {**asdict(recipe), "images": f"{len(images)}, crc32 {crc:08x}", "codec": metadata}
    mine = json.loads(json.dumps(mine))  # tuples become lists, as in what is read back
    if resume and not path.exists():
        raise ValueError(f"there is no training in {out} to resume: leave resume out to begin one")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_text(path, json.dumps(mine, indent=1) + "\n")
            return
        theirs = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror}") from None
    except json.JSONDecodeError:
        raise ValueError(f"{path} is damaged: restore it or choose another folder") from None
    if not resume:
        raise ValueError(
            f"{out} already holds a training run: add --resume to continue it, or choose another folder"
        )
    longer = recipe.steps > theirs.get("steps", recipe.steps)
    changed = [
        f"{name} {theirs[name]} -> {mine[name]}"
        for name in mine
        if name in theirs
        and theirs[name] != mine[name]
        and name != "name"
        and not (longer and name == "steps")
    ]
    if changed:
        raise ValueError(
            f"{out} was trained with another recipe ({', '.join(changed)}): resume with the same one; steps alone may be "
            "raised"
        )
    if longer:
        write_text(path, json.dumps({**mine, "raised_from": theirs["steps"]}, indent=1) + "\n")


def _cut_log(path: Path, step: int) -> None:
    """Drops the lines after `step`, which are about to be written again, and a torn last one."""
    if not path.exists():
        return
    whole = [text for text in path.read_text().split("\n")[:-1] if text]
    write_text(path, "".join(text + "\n" for text in whole if json.loads(text)["step"] <= step))


def _log_line(step: int, log: dict[str, Array], images: int, started: float) -> dict[str, object]:
    seconds = time.monotonic() - started
    line: dict[str, object] = {
        "step": step,
        "seconds": round(seconds, 1),
        "images_per_s": round(images / seconds, 1),
    }
    for name, value in jax.device_get(log).items():
        rounded = np.round(np.asarray(value, np.float64), 5)
        line[name] = rounded.tolist()
    return line
