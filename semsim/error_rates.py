"""Bit, symbol and block error rates of a modulation over a channel, with or without a code, by Monte Carlo."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

import phy
from channels import GENERATORS, Fading, linear_k_factor
from phy import Modulation, PilotFilter, ResourceGrid
from semsim import coded_rates, error_counts, theory
from semsim.antennas import Antennas
from semsim.backend import prepare
from semsim.coded_rates import CodedErrorCount, coded_kernel
from semsim.coding import Coding
from semsim.devices import Execution, Work
from semsim.engine import Job, Progress, Sweep, execute, silent
from semsim.error_counts import ErrorCount, error_count, grids_in_block
from semsim.link import Csi, Demap, Link
from semsim.names import check_name, parse_range
from semsim.rare import RARE_CHANNELS, RareKernel, Weighted, error_bound, half_distance
from semsim.runs import Run
from semsim.scenario import (
    NORMALISATION,
    Propagation,
    channel_identity,
    check_channel,
    check_soft,
    dialect_convention,
    dialect_of,
    flat_fading,
    grid_fadings,
    identities,
    interference,
    needs_grid,
    pilot_filters,
    receiver_label,
)
from semsim.stopping import Stop
from semsim.sweep import (
    DEFAULT_GENERATOR,
    Parts,
    Sums,
    check_seed,
    draw_id,
    draw_words,
    mean_sums,
    names,
    point_name,
)

GRID = ResourceGrid(
    num_ofdm_symbols=14, fft_size=72, cyclic_prefix_length=6, pilot_ofdm_symbol_indices=(2, 11)
)
"""The grid of the TDL channels: a slot of six resource blocks, pilots on symbols 2 and 11."""

MOST_BATCHES = 2**31
MIN_ERRORS, MIN_BLOCK_ERRORS = 200, 100
RARE_WIDTH = 0.05
"""What a point is simulated to when the user does not say."""


def ber(
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    ebno_db: Sequence[float],
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
    out: Path | None = None,
    resume: bool = False,
    force_config: bool = False,
    progress: Progress = silent,
) -> Run:
    """Error rates at every combination of modulation, channel and Eb/N0.

    What is simulated: as `sweep`. Where, and what happens to the rows: as `engine.execute`.
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
    ebno_db: Sequence[float],
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
    """What `ber` simulates, point by point.

    AWGN, Rayleigh and Rician channels carry symbols one after the other; the TDL channels carry them on `grid`, and
    their Eb/N0 is charged for pilots and cyclic prefix. csi other than "perfect" estimates the channel from the pilots
    and needs a channel on the grid.

    A point stops at `min_errors` bit errors (default 200, unless a width is given; from 100 on they must also come in
    100 bursts, so that a single deep fade does not end it) and when its 95 % interval reaches no further from the bit
    error rate than `rel_width` times it and than `abs_width`; or at `max_bits` bits; its rows say which in `stopped`.
    target: a curve ends, in ascending Eb/N0, with the first point whose interval lies below this bit error rate.
    total_bits: budget of the sweep; what the points leave of it goes to those with the widest intervals. Points whose
    own rules need more get more.
    importance: sample errors where they happen (`semsim.rare`), for rates down to 1e-9 and below on AWGN and block
    fading; rows say so in `estimator`, have a BLER of transmissions of 256 symbols, and stop at `rel_width` (default
    0.05).
    generator: of random bits, one of `channels.GENERATORS`.
    antennas: how many, and what for; Es/N0 is per receive antenna then, all transmit antennas together sending energy 1.
    coding: a channel code; bits are payload bits then, a point stops by block errors (default 100), target and widths are
    of the block error rate, and each modulation compiles once. Eb/N0 counts the payload bits of one transmission, a
    CRC, filling and unused places of the grid being overhead.
    Errors: ValueError for unknown names and impossible values.
    """
    prepare()
    propagation = propagation or Propagation()
    coded = coding.code != "none"
    modulation, channel = names(modulation), names(channel)
    ebno_db = parse_range("ebno_db", [float(value) for value in ebno_db])
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
    items = _points(modulation, channel, ebno_db, csi, demap, coding, antennas, propagation, grid)
    if importance:
        jobs = [_rare_job(item, propagation, max_bits, seed, generator) for item in items]
    else:
        jobs = [_job(item, max_bits, seed, generator) for item in items]
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


class _Place(NamedTuple):
    """A channel, and the link that it is met on."""

    link: Link
    fading: Fading
    pilot_filter: PilotFilter | None


class _Item(NamedTuple):
    point: dict
    draw: int
    modulation: Modulation
    place: _Place
    kernel: ErrorCount | CodedErrorCount


