"""`semsim train fssc`: one codec trained together, alone, and on everybody's images, at equal sample passes; and the
device's small encoder, which `semsim.device_encoder` trains."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from semsim import data as data_sets
from semsim.checkpoint import save_weights
from semsim.device_encoder import train_device
from semsim.names import parse_range
from semsim.runs import write_text
from semsim.systems import fssc
from semsim.techniques.federation import Client, Federation, Round, centralised, check_clients, federate
from semsim.techniques.splits import by_quantity, dirichlet, iid
from semsim.techniques.uplink import Uplink
from semsim.train import Recipe

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
    """Steps of training for a device's encoder of half the widths (43 kB), cut out of the common one and distilled; 0 leaves
    it out."""

    def plan(self) -> Federation:
        """Errors: ValueError as Federation, and for an uplink without bits and numbers that cannot be."""
        for name, least in (("clients", 1), ("local_batch", 1), ("images", 1), ("device", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}; got {value}")
        if not 0 < self.local_rate < math.inf:
            raise ValueError(f"local_rate must be a positive number; got {self.local_rate:g}")
        parse_range("train_esno_db", self.train_esno_db)
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
    error. rounds_95: first round with 95 % of the final PSNR; None for local, which is scored at the end. megabytes:
    exchanged, up and down. uplink_uses: complex symbols that the uplink took, of all clients and rounds; 0 without one.
    """

    training: str
    passes: int
    psnr: float
    psnr_batch: float
    rounds_95: int | None
    up_megabytes: float
    down_megabytes: float
    uplink_uses: int

    def shown(self) -> dict[str, object]:
        """For a table on a terminal."""
        return {
            "training": self.training, "passes": self.passes, "PSNR dB": round(self.psnr, 2),
            "of mean MSE": round(self.psnr_batch, 2), "to 95 %": "" if self.rounds_95 is None else self.rounds_95,
            "MB up": round(self.up_megabytes, 2), "MB down": round(self.down_megabytes, 2),
            "uplink uses": self.uplink_uses,
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
    check_clients(clients, plan)
    snr = parse_range("test_esno_db", options.test_esno_db)
    if (out / "options.json").exists():
        raise ValueError(f"{out} already holds a training: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_text(
        out / "options.json", json.dumps({**vars(options), "data": data, "seed": seed}, indent=1) + "\n"
    )
    evaluate = fssc.scorer(data_sets.validation_images(data, codec.config.image_shape[0]), snr)
    alone = replace(plan, aggregate="none", bits=32, heavy_every=1, light=())
    trainings = [("federated", plan, clients)]
    if "local" in options.against:
        trainings.append(("local", alone, clients))
    if "centralised" in options.against:
        trainings.append(("centralised", alone, [_everybody(clients, seed)]))
    rows, common = [], codec
    for name, how, who in trainings:
        module = nnx.clone(codec)
        used = link if name == "federated" else None

        def log(done: Round, name: str = name) -> None:
            line = {"training": name, **done._asdict()}
            with (out / "rounds.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            report({"training": name, "round": done.number, **done.scores, "left out": list(done.left_out)})

        every_round = (
            how.aggregate != "none" or len(who) == 1
        )  # scoring every client alone takes long: at the end
        found = federate(
            module, who, fssc.client_loss, how, seed=seed, evaluate=evaluate,
            evaluate_every=1 if every_round else how.rounds,
            deliver=used.deliver if used else None, report=log,
        )  # fmt: skip
        save_weights(
            out / f"{name}.safetensors", module, {**fssc.SYSTEM.metadata(module), "step": plan.rounds}
        )
        rows.append(
            _row(name, found.history, used, how.bits, rounds_to(found.history) if every_round else None)
        )
        common = module if name == "federated" else common
    write_text(out / "table.json", json.dumps([row._asdict() for row in rows], indent=1) + "\n")
    if options.device:
        recipe = Recipe(
            steps=options.device, batch=options.local_batch, learning_rate=options.local_rate,
            warmup=min(100, options.device // 4), seed=seed,
        )  # fmt: skip
        of_device = train_device(
            common, images, recipe, options.train_esno_db, evaluate, out / "device", report
        )
        write_text(out / "device.json", json.dumps(of_device, indent=1) + "\n")
    return rows


def rounds_to(history: list[Round], share: float = 0.95) -> int:
    """First evaluated round whose PSNR is that share of the last one's."""
    scores = [(done.number, done.scores["psnr"]) for done in history if "psnr" in done.scores]
    return next(number for number, value in scores if value >= share * scores[-1][1])


def _everybody(clients: list[Client], seed: int) -> Client:
    """All images, at every Es/N0 that a client has."""
    ranges = np.asarray([client.setting for client in clients])
    widest = jnp.asarray([ranges[:, 0].min(), ranges[:, 1].max()], jnp.float32)
    return replace(centralised(clients, seed)[0], setting=widest)


def _row(name: str, history: list[Round], link: Uplink | None, bits: int, rounds_95: int | None) -> Row:
    last = history[-1]
    up, down = (sum(getattr(done, way) for done in history) / 1e6 for way in ("up", "down"))
    uses = 0
    if link is not None:
        senders = [len(done.losses) - len(done.left_out) for done in history]
        uses = sum(
            count * link.channel_uses(done.sent, bits) for count, done in zip(senders, history, strict=True)
        )
    return Row(name, last.passes, last.scores["psnr"], last.scores["psnr_batch"], rounds_95, up, down, uses)


Options = Annotated[FederatedOptions, tyro.conf.arg(name="")]
