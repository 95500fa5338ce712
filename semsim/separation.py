"""The digital baseline: source codec, channel code and modulation, each on its own, at the channel uses of a learned system.

    image -> best quality that fits -> bytes -> frame (CRC, LDPC, QAM) -> grid, fading, noise -> bytes, or an outage -> image

Which images fit, and how they look when they arrive, is known before anything is sent; what the link decides is which
transmissions arrive. A lost one shows what the failure policy says, and is counted as an outage.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, UInt8

import phy
from channels import GENERATORS
from semsim.backend import prepare
from semsim.codecs import CODECS, codec
from semsim.coding import Decoding
from semsim.contenders import contenders
from semsim.data import ImageSet, image_set
from semsim.devices import Execution, Work
from semsim.energy import Sent, energy_sums
from semsim.engine import Job, Progress, Sweep, execute, silent
from semsim.frame import Frame
from semsim.image_runs import (
    ImageOrder,
    check_realizations,
    check_room,
    conventions,
    data_entry,
    draws_entry,
    image_link,
    one_size,
    quality_stop,
    row_entry,
)
from semsim.link import Csi, Link, declared
from semsim.mcs import Scheme, fraction, frames, schemes
from semsim.names import check_kind, check_name, parse_range
from semsim.payload import Ledger, Line, grid_overhead
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
from semsim.shared_transmission import Program, SharedTransmission, programs
from semsim.sources import Replacements, Sources, sources_of
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
from semsim.systems.ujscc import GRID
from semsim.transmission import Arrived, OnAir, Transmission

DECODING = Decoding(50, "sum-product", precision="float32")
"""Of frames, where nothing else is asked for: with offset min-sum in int8 and 20 iterations two to four times as many short
frames are lost."""
OnFailure = Literal["grey", "mean-image", "last-good"]


@dataclass(frozen=True)
class Separation:
    """How a source is coded.

    codec: of `CODECS`. coderate: fractions such as "1/2", each with every modulation; "auto" takes those that NR has for the
    modulation (`semsim.mcs`). cbr: data symbols per source sample. on_failure: what a lost image shows: grey; the mean of
    all images (declared: the receiver knows it); or the last image that arrived in its stream, a block of images.
    header_coderate: of a protected header; None: the first bytes are part of the body. decoding: of the body, by default the
    rule that loses least; a header has `frame.HEADER_DECODING`.
    Errors: ValueError for unknown names and fractions that are none.
    """

    codec: tuple[str, ...] = ("jpeg",)
    coderate: tuple[str, ...] = ("auto",)
    cbr: str = "1/12"
    on_failure: OnFailure = "grey"
    header_coderate: str | None = None
    decoding: Decoding = DECODING

    def __post_init__(self) -> None:
        for name in self.codec:
            check_name("codec", name, CODECS)
        check_name("on_failure", self.on_failure, ("grey", "mean-image", "last-good"))
        if not (self.codec and self.coderate):
            raise ValueError("give at least one codec and one coderate")
        for rate in self.coderate if self.coderate != ("auto",) else ():
            fraction("coderate", rate)
        fraction("cbr", self.cbr)
        if self.header_coderate is not None:
            fraction("header_coderate", self.header_coderate)


def run(
    images: ImageSet | np.ndarray | str | Path,
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    esno_db: float | str | Sequence[float | str],
    separation: Separation = Separation(),  # noqa: B008 (frozen)
    *,
    realizations: int = 1,
    csi: Csi = "perfect",
    width: float | None = None,
    total_images: float | None = None,
    propagation: Propagation | None = None,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    title: str = "",
    execution: Execution = Execution(),  # noqa: B008 (frozen)
    out: str | Path | None = None,
    resume: bool = False,
    force_config: bool = False,
    progress: Progress = silent,
) -> Run:
    """Quality and outage of the digital baseline at every combination of codec, MCS, channel and Es/N0.

    What is simulated: as `sweep`. Where, and what happens to the rows: as `engine.execute`.
    """
    wanted = sweep(
        images, modulation, channel, esno_db, separation, realizations=realizations, csi=csi, width=width,
        total_images=total_images, propagation=propagation, generator=generator, seed=seed, title=title,
    )  # fmt: skip
    return execute(wanted, execution, out, resume=resume, force_config=force_config, progress=progress)


def sweep(
    images: ImageSet | np.ndarray | str | Path,
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    esno_db: float | str | Sequence[float | str],
    separation: Separation = Separation(),  # noqa: B008 (frozen)
    *,
    realizations: int = 1,
    csi: Csi = "perfect",
    width: float | None = None,
    total_images: float | None = None,
    propagation: Propagation | None = None,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    title: str = "",
) -> Sweep:
    """What `run` simulates, point by point.

    modulation: names, or "auto": all that NR has. Where it or the coderate is auto, schemes that cannot be the best of a
    channel and an Es/N0 are left out there (`semsim.contenders`), and the config says which are simulated.
    Every image is coded once for every codec and frame, at the best quality that fits; one that does not fit at any quality
    is lost at every point, and counted in `unfit`.
    The grid is that of the learned systems, repeated, so that equal cbr costs equal channel uses. Draws are those of the
    learned systems: `semsim compare` pairs their runs with these. Other arguments as `simulation.sweep`.
    Metrics: psnr and ssim with failures shown as on_failure says; outage, images that did not arrive; unfit, those that fit
    at no quality; header_lost and body_lost, of all frames, those of unfit images being zeros; undetected, wrong bits behind
    checks that hold, which count as lost although a receiver would not know.
    Errors: ValueError for unknown names, impossible values, and frames without room for a byte.
    """
    prepare()
    images = image_set(images)
    check_room(images)
    check_realizations(realizations)
    check_name("generator", generator, GENERATORS)
    check_seed(seed)
    channel, propagation = names(channel), propagation or Propagation()
    check_kind("propagation", propagation, Propagation, "Propagation(speed=30.0)")
    for name in channel:
        check_channel(name)
    check_soft(channel)
    esno_db = parse_range("esno_db", esno_db)
    wanted = schemes(names(modulation), separation.coderate)
    samples = 3 * math.prod(one_size(images, "separation"))
    symbols = int(fraction("cbr", separation.cbr) * samples)
    if symbols < 1:
        raise ValueError(
            f"cbr {separation.cbr} leaves no channel uses for {samples} samples: take a larger one"
        )
    link, fadings, filters = image_link(channel, csi, "nearest", propagation, phy.repeated(GRID, symbols))
    automatic = ("auto",) in (names(modulation), separation.coderate)
    plans = frames(wanted, symbols, separation.header_coderate, separation.decoding, automatic=automatic)
    ledger = _ledger(samples, symbols, link, separation)
    stop = quality_stop(images, width, total_images)
    shown = ImageOrder(images.sizes, seed, images.groups)
    if separation.on_failure == "last-good" and shown.block == 1:
        size = "x".join(map(str, images.sizes[0]))
        raise ValueError(
            "on_failure last-good shows the last image that arrived in a block, and one of "
            f"{size} pixels (height x width) is a block of its own: take grey or mean-image, or smaller images"
        )
    kept = {
        name: contenders(plans, link, name, fading, esno_db, near_bound=separation.decoding == Separation().decoding)
        if automatic else dict.fromkeys(esno_db, list(plans))
        for name, fading in zip(channel, fadings, strict=True)
    }  # fmt: skip
    shared = programs(plans)
    replacements = Replacements(images.images, separation.on_failure)
    jobs = []
    for name in dict.fromkeys(separation.codec):
        sources = sources_of(name, images.images, plans, replacements)
        for (scheme, plan), place in product(plans.items(), zip(channel, fadings, filters, strict=True)):
            source, identity = sources[scheme], channel_identity(place[0], propagation)
            program = shared.get(scheme)
            if program is None:
                kernel = Transmission(link, realizations, shown.block, plan)
            else:
                kernel = SharedTransmission(
                    link, realizations, shown.block, program.shape, program.width, separation.decoding
                )
            for value in (value for value in esno_db if scheme in kept[place[0]][value]):
                point = {
                    "system": "separation", "codec": name, "modulation": scheme[0], "coderate": scheme[1], **identity,
                    **receiver_label(csi, propagation), "demap": separation.decoding.llr, "esno_db": value,
                }  # fmt: skip
                no = np.float32(phy.esnodb2no(value))
                air = OnAir(place[1], no, place[2], program.code if program else None)
                words = draw_words(seed, draw_id(identity, value))
                jobs.append(
                    Job(
                        point=point,
                        title=f"{name} {scheme[0]} {scheme[1]} {place[0]} {value:g} dB",
                        curve=point_name({key: x for key, x in point.items() if key != "esno_db"}),
                        work=Work(
                            kernel,
                            shown.blocks,
                            words,
                            generator,
                            air,
                            partial(_sent, shown, program, source.payloads),
                        ),
                        made_up=partial(_sent, shown, program, partial(_zeros, plan.num_bytes)),
                        budget=shown.batches,
                        most=shown.batches,
                        sums=partial(_sums, shown=shown, source=source, plan=plan),
                    )
                )
    config = {
        "command": "run", "title": title, "system": "separation", "separation": asdict(separation),
        "modulation": list(names(modulation)), "channel": identities(channel, propagation), "esno_db": esno_db,
        "csi": csi, "stop": stop.as_dict(), "seed": seed, "propagation": asdict(propagation),
        "grid": asdict(link.grid) if link.grid else None,
        "schemes": _chosen(kept, len(plans)),
        "frames": {
            f"{name} {rate}": {line.what: f"{line.channel_uses:g} channel uses, {line.note}" for line in plan.lines()}
            for (name, rate), plan in plans.items()
        },
        "codecs": {name: codec(name).note for name in separation.codec},
        "draws": draws_entry(generator, realizations, shown),
        "data": data_entry(images),
        "ledger": ledger.as_dict(), 
        "row": {"cbr": ledger.cbr, "cbr_payload": ledger.cbr_payload, **row_entry(images)},
        "conventions": conventions(channel), **interference(channel, propagation, link.grid),
    }  # fmt: skip
    return Sweep(jobs, stop, config)


def _chosen(kept: Mapping[str, Mapping[float, list[Scheme]]], count: int) -> dict[str, dict[str, str]]:
    """Which schemes are simulated where, for a run's config."""
    return {
        channel: {
            f"{value:g} dB": f"{len(names)} of {count}: " + ", ".join(" ".join(name) for name in names)
            for value, names in places.items()
        }
        for channel, places in kept.items()
    }


