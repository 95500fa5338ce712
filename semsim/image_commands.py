"""`semsim run`: images through a system, learned or classical."""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from flax import nnx

from semsim import data as data_sets
from semsim import plot, separation, simulation
from semsim.backend import is_leader, join
from semsim.coding import Decoding
from semsim.engine import Sweep
from semsim.envelope import best_of_each_snr
from semsim.jobs import Flat, Job, Options, Words, run_sweep
from semsim.link import Csi, Demap
from semsim.names import check_name, parse_range, parse_size
from semsim.scenario import Propagation
from semsim.separation import DECODING, OnFailure, Separation
from semsim.sweep import DEFAULT_GENERATOR
from semsim.systems import SYSTEMS
from semsim.systems.index_coding import IndexCoding
from semsim.terminal import say_if_interrupted, show

SYSTEM_NAMES = (*SYSTEMS, "separation")


@dataclass(frozen=True)
class Decoder:
    """How coded words are received; what is left out is the system's own choice."""

    num_iterations: int | None = None
    """Most iterations of the decoder: 50 of separation, else 20."""
    rule: Literal["offset-min-sum", "normalised-min-sum", "min-sum", "sum-product"] | None = None
    """sum-product for separation, else offset-min-sum."""
    schedule: Literal["layered", "flooding"] | None = None
    precision: Literal["int8", "float32"] | None = None
    """Of messages: float32 for separation, else int8."""
    llr: Literal["app", "maxlog"] | None = None

    def over(self, default: Decoding) -> Decoding:
        """The default with what is given in its place. Errors: ValueError for settings that do not go together."""
        return replace(default, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True)
class Digital:
    """Options of payloads that are bits; what a system does not read is refused."""

    index_map: Literal["point", "labelled"] = "point"
    """ujscc: each index is a point of its own constellation, or written as bits that any modulation carries."""
    code: Literal["none", "ldpc"] = "none"
    """ujscc: channel code of these bits. separation always has one."""
    coderate: Words = ()
    """Fractions such as 1/2; separation also auto, its default: those that NR has for the modulation."""
    codec: Words = ("jpeg",)
    """separation: source codecs, of jpeg webp avif bpg."""
    cbr: str | None = None
    """Data symbols per source sample: of separation (1/12), and of systems that have several rates (their highest)."""
    on_failure: OnFailure = "grey"
    """separation: what a lost image shows: grey, the mean of all images, or the last one that arrived."""
    header_coderate: str | None = None
    """separation: send the first bytes apart, on QPSK at this rate. Default: as part of the body."""
    decoding: Annotated[Decoder, tyro.conf.arg(name="")] = Decoder()

    def separation(self) -> Separation:
        """What a separation run reads. Errors: ValueError for options of other systems."""
        self._refuse("separation", ("index_map", "code"))
        return Separation(
            self.codec, self.coderate or ("auto",), self.cbr or "1/12", self.on_failure, self.header_coderate,
            self.decoding.over(DECODING),
        )  # fmt: skip

    def indices(self, system: str) -> IndexCoding:
        """What a learned system reads. Errors: ValueError for options of the separation baseline."""
        self._refuse(system, ("codec", "on_failure", "header_coderate"))
        if len(self.coderate) > 1:
            raise ValueError(f"{system} has one coderate a run; got {', '.join(self.coderate)}")
        return IndexCoding(
            self.index_map,
            self.code,
            self.coderate[0] if self.coderate else "1",
            self.decoding.over(Decoding()),
        )

    def _refuse(self, system: str, names: Words) -> None:
        given = [name for name in names if getattr(self, name) != getattr(Digital, name)]
        if given:
            raise ValueError(f"{system} does not read {', '.join(given)}: leave it out")


