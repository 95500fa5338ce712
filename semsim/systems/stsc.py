"""STSC: a Swin codec of any image size, told the Es/N0, with analogue symbols at many rates or with VQ indices.

K. Zhang, L. Li, Y. Yan, X. Zhang, Lin, R. Li, Zhao, Han, arXiv 2605.12566; its dimensions were not found, so that the
published sizes are those of SwinJSCC (`models.swin`). stsc: CBR 1/3 and less (the first maps only, which is in the plan
and costs nothing to tell; in the size "small-energy" those of most energy, which costs). stsc-vq: an index for every pair
of features, on uJSCC's link at its CBR of 1/12.
The size that ships, "small", is one that two CPU cores can train too; "cifar" and the hr sizes are the published ones.
"""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from flax import nnx

from models import Indexed, IndexedConfig, Swin, SwinConfig
from models.swin import BASE, CIFAR, LARGE, MOD_LAYERS, SMALL, SwinDecoder, SwinEncoder
from semsim.recipe import Recipe, Recipes
from semsim.systems.analogue import analogue_system, at_rate, prefix_loss
from semsim.systems.base import load_codec
from semsim.systems.per_order import index_system
from semsim.techniques.distillation import slice_from

WEIGHTS = Path(__file__).parent / "weights"
OURS = SwinConfig((32, 96), (1, 3), (2, 6), 4, mod_layers=2, linear_path=True)

RECIPES = Recipes(
    cpu=Recipe(steps=10_000, batch=50, learning_rate=3e-3, warmup=300),
    accelerator=Recipe(40_000, 250, 2e-3, warmup=1_000, log_every=500, checkpoint_every=5_000),
)
VQ_RECIPES = Recipes(
    cpu=Recipe(steps=4_000, batch=50, learning_rate=1.5e-3, warmup=300),
    accelerator=Recipe(16_000, 250, 1.5e-3, warmup=300, log_every=500, checkpoint_every=5_000),
)
"""At twice the rate the vectors ran away from the codebook: 92 of 256 codewords were in use after 1,000 steps of 50.
What ships of both systems is of the longer ones."""


def _told(config: SwinConfig) -> SwinConfig:
    return replace(config, mod_layers=MOD_LAYERS)


SIZES = {
    "small": OURS, "small-energy": replace(OURS, choice="energy"), "cifar": _told(CIFAR),
    "hr-small": _told(SMALL), "hr-base": _told(BASE), "hr-large": _told(LARGE),
}  # fmt: skip
VQ_SIZES = {
    "small": IndexedConfig(replace(OURS, channels=8)),
    "cifar": IndexedConfig(replace(_told(CIFAR), channels=8)),
    "hr-small": IndexedConfig(_told(SMALL)),
    "hr-base": IndexedConfig(_told(BASE)),
    "hr-large": IndexedConfig(_told(LARGE)),
}


def build(config: SwinConfig = OURS, seed: int = 0) -> Swin:
    """A codec with fresh weights."""
    return Swin(config, rngs=nnx.Rngs(seed))


def build_indexed(config: IndexedConfig = VQ_SIZES["small"], seed: int = 0) -> Indexed:  # noqa: B008 (frozen)
    """A codec of indices with fresh weights."""
    rngs = nnx.Rngs(seed)
    return Indexed(config, SwinEncoder(config.net, rngs=rngs), SwinDecoder(config.net, rngs=rngs), rngs=rngs)


def _indexed_config(net: dict[str, Any], **settings: Any) -> IndexedConfig:
    return IndexedConfig(SwinConfig(**net), **settings)


def _resized(
    codec: Indexed, height: int | None = None, width: int | None = None, cbr: Fraction | None = None
) -> Indexed:
    if cbr is not None:
        raise ValueError("a codec of indices has one rate: leave cbr out")
    return codec if height is None else codec.adapted(height=height, width=width)


PAIRS = {"encoder": {"head": (1, 2), "linear": (1, 2)}, "decoder": {"head": (2, 1), "linear": (2, 1)}}
"""Channels next to the air are real parts and imaginary parts, side by side (`slice_from`)."""


def _from_analogue(codec: Indexed) -> tuple[str, ...]:
    """The nets of the analogue codec that ships, and of its maps the first ones, which it learned to send alone.

    None for another size than that one's.
    """
    analogue: Swin = SYSTEM.load(WEIGHTS / "stsc.safetensors")
    if codec.config.net != replace(analogue.config, channels=codec.config.net.channels):
        return ()
    sides = (
        (analogue.encoder, codec.encoder.net, "encoder"),
        (analogue.decoder, codec.decoder.net, "decoder"),
    )
    return tuple(
        f"{name}.net.{found}" for wide, net, name in sides for found in slice_from(wide, net, PAIRS[name])
    )


SYSTEM = analogue_system(
    "stsc", SIZES, build, partial(load_codec, name="stsc", config_type=SwinConfig, build=build),
    RECIPES, WEIGHTS / "stsc.safetensors", prefix_loss(), at_rate,
)  # fmt: skip
VQ = index_system(
    "stsc-vq", VQ_SIZES, build_indexed,
    partial(load_codec, name="stsc-vq", config_type=_indexed_config, build=build_indexed),
    VQ_RECIPES, WEIGHTS / "stsc_vq.safetensors", _resized, _from_analogue,
)  # fmt: skip
