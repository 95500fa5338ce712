"""The command line. Each command is a thin shell around the plain function of the same meaning."""

import functools
import io
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from flax import nnx

import channels
import models
import phy
import semsim
from phy import ResourceGrid
from semsim import data as data_sets
from semsim import demo as demo_job
from semsim import error_rates, plot, simulation
from semsim.info import info as describe
from semsim.link import Csi, Demap
from semsim.names import check_name, parse_range
from semsim.runs import load_run
from semsim.scenario import Propagation
from semsim.systems import SYSTEMS
from semsim.terminal import console, dumps, plain, progress_bar, say_if_interrupted, show
from semsim.train import Recipe, fit

Words = tuple[str, ...]
Flat = Annotated[Propagation, tyro.conf.arg(name="")]
"""Options of the channel without a prefix: --delay-spread, --speed, ..."""


def ber(
    modulation: Words = ("qam16",),
    channel: Words = ("awgn",),
    ebno_db: Words = ("0:12:2",),
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    min_errors: int = 200,
    max_bits: float = 1e8,
    propagation: Flat = Propagation(),  # noqa: B008 (frozen)
    grid: ResourceGrid = error_rates.GRID,
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Uncoded bit and symbol error rates.

    Args:
        modulation: bpsk qpsk psk8 qam16 qam64 qam256 qam1024.
        channel: awgn rayleigh rayleigh-block rician rician-block tdl-a .. tdl-e.
        ebno_db: numbers or start:stop:step (stop included), dB per information bit.
        csi: what the receiver knows of the channel; ls needs the pilots of a TDL channel.
        demap: nearest point, or app: the most likely value of each bit.
        min_errors: a point stops at so many bit errors,
        max_bits: or at so many bits.
        grid: resource grid of the TDL channels.
        out: run folder to write.
        json: one JSON object a line on stdout, and nothing else there.
    """
    with progress_bar(json) as progress:
        run = error_rates.ber(
            modulation, channel, parse_range("ebno_db", ebno_db), csi=csi, demap=demap, min_errors=min_errors,
            max_bits=max_bits, propagation=propagation, grid=grid, seed=seed, out=out, progress=progress,
        )  # fmt: skip
    show(run, json, ("modulation", "channel", "csi", "ebno_db", "esno_db", "metric", "errors", "trials"))
    if out is not None and run.points:
        plot.save(plot.error_rate_figure(run.rows()), out / "ber.png")
    say_if_interrupted(run)


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
    propagation: Flat = Propagation(),  # noqa: B008 (frozen)
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
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
        out: run folder to write.
        json: one JSON object a line on stdout, and nothing else there.
    """
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    size = nnx.eval_shape(lambda: chosen.build(0)).config.image_size
    images = data_sets.load(
        data, size=None if tile else size, tile=size if tile else None, limit=limit, on_bad=on_bad
    )
    names = modulation if modulation is not None else tuple(m for m in chosen.modulations if m != "auto")
    with progress_bar(json) as progress:
        found = simulation.run(
            system, images, names, channel, parse_range("esno_db", esno_db), checkpoint=checkpoint,
            realizations=realizations, csi=csi, demap=demap, propagation=propagation, seed=seed, out=out, progress=progress,
        )  # fmt: skip
    show(found, json, ("system", "modulation", "channel", "esno_db", "metric", "n", "cbr", "cbr_payload"))
    if out is not None and found.points:
        plot.save(plot.quality_figure(found.rows()), out / "quality.png")
    say_if_interrupted(found)


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
    """Draw one or more runs of one kind into one figure.

    Args:
        runs: run folders.
        out: PNG to write. Default: figure.png in the first folder.
    """
    found = [load_run(folder) for folder in runs]
    if not found:
        raise ValueError("give at least one run folder")
    kinds = {one.config["command"] for one in found}
    if len(kinds) > 1:
        raise ValueError(f"runs of different kinds do not share a figure: {', '.join(sorted(kinds))}")
    label = len(found) > 1
    rows = [
        {**row, **({"run": folder.name} if label else {})}
        for folder, one in zip(runs, found, strict=True)
        for row in one.rows()
    ]
    if not rows:
        raise ValueError(f"no finished points in {', '.join(map(str, runs))}")
    figure = plot.error_rate_figure(rows) if kinds == {"ber"} else plot.quality_figure(rows)
    print(plot.save(figure, out or runs[0] / "figure.png"))


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


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo, "ber": ber, "run": run, "train": train, "data": data, "plot": plot_runs, "info": info,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Exit status 0, 2 for the user's mistakes (one line on stderr), 130 after Ctrl-C."""
    try:
        _parse(arguments)()
    except (ValueError, FloatingPointError) as error:
        if not _is_ours(error):
            raise
        print(f"semsim: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"semsim: {error.strerror}: {error.filename}; what was finished before is kept", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("semsim: stopped", file=sys.stderr)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    return 0


def _is_ours(error: BaseException) -> bool:
    """Whether this project raised the error: what a library raises is a bug of ours, and wants its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    packages = {Path(str(module.__file__)).parent for module in (semsim, phy, channels, models)}
    return any(package in Path(frames[-1].filename).parents for package in packages)


def _parse(arguments: Sequence[str] | None) -> Callable[[], None]:
    """The command asked for, with its arguments bound. Errors: ValueError with what the parser says, as one line."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _deferred(command) for name, command in COMMANDS.items()}, prog="semsim", args=arguments,
                description="Link-level simulation of semantic communication: images, codecs, modulations, channels.",
            )  # fmt: skip
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        words = re.sub("[╭╮╰╯│─]|Error parsing __tyro-dummy-inner__[.\\w]*: ", " ", said.getvalue())
        raise ValueError(" ".join(words.split())) from None


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command as a function of the same signature that binds its arguments and does not run yet."""

    @functools.wraps(command)
    def bind(*values: object, **named: object) -> Callable[[], None]:
        return functools.partial(command, *values, **named)

    return bind


if __name__ == "__main__":
    sys.exit(main())
