"""DeepJSCC: the analogue reference on the same link, 256 complex symbols an image (CBR 1/12).

    image -> encoder -> unit-energy symbols -> grid, fading, noise -> least-mean-square-error symbols -> decoder -> image

Bourtsoulatze, Kurka, Gunduz, arXiv 1809.01733. The paper trains one model per SNR; ours is one model for 0 to 20 dB, to be
compared with one uJSCC model.
"""

from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

import phy
from channels import no_fading
from models import DeepJSCC, DeepJSCCConfig
from semsim.link import Link, declared, fade, send_symbols, split_keys
from semsim.names import check_name
from semsim.payload import Ledger, Line, Symbols, grid_overhead
from semsim.systems.base import Delivered, Point, System, load_codec
from semsim.systems.ujscc import GRID
from semsim.train import Recipe

MODULATIONS = ("analogue",)
TRAINING_DB = (0.0, 20.0)
"""Es/N0 of a training image: uniform in this range."""

RECIPE = Recipe(steps=8_000, batch=64, learning_rate=2e-3, warmup=200)
"""What the shipped weights were trained with."""

CHECKPOINT = Path(__file__).parent / "weights" / "deepjscc.safetensors"


def transmit(
    codec: DeepJSCC, images: Float[Array, "b h w 3"], key: Key[Array, ""], link: Link, point: Point
) -> Delivered:
    """Images through the whole system; nothing is detected, so there are no symbol errors."""
    _, key_fading, key_noise = split_keys(key)
    gain = fade(key_fading, link, point.fading, (images.shape[0],), codec.config.num_symbols)
    symbols = Symbols(codec.encode(images))
    received = send_symbols(key_noise, link, symbols, gain, point.noise_var, point.pilot_filter)
    return Delivered(codec.decode(received.values), jnp.zeros(images.shape[0], jnp.int32), None)


def ledger(codec: DeepJSCC, link: Link) -> Ledger:
    """What one image costs on air, and what the receiver is given for nothing."""
    payload = Line("symbols", codec.config.num_symbols, "analogue values of unit mean energy")
    overhead = (*grid_overhead(link.grid, codec.config.num_symbols), *declared(link))
    return Ledger(3 * codec.config.image_size**2, payload, overhead)


def loss(codec: DeepJSCC, images: Array, key: Key[Array, ""]) -> tuple[Array, dict[str, Array]]:
    """ln(MSE) over AWGN, each image at its own Es/N0; the gradient passes through the whole link."""
    key_snr, key_noise = jax.random.split(key)
    low, high = TRAINING_DB
    noise_var = jnp.asarray(phy.esnodb2no(low + (high - low) * jax.random.uniform(key_snr, images.shape[:1])))
    symbols = codec.encode(images)
    gain = no_fading().gains(key_noise, symbols.shape)
    output = codec.decode(send_symbols(key_noise, Link(), Symbols(symbols), gain, noise_var).values)
    mse = jnp.mean((output - images) ** 2)
    return jnp.log(mse), {"psnr": -10 * jnp.log10(mse)}


def order(modulation: str) -> int:
    """Always 0. Errors: ValueError for a digital modulation."""
    check_name("modulation of deepjscc", modulation, MODULATIONS)
    return 0


def _loss(names: tuple[str, ...]):
    for name in names:
        check_name("modulation to train", name, MODULATIONS)
    return loss


def _encode(codec: DeepJSCC, images: Array, row: Int[Array, " b"]) -> Array:
    return codec.encode(images)


def _decode(codec: DeepJSCC, received: Array, row: Int[Array, " b"]) -> Array:
    return codec.decode(received)


def build(config: DeepJSCCConfig | None = None, seed: int = 0) -> DeepJSCC:
    """A codec with fresh weights; 256 symbols an image by default."""
    return DeepJSCC(config or DeepJSCCConfig(channels=4), rngs=nnx.Rngs(seed))


def load(path: Path = CHECKPOINT) -> DeepJSCC:
    """The codec of a checkpoint. Errors: ValueError that names what differs."""
    return load_codec(path, "deepjscc", DeepJSCCConfig, build)


SYSTEM = System(
    name="deepjscc",
    modulations=MODULATIONS,
    grid=GRID,
    recipe=RECIPE,
    checkpoint=CHECKPOINT,
    build=lambda seed: build(seed=seed),
    load=load,
    encode=_encode,
    decode=_decode,
    transmit=transmit,
    ledger=ledger,
    order=order,
    loss=_loss,
    upkeep=lambda names: None,
    metadata=lambda codec: {"system": "deepjscc", "config": asdict(codec.config)},
)
