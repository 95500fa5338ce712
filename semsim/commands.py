"""The commands: each is a thin shell around the plain function of the same meaning."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from flax import nnx

from phy import ResourceGrid
from semsim import data as data_sets
from semsim import demo as demo_job
from semsim import error_rates, plot, simulation
from semsim.backend import Cluster, is_leader, join
from semsim.compare import compare as compare_runs
from semsim.compare import differing, skipped
from semsim.conventions import check_overlay
from semsim.devices import Execution
from semsim.engine import Sweep, execute
from semsim.info import info as describe
from semsim.link import Csi, Demap
from semsim.names import check_name, parse_range
from semsim.planner import plan as plan_sweep
from semsim.runs import Run, load_run
from semsim.scenario import Propagation
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
    show_plan,
)
from semsim.train import Recipe, fit

Words = tuple[str, ...]
Flat = Annotated[Propagation, tyro.conf.arg(name="")]
"""Options of the channel without a prefix: --delay-spread, --speed, ..."""


@dataclass(frozen=True)
class Job:
    """Where a sweep runs and what becomes of it; results do not depend on it."""

    execution: Annotated[Execution, tyro.conf.arg(name="")] = Execution()
    cluster: Annotated[Cluster, tyro.conf.arg(name="")] = Cluster()
    out: Path | None = None
    """Run folder to write."""
    resume: Path | None = None
    """Go on with the run in this folder, or help the processes that fill it; its options need not be repeated."""
    force_config: bool = False
    """Resume under a changed stop rule, other points or another code version."""
    plan: bool = False
    """Print points, expected batches, memory, compilations and time; simulate nothing."""
    json: bool = False
    """One JSON object a line on stdout, and nothing else there."""
    arguments: tyro.conf.Suppress[tuple[str, ...]] = ()
    """The command line, kept with the run so that it can be resumed without repeating it."""


Options = Annotated[Job, tyro.conf.arg(name="")]


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
    propagation: Flat = Propagation(),  # noqa: B008 (frozen)
    grid: ResourceGrid = error_rates.GRID,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    job: Options = Job(),  # noqa: B008 (frozen)
) -> None:
    """Uncoded bit and symbol error rates.

    Args:
        modulation: bpsk qpsk psk8 qam16 qam64 qam256 qam1024.
        channel: awgn rayleigh rayleigh-block rician rician-block tdl-a .. tdl-e.
        ebno_db: numbers or start:stop:step (stop included), dB per information bit.
        csi: what the receiver knows of the channel; ls needs the pilots of a TDL channel.
        demap: nearest point, or app: the most likely value of each bit.
        min_errors: a point stops at so many bit errors (200, unless rel-width is given),
        max_bits: or at so many bits.
        rel_width: or when its 95 % interval reaches no further than this share of the rate from it,
        abs_width: or no further than this from it.
        target: a curve ends with the first point that is surely below this bit error rate.
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
        propagation=propagation,
        grid=grid,
        generator=generator,
        seed=seed,
    )
    found = _execute(sweep, job)
    if found is None:
        return
    show(
        found, job.json, ("modulation", "channel", "csi", "ebno_db", "esno_db", "metric", "errors", "trials")
    )
    if found.folder is not None and found.points:
        plot.save(plot.error_rate_figure(found.rows()), found.folder / "ber.png")
    say_if_interrupted(found)


def run(
    system: Annotated[str, tyro.conf.Positional] = "ujscc",
    modulation: Words | None = None,
    channel: Words = ("awgn",),
    esno_db: Words = ("0:30:5",),
    data: str = "embedded",
    limit: int | None = None,
    tile: bool = False,
    on_bad: Literal["stop", "skip"] = "stop",
    realizations: int = 1,
    checkpoint: Path | None = None,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    width: float | None = None,
    total_images: float | None = None,
    propagation: Flat = Propagation(),  # noqa: B008 (frozen)
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    job: Options = Job(),  # noqa: B008 (frozen)
) -> None:
    """Images through a system: PSNR, SSIM and symbol error rate.

    Args:
        system: which system; `semsim info` lists them.
        modulation: names, or auto: the SNR of each realisation chooses. Default: all that the system has, without auto.
        channel: awgn rayleigh-block rician-block tdl-a .. tdl-e, all on one OFDM grid.
        esno_db: numbers or start:stop:step (stop included), dB per data symbol.
        data: embedded, cifar10, natural, or a folder of images.
        limit: use the first so many images.
        tile: cut larger images into tiles of the codec's size.
        on_bad: an unreadable or odd-sized file in a folder stops the run, or is skipped.
        realizations: channel draws per image.
        checkpoint: weights to use in place of the ones that ship.
        csi: what the receiver knows of the channel.
        demap: nearest point, or app: the most likely value of each bit.
        width: a point stops when the 95 % interval of its PSNR reaches no further than so many dB.
        total_images: what the points leave of so many images goes to those with the widest intervals; needs width.
        generator: of random bits; threefry2x32-13 is up to a fifth faster where they are the floor.
    """
    join(job.cluster)
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    size = nnx.eval_shape(lambda: chosen.build(0)).config.image_size
    images = data_sets.load(
        data, size=None if tile else size, tile=size if tile else None, limit=limit, on_bad=on_bad
    )
    names = modulation if modulation is not None else tuple(m for m in chosen.modulations if m != "auto")
    sweep = simulation.sweep(
        system,
        images,
        names,
        channel,
        parse_range("esno_db", esno_db),
        checkpoint=checkpoint,
        realizations=realizations,
        csi=csi,
        demap=demap,
        width=width,
        total_images=total_images,
        propagation=propagation,
        generator=generator,
        seed=seed,
    )
    found = _execute(sweep, job)
    if found is None:
        return
    show(found, job.json, ("system", "modulation", "channel", "esno_db", "metric", "n", "cbr", "cbr_payload"))
    if found.folder is not None and found.points:
        plot.save(plot.quality_figure(found.rows()), found.folder / "quality.png")
    say_if_interrupted(found)


