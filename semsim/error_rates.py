"""Bit, symbol and block error rates of a modulation over a channel, with or without a code, by Monte Carlo."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from channels import GENERATORS
from phy import ResourceGrid
from semsim import coded_rates, error_counts
from semsim.antennas import Antennas
from semsim.backend import prepare
from semsim.coding import Coding
from semsim.devices import Execution
from semsim.engine import Progress, Sweep, execute, silent
from semsim.error_counts import grids_in_block
from semsim.error_points import job, points, rare_job
from semsim.link import Csi, Demap
from semsim.names import check_kind, check_name, parse_range
from semsim.rare import RARE_CHANNELS
from semsim.runs import Run
from semsim.scenario import (
    NORMALISATION,
    Propagation,
    dialect_convention,
    identities,
    interference,
    needs_grid,
)
from semsim.stopping import Stop
from semsim.sweep import DEFAULT_GENERATOR, check_seed, names

GRID = ResourceGrid(
    num_ofdm_symbols=14, fft_size=72, cyclic_prefix_length=6, pilot_ofdm_symbol_indices=(2, 11)
)
"""The grid of the TDL channels: a slot of six resource blocks, pilots on symbols 2 and 11."""

MIN_ERRORS, MIN_BLOCK_ERRORS = 200, 100
RARE_WIDTH = 0.05
"""What a point is simulated to when the user does not say."""


def ber(
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    ebno_db: float | str | Sequence[float | str],
    *,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    min_errors: int | None = None,
    max_bits: float = 1e8,
    rel_width: float | None = None,
    abs_width: float | None = None,
    target: float | None = None,
    total_bits: float | None = None,
    importance: bool = False,
    coding: Coding = Coding(),  # noqa: B008 (frozen)
    antennas: Antennas = Antennas(),  # noqa: B008 (frozen)
    propagation: Propagation | None = None,
    grid: ResourceGrid = GRID,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    execution: Execution = Execution(),  # noqa: B008 (frozen)
    out: str | Path | None = None,
    resume: bool = False,
    force_config: bool = False,
    progress: Progress = silent,
) -> Run:
    """Bit, symbol and block error rates at every combination of modulation, channel and Eb/N0.

    AWGN, Rayleigh and Rician channels carry symbols one after the other; the TDL channels and recordings carry them on
    `grid`, and their Eb/N0 is charged for pilots and cyclic prefix. A point takes whole batches, of half a million
    symbols without a code, and its rows say in `stopped` which rule ended it.

    What is simulated:
    - modulation: one name or several, of bpsk, qpsk, psk8, qam16, qam64, qam256, qam1024.
    - channel: one name or several, of awgn, rayleigh, rayleigh-block, rician, rician-block, tdl-a to tdl-e, recorded:FILE,
      dialect:NAME.
    - ebno_db: a number, text such as "0:12:2" (stop included), or several of them; dB per information bit.
    - csi = "perfect": what the receiver knows of the channel; "ls", "lmmse" and "robust" estimate it from the pilots, and
      need a channel on the grid.
    - demap = "nearest": the nearest point, or "app": the most likely value of each bit.
    - coding = Coding(), no channel code. With one, bits are payload bits, points stop by block errors, target and widths are
      of the block error rate, and each modulation compiles once. Eb/N0 counts the payload bits of one transmission; a CRC,
      filling and unused places of the grid are overhead.
    - antennas = Antennas(), one each side: how many, and what for. Es/N0 is per receive antenna, all transmit antennas
      together sending energy 1.
    - propagation = None, which is Propagation(): delay spread (s), carrier (Hz), speed (m/s), K-factor (dB).
    - grid = GRID, a slot of six resource blocks: of the TDL channels and recordings.
    - importance = False: sample errors where they happen (`semsim.rare`), for rates down to 1e-9 and below on awgn and block
      fading; rows say so in `estimator`, have a BLER of transmissions of 256 symbols, and stop at rel_width, 0.05 by
      default.
    - seed = 0: in [0, 2^32). generator = "threefry2x32": of random bits, one of `channels.GENERATORS`.

    How long:
    - min_errors = None, which is 200 bit errors, or 100 block errors with a code, unless a width is given: a point stops at
      so many. From 100 on they must also come in 100 bursts, so that a single deep fade does not end it.
    - rel_width = None, abs_width = None: a point stops when its 95 % interval reaches no further from the error rate than so
      many times it, and than so much.
    - max_bits = 1e8: bits after which a point stops in any case.
    - target = None: a curve ends, in ascending Eb/N0, with the first point whose interval lies below this error rate.
    - total_bits = None: budget of the sweep, bits; what the points leave of it goes to those with the widest intervals.
      Points whose own rules need more get more.

    Where, and what becomes of it:
    - execution = Execution(), all devices: on how many, in what portions; results do not depend on it.
    - out = None, in memory only: run folder to write.
    - resume = False: go on with the run in `out`, or help the processes that fill it. force_config = False: also under a
      changed stop rule, other points or another code version.
    - progress = silent: called with what is at hand, finished points and all points; `semsim.progress_bar` makes one.

    Ctrl-C and SIGTERM end the run with the batches that are finished.
    Errors: ValueError for unknown names and impossible values before anything is compiled; OSError when a finished batch
    cannot be stored.
    """
    wanted = sweep(
        modulation,
        channel,
        ebno_db,
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
    return execute(wanted, execution, out, resume=resume, force_config=force_config, progress=progress)


def sweep(
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    ebno_db: float | str | Sequence[float | str],
    *,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    min_errors: int | None = None,
    max_bits: float = 1e8,
    rel_width: float | None = None,
    abs_width: float | None = None,
    target: float | None = None,
    total_bits: float | None = None,
    importance: bool = False,
    coding: Coding = Coding(),  # noqa: B008 (frozen)
    antennas: Antennas = Antennas(),  # noqa: B008 (frozen)
    propagation: Propagation | None = None,
    grid: ResourceGrid = GRID,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
) -> Sweep:
    """What `ber` simulates, point by point; arguments as there. Errors: ValueError for what is unknown or impossible."""
    prepare()
    check_kind("coding", coding, Coding, "Coding('ldpc', k=512, n=1024)")
    check_kind("antennas", antennas, Antennas, "Antennas(1, 2, 'mrc')")
    check_kind("grid", grid, ResourceGrid, "phy.ResourceGrid(14, 72)")
    propagation = propagation or Propagation()
    check_kind("propagation", propagation, Propagation, "Propagation(speed=30.0)")
    coded = coding.code != "none"
    modulation, channel = names(modulation), names(channel)
    ebno_db = parse_range("ebno_db", ebno_db)
    check_seed(seed)
    check_name("generator", generator, GENERATORS)
    for name, value in (("max_bits", max_bits), ("total_bits", total_bits)):
        if value is not None and not 1 <= value < 1e15:
            raise ValueError(f"{name} must be in [1, 1e15); got {value:g}")
    if importance:
        if min_errors is not None or csi != "perfect" or demap != "nearest" or coded:
            raise ValueError(
                "importance sampling stops at rel_width, not at min_errors, knows perfect CSI, nearest points and no code"
            )
        rel_width = RARE_WIDTH if rel_width is None and abs_width is None else rel_width
        for name in channel:
            check_name("channel of importance sampling", name, RARE_CHANNELS)
        if not antennas.single:
            raise ValueError("importance sampling knows one antenna each side")
    elif min_errors is None and rel_width is None and abs_width is None:
        min_errors = MIN_BLOCK_ERRORS if coded else MIN_ERRORS
    if coded and demap != "nearest":
        raise ValueError("a code needs soft bits, which llr app or maxlog makes: leave demap out")
    bits = coding.k if coded and coding.k else 1  # of what the rules count
    metric, total = "bler" if coded else "ber", None if total_bits is None else total_bits / bits
    stop = Stop(metric, max_bits / bits, min_errors, rel_width, abs_width, target, total)
    items = points(modulation, channel, ebno_db, csi, demap, coding, antennas, propagation, grid)
    if importance:
        jobs = [rare_job(item, propagation, max_bits, seed, generator) for item in items]
    else:
        jobs = [job(item, max_bits, seed, generator) for item in items]
    config = {
        "command": "ber", "modulation": modulation, "channel": identities(channel, propagation), "ebno_db": ebno_db,
        "csi": csi, "demap": demap, "importance": importance,
        "stop": stop.as_dict(), "seed": seed, "propagation": asdict(propagation), "grid": asdict(grid),
        "draws": {
            "generator": generator, "blocks": error_counts.BLOCKS,
            "flat": [error_counts.FLAT_BLOCK, error_counts.FLAT_SYMBOLS], "grids": grids_in_block(grid, antennas),
        },
        "conventions": {
            "snr": "Eb/N0 per information bit; esno_db is mean Es/N0 of a data symbol, noise variance N0 per complex sample",
            "normalisation": NORMALISATION, **dialect_convention(channel),
        },
    }  # fmt: skip
    if (
        coded
    ):  # what is not used is not said: runs of versions that did not have it can be resumed and compared
        structure = {
            "blocks": coded_rates.BLOCKS,
            "words": coded_rates.MOST_WORDS,
            "bits": coded_rates.BLOCK_BITS,
        }
        config["coding"] = {**asdict(coding), "structure": structure}
    if not antennas.single:
        config["antennas"] = asdict(antennas)
    config |= interference([name for name in channel if needs_grid(name)], propagation, grid)
    return Sweep(jobs, stop, config)
