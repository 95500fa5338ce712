"""STSC against the published WITT curve and against both DeepJSCCs, AWGN: PSNR over Es/N0 at CBR 1/3, and over CBR at 10 dB.

    python benchmarks/swin_curves.py [--limit 2000] [--seed 0] [--out runs/swin_curves]

Test images of CIFAR-10 with the weights that ship. PSNR as the mean over images, with a 95 % interval, and of the mean
squared error of all images, as the authors of WITT average it (over 1,024 images at a time). The published columns are
read off their figures (arXiv 2211.00937; within 0.1 dB); their DeepJSCC is a strong one, trained for each SNR apart. The
last table has the training logs that ship, as far as they go: it says what longer training brought.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from _common import difference, image_arguments, print_table, text, write_json

from semsim.checkpoint import read_metadata
from semsim.data import as_float, load
from semsim.simulation import reconstruct
from semsim.stats import paired_interval
from semsim.systems.deepjscc import WEIGHTS

SYSTEMS = ("stsc", "deepjscc-strong", "deepjscc")
WITT = {1.0: 29.55, 4.0: 32.58, 7.0: 35.35, 10.0: 37.74, 13.0: 39.67}
THEIR_DEEPJSCC = {1.0: 29.10, 4.0: 31.30, 7.0: 34.14, 10.0: 36.45, 13.0: 38.76}
WITT_AT_10 = {"1/12": 28.58, "1/6": 32.66, "1/4": 35.27, "1/3": 37.76}
THEIR_DEEPJSCC_AT_10 = {"1/12": 27.52, "1/6": 31.88, "1/4": 34.29, "1/3": 36.43}
LOGS = {"stsc": "stsc", "deepjscc-strong": "deepjscc_strong"}
WINDOW = 500_000
"""Images of a row of the training table."""


def main() -> None:
    parser = image_arguments(__doc__, "swin_curves")
    given = parser.parse_args()
    images = load(given.data, limit=given.limit).images
    over_snr = [
        _row({"Es/N0": f"{snr:g}"}, {name: _scores(name, images, snr, "1/3", given.seed) for name in SYSTEMS},
             WITT[snr], THEIR_DEEPJSCC[snr]) for snr in WITT
    ]  # fmt: skip
    over_rate = [
        _row({"CBR": rate}, {
            name: _scores(name, images, 10.0, rate, given.seed) for name in SYSTEMS
            if name != "deepjscc" or rate in ("1/12", "1/3")
        }, WITT_AT_10[rate], THEIR_DEEPJSCC_AT_10[rate]) for rate in WITT_AT_10
    ]  # fmt: skip
    for title, rows in (("CBR 1/3", over_snr), ("Es/N0 10 dB", over_rate)):
        print(f"\nAWGN, {title}: mean PSNR of {len(images)} images in dB, in brackets PSNR of their mean MSE")
        print_table([row["shown"] for row in rows])
    lengths = _lengths()
    print(
        f"\ntraining: PSNR of the mean ln(MSE) in parts of {WINDOW:,} images, all Es/N0 of 0 to 20 dB and all rates, dB"
    )
    print_table(lengths)
    write_json(
        given.out / "swin_curves.json",
        {
            "over_snr": [row["numbers"] for row in over_snr],
            "over_rate": [row["numbers"] for row in over_rate],
            "training": lengths,
            "arguments": {**vars(given), "out": ""},
        },
    )
    _figure(over_snr, lengths, given.out / "swin_curves.png")


def _scores(system: str, images: np.ndarray, snr: float, rate: str, seed: int) -> np.ndarray:
    """Mean squared error of each image; all systems meet the same noise as far as they send the same number of symbols."""
    found = reconstruct(system, images, "analogue", "awgn", snr, cbr=rate, seed=seed).images
    return np.mean((found.astype(np.float64) - as_float(images)) ** 2, axis=(1, 2, 3))


def _row(label: dict[str, str], errors: dict[str, np.ndarray], witt: float, theirs: float) -> dict:
    psnr = {name: -10 * np.log10(values) for name, values in errors.items()}
    pooled = {name: float(-10 * np.log10(values.mean())) for name, values in errors.items()}
    against = {name: difference(psnr["stsc"], psnr[name]) for name in psnr if name != "stsc"}
    shown = dict(label)
    for name in SYSTEMS:
        if name in psnr:
            shown[name] = f"{psnr[name].mean():.2f} ({pooled[name]:.2f})"
        else:
            shown[name] = ""
    for name in SYSTEMS[1:]:
        shown[f"stsc - {name}"] = text(against[name]) if name in against else ""
    shown |= {
        "WITT": f"{witt:.2f}", "stsc - WITT": f"{pooled['stsc'] - witt:+.2f}", "their DeepJSCC": f"{theirs:.2f}",
    }  # fmt: skip
    numbers = {
        **label,
        "psnr": {name: paired_interval(values)._asdict() for name, values in psnr.items()},
        "psnr_of_mean_mse": pooled,
        "stsc_less": {name: interval._asdict() for name, interval in against.items()},
        "witt": witt,
        "their_deepjscc": theirs,
    }
    return {"shown": shown, "numbers": numbers}


def _lengths() -> list[dict[str, str]]:
    """PSNR over the images seen, by the logs of the weights that ship, in parts of `WINDOW` images."""
    means: dict[int, dict[str, str]] = {}
    for name, file in LOGS.items():
        training: Any = read_metadata(WEIGHTS / f"{file}.safetensors")["training"]
        batch = training["recipe"]["batch"]
        lines = [json.loads(line) for line in (WEIGHTS / f"{file}.log.jsonl").read_text().splitlines()]
        for end in range(WINDOW, lines[-1]["step"] * batch + 1, WINDOW):
            found = [line["loss"] for line in lines if end - WINDOW < line["step"] * batch <= end]
            value = -10 * np.mean(found) / np.log(10)
            means.setdefault(end, {"images": str(end)})[name] = f"{value:.2f}"
    return [{**row, **{name: row.get(name, "") for name in LOGS}} for _, row in sorted(means.items())]


def _figure(rows: list[dict], lengths: list[dict[str, str]], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    snr = [float(row["numbers"]["Es/N0"]) for row in rows]
    for name, marker in zip(SYSTEMS, "osD", strict=True):
        values = [row["numbers"]["psnr_of_mean_mse"][name] for row in rows]
        left.plot(snr, values, marker=marker, label=f"{name}, here")
    left.plot(snr, [WITT[each] for each in snr], "k--", label="WITT, published")
    left.plot(snr, [THEIR_DEEPJSCC[each] for each in snr], "k:", label="DeepJSCC for each SNR, published")
    left.set(xlabel="Es/N0 [dB]", ylabel="PSNR of the mean MSE [dB]", title="CIFAR-10, AWGN, CBR 1/3")
    left.legend(fontsize=8)
    left.grid(alpha=0.3)
    for name, marker in zip(LOGS, "os", strict=True):
        known = [row for row in lengths if row[name]]
        right.plot(
            [int(row["images"]) / 1e3 for row in known],
            [float(row[name]) for row in known],
            marker=marker,
            label=name,
        )
    right.set(
        xlabel="training images [thousands]",
        ylabel="PSNR of exp(loss) [dB]",
        title="training, all Es/N0 and rates",
    )
    right.legend(fontsize=8)
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
