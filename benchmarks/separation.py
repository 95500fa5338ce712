"""The classical digital system against the learned ones at equal channel uses: who leads at which SNR, and where they cross.

Source codec + NR LDPC + QAM, the best codec, modulation and code rate of each SNR, against uJSCC, also with its best
modulation of each SNR, and DeepJSCC, 1/12 data symbols a sample, over AWGN and TDL-A with perfect channel state. Nothing
but the command line:

    semsim run SYSTEM --data ... --out FOLDER      # each system
    semsim plot FOLDER FOLDER FOLDER --best        # the figure; refuses channel uses more than a hundredth apart

Prints the table behind the figure and the crossings. A run that is there is gone on with, and refused where
its settings differ.

    python benchmarks/separation.py --data cifar10 --limit 256
    python benchmarks/separation.py --data natural --whole --codec jpeg webp --step 4 --realizations 1
"""

import argparse
import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from _common import print_table

from semsim import cli
from semsim.envelope import best_of_each_snr, crossovers
from semsim.runs import load_run

SYSTEMS = ("ujscc", "deepjscc", "separation")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10", help="data set or folder (default %(default)s)")
    parser.add_argument("--limit", type=int, help="images (default all)")
    parser.add_argument("--whole", action="store_true", help="images of any size, sent whole")
    parser.add_argument(
        "--codec", nargs="+", default=["jpeg", "webp", "avif"], help="source codecs (default all)"
    )
    parser.add_argument(
        "--step", type=int, default=2, help="step of the Es/N0 in dB, from 0 to 20 (default 2)"
    )
    parser.add_argument(
        "--channel",
        nargs="+",
        default=["awgn", "tdl-a"],
        help="channels (default awgn tdl-a, of which the second takes longer)",
    )
    parser.add_argument("--realizations", type=int, default=2, help="transmissions of an image (default 2)")
    parser.add_argument("--out", type=Path, help="folder (default runs/separation/DATA)")
    given = parser.parse_args()
    common = [
        "--data", given.data, *(["--limit", str(given.limit)] if given.limit else []), "--channel", *given.channel,
        "--esno-db", f"0:20:{given.step}", "--realizations", str(given.realizations),
    ]  # fmt: skip
    only = {
        "ujscc": ["--whole"] if given.whole else [],
        "deepjscc": ["--whole"] if given.whole else [],
        "separation": ["--codec", *given.codec],
    }
    out = given.out or Path("runs/separation") / Path(given.data).name
    folders = {name: out / name for name in SYSTEMS}
    for name, folder in folders.items():
        begun = (folder / "config.json").exists()
        semsim("run", name, *common, *only[name], "--resume" if begun else "--out", str(folder))
    report(folders, given.channel)


def report(folders: Mapping[str, Path], channels: Sequence[str]) -> None:
    """The table and the crossings of finished runs, and the figure beside them."""
    runs = [load_run(folder) for folder in folders.values()]
    rows = best_of_each_snr([row for run in runs for row in run.rows()])
    for channel in channels:
        mine = [row for row in rows if row["channel"] == channel]
        print(f"\n{channel}: PSNR in dB, 95 % interval; share of images lost by separation, and its choice")
        print_table([_line(mine, snr) for snr in sorted({row["esno_db"] for row in mine})])
    print("\nchannel uses per sample: " + ", ".join(f"{run.config['ledger']['cbr']:.6f}" for run in runs))
    for crossing in crossovers(rows):
        print(crossing)
    figure = next(iter(folders.values())).parent / "separation.png"
    semsim("plot", *map(str, folders.values()), "--best", "--out", str(figure))


def semsim(*arguments: str) -> None:
    """The command, without its own table."""
    print("semsim", *arguments, flush=True)
    with contextlib.redirect_stdout(io.StringIO()):
        code = cli.main(arguments)
    if code:
        raise SystemExit(code)


def _line(rows: list[dict], snr: float) -> dict[str, str]:
    found = {
        (row["system"], row["metric"]): row for row in rows if row["esno_db"] == snr and row["metric"] in ("psnr", "outage")
    }  # fmt: skip
    psnr = {name: found[name, "psnr"] for name in SYSTEMS}
    lost = found["separation", "outage"]
    return {
        "Es/N0": f"{snr:g}",
        **{name: f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" for name, row in psnr.items()},
        "lost": f"{lost['value']:.3f}",
        "choice": psnr["separation"]["choice"],
    }


if __name__ == "__main__":
    main()
