"""Images through a system at every point of a sweep: quality and symbol errors, with intervals."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from channels import GENERATORS
from phy import ResourceGrid
from semsim.backend import prepare
from semsim.checkpoint import named_arrays
from semsim.data import ImageSet, image_set
from semsim.devices import Evaluator, Execution, Work
from semsim.engine import Job, Progress, Sweep, execute, silent
from semsim.image_runs import (
    ImageOrder,
    check_realizations,
    check_room,
    conventions,
    data_entry,
    draws_entry,
    one_size,
    quality_stop,
    row_entry,
)
from semsim.link import Csi, Demap
from semsim.names import check_kind, check_name, parse_range
from semsim.padding import Size, ledger_of, ledgers_entry, pixels, prices
from semsim.programs import check_trained, grids_entry, program_of, weights_of
from semsim.quality import Pictures, Quality, sums_of
from semsim.runs import Run
from semsim.scenario import (
    Propagation,
    identities,
    interference,
)
from semsim.sweep import DEFAULT_GENERATOR, check_seed, draw_words, names, point_name
from semsim.systems import SYSTEMS, Delivered
from semsim.systems.index_coding import IndexCoding


def run(
    system: str,
    images: ImageSet | np.ndarray | str | Path,
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    esno_db: float | str | Sequence[float | str],
    *,
    codec: nnx.Module | None = None,
    checkpoint: str | Path | None = None,
    realizations: int = 1,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    coding: IndexCoding = IndexCoding(),  # noqa: B008 (frozen)
    cbr: str | None = None,
    width: float | None = None,
    total_images: float | None = None,
    propagation: Propagation | None = None,
    grid: ResourceGrid | None = None,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    title: str = "",
    execution: Execution = Execution(),  # noqa: B008 (frozen)
    out: str | Path | None = None,
    resume: bool = False,
    force_config: bool = False,
    progress: Progress = silent,
) -> Run:
    """PSNR, SSIM and symbol error rate of a system at every combination of modulation, channel and Es/N0.

    Every channel is met on the same resource grid, so that all curves cost the same channel uses. Intervals are over images,
    each the mean over its `realizations` of the channel, or, where these are tiles, over the photographs that they were cut
    from.

    What is simulated:
    - system: a name, of `semsim.systems.SYSTEMS`.
    - images: an `ImageSet`, an array [n, height, width, 3] (uint8, or floating point in [0, 1]), the name of a set or a
      path; of any size, and of mixed sizes. They are padded to what the codec takes (`semsim.padding`); those of a codec of
      one size go as tiles side by side in one transmission, on the system's grid repeated, and count as one. Each padded
      size compiles once. Of mixed sizes, rows give the mean CBR of the images and the largest.
    - modulation: one name or several, of those that the system has.
    - channel: one name or several, of awgn, rayleigh-block, rician-block, tdl-a to tdl-e, recorded:FILE; or a dialect:NAME.
    - esno_db: a number, text such as "0:30:5" (stop included), or several of them; dB per data symbol.
    - codec = None, checkpoint = None: a codec at hand, or a weights file, in place of the weights that ship.
    - realizations = 1: channel draws of each image, up to 100,000.
    - csi = "perfect": what the receiver knows of the channel; "ls", "lmmse" and "robust" estimate it from the pilots.
    - demap = "nearest": the nearest point, or "app": the most likely value of each bit.
    - coding = IndexCoding(), each index a point: of systems that send indices, as bits and under a channel code. Rows have
      a `bler` then, of one word for each image and realisation, and `ser` counts wrong indices; each modulation compiles
      once.
    - cbr = None, all that the codec has: payload symbols per source sample, such as "1/6", of systems with several rates.
    - propagation = None, which is Propagation(): delay spread (s), carrier (Hz), speed (m/s), K-factor (dB).
    - grid = None, the system's own, repeated as needed: resource grid.
    - seed = 0: in [0, 2^32). generator = "threefry2x32": of random bits, one of `channels.GENERATORS`.

    How long: every point takes all images, unless
    - width = None: dB; a point ends when the 95 % interval of its PSNR reaches no further. Images come in an order drawn
      from the seed, so that those of a point that ends early are a random sample.
    - total_images = None: budget of the sweep; what the points leave of it goes to those with the widest intervals.

    Where, and what becomes of it:
    - execution = Execution(), all devices: on how many, in what portions; results do not depend on it.
    - out = None, in memory only: run folder to write. title = "": kept in its config.
    - resume = False: go on with the run in `out`, or help the processes that fill it. force_config = False: also under a
      changed stop rule, other points or another code version.
    - progress = silent: called with what is at hand, finished points and all points; `semsim.progress_bar` makes one.

    Ctrl-C and SIGTERM end the run with the batches that are finished.
    Errors: ValueError for unknown names and impossible values before anything is compiled; OSError when a finished batch
    cannot be stored; FloatingPointError that names the point, for a metric that is not finite.
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
    esno_db: float | str | Sequence[float | str],
    *,
    codec: nnx.Module | None = None,
    checkpoint: str | Path | None = None,
    realizations: int = 1,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    coding: IndexCoding = IndexCoding(),  # noqa: B008 (frozen)
    cbr: str | None = None,
    width: float | None = None,
    total_images: float | None = None,
    propagation: Propagation | None = None,
    grid: ResourceGrid | None = None,
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    title: str = "",
) -> Sweep:
    """What `run` simulates, point by point; arguments as there. Errors: ValueError for what is unknown or impossible."""
    prepare()
    images = image_set(images)
    check_room(images)
    check_realizations(realizations)
    check_name("generator", generator, GENERATORS)
    check_seed(seed)
    modulation, channel, propagation = names(modulation), names(channel), propagation or Propagation()
    check_kind("propagation", propagation, Propagation, "Propagation(speed=30.0)")
    check_kind("coding", coding, IndexCoding, "IndexCoding('labelled', 'ldpc', '1/2')")
    esno_db = parse_range("esno_db", esno_db)
    stop = quality_stop(images, width, total_images)
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    weights, rate = weights_of(chosen, codec, checkpoint, cbr)
    sizes = images.sizes
    sent = {size: weights.config.fitting(*size) for size in set(sizes)}
    wanted = csi, demap, coding, modulation, channel, esno_db, propagation
    programs = {
        size: program_of(chosen, weights, size, rate, grid, wanted) for size in sorted(set(sent.values()))
    }
    any_size = next(iter(programs.values()))  # its points and numerology are those of every size
    check_trained(chosen, None if codec is not None else checkpoint, any_size.items)
    of_size = {size: ledger_of(size, to, programs[to].ledger) for size, to in sent.items()}
    ledgers = [of_size[size] for size in sizes]
    shown = ImageOrder(sizes, seed, images.groups)
    symbols = np.array([int(ledger.payload.channel_uses) for ledger in ledgers])
    as_they_are = not images.mixed and sizes[0] in programs

    def work(size: Size, place: int) -> Work:
        program = programs[size]
        item, to = program.items[place], None if as_they_are else size
        return Work(
            Quality(chosen, program.graph, program.link, realizations, shown.block, item.plan), shown.blocks,
            draw_words(seed, item.draw), generator, (program.state, item.point),
            lambda batch: pixels(images, shown.streams(batch), to),
            next(batch for batch in range(shown.batches) if size_of(batch) == size),
        )  # fmt: skip

    def size_of(batch: int) -> Size:
        return sent[sizes[shown.chosen(batch)[0]]]

    jobs = []
    for place, item in enumerate(any_size.items):
        works = {size: work(size, place) for size in programs}
        jobs.append(
            Job(
                point=item.name,
                title=f"{item.name['modulation']} {item.name['channel']} {item.name['esno_db']:g} dB",
                curve=point_name({key: value for key, value in item.name.items() if key != "esno_db"}),
                work=works[size_of(0)],
                budget=shown.batches,
                most=shown.batches,
                sums=partial(sums_of, point=item.name, shown=shown, draws=realizations, symbols=symbols),
                work_of=(lambda batch, works=works: works[size_of(batch)]) if len(works) > 1 else None,
            )
        )
    config = {
        "command": "run", "title": title, "system": system, "modulation": modulation,
        "channel": identities(channel, propagation), "esno_db": esno_db,
        "csi": csi, "demap": demap, "stop": stop.as_dict(), "seed": seed,
        "propagation": asdict(propagation), "grid": grids_entry(programs),
        "draws": draws_entry(generator, realizations, shown),
        "data": data_entry(images),
        "weights": {"checkpoint": str(checkpoint) if checkpoint else None, "sha256": _digest(weights)},
        "ledger": ledgers_entry(ledgers, sizes), "row": {**prices(ledgers), **row_entry(images)},
        "conventions": conventions(channel),
        **interference(channel, propagation, any_size.link.grid),
    }  # fmt: skip
    if (
        coding != IndexCoding()
    ):  # what is not used is not said, so that runs of earlier versions can be resumed
        config["coding"] = asdict(coding)
    return Sweep(jobs, stop, config)


