"""The commands: each is a thin shell around the plain function of the same meaning."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from phy import ResourceGrid
from semsim import data as data_sets
from semsim import demo as demo_job
from semsim import error_rates, plot
from semsim import record as recorder
from semsim.antennas import Antennas
from semsim.backend import join
from semsim.coding import Coding
from semsim.info import info as describe
from semsim.jobs import Flat, Job, Options, Words, run_sweep
from semsim.link import Csi, Demap
from semsim.names import parse_range
from semsim.scenario import Propagation
from semsim.sweep import DEFAULT_GENERATOR
from semsim.tables import print_table
from semsim.terminal import console, dumps, plain, print_json, progress_bar, say_if_interrupted, show

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
        max_bits: or at so many bits; a point takes whole batches, of half a million symbols without a code.
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
    rows = found.rows()
    show(rows, job.json, columns)
    most = max((row["trials"] for row in rows if row["metric"] == "ber"), default=0)
    if most > 2 * max_bits and total_bits is None and job.resume is None:
        print(
            f"semsim: a point takes whole batches: {most:,} bits at most here, more than --max-bits {max_bits:,.0f}",
            file=sys.stderr,
        )
    if found.folder is not None and found.points:
        plot.save(plot.error_rate_figure(rows, note=plot.source_note([found])), found.folder / "ber.png")
    say_if_interrupted(found)


def demo(out: Path = Path("runs/demo"), images: int = 128, seed: int = 0, json: bool = False) -> None:
    """The main job: real photographs through uJSCC over AWGN, Rayleigh fading and TDL-A on OFDM.

    Args:
        out: run folder to write; one that this command wrote before is replaced.
        images: patches of 32 x 32 per point.
        json: all rows, one JSON object a line on stdout, and nothing else there.
    """
    if images < 1:
        raise ValueError(f"images must be at least 1; got {images}")
    with progress_bar(quiet=json) as progress:
        found = demo_job.demo(out, images, seed, progress)
    if json:
        print_json(found.rows())
    elif table := demo_job.summary(found):
        print_table(
            table, (), [f"The best PSNR (dB) at a few Es/N0, and its order: {plot.source_note([found])}"]
        )
    say_if_interrupted(found)
    console.print(f"Figure, sample pictures and rows are in {out}")


def data(
    action: Annotated[Literal["list", "get"], tyro.conf.Positional],
    name: Annotated[str, tyro.conf.Positional] = "",
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
    json: bool = False,
) -> None:
    """List the data sets, or bring one into the local cache.

    Args:
        action: list, or get.
        name: cifar10, natural or natural-train.
        source: a local copy to read instead of downloading.
        json: one JSON object a set on stdout, and nothing else there: its name, whether it is ready, what it is.
    """
    if action == "list":
        entries = data_sets.list_sets()
        if json:
            print_json(
                {"name": one.name, "ready": one.ready, "description": one.description} for one in entries
            )
            return
        for entry in entries:
            print(f"{entry.name:13} {'ready' if entry.ready else 'not here':9} {entry.description}")
        return
    fetched = data_sets.get(name, source)
    if json:
        print_json([{"name": fetched.name, "ready": True, "description": fetched.note}])
    else:
        print(f"{fetched.name}: {fetched.note}")


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
    json: bool = False,
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
        json: one JSON object on stdout, and nothing else there: file, model, records, the longest in s.
    """
    made = recorder.record(
        model, out, grid, records=records, num_rx=num_rx, num_tx=num_tx, max_delay=max_delay, propagation=propagation,
        seed=seed,
    )  # fmt: skip
    if json:
        found = {"out": str(out), "model": model, "records": len(made.gains), "longest": made.longest}
        print_json([found])
        return
    print(f"{out}: {len(made.gains)} records of {model}, the longest {made.longest * 1e6:.3g} us")


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