def run(
    system: Annotated[str, tyro.conf.Positional] = "ujscc",
    modulation: Words | None = None,
    channel: Words = ("awgn",),
    esno_db: Words = ("0:30:5",),
    data: str = "embedded",
    limit: int | None = None,
    size: str | None = None,
    tile: bool = False,
    whole: bool = False,
    on_bad: Literal["stop", "skip"] = "stop",
    realizations: int = 1,
    checkpoint: Path | None = None,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    digital: Annotated[Digital, tyro.conf.arg(name="")] = Digital(),  # noqa: B008 (frozen)
    width: float | None = None,
    total_images: float | None = None,
    propagation: Flat = Propagation(),  # noqa: B008 (frozen)
    generator: str = DEFAULT_GENERATOR,
    seed: int = 0,
    job: Options = Job(),  # noqa: B008 (frozen)
) -> None:
    """Images through a system: PSNR, SSIM, and error rates or losses.

    Args:
        system: ujscc, deepjscc, or separation: source codec, LDPC and modulation, each on its own.
        modulation: names; ujscc also auto: the SNR of each realisation chooses. Default: all that the system has, without
            auto; separation: auto, the schemes of NR, of which the best of each SNR is shown.
        channel: awgn rayleigh-block rician-block tdl-a .. tdl-e recorded:FILE, all on one OFDM grid; or a dialect:NAME.
        esno_db: numbers or start:stop:step (stop included), dB per data symbol.
        data: embedded, cifar10, natural, an image, or a folder of images. They may have any size, and different ones: each
            is padded to what the codec's patches, windows or tiles divide, which the ledger prices, and measured without.
        limit: use the first so many images.
        size: a side such as 256, or WIDTHxHEIGHT: scale each image until it fills it, and crop about the centre.
        tile: cut larger images into tiles of the codec's size, each an image of its own; borders are left out.
        whole: keep larger images together, as it is done without this option too: commands of earlier versions have it.
        on_bad: an unreadable file, or one too small for a tile, stops the run, or is skipped and counted.
        realizations: channel draws per image.
        checkpoint: weights to use in place of the ones that ship.
        csi: what the receiver knows of the channel.
        demap: nearest point, or app: the most likely value of each bit.
        width: a point stops when the 95 % interval of its PSNR reaches no further than so many dB.
        total_images: what the points leave of so many images goes to those with the widest intervals; needs width.
        generator: of random bits; threefry2x32-13 is up to a fifth faster where they are the floor.
    """
    join(job.cluster)
    check_name("system", system, SYSTEM_NAMES)
    snr = parse_range("esno_db", esno_db)
    classical = system == "separation"
    if classical and modulation == ("auto",):
        modulation = None
    if tile and whole:
        raise ValueError("tile makes images of the tiles, whole keeps them together: take one of them")
    if classical and (checkpoint or demap != "nearest" or whole):
        raise ValueError(
            "separation has no checkpoint, demaps softly (llr), and sends images whole: leave these options out"
        )
    side = 32 if classical or not tile else _tile_side(system, checkpoint)
    images = data_sets.load(
        data,
        resize=None if size is None else parse_size("size", size),
        tile=side if tile else None,
        limit=limit,
        on_bad=on_bad,
    )
    sweep: Sweep
    if classical:
        sweep = separation.sweep(
            images, modulation or "auto", channel, snr, digital.separation(), realizations=realizations, csi=csi,
            width=width, total_images=total_images, propagation=propagation, generator=generator, seed=seed,
        )  # fmt: skip
    else:
        modulations = modulation or tuple(name for name in SYSTEMS[system].modulations if name != "auto")
        sweep = simulation.sweep(
            system, images, modulations, channel, snr, checkpoint=checkpoint, realizations=realizations, csi=csi,
            demap=demap, coding=digital.indices(system), cbr=digital.cbr, width=width,
            total_images=total_images, propagation=propagation, generator=generator, seed=seed,
        )  # fmt: skip
    if is_leader() and images.left_out:
        print(f"semsim: {images.name}: {images.left_out}", file=sys.stderr)
    found = run_sweep(sweep, job)
    if found is None:
        return
    rows = found.rows()
    automatic = classical and (modulation is None or digital.coderate in ((), ("auto",)))
    best = best_of_each_snr(rows) if automatic else rows
    columns = (
        "system",
        "codec",
        "modulation",
        "coderate",
        "choice",
        "channel",
        "esno_db",
        "ici_sir_db",
        "metric",
        "n",
        "photographs",
        "cbr",
        "cbr_largest",
        "cbr_payload",
    )
    show(rows if job.json else best, job.json, columns)
    if found.folder is not None and rows:
        plot.save(plot.quality_figure(best, note=plot.source_note([found])), found.folder / "quality.png")
    say_if_interrupted(found)


def _tile_side(system: str, checkpoint: Path | None) -> int:
    """What the codec was made for; separation's tiles are those of the others."""
    chosen = SYSTEMS[system]
    codec = nnx.eval_shape(chosen.fresh) if checkpoint is None else chosen.load(checkpoint)
    return codec.config.image_shape[0]
