"""Window attention against global attention: multiply-accumulates and time over the number of tokens, with fitted slopes.

    python benchmarks/attention.py [--channels 64] [--heads 4] [--window 8] [--repeats 7] [--out runs/attention]

The same module does both: global attention is a window as large as the grid. Times are of a forward pass of one image, both
kinds taking turns. Slopes are least squares of logarithms over 64 to 4096 tokens: 1 is linear, 2 quadratic. MACs are counted
on the traced program and compared with the formula of the Swin paper.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
from _common import print_table, write_json
from flax import nnx

from models import attention_macs
from models.windows import WindowAttention
from semsim.info import count_macs

SIDES = (8, 16, 32, 64)


def attention(kind: str, side: int, channels: int, heads: int, window: int):
    """The jitted layer on a grid of side x side tokens, its arguments, and the side of its windows."""
    size = side if kind == "global" else min(window, side)
    layer = nnx.jit(lambda: WindowAttention(channels, heads, size, 0, rngs=nnx.Rngs(0)))()
    graph, state = nnx.split(layer)
    x = jax.random.normal(jax.random.key(side), (1, side, side, channels))
    return jax.jit(lambda state, x: nnx.merge(graph, state)(x)), (state, x), size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("channels", 64), ("heads", 4), ("window", 8), ("repeats", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=Path("runs/attention"))
    given = parser.parse_args()
    layers = {
        (kind, side): attention(kind, side, given.channels, given.heads, given.window)
        for side in SIDES
        for kind in ("window", "global")
    }
    seconds: dict[tuple[str, int], list[float]] = {place: [] for place in layers}
    for run, arguments, _ in layers.values():
        jax.block_until_ready(run(*arguments))
    for _ in range(given.repeats):
        for place, (run, arguments, _) in layers.items():
            passes = max(1, 16 * 1024 // place[1] ** 2 // (1 if place[0] == "window" else place[1] // 8))
            start = time.perf_counter()
            for _ in range(passes):
                found = run(*arguments)
            jax.block_until_ready(found)
            seconds[place].append((time.perf_counter() - start) / passes)
    rows, table = [], {}
    for (kind, side), (run, arguments, size) in layers.items():
        tokens, times = side * side, 1e3 * np.asarray(seconds[kind, side])
        macs = count_macs(partial(run), *arguments)
        assert macs == attention_macs(tokens, given.channels, size), (macs, kind, side)
        table[kind, tokens] = (macs, float(np.median(times)))
        row = {"tokens": f"{tokens}", "attention": kind, "window": f"{size}", "MMACs": f"{macs / 1e6:.1f}"}
        rows.append(
            row
            | {"ms min / median / max": " / ".join(f"{f(times):.3f}" for f in (np.min, np.median, np.max))}
        )
    print_table(rows)
    slopes = {}
    for kind in ("window", "global"):
        tokens = np.log([side * side for side in SIDES])
        for which, name in enumerate(("MACs", "time")):
            values = np.log([table[kind, side * side][which] for side in SIDES])
            slopes[f"{kind} {name}"] = float(np.polyfit(tokens, values, 1)[0])
    print("slopes: " + ", ".join(f"{name} {value:.2f}" for name, value in slopes.items()))
    write_json(
        given.out / "attention.json", {"rows": rows, "slopes": slopes, "arguments": vars(given) | {"out": ""}}
    )


if __name__ == "__main__":
    main()
