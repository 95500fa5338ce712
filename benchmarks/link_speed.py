"""How fast the link is: bits/s, OFDM grids/s and images/s of the general path, on whatever device JAX finds.

Each line: the first call (which compiles), then minimum, median and maximum rate of five samples after a warm-up. A sample
is `--batches` batches as `semsim ber` and `semsim run` work them off: a fresh key each, random labels, fading, noise,
equalisation, decisions, and the error counts back on the host.

    python benchmarks/link_speed.py
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

import phy
from semsim import Propagation, data
from semsim.error_rates import FLAT_BATCH, FLAT_SYMBOLS, GRID, GRID_BATCH, transmissions
from semsim.link import Link
from semsim.scenario import flat_fading, grid_fading
from semsim.sweep import batch_key
from semsim.systems import Point, ujscc

SAMPLES = 5
MODULATION, ESNO_DB = "qam16", 12.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--batches", type=int, default=20, help="batches in a sample of the bare link (default 20)"
    )
    parser.add_argument("--images", type=int, default=128, help="images in a batch of uJSCC (default 128)")
    parser.add_argument(
        "--image-batches", type=int, default=4, help="batches in a sample of uJSCC (default 4)"
    )
    given = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.devices()[0]}; {SAMPLES} samples, rates as min / median / max")

    modulation = phy.modulation(MODULATION)
    noise_var = jnp.float32(phy.esnodb2no(ESNO_DB))
    bits = FLAT_BATCH * FLAT_SYMBOLS * phy.num_bits(MODULATION)
    for demap in ("nearest", "app"):
        fading = flat_fading("awgn", Propagation())
        plan = {"link": Link(demap=demap), "batch": FLAT_BATCH, "num_symbols": FLAT_SYMBOLS}
        call = partial(_link_batch, modulation, fading, noise_var, plan)
        measure(f"16-QAM AWGN, {demap}", "Mbit/s", bits / 1e6, given.batches, call)
    for csi in ("perfect", "ls"):
        fading = grid_fading("tdl-a", Propagation(), GRID)
        plan = {"link": Link(GRID, csi), "batch": GRID_BATCH, "num_symbols": GRID.num_data_symbols}
        call = partial(_link_batch, modulation, fading, noise_var, plan)
        measure(f"16-QAM OFDM 14x72 TDL-A, {csi} CSI", "grids/s", GRID_BATCH, given.batches, call)
    _images(given.images, given.image_batches)


def _link_batch(modulation, fading, noise_var, plan: dict, batch: int) -> object:
    return jax.device_get(transmissions(batch_key(0, 0, batch), modulation, fading, noise_var, **plan))


def _images(count: int, batches: int) -> None:
    """uJSCC at 16-QAM over TDL-A, and its encoder and decoder alone. Random weights: speed does not depend on them."""
    graph, state = nnx.split(ujscc.build())
    images = jnp.asarray(data.as_float(data.load("embedded", limit=count).images))
    order = ujscc.order(MODULATION)
    point = Point(
        jnp.int32(order), grid_fading("tdl-a", Propagation(), ujscc.GRID), jnp.float32(phy.esnodb2no(ESNO_DB))
    )

    @jax.jit
    def bare(state: nnx.State, images: jax.Array) -> jax.Array:
        codec, rows = nnx.merge(graph, state), jnp.full(images.shape[0], order)
        return codec.decode(codec.encode(images, rows), rows)

    @jax.jit
    def over_air(state: nnx.State, images: jax.Array, key: jax.Array, point: Point) -> jax.Array:
        return ujscc.transmit(nnx.merge(graph, state), images, key, Link(ujscc.GRID), point).images

    measure(
        "uJSCC, encoder and decoder alone",
        "images/s",
        len(images),
        batches,
        lambda batch: bare(state, images),
    )
    measure(
        "uJSCC over TDL-A on OFDM", "images/s", len(images), batches,
        lambda batch: over_air(state, images, batch_key(0, 0, batch), point),
    )  # fmt: skip


def measure(name: str, unit: str, amount: float, batches: int, call: Callable[[int], object]) -> None:
    """Prints the rate of `call(batch)`, each worth `amount` units."""
    started = time.perf_counter()
    jax.block_until_ready(call(0))
    first = time.perf_counter() - started
    rates = []
    for sample in range(SAMPLES + 1):  # one for warming up
        started = time.perf_counter()
        for batch in range(batches):
            jax.block_until_ready(call(sample * batches + batch))
        rates.append(amount * batches / (time.perf_counter() - started))
    kept = rates[1:]
    figures = " / ".join(f"{value:,.0f}" for value in (min(kept), statistics.median(kept), max(kept)))
    print(f"{name:38} first call {first:5.1f} s   {figures} {unit}", flush=True)


if __name__ == "__main__":
    main()
