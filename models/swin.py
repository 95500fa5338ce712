"""Swin codec: pixels to complex channel symbols and back by window attention on a grid that is merged and divided.

    image -> patches of 2 x 2 -> stages [merge 2 x 2, blocks] -> norm (-> ModNet) -> linear -> C reals a token -> unit energy
    received symbols -> linear (-> ModNet) -> stages [blocks, divide 2 x 2] -> image

The structure of SwinJSCC (Yang et al., "SwinJSCC: Taming Swin Transformer for Deep Joint Source-Channel Coding", IEEE TCCN
2024, arXiv 2308.09361) and WITT (arXiv 2211.00937), written from their description; parameter counts are equal to theirs.
Different by decision: energy is normalised image by image, so that no image's scale depends on its batch, and none goes
beside the symbols.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Complex, Float

from models.deepjscc import unit_energy
from models.layers import depth_to_space
from models.windows import TRUNCATED, SwinBlock, fitting_window

MOD_LAYERS = 7


@dataclass(frozen=True)
class SwinConfig:
    """Structure of the codec; the image size is not part of it.

    widths, depths, heads: of the encoder's stages; the decoder mirrors them. window: side, in tokens. channels: reals
    sent of a token of the last stage, an even number. snr_adaptive: a ModNet on each side, told the Es/N0.
    Errors: ValueError for stages that do not agree and numbers that make no codec.
    """

    widths: tuple[int, ...] = (128, 256)
    depths: tuple[int, ...] = (2, 4)
    heads: tuple[int, ...] = (4, 8)
    window: int = 2
    mlp_ratio: int = 4
    channels: int = 32
    snr_adaptive: bool = False

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.depths) == len(self.heads) > 0:
            raise ValueError(f"one width, depth and number of heads for each stage; got {self}")
        if min(*self.widths, *self.depths, *self.heads, self.window, self.mlp_ratio) < 1:
            raise ValueError(f"widths, depths, heads, window and mlp_ratio are at least 1; got {self}")
        if self.channels < 2 or self.channels % 2:
            raise ValueError(f"channels are pairs of reals, an even number from 2 on; got {self.channels}")

    @property
    def patch(self) -> int:
        """Pixels on a side that one token of the last stage stands for."""
        return 2 ** len(self.widths)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Tokens of the last stage. Errors: ValueError for an image that patches or windows do not divide."""
        if min(height, width) < self.patch or height % self.patch or width % self.patch:
            raise ValueError(
                f"an image of {height} x {width} is not made of patches of {self.patch} x {self.patch}"
            )
        for stage in range(1, len(self.widths) + 1):
            fitting_window((height >> stage, width >> stage), self.window, 0)
        return height // self.patch, width // self.patch

    def num_symbols(self, height: int, width: int) -> int:
        """Complex symbols of an image."""
        rows, columns = self.grid(height, width)
        return rows * columns * self.channels // 2


