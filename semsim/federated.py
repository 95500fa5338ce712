"""`semsim train fssc`: one codec trained together, alone, and on everybody's images, at equal sample passes; and the
device's small encoder, cut out of the common one and distilled from it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

import phy
from models import Swin
from models.swin import GROUPS
from semsim import data as data_sets
from semsim.checkpoint import named_arrays, save_weights
from semsim.link import Link
from semsim.metrics import mse, psnr
from semsim.names import parse_range
from semsim.runs import write_text
from semsim.scenario import Propagation, flat_fading
from semsim.systems import Point, analogue, fssc
from semsim.techniques.distillation import output_loss, slice_from, within
from semsim.techniques.federation import Client, Federation, Round, centralised, federate
from semsim.techniques.splits import by_quantity, dirichlet, iid
from semsim.techniques.uplink import Uplink
from semsim.train import Recipe, fit

Report = Callable[[dict[str, object]], None]


@dataclass(frozen=True)
class FederatedOptions:
    """fssc: who trains what with whom."""

    clients: int = 10
    """Clients of the federation."""
    rounds: int = 60
    """Rounds of all three trainings."""
    local_epochs: int = 1
    """Passes of a client over its images, each round."""
    split: str = "iid"
    """Images fall to clients: iid, dirichlet:ALPHA by their labels, quantity:RATIO in unequal numbers, or snr-skew: alike,
    but each client has a range of SNR of its own."""
    aggregate: Literal["fedavg", "fedlol"] = "fedavg"
    """Weights of the clients: by their images, or FedLol's by their losses."""
    against: tuple[str, ...] = ("local", "centralised")
    """Comparators at equal sample passes: local, centralised, or none."""
    images: int | None = None
    """Train on the first so many images. Default: all."""
    train_esno_db: float = 10.0
    """Es/N0 of training; with snr-skew the clients' ranges cover 0 to 20 dB."""
    test_esno_db: tuple[str, ...] = ("10",)
    """Es/N0 of the validation images, numbers or start:stop:step; scores are means over them."""
    local_batch: int = 50
    """Images of a step."""
    local_rate: float = 2e-3
    """Learning rate of the first round; it falls to zero as a cosine."""
    heavy_every: int = 1
    """Exchange the Swin blocks every so many rounds only, and the layers next to the channel always."""
    bits: int = 32
    """Of an uploaded number; 32 sends floats."""
    uplink: str | None = None
    """Send the changes over the link: MODULATION:CODERATE:ESNO_DB, such as qpsk:1/2:5; needs bits of 2 to 16."""
    device: int = 0
    """Steps of training for the device's encoder, 50 kB, cut out of the common one and distilled; 0 leaves it out."""

    def plan(self) -> Federation:
        """Errors: ValueError as Federation, and for an uplink without bits."""
        if self.uplink is not None and self.bits == 32:
            raise ValueError("an uplink sends whole numbers: give their bits, such as 8")
        light = ("encoder.head", "encoder.linear", "decoder.head", "decoder.linear")
        return Federation(
            self.rounds, self.local_epochs, self.aggregate, self.local_batch, self.local_rate,
            heavy_every=self.heavy_every, light=light if self.heavy_every > 1 else (), bits=self.bits,
        )  # fmt: skip

    def link(self) -> Uplink | None:
        """Errors: ValueError for a text that is no uplink."""
        if self.uplink is None:
            return None
        parts = self.uplink.split(":")
        try:
            return Uplink(parts[0], parts[1], float(parts[2]))
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"uplink is MODULATION:CODERATE:ESNO_DB, such as qpsk:1/2:5; got {self.uplink!r}: {error}"
            ) from None


def split_clients(
    options: FederatedOptions, images: np.ndarray, labels: Callable[[], np.ndarray], seed: int
) -> list[Client]:
    """The clients with their images and SNR. Errors: ValueError for an unknown split, and as `techniques.splits`."""
    kind, _, value = options.split.partition(":")
    count = options.clients
    try:
        number = float(value) if value else None
    except ValueError:
        raise ValueError(f"split {kind} has a number behind its colon; got {options.split!r}") from None
    if kind in ("iid", "snr-skew") and number is None:
        parts = iid(len(images), count, seed)
    elif kind == "dirichlet" and number is not None:
        parts = dirichlet(labels()[: len(images)], count, number, seed)
    elif kind == "quantity" and number is not None:
        parts = by_quantity(len(images), count, number, seed)
    else:
        raise ValueError(
            f"unknown split {options.split!r}. Choices: iid, dirichlet:0.6, quantity:10, snr-skew"
        )
    edges = np.linspace(0, 20, count + 1)
    ranges = [
        (edges[k], edges[k + 1]) if kind == "snr-skew" else (options.train_esno_db,) * 2 for k in range(count)
    ]
    return [
        Client(images[part], jnp.asarray(range_, jnp.float32), seed * 1000 + which)
        for which, (part, range_) in enumerate(zip(parts, ranges, strict=True))
    ]


