"""A system at one size of image: codec, link, points and price. Each is one compilation for each way onto the air."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jax.numpy as jnp
from flax import nnx

import phy
from models import Tiled
from phy import ResourceGrid
from semsim.checkpoint import read_metadata
from semsim.image_runs import image_link
from semsim.link import Csi, Demap, Link
from semsim.mcs import fraction
from semsim.names import check_kind, check_name
from semsim.padding import Size
from semsim.payload import Ledger
from semsim.scenario import Propagation, channel_identity, check_channel, check_soft, receiver_label
from semsim.sweep import draw_id
from semsim.systems import Point, System
from semsim.systems.index_coding import IndexCoding, IndexPlan

Wanted = tuple[Csi, Demap, IndexCoding, tuple[str, ...], tuple[str, ...], tuple[float, ...], Propagation]
"""What `program_of` takes beside system and grid."""


class Item(NamedTuple):
    """A point: what it is called, the number of its draws, its data, and how its indices travel as bits, if they do."""

    name: dict
    draw: int
    point: Point
    plan: IndexPlan | None


class Program(NamedTuple):
    """All points at one size of image: codec, link, and what an image costs."""

    graph: nnx.GraphDef
    state: nnx.State
    link: Link
    items: list[Item]
    ledger: Ledger


def weights_of(
    chosen: System, codec: Any, checkpoint: str | Path | None, cbr: str | None
) -> tuple[Any, Fraction | None]:
    """The codec to use, and the rate at which, where it has several. Errors: ValueError for a rate that it has not."""
    rate = None if cbr is None else fraction("cbr", cbr)
    of_rate = None
    if codec is not None:
        check_kind(
            "codec", codec, type(nnx.eval_shape(chosen.fresh)), f"systems.SYSTEMS[{chosen.name!r}].fresh()"
        )
    else:
        if checkpoint is None and rate is not None:
            of_rate = dict(chosen.rates).get(rate)
        path = Path(checkpoint) if checkpoint else of_rate or chosen.checkpoint
        if path is None or not (checkpoint or path.exists()):
            raise ValueError(
                f"no weights of {chosen.name} ship with this version: train them and give their checkpoint"
            )
        codec = chosen.load(path)
    if chosen.adapt is None and rate is not None and of_rate is None:
        known = ", and ships for " + ", ".join(str(each) for each, _ in chosen.rates) if chosen.rates else ""
        raise ValueError(f"{chosen.name} has one rate for each training{known}: leave cbr {cbr} out")
    return codec, rate


def _fitted(chosen: System, codec: Any, size: Size, rate: Fraction | None) -> Any:
    """The codec for images of a size that it fits, at the rate asked for. Errors: ValueError as `System.adapt`."""
    if chosen.adapt is not None:
        return chosen.adapt(codec, height=size[0], width=size[1], cbr=rate)
    return codec if size == codec.config.image_shape else Tiled(codec, *size)


def program_of(
    chosen: System,
    weights: Any,
    size: Size,
    rate: Fraction | None,
    grid: ResourceGrid | None,
    wanted: Wanted,
) -> Program:
    """The codec `weights` at images of `size`, which fits it. grid: None for the system's own, repeated as needed.

    Errors: ValueError as `System.adapt`, for what `wanted` says that is unknown or does not go together, and for a grid
    where the images are tiles.
    """
    codec, coding = _fitted(chosen, weights, size, rate), wanted[2]
    if grid is not None and isinstance(codec, Tiled):
        raise ValueError("a whole image is sent on the system's own grid, repeated: leave grid out")
    link, items = _points(chosen, grid or _grid(chosen, codec), *wanted)
    items = _labelled(chosen, codec, items)
    ledger = _ledger(chosen, codec, link)
    if coding.index_map == "labelled":
        ledger = coding.priced(ledger)
    return Program(*nnx.split(codec), link, items, ledger)


def check_trained(chosen: System, checkpoint: str | Path | None, items: Sequence[Item]) -> None:
    """Errors: ValueError where a codec of some orders is to carry others, or to choose among all."""
    trained: Any = read_metadata(Path(checkpoint)).get("trained") if checkpoint is not None else None
    if not trained or set(trained) >= set(chosen.modulations) - {"auto"}:
        return
    orders = {item.name["modulation"]: int(item.point.order) for item in items}
    other = [
        name for name, row in orders.items() if row < 0 or chosen.modulations[row] not in trained
    ]  # fmt: skip
    if other:
        raise ValueError(
            f"{checkpoint} was trained for {', '.join(trained)} alone, not for {', '.join(other)}: give modulation"
            f" {' '.join(trained)}, or weights of a training of all orders"
        )


def grids_entry(programs: Mapping[Size, Program]) -> dict | None:
    """The grid of all images for a run's config, or of mixed sizes the grid of each."""
    each = {
        f"{size[0]} x {size[1]}": asdict(program.link.grid) if program.link.grid else None
        for size, program in programs.items()
    }
    return each if len(each) > 1 else next(iter(each.values()))


