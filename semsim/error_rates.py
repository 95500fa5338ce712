"""Uncoded bit and symbol error rates of a modulation over a channel, by Monte Carlo."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

import phy
from channels import TDL_MODELS, Fading, pad
from phy import Modulation, ResourceGrid
from semsim.link import Csi, Demap, Link, fade, send_labels, split_keys
from semsim.names import check_name, parse_range
from semsim.runs import Run, RunWriter
from semsim.scenario import CHANNELS, Propagation, channel_identity, flat_fading, grid_fading
from semsim.sweep import batch_key, check_seed, count_sums, draw_id, names

GRID = ResourceGrid(
    num_ofdm_symbols=14, fft_size=72, cyclic_prefix_length=6, pilot_ofdm_symbol_indices=(2, 11)
)
"""The grid of the TDL channels: a slot of six resource blocks, pilots on symbols 2 and 11."""

FLAT_BATCH, FLAT_SYMBOLS = 512, 256  # transmissions per batch, symbols in each: 131,072 symbols
GRID_BATCH = 128


class Errors(NamedTuple):
    """Error counts of each transmission of a batch."""

    bits: Array  # [b]
    symbols: Array  # [b]


@partial(jax.jit, static_argnames=("link", "batch", "num_symbols"))
def transmissions(
    key: Key[Array, ""],
    modulation: Modulation,
    fading: Fading,
    noise_var: Float[Array, ""],
    *,
    link: Link,
    batch: int,
    num_symbols: int,
) -> Errors:
    """One batch of random labels through the link. Modulation, fading and noise are data: a sweep compiles once per plan."""
    key_source, key_fading, key_noise = split_keys(key)
    labels = random_labels(key_source, modulation, (batch, num_symbols))
    gain = fade(key_fading, link, fading, (batch,), num_symbols)
    decided = send_labels(key_noise, link, labels, modulation, gain, noise_var)
    bits = phy.count_bit_errors(labels, decided)
    return Errors(jnp.sum(bits, axis=-1), jnp.sum(labels != decided, axis=-1))


def random_labels(key: Key[Array, ""], modulation: Modulation, shape: tuple[int, int]) -> Int[Array, "b s"]:
    """Uniform labels of the modulation's own size, of which there are a power of two."""
    words = jax.random.bits(key, shape, jnp.uint16).astype(jnp.int32)
    return words & ((1 << modulation.num_bits_per_symbol) - 1)