CIFAR = SwinConfig()
SMALL = SwinConfig((128, 192, 256, 320), (2, 2, 2, 2), (4, 6, 8, 10), 8, channels=96)
BASE = SwinConfig((128, 192, 256, 320), (2, 2, 6, 2), (4, 6, 8, 10), 8, channels=96)
LARGE = SwinConfig((128, 192, 256, 320), (2, 2, 18, 2), (4, 6, 8, 10), 8, channels=96)
"""The published sizes: CIFAR-10 at CBR 1/3, and high resolution at CBR 1/16."""


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

    The features enter without their gradient: the net adapts to them, not they to it. Parameters: 3,159,424 at 256 channels.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        hidden = channels * 3 // 2
        widths = (channels, *([hidden] * MOD_LAYERS), channels)
        self.scales = nnx.List(
            [nnx.Linear(i, o, rngs=rngs) for i, o in zip(widths[:-1], widths[1:], strict=True)]
        )
        self.told = nnx.List([
            nnx.List([nnx.Linear(i, hidden, rngs=rngs) for i in (1, hidden, hidden)]) for _ in range(MOD_LAYERS)
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
        self.config = config
        self.embed = nnx.Conv(3, widths[0], (2, 2), strides=2, padding="VALID", rngs=rngs)
        self.merges = nnx.List(
            [PatchMerging(i, o, rngs=rngs) for i, o in zip(widths[:-1], widths[1:], strict=True)]
        )
        self.stages = nnx.List([_stage(config, stage, rngs) for stage in range(len(widths))])
        self.norm = nnx.LayerNorm(widths[-1], epsilon=1e-5, rngs=rngs)
        self.modnet = ModNet(widths[-1], rngs=rngs) if config.snr_adaptive else None
        self.head = nnx.Linear(widths[-1], config.channels, kernel_init=TRUNCATED, rngs=rngs)

    def __call__(
        self, image: Float[Array, "b h w 3"], esno_db: Float[Array, " b"]
    ) -> Float[Array, "b r s c"]:
        x = self.embed(image)
        for number, blocks in enumerate(self.stages):
            x = self.merges[number - 1](x) if number else x
            for block in blocks:
                x = block(x)
        x = self.norm(x)
        return self.head(x if self.modnet is None else self.modnet(x, esno_db))


class SwinDecoder(nnx.Module):
    """C reals a token to an image; nothing bounds its values, which is for metrics to do."""

    def __init__(self, config: SwinConfig, *, rngs: nnx.Rngs):
        widths = config.widths
        self.config = config
        self.head = nnx.Linear(config.channels, widths[-1], kernel_init=TRUNCATED, rngs=rngs)
        self.modnet = ModNet(widths[-1], rngs=rngs) if config.snr_adaptive else None
        order = range(len(widths) - 1, -1, -1)
        self.stages = nnx.List([_stage(config, stage, rngs) for stage in order])
        self.divisions = nnx.List([
            PatchDivision(widths[stage], widths[stage - 1] if stage else 3, rngs=rngs) for stage in order
        ])  # fmt: skip

    def __call__(
        self, features: Float[Array, "b r s c"], esno_db: Float[Array, " b"]
    ) -> Float[Array, "b h w 3"]:
        x = self.head(features)
        x = x if self.modnet is None else self.modnet(x, esno_db)
        for blocks, divide in zip(self.stages, self.divisions, strict=True):
            for block in blocks:
                x = block(x)
            x = divide(x)
        return x


class Swin(nnx.Module):
    """The codec, for images of any size that patches and windows divide.

    Law: the symbols of every image have mean |s|^2 = 1, and only they reach the decoder.
    """

    def __init__(self, config: SwinConfig = CIFAR, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = SwinEncoder(config, rngs=rngs)
        self.decoder = SwinDecoder(config, rngs=rngs)

    def encode(
        self, image: Float[Array, "b h w 3"], esno_db: Float[Array, " b"] | float = 0.0
    ) -> Complex[Array, "b n"]:
        """Image in [0, 1] -> symbols. esno_db: read by an SNR-adaptive codec only. Errors: ValueError for a size that does
        not divide."""
        self.config.grid(*image.shape[1:3])
        features = self.encoder(image, jnp.broadcast_to(jnp.asarray(esno_db, image.dtype), image.shape[:1]))
        real, imaginary = jnp.split(features, 2, axis=-1)
        return unit_energy(lax.complex(real, imaginary).reshape(len(image), -1))

    def decode(
        self,
        symbols: Complex[Array, "b n"],
        height: int,
        width: int,
        esno_db: Float[Array, " b"] | float = 0.0,
    ) -> Float[Array, "b h w 3"]:
        """Equalised symbols -> image of that size. Errors: ValueError for another number of symbols."""
        wanted = self.config.num_symbols(height, width)
        if symbols.shape[-1] != wanted:
            raise ValueError(
                f"an image of {height} x {width} is {wanted} symbols of this codec; got {symbols.shape[-1]}"
            )
        maps = symbols.reshape(len(symbols), *self.config.grid(height, width), -1)
        features = jnp.concatenate([maps.real, maps.imag], axis=-1)
        return self.decoder(
            features, jnp.broadcast_to(jnp.asarray(esno_db, features.dtype), symbols.shape[:1])
        )


def _stage(config: SwinConfig, stage: int, rngs: nnx.Rngs) -> nnx.List:
    """Blocks whose windows are shifted by half a side in every other one."""
    return nnx.List([
        SwinBlock(
            config.widths[stage], config.heads[stage], config.window, config.window // 2 * (number % 2), config.mlp_ratio,
            rngs=rngs,
        )
        for number in range(config.depths[stage])
    ])  # fmt: skip
