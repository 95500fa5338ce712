"""FRENCA: one broadcast, a large and a small Swin decoder; the small one is trained with the encoder frozen, and distilled.

    1. encoder and large decoder learn together;
    2. both are frozen; the small decoder takes over every weight of the large one that has its name and shape, and learns
       from the image and from what the large one makes of the same received symbols.

Nguyen, Kim, Tun, Hassan, Kyaw Tun, Han, Hong, "Optimizing Multi-User Semantic Communication via Transfer Learning and
Knowledge Distillation", IEEE Commun. Lett. 29(1), 2025, arXiv 2406.03773. Its body was not read: dimensions, the weight of
the distillation and the schedule of its baseline are ours. Other methods leave out one part each: `transfer` does not
distil, `distil` starts from fresh weights, `plain` does neither; `iterative` trains all three nets, the users taking
turns by a coin.
"""

from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

import phy
from channels import no_fading
from models import Broadcast, BroadcastConfig, SwinConfig
from models.swin import BASE, CIFAR, MOD_LAYERS
from semsim.link import Link, send_symbols
from semsim.names import check_name
from semsim.payload import Ledger, Symbols
from semsim.recipe import Recipe, Recipes
from semsim.systems import analogue
from semsim.systems.base import Delivered, Point, Stage, System, load_codec
from semsim.systems.per_order import GRID
from semsim.techniques.distillation import output_loss, transfer, within

USERS = ("analogue-large", "analogue-small")
LARGE, SMALL = 0, 1
TRAINING_DB = (1.0, 3.0, 5.0, 7.0)
"""Es/N0 of a training image: one of these."""
BROADCAST_DB = 4.0
"""What the encoder is told, always: one broadcast cannot follow the channel of each user. Decoders are told their own."""
DISTILLATION = 0.5
"""Weight of the large decoder's image against the true one."""

OURS = BroadcastConfig(
    SwinConfig((16, 48), (2, 4), (2, 4), 4, channels=16, mod_layers=2, linear_path=True), ((2, 4), (2, 2))
)
SIZES = {
    "small": OURS,
    "cifar": BroadcastConfig(replace(CIFAR, mod_layers=MOD_LAYERS), ((2, 4), (2, 2))),
    "hr-base": BroadcastConfig(replace(BASE, mod_layers=MOD_LAYERS), ((2, 2, 6, 2), (2, 2, 2, 2))),
}
RECIPES = Recipes(
    cpu=Recipe(steps=6_000, batch=50, learning_rate=2e-3, warmup=200),
    accelerator=Recipe(40_000, 250, 2e-3, warmup=1_000, log_every=500, checkpoint_every=5_000),
)
"""Steps of all stages together. What ships is of the shorter one, run on a card; the longer one was not run."""
CHECKPOINT = Path(__file__).parent / "weights" / "frenca.safetensors"


def transmit(
    codec: Broadcast, images: Float[Array, "b h w 3"], key: Key[Array, ""], link: Link, point: Point
) -> Delivered:
    """Images to the user `point.order`, over that user's channel."""

    def ends(codec: Broadcast, images: Array, told: Array) -> analogue.Ends:
        return codec.encode(images, BROADCAST_DB), lambda received: codec.decode(received, told, point.order)

    return analogue.transmit(codec, images, key, link, point, ends)


def _received(codec: Broadcast, images: Array, key: Key[Array, ""]) -> tuple[Array, Array]:
    """What all users hear in training, over AWGN, and the Es/N0 that their decoders are told."""
    key_snr, key_noise = jax.random.split(key)
    told = jax.random.choice(key_snr, jnp.asarray(TRAINING_DB), images.shape[:1])
    symbols = codec.encode(images, BROADCAST_DB)
    gain = no_fading().gains(key_noise, symbols.shape)
    noise_var = jnp.asarray(phy.esnodb2no(told))
    return send_symbols(key_noise, Link(), Symbols(symbols), gain, noise_var).values, told


def _scored(error: Float[Array, " b"], mse: Float[Array, " b"]) -> tuple[Array, dict[str, Array]]:
    return jnp.mean(jnp.log(error + analogue.FLOOR)), {"psnr": -10 * jnp.log10(jnp.mean(mse))}


def _squares(output: Array, images: Array) -> Float[Array, " b"]:
    return jnp.mean((output - images) ** 2, axis=(1, 2, 3))


