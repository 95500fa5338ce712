"""DeepJSCC: pixels to complex channel symbols and back by two small convolutional networks, with nothing digital between.

    image -> 5 x [convolution, PReLU] -> pairs of maps -> unit energy -> n complex symbols
    received symbols -> pairs of maps -> 4 x [transposed convolution, PReLU] -> transposed convolution -> sigmoid -> image

Bourtsoulatze, Kurka, Gunduz, "Deep Joint Source-Channel Coding for Wireless Image Transmission", IEEE TCCN 5(3), 2019,
arXiv 1809.01733. The analogue reference of the digital codecs.
"""

from dataclasses import dataclass

from flax import nnx
from jaxtyping import Array, Float

from models.analogue import Analogue
from models.layers import whole_units

STRIDE = 4  # two of the five convolutions halve the grid
HE = nnx.initializers.he_normal()


@dataclass(frozen=True)
class DeepJSCCConfig:
    """Structure of the codec. image_size: height = width in pixels, a multiple of 4. channels: complex maps c on the
    image_size / 4 grid, so the bandwidth ratio is c / 48 complex symbols per real source sample: 8 is 1/6, 4 is 1/12.
    turned: both nets work on pictures and maps turned by half a turn, and turn them back; convolutions that pad as PyTorch
    does are ours seen from the opposite corner.
    """

    image_size: int = 32
    channels: int = 8
    turned: bool = False

    def __post_init__(self) -> None:
        if self.image_size < STRIDE or self.image_size % STRIDE:
            raise ValueError(f"image_size must be a positive multiple of {STRIDE}; got {self.image_size}")
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1 complex map; got {self.channels}")

    @property
    def least(self) -> tuple[int, int]:
        """Arrays and numbers that a codec has at least: cheap to say before it is built."""
        return 1, self.channels

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.image_size, self.image_size

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The least size of whole tiles, from this one on: `models.Tiled` makes them images of this codec."""
        return whole_units(height, width, self.image_size)

    @property
    def grid(self) -> tuple[int, int]:
        return self.image_size // STRIDE, self.image_size // STRIDE

    @property
    def maps(self) -> int:
        return self.channels

    @property
    def sent_maps(self) -> int:
        """All: this codec has one rate."""
        return self.channels

    @property
    def choice(self) -> str:
        return "first"

    @property
    def told(self) -> bool:
        """The nets take no notice of the Es/N0."""
        return False

    @property
    def num_symbols(self) -> int:
        return self.channels * self.grid[0] * self.grid[1]


class ConvEncoder(nnx.Module):
    """Image -> [b, size / 4, size / 4, 2 channels]; the published net is not told the Es/N0."""

    def __init__(self, config: DeepJSCCConfig, *, rngs: nnx.Rngs):
        self.convs = nnx.List([
            nnx.Conv(i, o, (5, 5), strides=s, padding="SAME", kernel_init=HE, rngs=rngs) for i, o, s in _layers(config)
        ])  # fmt: skip
        self.slopes = nnx.List([nnx.PReLU(0.25) for _ in self.convs])
        self.turned = config.turned

    def __call__(
        self, image: Float[Array, "b h w 3"], esno_db: Float[Array, " b"]
    ) -> Float[Array, "b r s c"]:
        x = _half_turn(image) if self.turned else image
        for conv, slope in zip(self.convs, self.slopes, strict=True):
            x = slope(conv(x))
        return _half_turn(x) if self.turned else x


class ConvDecoder(nnx.Module):
    """The mirror: last layer first, inputs and outputs exchanged. One slope serves all."""

    def __init__(self, config: DeepJSCCConfig, *, rngs: nnx.Rngs):
        self.deconvs = nnx.List([
            nnx.ConvTranspose(o, i, (5, 5), strides=(s, s), padding="SAME", kernel_init=HE, rngs=rngs)
            for i, o, s in reversed(_layers(config))
        ])  # fmt: skip
        self.slope = nnx.PReLU(0.25)
        self.turned = config.turned

    def __call__(
        self, features: Float[Array, "b r s c"], esno_db: Float[Array, " b"]
    ) -> Float[Array, "b h w 3"]:
        x = _half_turn(features) if self.turned else features
        for deconv in self.deconvs[:-1]:
            x = self.slope(deconv(x))
        x = nnx.sigmoid(self.deconvs[-1](x))
        return _half_turn(x) if self.turned else x


class DeepJSCC(Analogue):
    """The codec of one bandwidth ratio; the channel it is trained over is not its business."""

    def __init__(self, config: DeepJSCCConfig, *, rngs: nnx.Rngs):
        super().__init__(config, ConvEncoder(config, rngs=rngs), ConvDecoder(config, rngs=rngs))


def _half_turn(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    return x[:, ::-1, ::-1]


def _layers(config: DeepJSCCConfig) -> tuple[tuple[int, int, int], ...]:
    """Channels in, channels out and stride of each convolution."""
    widths = (3, 16, 32, 32, 32, 2 * config.channels)
    return tuple(zip(widths[:-1], widths[1:], (2, 2, 1, 1, 1), strict=True))
