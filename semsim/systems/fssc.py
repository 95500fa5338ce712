"""FSSC: STSC's codec trained where the images are, by clients who share what they learned and not what they have.

    clients: own images, own SNR -> local passes -> changes of the weights (-> uplink) -> server: mean -> clients

Yan, Zhang, Li, Lin, Li, Cheng, Han, "FSSC: Federated Learning of Transformer Neural Networks for Semantic Image
Communication", GLOBECOM 2024, arXiv 2407.21507. Its body was not read: clients, splits and lengths are ours. The net is the
published one without ModNet ("cifar"), or a small one that a CPU can federate. `semsim.federated` runs it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

import phy
from channels import no_fading
from models import Swin, SwinConfig
from models.swin import CIFAR
from semsim.link import Link, send_symbols
from semsim.metrics import mse, psnr
from semsim.payload import Symbols
from semsim.recipe import Recipe, Recipes
from semsim.scenario import Propagation, flat_fading
from semsim.systems.analogue import FLOOR, analogue_system, at_rate, transmit
from semsim.systems.analogue import loss as centralised_loss
from semsim.systems.base import Point, load_codec

OURS = SwinConfig((16, 32), (1, 2), (2, 4), 4, linear_path=True)
SIZES = {"small": OURS, "cifar": CIFAR}
RECIPES = Recipes(
    cpu=Recipe(steps=5_000, batch=50, learning_rate=2e-3, warmup=200),
    accelerator=Recipe(40_000, 250, 2e-3, warmup=500, log_every=500, checkpoint_every=5_000),
)
"""Of one client alone with everything; federated training goes by rounds (`semsim.federated`)."""


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
    error = jnp.mean((codec.decode(received, told) - images) ** 2, axis=(1, 2, 3))
    return jnp.mean(jnp.log(error + FLOOR)), {"mse": jnp.mean(error)}


def scorer(images: np.ndarray, esno_db: tuple[float, ...]) -> Callable[[nnx.Module], dict[str, float]]:
    """PSNR over AWGN, mean over images and SNR, and PSNR of the mean squared error; always of the same noise, dB."""
    pictures = jnp.asarray(images, jnp.float32) / 255
    fading = flat_fading("awgn", Propagation())

    @nnx.jit
    def score(codec: nnx.Module, noise_var: jax.Array) -> tuple[jax.Array, jax.Array]:
        point = Point(jnp.int32(0), fading, noise_var)
        found = transmit(codec, pictures, jax.random.key(7), Link(), point)
        return jnp.mean(psnr(found.images, pictures)), jnp.mean(mse(found.images, pictures))

    def evaluate(codec: nnx.Module) -> dict[str, float]:
        each = [score(codec, jnp.float32(phy.esnodb2no(value))) for value in esno_db]
        batch = [-10 * np.log10(float(error)) for _, error in each]
        return {
            "psnr": float(np.mean([float(value) for value, _ in each])),
            "psnr_batch": float(np.mean(batch)),
        }

    return evaluate


def device(config: SwinConfig) -> SwinConfig:
    """Half as wide and with half the heads, so that a head keeps its channels: an encoder of 43 kB from that of `OURS`.

    Errors: ValueError for widths or heads that are odd.
    """
    if any(number % 2 for number in (*config.widths, *config.heads)):
        raise ValueError(f"a device's net has half the widths and heads, which must be even; got {config}")
    widths, heads = (tuple(number // 2 for number in numbers) for numbers in (config.widths, config.heads))
    return replace(config, widths=widths, heads=heads)


def build(config: SwinConfig = OURS, seed: int = 0) -> Swin:
    """A codec with fresh weights."""
    return Swin(config, rngs=nnx.Rngs(seed))


SYSTEM = analogue_system(
    "fssc", SIZES, build, partial(load_codec, name="fssc", config_type=SwinConfig, build=build), RECIPES, None,
    centralised_loss, at_rate,
)  # fmt: skip
