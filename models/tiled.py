"""Images larger than a codec's: cut into tiles, each coded on its own, put together again.

image -> tiles, row by row -> encoder -> what is sent, tile after tile -> decoder -> tiles -> image
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped


@dataclass(frozen=True)
class TiledConfig:
    """height, width: of the images, multiples of the tile's side. of_tile: the codec's own config."""

    height: int
    width: int
    of_tile: Any

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if value < self.tile or value % self.tile:
                raise ValueError(
                    f"{name} must be a positive multiple of {self.tile}, the side of a tile; got {value}"
                )

    @property
    def tile(self) -> int:
        """Side of a tile."""
        return self.of_tile.image_shape[0]

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.height, self.width

    @property
    def num_tiles(self) -> int:
        return (self.height // self.tile) * (self.width // self.tile)

    @property
    def num_vectors(self) -> int:
        """Indices of an image, of a codec that sends indices."""
        return self.num_tiles * self.of_tile.num_vectors

    @property
    def num_symbols(self) -> int:
        """Symbols of an image, of a codec that sends symbols."""
        return self.num_tiles * self.of_tile.num_symbols


class Tiled(nnx.Module):
    """A codec of square images as a codec of larger ones; `encode` and `decode` pass on what the codec's own take.

    Tiles know nothing of each other: what a codec normalises, it normalises in each tile. Arguments beside images and what
    is sent are one per image, such as the row of an order.
    """

    def __init__(self, codec: Any, height: int, width: int):
        self.codec = codec
        self.config = TiledConfig(height, width, codec.config)

    @property
    def quantizer(self) -> Any:
        """Of a codec that sends indices."""
        return self.codec.quantizer

    def encode(self, image: Float[Array, "b h w 3"], *per_image: Array) -> Shaped[Array, "b n"]:
        """What is sent of each image, tile after tile. Errors: ValueError for another image size."""
        sent = self.codec.encode(cut(image, self.config), *self._of_tiles(per_image))
        return sent.reshape(image.shape[0], -1)

    def decode(self, received: Shaped[Array, "b n"], *per_image: Array) -> Float[Array, "b h w 3"]:
        """Images of what was received."""
        return self._put_together(self.codec.decode, received, per_image, 1)

    def decode_soft(self, posterior: Float[Array, "b n k"], *per_image: Array) -> Float[Array, "b h w 3"]:
        """Images from posteriors, where the codec has `decode_soft`."""
        return self._put_together(self.codec.decode_soft, posterior, per_image, 2)

    def _put_together(self, decode: Any, received: Array, per_image: tuple[Array, ...], axes: int) -> Array:
        count, tiles = received.shape[0], self.config.num_tiles
        of_tiles = received.reshape(count * tiles, received.shape[1] // tiles, *received.shape[2 : 1 + axes])
        return join(decode(of_tiles, *self._of_tiles(per_image)), self.config)

    def _of_tiles(self, per_image: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(jnp.repeat(value, self.config.num_tiles, axis=0) for value in per_image)


def cut(image: Float[Array, "b h w c"], config: TiledConfig) -> Float[Array, "t s s c"]:
    """Tiles of each image, row by row. Errors: ValueError for another size."""
    count, height, width, channels = image.shape
    if (height, width) != (config.height, config.width):
        raise ValueError(
            f"this codec takes images of {config.height} x {config.width}; got {height} x {width}"
        )
    tile = config.tile
    rows = image.reshape(count, height // tile, tile, width // tile, tile, channels)
    return jnp.swapaxes(rows, 2, 3).reshape(-1, tile, tile, channels)


def join(tiles: Float[Array, "t s s c"], config: TiledConfig) -> Float[Array, "b h w c"]:
    """Images of their tiles: `cut` undone."""
    tile, channels = config.tile, tiles.shape[-1]
    rows = tiles.reshape(-1, config.height // tile, config.width // tile, tile, tile, channels)
    return jnp.swapaxes(rows, 2, 3).reshape(-1, config.height, config.width, channels)
