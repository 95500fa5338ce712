"""Training of a system by name: its stages one after the other, each resumable in a folder of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from semsim import data as data_sets
from semsim import training_folder
from semsim.calibration import write_usage
from semsim.checkpoint import load_weights, read_metadata, save_weights
from semsim.systems import System
from semsim.systems.base import Stage
from semsim.train import Progress, Recipe, check_images, fit, how_trained, unwatched
from semsim.training_folder import Training


def train_system(
    system: System,
    data: str,
    recipe: Recipe,
    out: Path,
    *,
    size: str | None = None,
    method: str | None = None,
    orders: tuple[str, ...] = (),
    checkpoint: Path | None = None,
    resume: bool = False,
    report: Callable[[dict[str, object]], None] = lambda line: None,
    progress: Progress = unwatched,
) -> Path:
    """Trains one of the system's sizes and returns the weights file `out/weights.safetensors`.

    data: cifar10, or a folder of images, which are cut into tiles. A system with one stage trains in `out` itself, others
    in folders below it; a stage that is finished is not repeated by `resume`.
    checkpoint: weights of this system to start from instead of fresh ones; the weights file says which. resume: goes on
    with the training in `out`, which must be this one; its recipe may have more steps, as long as no later stage has begun.
    Errors: ValueError for unknown names, a checkpoint with a size, and as `semsim.train.fit`.
    """
    training = Training(system.name, data, recipe, size, method, orders)
    stages, upkeep = system.stages(method, orders), system.upkeep(orders)
    if resume:
        if checkpoint is not None:
            raise ValueError(f"{out} holds the weights that its training started from: leave checkpoint out")
        training_folder.resumed(out, {**vars(training), **vars(recipe), "recipe": recipe.name})
        _check_length(out, recipe, stages)
        begun = out / training_folder.START
        source = begun if begun.exists() else None
    else:
        training_folder.check_free(out)
        source = checkpoint
    if source is not None and size is not None:
        raise ValueError(f"the size is that of {source}: leave size {size} out")
    codec = system.load(source) if source is not None else system.fresh(size, recipe.seed)
    images = data_sets.training_images(data, codec.config.image_shape[0])
    check_images(images, recipe)
    if source is None and system.start is not None and (filled := system.start(codec)):
        report({"filled with what another system learned": len(filled)})
    started = (
        training_folder.lengthened(out, training)
        if resume
        else training_folder.begin(out, training, checkpoint)
    )
    metadata = {**system.metadata(codec), "trained": list(orders)}
    if started is not None:
        metadata["started_from"] = started
    source_name = Path(data).resolve().name or data
    if len(stages) == 1:
        only = stages[0]
        weights = fit(
            codec, images, recipe, only.loss, out, upkeep=upkeep, trainable=only.trainable, metadata=metadata,
            source=source_name, resume=resume and _begun(out), report=report, progress=progress,
        )  # fmt: skip
        if system.as_bits is not None:
            for row in write_usage(weights, codec, images, weights, source_name):
                report({"usage measured": row})
        return weights
    used = method or system.methods[0][0]
    changed: tuple[str, ...] = ()
    for number, stage in enumerate(stages, start=1):
        if stage.prepare is not None:
            changed = stage.prepare(codec)
            report({"stage": stage.name, "changed before": len(changed)})
        part = replace(recipe, steps=max(1, round(stage.share * recipe.steps)), seed=recipe.seed + number - 1)
        folder = _folder(out, number, stage)
        weights = folder / "weights.safetensors"
        known = {**metadata, "stage": stage.name, "changed": list(changed)}
        if resume and _finished(weights, part.steps):
            load_weights(weights, codec)
            continue
        fit(
            codec, images, part, stage.loss, folder, upkeep=upkeep, trainable=stage.trainable, metadata=known,
            source=source_name, resume=resume and _begun(folder), progress=progress,
            report=lambda line, stage=stage: report({"stage": stage.name, **line}),
        )  # fmt: skip
    made = {"method": used, "step": recipe.steps, "training": how_trained(recipe, source_name, images)}
    save_weights(out / "weights.safetensors", codec, {**metadata, **made})
    return out / "weights.safetensors"


def _folder(out: Path, number: int, stage: Stage) -> Path:
    return out / f"{number}-{stage.name}"


def _begun(folder: Path) -> bool:
    return (folder / "recipe.json").exists()


def _finished(weights: Path, steps: int) -> bool:
    return weights.exists() and read_metadata(weights).get("step") == steps


def _check_length(out: Path, recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Errors: ValueError for a longer training of which a later stage, built on the shorter one before it, has begun."""
    later = [_folder(out, number, stage) for number, stage in enumerate(stages[1:], start=2)]
    if training_folder.read(out).recipe.steps < recipe.steps and any(map(_begun, later)):
        raise ValueError(
            f"the training in {out} is beyond its first stage: its steps cannot be raised any more; train on from its "
            "weights with checkpoint, in another folder"
        )
