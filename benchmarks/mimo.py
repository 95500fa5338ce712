"""Four streams on eight antennas against Sionna 2.2, CPU against CPU: the equaliser alone, and the whole link.

Grids of 14 x 72 resource elements, 16-QAM, TDL-A, perfect channel knowledge. Conditions, order and output as in
`vs_sionna.py`: same work, one program, taking turns, Sionna at its best; the whole link must have the same bit error rate
within 4 sigma. Sionna's streams have unit energy each, ours share it: its noise variance is four times ours.

- Equaliser: received grids and gains lie in memory; out come the symbols of every stream and their noise variances.
- Whole link: bits, mapping, grid, channel of 32 pairs of antennas, noise, equaliser, exact LLRs, hard bits, error count.

    pip install "semsim-jax[bench]"
    python benchmarks/mimo.py
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import sionna
import torch
import vs_sionna
from sionna.phy import config
from sionna.phy.channel import OFDMChannel
from sionna.phy.channel.tr38901 import TDL
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, ResourceGridMapper
from vs_sionna import TDL_A, Case, Counted, Pending

import phy
from phy.mimo import lmmse_detect
from semsim import Propagation
from semsim.antennas import Antennas
from semsim.backend import num_cores, prepare
from semsim.error_counts import ErrorCount
from semsim.link import Link
from semsim.scenario import grid_fading
from semsim.sweep import DEFAULT_GENERATOR

STREAMS, RECEIVE, SUBCARRIERS, ORDER = 4, 8, 72, 4
STREAM_ESNO_DB = 6.0
BLOCK = 4
"""Grids in a block of ours: 32 pairs of antennas each, what fits the cache of a core."""
THEIR_GRIDS = (4, 16, 64)
AIM = 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="the case whose name holds this text (default: both)")
    parser.add_argument("--batches", type=int, default=16, help="blocks in a call of ours (default 16)")
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
    print(
        f"jax {jax.__version__} on {len(jax.devices())} CPU devices; "
        f"sionna {sionna.__version__}, torch {torch.__version__} on {torch.get_num_threads()} threads"
    )
    print("case | unit | ours | Sionna, its best | ratio | aim | BER ours / Sionna, sigma apart")
    clock = time.process_time if given.one_core else time.perf_counter
    for name, make in ((f"equaliser {STREAMS}x{RECEIVE}", _equaliser), (f"link {STREAMS}x{RECEIVE}", _link)):
        if given.only in name:
            vs_sionna.compare(Pending(name, partial(make, name, given.batches)), clock)


def _their_grid() -> ResourceGrid:
    return ResourceGrid(
        num_ofdm_symbols=14, fft_size=SUBCARRIERS, subcarrier_spacing=30e3, cyclic_prefix_length=SUBCARRIERS // 12,
        num_tx=1, num_streams_per_tx=STREAMS, pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[2, 11], device="cpu",
    )  # fmt: skip


def _their_channel(grid: ResourceGrid) -> OFDMChannel:
    tdl = TDL(
        "A", *TDL_A.values(), min_speed=3.0, max_speed=3.0, num_tx_ant=STREAMS, num_rx_ant=RECEIVE, device="cpu"
    )  # fmt: skip
    return OFDMChannel(tdl, grid, return_channel=True, device="cpu")


def _their_equaliser(grid: ResourceGrid) -> Callable:
    equalise = LMMSEEqualizer(grid, StreamManagement(np.array([[1]]), STREAMS), device="cpu")
    return partial(_equalise, equalise, torch.zeros(1))


def _equalise(
    equalise: Callable, certain: torch.Tensor, y: torch.Tensor, gain: torch.Tensor, no: torch.Tensor
):
    return equalise(y, gain, certain, no)


def _link(name: str, batches: int) -> Case:
    noise_var = float(phy.esnodb2no(STREAM_ESNO_DB))
    grid = vs_sionna._grid(SUBCARRIERS)
    antennas = Antennas(STREAMS, RECEIVE, "multiplexing")
    count = grid.num_data_symbols * STREAMS
    kernel = ErrorCount(Link(grid, "perfect", "app", antennas), BLOCK, count)
    fading = grid_fading("tdl-a", Propagation(**TDL_A, speed=3.0), grid)
    ours = partial(
        vs_sionna._run_ours, kernel, fading, ORDER, noise_var / STREAMS, count * ORDER, batches, DEFAULT_GENERATOR
    )  # fmt: skip
    plan, their_noise = _their_grid(), torch.tensor(noise_var)
    source, mapper, place = (
        BinarySource(device="cpu"), Mapper("qam", ORDER, device="cpu"), ResourceGridMapper(plan, device="cpu"),
    )  # fmt: skip
    channel, equalise = _their_channel(plan), _their_equaliser(plan)
    demap = Demapper("app", "qam", ORDER, hard_out=True, device="cpu")

    def theirs(rows: int) -> torch.Tensor:
        sent = source([rows, 1, STREAMS, grid.num_data_symbols * ORDER])
        y, gain = channel(place(mapper(sent)), their_noise)
        return (demap(*equalise(y, gain, their_noise)) != sent).sum((1, 2, 3))

    return Case(name, "grids/s", 1, count * ORDER, AIM, ours, [partial(theirs, n) for n in THEIR_GRIDS])


def _equaliser(name: str, batches: int) -> Case:
    noise_var, plan = float(phy.esnodb2no(STREAM_ESNO_DB)), _their_grid()
    channel = _their_channel(plan)
    x = torch.view_as_complex(torch.randn(max(THEIR_GRIDS), 1, STREAMS, 14, SUBCARRIERS, 2)) / np.sqrt(2.0)
    given = channel(x.to(torch.complex64), torch.tensor(noise_var))
    equalise = _their_equaliser(plan)

    def theirs(rows: int) -> torch.Tensor:
        symbols, effective = equalise(*(part[:rows] for part in given), torch.tensor(noise_var))
        return symbols.real.reshape(rows, -1)[:, 0] + effective.reshape(rows, -1)[:, 0]

    detect, devices = jax.jit(lmmse_detect), jax.devices()

    def held(part: torch.Tensor, *antennas: int) -> np.ndarray:
        return part.numpy().reshape(-1, *antennas, 14 * SUBCARRIERS)[:BLOCK]

    mine = (held(given[0], RECEIVE), held(given[1], RECEIVE, STREAMS), np.float32(noise_var))
    blocks = [jax.device_put(mine, device) for device in devices]

    def ours() -> Counted:
        found = [detect(*blocks[i % len(devices)]) for i in range(batches)]
        jax.block_until_ready(found)
        return Counted(0.0, 0.0, batches * BLOCK, 0)

    return Case(name, "grids/s", 1, 0, AIM, ours, [partial(theirs, n) for n in THEIR_GRIDS])


if __name__ == "__main__":
    main()
