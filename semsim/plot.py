"""Figures from saved results only."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semsim import theory
from semsim.energy import apart
from semsim.names import check_name

MARKERS = "osD^vP*X<>"
LABELS = {
    "ber": "bit error rate", "ser": "symbol error rate", "bler": "block error rate", "psnr": "PSNR (dB)", "ssim": "SSIM",
    "outage": "images lost",
    "ebno_db": "$E_b/N_0$ (dB)", "esno_db": "$E_s/N_0$ (dB)", "sent_db": "$E_s/N_0$ (dB), of the energy sent",
}  # fmt: skip
THEORY = "theory, nearest point"
NO_ERROR = "no error: upper bound"
NO_INTERVAL = "one photograph: interval unknown"


RATES = ("ber", "ser", "bler", "outage")
"""Metrics on a logarithmic scale."""


def error_rate_figure(rows: Sequence[Mapping], metrics: Sequence[str] = ("ber", "bler")) -> Figure:
    """Error rates against Eb/N0: a row of panels a metric, a panel a channel, a line a modulation and code.

    Metrics that no row has are left out. A point without errors is an open triangle at its upper bound. Thin black lines are
    theory, where there is a closed form: no code, over AWGN, Rayleigh and Rician fading (the mean over gains is the same per
    symbol and per block). Errors: ValueError if no metric is left.
    """
    return _panels(rows, metrics, "ebno_db")


COMMON_METRICS = ("psnr", "ssim", "outage")
"""Metrics that mean the same for systems that send points, bits or real values."""
IMAGE_METRICS = ("psnr", "ssim", "ser", "bler", "outage")


def quality_figure(rows: Sequence[Mapping], metrics: Sequence[str] = IMAGE_METRICS) -> Figure:
    """Image metrics against Es/N0: a row of panels a metric, a panel a channel, a line a system and its code.

    Lines say their payload's channel uses where these differ. Where they were not sent at one energy (`energy.apart`), each
    is drawn at the energy that it was sent with, which the axis says: Es/N0 plus es_db. Metrics that no row has are left
    out. Errors: ValueError if none is left.
    """
    uneven = apart(rows) is not None
    rows = [{**row, "sent_db": row["esno_db"] + row.get("es_db", 0.0)} for row in rows]
    rates = sorted({(row["cbr_payload"], row["cbr"]) for row in rows})
    if len({payload for payload, _ in rates}) > 1:
        rows = [{**row, "rate": str(Fraction(row["cbr_payload"]).limit_denominator(1000))} for row in rows]
    figure = _panels(rows, metrics, "sent_db" if uneven else "esno_db")
    text = ", ".join(f"{payload:.4f} payload, {total:.4f} in all" for payload, total in rates)
    figure.suptitle(f"channel uses per source sample: {text}", fontsize="small")
    return figure


def _panels(rows: Sequence[Mapping], metrics: Sequence[str], x: str) -> Figure:
    rows = _of_metrics(rows, metrics)
    metrics = [metric for metric in metrics if any(row["metric"] == metric for row in rows)]
    channels, labels = _distinct(rows, "channel"), _distinct_lines(rows)
    figure = _figure(len(channels), len(metrics))
    for index, axes in enumerate(figure.axes):
        metric, channel = metrics[index // len(channels)], channels[index % len(channels)]
        mine = [row for row in rows if row["metric"] == metric and row["channel"] == channel]
        for number, label in enumerate(labels):
            line = [row for row in mine if _line(row) == label]
            _draw(axes, line, x, label, number)
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


def mosaic(images: Sequence[Sequence[np.ndarray]], columns: Sequence[str], lines: Sequence[str]) -> Figure:
    """Images [h, w, 3] in [0, 1] on a grid, with a title for each column and a label for each line."""
    figure = Figure(figsize=(1.7 * len(columns), 1.8 * len(lines)), layout="constrained")
    grid = figure.subplots(len(lines), len(columns), squeeze=False)
    for axes_line, image_line, text in zip(grid, images, lines, strict=True):
        for axes, image in zip(axes_line, image_line, strict=True):
            axes.imshow(np.clip(image, 0, 1), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        axes_line[0].set_ylabel(text, fontsize="small")
    for axes, title in zip(grid[0], columns, strict=True):
        axes.set_title(title, fontsize="small")
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Writes the kind of picture that the name ends in. Errors: ValueError if that is unknown or nothing can be written."""
    kinds = figure.canvas.get_supported_filetypes()
    kind = check_name("kind of picture", path.suffix.removeprefix(".").lower(), tuple(kinds))
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    metadata = {"Software": f"semsim, matplotlib {matplotlib.__version__}"} if kind == "png" else None
    try:
        figure.savefig(partial, dpi=120, format=kind, metadata=metadata)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ValueError(f"cannot write {path}: {error.strerror}") from None
    return path


def _figure(columns: int, lines: int = 1) -> Figure:
    figure = Figure(figsize=(1 + 3.6 * columns, 0.6 + 2.9 * lines), layout="constrained")
    figure.subplots(lines, columns, squeeze=False, sharex=True, sharey="row")
    return figure


def _draw(axes: Axes, rows: Sequence[Mapping], x: str, label: str, number: int) -> None:
    rows = sorted(rows, key=lambda row: row[x])
    colour, marker = f"C{number % 10}", MARKERS[number % len(MARKERS)]
    seen = [row for row in rows if row.get("errors") != 0]
    never = [row for row in rows if row.get("errors") == 0]
    values, low, high = ([row[name] for row in seen] for name in ("value", "low", "high"))
    snr = [row[x] for row in seen]
    axes.plot(snr, values, color=colour, marker=marker, ms=4, lw=1.2, label=label)
    if all(np.isfinite(low + high)):
        axes.fill_between(snr, low, high, color=colour, alpha=0.2, lw=0)
    else:
        axes.plot(snr, values, color="black", marker="x", ls="", ms=7, label=NO_INTERVAL)
    if never:
        axes.plot(
            [row[x] for row in never], [row["high"] for row in never],
            color=colour, marker="v", ls="", ms=5, mfc="none", label=NO_ERROR,
        )  # fmt: skip


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
    """One legend for all panels, each line once; what needs an explanation comes last."""
    found = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = sorted(found, key=lambda label: label in (THEORY, NO_ERROR, NO_INTERVAL))
    figure.axes[0].legend([found[label] for label in labels], labels, fontsize="small")


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
