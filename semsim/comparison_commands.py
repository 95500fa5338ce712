"""Commands that read finished runs: figures and paired comparisons."""

from pathlib import Path
from typing import Annotated

import tyro

from semsim import plot
from semsim.comparison import compare as compare_runs
from semsim.comparison import differing, skipped
from semsim.conventions import check_overlay, translated
from semsim.envelope import Crossover, best_of_each_snr, crossovers
from semsim.runs import load_run
from semsim.scenario import textbook_row
from semsim.terminal import print_json, show_comparison


def plot_runs(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    out: Path | None = None,
    best: bool = False,
    textbook: bool = False,
    json: bool = False,
) -> None:
    """Draw one or more runs of one kind into one figure; refused where their conventions or data differ.

    Args:
        runs: run folders.
        out: PNG to write. Default: figure.png in the first folder.
        best: one line a system: at each SNR its modulation, code and codec with the best PSNR; refused where channel
            uses differ by more than a hundredth. Says where systems cross, and leaves out error rates, which differ in kind.
        textbook: draw dialects at the SNR that the textbook calls theirs.
        json: one JSON object on stdout, and nothing else there: the figure's file, and where systems cross.
    """
    found = [load_run(folder) for folder in runs]
    if not found:
        raise ValueError("give at least one run folder")
    check_overlay([translated(run) for run in found] if textbook else found)
    label = len(found) > 1
    rows = [
        {**(textbook_row(row) if textbook else row), **({"run": folder.name} if label else {})}
        for folder, one in zip(runs, found, strict=True)
        for row in one.rows()
    ]
    if not rows:
        raise ValueError(f"no finished points in {', '.join(map(str, runs))}")
    note = plot.source_note(found)
    if found[0].config["command"] == "ber":
        if best:
            raise ValueError("best compares the PSNR of systems; these runs have error rates only")
        crossings: list[Crossover] = []
        figure = plot.error_rate_figure(rows, note=note)
    else:
        shown = best_of_each_snr(rows) if best else rows
        figure = plot.quality_figure(shown, plot.COMMON_METRICS if best else plot.IMAGE_METRICS, note)
        crossings = crossovers(shown) if best else []
    written = plot.save(figure, out or runs[0] / "figure.png")
    if json:
        print_json([{"figure": str(written), "crossovers": [each._asdict() for each in crossings]}])
        return
    print(written)
    for crossing in crossings:
        print(crossing)


def compare(
    run_a: Annotated[Path, tyro.conf.Positional],
    run_b: Annotated[Path, tyro.conf.Positional],
    confidence: float = 0.95,
    json: bool = False,
) -> None:
    """Paired comparison of two runs over the draws they have in common: difference, interval, verdict.

    Args:
        run_a: run folder.
        run_b: run folder; differences are a - b.
        confidence: of the intervals.
        json: one JSON object a line on stdout, and nothing else there.
    """
    left, right = load_run(run_a), load_run(run_b)
    rows = compare_runs(left, right, confidence)
    show_comparison(rows, differing(left, right), skipped(left, right), confidence, json)
