"""The commands: each is a thin shell around the plain function of the same meaning."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from phy import ResourceGrid
from semsim import data as data_sets
from semsim import demo as demo_job
from semsim import error_rates, importers, plot, training_folder
from semsim import federated as federation
from semsim import record as recorder
from semsim.antennas import Antennas
from semsim.backend import join
from semsim.calibration import SAMPLE
from semsim.calibration import calibrate as measure_and_write
from semsim.coding import Coding
from semsim.comparison import compare as compare_runs
from semsim.comparison import differing, skipped
from semsim.conventions import check_overlay, translated
from semsim.envelope import Crossover, best_of_each_snr, crossovers
from semsim.info import info as describe
from semsim.jobs import Flat, Job, Options, Words, run_sweep
from semsim.link import Csi, Demap
from semsim.names import check_name, parse_range
from semsim.runs import load_run
from semsim.scenario import Propagation, textbook_row
from semsim.sweep import DEFAULT_GENERATOR
from semsim.systems import SYSTEMS
from semsim.terminal import (
    console,
    dumps,
    plain,
    progress_bar,
    say_if_interrupted,
    show,
    show_comparison,
    show_table,
)
from semsim.train_system import train_system
from semsim.training_display import training_display
from semsim.training_folder import Training

Code = Annotated[Coding, tyro.conf.arg(name="")]
"""Options of the channel code without a prefix: --code, --k, ..."""
Aerials = Annotated[Antennas, tyro.conf.arg(name="")]
"""Options of the antennas without a prefix: --num-tx, --num-rx, --scheme."""


def ber(
    modulation: Words = ("qam16",),
    channel: Words = ("awgn",),
    ebno_db: Words = ("0:12:2",),
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    min_errors: int | None = None,
    max_bits: float = 1e8,
    rel_width: float | None = None,
    abs_width: float | None = None,
    target: float | None = None,
    total_bits: float | None = None,
    importance: bool = False,
    coding: Code = Coding(),  # noqa: B008 (frozen)
    antennas: Aerials = Antennas(),  # noqa: B008 (frozen)
    propagation: Flat = Propagation(),  # noqa: B008 (frozen)
    grid: ResourceGrid = error_rates.GRID,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    job: Options = Job(),  # noqa: B008 (frozen)
) -> None:
    """Bit, symbol and block error rates, with or without a channel code.

    Args:
        modulation: bpsk qpsk psk8 qam16 qam64 qam256 qam1024.
        channel: awgn rayleigh rayleigh-block rician rician-block tdl-a .. tdl-e recorded:FILE dialect:NAME.
        ebno_db: numbers or start:stop:step (stop included), dB per information bit.
        csi: what the receiver knows of the channel; all but perfect need the pilots of a channel on the grid.
        demap: nearest point, or app: the most likely value of each bit.
        min_errors: a point stops at so many bit errors (200, unless rel-width is given), with a code block errors (100),
        max_bits: or at so many bits.
        rel_width: or when its 95 % interval reaches no further than this share of the rate from it,
        abs_width: or no further than this from it.
        target: a curve ends with the first point that is surely below this bit error rate; with a code, widths and
            target are of the block error rate.
        total_bits: what the points leave of so many bits goes to those with the widest intervals.
        importance: importance sampling, for rates down to 1e-9 and below on awgn, rayleigh-block and rician-block.
        grid: resource grid of the TDL channels.
        generator: of random bits; threefry2x32-13 is up to a fifth faster where they are the floor.
    """
    join(job.cluster)
    sweep = error_rates.sweep(
        modulation,
        channel,
        parse_range("ebno_db", ebno_db),
        csi=csi,
        demap=demap,
        min_errors=min_errors,
        max_bits=max_bits,
        rel_width=rel_width,
        abs_width=abs_width,
        target=target,
        total_bits=total_bits,
        importance=importance,
        coding=coding,
        antennas=antennas,
        propagation=propagation,
        grid=grid,
        generator=generator,
        seed=seed,
    )
    found = run_sweep(sweep, job)
    if found is None:
        return
    columns = (
        "modulation",
        "transmissions",
        "channel",
        "csi",
        "ebno_db",
        "esno_db",
        "ici_sir_db",
        "metric",
        "errors",
        "trials",
    )
    show(found.rows(), job.json, columns)
    if found.folder is not None and found.points:
        plot.save(plot.error_rate_figure(found.rows()), found.folder / "ber.png")
    say_if_interrupted(found)


def demo(out: Path = Path("runs/demo"), images: int = 128, seed: int = 0) -> None:
    """The main job: real photographs through uJSCC over AWGN, Rayleigh fading and TDL-A on OFDM.

    Args:
        out: run folder to write; one that this command wrote before is replaced.
        images: patches of 32 x 32 per point.
    """
    with progress_bar(quiet=False) as progress:
        found = demo_job.demo(out, images, seed, progress)
    show(
        found.rows(),
        False,
        ("system", "modulation", "channel", "esno_db", "metric", "n", "photographs", "cbr", "cbr_payload"),
    )
    say_if_interrupted(found)
    console.print(f"Figure, sample pictures and rows are in {out}")


def train(
    system: Annotated[str, tyro.conf.Positional] = "ujscc",
    data: str | None = None,
    out: Path | None = None,
    resume: bool = False,
    checkpoint: Path | None = None,
    orders: Words = (),
    size: str | None = None,
    method: str | None = None,
    steps: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    federated: federation.Options = federation.FederatedOptions(),  # noqa: B008 (frozen)
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
        steps: another length than the recipe's.
        batch: another number of images in a step than the recipe's; the hr sizes were published with 16.
        seed: another seed than the recipe's.
    """
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    changes = {"steps": steps, "batch": batch, "seed": seed}
    folder = out or Path("runs") / f"train-{system}"
    if system == "fssc":
        if resume or checkpoint or orders or method or steps or batch:
            raise ValueError(
                "fssc is trained by rounds, in one go: leave resume, checkpoint, orders, method, steps and batch out"
            )
        rows = federation.train_fssc(
            federated, data or "cifar10", folder, size=size, seed=seed or 0, report=lambda line: console.print(line)
        )  # fmt: skip
        show_table([row.shown() for row in rows])
        return
    if federated != federation.FederatedOptions():
        raise ValueError(f"{system} is not federated: leave the options of fssc out")
    named = {"system": system, "data": data, "size": size, "method": method, "orders": orders}
    if resume:
        wanted = training_folder.resumed(folder, {**named, **changes})
    else:
        given = {name: value for name, value in changes.items() if value is not None}
        recipe = replace(chosen.recipe, **given)
        wanted = Training(system, data or "cifar10", recipe, size, method, orders)
    try:
        with training_display() as display:
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
    console.print(f"Weights: {weights}")