def _ledger(samples: int, symbols: int, link: Link, separation: Separation) -> Ledger:
    """What one image costs on air, and what the receiver is given for nothing."""
    plan = [
        Line("source codec, modulation, code rate", 0, "declared: fixed in the plan of a point"),
        Line("size of the image", 0, "declared: fixed in the plan"),
    ]
    if separation.on_failure == "mean-image":
        plan.append(Line("mean image", 0, "declared: shown in place of lost ones"))
    payload = Line("frame", symbols, "file, CRC, parity and header")
    return Ledger(samples, payload, (*grid_overhead(link.grid, symbols), *plan, *declared(link)))


def _sent(
    shown: ImageOrder,
    program: Program | None,
    payloads: Callable[[Int[np.ndarray, "blocks b"]], UInt8[np.ndarray, "blocks b n"]],
    batch: int,
) -> Any:
    """What is sent in a batch, as its kernel takes it. payloads: of the images with these numbers."""
    data = payloads(shown.streams(batch))
    return data if program is None else program.words(data)


def _zeros(num_bytes: int, chosen: Int[np.ndarray, "blocks b"]) -> UInt8[np.ndarray, "blocks b n"]:
    """Payloads for a plan: no image is coded for it."""
    return np.zeros((*chosen.shape, num_bytes), np.uint8)


