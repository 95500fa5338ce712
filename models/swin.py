"""Swin codec: pixels to complex channel symbols and back by window attention on a grid that is merged and divided.

    image -> patches of 2 x 2 -> stages [merge 2 x 2, blocks] -> norm (-> ModNet) -> linear -> C reals a token -> unit energy
    received symbols -> linear (-> ModNet) -> stages [blocks, divide 2 x 2] -> image

The structure of SwinJSCC (Yang et al., "SwinJSCC: Taming Swin Transformer for Deep Joint Source-Channel Coding", IEEE TCCN
2024, arXiv 2308.09361) and WITT (arXiv 2211.00937), written from their description; parameter counts are equal to theirs.
Different by decision: energy is normalised image by image, so that no image's scale depends on its batch, and none goes
beside the symbols.
"""

from dataclasses import dataclass, replace
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from models.analogue import Analogue
from models.layers import depth_to_space, space_to_depth, whole_units
from models.windows import TRUNCATED, SwinBlock, fitting_window

BLOCK_ARRAYS, GATE_ARRAYS = 13, 8
"""Of a Swin block and of a gate of the ModNet."""


@dataclass(frozen=True)
class SwinConfig:
    """Structure of the codec.

    widths, depths, heads: of the encoder's stages; the decoder mirrors them. window: side, in tokens. channels: reals
    made of a token of the last stage, an even number; sent: how many of them are sent, None for all;
    choice: which pairs: the first ones, or those of most energy in each image. mod_layers: gates of
    the ModNet on each side, which is told the Es/N0; 0 for none. linear_path: maps from pixels to features and back that
    run beside the nets, which learn what these lack; not in the published codec. height, width: of the images; weights do
    not depend on them.
    Errors: ValueError for stages that do not agree, numbers that make no codec, and an image that patches or windows do
    not divide.
    """

    widths: tuple[int, ...] = (128, 256)
    depths: tuple[int, ...] = (2, 4)
    heads: tuple[int, ...] = (4, 8)
    window: int = 2
    mlp_ratio: int = 4
    channels: int = 32
    sent: int | None = None
    choice: Literal["first", "energy"] = "first"
    mod_layers: int = 0
    linear_path: bool = False
    height: int = 32
    width: int = 32

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.depths) == len(self.heads) > 0:
            raise ValueError(f"one width, depth and number of heads for each stage; got {self}")
        if min(*self.widths, *self.depths, *self.heads, self.window, self.mlp_ratio) < 1:
            raise ValueError(f"widths, depths, heads, window and mlp_ratio are at least 1; got {self}")
        if self.channels < 2 or self.channels % 2:
            raise ValueError(f"channels are pairs of reals, an even number from 2 on; got {self.channels}")
        if self.sent is not None and (self.sent % 2 or not 2 <= self.sent <= self.channels):
            raise ValueError(
                f"of {self.channels} channels an even number from 2 on can be sent; got {self.sent}"
            )
        if self.choice not in ("first", "energy"):
            raise ValueError(f"maps are chosen as the first ones or by energy; got {self.choice!r}")
        if self.mod_layers < 0:
            raise ValueError(f"mod_layers is a number of gates; got {self.mod_layers}")
        if min(self.height, self.width) < self.patch or self.height % self.patch or self.width % self.patch:
            raise ValueError(
                f"an image of {self.height} x {self.width} is not made of patches of {self.patch} x {self.patch}"
            )
        for stage in range(1, len(self.widths) + 1):
            fitting_window((self.height >> stage, self.width >> stage), self.window, 0)

    @property
    def least(self) -> tuple[int, int]:
        """Arrays and numbers that a codec has at least: cheap to say before it is built."""
        return 2 * (BLOCK_ARRAYS * sum(self.depths) + GATE_ARRAYS * self.mod_layers), sum(self.widths)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.height, self.width

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The least size, from this one on, of whole patches and windows.

        The size itself, or multiples of a window of the last stage, which windows of every stage divide.
        """
        try:
            return replace(self, height=height, width=width).image_shape
        except ValueError:
            return whole_units(height, width, self.patch * self.window)

    @property
    def patch(self) -> int:
        """Pixels on a side that one token of the last stage stands for."""
        return 2 ** len(self.widths)

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens of the last stage."""
        return self.height // self.patch, self.width // self.patch

    @property
    def maps(self) -> int:
        """Complex maps: pairs of channels."""
        return self.channels // 2

    @property
    def sent_maps(self) -> int:
        return (self.sent or self.channels) // 2

    @property
    def told(self) -> bool:
        """Whether the nets adapt to the Es/N0."""
        return self.mod_layers > 0

    @property
    def num_symbols(self) -> int:
        """Complex symbols of an image."""
        return self.grid[0] * self.grid[1] * self.sent_maps


