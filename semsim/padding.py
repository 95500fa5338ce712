"""Images of any size on the sizes that a codec takes: padded by mirroring, and measured on what is theirs alone.

A codec takes what its patches, windows or tiles divide (`config.fitting`). A smaller image is continued to the right and
downwards by its own mirror image, sent with it, and cut again before anything is measured. The padding costs what pixels
cost, so the ledger counts it; what is divided by are the samples of the image itself.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Int, Shaped

from semsim.data import ImageSet
from semsim.payload import Ledger, Line

Size = tuple[int, int]
"""Height and width."""


class Padded(NamedTuple):
    """images: as they are sent. sizes: height and width of what counts, from the top left corner."""

    images: Shaped[Array | np.ndarray, "*b h w 3"]
    sizes: Int[Array | np.ndarray, "*b 2"]


def pad(image: Shaped[np.ndarray, "h w 3"], size: Size) -> Shaped[np.ndarray, "hh ww 3"]:
    """Continued to `size` by its mirror image, and by the mirror image of that where one is not enough."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, size[0] - height), (0, size[1] - width), (0, 0)), mode="reflect")


def pixels(images: ImageSet, numbers: Int[np.ndarray, "*b"], size: Size | None) -> np.ndarray | Padded:
    """Images by their numbers, as a program takes them: padded to `size`, or as they are for None."""
    if size is None:
        return images.images[numbers]
    chosen = [images.images[number] for number in numbers.ravel()]
    sizes = np.array([image.shape[:2] for image in chosen], np.int32)
    padded = np.stack([pad(image, size) for image in chosen])
    return Padded(padded.reshape(*numbers.shape, *size, 3), sizes.reshape(*numbers.shape, 2))


def ledger_of(size: Size, sent: Size, ledger: Ledger) -> Ledger:
    """The price of an image of `size` from that of the one of size `sent` that it is padded to."""
    if size == sent:
        return ledger
    line = Line(
        f"padding to {sent[0]} x {sent[1]}",
        0,
        f"of an image of {size[0]} x {size[1]}, by its mirror image: its symbols are counted above; where it begins is "
        "declared",
    )
    return replace(ledger, source_samples=3 * size[0] * size[1], overhead=(*ledger.overhead, line))


def ledgers_entry(ledgers: Sequence[Ledger], sizes: Sequence[Size]) -> dict[str, object]:
    """Ledgers of images, one each, for a run's config: one for all, or of mixed sizes one for each size, and the means."""
    if len(set(sizes)) == 1:
        return ledgers[0].as_dict()
    of_size = dict(zip(sizes, ledgers, strict=True))
    each = [
        {"height": size[0], "width": size[1], "images": list(sizes).count(size), **ledger.as_dict()}
        for size, ledger in of_size.items()
    ]
    return {"sizes": each, **prices(ledgers)}


def prices(ledgers: Sequence[Ledger]) -> dict[str, float]:
    """Means over images of what each costs a sample; where they differ, also the largest."""
    cbr = [ledger.cbr for ledger in ledgers]
    payload = [ledger.cbr_payload for ledger in ledgers]
    if len(set(cbr)) == 1:
        return {"cbr": cbr[0], "cbr_payload": payload[0]}
    return {"cbr": float(np.mean(cbr)), "cbr_payload": float(np.mean(payload)), "cbr_largest": max(cbr)}
