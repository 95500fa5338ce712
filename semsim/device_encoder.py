"""A small encoder for a device that talks to a common decoder: what slicing and distillation each add."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models import Swin
from models.swin import GROUPS
from semsim.checkpoint import named_arrays
from semsim.systems import fssc
from semsim.techniques.distillation import output_loss, slice_from, within
from semsim.train import Recipe, fit


def train_device(
    common: Swin,
    images: np.ndarray,
    recipe: Recipe,
    esno_db: float,
    evaluate: Callable[[nnx.Module], dict[str, float]],
    out: Path,
    report: Callable[[dict[str, object]], None] = lambda line: None,
) -> list[dict[str, object]]:
    """A device's encoder before the common decoder, four ways: fresh or cut out of the common encoder, with and without
    distillation of its symbols. Only the encoder learns, over AWGN at `esno_db`; every way has as many steps.

    Returns a row for each: its size, and what `evaluate` finds before and after. Weights are in folders of `out`.
    Errors: as `fssc.device` and `semsim.train.fit`.
    """
    setting = jnp.full(2, esno_db, jnp.float32)
    rows: list[dict[str, object]] = []
    for sliced in (False, True):
        for distil in (False, True):
            pair = DevicePair(common, recipe.seed)
            filled = slice_from(common.encoder, pair.device.encoder, GROUPS) if sliced else ()
            before = evaluate(pair.device)
            name = f"{'sliced' if sliced else 'fresh'}{'-distilled' if distil else ''}"

            def loss(
                live: DevicePair, batch: jax.Array, key: jax.Array, distil: bool = distil
            ) -> tuple[jax.Array, dict]:
                value, log = fssc.client_loss(live.device, batch, key, setting)
                if distil:
                    goal = jax.lax.stop_gradient(live.teacher.encode(batch))
                    mine = live.device.encode(batch)
                    value += output_loss(jnp.stack([mine.real, mine.imag]), jnp.stack([goal.real, goal.imag]))
                return value, log

            fit(
                pair, images, recipe, loss, out / name, trainable=within("device.encoder"),
                metadata={"system": "fssc-device", "config": asdict(pair.device.config), "filled": list(filled)},
            )  # fmt: skip
            arrays = named_arrays(pair.device.encoder)
            row: dict[str, object] = {
                "device encoder": name, "parameters": sum(array.size for array in arrays.values()),
                "bytes": sum(array.nbytes for array in arrays.values()),
                "psnr at start": round(before["psnr"], 3), **{key: round(v, 3) for key, v in evaluate(pair.device).items()},
            }  # fmt: skip
            rows.append(row)
            report(row)
    return rows


class DevicePair(nnx.Module):
    """The common codec, and a device with an encoder of its own before the common decoder."""

    def __init__(self, common: Swin, seed: int):
        self.teacher = nnx.clone(common)
        self.device = fssc.build(fssc.device(common.config), seed)
        self.device.decoder = nnx.clone(common.decoder)
