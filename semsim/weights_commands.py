"""Commands that make weights: training, import from PyTorch, and the use of codewords."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from semsim import federated as federation
from semsim import importers, training_folder
from semsim.calibration import SAMPLE
from semsim.calibration import calibrate as measure_and_write
from semsim.jobs import Words
from semsim.names import check_name
from semsim.systems import SYSTEMS
from semsim.terminal import console, print_json, show_table
from semsim.train_system import train_system
from semsim.training_display import training_display
from semsim.training_folder import Training


def train(
    system: Annotated[str, tyro.conf.Positional] = "ujscc",
    data: str | None = None,
    out: Path | None = None,
    resume: bool = False,
    checkpoint: Path | None = None,
    orders: Words = (),
    size: str | None = None,
    method: str | None = None,
    recipe: str | None = None,
    steps: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    federated: federation.Options = federation.FederatedOptions(),  # noqa: B008 (frozen)
    json: bool = False,
) -> None:
    """Train a system by its recipe; test images and the last 1,000 training images of CIFAR-10 are left out.

    Args:
        system: which system.
        data: cifar10 (default), its official files, or natural-train or a folder of images, which are cut into tiles.
        out: folder for log, state and weights. Default: runs/train-<system>.
        resume: continue the training in that folder, which knows its options; only steps may be raised, and the rest
            then follows the schedule of the new length.
        checkpoint: weights of the system to start from (fine-tuning), by the whole recipe.
        orders: train only these modulation orders (a specialist); default: all.
        size: of the system's codecs, such as cifar or hr-base; default: the one that ships.
        method: of frenca: frenca transfer distil plain iterative.
        recipe: cpu (default; at most 45 minutes on two cores) or accelerator (an hour or less on one card).
        steps: another length than the recipe's.
        batch: another number of images in a step than the recipe's; the hr sizes were published with 16.
        seed: another seed than the recipe's.
        json: one JSON object a line on stdout, and nothing else there: the lines of the log, then {"weights": FILE}, or of
            fssc a row of its table for each training.
    """
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    changes = {"steps": steps, "batch": batch, "seed": seed}
    folder = out or Path("runs") / f"train-{system}"
    if system == "fssc":
        others = {
            "resume": resume or None,
            "checkpoint": checkpoint,
            "orders": orders or None,
            "method": method,
        }
        others |= {"recipe": recipe, "steps": steps, "batch": batch}
        if given := [name for name, value in others.items() if value is not None]:
            raise ValueError(f"fssc is trained by rounds, in one go: leave {', '.join(given)} out")
        rows = federation.train_fssc(
            federated, data or "cifar10", folder, size=size, seed=seed or 0,
            report=lambda line: print_json([line]) if json else console.print(line),
        )  # fmt: skip
        show_table([row._asdict() if json else row.shown() for row in rows], json)
        return
    options = federation.FederatedOptions
    if other := [name for name, value in vars(federated).items() if value != getattr(options, name)]:
        raise ValueError(f"{system} is not federated, as fssc is: leave {', '.join(other)} out")
    named = {
        "system": system,
        "data": data,
        "size": size,
        "method": method,
        "orders": orders,
        "recipe": recipe,
    }
    if resume:
        wanted = training_folder.resumed(folder, {**named, **changes})
    else:
        given = {name: value for name, value in changes.items() if value is not None}
        by = replace(chosen.recipes.named(recipe or "cpu"), **given)
        wanted = Training(system, data or "cifar10", by, size, method, orders)
    try:
        with training_display(as_json=json) as display:
            weights = train_system(
                chosen, wanted.data, wanted.recipe, folder, size=wanted.size, method=wanted.method,
                orders=wanted.orders, checkpoint=checkpoint, resume=resume, report=display.report,
                progress=display.progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        begun = (folder / training_folder.FILE).exists()
        way = f"semsim train {system} --out {shlex.quote(str(folder))} --resume"
        said = f"stopped; continue with: {way}" if begun else "stopped before training had begun"
        print(f"semsim: {said}", file=sys.stderr)
        raise SystemExit(130) from None
    if json:
        print_json([{"weights": str(weights)}])
    else:
        console.print(f"Weights: {weights}")


def import_weights(
    kind: Annotated[str, tyro.conf.Positional],
    checkpoint: Annotated[Path, tyro.conf.Positional],
    out: Path,
    variant: str | None = None,
    data: str | None = None,
    esno_db: float = 10.0,
    json: bool = False,
) -> None:
    """Bring a PyTorch checkpoint of SwinJSCC, WITT or DeepJSCC over; PyTorch is not needed.

    Args:
        kind: swinjscc, witt (become stsc) or deepjscc.
        checkpoint: the file that torch.save wrote, with a state dict.
        out: weights to write, .safetensors, for --checkpoint of run.
        variant: of swinjscc and witt: plain, or snr with the ModNets; default: by whether they have learned.
        data: of swinjscc and witt: cifar10 or a folder of images to measure the scale of the features on.
        esno_db: at which it is measured, dB.
        json: one JSON object on stdout, and nothing else there: file, system, notes.
    """
    found = importers.import_checkpoint(checkpoint, kind, out, variant=variant, data=data, esno_db=esno_db)
    if json:
        print_json([{"weights": str(out), "system": found.system, "notes": list(found.notes)}])
        return
    for note in found.notes:
        print(note)
    print(f"{out}: run it with semsim run {found.system} --checkpoint {out}")


def calibrate(
    checkpoint: Annotated[Path, tyro.conf.Positional],
    data: str,
    out: Path,
    sample: int = SAMPLE,
    json: bool = False,
) -> None:
    """Measure how images use the codewords of an index system (ujscc, stsc-vq, deepjscc-vq), for the gain of each order.

    With the gain the mean energy of a sent symbol is 1 for images of this kind, which is what Es/N0 counts on. Training
    does it at its end, for the images trained on.

    Args:
        checkpoint: weights, .safetensors.
        data: what is going to be sent: cifar10, natural-train or a folder of images; training images, never those of a test.
        out: weights to write: the same, with the usage.
        sample: so many of the images, drawn at random, are looked at.
        json: one JSON object for each order on stdout, and nothing else there.
    """
    show_table(measure_and_write(checkpoint, data, out, sample), json)
    if not json:
        print(f"{out}: run it with --checkpoint {out}")
