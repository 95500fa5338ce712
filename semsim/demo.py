"""The main job: what `make run` shows of the whole simulator in a few minutes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from semsim import data, plot, simulation
from semsim.metrics import psnr
from semsim.runs import Run, load_run
from semsim.systems.ujscc import CHECKPOINT, ORDERS, load

TITLE = "semsim demo"
CHANNELS = ("awgn", "rayleigh-block", "tdl-a")
ESNO_DB = tuple(float(value) for value in range(0, 31, 3))
PHOTOGRAPH, TILES = "chelsea", 8  # the picture shown, 8 x 8 patches of 32 x 32
SHOWN_DB = (("awgn", 30.0), ("awgn", 9.0), ("tdl-a", 15.0))


def demo(
    out: Path,
    num_images: int = 128,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> Run:
    """Photographs of the repository through uJSCC; leaves rows, `quality.png` and `samples.png` in `out`.

    `out` is replaced if it is a former run of this job. Errors: ValueError if it is something else.
    """
    if out.exists() and any(out.iterdir()):
        if load_run(out).config.get("title") != TITLE:
            raise ValueError(f"{out} holds another run: choose another folder")
        shutil.rmtree(out)
    codec = load(CHECKPOINT)
    images = data.load("embedded", limit=num_images)
    found = simulation.run(
        "ujscc",
        images,
        ORDERS,
        CHANNELS,
        ESNO_DB,
        codec=codec,
        seed=seed,
        title=TITLE,
        out=out,
        progress=progress,
    )
    if found.points:
        plot.save(plot.quality_figure(found.rows(), note=plot.source_note([found])), out / "quality.png")
    if not found.interrupted:
        plot.save(_samples(codec, seed), out / "samples.png")
    return found


def summary(found: Run) -> list[dict[str, str]]:
    """A row a channel: the best PSNR at a few SNRs, and the order that has it."""
    best: dict[tuple[str, float], dict] = {}
    for row in found.rows():
        place = row["channel"], row["esno_db"]
        if row["metric"] == "psnr" and (place not in best or row["value"] > best[place]["value"]):
            best[place] = row
    return [
        {"channel": name}
        | {
            f"{snr:g} dB": f"{best[name, snr]['value']:.2f} {best[name, snr]['modulation']}"
            for snr in ESNO_DB[::3]
            if (name, snr) in best
        }
        for name in dict.fromkeys(channel for channel, _ in best)
    ]


def _samples(codec: nnx.Module, seed: int):
    """One photograph, patch by patch over the air: a line a channel and SNR, a column an order."""
    embedded = data.load("embedded")
    chosen = [name for name in embedded.names if name.startswith(PHOTOGRAPH + "/")]
    patches = embedded.images[[embedded.names.index(name) for name in sorted(chosen)]]
    original = _assemble(data.as_float(patches))
    lines, captions = [], []
    for channel, esno_db in SHOWN_DB:
        received = [
            simulation.reconstruct("ujscc", patches, name, channel, esno_db, codec=codec, seed=seed).images
            for name in ORDERS
        ]
        shown = [_assemble(np.asarray(image)) for image in received]
        lines.append([original, *shown])
        captions.append(
            [
                "",
                *(
                    f"{float(psnr(jnp.asarray(original)[None], jnp.asarray(image)[None])[0]):.2f} dB"
                    for image in shown
                ),
            ]
        )
    return plot.mosaic(
        lines,
        ("original", *ORDERS),
        [f"{channel}, {esno_db:g} dB" for channel, esno_db in SHOWN_DB],
        captions,
        f"{PHOTOGRAPH} of the embedded photographs, {len(patches)} patches, one draw each, seed {seed}; PSNR of the whole",
    )


def _assemble(patches: np.ndarray) -> np.ndarray:
    side = patches.shape[1]
    grid = patches.reshape(TILES, TILES, side, side, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(TILES * side, TILES * side, 3)