def _points(
    modulation: tuple[str, ...],
    channel: tuple[str, ...],
    ebno_db: tuple[float, ...],
    csi: Csi,
    demap: Demap,
    coding: Coding,
    antennas: Antennas,
    propagation: Propagation,
    grid: ResourceGrid,
) -> list[_Item]:
    for name in modulation:
        check_name("modulation", name, phy.MODULATIONS)
    for name in channel:
        check_channel(name)
        if antennas.scheme == "multiplexing" and name == "awgn":
            raise ValueError(
                "without fading all antenna pairs have one gain, and no receiver could separate the streams"
            )
    if coding.code != "none":
        check_soft(channel)
    if not (modulation and channel):
        raise ValueError("give at least one modulation and one channel")
    check_name("csi", csi, get_args(Csi))
    coded = coding.code != "none"
    on_grid = [name for name in channel if needs_grid(name)]
    if csi != "perfect" and len(on_grid) < len(channel):
        raise ValueError(
            f"csi {csi} needs pilots, which only the channels on a grid have; got {', '.join(channel)}"
        )
    gridded = grid_fadings(on_grid, propagation, grid, (antennas.num_rx, antennas.num_tx))
    filters = pilot_filters(csi, on_grid, gridded, propagation, grid)
    places = {
        name: _Place(Link(grid, csi, demap, antennas), fading, found)
        for name, fading, found in zip(on_grid, gridded, filters, strict=True)
    }
    for name in channel:
        if name not in places:
            link = Link(None, "perfect", demap, antennas, dialect_of(name))
            places[name] = _Place(link, flat_fading(name, propagation, antennas.coherence), None)
    # The bank is as wide as its widest member: one program serves all of them, and 8-PSK, no QAM, has its own. The length
    # of a code is part of the plan: each modulation has its own width then.
    widest = (
        None if coded else max((phy.num_bits(name) for name in modulation if name != "psk8"), default=None)
    )
    several = {} if antennas.single else asdict(antennas)
    items = []
    for name in modulation:
        mapper = phy.modulation(name, None if name == "psk8" else widest)
        bits = phy.num_bits(name) * antennas.num_streams
        for where in channel:
            place, identity = places[where], channel_identity(where, propagation)
            kernels = _coded_kernels(place.link, name, coding) if coded else [error_count(place.link)]
            for value, kernel in product(ebno_db, kernels):
                esno_db = phy.ebnodb2esnodb(value, bits, kernel.coderate, resource_grid=place.link.grid)
                esno_db = round(float(esno_db), 6)
                point = {
                    "modulation": name, **identity, **receiver_label(place.link.csi, propagation), **several, **kernel.label,
                    "ebno_db": value, "esno_db": esno_db,
                }  # fmt: skip
                items.append(_Item(point, draw_id(identity, esno_db), mapper, place, kernel))
    return items


def _coded_kernels(link: Link, modulation: str, coding: Coding) -> list[CodedErrorCount]:
    """One for each number of transmissions."""
    block = coding.block(phy.num_bits(modulation))
    return [coded_kernel(link, block, coding, count) for count in dict.fromkeys(coding.transmissions)]


def _job(item: _Item, max_bits: float, seed: int, generator: str) -> Job:
    """A point by plain Monte Carlo."""
    kernel, modulation = item.kernel, item.point["modulation"]
    work = Work(
        kernel, kernel.blocks, draw_words(seed, item.draw), generator,
        (item.modulation, item.place.fading, _noise_var(item), item.place.pilot_filter), lambda batch: (),
    )  # fmt: skip
    sums = partial(kernel.sums, num_bits_per_symbol=phy.num_bits(modulation))
    transmissions = max_bits / kernel.payload_bits(phy.num_bits(modulation))
    return _named(item.point, work, transmissions, sums, _expected(item))


def _rare_job(item: _Item, propagation: Propagation, max_bits: float, seed: int, generator: str) -> Job:
    """A point by importance sampling."""
    modulation, channel = item.point["modulation"], item.point["channel"]
    factors = {"awgn": math.inf, "rayleigh-block": 0.0, "rician-block": linear_k_factor(propagation.k_db)}
    error_bound(modulation, factors[channel], item.point["esno_db"])
    bits = error_counts.FLAT_SYMBOLS * phy.num_bits(modulation)
    shared = (
        item.modulation,
        np.float32(factors[channel]),
        _noise_var(item),
        np.float32(half_distance(modulation)),
    )

    def sums(batch: int, found: Weighted) -> tuple[Sums, Parts]:
        fields = {name: np.asarray(values).ravel() for name, values in found._asdict().items()}
        return {
            name: {**mean_sums(values), "trials": values.size * bits} for name, values in fields.items()
        }, {}

    work = Work(
        RareKernel(error_counts.FLAT_BLOCK, error_counts.FLAT_SYMBOLS),
        error_counts.BLOCKS,
        draw_words(seed, item.draw),
        generator,
        shared,
        lambda batch: (),
    )
    return _named({**item.point, "estimator": "importance"}, work, max_bits / bits, sums, None)


def _named(
    point: dict,
    work: Work,
    transmissions: float,
    sums: Callable[[int, Any], tuple[Sums, Parts]],
    expected: float | None,
) -> Job:
    """The job of a point whose budget is so many transmissions."""
    curve = point_name({name: value for name, value in point.items() if not name.endswith("no_db")})
    title = f"{point['modulation']} {point['channel']} {point['ebno_db']:g} dB"
    budget = math.ceil(transmissions / (work.blocks * work.kernel.realizations))
    return Job(point, title, curve, work, budget, MOST_BATCHES, sums, expected)


def _noise_var(item: _Item) -> np.float32:
    return np.float32(phy.esnodb2no(item.point["esno_db"]))


def _expected(item: _Item) -> float | None:
    """Bit errors in a batch by theory; None where there is no closed form."""
    point, kernel = item.point, item.kernel
    # In block fading theory knows the rate, but not how many bursts make it up.
    if isinstance(kernel, CodedErrorCount) or point["channel"] not in theory.CHANNELS or "scheme" in point:
        return None
    rate = float(theory.ber(point["modulation"], point["esno_db"], point["channel"], point.get("k_db")))
    return rate * kernel.blocks * kernel.realizations * kernel.payload_bits(phy.num_bits(point["modulation"]))
