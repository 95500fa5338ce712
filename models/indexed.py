"""Features as VQ indices: any encoder and decoder of `models.analogue` as a codec that sends indices.

    image -> encoder -> features -> normalised for the order -> pairs of reals -> nearest codeword of the order -> indices
    indices -> codewords -> features -> decoder -> image

One codebook for each order; the nets are told the Es/N0 that an order is meant for, and adapt to it where they can.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from models.analogue import check_image
from models.layers import SwitchableBatchNorm
from models.vq import Quantised, VectorQuantizer


@dataclass(frozen=True)
class IndexedConfig:
    """Structure of the codec. net: of encoder and decoder, all of whose channels are used. sizes, dims: codebook size and
    vector dimension of each order; told_db: what the nets are told at it.
    Errors: ValueError for tables of different length and for dimensions above 2.
    """

    net: Any
    sizes: tuple[int, ...] = (2, 4, 16, 64, 256)
    dims: tuple[int, ...] = (1, 2, 2, 2, 2)
    told_db: tuple[float, ...] = (2.5, 8.5, 16.0, 23.0, 28.0)

    def __post_init__(self) -> None:
        if not len(self.sizes) == len(self.dims) == len(self.told_db) > 0:
            raise ValueError(f"one size, dimension and Es/N0 for each order; got {self}")
        if max(self.dims) != 2:
            raise ValueError(f"a vector is a pair of reals, of which an order may use one; got {self.dims}")

    @property
    def least(self) -> tuple[int, int]:
        """Arrays and numbers that a codec has at least: cheap to say before it is built."""
        arrays, numbers = self.net.least
        return arrays, numbers + len(self.sizes) * max(self.sizes) * max(self.dims)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.net.image_shape

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The least size that the net takes, from this one on."""
        return self.net.fitting(height, width)

    @property
    def num_vectors(self) -> int:
        """Indices of an image."""
        rows, columns = self.net.grid
        return rows * columns * self.net.maps


class VectorEncoder(nnx.Module):
    """Image -> vectors [b, n, 2] of mean 0 and variance 1, so that they do not outgrow the codebook that chases them."""

    def __init__(self, config: IndexedConfig, net: nnx.Module):
        self.told_db = config.told_db
        self.net: Any = net
        self.norm = SwitchableBatchNorm(2 * config.net.maps, len(config.sizes), affine=False)

    def __call__(
        self, image: Float[Array, "b h w 3"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b n d"]:
        features = self.net(image, jnp.asarray(self.told_db, image.dtype)[row])
        return self.norm(features, row, train=train).reshape(len(image), -1, 2)


class VectorDecoder(nnx.Module):
    """Vectors [b, n, 2] on a grid -> image; nothing bounds its values."""

    def __init__(self, config: IndexedConfig, net: nnx.Module):
        self.told_db = config.told_db
        self.net: Any = net

    def __call__(
        self,
        vectors: Float[Array, "b n d"],
        row: Int[Array, " b"],
        grid: tuple[int, int],
    ) -> Float[Array, "b h w 3"]:
        features = vectors.reshape(len(vectors), *grid, -1)
        return self.net(features, jnp.asarray(self.told_db, vectors.dtype)[row])


class Indexed(nnx.Module):
    """Encoder, one codebook per order, decoder. `row` [b] is the order of each image, traced."""

    def __init__(self, config: IndexedConfig, encoder: nnx.Module, decoder: nnx.Module, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = VectorEncoder(config, encoder)
        self.quantizer = VectorQuantizer(config.sizes, config.dims, init="gray", rngs=rngs)
        self.decoder = VectorDecoder(config, decoder)

    def vectors(
        self, image: Float[Array, "b h w 3"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b n d"]:
        """What is quantised. Errors: ValueError for another image size."""
        check_image(self.config.image_shape, image)
        return self.encoder(image, row, train=train)

    def picture(
        self, vectors: Float[Array, "b n d"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b h w 3"]:
        """Image of codewords, not clipped. The nets have no statistics that training would move."""
        return self.decoder(vectors, row, self.config.net.grid)

    def quantise(
        self, image: Float[Array, "b h w 3"], row: Int[Array, " b"], *, train: bool = False
    ) -> Quantised:
        return self.quantizer(self.vectors(image, row, train=train), row, train=train)

    def encode(self, image: Float[Array, "b h w 3"], row: Int[Array, " b"]) -> Int[Array, "b n"]:
        """What is sent: one index per vector, below `config.sizes[row]`."""
        return self.quantizer.nearest(self.vectors(image, row), row)

    def decode(self, indices: Int[Array, "b n"], row: Int[Array, " b"]) -> Float[Array, "b h w 3"]:
        """Image from received indices, clipped to [0, 1]."""
        return jnp.clip(self.picture(self.quantizer.lookup(indices, row), row), 0.0, 1.0)

    def decode_soft(self, posterior: Float[Array, "b n k"], row: Int[Array, " b"]) -> Float[Array, "b h w 3"]:
        """Image from P(index | received), through the posterior mean of each codeword; clipped to [0, 1]."""
        return jnp.clip(self.picture(self.quantizer.expectation(posterior, row), row), 0.0, 1.0)

    def adapted(self, **changes: Any) -> Self:
        """The same weights for another image size (height, width). Errors: ValueError of the net's config."""
        other = nnx.clone(self)
        other.config = replace(self.config, net=replace(self.config.net, **changes))
        return other