CIFAR = SwinConfig()
SMALL = SwinConfig((128, 192, 256, 320), (2, 2, 2, 2), (4, 6, 8, 10), 8, channels=96, height=256, width=256)
BASE = replace(SMALL, depths=(2, 2, 6, 2))
LARGE = replace(SMALL, depths=(2, 2, 18, 2))
"""The published sizes: CIFAR-10 at CBR 1/3, and high resolution at CBR 1/16, trained on crops of 256 x 256."""
MOD_LAYERS = 7
"""Gates of the published ModNet."""
GROUPS = {r"qkv": (1, 3), r"merges\.\d+\.(linear|norm)": (4, 1), r"divisions\.\d+\.linear": (1, 4)}
"""Layers, by the end of their names, whose (input, output) channels are several groups side by side: queries, keys and
values; neighbours."""


class PatchMerging(nnx.Module):
    """2 x 2 tokens side by side, normalised, to one of `after` channels. Parameters: 8 B + 4 B A."""

    def __init__(self, before: int, after: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(4 * before, epsilon=1e-5, rngs=rngs)
        self.linear = nnx.Linear(4 * before, after, use_bias=False, kernel_init=TRUNCATED, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hh ww cc"]:
        # In the published order (0, 0), (1, 0), (0, 1), (1, 1), so that weights can be imported.
        squares = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.linear(self.norm(jnp.concatenate(squares, axis=-1)))


class PatchDivision(nnx.Module):
    """One token, normalised, to 2 x 2 of `after` channels. Parameters: 2 B + 4 B A."""

    def __init__(self, before: int, after: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(before, epsilon=1e-5, rngs=rngs)
        self.linear = nnx.Linear(before, 4 * after, use_bias=False, kernel_init=TRUNCATED, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hh ww cc"]:
        return depth_to_space(self.linear(self.norm(x)), 2)


class ModNet(nnx.Module):
    """Scales features by what the channel is like: gates in (0, 1) from the features and the Es/N0 in dB.

    The features enter without their gradient: the net adapts to them, not they to it. Parameters: 3,159,424 at 256 channels
    and 7 layers.
    """

    def __init__(self, channels: int, layers: int, *, rngs: nnx.Rngs):
        hidden = channels * 3 // 2
        widths = (channels, *([hidden] * layers), channels)
        self.scales = nnx.List(
            [nnx.Linear(i, o, rngs=rngs) for i, o in zip(widths[:-1], widths[1:], strict=True)]
        )
        self.told = nnx.List([
            nnx.List([nnx.Linear(i, hidden, rngs=rngs) for i in (1, hidden, hidden)]) for _ in range(layers)
        ])  # fmt: skip

    def __call__(self, x: Float[Array, "b h w c"], esno_db: Float[Array, " b"]) -> Float[Array, "b h w c"]:
        gate = lax.stop_gradient(x)
        for scale, (first, second, third) in zip(self.scales[:-1], self.told, strict=True):
            level = nnx.relu(second(nnx.relu(first(esno_db[:, None]))))
            gate = scale(gate) * nnx.sigmoid(third(level))[:, None, None, :]
        return x * nnx.sigmoid(self.scales[-1](gate))


class SwinEncoder(nnx.Module):
    """Image to C reals a token."""

    def __init__(self, config: SwinConfig, *, rngs: nnx.Rngs):
        widths = config.widths
        self.patch = config.patch
        self.embed = nnx.Conv(3, widths[0], (2, 2), strides=2, padding="VALID", rngs=rngs)
        self.merges = nnx.List(
            [PatchMerging(i, o, rngs=rngs) for i, o in zip(widths[:-1], widths[1:], strict=True)]
        )
        self.stages = nnx.List([_stage(config, stage, rngs) for stage in range(len(widths))])
        self.norm = nnx.LayerNorm(widths[-1], epsilon=1e-5, rngs=rngs)
        self.modnet = _modnet(config, rngs)
        self.head = nnx.Linear(widths[-1], config.channels, kernel_init=TRUNCATED, rngs=rngs)
        pixels = 3 * config.patch**2
        self.linear = nnx.Linear(pixels, config.channels, rngs=rngs) if config.linear_path else None

    def __call__(
        self, image: Float[Array, "b h w 3"], esno_db: Float[Array, " b"]
    ) -> Float[Array, "b r s c"]:
        x = self.embed(image)
        for number, blocks in enumerate(self.stages):
            x = self.merges[number - 1](x) if number else x
            for block in blocks:
                x = block(x)
        x = self.norm(x)
        features = self.head(x if self.modnet is None else self.modnet(x, esno_db))
        if self.linear is None:
            return features
        return features + self.linear(space_to_depth(2 * image - 1, self.patch))


class SwinDecoder(nnx.Module):
    """C reals a token to an image; nothing bounds its values, which is for metrics to do."""

    def __init__(self, config: SwinConfig, *, rngs: nnx.Rngs):
        widths = config.widths
        self.patch = config.patch
        self.head = nnx.Linear(config.channels, widths[-1], kernel_init=TRUNCATED, rngs=rngs)
        self.modnet = _modnet(config, rngs)
        order = range(len(widths) - 1, -1, -1)
        self.stages = nnx.List([_stage(config, stage, rngs) for stage in order])
        self.divisions = nnx.List([
            PatchDivision(widths[stage], widths[stage - 1] if stage else 3, rngs=rngs) for stage in order
        ])  # fmt: skip
        pixels = 3 * config.patch**2
        self.linear = nnx.Linear(config.channels, pixels, rngs=rngs) if config.linear_path else None

    def __call__(
        self, features: Float[Array, "b r s c"], esno_db: Float[Array, " b"]
    ) -> Float[Array, "b h w 3"]:
        x = self.head(features)
        x = x if self.modnet is None else self.modnet(x, esno_db)
        for blocks, divide in zip(self.stages, self.divisions, strict=True):
            for block in blocks:
                x = block(x)
            x = divide(x)
        return x if self.linear is None else x + depth_to_space(self.linear(features), self.patch)


class Swin(Analogue):
    """The codec. `adapted(height=.., width=.., sent=..)` has the same weights for another image size and rate."""

    def __init__(self, config: SwinConfig = CIFAR, *, rngs: nnx.Rngs):
        super().__init__(config, SwinEncoder(config, rngs=rngs), SwinDecoder(config, rngs=rngs))


def _modnet(config: SwinConfig, rngs: nnx.Rngs) -> ModNet | None:
    return ModNet(config.widths[-1], config.mod_layers, rngs=rngs) if config.mod_layers else None


def _stage(config: SwinConfig, stage: int, rngs: nnx.Rngs) -> nnx.List:
    """Blocks whose windows are shifted by half a side in every other one."""
    return nnx.List([
        SwinBlock(
            config.widths[stage], config.heads[stage], config.window, config.window // 2 * (number % 2), config.mlp_ratio,
            rngs=rngs,
        )
        for number in range(config.depths[stage])
    ])  # fmt: skip
