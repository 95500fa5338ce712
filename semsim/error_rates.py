"""Uncoded bit and symbol error rates of a modulation over a channel, by Monte Carlo."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

import phy
from channels import GENERATORS, TDL_MODELS, Fading, linear_k_factor, pad
from phy import Modulation, ResourceGrid
from semsim import theory
from semsim.backend import prepare
from semsim.devices import Execution, Kernel, Work
from semsim.engine import Job, Progress, Sweep, execute, silent
from semsim.link import Csi, Demap, Link, fade, random_labels, send_labels, split_keys
from semsim.names import check_name, parse_range
from semsim.rare import RARE_CHANNELS, RareKernel, Weighted, error_bound, half_distance
from semsim.runs import Run
from semsim.scenario import CHANNELS, NORMALISATION, Propagation, channel_identity, flat_fading, grid_fading
from semsim.stopping import Stop
from semsim.sweep import (
    DEFAULT_GENERATOR,
    Parts,
    Sums,
    check_seed,
    count_sums,
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

FLAT_BLOCK, FLAT_SYMBOLS = 64, 256
"""Transmissions in a block, and symbols in each: what fits the cache of a core."""
GRID_BLOCK, GRID_ELEMENTS = 16, 16384
"""Grids in a block at most, and resource elements in it: fewer grids where they are large."""
BLOCKS = 32
"""Blocks in a batch: half a million symbols, or 512 grids."""
MOST_BATCHES = 2**31
MIN_ERRORS = 200
RARE_WIDTH = 0.05
"""What a point is simulated to when the user does not say."""


class Errors(NamedTuple):
    """Error counts of each transmission of a block."""

    bits: Array  # [b]
    symbols: Array  # [b]


@dataclass(frozen=True)
class ErrorCount(Kernel):
    """Kernel: a block of random labels through the link. Modulation, fading and noise are data."""

    link: Link
    realizations: int
    num_symbols: int

    def __call__(
        self, key: Key[Array, ""], mapped: tuple[()], shared: tuple[Modulation, Fading, Float[Array, ""]]
    ) -> Errors:
        modulation, fading, noise_var = shared
        key_source, key_fading, key_noise = split_keys(key)
        labels = random_labels(key_source, modulation, (self.realizations, self.num_symbols))
        gain = fade(key_fading, self.link, fading, (self.realizations,), self.num_symbols)
        decided = send_labels(key_noise, self.link, labels, modulation, gain, noise_var)
        bits = phy.count_bit_errors(labels, decided)
        # One reduction for both counts: with two, XLA fuses the whole receiver into each of them (6 times slower on
        # CPU).
        zero = jnp.int32(0)
        return Errors(*jax.lax.reduce((bits, (bits > 0).astype(jnp.int32)), (zero, zero), _both, (1,)))


def _both(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
    return left[0] + right[0], left[1] + right[1]


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
    """Bit and symbol error rates at every combination of modulation, channel and Eb/N0.

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
    propagation: Propagation | None = None,
    grid: ResourceGrid = GRID,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
) -> Sweep:
    """What `ber` simulates, point by point.

    AWGN, Rayleigh and Rician channels carry symbols one after the other; the TDL channels carry them on `grid`, and
    their Eb/N0 is charged for pilots and cyclic prefix. csi "ls" estimates the channel from the pilots and needs a
    TDL channel.

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
    Errors: ValueError for unknown names and impossible values.
    """
    prepare()
    propagation = propagation or Propagation()
    modulation, channel = names(modulation), names(channel)
    ebno_db = parse_range("ebno_db", [float(value) for value in ebno_db])
    check_seed(seed)
    check_name("generator", generator, GENERATORS)
    for name, value in (("max_bits", max_bits), ("total_bits", total_bits)):
        if value is not None and not 1 <= value < 1e15:
            raise ValueError(f"{name} must be in [1, 1e15); got {value:g}")
    if importance:
        if min_errors is not None or csi != "perfect" or demap != "nearest":
            raise ValueError(
                "importance sampling stops at rel_width, not at min_errors, and knows perfect CSI and nearest points only"
            )
        rel_width = RARE_WIDTH if rel_width is None and abs_width is None else rel_width
        for name in channel:
            check_name("channel of importance sampling", name, RARE_CHANNELS)
    elif min_errors is None and rel_width is None and abs_width is None:
        min_errors = MIN_ERRORS
    stop = Stop("ber", max_bits, min_errors, rel_width, abs_width, target, total_bits)
    items = _points(modulation, channel, ebno_db, csi, demap, propagation, grid)
    if importance:
        jobs = [_rare_job(item, propagation, max_bits, seed, generator) for item in items]
    else:
        jobs = [_job(item, max_bits, seed, generator) for item in items]
    config = {
        "command": "ber", "modulation": modulation, "channel": channel, "ebno_db": ebno_db, "csi": csi, "demap": demap,
        "importance": importance, "stop": stop.as_dict(), "seed": seed,
        "propagation": asdict(propagation), "grid": asdict(grid),
        "draws": {
            "generator": generator, "blocks": BLOCKS, "flat": [FLAT_BLOCK, FLAT_SYMBOLS], "grids": grids_in_block(grid),
        },
        "conventions": {
            "snr": "Eb/N0 per information bit; esno_db is mean Es/N0 of a data symbol, noise variance N0 per complex sample",
            "normalisation": NORMALISATION,
        },
    }  # fmt: skip
    return Sweep(jobs, stop, config)


