"""Mean energy of what every index system sends, at equal power and with the gain of its order: what `esno_db` says is 0 dB.

    python benchmarks/energy.py [--limit 1000] [--systems ujscc stsc-vq]

Each source is sent with the weights that ship, whose usage of codewords is that of CIFAR-10, and with a copy calibrated on
training images of its own kind (`semsim calibrate WEIGHTS --data natural-train`). "without" is the energy that the same
symbols have without the gain. Prints a table, with the spread of single images, and writes energy.json.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from _common import image_arguments, print_table, write_json

import phy
import semsim
from semsim import data
from semsim.calibration import calibrate
from semsim.energy import index_amplitude
from semsim.systems import SYSTEMS
from semsim.systems.per_order import ORDERS

SOURCES = {"cifar10": "cifar10", "natural": "natural-train"}
"""Test images, photographs in tiles, and where training images of the same kind are."""


def main() -> None:
    parser = image_arguments(__doc__, "energy")
    parser.add_argument("--systems", nargs="+", default=["ujscc", "stsc-vq"], help="default: %(default)s")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in given.systems:
        shipped = SYSTEMS[name].checkpoint
        if shipped is None:
            parser.error(f"{name} ships without weights")
        for source, training in SOURCES.items():
            images = data.load(source, tile=32, limit=given.limit)
            rows += measure(name, images, shipped, source, "cifar10", given.seed)
            if training != "cifar10":
                own = given.out / f"{name}-{training}.safetensors"
                calibrate(shipped, training, own)
                rows += measure(name, images, own, source, training, given.seed)
    print_table([_line(row) for row in rows])
    write_json(given.out / "energy.json", {"rows": rows})


def measure(
    name: str, images: data.ImageSet, weights: Path, source: str, fitted: str, seed: int
) -> list[dict]:
    """A row an order."""
    codec = SYSTEMS[name].load(weights)
    usage = np.asarray(codec.quantizer.count[...])
    run = semsim.run(name, images, list(ORDERS), ["awgn"], [30.0], codec=codec, seed=seed)
    rows = []
    for row in run.rows():
        if row["metric"] == "psnr":
            order = ORDERS.index(row["modulation"])
            size = 2 ** phy.num_bits(row["modulation"])
            points = phy.modulation(row["modulation"]).modulate(jnp.arange(size))
            gain_db = 20 * float(np.log10(index_amplitude(jnp.asarray(usage[order, :size]), points)))
            kept = {
                key: row[key]
                for key in ("modulation", "es_db", "es_low_db", "es_high_db", "papr_db", "peak_db")
            }
            rows.append(
                {
                    "system": name,
                    "source": source,
                    "images": len(images.images),
                    "fitted": fitted,
                    "gain_db": gain_db,
                    **kept,
                }
            )
    return rows


def _line(row: dict) -> dict[str, str]:
    return {
        "system": row["system"],
        "images": f"{row['images']} {row['source']}",
        "usage of": row["fitted"],
        "order": row["modulation"],
        "without": f"{row['es_db'] - row['gain_db']:+.2f} dB ({10 ** ((row['es_db'] - row['gain_db']) / 10):.3f})",
        "sent": f"{row['es_db']:+.2f} [{row['es_low_db']:+.2f}, {row['es_high_db']:+.2f}] dB",
        "peak over mean": f"{row['papr_db']:.2f} dB",
        "largest": f"{row['peak_db']:+.2f} dB",
    }


if __name__ == "__main__":
    main()
