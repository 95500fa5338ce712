"""One model for five orders against five models for one order each.

Each specialist (trained with `semsim train ujscc --orders NAME`) meets the universal model on the same images, fades and
noise, at the low edge, the middle and the top of its order's SNR interval: mean difference of PSNR over images, in dB with
95 % intervals. The steps of both are printed, because they decide what is compared: a batch of the universal model gives
each order a fifth of its images, so a specialist of a fifth of the steps has seen its order as often, and five of them have
cost as much; one of equal steps has made as many passes over the images. Also counts what the per-order
normalisation adds to the universal model. Prints a table and writes specialists.json.

    python benchmarks/specialists.py --universal U.safetensors --specialist bpsk=B.safetensors qam16=Q.safetensors
"""

from pathlib import Path

import jax
from _common import (
    EDGES_DB,
    difference,
    fadings,
    image_arguments,
    print_table,
    psnr_per_image,
    text,
    write_json,
)
from flax import nnx

from models import UJSCC, SwitchableBatchNorm
from semsim import data
from semsim.checkpoint import read_metadata
from semsim.names import check_name
from semsim.systems import ujscc


def main() -> None:
    parser = image_arguments(__doc__, "specialists")
    parser.add_argument(
        "--universal", type=Path, default=ujscc.CHECKPOINT, help="default: the weights that ship"
    )
    parser.add_argument("--specialist", nargs="+", required=True, metavar="NAME=PATH")
    parser.add_argument("--channel", default="awgn")
    given = parser.parse_args()
    paths = {}
    for entry in given.specialist:
        name, separator, path = entry.partition("=")
        if not separator:
            parser.error(f"--specialist takes NAME=PATH, as in qam16=weights.safetensors; got {entry!r}")
        try:
            paths[check_name("modulation", name, ujscc.ORDERS)] = Path(path)
        except ValueError as error:
            parser.error(str(error))
    universal = ujscc.load(given.universal)
    images = data.load(given.data, size=32, limit=given.limit)
    faded = fadings([given.channel])[given.channel]
    results, lines = [], []
    for name, path in paths.items():
        specialist, order = ujscc.load(path), ujscc.SYSTEM.order(name)
        steps = {"universal": _steps(given.universal), "specialist": _steps(path)}
        low, high = EDGES_DB[order : order + 2]
        for esno_db in (low, (low + high) / 2, high):
            point = (images, name, given.channel, faded, esno_db)
            ours, theirs = (
                psnr_per_image(codec, *point, seed=given.seed) for codec in (universal, specialist)
            )
            gain = difference(ours, theirs)
            row = {"modulation": name, "channel": given.channel, "esno_db": esno_db, "steps": steps}
            row |= {
                "universal": float(ours.mean()),
                "specialist": float(theirs.mean()),
                "difference_db": gain._asdict(),
            }
            results.append(row)
            lines.append(
                {
                    "order": name, "Es/N0": f"{esno_db:g} dB",
                    "universal": f"{row['universal']:.2f}", "specialist": f"{row['specialist']:.2f}",
                    "universal - specialist": text(gain), "steps": f"{steps['universal']} and {steps['specialist']}",
                }
            )  # fmt: skip
    print_table(lines)
    added = normalisation(universal)
    print(
        f"per-order normalisation adds {added['added']:,} trainable numbers to {added['single']:,} of a model with one row: "
        f"{added['share']:.2%}"
    )
    config = {
        "data": images.note,
        "images": len(images.images),
        "seed": given.seed,
        "universal": str(given.universal),
    }
    config |= {"specialists": {name: str(path) for name, path in paths.items()}}
    write_json(given.out / "specialists.json", {**config, "normalisation": added, "results": results})


def _steps(path: Path) -> object:
    return read_metadata(path).get("step", "unknown")


def normalisation(codec: UJSCC) -> dict[str, float]:
    """Trainable numbers that the rows of the normalisation beyond the first add to the same model with one row."""
    total = _numbers(codec)
    norms = [node for _, node in nnx.iter_graph(codec) if isinstance(node, SwitchableBatchNorm)]
    rows = len(codec.config.sizes)
    added = sum(_numbers(norm) for norm in norms) * (rows - 1) // rows
    return {"added": added, "single": total - added, "share": added / (total - added)}


def _numbers(module: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


if __name__ == "__main__":
    main()
