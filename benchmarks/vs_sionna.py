"""Ours against Sionna 2.2 on the same CPU, in one process: bits/s, OFDM grids/s and channel responses/s, and their ratio.

Every case is the same work on both sides: random bits, mapping, fading, noise, LLRs, hard bits, error count; pilots are
sent in both, also where the channel is known. Ours is the kernel of `semsim ber` on the engine's devices, one a core;
Sionna runs on as many threads, eager or through `torch.compile` and with blocks of the sizes below, whichever is faster.
After a warm-up the two take turns, five samples each. Columns: rates as min / median / max, the ratio of the medians, the
ratio aimed at with two cores, and both bit error rates: the program ends with an error where they differ by more than 4
sigma.

    pip install "semsim-jax[bench]"
    python benchmarks/vs_sionna.py                      # a quarter of an hour, most of it torch.compile
    python benchmarks/vs_sionna.py --only "16-QAM app"  # the cases whose name holds this

Other programs on the machine hurt Sionna's threads more than our devices: use an idle one, or `--one-core`.
"""

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import sionna
import torch
from jax.sharding import Mesh
from jaxtyping import Array, Key
from sionna.phy import config
from sionna.phy.channel import AWGN, GenerateOFDMChannel, OFDMChannel
from sionna.phy.channel.tr38901 import TDL
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, LSChannelEstimator, ResourceGrid, ResourceGridMapper

import phy
from channels import Fading
from semsim import Propagation
from semsim.backend import num_cores, prepare
from semsim.devices import AXIS, Kernel, evaluate
from semsim.error_counts import ErrorCount
from semsim.link import Link, carry, fade, random_labels, split_keys
from semsim.scenario import flat_fading, grid_fading
from semsim.sweep import DEFAULT_GENERATOR, GENERATORS, draw_words

SAMPLES, SECONDS = 5, 0.5
SYMBOLS, BLOCK, ELEMENTS = 256, 64, 16 * 14 * 72
THEIR_SYMBOLS, THEIR_GRIDS, THEIR_RESPONSES = (1 << 14, 1 << 17), (16, 128), (16, 128)
TDL_A = {"delay_spread": 100e-9, "carrier_frequency": 3.5e9}


Clock = Callable[[], float]


class Counted(NamedTuple):
    """What a call of either side did."""

    errors: float
    errors_sq: float  # over blocks, whose bits share a fade
    blocks: int
    trials: int


class Case(NamedTuple):
    name: str
    unit: str
    amount: float  # units in a block of ours, and in a block of Sionna's of the same size
    bits: int  # in a block; 0: nothing to compare
    aim: float | None
    ours: Callable[[], Counted]
    theirs: list[Callable[[], torch.Tensor]]  # errors of each block


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name holds this text (default: all)")
    parser.add_argument("--generator", choices=GENERATORS, default=DEFAULT_GENERATOR, help="our random bits")
    parser.add_argument("--batches", type=int, default=64, help="blocks in a call of ours (default 64)")
    parser.add_argument(
        "--one-core",
        action="store_true",
        help="CPU seconds on one core instead of time: for a machine in use",
    )
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch|sionna")
    if given.one_core:
        jax.config.update("jax_num_cpu_devices", 1)
    prepare()
    config.device = "cpu"
    torch.set_num_threads(1 if given.one_core else num_cores())
    clock = time.process_time if given.one_core else time.perf_counter
    print(
        f"jax {jax.__version__} on {len(jax.devices())} CPU devices, generator {given.generator}; "
        f"sionna {sionna.__version__}, torch {torch.__version__} on {torch.get_num_threads()} threads"
    )
    print("case | unit | ours | Sionna, its best | ratio | aim | BER ours / Sionna, sigma apart")
    for build in cases(given.batches, given.generator):
        if given.only in build.name:
            compare(build, clock)


class Pending(NamedTuple):
    """A case before anything is compiled."""

    name: str
    make: Callable[[], Case]


