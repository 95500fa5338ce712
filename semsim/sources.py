"""Images as a source codec delivers them: the bytes that fit a frame, and what the receiver shows, arrived or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from semsim.codecs import codec, fit_all
from semsim.frame import Frame
from semsim.metrics import psnr, ssim

CHUNK = 64
"""Images measured together; a fixed number, so that one compilation serves all."""


@dataclass(frozen=True)
class Sources:
    """The images of a set, coded for one frame.

    data: payloads, zeros behind them. fits: False for images that no quality makes small enough. images: what arrives (zeros
    where nothing fits). policy: of losses.
    """

    original: UInt8[np.ndarray, "n h w 3"]
    data: UInt8[np.ndarray, "n m"]
    fits: Bool[np.ndarray, " n"]
    images: UInt8[np.ndarray, "n h w 3"]
    arrived: Float[np.ndarray, "n 2"]  # PSNR and SSIM
    lost: Float[np.ndarray, "n 2"]  # of what replaces an image when there is nothing better
    policy: str

    def quality(self, chosen: np.ndarray, ok: Bool[np.ndarray, "s b d"]) -> Float[np.ndarray, "s b d 2"]:
        """PSNR and SSIM of images sent in streams, one draw beside the other.

        chosen: numbers of the images, stream by stream, [s, b]. ok: whether each arrived.
        """
        found = np.where(ok[..., None], self.arrived[chosen][:, :, None], self.lost[chosen][:, :, None])
        if self.policy != "last-good":
            return found
        place = np.where(ok, np.arange(ok.shape[1])[None, :, None], -1)
        last = np.maximum.accumulate(place, axis=1)
        late = ~ok & (last >= 0)
        if not late.any():
            return found
        stream, image, _ = np.nonzero(late)
        shown = chosen[stream, last[late]]
        pairs, back = np.unique(np.stack([chosen[stream, image], shown]), axis=1, return_inverse=True)
        found[late] = measured(self.original[pairs[0]], self.images[pairs[1]])[np.ravel(back)]
        return found


def sources_of(
    name: str, images: UInt8[np.ndarray, "n h w 3"], frames: Mapping[Any, Frame], policy: str
) -> dict[Any, Sources]:
    """The images coded by the codec `name` for every frame; frames of equal size share their work.

    policy: "grey", "mean-image" or "last-good" (grey until the first image has arrived).
    """
    budgets = sorted({plan.num_bytes for plan in frames.values()})
    replacement = np.full(images.shape[1:], 128, np.uint8)
    if policy == "mean-image":
        replacement = np.round(images.mean(axis=0)).astype(np.uint8)
    lost = measured(images, np.broadcast_to(replacement, images.shape))
    fitted = list(zip(*fit_all(codec(name), images, budgets), strict=True))
    made = {}
    for budget, found in zip(budgets, fitted, strict=True):
        data = np.zeros((len(images), budget), np.uint8)
        decoded, fits = np.zeros_like(images), np.array([one is not None for one in found])
        for place, one in enumerate(found):
            if one is not None:
                data[place, : len(one.data)] = np.frombuffer(one.data, np.uint8)
                decoded[place] = one.image
        made[budget] = Sources(images, data, fits, decoded, measured(images, decoded), lost, policy)
    return {key: made[plan.num_bytes] for key, plan in frames.items()}


def measured(images: UInt8[np.ndarray, "n h w 3"], shown: UInt8[np.ndarray, "n h w 3"]) -> np.ndarray:
    """PSNR and SSIM of each image. [n, 2]"""
    found = []
    for start in range(0, len(images), CHUNK):
        pair = [part[start : start + CHUNK] for part in (images, shown)]
        missing = CHUNK - len(pair[0])
        padded = [np.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge") for part in pair]
        found.append(np.asarray(_measure(*padded), np.float64)[: CHUNK - missing])
    return np.concatenate(found)


@jax.jit
def _measure(images: jax.Array, shown: jax.Array) -> jax.Array:
    x, y = (part.astype(jnp.float32) / 255 for part in (images, shown))
    return jnp.stack([psnr(x, y), ssim(x, y)], axis=-1)
