"""Checkpoints of SwinJSCC (semcomm/SwinJSCC) and WITT (KeYang8/WITT) as codecs of the system stsc.

Both name their arrays alike. Imported are SwinJSCC w/o SA&RA and w/ SA, WITT and WITT w/o; net and weights are equal to
theirs, except that tokens apart in a shifted window have a logit of -inf here and of -100 lower there, which is e^-100 of a
weight. Sizes follow from the shapes; masks and indices of positions, which they save too, are made here. Not imported are
the rate-adaptive variants: without a linear to C channels, and with a mask that the receiver has for nothing.

What differs, so that the codec is to be fine-tuned, or behaves otherwise than at home:
- Power. They normalise a mini-batch, and the receiver multiplies the scale back in, which nothing sends. Here every image
  has unit energy, and the decoder gets just that. `calibrate` gives it the scale of a set of images, one for good.
- Symbols. Their real parts are the first half of the flattened mini-batch, their imaginary parts the second half, so that
  one fading gain serves two images; here they are the two halves of an image's channels. No weight depends on it.
- The receiver. Here the decoder gets least-mean-square-error symbols, a little smaller than sent; there the noisy ones.
- A stage whose grid was no larger than the window when the class was built has no shift there at any size; here the size of
  the image at hand decides.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models import Swin, SwinConfig
from semsim.importers.arrays import (
    CONV,
    SAME,
    SHUFFLED,
    Imported,
    Origin,
    count,
    fill,
    linear,
    norm,
    shape_of,
)

State = Mapping[str, np.ndarray]
AT_ONCE = 16
"""Images encoded together to measure their scale."""
UNCALIBRATED = (
    "the decoder gets symbols of unit energy, not of the power its features had: calibrate it or fine-tune"
)


def import_swinjscc(state: State, variant: str | None = None) -> Imported:
    """The codec of a state dict. variant: "plain", "snr" or None, as `semsim.importers.import_state`.

    Errors: ValueError for a rate-adaptive variant, and as `config_of` and `semsim.importers.arrays.fill`.
    """
    if "encoder.head_list.weight" not in state:
        shape_of(state, "encoder.patch_embed.proj.weight", 4)
        raise ValueError(
            "this is a rate-adaptive variant (w/ RA, w/ SA&RA), without a linear to C channels: only w/o SA&RA and w/ SA "
            "can be imported"
        )
    if not state.get("encoder.head_list.bias", np.ones(1)).any():  # zero is where it starts
        raise ValueError(
            "the linear to C channels never learned: an untrained checkpoint, or a rate-adaptive variant (w/ RA, w/ SA&RA), "
            "which cannot be imported"
        )
    chosen, why = (variant, "as asked for") if variant else _variant(state)
    config = config_of(state, chosen)
    unused = ("distortion_loss.", "encoder.sm_list1.", "encoder.bm_list1.")
    if chosen == "plain":
        unused += tuple(f"{side}.{net}." for side in ("encoder", "decoder") for net in ("sm_list", "bm_list"))
    codec = fill(
        lambda: Swin(config, rngs=nnx.Rngs(0)), _origins(config), state,
        lambda name: name.startswith(unused) or name.endswith((".attn_mask", ".relative_position_index")),
    )  # fmt: skip
    return Imported(codec, "stsc", (f"variant {chosen}: {why}", UNCALIBRATED))


def config_of(state: State, variant: str) -> SwinConfig:
    """The structure that the shapes tell; images are of the size that the published ones were trained on, or the next that
    windows divide: 32 x 32 with one or two stages, 256 x 256 with more.

    Errors: ValueError for arrays that are missing, windows that differ from stage to stage, a variant that is not there.
    """
    widths, depths, heads, windows = [], [], [], []
    for stage in range(count(state, "encoder.layers.")):
        layer = f"encoder.layers.{stage}.blocks."
        rows, shared = shape_of(state, f"{layer}0.attn.relative_position_bias_table", 2)
        widths.append(shape_of(state, f"{layer}0.norm1.weight", 1)[0])
        depths.append(count(state, layer))
        heads.append(shared)
        windows.append((isqrt(rows) + 1) // 2)
    hidden, width = shape_of(state, "encoder.layers.0.blocks.0.mlp.fc1.weight", 2)
    if len(set(windows)) > 1:
        raise ValueError(
            f"windows differ from stage to stage, {windows}: the class was built for images too small for its window"
        )
    gates = count(state, "encoder.bm_list.") if variant == "snr" else 0
    if variant == "snr" and not gates:
        raise ValueError("there is no ModNet in this checkpoint: import it as variant plain")
    channels = shape_of(state, "encoder.head_list.weight", 2)[0]
    unit = windows[0] << len(widths)
    side = -(-(32 if len(widths) < 3 else 256) // unit) * unit
    return SwinConfig(
        tuple(widths), tuple(depths), tuple(heads), windows[0], hidden // width, channels, mod_layers=gates, height=side,
        width=side,
    )  # fmt: skip


def calibrate(found: Imported, images: Float[np.ndarray, "n h w 3"], esno_db: float = 10.0) -> Imported:
    """A Swin codec whose decoder multiplies what it gets by one number: the scale of the features of `images`.

    Where an image's features have that scale, its decoder gets what theirs gets without noise; where they have another, the
    features come larger or smaller by the quotient, which theirs would be told. esno_db: which the ModNet is told, dB.
    """
    config = replace(found.codec.config, height=images.shape[1], width=images.shape[2])
    codec = found.codec.adapted(height=config.height, width=config.width)
    parts = [images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)]
    powers = [_powers(codec, jnp.asarray(part), jnp.full(len(part), esno_db)) for part in parts]
    scale = float(np.sqrt(2 * np.mean(np.concatenate(powers))))
    made = nnx.clone(found.codec)
    made.decoder.head.kernel[...] = made.decoder.head.kernel[...] * scale
    at = f" at {esno_db:g} dB" if config.mod_layers else ""
    note = f"the decoder multiplies its symbols by {scale:.4g}, the scale of {len(images)} images{at}"
    return replace(found, codec=made, notes=(*(note for note in found.notes if note != UNCALIBRATED), note))


@nnx.jit
def _powers(codec: Any, images: Float[Array, "b h w 3"], esno_db: Float[Array, " b"]) -> Float[Array, " b"]:
    """Mean square of the features of each image."""
    return jnp.mean(codec.encoder(images, esno_db) ** 2, axis=(1, 2, 3))


def _variant(state: State) -> tuple[str, str]:
    """Every class holds ModNets, used or not. One that never learned is within the range PyTorch draws a linear from,
    1 / sqrt(inputs); asked of the decoder, as an encoder's may have been drawn in another way."""
    nets = [
        name for name in state
        if name.startswith(("decoder.sm_list.", "decoder.bm_list.")) and name.endswith(".weight")
    ]  # fmt: skip
    if not nets:
        return "plain", "it has no ModNet"
    ranges = [(np.abs(state[name]).max(initial=0.0), np.prod(state[name].shape[1:])) for name in nets]
    if any(largest > 1.001 / np.sqrt(inputs) for largest, inputs in ranges):
        return "snr", "its ModNets have learned"
    return "plain", "its ModNets never learned"


