"""FSSC: federated, alone and centralised at equal sample passes, over splits and seeds, and the device's encoder.

    python benchmarks/federated.py [--splits iid dirichlet:0.6] [--seeds 0 1 2] [--images 4000] [--rounds 60]
        [--batch 25] [--device 1000] [--out runs/federated]

Each cell is `semsim train fssc` with the same options; folders that are finished are not repeated, so the benchmark can be
stopped and started again. Differences are of the same seed: the same split, the same fresh weights.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from _common import print_table, write_json

from semsim.federated import FederatedOptions, train_fssc


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", nargs="+", default=["iid", "dirichlet:0.6"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument(
        "--device", type=int, default=1_000, help="steps of the device's encoder, first split only"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/federated"))
    given = parser.parse_args()
    tables, devices = {}, []
    for split in given.splits:
        for seed in given.seeds:
            folder = given.out / f"{split.replace(':', '-')}-{seed}"
            with_device = given.device if split == given.splits[0] else 0
            last = folder / ("device.json" if with_device else "table.json")
            if not last.exists():
                if folder.exists():
                    folder.rename(folder.with_name(f"{folder.name}-stopped-{len(list(given.out.iterdir()))}"))
                options = FederatedOptions(
                    given.clients,
                    given.rounds,
                    split=split,
                    images=given.images,
                    local_batch=given.batch,
                    device=with_device,
                )
                train_fssc(options, "cifar10", folder, seed=seed, report=lambda line: print(line, flush=True))
            tables[split, seed] = {
                row["training"]: row for row in json.loads((folder / "table.json").read_text())
            }
            if with_device:
                devices.append(json.loads((folder / "device.json").read_text()))
    report(tables, devices, given)


def report(tables: dict, devices: list, given: argparse.Namespace) -> None:
    """Means and ranges over the seeds."""
    rows, differences = [], []
    for split in given.splits:
        of_seeds = [tables[split, seed] for seed in given.seeds]
        for training in of_seeds[0]:
            found = [table[training] for table in of_seeds]
            rows.append({
                "split": split, "training": training, "passes": spread([row["passes"] for row in found], "{:.0f}"),
                "PSNR dB": spread([row["psnr"] for row in found]),
                "of mean MSE": spread([row["psnr_batch"] for row in found]),
                "rounds to 95 %": "" if training == "local" else spread([row["rounds_95"] for row in found], "{:.0f}"),
                "MB up + down": f"{found[0]['up_megabytes'] + found[0]['down_megabytes']:.0f}",
            })  # fmt: skip
        for other in ("local", "centralised"):
            each = [table["federated"]["psnr"] - table[other]["psnr"] for table in of_seeds]
            differences.append({"split": split, "federated less": other, "PSNR dB": spread(each, "{:+.2f}")})
    print_table(rows)
    print()
    print_table(differences)
    ways = []
    for number, way in enumerate(devices[0] if devices else []):
        found = [table[number] for table in devices]
        ways.append({
            "device encoder": way["device encoder"], "parameters": f"{way['parameters']}", "bytes": f"{way['bytes']}",
            "PSNR dB at start": spread([row["psnr at start"] for row in found]),
            "PSNR dB": spread([row["psnr"] for row in found]),
        })  # fmt: skip
    if ways:
        print()
        print_table(ways)
    write_json(
        given.out / "federated.json",
        {"rows": rows, "differences": differences, "device": ways, "arguments": {**vars(given), "out": ""}},
    )


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """Mean, and the range over the seeds where they differ."""
    low, high = (form.format(value) for value in (min(values), max(values)))
    mean = form.format(float(np.mean(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


if __name__ == "__main__":
    main()