def grids_in_block(grid: ResourceGrid) -> int:
    """How many grids a core works on at once."""
    return max(1, min(GRID_BLOCK, GRID_ELEMENTS // (grid.num_ofdm_symbols * grid.fft_size)))


class _Item(NamedTuple):
    point: dict
    draw: int
    modulation: Modulation
    fading: Fading
    kernel: ErrorCount


def _points(
    modulation: tuple[str, ...],
    channel: tuple[str, ...],
    ebno_db: tuple[float, ...],
    csi: Csi,
    demap: Demap,
    propagation: Propagation,
    grid: ResourceGrid,
) -> list[_Item]:
    for name in modulation:
        check_name("modulation", name, phy.MODULATIONS)
    for name in channel:
        check_name("channel", name, CHANNELS)
    if not (modulation and channel):
        raise ValueError("give at least one modulation and one channel")
    on_grid = [name for name in channel if name in TDL_MODELS]
    if csi == "ls" and len(on_grid) < len(channel):
        raise ValueError(f"csi ls needs pilots, which only the TDL channels have; got {', '.join(channel)}")
    fadings: dict[str, Fading] = {
        name: flat_fading(name, propagation) for name in channel if name not in on_grid
    }
    fadings |= zip(on_grid, pad([grid_fading(name, propagation, grid) for name in on_grid]), strict=True)
    flat = ErrorCount(Link(None, "perfect", demap), FLAT_BLOCK, FLAT_SYMBOLS)
    ofdm = ErrorCount(Link(grid, csi, demap), grids_in_block(grid), grid.num_data_symbols)
    # The bank is as wide as its widest member: one program serves all of them, and 8-PSK, no QAM, has its own.
    widest = max((phy.num_bits(name) for name in modulation if name != "psk8"), default=None)
    items = []
    for name in modulation:
        mapper = phy.modulation(name, None if name == "psk8" else widest)
        for place in channel:
            kernel = ofdm if place in on_grid else flat
            identity = channel_identity(place, propagation)
            for value in ebno_db:
                esno_db = round(
                    float(phy.ebnodb2esnodb(value, phy.num_bits(name), resource_grid=kernel.link.grid)), 6
                )
                point = {
                    "modulation": name, **identity, "csi": kernel.link.csi, "demap": demap,
                    "ebno_db": value, "esno_db": esno_db,
                }  # fmt: skip
                items.append(_Item(point, draw_id(identity, esno_db), mapper, fadings[place], kernel))
    return items


def _job(item: _Item, max_bits: float, seed: int, generator: str) -> Job:
    """A point by plain Monte Carlo."""
    kernel, bits = item.kernel, item.kernel.num_symbols * phy.num_bits(item.point["modulation"])
    shared = (item.modulation, item.fading, _noise_var(item))

    def sums(batch: int, found: Errors) -> tuple[Sums, Parts]:
        wrong = {"ber": np.asarray(found.bits), "ser": np.asarray(found.symbols)}  # [blocks, transmissions]
        per_transmission = {"ber": bits, "ser": kernel.num_symbols}
        sums = {name: count_sums(counts.ravel(), per_transmission[name]) for name, counts in wrong.items()}
        return sums, {name: counts.sum(axis=1).tolist() for name, counts in wrong.items()}

    work = Work(kernel, BLOCKS, draw_words(seed, item.draw), generator, shared, lambda batch: ())
    return _named(item.point, work, max_bits / bits, sums, _expected(item.point, kernel))


def _rare_job(item: _Item, propagation: Propagation, max_bits: float, seed: int, generator: str) -> Job:
    """A point by importance sampling."""
    modulation, channel = item.point["modulation"], item.point["channel"]
    factors = {"awgn": math.inf, "rayleigh-block": 0.0, "rician-block": linear_k_factor(propagation.k_db)}
    error_bound(modulation, factors[channel], item.point["esno_db"])
    bits = FLAT_SYMBOLS * phy.num_bits(modulation)
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
        RareKernel(FLAT_BLOCK, FLAT_SYMBOLS),
        BLOCKS,
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
    budget = math.ceil(transmissions / (BLOCKS * work.kernel.realizations))
    return Job(point, title, curve, work, budget, MOST_BATCHES, sums, expected)


def _noise_var(item: _Item) -> np.float32:
    return np.float32(phy.esnodb2no(item.point["esno_db"]))


def _expected(point: dict, kernel: ErrorCount) -> float | None:
    """Bit errors in a batch by theory; None where there is no closed form."""
    channel = point["channel"]
    if (
        channel not in theory.CHANNELS
    ):  # in block fading theory knows the rate, but not how many bursts make it up
        return None
    rate = float(theory.ber(point["modulation"], point["esno_db"], channel, point.get("k_db")))
    return rate * BLOCKS * kernel.realizations * kernel.num_symbols * phy.num_bits(point["modulation"])
