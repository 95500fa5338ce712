"""DeepJSCC: pixels to complex channel symbols and back by two small convolutional networks, with nothing digital between.

    image -> 5 x [convolution, PReLU] -> pairs of maps -> unit energy -> n complex symbols
    received symbols -> pairs of maps -> 4 x [transposed convolution, PReLU] -> transposed convolution -> sigmoid -> image

Bourtsoulatze, Kurka, Gunduz, "Deep Joint Source-Channel Coding for Wireless Image Transmission", IEEE TCCN 5(3), 2019,
arXiv 1809.01733. The analogue reference of the digital codecs.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Complex, Float

STRIDE = 4  # two of the five convolutions halve the grid
SILENCE = (
    1e-24  # mean |z|^2 below which a latent counts as zero: far under any trained one, far over underflow
)


@dataclass(frozen=True)
class DeepJSCCConfig:
    """Structure of the codec. image_size: height = width in pixels, a multiple of 4. channels: complex maps c on the
    image_size / 4 grid, so the bandwidth ratio is c / 48 complex symbols per real source sample: 8 is 1/6, 4 is 1/12.
    """

    image_size: int = 32
    channels: int = 8

    def __post_init__(self) -> None:
        if self.image_size < STRIDE or self.image_size % STRIDE:
            raise ValueError(f"image_size must be a positive multiple of {STRIDE}; got {self.image_size}")
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1 complex map; got {self.channels}")

    @property
    def num_symbols(self) -> int:
        return self.channels * (self.image_size // STRIDE) ** 2


class DeepJSCC(nnx.Module):
    """The codec of one bandwidth ratio; the channel it is trained over is not its business.

    Law: the symbols of every image have mean |s|^2 = 1, and only they reach the decoder: no scale goes beside them.
    """

    def __init__(self, config: DeepJSCCConfig, *, rngs: nnx.Rngs):
        self.config = config
        widths = (3, 16, 32, 32, 32, 2 * config.channels)
        strides = (2, 2, 1, 1, 1)
        layers = tuple(zip(widths[:-1], widths[1:], strides, strict=True))
        he = nnx.initializers.he_normal()
        self.convs = nnx.List(
            [
                nnx.Conv(i, o, (5, 5), strides=s, padding="SAME", kernel_init=he, rngs=rngs)
                for i, o, s in layers
            ]
        )
        self.slopes = nnx.List([nnx.PReLU(0.25) for _ in layers])
        # The mirror: last layer first, inputs and outputs exchanged.
        self.deconvs = nnx.List(
            [
                nnx.ConvTranspose(o, i, (5, 5), strides=(s, s), padding="SAME", kernel_init=he, rngs=rngs)
                for i, o, s in reversed(layers)
            ]
        )
        self.slope = nnx.PReLU(0.25)

    def encode(self, image: Float[Array, "b h w 3"]) -> Complex[Array, "b n"]:
        """Image in [0, 1] -> `config.num_symbols` symbols of unit mean energy. Errors: ValueError for another image size."""
        size = self.config.image_size
        if image.shape[1:] != (size, size, 3):
            raise ValueError(f"this codec takes images of {size} x {size} x 3; got {image.shape[1:]}")
        x = image
        for conv, slope in zip(self.convs, self.slopes, strict=True):
            x = slope(conv(x))
        real, imaginary = jnp.split(x, 2, axis=-1)
        return unit_energy(lax.complex(real, imaginary).reshape(x.shape[0], -1))

    def decode(self, symbols: Complex[Array, "b n"]) -> Float[Array, "b h w 3"]:
        """Equalised symbols -> image in [0, 1]. Errors: ValueError for another number of symbols."""
        if symbols.shape[-1] != self.config.num_symbols:
            raise ValueError(
                f"this codec takes {self.config.num_symbols} symbols an image; got {symbols.shape[-1]}"
            )
        grid = self.config.image_size // STRIDE
        maps = symbols.reshape(symbols.shape[0], grid, grid, self.config.channels)
        x = jnp.concatenate([maps.real, maps.imag], axis=-1)
        for deconv in self.deconvs[:-1]:
            x = self.slope(deconv(x))
        return nnx.sigmoid(self.deconvs[-1](x))


def unit_energy(z: Complex[Array, "b n"]) -> Complex[Array, "b n"]:
    """Each row scaled to mean |z|^2 = 1.

    A zero row has no direction: it is sent as ones, so that the law holds and the gradient is zero instead of NaN. An
    all-black image is such a row before the first training step, while the biases are zero.
    """
    energy = jnp.mean(z.real**2 + z.imag**2, axis=-1, keepdims=True)
    speaks = energy > SILENCE
    return jnp.where(speaks, z * lax.rsqrt(jnp.where(speaks, energy, 1.0)), 1.0)
