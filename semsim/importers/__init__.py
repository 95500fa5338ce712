"""Codecs of others: their PyTorch checkpoints as codecs of this project. Import from here.

Written from the names and shapes of their state dicts; no code and no weights of theirs are here, and their files are read
without PyTorch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semsim.checkpoint import save_weights
from semsim.data import as_float, training_images
from semsim.importers.arrays import Imported as Imported
from semsim.importers.deepjscc import import_deepjscc
from semsim.importers.swinjscc import calibrate, import_swinjscc
from semsim.importers.torch_file import read_state
from semsim.names import check_name
from semsim.systems import SYSTEMS

KINDS = ("swinjscc", "witt", "deepjscc")
VARIANTS = ("plain", "snr")


def import_state(state: Mapping[str, np.ndarray], kind: str, variant: str | None = None) -> Imported:
    """The codec whose arrays are those of a state dict.

    state: arrays by the names of the class itself, as `read_state` gives them. kind: "swinjscc" and "witt", which have the
    same names (`semsim.importers.swinjscc`), or "deepjscc" (`semsim.importers.deepjscc`). variant: of a Swin codec: "plain"
    without the ModNets, or "snr" with them; None: decided from the weights, and said in the notes.
    Errors: ValueError for unknown kinds and variants, and one line that names the arrays which do not fit.
    """
    check_name("kind of checkpoint", kind, KINDS)
    if variant is not None:
        check_name("variant", variant, VARIANTS)
    if kind != "deepjscc":
        return import_swinjscc(state, variant)
    if variant is not None:
        raise ValueError("deepjscc has one variant: leave variant out")
    return import_deepjscc(state)


def import_checkpoint(
    path: Path,
    kind: str,
    out: Path | None = None,
    *,
    variant: str | None = None,
    data: str | None = None,
    esno_db: float = 10.0,
) -> Imported:
    """The codec of a PyTorch checkpoint, written to `out` where given: `semsim run SYSTEM --checkpoint OUT` takes it.

    kind, variant: as `import_state`. data: of a Swin codec: cifar10 or a folder of images, on which the scale of its
    features is measured at `esno_db` (dB) and given to its decoder for good (`semsim.importers.swinjscc.calibrate`).
    Errors: ValueError as `read_state`, `import_state` and `semsim.data.load`; OSError if `out` cannot be written.
    """
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent} to write {out.name} into: make it first")
    if out is not None and out.resolve() == path.resolve():
        raise ValueError(f"{out} is the checkpoint itself: write to another file")
    if data is not None and kind == "deepjscc":
        raise ValueError("deepjscc scales every image by itself and needs no data: leave data out")
    found = import_state(read_state(path), kind, variant)
    if data is not None:
        side: int = found.codec.config.height
        images = training_images(data, side)[: max(16, 2**17 // side**2)]  # a mini-batch of theirs
        found = calibrate(found, as_float(images), esno_db)
    if out is not None:
        metadata: dict[str, Any] = SYSTEMS[found.system].metadata(found.codec)
        save_weights(out, found.codec, {**metadata, "imported": {"kind": kind, "notes": list(found.notes)}})
    return found
