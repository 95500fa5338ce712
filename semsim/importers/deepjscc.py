"""Checkpoints of chunbaobao/Deep-JSCC-PyTorch as codecs of the system deepjscc.

On sides of even length their convolutions of stride 2 pad by 2 in front and, as far as they read, by 1 behind; SAME pads
by 1 and by 2. So theirs look at pixels 0, 2, 4, ... and ours at 1, 3, 5, ..., and no kernel of ours does what a kernel of
theirs does. Seen from the opposite corner the two grids are one: with R for half a turn of a picture or of maps, each net
here is R theirs R, when the kernels of convolutions are turned and those of transposed ones are not. The imported codec
is `turned` (`models.DeepJSCCConfig`): it turns what goes into its nets and what comes out of them.

Both normalise each image; theirs to unit energy of a real number, ours of a complex symbol, which the first layer of the
decoder makes up for. Their label of the SNR is 3.01 dB below the Es/N0. The decoder gets least-mean-square-error symbols
here, a little smaller than sent, and the noisy ones there. Older versions are other nets: kernels of 6, which are refused,
and no padding in the first two layers, which no shape tells.
"""

from collections.abc import Mapping

import numpy as np
from flax import nnx

from models import DeepJSCC, DeepJSCCConfig
from semsim.importers.arrays import SAME, SCALAR, Imported, Layout, Origin, fill, shape_of

LAYERS = 5
"""On each side."""
NOISE = "its label of the SNR is 3.01 dB below the Es/N0 of semsim run"


def _mirrored(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:1:-1], *shape[:2])


def _paired(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[2:], *shape[:2])


TURNED_CONV = Layout(_mirrored, lambda kernel: kernel.transpose(2, 3, 1, 0)[::-1, ::-1])  # [out, in, h, w]
TRANSPOSED_CONV = Layout(_paired, lambda kernel: kernel.transpose(2, 3, 0, 1))  # [in, out, h, w]
FIRST = Layout(_paired, lambda kernel: np.sqrt(2) * kernel.transpose(2, 3, 0, 1))
"""Of symbols whose real numbers have half the energy that they have there."""


def import_deepjscc(state: Mapping[str, np.ndarray]) -> Imported:
    """The codec of a state dict, for images of 32 x 32.

    Errors: ValueError for an odd number of maps, for slopes of the decoder that differ (one serves all, here and there; some
    forks have four), and as `semsim.importers.arrays.fill`.
    """
    maps = shape_of(state, "encoder.conv5.conv.weight", 4)[0]
    if maps % 2:
        raise ValueError(f"{maps} maps make no pairs of a real and an imaginary part")
    slopes = [f"decoder.tconv{layer}.activate.weight" for layer in range(1, LAYERS)]
    if len({shape_of(state, name, 1) + tuple(state[name].tolist()) for name in slopes}) > 1:
        raise ValueError("the slopes of the decoder's PReLUs differ from layer to layer; this net has one")
    origins = {"decoder.slope.negative_slope": Origin(slopes[0], SCALAR)}
    for layer in range(LAYERS):
        conv, deconv = f"encoder.conv{layer + 1}", f"decoder.tconv{layer + 1}.transconv"
        origins |= {
            f"encoder.convs.{layer}.kernel": Origin(f"{conv}.conv.weight", TURNED_CONV),
            f"encoder.convs.{layer}.bias": Origin(f"{conv}.conv.bias", SAME),
            f"encoder.slopes.{layer}.negative_slope": Origin(f"{conv}.prelu.weight", SCALAR),
            f"decoder.deconvs.{layer}.kernel": Origin(
                f"{deconv}.weight", TRANSPOSED_CONV if layer else FIRST
            ),
            f"decoder.deconvs.{layer}.bias": Origin(f"{deconv}.bias", SAME),
        }
    config = DeepJSCCConfig(channels=maps // 2, turned=True)
    codec = fill(lambda: DeepJSCC(config, rngs=nnx.Rngs(0)), origins, state, lambda name: name in slopes)
    return Imported(codec, "deepjscc", (NOISE,))
