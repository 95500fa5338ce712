"""The table of models, docs/models.md: what every weights file that ships is, costs and reaches.

    python benchmarks/model_table.py [--limit 1000] [--seed 9]     # all 10,000 test images: --limit 10000
    python benchmarks/model_table.py --page                        # the page alone, from what was measured

Parameters, bytes and training come from the files themselves, MACs from the traced nets. PSNR is measured here, over AWGN,
on the first test images of CIFAR-10, and kept in benchmarks/results/models.json: the same file is not measured again.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import semsim
from semsim.checkpoint import read_metadata
from semsim.data import ImageSet, load
from semsim.environment import environment
from semsim.info import macs, parameters
from semsim.systems import SYSTEMS, System
from semsim.systems.per_order import BOUNDARIES_DB, ORDERS, SNR_RANGE_DB

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results" / "models.json", HERE.parent / "docs" / "models.md"
TOPS_DB = (*BOUNDARIES_DB, SNR_RANGE_DB[1])
"""Es/N0 of an order of an index system: the top of its interval."""
ANALOGUE_DB = (1.0, 4.0, 7.0, 10.0, 13.0)
LIMITS = {
    "ujscc": "32 x 32 tiles, CBR 1/12; BPSK and QPSK 0.6 dB under the ladder of separately trained models",
    "deepjscc": "32 x 32 tiles, CBR 1/12; the small published net, one for 0 to 20 dB, not told the Es/N0",
    "deepjscc_third": "as `deepjscc`, at CBR 1/3; stops at 29 dB",
    "deepjscc_strong": "any size; CBR 1/12 to 1/3; trained for 0 to 20 dB over AWGN",
    "stsc": "any size; CBR 1/12 to 1/3; trained for 0 to 20 dB over AWGN; 3 dB under the published WITT (13.7 M)",
    "stsc_vq": "any size; CBR 1/12; behind `ujscc` at BPSK",
    "frenca": "any size; CBR 1/6; trained for 1 to 7 dB over AWGN; large, then small user",
}
"""What is not to be expected of a file, by its name."""


class Model(NamedTuple):
    """A file that ships, and the system that it belongs to."""

    file: str
    system: System
    path: Path


def models() -> list[Model]:
    """All weights that ship, in the order of the systems."""
    return [
        Model(path.stem, system, path)
        for system in SYSTEMS.values()
        for path in dict.fromkeys((system.checkpoint, *(path for _, path in system.rates)))
        if path is not None
    ]


def measure(model: Model, images: ImageSet, seed: int) -> list[dict[str, Any]]:
    """PSNR over AWGN at five points of every user: the mean over images in dB, with its 95 % interval."""
    system, codec = model.system, model.system.load(model.path)
    if system.as_bits is not None:
        points = [(order, [snr]) for order, snr in zip(ORDERS, TOPS_DB, strict=True)]
    else:
        points = [(user, list(ANALOGUE_DB)) for user in system.modulations]
    return [
        {name: row[name] for name in ("modulation", "esno_db", "value", "low", "high")}
        for modulation, snr in points
        for row in semsim.run(system.name, images, modulation, "awgn", snr, codec=codec, seed=seed).rows()
        if row["metric"] == "psnr"
    ]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def command(system: System, config: Any, recipe: str) -> str:
    """What trains such weights."""
    size = next(name for name, known in system.sizes if known == config)
    parts = ["semsim train", system.name]
    parts += ["--size", size] if size != system.sizes[0][0] else []
    return " ".join([*parts, "--recipe", recipe])


def row(model: Model, measured: dict[str, Any]) -> dict[str, str]:
    """One line of the table. Errors: ValueError where the file is not the one that was measured."""
    if measured.get("sha256") != digest(model.path):
        raise ValueError(f"{model.file} is not the file that was measured: python benchmarks/model_table.py")
    known: Any = read_metadata(model.path)
    training = known["training"]
    recipe = training["recipe"]
    codec = model.system.load(model.path)
    price = macs(model.system, codec)
    users = dict.fromkeys(point["modulation"] for point in measured["psnr"])
    if model.system.as_bits is not None:
        users = {"": None}
    values = [
        " / ".join(
            f"{point['value']:.2f}" for point in measured["psnr"] if point["modulation"] == user or not user
        )
        for user in users
    ]
    seen = f"{known['step'] * recipe['batch'] / 1e6:.2g} M"
    if "started_from" in known:
        seen += f", after those of `{known['started_from']['file'].removesuffix('.safetensors')}`"
    return {
        "weights": f"`{model.file}`",
        "parameters": f"{parameters(codec):,}",
        "bytes": f"{model.path.stat().st_size:,}",
        "MACs an image, encoder + decoder": f"{price['encoder_macs'] / 1e6:.1f} + {price['decoder_macs'] / 1e6:.1f} M",
        "images seen": seen,
        "recipe": f"{recipe['steps']:,} x {recipe['batch']}, {recipe['learning_rate']:g}, seed {recipe['seed']}",
        "command": f"`{command(model.system, codec.config, recipe['name'])}`",
        "PSNR, dB": "<br>".join(values),
        "source": f"{training['source']}, {training['device']}",
        "limits": LIMITS[model.file],
    }


def page(results: dict[str, Any]) -> str:
    """docs/models.md."""
    every = [row(model, results.get("models", {}).get(model.file, {})) for model in models()]
    points = [point for found in results["models"].values() for point in found["psnr"]]
    widest = max((point["high"] - point["low"]) / 2 for point in points)
    orders = " / ".join(f"{order} at {snr:g}" for order, snr in zip(ORDERS, TOPS_DB, strict=True))
    analogue = ", ".join(f"{snr:g}" for snr in ANALOGUE_DB)
    lines = [
        "# Models that ship",
        "",
        "Made by `python benchmarks/model_table.py` from the weights in `semsim/systems/weights/` and from",
        "`benchmarks/results/models.json`: edit the script, not this page. Weights are stored as float16, used in float32.",
        "",
        "| " + " | ".join(every[0]) + " |",
        "|" + "---|" * len(every[0]),
        *("| " + " | ".join(each.values()) + " |" for each in every),
        "",
        f"PSNR: mean over the first {results['images']:,} CIFAR-10 test images, AWGN, seed {results['seed']};",
        f"95 % intervals are within {widest:.2f} dB. Systems of indices (ujscc, stsc_vq): {orders} dB,",
        f"the top of the Es/N0 interval of each order. All others: {analogue} dB.",
        "PSNR over all images, and against what others reach: [measurements.md](measurements.md),",
        "[swin_family.md](swin_family.md#what-was-measured).",
        "",
        "MACs are those of convolutions and matrix products (`semsim info`), for frenca with the large decoder. One",
        "run and one seed each: how far two trainings by one recipe differ was not measured.",
        "`semsim train` has more sizes than ship ([swin_family.md](swin_family.md#sizes-rates-image-sizes)), and a `wide`",
        "ujscc; how the weights were stored: [weights](../semsim/systems/weights/README.md).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=1_000, help="test images (default 1,000)")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--page", action="store_true", help="write the page alone")
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not given.page:
        asked = {"images": given.limit, "seed": given.seed}
        if any(results.get(name) != value for name, value in asked.items()):
            results = {**asked, "models": {}}
        images = load("cifar10", limit=given.limit)
        for model in models():
            if results["models"].get(model.file, {}).get("sha256") != digest(model.path):
                found = {"sha256": digest(model.path), "psnr": measure(model, images, given.seed)}
                results["models"][model.file] = found
                results["environment"] = environment()
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
                print(model.file, *(f"{point['value']:.2f}" for point in found["psnr"]), flush=True)
    PAGE.write_text(page(results))
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