def import_weights(
    kind: Annotated[str, tyro.conf.Positional],
    checkpoint: Annotated[Path, tyro.conf.Positional],
    out: Path,
    variant: str | None = None,
    data: str | None = None,
    esno_db: float = 10.0,
) -> None:
    """Bring a PyTorch checkpoint of SwinJSCC, WITT or DeepJSCC over; PyTorch is not needed.

    Args:
        kind: swinjscc, witt (become stsc) or deepjscc.
        checkpoint: the file that torch.save wrote, with a state dict.
        out: weights to write, .safetensors, for --checkpoint of run.
        variant: of swinjscc and witt: plain, or snr with the ModNets; default: by whether they have learned.
        data: of swinjscc and witt: cifar10 or a folder of images to measure the scale of the features on.
        esno_db: at which it is measured, dB.
    """
    found = importers.import_checkpoint(checkpoint, kind, out, variant=variant, data=data, esno_db=esno_db)
    for note in found.notes:
        print(note)
    print(f"{out}: run it with semsim run {found.system} --checkpoint {out}")


def calibrate(
    checkpoint: Annotated[Path, tyro.conf.Positional],
    data: str,
    out: Path,
    sample: int = SAMPLE,
) -> None:
    """Measure how images use the codewords of an index system (ujscc, stsc-vq, deepjscc-vq), for the gain of each order.

    With the gain the mean energy of a sent symbol is 1 for images of this kind, which is what Es/N0 counts on. Training
    does it at its end, for the images trained on.

    Args:
        checkpoint: weights, .safetensors.
        data: what is going to be sent: cifar10, natural-train or a folder of images; training images, never those of a test.
        out: weights to write: the same, with the usage.
        sample: so many of the images, drawn at random, are looked at.
    """
    show_table(measure_and_write(checkpoint, data, out, sample))
    print(f"{out}: run it with --checkpoint {out}")


