"""FSSC: STSC's codec trained where the images are, by clients who share what they learned and not what they have.

    clients: own images, own SNR -> local passes -> changes of the weights (-> uplink) -> server: mean -> clients

Yan, Zhang, Li, Lin, Li, Cheng, Han, "FSSC: Federated Learning of Transformer Neural Networks for Semantic Image
Communication", GLOBECOM 2024, arXiv 2407.21507. Its body was not read: clients, splits and lengths are ours. The net is the
published one without ModNet ("cifar"), or a small one that a CPU can federate. `semsim.federated` runs it.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

import phy
from channels import no_fading
from models import Swin, SwinConfig
from models.swin import CIFAR
from semsim.link import Link, send_symbols
from semsim.payload import Symbols
from semsim.systems.analogue import FLOOR, analogue_system, at_rate
from semsim.systems.analogue import loss as centralised_loss
from semsim.systems.base import load_codec
from semsim.train import Recipe

OURS = SwinConfig((16, 32), (1, 2), (2, 4), 4, linear_path=True)
DEVICE = SwinConfig((8, 16), (1, 2), (2, 4), 4, linear_path=True)
"""What a device with 50 kB for its encoder has: `OURS` at half its width."""
SIZES = {"small": OURS, "device": DEVICE, "cifar": CIFAR}
RECIPE = Recipe(steps=5_000, batch=50, learning_rate=2e-3, warmup=200)


def client_loss(
    codec: Swin, images: Array, key: Key[Array, ""], esno_db: Float[Array, " 2"]
) -> tuple[Array, dict[str, Array]]:
    """Mean over the images of ln(MSE), over AWGN at an Es/N0 of each image, uniform between the client's two."""
    key_snr, key_noise = jax.random.split(key)
    low, high = esno_db
    told = low + (high - low) * jax.random.uniform(key_snr, images.shape[:1])
    symbols = codec.encode(images, told)
    gain = no_fading().gains(key_noise, symbols.shape)
    noise_var = jnp.asarray(phy.esnodb2no(told))
    received = send_symbols(key_noise, Link(), Symbols(symbols), gain, noise_var).values
    mse = jnp.mean((codec.decode(received, told) - images) ** 2, axis=(1, 2, 3))
    return jnp.mean(jnp.log(mse + FLOOR)), {"mse": jnp.mean(mse)}


def build(config: SwinConfig = OURS, seed: int = 0) -> Swin:
    """A codec with fresh weights."""
    return Swin(config, rngs=nnx.Rngs(seed))


SYSTEM = analogue_system(
    "fssc", SIZES, build, partial(load_codec, name="fssc", config_type=SwinConfig, build=build), RECIPE, None,
    centralised_loss, at_rate,
)  # fmt: skip
