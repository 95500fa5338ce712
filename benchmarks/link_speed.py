"""How fast the engine is: bits/s, OFDM grids/s and images/s of the general path, on whatever devices JAX finds.

Each line: the first call (which compiles, or reads the compilation cache), then minimum, median and maximum rate of
five samples after a warm-up. A sample is so many batches as `semsim ber` and `semsim run` work them off: keys, random
labels or images, fading, noise, equalisation, decisions, and the counts back on the host.

    python benchmarks/link_speed.py
"""

import argparse
import statistics
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

import phy
from semsim import data, error_rates, image_runs, simulation
from semsim.backend import prepare
from semsim.devices import Evaluator, Kernel, Work
from semsim.error_counts import FLAT_SYMBOLS
from semsim.systems import ujscc

SAMPLES = 5
MODULATION = "qam16"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--batches", type=int, default=20, help="batches in a sample of the bare link (default 20)"
    )
    parser.add_argument(
        "--image-batches", type=int, default=4, help="batches in a sample of uJSCC (default 4)"
    )
    given = parser.parse_args()
    prepare()
    found = jax.devices()
    print(
        f"jax {jax.__version__} on {len(found)} x {found[0].device_kind}; {SAMPLES} samples, min / median / max"
    )

    for demap in ("nearest", "app"):
        wanted = error_rates.sweep(MODULATION, "awgn", [8.0], demap=demap)
        bits = FLAT_SYMBOLS * phy.num_bits(MODULATION)
        measure(f"16-QAM AWGN, {demap}", "Mbit/s", bits / 1e6, given.batches, wanted.jobs[0].work)
    for csi in ("perfect", "ls"):
        wanted = error_rates.sweep(MODULATION, "tdl-a", [8.0], csi=csi)
        measure(f"16-QAM OFDM 14x72 TDL-A, {csi} CSI", "grids/s", 1, given.batches, wanted.jobs[0].work)
    images = data.load("embedded")
    wanted = simulation.sweep("ujscc", images, MODULATION, "tdl-a", [12.0])
    over_air = wanted.jobs[0].work
    measure("uJSCC over TDL-A on OFDM", "images/s", 1, given.image_batches, over_air)
    alone = over_air._replace(kernel=Codec(over_air.kernel.graph, ujscc.SYSTEM.order(MODULATION)))
    measure("uJSCC, encoder and decoder alone", "images/s", 1, given.image_batches, alone)


@dataclass(frozen=True)
class Codec(Kernel):
    """Kernel: images through encoder and decoder without a link between them."""

    graph: nnx.GraphDef
    order: int
    realizations: int = image_runs.BLOCK

    def __call__(self, key: jax.Array, mapped: jax.Array, shared: tuple) -> jax.Array:
        codec, rows = nnx.merge(self.graph, shared[0]), jnp.full(self.realizations, self.order)
        received = codec.decode(codec.encode(mapped.astype(jnp.float32) / 255, rows), rows)
        return jnp.mean(received, axis=(1, 2, 3))


def measure(name: str, unit: str, amount: float, batches: int, work: Work) -> None:
    """Prints the rate of a kernel on all devices; one of its realisations is worth `amount` units."""
    evaluator = Evaluator()
    started = time.perf_counter()
    list(evaluator.batches(work, [0]))
    first = time.perf_counter() - started
    rates = []
    for _ in range(SAMPLES + 1):  # one for warming up
        started = time.perf_counter()
        # Images: the same few batches again and again, so that their number does not matter.
        list(evaluator.batches(work, [batch % 4 for batch in range(batches)]))
        done = batches * work.blocks * work.kernel.realizations
        rates.append(amount * done / (time.perf_counter() - started))
    kept = rates[1:]
    figures = " / ".join(f"{value:,.0f}" for value in (min(kept), statistics.median(kept), max(kept)))
    print(f"{name:38} first call {first:5.1f} s   {figures} {unit}", flush=True)


if __name__ == "__main__":
    main()