def _sums(
    batch: int, found: Arrived, *, shown: ImageOrder, source: Sources, plan: Frame
) -> tuple[Sums, Parts]:
    streams, lost = shown.streams(batch), np.asarray(found.lost)  # [blocks, b], [blocks, b, draws, parts]
    sent = np.broadcast_to(source.fits(streams)[..., None], lost.shape[:3])
    ok = ~lost.any(axis=-1) & sent
    quality = shown.real(batch, source.quality(streams, ok).mean(axis=2))
    groups = shown.photographs(batch)
    sums: Sums = {name: mean_sums(quality[:, place], groups) for place, name in enumerate(("psnr", "ssim"))}
    parts: Parts = {name: np.round(quality[:, place], 6).tolist() for place, name in enumerate(sums)}
    events = {"outage": ~ok, "unfit": ~sent, "undetected": np.asarray(found.unseen)}
    events |= {f"{part.what}_lost": lost[..., number] for number, part in enumerate(plan.parts)}
    for name, values in events.items():
        errors = shown.real(batch, values.sum(axis=2))
        sums[name], parts[name] = count_sums(errors, lost.shape[2], groups), errors.tolist()
    fits = shown.real(batch, source.fits(streams))
    # What is sent is the same in every draw.
    air = Sent._make(shown.real(batch, np.asarray(values)[..., 0])[fits] for values in found.sent)
    return sums | energy_sums(air, None if groups is None else groups[fits]), parts
