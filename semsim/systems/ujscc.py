"""uJSCC: one codec for five modulation orders; codeword i of the order's codebook is constellation point i.

The link is that of every codec of indices, `semsim.systems.per_order`; net, recipe and weights are here.

Huh, Seo, Choi, "Universal Joint Source-Channel Coding for Modulation-Agnostic Semantic Communication", IEEE JSAC 43(7),
2025, arXiv 2405.10749.
"""

from pathlib import Path

from flax import nnx

from models import UJSCC, UJSCCConfig
from semsim.recipe import Recipe, Recipes
from semsim.systems.base import load_codec
from semsim.systems.per_order import AUTO as AUTO
from semsim.systems.per_order import BITS as BITS
from semsim.systems.per_order import BOUNDARIES_DB as BOUNDARIES_DB
from semsim.systems.per_order import GRID as GRID
from semsim.systems.per_order import ORDERS as ORDERS
from semsim.systems.per_order import SNR_RANGE_DB as SNR_RANGE_DB
from semsim.systems.per_order import Decoding as Decoding
from semsim.systems.per_order import choose_order as choose_order
from semsim.systems.per_order import index_system as index_system
from semsim.systems.per_order import ledger as ledger
from semsim.systems.per_order import loss as loss
from semsim.systems.per_order import natural_labels as natural_labels
from semsim.systems.per_order import snr_interval as snr_interval
from semsim.systems.per_order import transmit as transmit
from semsim.systems.per_order import transmit_bits as transmit_bits
from semsim.systems.per_order import upkeep as upkeep

RECIPES = Recipes(
    cpu=Recipe(steps=5_000, batch=50, learning_rate=3e-3, warmup=100),
    accelerator=Recipe(40_000, 250, 3e-3, warmup=500, log_every=500, checkpoint_every=5_000),
)
"""On a CPU small batches, because at that length the number of steps counts. What ships is of the longer one."""

CHECKPOINT = Path(__file__).parent / "weights" / "ujscc.safetensors"
SIZES = {"cifar": UJSCCConfig(), "wide": UJSCCConfig(width=192, encoder_blocks=3, decoder_blocks=4)}
"""wide: three times the parameters. No weights of it ship: after half the images it gained 0.0 to 0.3 dB up to 64-QAM over
"cifar" and lost 0.3 at 256-QAM, for three times the bytes."""


def build(config: UJSCCConfig | None = None, seed: int = 0) -> UJSCC:
    """A codec with fresh weights."""
    return UJSCC(config or UJSCCConfig(), rngs=nnx.Rngs(seed))


def load(path: Path = CHECKPOINT) -> UJSCC:
    """The codec of a checkpoint. Errors: ValueError that names what differs."""
    return load_codec(path, "ujscc", UJSCCConfig, build)


SYSTEM = index_system("ujscc", SIZES, build, load, RECIPES, CHECKPOINT)
