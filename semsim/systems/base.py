"""What every system gives the engine, in one record."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from flax import nnx
from flax.nnx.filterlib import Filter
from jaxtyping import Array

from channels import Fading
from phy import PilotFilter, ResourceGrid
from semsim.checkpoint import Contents, contents, load_weights, read_metadata
from semsim.energy import Sent
from semsim.link import Link
from semsim.names import check_name
from semsim.payload import Ledger
from semsim.recipe import Recipes
from semsim.systems.index_coding import IndexCoding, IndexPlan
from semsim.train import Loss, Upkeep

Codec = TypeVar("Codec", bound=nnx.Module)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Point:
    """One point of a sweep, all of it data: sweeping compiles once.

    order: row of the system's modulations, or negative where the system chooses. noise_var: N0 of a complex sample.
    labels: index -> label of that row's codebook, where indices travel as bits. pilot_filter: of csi ls, lmmse and robust.
    """

    order: Array  # [] integer
    fading: Fading
    noise_var: Array  # []
    labels: Array | None = None  # [k] integer
    pilot_filter: PilotFilter | None = None


class Delivered(NamedTuple):
    """One batch of images through a system.

    images: [b, h, w, 3] in [0, 1]. orders: [b] row used by each image. symbol_errors: [b] wrong symbols of each image after
    hard detection, wrong indices where these travel as bits, or None where nothing is detected (analogue systems).
    word_errors: [b] coded words of each image with a wrong bit, None without a code. sent: what went on the air for them,
    None for a system that does not say.
    """

    images: Array
    orders: Array
    symbol_errors: Array | None
    word_errors: Array | None = None
    sent: Sent | None = None


@dataclass(frozen=True)
class AsBits:
    """A system's indices as bits: its plan for a modulation and a coding, the labelling of that plan's codebook, and
    `System.transmit` with the plan as its last argument."""

    plan: Callable[[str, IndexCoding], IndexPlan]
    labels: Callable[[Any, IndexPlan], np.ndarray]
    transmit: Callable[[Any, Array, Array, Link, Point, IndexPlan], Delivered]


@dataclass(frozen=True)
class Stage:
    """One part of a training in several parts.

    loss: of the whole module. trainable: what moves meanwhile (`techniques.distillation.within`). share: of the recipe's
    steps. prepare: changes the module before the stage begins, and returns the names of what it changed.
    """

    name: str
    loss: Loss
    share: float
    trainable: Filter = nnx.Param
    prepare: Callable[[Any], tuple[str, ...]] | None = None


@dataclass(frozen=True)
class System:
    """A system of the survey: which net, which payload, which loss, which recipe.

    modulations: the names a user may ask for; order(name): the row of one. encode(codec, images, row) -> what is sent;
    decode(codec, what was received, row) -> images. transmit(codec, images, key, link, point) -> Delivered. All pure.
    as_bits: its second way onto the air, None for a system that sends no indices.
    loss, upkeep: made for the names of the orders to train. recipes: how long it is trained, by the machine.
    checkpoint: the weights that ship, or None.
    sizes: names and configs, the first one the default; build(config, seed) has fresh weights. adapt(codec, height=, width=,
    cbr=): the same weights for other images and another rate, None where a codec has one size, and larger images are
    tiles.
    start(codec): fills a fresh codec with what another system learned, before it is trained, and returns the names of
    what it filled; None where training begins from nothing.
    rates: files that ship for a bandwidth ratio each, of a system whose codecs have one.
    methods: ways of training in stages, by name, the first one the default; empty: one stage with `loss`.
    """

    name: str
    modulations: tuple[str, ...]
    grid: ResourceGrid
    recipes: Recipes
    checkpoint: Path | None
    sizes: tuple[tuple[str, Any], ...]
    build: Callable[[Any, int], Any]
    load: Callable[[Path], Any]
    encode: Callable[[Any, Array, Array], Array]
    decode: Callable[[Any, Array, Array], Array]
    transmit: Callable[[Any, Array, Array, Link, Point], Delivered]
    ledger: Callable[[Any, Link], Ledger]
    order: Callable[[str], int]
    loss: Callable[[tuple[str, ...]], Loss]
    upkeep: Callable[[tuple[str, ...]], Upkeep | None]
    metadata: Callable[[Any], dict[str, object]]
    as_bits: AsBits | None = None
    adapt: Callable[..., Any] | None = None
    start: Callable[[Any], tuple[str, ...]] | None = None
    rates: tuple[tuple[Fraction, Path], ...] = ()
    methods: tuple[tuple[str, tuple[Stage, ...]], ...] = ()

    def stages(self, method: str | None, orders: tuple[str, ...] = ()) -> tuple[Stage, ...]:
        """How it is trained. Errors: ValueError for a method that it does not have, and for unknown orders."""
        if not self.methods:
            if method is not None:
                raise ValueError(f"{self.name} has one way of training: leave method out")
            return (Stage("", self.loss(orders), 1.0),)
        self.loss(orders)
        found = dict(self.methods)
        return found[check_name(f"method of {self.name}", method or self.methods[0][0], tuple(found))]

    def fresh(self, size: str | None = None, seed: int = 0) -> Any:
        """A codec of one of `sizes` with fresh weights. Errors: ValueError for another name."""
        sizes = dict(self.sizes)
        config = sizes[check_name(f"size of {self.name}", size or self.sizes[0][0], tuple(sizes))]
        return self.build(config, seed)


MOST_ARRAYS = 10_000
"""Of a codec; the largest that ships or is published has some hundreds."""
ALWAYS = 2**16
"""Whole numbers of a config up to here are taken whatever the file holds: sides of images have no weights."""


def load_codec(
    path: Path, name: str, config_type: Callable[..., Any], build: Callable[[Any], Codec]
) -> Codec:
    """The codec of a checkpoint of the system `name`.

    Its config is compared with what the file holds before anything is built from it, so that a few bytes cannot ask for
    hours or terabytes. Errors: ValueError that names what differs.
    """
    metadata = read_metadata(path)
    if metadata.get("system") != name:
        raise ValueError(f"{path} is a checkpoint of {metadata.get('system')!r}, not of {name}")
    stored: Any = metadata.get("config")
    held = contents(path)
    try:
        largest = max(_numbers(stored), default=0)
        if held.arrays > MOST_ARRAYS or largest > max(held.numbers, ALWAYS):
            raise ValueError(f"its config has a {largest:,}, and it has {_shown(held)}")
        config = config_type(**_tuples(stored))
        least = Contents(*config.least)
        if least.arrays > held.arrays or least.numbers > held.numbers:
            raise ValueError(f"its config is of {_shown(least)} at least, and it has {_shown(held)}")
        codec = nnx.eval_shape(lambda: build(config))  # drawing weights would take longer than the rest
    except (TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path} was written for another version of {name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path} is no checkpoint of {name}: {error}") from None
    load_weights(path, codec)
    return codec


def _shown(held: Contents) -> str:
    return f"{held.numbers:,} numbers in {held.arrays:,} arrays"


def _numbers(stored: Any) -> Iterator[float]:
    """Sizes of all numbers, and lengths of all lists."""
    if isinstance(stored, dict):
        stored = list(stored.values())
    if isinstance(stored, list):
        yield len(stored)
        for each in stored:
            yield from _numbers(each)
    elif isinstance(stored, int | float):
        yield abs(stored)


def _tuples(stored: Any) -> Any:
    """Lists, as JSON has them, into the tuples that configs have."""
    if isinstance(stored, dict):
        return {key: _tuples(value) for key, value in stored.items()}
    return tuple(_tuples(value) for value in stored) if isinstance(stored, list) else stored
