"""Images as a source codec delivers them: the bytes that fit a frame, and what the receiver shows, arrived or not.

An image is coded when it is first sent: a plan codes nothing, and neither does a point that another process holds.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from semsim.backend import num_cores
from semsim.codecs import Fitter, codec
from semsim.frame import Frame
from semsim.metrics import psnr, ssim

CHUNK = 64
"""Images measured together; a fixed number, so that one compilation serves all."""
GREY = 128


class Replacements:
    """What stands for a lost image when there is nothing better, and how good it is.

    policy: "grey", "mean-image" or "last-good" (grey until the first image has arrived).
    """

    def __init__(self, images: UInt8[np.ndarray, "n h w 3"], policy: str):
        self.images, self.policy = images, policy
        self.shown = np.full(images.shape[1:], GREY, np.uint8)
        if policy == "mean-image":
            self.shown = np.round(images.mean(axis=0)).astype(np.uint8)
        self._quality = np.full((len(images), 2), np.nan)

    def quality(self, chosen: Int[np.ndarray, "*c"]) -> Float[np.ndarray, "*c 2"]:
        """PSNR and SSIM of the images with these numbers."""
        new = np.unique(chosen[np.isnan(self._quality[chosen, 0])])
        if len(new):
            shown = np.broadcast_to(self.shown, (len(new), *self.shown.shape))
            self._quality[new] = measured(self.images[new], shown)
        return self._quality[chosen]


class Sources:
    """The images of a set, coded into payloads of `num_bytes` at the best quality that fits.

    fitters: one an image. replacements: of lost ones. `sources_of` makes them.
    """

    def __init__(self, fitters: list[Fitter], num_bytes: int, replacements: Replacements):
        self.fitters, self.replacements = fitters, replacements
        self.original = replacements.images
        count = len(self.original)
        self._data = np.zeros((count, num_bytes), np.uint8)
        self._known, self._fits = np.zeros(count, bool), np.zeros(count, bool)
        self._arrived = np.zeros((count, 2))
        # Pictures are kept for the policy that shows them again.
        self._images = np.zeros_like(self.original) if replacements.policy == "last-good" else None

    def payloads(self, chosen: Int[np.ndarray, "*c"]) -> UInt8[np.ndarray, "*c m"]:
        """What is sent of the images with these numbers: their bytes, zeros behind them; only zeros where nothing fits."""
        self._code(chosen)
        return self._data[chosen]

    def fits(self, chosen: Int[np.ndarray, "*c"]) -> Bool[np.ndarray, "*c"]:
        """False for images that no quality makes small enough."""
        self._code(chosen)
        return self._fits[chosen]

    def quality(
        self, chosen: Int[np.ndarray, "s b"], ok: Bool[np.ndarray, "s b d"]
    ) -> Float[np.ndarray, "s b d 2"]:
        """PSNR and SSIM of images sent in streams, one draw beside the other.

        chosen: numbers of the images, stream by stream. ok: whether each arrived.
        """
        self._code(chosen)
        lost = self.replacements.quality(chosen)
        found = np.where(ok[..., None], self._arrived[chosen][:, :, None], lost[:, :, None])
        if self._images is None:
            return found
        place = np.where(ok, np.arange(ok.shape[1])[None, :, None], -1)
        last = np.maximum.accumulate(place, axis=1)
        late = ~ok & (last >= 0)
        if not late.any():
            return found
        stream, image, _ = np.nonzero(late)
        shown = chosen[stream, last[late]]
        pairs, back = np.unique(np.stack([chosen[stream, image], shown]), axis=1, return_inverse=True)
        found[late] = measured(self.original[pairs[0]], self._images[pairs[1]])[np.ravel(back)]
        return found

    def _code(self, chosen: Int[np.ndarray, "*c"]) -> None:
        """Codes and measures the images that are not known yet."""
        new = np.unique(chosen[~self._known[chosen]])
        if not len(new):
            return
        budget = self._data.shape[1]
        # Threads serve: the encoders of WebP and AVIF, and bpgenc, run without the interpreter's lock.
        with ThreadPoolExecutor(num_cores()) as pool:
            found = list(pool.map(lambda number: self.fitters[number].best(budget), new))
        shown = np.zeros((len(new), *self.original.shape[1:]), np.uint8)
        for place, (number, one) in enumerate(zip(new, found, strict=True)):
            if one is not None:
                self._data[number, : len(one.data)] = np.frombuffer(one.data, np.uint8)
                self._fits[number], shown[place] = True, one.image
        self._arrived[new] = measured(self.original[new], shown)
        if self._images is not None:
            self._images[new] = shown
        self._known[new] = True


def sources_of(
    name: str,
    images: UInt8[np.ndarray, "n h w 3"],
    frames: Mapping[Any, Frame],
    replacements: Replacements,
) -> dict[Any, Sources]:
    """The images for the codec `name` and every frame; frames of equal size share their work, others what was tried."""
    coder = codec(name)
    fitters = [Fitter(coder, image) for image in images]
    made = {
        size: Sources(fitters, size, replacements) for size in {plan.num_bytes for plan in frames.values()}
    }
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
