"""One encoder, a decoder for every user: what is sent is heard by all, and each has the decoder that it can afford.

image -> Swin encoder -> symbols -> each user's channel -> Swin decoder of the user's depth -> image
"""

from dataclasses import dataclass, replace

import jax
from flax import nnx
from jaxtyping import Array, Complex, Float, Int

from models.analogue import Analogue
from models.swin import BLOCK_ARRAYS, SwinConfig, SwinDecoder, SwinEncoder


@dataclass(frozen=True)
class BroadcastConfig:
    """Structure of the codec. encoder: of the encoder, and of the decoders but for their depths. depths: of each user's
    decoder, in the order of the encoder's stages. Errors: ValueError for less than one user."""

    encoder: SwinConfig
    depths: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.depths:
            raise ValueError("a broadcast has at least one user")
        if self.encoder.choice != "first":
            raise ValueError("a broadcast sends the first maps, for all users")
        for number in range(len(self.depths)):
            self.of_user(number)

    def of_user(self, number: int) -> SwinConfig:
        return replace(self.encoder, depths=self.depths[number])

    @property
    def least(self) -> tuple[int, int]:
        """Arrays and numbers that a codec has at least: cheap to say before it is built."""
        depths = sum(self.encoder.depths) + sum(map(sum, self.depths))
        return BLOCK_ARRAYS * depths, sum(self.encoder.widths)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.encoder.image_shape

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The least size that encoder and decoders take, from this one on."""
        return self.encoder.fitting(height, width)

    @property
    def maps(self) -> int:
        return self.encoder.maps

    @property
    def sent_maps(self) -> int:
        return self.encoder.sent_maps

    @property
    def choice(self) -> str:
        return self.encoder.choice

    @property
    def told(self) -> bool:
        """False: the encoder is told one value for all users."""
        return False

    @property
    def num_symbols(self) -> int:
        """Complex symbols of an image."""
        return self.encoder.num_symbols


class Broadcast(nnx.Module):
    """The codec of all users together."""

    def __init__(self, config: BroadcastConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = SwinEncoder(config.encoder, rngs=rngs)
        users = range(len(config.depths))
        self.decoders = nnx.List([SwinDecoder(config.of_user(number), rngs=rngs) for number in users])

    def user(self, number: int) -> Analogue:
        """The codec that one user is part of; it shares its weights with this one."""
        return Analogue(self.config.of_user(number), self.encoder, self.decoders[number])

    def encode(
        self, image: Float[Array, "b h w 3"], esno_db: Float[Array, " b"] | float = 0.0
    ) -> Complex[Array, "b n"]:
        """What all users hear."""
        return self.user(0).encode(image, esno_db)

    def decode(
        self, symbols: Complex[Array, "b n"], esno_db: Float[Array, " b"], user: Int[Array, ""]
    ) -> Float[Array, "b h w 3"]:
        """The image as one user, a number that may be traced, makes it out."""
        decoders = [self.user(number).decode for number in range(len(self.decoders))]
        return jax.lax.switch(user, decoders, symbols, esno_db)

    def adapted(self, **changes: int) -> "Broadcast":
        """The same weights for another image size (height, width). Errors: ValueError of the encoder's config."""
        other = nnx.clone(self)
        other.config = replace(self.config, encoder=replace(self.config.encoder, **changes))
        return other
