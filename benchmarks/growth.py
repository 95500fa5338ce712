"""Time and peak memory of `semsim.ber` against realisations and against points: time grows linearly, memory stays flat.

16-QAM on 14 x 72 OFDM over TDL-A from 1e3 to 1e6 grids, over AWGN from 1e6 to 1e9 bits, and sweeps of 10 to 1,000
points of one batch each. Every run has a process of its own; time is that of the second of two calls, compiled, and
memory the peak resident set of the process. On a GPU this is the host's memory only. Exit status 1 if memory varies by
more than 15 % over a column.

    python benchmarks/growth.py
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time

TOLERANCE = 0.15
CASES = {
    "grids": ("OFDM grids", (1e3, 1e4, 1e5, 1e6)),
    "bits": ("AWGN bits", (1e6, 1e7, 1e8, 1e9)),
    "points": ("points", (10, 100, 1000)),
}
# Nothing here imports JAX before the child does: on Linux a process inherits the peak of the one that started it.


def child(case: str, size: int) -> None:
    """One run without a stop at errors; prints seconds, peak and what was simulated."""
    import phy
    import semsim
    from semsim.error_rates import GRID

    def simulate(size: int) -> list[dict]:
        if case == "points":
            snr = [0.01 * i for i in range(size)]
            return semsim.ber(["qam16"], ["awgn"], snr, max_bits=1).rows()
        bits = size if case == "bits" else size * GRID.num_data_symbols * phy.num_bits("qam16")
        channel = "awgn" if case == "bits" else "tdl-a"
        return semsim.ber(["qam16"], [channel], [6.0], min_errors=10**15, max_bits=bits).rows()

    simulate(1)
    started = time.perf_counter()
    rows = simulate(size)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mib = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
    trials = sum(row["trials"] for row in rows if row["metric"] == "ber")
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib, "bits": trials}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="processes a size (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes but the points (default 1)")
    parser.add_argument("--child", nargs=2, metavar=("CASE", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], int(given.child[1]))
        return
    flat = True
    for case, (name, sizes) in CASES.items():
        medians, peaks = [], []
        for size in sizes:
            count = int(size * (1 if case == "points" else given.scale))
            command = [sys.executable, __file__, "--child", case, str(count)]
            found = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for _ in range(given.repeats)
            ]
            seconds = [one["seconds"] for one in found]
            medians.append(statistics.median(seconds))
            peaks.append(statistics.median(one["peak_mib"] for one in found))
            print(
                f"{name:10} {count:>13,}   {min(seconds):8.3f} / {medians[-1]:8.3f} / {max(seconds):8.3f} s   "
                f"peak {peaks[-1]:7.1f} MiB   {found[0]['bits']:>15,} bits",
                flush=True,
            )
        slope = math.log(medians[-1] / medians[-2]) / math.log(sizes[-1] / sizes[-2])
        spread = max(peaks) / min(peaks) - 1
        flat &= spread <= TOLERANCE
        verdict = "within" if spread <= TOLERANCE else "over"
        print(
            f"{name:10} time grows as size^{slope:.2f} at the end; memory {spread:+.1%}, {verdict} {TOLERANCE:.0%}"
        )
    raise SystemExit(0 if flat else 1)


if __name__ == "__main__":
    main()
