"""Features as analogue symbols: what every codec without anything digital between its two nets has in common.

    image -> encoder -> maps of features -> pairs of maps -> the first `sent` of them -> unit energy -> complex symbols
    received symbols -> pairs of maps, silent ones zero -> decoder -> image

A codec that was trained with prefixes of its maps serves every rate: how many are sent is a setting of the link, so that
nothing has to tell the receiver.
"""

from dataclasses import replace
from typing import Any, Protocol, Self

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Complex, Float, Int

SILENCE = (
    1e-24  # mean |z|^2 below which a latent counts as zero: far under any trained one, far over underflow
)


class AnalogueConfig(Protocol):
    """What the structure of an analogue codec says of its symbols; a frozen dataclass.

    image_shape: height and width. grid: positions of a map. maps: complex maps that there are. sent_maps: how many of
    them are sent, the first ones. num_symbols: complex symbols of an image.
    """

    @property
    def image_shape(self) -> tuple[int, int]: ...
    @property
    def grid(self) -> tuple[int, int]: ...
    @property
    def maps(self) -> int: ...
    @property
    def sent_maps(self) -> int: ...
    @property
    def num_symbols(self) -> int: ...


class Analogue(nnx.Module):
    """Encoder and decoder with symbols between them.

    encoder: (image, Es/N0 in dB [b]) -> [b, r, s, 2 maps]; decoder: the same backwards. Nets that are not adaptive take
    no notice of the Es/N0. Law: the symbols of every image have mean |s|^2 = 1, and only they reach the decoder: no scale
    goes beside them.
    """

    def __init__(self, config: AnalogueConfig, encoder: nnx.Module, decoder: nnx.Module):
        self.config: Any = config
        self.encoder: Any = encoder
        self.decoder: Any = decoder

    def encode(
        self, image: Float[Array, "b h w 3"], esno_db: Float[Array, " b"] | float = 0.0
    ) -> Complex[Array, "b n"]:
        """Image in [0, 1] -> `config.num_symbols` symbols of unit mean energy. Errors: ValueError for another image size."""
        maps = self.maps(image, esno_db)[..., : self.config.sent_maps]
        return unit_energy(maps.reshape(len(image), -1))

    def decode(
        self, symbols: Complex[Array, "b n"], esno_db: Float[Array, " b"] | float = 0.0
    ) -> Float[Array, "b h w 3"]:
        """Equalised symbols -> image. Errors: ValueError for another number of symbols."""
        config = self.config
        if symbols.shape[-1] != config.num_symbols:
            raise ValueError(
                f"this codec takes {config.num_symbols} symbols an image; got {symbols.shape[-1]}"
            )
        maps = symbols.reshape(len(symbols), *config.grid, config.sent_maps)
        silent = config.maps - config.sent_maps
        return self.picture(jnp.pad(maps, ((0, 0), (0, 0), (0, 0), (0, silent))), esno_db)

    def maps(
        self, image: Float[Array, "b h w 3"], esno_db: Float[Array, " b"] | float = 0.0
    ) -> Complex[Array, "b r s m"]:
        """All complex maps of an image, before anything is left out or scaled."""
        check_image(self.config.image_shape, image)
        real, imaginary = jnp.split(self.encoder(image, _of_each(esno_db, image)), 2, axis=-1)
        return lax.complex(real, imaginary)

    def picture(
        self, maps: Complex[Array, "b r s m"], esno_db: Float[Array, " b"] | float = 0.0
    ) -> Float[Array, "b h w 3"]:
        """The image of all complex maps; those that were not sent are zero."""
        features = jnp.concatenate([maps.real, maps.imag], axis=-1)
        return self.decoder(features, _of_each(esno_db, features))

    def adapted(self, **changes: Any) -> Self:
        """The same weights under another config: another image size, another rate. Errors: ValueError of the config."""
        other = nnx.clone(self)
        other.config = replace(self.config, **changes)
        return other


def first_maps(
    maps: Complex[Array, "b r s m"], sent: Int[Array, " b"]
) -> tuple[Complex[Array, "b r s m"], Float[Array, "b 1 1 m"]]:
    """The first `sent` maps of each image at unit mean energy of what is sent, the others silent; and who speaks.

    What `encode` does at a rate of its own, at a rate that is data: training sees all rates in one program.
    """
    total = maps.shape[-1]
    speaks = (jnp.arange(total)[None] < sent[:, None])[:, None, None, :].astype(maps.real.dtype)
    unit = unit_energy((maps * speaks).reshape(len(maps), -1)).reshape(maps.shape)
    return unit * speaks * jnp.sqrt(sent / total).astype(maps.real.dtype)[:, None, None, None], speaks


def unit_energy(z: Complex[Array, "b n"]) -> Complex[Array, "b n"]:
    """Each row scaled to mean |z|^2 = 1.

    A zero row has no direction: it is sent as ones, so that the law holds and the gradient is zero instead of NaN. An
    all-black image is such a row before the first training step, while the biases are zero.
    """
    energy = jnp.mean(z.real**2 + z.imag**2, axis=-1, keepdims=True)
    speaks = energy > SILENCE
    return jnp.where(speaks, z * lax.rsqrt(jnp.where(speaks, energy, 1.0)), 1.0)


def check_image(shape: tuple[int, int], image: Array) -> None:
    """Errors: ValueError for images of another size."""
    if image.shape[1:] != (*shape, 3):
        raise ValueError(f"this codec takes images of {shape[0]} x {shape[1]} x 3; got {image.shape[1:]}")


def _of_each(esno_db: Float[Array, " b"] | float, like: Array) -> Float[Array, " b"]:
    return jnp.broadcast_to(jnp.asarray(esno_db, like.dtype), like.shape[:1])
