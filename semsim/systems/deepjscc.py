"""DeepJSCC, small as published and strong, with analogue symbols and with VQ indices.

deepjscc: Bourtsoulatze, Kurka, Gunduz, arXiv 1809.01733, 256 complex symbols an image (CBR 1/12) or 1024 (1/3). The paper
trains one model per SNR; ours is one model for 0 to 20 dB. deepjscc-strong: a residual net of the cost of our Swin codec,
told the Es/N0, of any image size, trained at CBR 1/3 and less. deepjscc-vq: the published nets with a codebook for each
order in place of analogue symbols.
"""

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from flax import nnx

from models import DeepJSCC, DeepJSCCConfig, Indexed, IndexedConfig, ResidualConfig, ResidualJSCC
from models.deepjscc import ConvDecoder, ConvEncoder
from semsim.recipe import Recipe, Recipes
from semsim.systems.analogue import analogue_system, at_rate, prefix_loss
from semsim.systems.analogue import loss as loss
from semsim.systems.base import load_codec
from semsim.systems.per_order import index_system

WEIGHTS = Path(__file__).parent / "weights"
CHECKPOINT = WEIGHTS / "deepjscc.safetensors"

LONG = Recipe(40_000, 250, 2e-3, warmup=500, log_every=500, checkpoint_every=5_000)
RECIPES = Recipes(cpu=Recipe(steps=8_000, batch=64, learning_rate=2e-3, warmup=200), accelerator=LONG)
"""What ships is of the shorter one; the longer one was not run for this system."""
STRONG_RECIPES = Recipes(cpu=Recipe(10_000, 50, 2e-3, warmup=300), accelerator=LONG)
"""What ships is of the longer one."""
VQ_RECIPES = Recipes(cpu=Recipe(8_000, 50, 2e-3, warmup=200), accelerator=LONG)
"""Nothing ships; the longer one was not run for this system."""

SIZES = {
    "cbr1/12": DeepJSCCConfig(channels=4),
    "cbr1/6": DeepJSCCConfig(),
    "cbr1/3": DeepJSCCConfig(channels=16),
}
STRONG_SIZES = {"cifar": ResidualConfig()}
VQ_SIZES = {"cifar": IndexedConfig(DeepJSCCConfig(channels=4))}


def build(config: DeepJSCCConfig | None = None, seed: int = 0) -> DeepJSCC:
    """A codec with fresh weights; 256 symbols an image by default."""
    return DeepJSCC(config or DeepJSCCConfig(channels=4), rngs=nnx.Rngs(seed))


def build_strong(config: ResidualConfig | None = None, seed: int = 0) -> ResidualJSCC:
    """A strong codec with fresh weights."""
    return ResidualJSCC(config or ResidualConfig(), rngs=nnx.Rngs(seed))


def build_indexed(config: IndexedConfig, seed: int = 0) -> Indexed:
    """The published nets with codebooks between them."""
    rngs = nnx.Rngs(seed)
    return Indexed(config, ConvEncoder(config.net, rngs=rngs), ConvDecoder(config.net, rngs=rngs), rngs=rngs)


def load(path: Path = CHECKPOINT) -> DeepJSCC:
    """The codec of a checkpoint. Errors: ValueError that names what differs."""
    return load_codec(path, "deepjscc", DeepJSCCConfig, build)


def _indexed_config(net: dict[str, Any], **settings: Any) -> IndexedConfig:
    return IndexedConfig(DeepJSCCConfig(**net), **settings)


SYSTEM = analogue_system(
    "deepjscc", SIZES, build, load, RECIPES, CHECKPOINT,
    rates=((Fraction(1, 12), CHECKPOINT), (Fraction(1, 3), WEIGHTS / "deepjscc_third.safetensors")),
)  # fmt: skip
STRONG = analogue_system(
    "deepjscc-strong", STRONG_SIZES, build_strong,
    partial(load_codec, name="deepjscc-strong", config_type=ResidualConfig, build=build_strong),
    STRONG_RECIPES, WEIGHTS / "deepjscc_strong.safetensors", prefix_loss(), at_rate,
)  # fmt: skip
VQ = index_system(
    "deepjscc-vq", VQ_SIZES, build_indexed,
    partial(load_codec, name="deepjscc-vq", config_type=_indexed_config, build=build_indexed),
    VQ_RECIPES, None,
)  # fmt: skip
