"""The points of a sweep of error rates, and the work that each is for the devices."""

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import product
from typing import Any, NamedTuple, get_args

import numpy as np

import phy
from channels import Fading, linear_k_factor
from phy import Modulation, PilotFilter, ResourceGrid
from semsim import error_counts, theory
from semsim.antennas import Antennas
from semsim.coded_rates import CodedErrorCount, coded_kernel
from semsim.coding import Coding
from semsim.devices import Work
from semsim.engine import Job
from semsim.error_counts import ErrorCount, error_count
from semsim.link import Csi, Demap, Link
from semsim.names import check_name
from semsim.rare import RareKernel, Weighted, error_bound, half_distance
from semsim.scenario import (
    Propagation,
    channel_identity,
    check_channel,
    check_soft,
    dialect_of,
    flat_fading,
    grid_fadings,
    needs_grid,
    pilot_filters,
    receiver_label,
)
from semsim.sweep import Parts, Sums, draw_id, draw_words, mean_sums, point_name

MOST_BATCHES = 2**31


class Place(NamedTuple):
    """A channel, and the link that it is met on."""

    link: Link
    fading: Fading
    pilot_filter: PilotFilter | None


class Item(NamedTuple):
    """A point, the words of its draws, and what it is made of."""

    point: dict
    draw: int
    modulation: Modulation
    place: Place
    kernel: ErrorCount | CodedErrorCount


def points(
    modulation: tuple[str, ...],
    channel: tuple[str, ...],
    ebno_db: tuple[float, ...],
    csi: Csi,
    demap: Demap,
    coding: Coding,
    antennas: Antennas,
    propagation: Propagation,
    grid: ResourceGrid,
) -> list[Item]:
    """Every combination, in the order modulation, channel, Eb/N0, transmissions. Errors: ValueError for unknown names and
    for what does not go together."""
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
        name: Place(Link(grid, csi, demap, antennas), fading, found)
        for name, fading, found in zip(on_grid, gridded, filters, strict=True)
    }
    for name in channel:
        if name not in places:
            link = Link(None, "perfect", demap, antennas, dialect_of(name))
            places[name] = Place(link, flat_fading(name, propagation, antennas.coherence), None)
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
                esno_db = round(float(esno_db), 6) + 0.0  # no -0.0
                point = {
                    "modulation": name, **identity, **receiver_label(place.link.csi, propagation), **several, **kernel.label,
                    "ebno_db": value, "esno_db": esno_db,
                }  # fmt: skip
                items.append(Item(point, draw_id(identity, esno_db), mapper, place, kernel))
    return items


def _coded_kernels(link: Link, modulation: str, coding: Coding) -> list[CodedErrorCount]:
    """One for each number of transmissions."""
    block = coding.block(phy.num_bits(modulation))
    return [coded_kernel(link, block, coding, count) for count in dict.fromkeys(coding.transmissions)]


def job(item: Item, max_bits: float, seed: int, generator: str) -> Job:
    """A point by plain Monte Carlo."""
    kernel, modulation = item.kernel, item.point["modulation"]
    work = Work(
        kernel, kernel.blocks, draw_words(seed, item.draw), generator,
        (item.modulation, item.place.fading, _noise_var(item), item.place.pilot_filter), lambda batch: (),
    )  # fmt: skip
    sums = partial(kernel.sums, num_bits_per_symbol=phy.num_bits(modulation))
    transmissions = max_bits / kernel.payload_bits(phy.num_bits(modulation))
    return _named(item.point, work, transmissions, sums, _expected(item))


def rare_job(item: Item, propagation: Propagation, max_bits: float, seed: int, generator: str) -> Job:
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


def _noise_var(item: Item) -> np.float32:
    return np.float32(phy.esnodb2no(item.point["esno_db"]))


def _expected(item: Item) -> float | None:
    """Bit errors in a batch by theory; None where there is no closed form."""
    point, kernel = item.point, item.kernel
    # In block fading theory knows the rate, but not how many bursts make it up.
    if isinstance(kernel, CodedErrorCount) or point["channel"] not in theory.CHANNELS or "scheme" in point:
        return None
    rate = float(theory.ber(point["modulation"], point["esno_db"], point["channel"], point.get("k_db")))
    return rate * kernel.blocks * kernel.realizations * kernel.payload_bits(phy.num_bits(point["modulation"]))
