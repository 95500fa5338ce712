"""stsc-vq against ujscc: the same CBR, the same index payload and link, bpsk to qam256, AWGN and TDL-A, paired.

    python benchmarks/swin_digital.py [--limit 1000] [--step 5] [--out runs/swin_digital]

Nothing but the command line: `semsim run` of both, `semsim compare` of the two folders. A run that is there is gone on with.
"""

import contextlib
import io
from pathlib import Path

from _common import image_arguments, print_table, write_json

from semsim import cli, plot
from semsim.comparison import compare
from semsim.runs import load_run

SYSTEMS = ("stsc-vq", "ujscc")
MODULATIONS = ("bpsk", "qpsk", "qam16", "qam64", "qam256")
CHANNELS = ("awgn", "tdl-a")


def main() -> None:
    parser = image_arguments(__doc__, "swin_digital")
    parser.add_argument(
        "--step", type=int, default=5, help="step of the Es/N0 in dB, from 0 to 30 (default 5)"
    )
    given = parser.parse_args()
    folders = [given.out / name for name in SYSTEMS]
    for name, folder in zip(SYSTEMS, folders, strict=True):
        begun = (folder / "config.json").exists()
        arguments = [
            "run", name, "--modulation", *MODULATIONS, "--channel", *CHANNELS, "--esno-db", f"0:30:{given.step}",
            "--data", given.data, *(["--limit", str(given.limit)] if given.limit else []), "--seed", str(given.seed),
            "--resume" if begun else "--out", str(folder),
        ]  # fmt: skip
        print("semsim", *arguments, flush=True)
        with contextlib.redirect_stdout(io.StringIO()):
            code = cli.main(arguments)
        if code:
            raise SystemExit(code)
    report(folders, given.out)


def report(folders: list[Path], out: Path) -> None:
    """PSNR of stsc-vq less that of ujscc, over the same images, fades and noise."""
    left, right = (load_run(folder) for folder in folders)
    ledgers = [run.config["ledger"]["cbr"] for run in (left, right)]
    if ledgers[0] != ledgers[1]:
        raise SystemExit(f"unequal channel uses: {ledgers}")
    rows = [row for row in compare(left, right) if row["metric"] == "psnr"]
    for channel in CHANNELS:
        mine = [row for row in rows if row["channel"] == channel]
        print(
            f"\n{channel}: PSNR of stsc-vq / ujscc and their paired difference, 95 % interval, dB; CBR {ledgers[0]:.6f}"
        )
        print_table([
            {
                "Es/N0": f"{snr:g}",
                **{
                    row["modulation"]: f"{row['value_a']:.2f}/{row['value_b']:.2f} {row['difference']:+.2f} "
                    f"[{row['low']:+.2f}, {row['high']:+.2f}]"
                    for row in mine if row["esno_db"] == snr
                },
            }
            for snr in sorted({row["esno_db"] for row in mine})
        ])  # fmt: skip
    verdicts = [row["verdict"] for row in rows]
    print("\n" + ", ".join(f"{verdict}: {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts)))
    write_json(out / "swin_digital.json", {"rows": rows, "cbr": ledgers[0]})
    best = [row for run in (left, right) for row in run.rows() if row["metric"] == "psnr"]
    plot.save(plot.quality_figure(best), out / "swin_digital.png")


if __name__ == "__main__":
    main()