def cases(batches: int, generator: str | None) -> list[Pending]:
    found = []
    for order, method, channel, aim in (
        (4, "app", "awgn", 20), (6, "app", "awgn", 35), (8, "app", "awgn", None),
        (4, "maxlog", "awgn", 20), (6, "maxlog", "awgn", 35), (8, "maxlog", "awgn", None),
        (4, "app", "rayleigh-block", 20), (6, "app", "rayleigh-block", 35), (8, "app", "rayleigh-block", None),
        (4, "maxlog", "rayleigh-block", 20), (6, "maxlog", "rayleigh-block", 35), (8, "maxlog", "rayleigh-block", None),
    ):  # fmt: skip
        name = f"{1 << order}-QAM {method} {channel}"
        found.append(Pending(name, partial(_flat, name, order, method, channel, aim, batches, generator)))
    for subcarriers, csi, aim in ((72, "perfect", 25), (72, "ls", 20), (512, "perfect", 30), (512, "ls", 20)):
        name = f"OFDM 14x{subcarriers} {csi}"
        found.append(Pending(name, partial(_ofdm, name, subcarriers, csi, aim, batches, generator)))
    for subcarriers, aim in ((72, 15), (512, 25)):
        name = f"TDL-A response 14x{subcarriers}"
        found.append(Pending(name, partial(_response, name, subcarriers, aim, batches, generator)))
    return found


