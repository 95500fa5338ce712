"""What every system costs: parameters, bytes, MACs, XLA's FLOPs, and how long an image takes, with the link and without.

    python benchmarks/costs.py [--batch 16] [--repeats 7] [--systems stsc ujscc ...] [--out runs/costs]

Times are of a batch, divided by its size: encoder, decoder, both, and the whole system over TDL-A on the grid with perfect
CSI; the four take turns. Weights are fresh, which cost what trained ones do.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _common import print_table, write_json
from flax import nnx

import phy
import semsim
from semsim.info import cost
from semsim.link import Link
from semsim.scenario import grid_fading
from semsim.systems import SYSTEMS, Point, System


def programs(system: System, batch: int) -> dict[str, Any]:
    """Encoder, decoder, both, and all with the link, as jitted functions without arguments."""
    codec = nnx.jit(system.fresh)()
    graph, state = nnx.split(codec)
    images = jax.random.uniform(jax.random.key(0), (batch, *codec.config.image_shape, 3))
    rows = jnp.full(batch, system.order(system.modulations[0]), jnp.int32)
    symbols = int(system.ledger(codec, Link()).payload.channel_uses)
    grid = system.grid if symbols <= system.grid.num_data_symbols else phy.repeated(system.grid, symbols)
    fading = grid_fading("tdl-a", semsim.Propagation(), grid)
    point = Point(rows[0], fading, jnp.float32(phy.esnodb2no(10.0)))

    encode = jax.jit(lambda state, images: system.encode(nnx.merge(graph, state), images, rows))
    decode = jax.jit(lambda state, sent: system.decode(nnx.merge(graph, state), sent, rows))
    both = jax.jit(lambda state, images: decode(state, encode(state, images)))
    whole = jax.jit(
        lambda state, key: system.transmit(nnx.merge(graph, state), images, key, Link(grid), point).images
    )
    sent = encode(state, images)
    return {
        "encoder": partial(encode, state, images),
        "decoder": partial(decode, state, sent),
        "both": partial(both, state, images),
        "with link": partial(whole, state, jax.random.key(1)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS))
    parser.add_argument("--out", type=Path, default=Path("runs/costs"))
    given = parser.parse_args()
    rows = []
    for name in given.systems:
        price: dict[str, Any] = cost(SYSTEMS[name])
        row = {"system": name, "parameters": f"{price['parameters']:,}", "bytes": f"{price['bytes']:,}"}
        for side in ("encoder", "decoder"):
            row[f"{side} MMACs"] = f"{price[f'{side}_macs'] / 1e6:.2f}"
            row[f"{side} MFLOPs (XLA)"] = f"{price[f'{side}_flops'] / 1e6:.1f}"
        row |= {
            f"{part} ms": times
            for part, times in latencies(programs(SYSTEMS[name], given.batch), given).items()
        }
        rows.append(row)
        print(row, flush=True)
    print_table(rows)
    write_json(given.out / "costs.json", {"rows": rows, "arguments": {**vars(given), "out": ""}})


def latencies(runs: dict[str, Any], given: argparse.Namespace) -> dict[str, str]:
    """min / median / max, ms an image."""
    for run in runs.values():
        jax.block_until_ready(run())
    seconds: dict[str, list[float]] = {part: [] for part in runs}
    for _ in range(given.repeats):
        for part, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            seconds[part].append(1e3 * (time.perf_counter() - start) / given.batch)
    return {
        part: " / ".join(f"{f(v):.2f}" for f in (np.min, np.median, np.max)) for part, v in seconds.items()
    }


if __name__ == "__main__":
    main()
