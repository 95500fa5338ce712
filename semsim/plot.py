"""Figures from saved results only."""

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from semsim import theory
from semsim.energy import apart
from semsim.names import check_name
from semsim.runs import Run

MARKERS = "osD^vP*X<>"
LABELS = {
    "ber": "bit error rate", "ser": "symbol error rate", "bler": "block error rate", "psnr": "PSNR (dB)", "ssim": "SSIM",
    "outage": "images lost",
    "ebno_db": "$E_b/N_0$ (dB)", "esno_db": "$E_s/N_0$ (dB)", "sent_db": "$E_s/N_0$ (dB), of the energy sent",
}  # fmt: skip
THEORY = "theory, nearest point"
NO_ERROR = "no error: upper bound"
NO_INTERVAL = "one photograph: interval unknown"
BESIDE = 7.0
"""Points of type between the triangles of two curves at one SNR."""
NOWHERE = 1e-30
"""Error rate below every axis."""

RATES = ("ber", "ser", "bler", "outage")
"""Metrics on a logarithmic scale."""


def error_rate_figure(
    rows: Sequence[Mapping], metrics: Sequence[str] = ("ber", "bler"), note: str = ""
) -> Figure:
    """Error rates against Eb/N0: a row of panels a metric, a panel a channel, a line a modulation and code.

    Metrics that no row has are left out. A point without errors is an open triangle at its upper bound, on a dotted line
    that its rate is on; those of several curves stand side by side. note: the title (`source_note`). Thin black lines are
    theory, where there is a closed form: no code, over AWGN, Rayleigh and Rician fading (the mean over gains is the same
    per symbol and per block). Errors: ValueError if no metric is left.
    """
    figure = _panels(rows, metrics, "ebno_db")
    figure.suptitle(note, fontsize="small")
    return figure


COMMON_METRICS = ("psnr", "ssim", "outage")
"""Metrics that mean the same for systems that send points, bits or real values."""
IMAGE_METRICS = ("psnr", "ssim", "ser", "bler", "outage")


def quality_figure(rows: Sequence[Mapping], metrics: Sequence[str] = IMAGE_METRICS, note: str = "") -> Figure:
    """Image metrics against Es/N0: a row of panels a metric, a panel a channel, a line a system and its code.

    Lines say their payload's channel uses where these differ. Where they were not sent at one energy (`energy.apart`), each
    is drawn at the energy that it was sent with, which the axis says: Es/N0 plus es_db. Metrics that no row has are left
    out. note: first line of the title (`source_note`). Errors: ValueError if none is left.
    """
    uneven = apart(rows) is not None
    rows = [{**row, "sent_db": row["esno_db"] + row.get("es_db", 0.0)} for row in rows]
    rates = sorted({(row["cbr_payload"], row["cbr"]) for row in rows})
    if len({payload for payload, _ in rates}) > 1:
        rows = [{**row, "rate": str(Fraction(row["cbr_payload"]).limit_denominator(1000))} for row in rows]
    figure = _panels(rows, metrics, "sent_db" if uneven else "esno_db")
    text = ", ".join(f"{payload:.4f} payload, {total:.4f} in all" for payload, total in rates)
    title = f"channel uses per source sample: {text}"
    figure.suptitle(f"{note}\n{title}" if note else title, fontsize="small")
    return figure