def reconstruct(
    system: str,
    images: ImageSet | np.ndarray,
    modulation: str,
    channel: str,
    esno_db: float,
    *,
    codec: nnx.Module | None = None,
    checkpoint: str | Path | None = None,
    csi: Csi = "perfect",
    coding: IndexCoding = IndexCoding(),  # noqa: B008 (frozen)
    cbr: str | None = None,
    propagation: Propagation | None = None,
    seed: int = 0,
) -> Delivered:
    """The images themselves after one realisation at one point, the first one of `run`. Arguments and errors as there."""
    prepare()
    check_seed(seed)
    found = image_set(images)
    size = one_size(found, "reconstruct")
    chosen = SYSTEMS[check_name("system", system, tuple(SYSTEMS))]
    weights, rate = weights_of(chosen, codec, checkpoint, cbr)
    sent = weights.config.fitting(*size)
    snr = parse_range("esno_db", esno_db)
    if len(snr) > 1:
        raise ValueError(f"reconstruct takes one esno_db; got {len(snr)} of them")
    wanted = csi, "nearest", coding, (modulation,), (channel,), snr, propagation or Propagation()
    program = program_of(chosen, weights, sent, rate, None, wanted)
    check_trained(chosen, None if codec is not None else checkpoint, program.items)
    (item,) = program.items
    shown = ImageOrder(found.sizes, seed)
    work = Work(
        Pictures(chosen, program.graph, program.link, shown.block, item.plan), shown.blocks,
        draw_words(seed, item.draw), DEFAULT_GENERATOR, (program.state, item.point),
        lambda batch: pixels(found, shown.streams(batch), None if sent == size else sent),
    )  # fmt: skip
    batches = [found for _, found in Evaluator().batches(work, range(shown.batches))]
    place = np.argsort(shown.order)  # back into the order of the caller
    delivered = jax.tree.map(
        lambda *leaves: np.concatenate([leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves])[place],
        *batches,
    )
    return delivered._replace(images=delivered.images[:, : size[0], : size[1]])


def _digest(codec: nnx.Module) -> str:
    """A fingerprint of the weights, by which two runs know that they used the same."""
    found = hashlib.sha256()
    for name, array in sorted(named_arrays(codec).items()):
        found.update(name.encode() + array.tobytes())
    return found.hexdigest()[:16]