def _origins(config: SwinConfig) -> dict[str, Origin]:
    """Where every array of a codec comes from."""
    embed = "encoder.patch_embed.proj"
    last = len(config.widths) - 1
    found = {
        "encoder.embed.kernel": Origin(f"{embed}.weight", CONV),
        "encoder.embed.bias": Origin(f"{embed}.bias", SAME),
        **norm("encoder.norm", "encoder.norm"),
    }
    for stage, depth in enumerate(config.depths):
        merge, divide = f"encoder.layers.{stage}.downsample", f"decoder.layers.{last - stage}.upsample"
        if stage:
            found |= norm(f"encoder.merges.{stage - 1}.norm", f"{merge}.norm")
            found |= linear(f"encoder.merges.{stage - 1}.linear", f"{merge}.reduction", bias=False)
        found |= norm(f"decoder.divisions.{last - stage}.norm", f"{divide}.norm")
        found[f"decoder.divisions.{last - stage}.linear.kernel"] = Origin(
            f"{divide}.increment.weight", SHUFFLED
        )
        for block in range(depth):
            found |= _block(f"encoder.stages.{stage}.{block}", f"encoder.layers.{stage}.blocks.{block}")
            found |= _block(
                f"decoder.stages.{last - stage}.{block}", f"decoder.layers.{last - stage}.blocks.{block}"
            )
    for side in ("encoder", "decoder"):
        found |= linear(f"{side}.head", f"{side}.head_list")
        for layer in range(config.mod_layers + 1 if config.mod_layers else 0):
            found |= linear(f"{side}.modnet.scales.{layer}", f"{side}.sm_list.{layer}")
        for layer in range(config.mod_layers):
            for part in range(3):  # ReLUs stand between
                found |= linear(f"{side}.modnet.told.{layer}.{part}", f"{side}.bm_list.{layer}.fc.{2 * part}")
    return found


def _block(ours: str, theirs: str) -> dict[str, Origin]:
    return {
        **norm(f"{ours}.norm1", f"{theirs}.norm1"),
        **norm(f"{ours}.norm2", f"{theirs}.norm2"),
        **linear(f"{ours}.attention.qkv", f"{theirs}.attn.qkv"),  # queries, keys, values; each head by head
        **linear(f"{ours}.attention.out", f"{theirs}.attn.proj"),
        f"{ours}.attention.bias": Origin(f"{theirs}.attn.relative_position_bias_table", SAME),
        **linear(f"{ours}.up", f"{theirs}.mlp.fc1"),
        **linear(f"{ours}.down", f"{theirs}.mlp.fc2"),
    }
