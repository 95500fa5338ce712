"""Features as analogue symbols: what every codec without anything digital between its two nets has in common.

    image -> encoder -> maps of features -> pairs of maps -> the first `sent` of them -> unit energy -> complex symbols
    received symbols -> pairs of maps, silent ones zero -> decoder -> image

A codec that was trained with some of its maps silent serves every rate. Which ones speak is in the plan: the first ones; or
it follows from the image: those of most energy, and then the receiver has to be told which, at a price.
"""

from dataclasses import replace
from typing import Any, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Complex, Float, Int

SILENCE = (
    1e-24  # mean |z|^2 below which a latent counts as zero: far under any trained one, far over underflow
)

EXACT = lax.Precision.HIGHEST  # moves symbols, which an accelerator would round otherwise


@runtime_checkable
class AnalogueConfig(Protocol):
    """What the structure of an analogue codec says of its symbols; a frozen dataclass.

    image_shape: height and width. grid: positions of a map. maps: complex maps that there are. sent_maps: how many of
    them are sent. choice: which: "first", or those of most "energy" in each image. told: whether the encoder adapts to the
    Es/N0, so that the sender has to know it. num_symbols: complex symbols of an image.
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
    def choice(self) -> str: ...
    @property
    def told(self) -> bool: ...
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
        maps = self.maps(image, esno_db)
        return self.symbols(maps, self.chosen(maps))

    def decode(
        self,
        symbols: Complex[Array, "b n"],
        esno_db: Float[Array, " b"] | float = 0.0,
        chosen: Int[Array, "b m"] | None = None,
    ) -> Float[Array, "b h w 3"]:
        """Equalised symbols -> image. chosen: which maps they are; None: the first ones.

        Errors: ValueError for another number of symbols, and where the choice follows from the image and is not given.
        """
        config = self.config
        if symbols.shape[-1] != config.num_symbols:
            raise ValueError(
                f"this codec takes {config.num_symbols} symbols an image; got {symbols.shape[-1]}"
            )
        if chosen is None and config.choice != "first":
            raise ValueError("which maps were sent follows from the image: give the choice")
        maps = symbols.reshape(len(symbols), *config.grid, config.sent_maps)
        if chosen is None:
            silent = config.maps - config.sent_maps
            return self.picture(jnp.pad(maps, ((0, 0), (0, 0), (0, 0), (0, silent))), esno_db)
        place = jax.nn.one_hot(chosen, config.maps, dtype=maps.real.dtype)  # [b, m, maps]
        spread = (
            jnp.einsum("brsm,bmk->brsk", part, place, precision=EXACT) for part in (maps.real, maps.imag)
        )
        return self.picture(lax.complex(*spread), esno_db)

    def chosen(self, maps: Complex[Array, "b r s m"]) -> Int[Array, "b n"] | None:
        """Which maps of each image are sent, in rising order; None where the plan says it."""
        config = self.config
        if config.choice == "first":
            return None
        return jnp.sort(jax.lax.top_k(_energies(maps), config.sent_maps)[1], axis=-1)

    def symbols(
        self, maps: Complex[Array, "b r s m"], chosen: Int[Array, "b n"] | None
    ) -> Complex[Array, "b n"]:
        """What is sent of all maps."""
        if chosen is None:
            sent = maps[..., : self.config.sent_maps]
        else:
            sent = jnp.take_along_axis(maps, chosen[:, None, None, :], axis=-1)
        return unit_energy(sent.reshape(len(maps), -1))

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


def some_maps(
    maps: Complex[Array, "b r s m"], sent: Int[Array, " b"], choice: str = "first"
) -> tuple[Complex[Array, "b r s m"], Float[Array, "b 1 1 m"]]:
    """`sent` maps of each image at unit mean energy of what is sent, the others silent; and which ones speak.

    What `encode` does at a rate of its own, at a rate that is data: training sees all rates in one program.
    """
    total = maps.shape[-1]
    rank = jnp.arange(total)[None]
    if choice != "first":
        rank = jnp.argsort(jnp.argsort(-_energies(maps), axis=-1), axis=-1)
    speaks = (rank < sent[:, None])[:, None, None, :].astype(maps.real.dtype)
    unit = unit_energy((maps * speaks).reshape(len(maps), -1)).reshape(maps.shape)
    return unit * speaks * jnp.sqrt(sent / total).astype(maps.real.dtype)[:, None, None, None], speaks


def _energies(maps: Complex[Array, "b r s m"]) -> Float[Array, "b m"]:
    return jnp.sum(maps.real**2 + maps.imag**2, axis=(1, 2))


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