def ber(
    modulation: str | Sequence[str],
    channel: str | Sequence[str],
    ebno_db: Sequence[float],
    *,
    csi: Csi = "perfect",
    demap: Demap = "nearest",
    min_errors: int = 200,
    max_bits: float = 1e8,
    propagation: Propagation | None = None,
    grid: ResourceGrid = GRID,
    seed: int = 0,
    out: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> Run:
    """Bit and symbol error rates at every combination of modulation, channel and Eb/N0.

    AWGN, Rayleigh and Rician channels carry symbols one after the other; the TDL channels carry them on `grid`, and their
    Eb/N0 is charged for pilots and cyclic prefix. csi "ls" estimates the channel from the pilots and needs a TDL channel.
    A point stops at `min_errors` bit errors or `max_bits` bits, whichever comes first, after whole batches; its rows say
    which in `stopped`. `progress` is called with the point, finished and all points. Ctrl-C ends the run with the batches
    that are finished.
    Errors: ValueError for unknown names and impossible values, before anything is compiled or written; OSError when a
    finished batch cannot be stored.
    """
    propagation = propagation or Propagation()
    modulation, channel = names(modulation), names(channel)
    ebno_db = parse_range("ebno_db", [float(value) for value in ebno_db])
    check_seed(seed)
    if min_errors < 1 or not 1 <= max_bits < 1e15:
        raise ValueError(
            f"min_errors must be at least 1 and max_bits in [1, 1e15); got {min_errors} and {max_bits:g}"
        )
    points = _points(modulation, channel, ebno_db, csi, demap, propagation, grid)
    config = {
        "command": "ber", "modulation": modulation, "channel": channel, "ebno_db": ebno_db, "csi": csi, "demap": demap,
        "stop": {"metric": "ber", "errors": min_errors, "trials": max_bits}, "seed": seed,
        "propagation": asdict(propagation), "grid": asdict(grid),
        "snr": "Eb/N0 per information bit; esno_db is mean Es/N0 of a data symbol, noise variance N0 per complex sample",
    }  # fmt: skip
    interrupted = False
    with RunWriter(out, config) as writer:
        try:
            for number, item in enumerate(points):
                text = f"{item.point['modulation']} {item.point['channel']} {item.point['ebno_db']:g} dB"
                progress(text, number, len(points))
                _simulate(item, writer, seed, min_errors, max_bits)
            progress("", len(points), len(points))
        except KeyboardInterrupt:
            interrupted = True
    return writer.finish(interrupted)


class _Plan(NamedTuple):
    """What is static: one compilation each."""

    link: Link
    batch: int
    num_symbols: int


class _Item(NamedTuple):
    point: dict
    draw: int
    modulation: Modulation
    fading: Fading
    plan: _Plan


def _points(
    modulation: tuple[str, ...],
    channel: tuple[str, ...],
    ebno_db: tuple[float, ...],
    csi: Csi,
    demap: Demap,
    propagation: Propagation,
    grid: ResourceGrid,
) -> list[_Item]:
    for name in modulation:
        check_name("modulation", name, phy.MODULATIONS)
    for name in channel:
        check_name("channel", name, CHANNELS)
    if not (modulation and channel):
        raise ValueError("give at least one modulation and one channel")
    on_grid = [name for name in channel if name in TDL_MODELS]
    if csi == "ls" and len(on_grid) < len(channel):
        raise ValueError(f"csi ls needs pilots, which only the TDL channels have; got {', '.join(channel)}")
    fadings: dict[str, Fading] = {
        name: flat_fading(name, propagation) for name in channel if name not in on_grid
    }
    fadings |= zip(on_grid, pad([grid_fading(name, propagation, grid) for name in on_grid]), strict=True)
    flat = _Plan(Link(None, "perfect", demap), FLAT_BATCH, FLAT_SYMBOLS)
    ofdm = _Plan(Link(grid, csi, demap), GRID_BATCH, grid.num_data_symbols)
    # The bank is as wide as its widest member: one program serves all of them, and 8-PSK, no QAM, has its own.
    widest = max((phy.num_bits(name) for name in modulation if name != "psk8"), default=None)
    items = []
    for name in modulation:
        mapper = phy.modulation(name, None if name == "psk8" else widest)
        for place in channel:
            plan = ofdm if place in on_grid else flat
            identity = channel_identity(place, propagation)
            for value in ebno_db:
                esno_db = round(
                    float(phy.ebnodb2esnodb(value, phy.num_bits(name), resource_grid=plan.link.grid)), 6
                )
                point = {
                    "modulation": name, **identity, "csi": plan.link.csi, "demap": demap,
                    "ebno_db": value, "esno_db": esno_db,
                }  # fmt: skip
                items.append(_Item(point, draw_id(identity, esno_db), mapper, fadings[place], plan))
    return items


def _simulate(item: _Item, writer: RunWriter, seed: int, min_errors: int, max_bits: float) -> None:
    link, size, num_symbols = item.plan
    bits_per_block = num_symbols * phy.num_bits(item.point["modulation"])
    noise_var = jnp.float32(phy.esnodb2no(item.point["esno_db"]))
    errors = trials = batch = 0
    while errors < min_errors and trials < max_bits:
        key = batch_key(seed, item.draw, batch)
        counts = jax.device_get(
            transmissions(
                key, item.modulation, item.fading, noise_var, link=link, batch=size, num_symbols=num_symbols
            )
        )
        sums = {
            "ber": count_sums(counts.bits, bits_per_block),
            "ser": count_sums(counts.symbols, num_symbols),
        }
        writer.append(item.point, batch, sums)
        errors += sums["ber"]["errors"]
        trials += sums["ber"]["trials"]
        batch += 1
