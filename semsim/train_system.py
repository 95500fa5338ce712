"""Training of a system by name: its stages one after the other, each resumable in a folder of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from semsim import data as data_sets
from semsim.checkpoint import load_weights, read_metadata, save_weights
from semsim.systems import System
from semsim.train import Recipe, fit


def train_system(
    system: System,
    data: str,
    recipe: Recipe,
    out: Path,
    *,
    size: str | None = None,
    method: str | None = None,
    orders: tuple[str, ...] = (),
    resume: bool = False,
    report: Callable[[dict[str, object]], None] = lambda line: None,
) -> Path:
    """Trains one of the system's sizes and returns the weights file `out/weights.safetensors`.

    data: cifar10, or a folder of images, which are cut into tiles. A system with one stage trains in `out` itself, others
    in folders below it; a stage that is finished is not repeated by `resume`.
    Errors: ValueError for unknown names and as `semsim.train.fit`.
    """
    codec = system.fresh(size, recipe.seed)
    stages, upkeep = system.stages(method, orders), system.upkeep(orders)
    images = data_sets.training_images(data, codec.config.image_shape[0])
    filled = system.start(codec) if system.start is not None else ()
    if filled:
        report({"filled with what another system learned": len(filled)})
    metadata = {**system.metadata(codec), "trained": list(orders)}
    if len(stages) == 1:
        only = stages[0]
        return fit(
            codec, images, recipe, only.loss, out, upkeep=upkeep, trainable=only.trainable, metadata=metadata,
            resume=resume, report=report,
        )  # fmt: skip
    used = method or system.methods[0][0]
    changed: tuple[str, ...] = ()
    for number, stage in enumerate(stages, start=1):
        if stage.prepare is not None:
            changed = stage.prepare(codec)
            report({"stage": stage.name, "changed before": len(changed)})
        part = replace(recipe, steps=max(1, round(stage.share * recipe.steps)), seed=recipe.seed + number - 1)
        folder = out / f"{number}-{stage.name}"
        weights = folder / "weights.safetensors"
        known = {**metadata, "stage": stage.name, "changed": list(changed)}
        if resume and _finished(weights, part.steps):
            load_weights(weights, codec)
            continue
        fit(
            codec, images, part, stage.loss, folder, upkeep=upkeep, trainable=stage.trainable, metadata=known,
            resume=resume, report=lambda line, stage=stage: report({"stage": stage.name, **line}),
        )  # fmt: skip
    save_weights(out / "weights.safetensors", codec, {**metadata, "method": used, "step": recipe.steps})
    return out / "weights.safetensors"


def _finished(weights: Path, steps: int) -> bool:
    return weights.exists() and read_metadata(weights).get("step") == steps