def _grid(chosen: System, codec: Any) -> ResourceGrid:
    """The system's, repeated until it has room for an image."""
    if isinstance(codec, Tiled):
        return phy.repeated(chosen.grid, codec.config.num_tiles * chosen.grid.num_data_symbols)
    symbols = int(chosen.ledger(codec, Link()).payload.channel_uses)
    return chosen.grid if symbols <= chosen.grid.num_data_symbols else phy.repeated(chosen.grid, symbols)


def _ledger(chosen: System, codec: Any, link: Link) -> Ledger:
    if not isinstance(codec, Tiled):
        return chosen.ledger(codec, link)
    on_tile = replace(link, grid=chosen.grid) if link.grid else link
    return chosen.ledger(codec.codec, on_tile).times(codec.config.num_tiles)


def _points(
    chosen: System,
    grid: ResourceGrid,
    csi: Csi,
    demap: Demap,
    coding: IndexCoding,
    modulation: tuple[str, ...],
    channel: tuple[str, ...],
    esno_db: tuple[float, ...],
    propagation: Propagation,
) -> tuple[Link, list[Item]]:
    """The link they share, and every point."""
    for name in channel:
        check_channel(name)
    if coding.coded:
        check_soft(channel)
    check_name("csi", csi, get_args(Csi))
    if not (modulation and channel):
        raise ValueError("give at least one modulation and one channel")
    if coding.coded and demap != "nearest":
        raise ValueError("a code needs soft bits, which llr app or maxlog makes: leave demap out")
    plans = [_plan(chosen, name, coding) for name in modulation]
    orders = [
        chosen.order(name) if plan is None else plan.row for name, plan in zip(modulation, plans, strict=True)
    ]
    link, fadings, filters = image_link(channel, csi, demap, propagation, grid)
    points = []
    for name, order, plan in zip(modulation, orders, plans, strict=True):
        for place, fading, pilot_filter in zip(channel, fadings, filters, strict=True):
            identity = channel_identity(place, propagation)
            for value in esno_db:
                label = {
                    "system": chosen.name, "modulation": name, **identity, **receiver_label(csi, propagation),
                    "demap": demap, "esno_db": value,
                    **(plan.label if plan else {}),
                }  # fmt: skip
                noise_var = jnp.float32(phy.esnodb2no(value))
                point = Point(jnp.int32(order), fading, noise_var, pilot_filter=pilot_filter)
                points.append(Item(label, draw_id(identity, value), point, plan))
    return link, points


def _plan(chosen: System, modulation: str, coding: IndexCoding) -> IndexPlan | None:
    """How indices travel as bits on a modulation; None where each is a point, or none is sent."""
    if coding.index_map == "point":
        return None
    if chosen.as_bits is None:
        raise ValueError(
            f"{chosen.name} sends no indices, which index_map and code are about: leave them out"
        )
    return chosen.as_bits.plan(modulation, coding)


def _labelled(chosen: System, codec: Any, items: list[Item]) -> list[Item]:
    """The points with the labellings of their codebooks, each made once."""
    plans = {item.plan.row: item.plan for item in items if item.plan is not None}
    if chosen.as_bits is None or not plans:
        return items
    found = {row: jnp.asarray(chosen.as_bits.labels(codec, plan)) for row, plan in plans.items()}
    return [
        item._replace(point=replace(item.point, labels=found[item.plan.row])) if item.plan else item
        for item in items
    ]