class Row(NamedTuple):
    """One training of the table.

    passes: images trained on. psnr: mean over the validation images of each one's, dB; psnr_batch: of their mean squared
    error. rounds_95: first round with 95 % of the final PSNR. megabytes: exchanged, up and down. uplink_uses: complex
    symbols that the uplink took, of all clients and rounds; 0 without one.
    """

    training: str
    passes: int
    psnr: float
    psnr_batch: float
    rounds_95: int
    up_megabytes: float
    down_megabytes: float
    uplink_uses: int

    def shown(self) -> dict[str, object]:
        """For a table on a terminal."""
        return {
            "training": self.training, "passes": self.passes, "PSNR dB": round(self.psnr, 2),
            "of mean MSE": round(self.psnr_batch, 2), "to 95 %": self.rounds_95, "MB up": round(self.up_megabytes, 2),
            "MB down": round(self.down_megabytes, 2), "uplink uses": self.uplink_uses,
        }  # fmt: skip


def train_fssc(
    options: FederatedOptions,
    data: str,
    out: Path,
    *,
    size: str | None = None,
    seed: int = 0,
    report: Report = lambda line: None,
) -> list[Row]:
    """All trainings of `options`, one after the other, from the same fresh weights; returns the table.

    `out` gets the options, a line for every round (`rounds.jsonl`), the weights of each training and `table.json`.
    Errors: ValueError for options that make no federation, images that are too few, and a folder that holds a training.
    """
    for name in options.against:
        if name not in ("local", "centralised", "none"):
            raise ValueError(f"against is local, centralised or none; got {name!r}")
    plan, link = options.plan(), options.link()
    codec = fssc.SYSTEM.fresh(size, seed)
    images = data_sets.training_images(data, codec.config.image_shape[0])[: options.images]
    clients = split_clients(options, images, lambda: data_sets.training_labels(data), seed)
    if (out / "options.json").exists():
        raise ValueError(f"{out} already holds a training: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_text(
        out / "options.json", json.dumps({**vars(options), "data": data, "seed": seed}, indent=1) + "\n"
    )
    snr = parse_range("test_esno_db", options.test_esno_db)
    held_out = data_sets.validation_images(codec.config.image_shape[0])
    evaluate = scorer(held_out, snr)
    alone = replace(plan, aggregate="none", bits=32, heavy_every=1, light=())
    trainings = [("federated", plan, clients)]
    if "local" in options.against:
        trainings.append(
            ("local", replace(plan, aggregate="none", bits=32, heavy_every=1, light=()), clients)
        )
    if "centralised" in options.against:
        trainings.append(("centralised", alone, centralised(clients, seed)))
    rows, common = [], codec
    for name, how, who in trainings:
        module = nnx.clone(codec)
        used = link if name == "federated" else None

        def log(done: Round, name: str = name) -> None:
            line = {"training": name, **done._asdict()}
            with (out / "rounds.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            report({"training": name, "round": done.number, **done.scores, "left out": list(done.left_out)})

        found = federate(
            module, who, fssc.client_loss, how, seed=seed, evaluate=evaluate,
            evaluate_every=1 if len(who) == 1 or how.aggregate != "none" else how.rounds,
            deliver=used.deliver if used else None, report=log,
        )  # fmt: skip
        save_weights(
            out / f"{name}.safetensors", module, {**fssc.SYSTEM.metadata(module), "step": plan.rounds}
        )
        rows.append(_row(name, found.history, used, how.bits))
        common = module if name == "federated" else common
    write_text(out / "table.json", json.dumps([row._asdict() for row in rows], indent=1) + "\n")
    if options.device:
        rows_device = train_device(common, images, held_out, snr, options, out / "device", seed, report)
        write_text(out / "device.json", json.dumps(rows_device, indent=1) + "\n")
    return rows


def scorer(images: np.ndarray, esno_db: tuple[float, ...]) -> Callable[[nnx.Module], dict[str, float]]:
    """PSNR over AWGN, mean over images and SNR, always of the same noise."""
    pictures = jnp.asarray(images, jnp.float32) / 255
    fading = flat_fading("awgn", Propagation())

    @nnx.jit
    def score(codec: nnx.Module, noise_var: jax.Array) -> tuple[jax.Array, jax.Array]:
        point = Point(jnp.int32(0), fading, noise_var)
        found = analogue.transmit(codec, pictures, jax.random.key(7), Link(), point)
        return jnp.mean(psnr(found.images, pictures)), jnp.mean(mse(found.images, pictures))

    def evaluate(codec: nnx.Module) -> dict[str, float]:
        each = [score(codec, jnp.float32(phy.esnodb2no(value))) for value in esno_db]
        batch = [-10 * np.log10(float(error)) for _, error in each]
        return {
            "psnr": float(np.mean([float(value) for value, _ in each])),
            "psnr_batch": float(np.mean(batch)),
        }

    return evaluate


def rounds_to(history: list[Round], share: float = 0.95) -> int:
    """First evaluated round whose PSNR is that share of the last one's."""
    scores = [(done.number, done.scores["psnr"]) for done in history if "psnr" in done.scores]
    return next(number for number, value in scores if value >= share * scores[-1][1])


def _row(name: str, history: list[Round], link: Uplink | None, bits: int) -> Row:
    last = history[-1]
    up, down = (sum(getattr(done, way) for done in history) / 1e6 for way in ("up", "down"))
    uses = 0
    if link is not None:
        senders = [len(done.losses) - len(done.left_out) for done in history]
        uses = sum(
            count * link.channel_uses(done.sent, bits) for count, done in zip(senders, history, strict=True)
        )
    return Row(
        name, last.passes, last.scores["psnr"], last.scores["psnr_batch"], rounds_to(history), up, down, uses
    )


def train_device(
    common: Swin,
    images: np.ndarray,
    held_out: np.ndarray,
    esno_db: tuple[float, ...],
    options: FederatedOptions,
    out: Path,
    seed: int,
    report: Report,
) -> list[dict[str, object]]:
    """The device's encoder before the common decoder, four ways: fresh or cut out of the common encoder, with and without
    distillation of its symbols. Only the encoder learns; every way has as many steps."""
    recipe = Recipe(
        steps=options.device,
        batch=options.local_batch,
        learning_rate=options.local_rate,
        warmup=min(100, options.device // 4),
        seed=seed,
    )
    setting = jnp.full(2, options.train_esno_db, jnp.float32)
    evaluate = scorer(held_out, esno_db)
    rows: list[dict[str, object]] = []
    for sliced in (False, True):
        for distil in (False, True):
            pair = DevicePair(common, seed)
            filled = slice_from(common.encoder, pair.device.encoder, GROUPS) if sliced else ()
            before = evaluate(pair.device)
            name = f"{'sliced' if sliced else 'fresh'}{'-distilled' if distil else ''}"

            def loss(
                live: DevicePair, batch: jax.Array, key: jax.Array, distil: bool = distil
            ) -> tuple[jax.Array, dict]:
                value, log = fssc.client_loss(live.device, batch, key, setting)
                if distil:
                    goal = jax.lax.stop_gradient(live.teacher.encode(batch))
                    mine = live.device.encode(batch)
                    value += output_loss(jnp.stack([mine.real, mine.imag]), jnp.stack([goal.real, goal.imag]))
                return value, log

            fit(
                pair, images, recipe, loss, out / name, trainable=within("device.encoder"),
                metadata={**fssc.SYSTEM.metadata(pair.device), "filled": list(filled)}, report=lambda line: None,
            )  # fmt: skip
            arrays = named_arrays(pair.device.encoder)
            row: dict[str, object] = {
                "device encoder": name, "parameters": sum(array.size for array in arrays.values()),
                "bytes": sum(array.nbytes for array in arrays.values()),
                "psnr at start": round(before["psnr"], 3), **{key: round(v, 3) for key, v in evaluate(pair.device).items()},
            }  # fmt: skip
            rows.append(row)
            report(row)
    return rows


class DevicePair(nnx.Module):
    """The common codec, and a device with an encoder of its own before the common decoder."""

    def __init__(self, common: Swin, seed: int):
        self.teacher = nnx.clone(common)
        self.device = fssc.build(replace(fssc.DEVICE, channels=common.config.channels), seed)
        self.device.decoder = nnx.clone(common.decoder)


Options = Annotated[FederatedOptions, tyro.conf.arg(name="")]
