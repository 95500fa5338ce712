"""One uJSCC model against separately trained ones: PSNR over the bits of an image, and over SNR.

1. All images at the top of each order's SNR interval over AWGN, where the indices arrive almost without error, against the
   rate-PSNR ladder that separately trained models reach on CIFAR-10: 21.5, 23.7 and 26.5 dB at 256, 512 and 1024 bits.
2. The first `--sweep-limit` images at every order, and with link adaptation (auto), from -5 to 35 dB. The largest fall of
   the PSNR for one decibel of SNR inside an order's interval says whether there is a cliff.
Prints both and writes ladder.json and ladder.png.

    python benchmarks/ladder.py
"""

from pathlib import Path

import numpy as np
from _common import EDGES_DB, image_arguments, print_table, write_json

import semsim
from semsim import data, plot
from semsim.systems import ujscc

LADDER_DB = {"bpsk": 21.5, "qpsk": 23.7, "qam16": 26.5}
SWEEP_DB = (-5, 35)


def main() -> None:
    parser = image_arguments(__doc__, "ladder")
    parser.add_argument("--checkpoint", type=Path, default=ujscc.CHECKPOINT)
    parser.add_argument(
        "--sweep-limit", type=int, default=1000, help="images of the sweep over SNR (default 1000)"
    )
    parser.add_argument("--step", type=int, default=1, help="step of the sweep in dB (default 1)")
    given = parser.parse_args()
    codec = ujscc.load(given.checkpoint)
    images = data.load(given.data, size=32, limit=given.limit)

    rungs = []
    for order, name in enumerate(ujscc.ORDERS):
        run = semsim.run(
            "ujscc", images, [name], ["awgn"], [EDGES_DB[order + 1]], codec=codec, seed=given.seed
        )
        rungs += [{**row, "bits": ujscc.BITS[order] * codec.config.num_vectors} for row in run.rows()]
    psnr = [row for row in rungs if row["metric"] == "psnr"]
    print_table([_rung(row) for row in psnr])
    rises = all(np.diff([row["value"] for row in psnr]) > 0)
    print("PSNR rises with every order" if rises else "PSNR does not rise with every order")

    few = images._replace(images=images.images[: given.sweep_limit], names=images.names[: given.sweep_limit])
    orders = (*ujscc.ORDERS, "auto")
    snrs = sorted({*map(float, range(SWEEP_DB[0], SWEEP_DB[1] + 1, given.step)), *EDGES_DB})
    swept = semsim.run("ujscc", few, orders, ["awgn"], snrs, codec=codec, seed=given.seed).rows()
    falls = {name: _largest_fall(swept, name) for name in orders}
    print_table([_fall(name, fall) for name, fall in falls.items()])

    config = {
        "data": images.note,
        "images": len(images.images),
        "sweep_images": len(few.images),
        "seed": given.seed,
    }
    content = {
        **config,
        "checkpoint": str(given.checkpoint),
        "ladder": rungs,
        "sweep": swept,
        "largest_fall": falls,
    }
    write_json(given.out / "ladder.json", content)
    print(f"written: {plot.save(plot.quality_figure(swept, ('psnr', 'ssim')), given.out / 'ladder.png')}")


def _rung(row: dict) -> dict[str, str]:
    target = LADDER_DB.get(row["modulation"])
    return {
        "order": row["modulation"],
        "bits": str(row["bits"]),
        "Es/N0": f"{row['esno_db']:g} dB",
        "PSNR": f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
        "ladder": f"{target:.1f}" if target else "",
        "above ladder": f"{row['value'] - target:+.2f}" if target else "",
        "images": str(row["n"]),
    }


def _largest_fall(rows: list[dict], name: str) -> dict[str, float]:
    """The steepest fall of mean PSNR per dB of SNR lost, inside the order's own interval; auto: over the whole sweep."""
    low, high = EDGES_DB[0], EDGES_DB[-1]
    if name != "auto":
        low, high = EDGES_DB[ujscc.SYSTEM.order(name)], EDGES_DB[ujscc.SYSTEM.order(name) + 1]
    mine = [
        row
        for row in rows
        if row["modulation"] == name and row["metric"] == "psnr" and low <= row["esno_db"] <= high
    ]
    points = sorted((row["esno_db"], row["value"]) for row in mine)
    slopes = [((b[1] - a[1]) / (b[0] - a[0]), a[0]) for a, b in zip(points, points[1:], strict=False)]
    steepest, at = max(slopes)
    return {
        "db_per_db": steepest,
        "from_db": at,
        "low_edge_psnr": points[0][1],
        "high_edge_psnr": points[-1][1],
    }


def _fall(name: str, fall: dict[str, float]) -> dict[str, str]:
    return {
        "order": name,
        "largest fall": f"{fall['db_per_db']:.2f} dB per dB above {fall['from_db']:g} dB",
        "PSNR at the low and high edge": f"{fall['low_edge_psnr']:.2f} .. {fall['high_edge_psnr']:.2f} dB",
    }


if __name__ == "__main__":
    main()
