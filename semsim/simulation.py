"""Images through a system at every point of a sweep: quality and symbol errors, with intervals."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import phy
from channels import GENERATORS
from models import Tiled
from phy import ResourceGrid
from semsim.backend import prepare
from semsim.checkpoint import named_arrays, read_metadata
from semsim.data import ImageSet, image_set
from semsim.devices import Evaluator, Execution, Work
from semsim.engine import Job, Progress, Sweep, execute, silent
from semsim.image_runs import (
    ImageOrder,
    check_realizations,
    conventions,
    data_entry,
    draws_entry,
    image_link,
    one_size,
    row_entry,
)
from semsim.link import Csi, Demap, Link
from semsim.mcs import fraction
from semsim.names import check_name, parse_range
from semsim.payload import Ledger
from semsim.quality import Pictures, Quality, sums_of
from semsim.runs import Run
from semsim.scenario import (
    Propagation,
    channel_identity,
    check_channel,
    check_soft,
    identities,
    interference,
    receiver_label,
)
from semsim.stopping import Stop
from semsim.sweep import DEFAULT_GENERATOR, check_seed, draw_id, draw_words, names, point_name
from semsim.systems import SYSTEMS, Delivered, Point, System
from semsim.systems.index_coding import IndexCoding, IndexPlan


def run(
    system: str,
    images: ImageSet | np.ndarray | str | Path,
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    esno_db: Sequence[float],
    *,
    codec: nnx.Module | None = None,
    checkpoint: Path | None = None,
    realizations: int = 1,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    coding: IndexCoding = IndexCoding(),  # noqa: B008 (frozen)
    cbr: str | None = None,
    whole: bool = False,
    width: float | None = None,
    total_images: float | None = None,
    propagation: Propagation | None = None,
    grid: ResourceGrid | None = None,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    title: str = "",
    execution: Execution = Execution(),  # noqa: B008 (frozen)
    out: Path | None = None,
    resume: bool = False,
    force_config: bool = False,
    progress: Progress = silent,
) -> Run:
    """PSNR, SSIM and symbol error rate of a system at every combination of modulation, channel and Es/N0.

    What is simulated: as `sweep`. Where, and what happens to the rows: as `engine.execute`.
    Errors: besides theirs, FloatingPointError that names the point, for a metric that is not finite.
    """
    wanted = sweep(
        system,
        images,
        modulation,
        channel,
        esno_db,
        codec=codec,
        checkpoint=checkpoint,
        realizations=realizations,
        csi=csi,
        demap=demap,
        coding=coding,
        cbr=cbr,
        whole=whole,
        width=width,
        total_images=total_images,
        propagation=propagation,
        grid=grid,
        generator=generator,
        seed=seed,
        title=title,
    )
    return execute(wanted, execution, out, resume=resume, force_config=force_config, progress=progress)


def sweep(
    system: str,
    images: ImageSet | np.ndarray | str | Path,
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    esno_db: Sequence[float],
    *,
    codec: nnx.Module | None = None,
    checkpoint: Path | None = None,
    realizations: int = 1,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    coding: IndexCoding = IndexCoding(),  # noqa: B008 (frozen)
    cbr: str | None = None,
    whole: bool = False,
    width: float | None = None,
    total_images: float | None = None,
    propagation: Propagation | None = None,
    grid: ResourceGrid | None = None,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    title: str = "",
) -> Sweep:
    """What `run` simulates, point by point.

    Every channel is met on the same resource grid, so all curves cost the same channel uses. Weights come from `codec`,
    else from `checkpoint`, else from the ones that ship. Intervals are over images, each the mean over its
    `realizations` of the channel, or, where these are tiles, over the photographs that they were cut from. A point ends
    when the 95 % interval of its PSNR reaches no further than `width` dB, or with the last image;
    images come in an order drawn from the seed, so that those of a point that ends early are a random sample.
    total_images: budget of the sweep; what the points leave of it goes to those with the widest intervals. generator:
    of random bits, one of `channels.GENERATORS`. title: kept in the run's config.
    coding: of systems that send indices, as bits and under a channel code: rows have a `bler` then, of one word for each
    image and realisation, and `ser` counts wrong indices; each modulation compiles once. cbr: payload symbols per source
    sample, such as 1/6, of systems with several rates; default: all that the codec has. whole: images larger than those of
    a codec of one size go as tiles side by side in one transmission, on the system's grid repeated, and count as one; other
    codecs take them as they are.
    Errors: ValueError for unknown names, impossible values and images the codec does not take.
    """
    prepare()
    images = photographs = image_set(images)
    one_size(photographs, system)
    check_realizations(realizations)
    check_name("generator", generator, GENERATORS)
    check_seed(seed)
    modulation, channel, propagation = names(modulation), names(channel), propagation or Propagation()
    esno_db = parse_range("esno_db", [float(value) for value in esno_db])
    if total_images is not None and width is None:
        raise ValueError(
            "without a width every point takes all images, and total_images has nothing to give: add a width"
        )
    stop = Stop("psnr", len(images.images), abs_width=width, total=total_images)
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    used = _codec(chosen, codec, checkpoint, images.images, whole, cbr)
    if grid is not None and isinstance(used, Tiled):
        raise ValueError("a whole image is sent on the system's own grid, repeated: leave grid out")
    link, items = _points(
        chosen, grid or _grid(chosen, used), csi, demap, coding, modulation, channel, esno_db, propagation
    )
    _check_trained(chosen, None if codec is not None else checkpoint, items)
    ledger = _ledger(chosen, used, link)
    items = _labelled(chosen, used, items)
    if coding.index_map == "labelled":
        ledger = coding.priced(ledger)
    graph, state = nnx.split(used)
    shown = ImageOrder(len(images.images), seed, images.groups)
    trials = {"ser": int(ledger.payload.channel_uses) * realizations, "bler": realizations}
    jobs = [
        Job(
            point=item.name,
            title=f"{item.name['modulation']} {item.name['channel']} {item.name['esno_db']:g} dB",
            curve=point_name({key: value for key, value in item.name.items() if key != "esno_db"}),
            work=Work(
                Quality(chosen, graph, link, realizations, shown.block, item.plan), shown.blocks,
                draw_words(seed, item.draw), generator, (state, item.point),
                lambda batch: photographs.images[shown.streams(batch)],
            ),
            budget=shown.batches,
            most=shown.batches,
            sums=partial(sums_of, point=item.name, shown=shown, trials=trials),
        )
        for item in items
    ]  # fmt: skip
    config = {
        "command": "run", "title": title, "system": system, "modulation": modulation,
        "channel": identities(channel, propagation), "esno_db": esno_db,
        "csi": csi, "demap": demap, "stop": stop.as_dict(), "seed": seed,
        "propagation": asdict(propagation), "grid": asdict(link.grid) if link.grid else None,
        "draws": draws_entry(generator, realizations),
        "data": data_entry(images),
        "weights": {"checkpoint": str(checkpoint) if checkpoint else None, "sha256": _digest(used)},
        "ledger": ledger.as_dict(), "row": {"cbr": ledger.cbr, "cbr_payload": ledger.cbr_payload, **row_entry(images)},
        "conventions": conventions(channel), **interference(channel, propagation, link.grid),
    }  # fmt: skip
    if (
        coding != IndexCoding()
    ):  # what is not used is not said, so that runs of earlier versions can be resumed
        config["coding"] = asdict(coding)
    return Sweep(jobs, stop, config)


def reconstruct(
    system: str,
    images: np.ndarray,
    modulation: str,
    channel: str,
    esno_db: float,
    *,
    codec: nnx.Module | None = None,
    checkpoint: Path | None = None,
    csi: Csi = "perfect",
    coding: IndexCoding = IndexCoding(),  # noqa: B008 (frozen)
    cbr: str | None = None,
    whole: bool = False,
    propagation: Propagation | None = None,
    seed: int = 0,
) -> Delivered:
    """The images themselves after one realisation at one point, the first one of `run`. Arguments and errors as there."""
    prepare()
    check_seed(seed)
    wanted = (modulation,), (channel,), parse_range("esno_db", [float(esno_db)]), propagation or Propagation()
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    used = _codec(chosen, codec, checkpoint, images, whole, cbr)
    link, items = _points(chosen, _grid(chosen, used), csi, "nearest", coding, *wanted)
    _check_trained(chosen, None if codec is not None else checkpoint, items)
    ((_, draw, point, plan),) = _labelled(chosen, used, items)
    graph, state = nnx.split(used)
    shown = ImageOrder(len(images), seed)
    work = Work(
        Pictures(chosen, graph, link, shown.block, plan), shown.blocks, draw_words(seed, draw), DEFAULT_GENERATOR,
        (state, point), lambda batch: images[shown.streams(batch)],
    )  # fmt: skip
    batches = [found for _, found in Evaluator().batches(work, range(shown.batches))]
    place = np.argsort(shown.order)  # back into the order of the caller
    return jax.tree.map(
        lambda *leaves: np.concatenate([leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves])[place],
        *batches,
    )


def _codec(
    chosen: System, codec: Any, checkpoint: Path | None, images: np.ndarray, whole: bool, cbr: str | None
) -> Any:
    """The codec to use, checked against the images it is to carry, at the rate asked for."""
    rate = None if cbr is None else fraction("cbr", cbr)
    of_rate = None
    if codec is None:
        if checkpoint is None and rate is not None:
            of_rate = dict(chosen.rates).get(rate)
        path = Path(checkpoint) if checkpoint else of_rate or chosen.checkpoint
        if path is None or not (checkpoint or path.exists()):
            raise ValueError(
                f"no weights of {chosen.name} ship with this version: train them and give their checkpoint"
            )
        codec = chosen.load(path)
    height, width = images.shape[1:3]
    if chosen.adapt is not None:
        return chosen.adapt(codec, height=height, width=width, cbr=rate)
    if rate is not None and of_rate is None:
        known = ", and ships for " + ", ".join(str(each) for each, _ in chosen.rates) if chosen.rates else ""
        raise ValueError(f"{chosen.name} has one rate for each training{known}: leave cbr {cbr} out")
    size = codec.config.image_shape[0]
    if (height, width) == codec.config.image_shape:
        return codec
    if whole:
        return Tiled(codec, height, width)
    raise ValueError(
        f"the codec takes images of {size} x {size}; got {height} x {width}: cut them into tiles of {size}, or send them "
        "whole, tiles side by side"
    )


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


class _Item(NamedTuple):
    """A point: what it is called, the number of its draws, its data, and how its indices travel as bits, if they do."""

    name: dict
    draw: int
    point: Point
    plan: IndexPlan | None


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
) -> tuple[Link, list[_Item]]:
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
                points.append(_Item(label, draw_id(identity, value), point, plan))
    return link, points


def _check_trained(chosen: System, checkpoint: Path | None, items: Sequence[_Item]) -> None:
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


def _plan(chosen: System, modulation: str, coding: IndexCoding) -> IndexPlan | None:
    """How indices travel as bits on a modulation; None where each is a point, or none is sent."""
    if coding.index_map == "point":
        return None
    if chosen.as_bits is None:
        raise ValueError(
            f"{chosen.name} sends no indices, which index_map and code are about: leave them out"
        )
    return chosen.as_bits.plan(modulation, coding)


def _labelled(chosen: System, codec: Any, items: list[_Item]) -> list[_Item]:
    """The points with the labellings of their codebooks, each made once."""
    plans = {item.plan.row: item.plan for item in items if item.plan is not None}
    if chosen.as_bits is None or not plans:
        return items
    found = {row: jnp.asarray(chosen.as_bits.labels(codec, plan)) for row, plan in plans.items()}
    return [
        item._replace(point=replace(item.point, labels=found[item.plan.row])) if item.plan else item
        for item in items
    ]


def _digest(codec: nnx.Module) -> str:
    """A fingerprint of the weights, by which two runs know that they used the same."""
    found = hashlib.sha256()
    for name, array in sorted(named_arrays(codec.codec if isinstance(codec, Tiled) else codec).items()):
        found.update(name.encode() + array.tobytes())
    return found.hexdigest()[:16]