def _execute(sweep: Sweep, job: Job) -> Run | None:
    """The run of a sweep; None where only a plan was asked for. Processes that do not lead their job end here."""
    sweep.config["arguments"] = list(job.arguments)
    if job.plan:
        found = plan_sweep(sweep, job.execution)
        if is_leader():
            show_plan(found, job.json)
        return None
    with progress_bar(job.json or not is_leader()) as progress:
        found = execute(
            sweep, job.execution, job.resume or job.out, resume=job.resume is not None, force_config=job.force_config,
            progress=progress,
        )  # fmt: skip
    if is_leader():
        return found
    raise SystemExit(130 if found.interrupted else 0)


def demo(out: Path = Path("runs/demo"), images: int = 128, seed: int = 0) -> None:
    """The main job: real photographs through uJSCC over AWGN, Rayleigh fading and TDL-A on OFDM.

    Args:
        out: run folder to write; one that this command wrote before is replaced.
        images: patches of 32 x 32 per point.
    """
    with progress_bar(quiet=False) as progress:
        found = demo_job.demo(out, images, seed, progress)
    show(found, False, ("system", "modulation", "channel", "esno_db", "metric", "n", "cbr", "cbr_payload"))
    say_if_interrupted(found)
    console.print(f"Figure, sample pictures and rows are in {out}")


def train(
    system: Annotated[str, tyro.conf.Positional] = "ujscc",
    data: str = "cifar10",
    out: Path | None = None,
    resume: bool = False,
    orders: Words = (),
    steps: int | None = None,
    seed: int | None = None,
) -> None:
    """Train a system by its recipe; the last 1,000 training images of CIFAR-10 are left out for validation.

    Args:
        system: which system.
        data: cifar10, or a folder of images, which are cut into tiles.
        out: folder for log, state and weights. Default: runs/train-<system>.
        resume: continue the run in that folder.
        orders: train only these modulation orders (a specialist); default: all.
        steps: another length than the recipe's.
        seed: another seed than the recipe's.
    """
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    changes = {"steps": steps, "seed": seed}
    recipe: Recipe = replace(
        chosen.recipe, **{name: value for name, value in changes.items() if value is not None}
    )
    codec = chosen.build(recipe.seed)
    loss, upkeep = chosen.loss(orders), chosen.upkeep(orders)
    images = data_sets.training_images(data, codec.config.image_size)
    folder = out or Path("runs") / f"train-{system}"
    try:
        weights = fit(
            codec, images, recipe, loss, folder, upkeep=upkeep, resume=resume,
            metadata={**chosen.metadata(codec), "trained": list(orders)}, report=lambda line: console.print(line),
        )  # fmt: skip
    except KeyboardInterrupt:
        console.print(f"Stopped; continue with: semsim train {system} --out {folder} --resume")
        raise SystemExit(130) from None
    console.print(f"Weights: {weights}")


def data(
    action: Annotated[Literal["list", "get"], tyro.conf.Positional],
    name: Annotated[str, tyro.conf.Positional] = "",
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
) -> None:
    """List the data sets, or bring one into the local cache.

    Args:
        action: list, or get.
        name: cifar10 or natural.
        source: a local copy to read instead of downloading.
    """
    if action == "list":
        for entry in data_sets.list_sets():
            print(f"{entry.name:10} {'ready' if entry.ready else 'not here':9} {entry.description}")
        return
    fetched = data_sets.get(name, source)
    print(f"{fetched.name}: {fetched.note}")


def plot_runs(runs: Annotated[tuple[Path, ...], tyro.conf.Positional], out: Path | None = None) -> None:
    """Draw one or more runs of one kind into one figure; refused where their conventions or data differ.

    Args:
        runs: run folders.
        out: PNG to write. Default: figure.png in the first folder.
    """
    found = [load_run(folder) for folder in runs]
    if not found:
        raise ValueError("give at least one run folder")
    check_overlay(found)
    label = len(found) > 1
    rows = [
        {**row, **({"run": folder.name} if label else {})}
        for folder, one in zip(runs, found, strict=True)
        for row in one.rows()
    ]
    if not rows:
        raise ValueError(f"no finished points in {', '.join(map(str, runs))}")
    command = found[0].config["command"]
    figure = plot.error_rate_figure(rows) if command == "ber" else plot.quality_figure(rows)
    print(plot.save(figure, out or runs[0] / "figure.png"))


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
