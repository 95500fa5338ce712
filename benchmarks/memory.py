"""Peak memory of `semsim.ber` over the length of a run: it must not grow with the number of bits or grids.

16-QAM over AWGN from 1e5 to 1e7 bits, and on 14 x 72 OFDM over TDL-A from 1e3 to 1e5 grids, each run in a process of its
own; the peak resident set of that process is printed. Exit status 1 if a case varies by more than 10 %. JAX alone takes most
of it. On a GPU this is the host's memory only.

    python benchmarks/memory.py
"""

import argparse
import json
import resource
import subprocess
import sys

TOLERANCE = 0.10
STEPS = (0.01, 0.1, 1.0)
# Nothing here imports JAX before the child does: on Linux a process inherits the peak of the one that started it.


def child(case: str, size: int) -> None:
    """One run without a stop at errors; prints what was simulated and the peak."""
    import phy
    import semsim
    from semsim.error_rates import GRID

    channel, bits = (
        ("awgn", size) if case == "bits" else ("tdl-a", size * GRID.num_data_symbols * phy.num_bits("qam16"))
    )
    run = semsim.ber(["qam16"], [channel], [6.0], min_errors=10**15, max_bits=bits)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mib = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
    print(json.dumps({"trials": run.rows()[0]["trials"], "peak_mib": peak_mib}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bits", type=float, default=1e7, help="largest run over AWGN (default 1e7)")
    parser.add_argument("--grids", type=float, default=1e5, help="largest run over TDL-A (default 1e5)")
    parser.add_argument("--child", nargs=2, metavar=("CASE", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], int(given.child[1]))
        return
    flat = True
    for case, largest in (("bits", given.bits), ("grids", given.grids)):
        peaks = []
        for step in STEPS:
            size = max(1, round(step * largest))
            command = [sys.executable, __file__, "--child", case, str(size)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            peaks.append(found["peak_mib"])
            print(
                f"{case:5} {size:>11,}   {found['trials']:>13,} bits simulated   peak {peaks[-1]:8.1f} MiB",
                flush=True,
            )
        spread = max(peaks) / min(peaks) - 1
        flat &= spread <= TOLERANCE
        verdict = "within" if spread <= TOLERANCE else "over"
        print(f"{case:5} largest over smallest peak: {spread:+.1%}, {verdict} {TOLERANCE:.0%}")
    raise SystemExit(0 if flat else 1)


if __name__ == "__main__":
    main()