def _flat(
    name: str, order: int, method: str, channel: str, aim: float | None, batches: int, generator: str | None
) -> Case:
    """Symbols one after the other; a gain for each transmission of 256 of them."""
    noise_var = float(phy.ebnodb2no({4: 8.0, 6: 12.0, 8: 16.0}[order], order))
    fading = flat_fading(channel, Propagation())
    kernel = (
        ErrorCount(Link(demap="app"), BLOCK, SYMBOLS)
        if method == "app"
        else MaxLog(Link(demap="app"), BLOCK, SYMBOLS)
    )
    ours = partial(_run_ours, kernel, fading, order, noise_var, SYMBOLS * order, batches, generator)
    their_noise = torch.tensor(noise_var)
    source, mapper = BinarySource(device="cpu"), Mapper("qam", order, device="cpu")
    demap, add = Demapper(method, "qam", order, hard_out=True, device="cpu"), AWGN(device="cpu")

    def theirs(rows: int) -> torch.Tensor:
        bits = source([rows, SYMBOLS * order])
        x = mapper(bits)
        if channel == "awgn":
            decided = demap(add(x, their_noise), their_noise)
        else:
            gain = torch.randn(rows, 1, dtype=torch.complex64)
            y = add(gain * x, their_noise) / gain
            decided = demap(y, (their_noise / gain.abs().square()).expand(rows, SYMBOLS))
        return (decided != bits).sum(1)

    rows = [partial(theirs, symbols // SYMBOLS) for symbols in THEIR_SYMBOLS]
    return Case(name, "Mbit/s", SYMBOLS * order / 1e6, SYMBOLS * order, aim, ours, rows)


@dataclass(frozen=True)
class MaxLog(Kernel):
    """`ErrorCount` with max-log LLRs, which the link does not offer: their signs are its decisions for the nearest point."""

    link: Link
    realizations: int
    num_symbols: int

    def __call__(self, key: Key[Array, ""], mapped: tuple[()], shared: tuple) -> tuple[Array]:
        modulation, fading, noise_var, _ = shared
        key_source, key_fading, key_noise = split_keys(key)
        labels = random_labels(key_source, modulation, (self.realizations, self.num_symbols))
        gain = fade(key_fading, self.link, fading, (self.realizations,), self.num_symbols)
        equalised = carry(key_noise, self.link, modulation.modulate(labels), gain, noise_var)
        llr = modulation.llr(equalised.symbols, equalised.noise_var, "maxlog")
        return (jnp.sum(phy.count_bit_errors(labels, phy.decide_llr(modulation, llr)), axis=-1),)


def _grid(subcarriers: int) -> phy.ResourceGrid:
    return phy.ResourceGrid(14, subcarriers, subcarriers // 12, pilot_ofdm_symbol_indices=(2, 11))


def _their_grid(subcarriers: int) -> ResourceGrid:
    return ResourceGrid(
        num_ofdm_symbols=14, fft_size=subcarriers, subcarrier_spacing=30e3, cyclic_prefix_length=subcarriers // 12,
        pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[2, 11], device="cpu",
    )  # fmt: skip


def _their_tdl() -> TDL:
    return TDL("A", *TDL_A.values(), min_speed=3.0, max_speed=3.0, device="cpu")


def _ofdm(name: str, subcarriers: int, csi: str, aim: float, batches: int, generator: str | None) -> Case:
    """16-QAM with app demapping over TDL-A; a block of ours has as many resource elements on either grid."""
    noise_var, grid = float(phy.ebnodb2no(10.0, 4)), _grid(subcarriers)
    bits = grid.num_data_symbols * 4
    kernel = ErrorCount(
        Link(grid, "ls" if csi == "ls" else "perfect", "app"),
        max(ELEMENTS // (14 * subcarriers), 1),
        grid.num_data_symbols,
    )
    fading = grid_fading("tdl-a", Propagation(**TDL_A, speed=3.0), grid)
    ours = partial(_run_ours, kernel, fading, 4, noise_var, bits, batches, generator)
    plan, their_noise = _their_grid(subcarriers), torch.tensor(noise_var)
    source, mapper, place = (
        BinarySource(device="cpu"), Mapper("qam", 4, device="cpu"), ResourceGridMapper(plan, device="cpu"),
    )  # fmt: skip
    channel = OFDMChannel(_their_tdl(), plan, return_channel=True, device="cpu")
    estimate = LSChannelEstimator(plan, interpolation_type="lin", device="cpu")
    equalise = LMMSEEqualizer(plan, StreamManagement(np.array([[1]]), 1), device="cpu")
    demap, certain = Demapper("app", "qam", 4, hard_out=True, device="cpu"), torch.zeros(1)

    def theirs(rows: int) -> torch.Tensor:
        sent = source([rows, 1, 1, bits])
        y, gain = channel(place(mapper(sent)), their_noise)
        found, error_var = estimate(y, their_noise) if csi == "ls" else (gain, certain)
        symbols, effective = equalise(y, found, error_var, their_noise)
        return (demap(symbols, effective) != sent).sum((1, 2, 3))

    return Case(name, "grids/s", 1, bits, aim, ours, [partial(theirs, rows) for rows in THEIR_GRIDS])


@dataclass(frozen=True)
class Response(Kernel):
    """Gains of the grid alone, kept as an array."""

    link: Link
    realizations: int
    num_symbols: int

    def __call__(self, key: Key[Array, ""], mapped: tuple[()], shared: tuple) -> tuple[Array]:
        return (fade(key, self.link, shared[1], (self.realizations,), self.num_symbols),)


def _response(name: str, subcarriers: int, aim: float, batches: int, generator: str | None) -> Case:
    grid = _grid(subcarriers)
    kernel = Response(Link(grid), max(ELEMENTS // (14 * subcarriers), 1), grid.num_data_symbols)
    fading = grid_fading("tdl-a", Propagation(**TDL_A, speed=3.0), grid)
    ours = partial(_run_ours, kernel, fading, 4, 1.0, 0, batches, generator)
    generate = GenerateOFDMChannel(_their_tdl(), _their_grid(subcarriers), device="cpu")

    def theirs(rows: int) -> torch.Tensor:
        return generate(rows)

    return Case(name, "responses/s", 1, 0, aim, ours, [partial(theirs, rows) for rows in THEIR_RESPONSES])


_CALLS = iter(range(1 << 30))


def _run_ours(
    kernel: Kernel,
    fading: Fading,
    order: int,
    noise_var: float,
    bits: int,
    blocks: int,
    generator: str | None,
) -> Counted:
    """One call of the engine's program on all devices: `blocks` blocks, counts on the host."""
    numbers = np.zeros((blocks, 2), np.uint32)
    numbers[:, 0], numbers[:, 1] = next(_CALLS), np.arange(blocks)
    shared = (phy.qam(order), fading, jnp.float32(noise_var), None)  # no pilot filter
    mesh = Mesh(np.array(jax.devices()), (AXIS,))
    found = evaluate(
        draw_words(0, 0), numbers, (), shared, kernel=kernel, mesh=mesh, width=1, generator=generator
    )
    if not bits:  # gains stay where they are
        ready = jax.block_until_ready(found[0])
        return Counted(0.0, 0.0, ready.shape[0] * ready.shape[1], 0)
    return _counted(np.asarray(found[0]).ravel(), bits)


def _counted(errors: np.ndarray, bits: int) -> Counted:
    if not bits:
        return Counted(0.0, 0.0, len(errors), 0)
    errors = errors.astype(np.float64)
    return Counted(float(errors.sum()), float((errors**2).sum()), errors.size, errors.size * bits)


def compare(pending: Pending, clock: Clock) -> None:
    """Prints one line: warm-up, the choice of Sionna's way, then both in turn."""
    torch.compiler.reset()  # it gives up on a function that it compiled for too many cases
    case = pending.make()
    with torch.no_grad():
        case.ours()
        theirs, way = _fastest(case.theirs, clock)
        ours = case.ours
        repeats = [max(1, round(SECONDS / _seconds(call, clock))) for call in (ours, theirs)]
        rates: tuple[list[float], list[float]] = ([], [])
        counts: tuple[list[Counted], list[Counted]] = ([], [])
        for _ in range(SAMPLES):
            for call, times, rate, count in zip((ours, theirs), repeats, rates, counts, strict=True):
                started = clock()
                done = [call() for _ in range(times)]
                took = clock() - started
                done = [d if isinstance(d, Counted) else _counted(d.numpy(), case.bits) for d in done]
                rate.append(case.amount * sum(d.blocks for d in done) / took)
                count.extend(done)
    ratio = statistics.median(rates[0]) / statistics.median(rates[1])
    apart = f"{_ber(counts[0]):.3e} / {_ber(counts[1]):.3e}, {_sigmas(*counts):+.1f}" if case.bits else ""
    theirs_best = f"{_three(rates[1])} ({way})"
    print(
        f"{case.name} | {case.unit} | {_three(rates[0])} | {theirs_best} | {ratio:.1f} | {case.aim or ''} | {apart}",
        flush=True,
    )
    if case.bits and abs(_sigmas(*counts)) > 4:
        raise SystemExit(f"{case.name}: the two bit error rates differ by more than 4 sigma")


def _fastest(calls: list[Callable[[], torch.Tensor]], clock: Clock) -> tuple[Callable[[], torch.Tensor], str]:
    """The fastest of all block sizes, eager and compiled, by the least of three calls after two to warm up."""
    best: tuple[float, Callable[[], torch.Tensor], str] | None = None
    for call in calls:
        for way, ready in (("eager", call), ("compiled", torch.compile(call, dynamic=False))):
            blocks = max(len(ready()), len(ready()))
            took = min(_seconds(ready, clock) for _ in range(3)) / blocks
            if best is None or took < best[0]:
                best = (took, ready, f"{way}, {blocks}")
    assert best is not None
    return best[1], best[2]


def _seconds(call: Callable[[], object], clock: Clock) -> float:
    started = clock()
    call()
    return clock() - started


def _three(rates: list[float]) -> str:
    return f"{min(rates):,.4g} / {statistics.median(rates):,.4g} / {max(rates):,.4g}"


def _ber(counts: list[Counted]) -> float:
    return sum(c.errors for c in counts) / sum(c.trials for c in counts)


def _sigmas(ours: list[Counted], theirs: list[Counted]) -> float:
    """Difference of the error rates in standard deviations; blocks are independent, their bits are not."""
    variance = 0.0
    for counts in (ours, theirs):
        blocks, trials = sum(c.blocks for c in counts), sum(c.trials for c in counts)
        mean = sum(c.errors for c in counts) / blocks
        variance += (sum(c.errors_sq for c in counts) - blocks * mean**2) / trials**2
    return (_ber(ours) - _ber(theirs)) / math.sqrt(variance)


if __name__ == "__main__":
    main()
