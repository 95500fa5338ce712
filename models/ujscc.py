"""The uJSCC codec: one encoder and one decoder for every modulation order.

    image -> [patches -> residual blocks -> projection] -> N vectors -> nearest codeword of the order's codebook -> indices
    indices -> codewords -> [projection -> residual blocks -> pixel shuffle] -> image

The networks see tensors and the row of the order, never the channel. System: Huh, Seo, Choi, "Universal Joint
Source-Channel Coding for Modulation-Agnostic Semantic Communication", IEEE JSAC 43(7), 2025, arXiv 2405.10749. The layer
table is ours: the paper's is not public to us.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from models.layers import (
    ConvNorm,
    ResidualBlock,
    SwitchableBatchNorm,
    depth_to_space,
    space_to_depth,
    whole_units,
)
from models.vq import Quantised, VectorQuantizer

PATCH = 4  # one grid position per 4 x 4 pixels: all the work is done on that grid
OUTPUT_GAIN = 0.1
"""Adam moves every weight by the learning rate, whatever its gradient; summed over the thousand inputs of a pixel, that
may shake the image by more than the error to be learned. Tried once, together with a norm momentum of 0.9 for 0.97: 18.6 ->
23.3 dB for 256-QAM alone after 250 steps. The two changes were not separated."""


@dataclass(frozen=True)
class UJSCCConfig:
    """Structure of the codec; `(image_size / 2)^2` vectors an image: 256 for 32 x 32.

    image_size: height = width in pixels, a multiple of 4. sizes, dims: codebook size and vector dimension per order, in
    the order of the rows. width: channels on the image_size / 4 grid.
    """

    image_size: int = 32
    sizes: tuple[int, ...] = (2, 4, 16, 64, 256)
    dims: tuple[int, ...] = (1, 2, 2, 2, 2)
    width: int = 128
    encoder_blocks: int = 2
    decoder_blocks: int = 3

    def __post_init__(self) -> None:
        if self.image_size < PATCH or self.image_size % PATCH:
            raise ValueError(f"image_size must be a positive multiple of {PATCH}; got {self.image_size}")

    @property
    def least(self) -> tuple[int, int]:
        """Arrays and numbers that a codec has at least: cheap to say before it is built."""
        codewords = len(self.sizes) * max(self.sizes) * max(self.dims)
        return 2 * (self.encoder_blocks + self.decoder_blocks), codewords + self.width

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.image_size, self.image_size

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The least size of whole tiles, from this one on: `models.Tiled` makes them images of this codec."""
        return whole_units(height, width, self.image_size)

    @property
    def num_vectors(self) -> int:
        return (self.image_size // 2) ** 2


class Encoder(nnx.Module):
    """Image [b, h, w, 3] in [0, 1] -> vectors [b, n, d].

    A linear path from the pixels of each patch runs beside the blocks: transform coding is learned at once, and the blocks
    learn what it lacks (about 1 dB at 16-QAM and above after 20,000 images, one run each, with an earlier quantiser).
    """

    def __init__(self, config: UJSCCConfig, *, rngs: nnx.Rngs):
        rows, width, pixels = len(config.sizes), config.width, 3 * PATCH**2
        self.dim = max(config.dims)
        self.patches = ConvNorm(pixels, width, 3, rows, rngs=rngs)
        self.blocks = nnx.List([ResidualBlock(width, rows, rngs=rngs) for _ in range(config.encoder_blocks)])
        self.project = nnx.Conv(width, 4 * self.dim, (1, 1), use_bias=False, rngs=rngs)
        self.linear = nnx.Conv(pixels, 4 * self.dim, (1, 1), use_bias=False, rngs=rngs)
        # Not affine: with a scale to learn, the vectors outgrow the codebook that chases them.
        self.norm = SwitchableBatchNorm(4 * self.dim, rows, affine=False)

    def __call__(
        self, image: Float[Array, "b h w 3"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b n d"]:
        patches = space_to_depth(2 * image - 1, PATCH)
        x = nnx.relu(self.patches(patches, row, train=train))
        for block in self.blocks:
            x = block(x, row, train=train)
        z = self.norm(self.project(x) + self.linear(patches), row, train=train)
        return depth_to_space(z, 2).reshape(z.shape[0], -1, self.dim)


class Decoder(nnx.Module):
    """Vectors [b, n, d] -> image [b, h, w, 3]; unclipped, so that the gradient survives at the ends of the range.

    A linear path from codewords to pixels runs beside the blocks, the mirror of the encoder's.
    """

    def __init__(self, config: UJSCCConfig, *, rngs: nnx.Rngs):
        rows, width, code, pixels = len(config.sizes), config.width, 4 * max(config.dims), 3 * PATCH**2
        self.grid = config.image_size // 2
        self.project = ConvNorm(code, width, 3, rows, rngs=rngs)
        self.blocks = nnx.List([ResidualBlock(width, rows, rngs=rngs) for _ in range(config.decoder_blocks)])
        self.pixels = nnx.Conv(width, pixels, (3, 3), padding="SAME", rngs=rngs)
        self.linear = nnx.Conv(code, pixels, (3, 3), padding="SAME", use_bias=False, rngs=rngs)

    def __call__(
        self, vectors: Float[Array, "b n d"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b h w 3"]:
        b, _, d = vectors.shape
        code = space_to_depth(vectors.reshape(b, self.grid, self.grid, d), 2)
        x = nnx.relu(self.project(code, row, train=train))
        for block in self.blocks:
            x = block(x, row, train=train)
        return depth_to_space(OUTPUT_GAIN * (self.pixels(x) + self.linear(code)), PATCH) + 0.5


class UJSCC(nnx.Module):
    """Encoder, one codebook per order, decoder. `row` [b] is the order of each image, traced."""

    def __init__(self, config: UJSCCConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config, rngs=rngs)
        self.quantizer = VectorQuantizer(config.sizes, config.dims, init="gray", rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)

    def vectors(
        self, image: Float[Array, "b h w 3"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b n d"]:
        """What is quantised."""
        return self.encoder(image, row, train=train)

    def picture(
        self, vectors: Float[Array, "b n d"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b h w 3"]:
        """Image of codewords, not clipped."""
        return self.decoder(vectors, row, train=train)

    def encode(self, image: Float[Array, "b h w 3"], row: Int[Array, " b"]) -> Int[Array, "b n"]:
        """What is sent: one index per vector, below `config.sizes[row]`."""
        return self.quantizer.nearest(self.vectors(image, row), row)

    def quantise(
        self, image: Float[Array, "b h w 3"], row: Int[Array, " b"], *, train: bool = False
    ) -> Quantised:
        return self.quantizer(self.vectors(image, row, train=train), row, train=train)

    def decode(self, indices: Int[Array, "b n"], row: Int[Array, " b"]) -> Float[Array, "b h w 3"]:
        """Image from received indices, clipped to [0, 1]."""
        return jnp.clip(self.picture(self.quantizer.lookup(indices, row), row), 0.0, 1.0)

    def decode_soft(self, posterior: Float[Array, "b n k"], row: Int[Array, " b"]) -> Float[Array, "b h w 3"]:
        """Image from P(index | received), through the posterior mean of each codeword; clipped to [0, 1]."""
        return jnp.clip(self.picture(self.quantizer.expectation(posterior, row), row), 0.0, 1.0)