def data(
    action: Annotated[Literal["list", "get"], tyro.conf.Positional],
    name: Annotated[str, tyro.conf.Positional] = "",
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
) -> None:
    """List the data sets, or bring one into the local cache.

    Args:
        action: list, or get.
        name: cifar10, natural or natural-train.
        source: a local copy to read instead of downloading.
    """
    if action == "list":
        for entry in data_sets.list_sets():
            print(f"{entry.name:13} {'ready' if entry.ready else 'not here':9} {entry.description}")
        return
    fetched = data_sets.get(name, source)
    print(f"{fetched.name}: {fetched.note}")


def plot_runs(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    out: Path | None = None,
    best: bool = False,
    textbook: bool = False,
) -> None:
    """Draw one or more runs of one kind into one figure; refused where their conventions or data differ.

    Args:
        runs: run folders.
        out: PNG to write. Default: figure.png in the first folder.
        best: one line a system: at each SNR its modulation, code and codec with the best PSNR; refused where channel
            uses differ by more than a hundredth. Says where systems cross, and leaves out error rates, which differ in kind.
        textbook: draw dialects at the SNR that the textbook calls theirs.
    """
    found = [load_run(folder) for folder in runs]
    if not found:
        raise ValueError("give at least one run folder")
    check_overlay([translated(run) for run in found] if textbook else found)
    label = len(found) > 1
    rows = [
        {**(textbook_row(row) if textbook else row), **({"run": folder.name} if label else {})}
        for folder, one in zip(runs, found, strict=True)
        for row in one.rows()
    ]
    if not rows:
        raise ValueError(f"no finished points in {', '.join(map(str, runs))}")
    if found[0].config["command"] == "ber":
        if best:
            raise ValueError("best compares the PSNR of systems; these runs have error rates only")
        crossings: list[Crossover] = []
        figure = plot.error_rate_figure(rows)
    else:
        shown = best_of_each_snr(rows) if best else rows
        figure = plot.quality_figure(shown, plot.COMMON_METRICS if best else plot.IMAGE_METRICS)
        crossings = crossovers(shown) if best else []
    print(plot.save(figure, out or runs[0] / "figure.png"))
    for crossing in crossings:
        print(crossing)


def record(
    model: Annotated[str, tyro.conf.Positional],
    out: Path,
    records: int = 1000,
    num_rx: int = 1,
    num_tx: int = 1,
    max_delay: float | None = None,
    propagation: Flat = Propagation(),  # noqa: B008 (frozen)
    grid: ResourceGrid = error_rates.GRID,
    seed: int = 0,
) -> None:
    """Record impulse responses of a channel model, to be replayed with --channel recorded:FILE.

    Args:
        model: tdl-a .. tdl-e; with Sionna (extra sionna) also cdl-a .. cdl-e umi uma.
        out: file to write, .npz.
        records: independent ones.
        num_rx: receive antennas.
        num_tx: transmit antennas.
        max_delay: leave out records that last longer, s; what stays is a selection.
        grid: whose OFDM symbols are the times of a record.
    """
    made = recorder.record(
        model, out, grid, records=records, num_rx=num_rx, num_tx=num_tx, max_delay=max_delay, propagation=propagation,
        seed=seed,
    )  # fmt: skip
    print(f"{out}: {len(made.gains)} records of {model}, the longest {made.longest * 1e6:.3g} us")


def compare(
    run_a: Annotated[Path, tyro.conf.Positional],
    run_b: Annotated[Path, tyro.conf.Positional],
    confidence: float = 0.95,
    json: bool = False,
) -> None:
    """Paired comparison of two runs over the draws they have in common: difference, interval, verdict.

    Args:
        run_a: run folder.
        run_b: run folder; differences are a - b.
        confidence: of the intervals.
        json: one JSON object a line on stdout, and nothing else there.
    """
    left, right = load_run(run_a), load_run(run_b)
    rows = compare_runs(left, right, confidence)
    show_comparison(rows, differing(left, right), skipped(left, right), confidence, json)


def info(json: bool = False) -> None:
    """Versions, devices, systems with their size and cost, modulations, channels.

    Args:
        json: one JSON object on stdout.
    """
    found = describe()
    if json:
        print(dumps(found))
        return
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, entry in value.items():
                print(f"  {key}: {plain(entry)}")
        else:
            print(f"{name}: {plain(value)}")
