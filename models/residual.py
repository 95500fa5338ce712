"""A strong convolutional codec: residual blocks on the grid of 4 x 4 patches, told the Es/N0 by attention features.

    image -> patches -> convolution -> blocks [x + gate(convolution, PReLU, convolution)] -> convolution -> features
    features -> convolution -> blocks -> convolution -> patches -> image

What the small published DeepJSCC lacks: width, depth, and knowledge of the channel. The gates are those of Xu et al.,
"Wireless Image Transmission Using Deep Source Channel Coding With Attention Modules", IEEE TCSVT 2022, arXiv 2012.00533;
the rest is ours, with a linear path from pixels to features and back, as our uJSCC has.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.analogue import Analogue
from models.layers import depth_to_space, space_to_depth, whole_units

PATCH = 4
SNR_SCALE = 10.0
"""dB that count as one where the Es/N0 enters a net."""


@dataclass(frozen=True)
class ResidualConfig:
    """Structure of the codec.

    channels: reals made of a patch of 4 x 4, an even number; sent: how many of them are sent, None for all; choice: which
    pairs: the first ones, or those of most energy in each image. The bandwidth ratio is sent / 96. size: channels of the
    blocks. height, width: of the images.
    Errors: ValueError for numbers that make no codec.
    """

    size: int = 96
    blocks: int = 2
    channels: int = 32
    sent: int | None = None
    choice: Literal["first", "energy"] = "first"
    height: int = 32
    width: int = 32

    def __post_init__(self) -> None:
        if min(self.size, self.blocks) < 1:
            raise ValueError(f"size and blocks are at least 1; got {self}")
        if self.channels < 2 or self.channels % 2:
            raise ValueError(f"channels are pairs of reals, an even number from 2 on; got {self.channels}")
        if self.sent is not None and (self.sent % 2 or not 2 <= self.sent <= self.channels):
            raise ValueError(
                f"of {self.channels} channels an even number from 2 on can be sent; got {self.sent}"
            )
        if self.choice not in ("first", "energy"):
            raise ValueError(f"maps are chosen as the first ones or by energy; got {self.choice!r}")
        if min(self.height, self.width) < PATCH or self.height % PATCH or self.width % PATCH:
            raise ValueError(
                f"an image of {self.height} x {self.width} is not made of patches of {PATCH} x {PATCH}"
            )

    @property
    def least(self) -> tuple[int, int]:
        """Arrays and numbers that a codec has at least: cheap to say before it is built."""
        return 2 * self.blocks, self.size

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.height, self.width

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The least size, from this one on, of whole patches."""
        return whole_units(height, width, PATCH)

    @property
    def patch(self) -> int:
        """Pixels on a side that one position of the grid stands for."""
        return PATCH

    @property
    def grid(self) -> tuple[int, int]:
        return self.height // PATCH, self.width // PATCH

    @property
    def maps(self) -> int:
        """Complex maps: pairs of channels."""
        return self.channels // 2

    @property
    def sent_maps(self) -> int:
        return (self.sent or self.channels) // 2

    @property
    def told(self) -> bool:
        """The nets adapt to the Es/N0."""
        return True

    @property
    def num_symbols(self) -> int:
        """Complex symbols of an image."""
        return self.grid[0] * self.grid[1] * self.sent_maps


class GatedBlock(nnx.Module):
    """x + gate * f(x): two 3 x 3 convolutions, and a gate for each channel from its mean and the Es/N0."""

    def __init__(self, size: int, *, rngs: nnx.Rngs):
        self.first = nnx.Conv(size, size, (3, 3), rngs=rngs)
        self.second = nnx.Conv(size, size, (3, 3), kernel_init=nnx.initializers.zeros_init(), rngs=rngs)
        self.slope = nnx.PReLU(0.25)
        self.down = nnx.Linear(size + 1, size // 4 or 1, rngs=rngs)
        self.up = nnx.Linear(size // 4 or 1, size, rngs=rngs)

    def __call__(self, x: Float[Array, "b r s c"], esno_db: Float[Array, " b"]) -> Float[Array, "b r s c"]:
        context = jnp.concatenate([jnp.mean(x, axis=(1, 2)), esno_db[:, None] / SNR_SCALE], axis=-1)
        gate = 2 * nnx.sigmoid(self.up(nnx.relu(self.down(context))))
        return x + gate[:, None, None, :] * self.second(self.slope(self.first(x)))


class ResidualEncoder(nnx.Module):
    """Image -> [b, h / 4, w / 4, channels]."""

    def __init__(self, config: ResidualConfig, *, rngs: nnx.Rngs):
        pixels = 3 * PATCH**2
        self.enter = nnx.Conv(pixels, config.size, (3, 3), rngs=rngs)
        self.blocks = nnx.List([GatedBlock(config.size, rngs=rngs) for _ in range(config.blocks)])
        self.leave = nnx.Conv(config.size, config.channels, (3, 3), rngs=rngs)
        self.linear = nnx.Linear(pixels, config.channels, rngs=rngs)

    def __call__(
        self, image: Float[Array, "b h w 3"], esno_db: Float[Array, " b"]
    ) -> Float[Array, "b r s c"]:
        patches = space_to_depth(2 * image - 1, PATCH)
        x = self.enter(patches)
        for block in self.blocks:
            x = block(x, esno_db)
        return self.leave(nnx.relu(x)) + self.linear(patches)


class ResidualDecoder(nnx.Module):
    """[b, r, s, channels] -> image; nothing bounds its values, which is for metrics to do."""

    def __init__(self, config: ResidualConfig, *, rngs: nnx.Rngs):
        pixels = 3 * PATCH**2
        self.enter = nnx.Conv(config.channels, config.size, (3, 3), rngs=rngs)
        self.blocks = nnx.List([GatedBlock(config.size, rngs=rngs) for _ in range(config.blocks)])
        self.leave = nnx.Conv(config.size, pixels, (3, 3), rngs=rngs)
        self.linear = nnx.Linear(config.channels, pixels, rngs=rngs)

    def __call__(
        self, features: Float[Array, "b r s c"], esno_db: Float[Array, " b"]
    ) -> Float[Array, "b h w 3"]:
        x = self.enter(features)
        for block in self.blocks:
            x = block(x, esno_db)
        return depth_to_space(self.leave(nnx.relu(x)) + self.linear(features), PATCH)


class ResidualJSCC(Analogue):
    """The codec. `adapted(height=.., width=.., sent=..)` has the same weights for another image size and rate."""

    def __init__(self, config: ResidualConfig, *, rngs: nnx.Rngs):
        super().__init__(config, ResidualEncoder(config, rngs=rngs), ResidualDecoder(config, rngs=rngs))