def _panels(rows: Sequence[Mapping], metrics: Sequence[str], x: str) -> Figure:
    rows = _of_metrics(rows, metrics)
    metrics = [metric for metric in metrics if any(row["metric"] == metric for row in rows)]
    channels, labels = _distinct(rows, "channel"), _distinct_lines(rows)
    figure = _figure(len(channels), len(metrics))
    for index, axes in enumerate(figure.axes):
        metric, channel = metrics[index // len(channels)], channels[index % len(channels)]
        mine = [row for row in rows if row["metric"] == metric and row["channel"] == channel]
        blind = list(dict.fromkeys(_line(row) for row in mine if row.get("errors") == 0))
        for number, label in enumerate(labels):
            line = [row for row in mine if _line(row) == label]
            _draw(axes, line, x, label, number)
            if label in blind:
                aside = blind.index(label) - (len(blind) - 1) / 2
                _draw_bounds(axes, line, x, number, BESIDE * aside)
            if line and x == "ebno_db" and _has_theory(line[0], metric):
                _draw_theory(axes, line, metric, channel.removesuffix("-block"))
        _finish(axes, channel, x, metric)
    for start, metric in zip(range(0, len(figure.axes), len(channels)), metrics, strict=True):
        if metric in RATES:
            mine = [row for row in rows if row["metric"] == metric]
            _log_scale(figure.axes[start : start + len(channels)], mine)
    _legend(figure)
    return figure


def _has_theory(row: Mapping, metric: str) -> bool:
    plain = not any(name in row for name in ("code", "scheme", "dialect"))
    return metric in ("ber", "ser") and plain and row["channel"].removesuffix("-block") in theory.CHANNELS


def source_note(runs: Sequence[Run]) -> str:
    """Which images and which seed the runs have, each once: the first line of a figure."""
    found = []
    for run in runs:
        data = run.config.get("data")
        parts = [f"{data['images']} images of {data['name']}"] if data else []
        parts += [f"from {data['photographs']} photographs"] if data and "photographs" in data else []
        found.append(", ".join([*parts, f"seed {run.config.get('seed')}"]))
    return "; ".join(dict.fromkeys(found))


def mosaic(
    images: Sequence[Sequence[np.ndarray]],
    columns: Sequence[str],
    lines: Sequence[str],
    captions: Sequence[Sequence[str]] | None = None,
    note: str = "",
) -> Figure:
    """Images [h, w, 3] in [0, 1] on a grid, with a title for each column, a label for each line and a caption below each."""
    figure = Figure(
        figsize=(1.7 * len(columns), (1.8 if captions is None else 2.0) * len(lines)), layout="constrained"
    )
    figure.suptitle(note, fontsize="small")
    grid = figure.subplots(len(lines), len(columns), squeeze=False)
    for axes_line, image_line, text in zip(grid, images, lines, strict=True):
        for axes, image in zip(axes_line, image_line, strict=True):
            axes.imshow(np.clip(image, 0, 1), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        axes_line[0].set_ylabel(text, fontsize="small")
    for axes, caption in zip(grid.flat, [each for line in captions or () for each in line], strict=False):
        axes.set_xlabel(caption, fontsize="small")
    for axes, title in zip(grid[0], columns, strict=True):
        axes.set_title(title, fontsize="small")
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Writes the kind of picture that the name ends in. Errors: ValueError if that is unknown or nothing can be written."""
    path = Path(path)
    kinds = figure.canvas.get_supported_filetypes()
    kind = check_name("kind of picture", path.suffix.removeprefix(".").lower(), tuple(kinds))
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    metadata = {"Software": f"semsim, matplotlib {matplotlib.__version__}"} if kind == "png" else None
    try:
        figure.savefig(partial, dpi=120, format=kind, metadata=metadata)
        partial.replace(path)
    except (
        OSError,
        RuntimeError,
        ImportError,
        KeyError,
    ) as error:  # the last three: a kind whose tool is missing
        with suppress(OSError):
            partial.unlink()
        said = getattr(error, "strerror", None) or f"{error}: take another kind, such as png, svg or pdf"
        raise ValueError(f"cannot write {path}: {said}") from None
    return path


def _figure(columns: int, lines: int = 1) -> Figure:
    figure = Figure(figsize=(1 + 3.6 * columns, 0.6 + 2.9 * lines), layout="constrained")
    figure.subplots(lines, columns, squeeze=False, sharex=True, sharey="row")
    return figure


def _draw(axes: Axes, rows: Sequence[Mapping], x: str, label: str, number: int) -> None:
    rows = sorted(rows, key=lambda row: row[x])
    colour, marker = f"C{number % 10}", MARKERS[number % len(MARKERS)]
    last = max((place for place, row in enumerate(rows) if row.get("errors") != 0), default=-1)
    snr = [row[x] for row in rows[: last + 1]]
    # Where no error was seen the line has a gap.
    values, low, high = (
        [math.nan if row.get("errors") == 0 else row[name] for row in rows[: last + 1]]
        for name in ("value", "low", "high")
    )
    axes.plot(snr, values, color=colour, marker=marker, ms=4, lw=1.2, label=label)
    if not any(map(math.isinf, low + high)):
        axes.fill_between(snr, low, high, color=colour, alpha=0.2, lw=0)
    else:
        axes.plot(snr, values, color="black", marker="x", ls="", ms=7, label=NO_INTERVAL)


def _draw_bounds(axes: Axes, rows: Sequence[Mapping], x: str, number: int, aside: float) -> None:
    """Points without errors: open triangles at their upper bounds, so many points of type beside their place, each on a
    dotted line down to the axis: the rate is somewhere on it."""
    never = sorted((row[x], row["high"]) for row in rows if row["errors"] == 0)
    snr, bounds = zip(*never, strict=True)
    moved = offset_copy(axes.transData, axes.get_figure(root=True), x=aside, units="points")
    how = {"color": f"C{number % 10}", "transform": moved}
    axes.plot(snr, bounds, marker="v", ls="", ms=5, mfc="none", label=NO_ERROR, **how)
    for at, bound in never:
        axes.plot([at, at], [NOWHERE, bound], ls=":", lw=0.8, **how)


def _draw_theory(axes: Axes, rows: Sequence[Mapping], metric: str, channel: str) -> None:
    rows = sorted(rows, key=lambda row: row["esno_db"])
    closed_form = theory.ber if metric == "ber" else theory.ser
    snr = np.linspace(rows[0]["esno_db"], rows[-1]["esno_db"], 60)
    shift = rows[0]["ebno_db"] - rows[0]["esno_db"]
    values = closed_form(rows[0]["modulation"], snr, channel, rows[0].get("k_db"))
    axes.plot(snr + shift, values, color="black", lw=0.6, zorder=0, label=THEORY)


def _log_scale(panels: Sequence[Axes], rows: Sequence[Mapping]) -> None:
    """One logarithmic scale for a row of panels, down to the lowest point or upper bound that any of them shows."""
    lowest = min(row["value"] or row["high"] for row in rows)
    for axes in panels:
        axes.set_yscale("log")
        axes.set_ylim(bottom=lowest / 3, top=1)


def _legend(figure: Figure) -> None:
    """One legend for all panels, below them so that it hides nothing, each line once; what needs an explanation last."""
    found = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = sorted(found, key=lambda label: label in (THEORY, NO_ERROR, NO_INTERVAL))
    width = max(1, int(figure.get_figwidth() * 10) // (max(map(len, labels), default=0) + 8))
    figure.legend(
        [found[label] for label in labels], labels, fontsize="small", loc="outside lower center",
        ncols=min(len(labels), width),
    )  # fmt: skip


def _finish(axes: Axes, channel: str, x: str, metric: str) -> None:
    axes.set_title(channel, fontsize="medium")
    axes.set_xlabel(LABELS[x])
    axes.set_ylabel(LABELS[metric])
    axes.grid(visible=True, which="both", lw=0.3)


def _line(row: Mapping) -> str:
    """What a legend calls the curve that a row belongs to."""
    coded = "code" in row or "coderate" in row
    parts = [row.get("run"), row.get("dialect"), row.get("system"), row.get("codec"), row["modulation"]]
    parts += [f"CBR {row['rate']}"] if "rate" in row else []
    parts += [f"{row['k']}/{row['num_coded_bits']}"] if "k" in row else [row.get("coderate")]
    parts += ["labelled"] if row.get("index_map") == "labelled" and "code" not in row else []
    parts += [f"{row['num_tx']}x{row['num_rx']} {row['scheme']}"] if "scheme" in row else []
    parts += [f"{row['transmissions']} x {row['combining']}"] if "combining" in row else []
    parts += [row["csi"]] if row["csi"] != "perfect" else []
    parts += [row["demap"]] if row.get("demap", "nearest") != ("app" if coded else "nearest") else []
    parts += [row["estimator"]] if "estimator" in row else []
    return " ".join(str(part) for part in parts if part)


def _of_metrics(rows: Sequence[Mapping], metrics: Sequence[str]) -> list[Mapping]:
    found = [row for row in rows if row["metric"] in metrics]
    if not found:
        raise ValueError(f"nothing to draw: no finished point has {' or '.join(metrics)}")
    return found


def _distinct_lines(rows: Iterable[Mapping]) -> list[str]:
    return list(dict.fromkeys(_line(row) for row in rows))


def _distinct(rows: Iterable[Mapping], name: str) -> list[str]:
    return list(dict.fromkeys(str(row[name]) for row in rows))
