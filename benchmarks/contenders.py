"""How far from the bound the schemes of NR lose one frame in a hundred: what `MARGIN_DB` of semsim.contenders rests on.

A scheme is left out where one that carries more arrives, by the normal approximation, in 99.9 % of all cases even
MARGIN_DB below the Es/N0 at hand. That is right as long as the decoder loses few frames there: for each scheme this
shows what it loses so far beyond the bound's 0.1 %. One frame in a hundred costs 0.1 dB of PSNR in the mean, and a
tenth more bytes gain 0.2 dB or more.

    python benchmarks/contenders.py                    # 256 channel uses, an image of CIFAR-10
    python benchmarks/contenders.py --symbols 1024     # of 64x64 pixels
"""

import argparse
import functools

import jax
import numpy as np
from _common import print_table
from jaxtyping import Array

import phy
from semsim.backend import prepare
from semsim.contenders import EVERYTHING, arrival
from semsim.link import Link
from semsim.mcs import MCS, frames
from semsim.scenario import Propagation, flat_fading
from semsim.separation import DECODING
from semsim.shared_transmission import SharedTransmission, Words, programs
from semsim.transmission import OnAir

GRID_DB = np.arange(-12.0, 32.0, 0.01)
BLOCK = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--symbols", type=int, default=256, help="of a frame (default %(default)s)")
    parser.add_argument("--words", type=int, default=640, help="at each distance (default %(default)s)")
    parser.add_argument("--margins", type=float, nargs="+", default=[0.3, 0.6, 0.9], help="distances, dB")
    parser.add_argument("--every", type=int, default=1, help="scheme that is measured (default: each)")
    given = parser.parse_args()
    prepare()
    plans = frames(MCS, given.symbols, None, DECODING, automatic=True)
    fading, lines = flat_fading("awgn", Propagation()), []
    measured = programs(plans)
    if len(measured) < len(plans):
        print(f"not measured, as they share no program: {len(plans) - len(measured)} of {len(plans)} schemes")
    for (name, rate), program in list(measured.items())[:: given.every]:
        kernel = SharedTransmission(
            Link(), -(-given.words // BLOCK), BLOCK, program.shape, program.width, DECODING
        )
        data = np.random.default_rng(0).integers(0, 256, (BLOCK, program.frame.num_bytes), dtype=np.uint8)
        words = program.words(data)
        share = [arrival(program.frame, value) for value in GRID_DB]
        bound = float(GRID_DB[np.argmax(np.array(share) > EVERYTHING)])
        lost = []
        for margin in given.margins:
            air = OnAir(fading, np.float32(phy.esnodb2no(bound + margin)), None, program.code)
            lost.append(float(np.mean(lost_frames(jax.random.key(len(lost)), words, air, kernel=kernel))))
        lines.append(
            {
                "scheme": f"{name} {rate}", "bytes": str(program.frame.num_bytes), "bound at": f"{bound:.2f} dB",
                **{f"+{margin:g} dB": f"{value:.4f}" for margin, value in zip(given.margins, lost, strict=True)},
            }
        )  # fmt: skip
        print(*lines[-1].values(), flush=True)
    print("\nshare of frames lost, so many dB beyond the bound:")
    if lines:
        print_table(lines)


@functools.partial(jax.jit, static_argnames="kernel")
def lost_frames(key: Array, words: Words, air: OnAir, *, kernel: SharedTransmission) -> Array:
    """Which frames of each draw are lost."""
    return kernel(key, words, air).lost


if __name__ == "__main__":
    main()