def together(codec: Broadcast, images: Array, key: Key[Array, ""]) -> tuple[Array, dict[str, Array]]:
    """ln(MSE) of the large user, mean over the images."""
    received, told = _received(codec, images, key)
    mse = _squares(codec.user(LARGE).decode(received, told), images)
    return _scored(mse, mse)


def taking_turns(codec: Broadcast, images: Array, key: Key[Array, ""]) -> tuple[Array, dict[str, Array]]:
    """ln(MSE) of one of the users, by a coin: the baseline that trains everything all the time."""
    key_turn, key_air = jax.random.split(key)
    received, told = _received(codec, images, key_air)
    user = jax.random.randint(key_turn, (), 0, len(USERS))
    mse = _squares(codec.decode(received, told, user), images)
    return _scored(mse, mse)


def distilled(weight: float) -> Any:
    """ln(MSE to the image + weight x MSE to the large user's image) of the small user; both hear the same."""

    def loss(codec: Broadcast, images: Array, key: Key[Array, ""]) -> tuple[Array, dict[str, Array]]:
        received, told = _received(codec, images, key)
        small = codec.user(SMALL).decode(received, told)
        error = mse = _squares(small, images)
        if weight:
            large = jax.lax.stop_gradient(codec.user(LARGE).decode(received, told))
            error = mse + weight * jax.vmap(output_loss)(small, large)
        return _scored(error, mse)

    return loss


def _transferred(codec: Broadcast) -> tuple[str, ...]:
    return transfer(codec.decoders[LARGE], codec.decoders[SMALL])


def _methods() -> tuple[tuple[str, tuple[Stage, ...]], ...]:
    first = Stage("large", together, 0.6, within("encoder", f"decoders.{LARGE}"))
    only_small = within(f"decoders.{SMALL}")

    def second(weight: float, moved: bool) -> tuple[Stage, ...]:
        return first, Stage("small", distilled(weight), 0.4, only_small, _transferred if moved else None)

    return (
        ("frenca", second(DISTILLATION, True)),
        ("transfer", second(0.0, True)),
        ("distil", second(DISTILLATION, False)),
        ("plain", second(0.0, False)),
        ("iterative", (Stage("both", taking_turns, 1.0),)),
    )


def build(config: BroadcastConfig = OURS, seed: int = 0) -> Broadcast:
    """A codec with fresh weights."""
    return Broadcast(config, rngs=nnx.Rngs(seed))


def _config(encoder: dict[str, Any], depths: tuple[tuple[int, ...], ...]) -> BroadcastConfig:
    return BroadcastConfig(SwinConfig(**encoder), depths)


def _resized(
    codec: Broadcast, height: int | None = None, width: int | None = None, cbr: Fraction | None = None
) -> Broadcast:
    if cbr is not None:
        raise ValueError("frenca has one rate: leave cbr out")
    return codec if height is None or width is None else codec.adapted(height=height, width=width)


def ledger(codec: Broadcast, link: Link) -> Ledger:
    """As `analogue.ledger`: the encoder is told one value for all, each decoder its own."""
    return analogue.ledger(codec, link, decoder_told=codec.config.encoder.told)


def order(modulation: str) -> int:
    """Number of a user. Errors: ValueError for another name."""
    return USERS.index(check_name("user of frenca", modulation, USERS))


def _loss(names: tuple[str, ...]) -> Any:
    if names:
        raise ValueError("frenca trains all its users: leave orders out, and take a method")
    return together


SYSTEM = System(
    name="frenca",
    modulations=USERS,
    grid=GRID,
    recipes=RECIPES,
    checkpoint=CHECKPOINT,
    sizes=tuple(SIZES.items()),
    build=build,
    load=partial(load_codec, name="frenca", config_type=_config, build=build),
    encode=lambda codec, images, row: codec.encode(images, BROADCAST_DB),
    decode=lambda codec, received, row: codec.decode(received, jnp.full(len(received), BROADCAST_DB), row[0]),
    transmit=transmit,
    ledger=ledger,
    order=order,
    loss=_loss,
    upkeep=lambda names: None,
    metadata=lambda codec: {"system": "frenca", "config": asdict(codec.config)},
    adapt=_resized,
    methods=_methods(),
)
