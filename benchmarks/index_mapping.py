"""What index decoding and index labelling are worth in uJSCC, at equal channel uses.

For every order at the low edge of its SNR interval (0, 5, 12, 20, 26 dB), where symbol errors are common, over AWGN and
TDL-A: mean differences of PSNR over images, in dB with 95 % intervals.
  soft - hard            posterior mean of the codeword against the codeword of the detected index, natural labels
  pseudo-Gray - random   labelling found by pairwise swaps against random labellings, hard decoding; every batch of 128
                         images draws a random labelling of its own, so this interval is over batches
  pseudo-Gray - natural  the same against index i on point i, which is what the codec was trained with
Both sides of a difference meet the same images, fades and noise. The pseudo-Gray labelling is made for the order's low edge
in AWGN and the codeword usage that training measured (it is in the checkpoint): it is fixed before any image is seen, and
the same over TDL-A. Prints a table and writes index_mapping.json.

    python benchmarks/index_mapping.py
"""

from pathlib import Path

import numpy as np
from _common import (
    EDGES_DB,
    batch_size,
    difference,
    fadings,
    image_arguments,
    print_table,
    psnr_per_image,
    text,
    write_json,
)

import phy
from models import UJSCC
from phy import index_map
from semsim import data
from semsim.systems import ujscc

CHANNELS = ("awgn", "tdl-a")
SIZE = 2 ** max(ujscc.BITS)


def main() -> None:
    parser = image_arguments(__doc__, "index_mapping")
    parser.add_argument("--checkpoint", type=Path, default=ujscc.CHECKPOINT)
    given = parser.parse_args()
    codec = ujscc.load(given.checkpoint)
    images = data.load(given.data, size=32, limit=given.limit)
    faded = fadings(CHANNELS)
    pseudo_gray = pseudo_gray_labels(codec)
    results, lines = [], []
    for order, modulation in enumerate(ujscc.ORDERS):
        for channel in CHANNELS:
            point = (codec, images, modulation, channel, faded[channel], EDGES_DB[order])
            seen = {
                "hard": psnr_per_image(*point, seed=given.seed),
                "soft": psnr_per_image(*point, seed=given.seed, decoding="soft"),
                "pseudo_gray": psnr_per_image(*point, seed=given.seed, labels=lambda batch: pseudo_gray),
                "random": psnr_per_image(*point, seed=given.seed, labels=random_labels),
            }
            by_batch = {name: batch_means(values) for name, values in seen.items()}
            differences = {
                "soft - hard": difference(seen["soft"], seen["hard"]),
                "pseudo-Gray - random": difference(by_batch["pseudo_gray"], by_batch["random"]),
                "pseudo-Gray - natural": difference(seen["pseudo_gray"], seen["hard"]),
            }
            point_name = {"modulation": modulation, "channel": channel, "esno_db": EDGES_DB[order]}
            psnr = {name: float(np.mean(values)) for name, values in seen.items()}
            results.append(
                {
                    **point_name,
                    "psnr": psnr,
                    "difference_db": {k: v._asdict() for k, v in differences.items()},
                }
            )
            shown = {"order": modulation, "channel": channel, "Es/N0": f"{EDGES_DB[order]:g} dB"}
            shown["PSNR, natural, hard"] = f"{psnr['hard']:.2f} dB"
            lines.append(shown | {name: text(value) for name, value in differences.items()})
    print_table(lines)
    config = {"data": images.note, "images": len(images.images), "seed": given.seed}
    config |= {"checkpoint": str(given.checkpoint), "batch": batch_size(len(images.images))}
    write_json(given.out / "index_mapping.json", {**config, "results": results})


def pseudo_gray_labels(codec: UJSCC) -> np.ndarray:
    """[5, 256] index -> label of every order, for its low edge in AWGN and the usage that training measured."""
    codewords = np.asarray(codec.quantizer.codewords[...], np.float64)
    counts = np.asarray(codec.quantizer.count[...], np.float64)
    rows = []
    for order, (modulation, bits) in enumerate(zip(ujscc.ORDERS, ujscc.BITS, strict=True)):
        usage = counts[order, : 2**bits] / counts[order, : 2**bits].sum()
        confusion = phy.confusion(modulation, EDGES_DB[order])
        rows.append(_padded(phy.pseudo_gray(codewords[order, : 2**bits], confusion, usage)))
    return np.stack(rows)


def random_labels(batch: int) -> np.ndarray:
    """[5, 256] a random permutation for every order, another one for every batch."""
    return np.stack([_padded(index_map.random(2**bits, seed=batch)) for bits in ujscc.BITS])


def batch_means(values: np.ndarray) -> np.ndarray:
    """Mean of each batch: the images of one batch share a random labelling."""
    size = batch_size(len(values))
    return np.array([values[start : start + size].mean() for start in range(0, len(values), size)])


def _padded(to_label: np.ndarray) -> np.ndarray:
    return np.concatenate([to_label, np.arange(len(to_label), SIZE)]).astype(np.int32)


if __name__ == "__main__":
    main()
