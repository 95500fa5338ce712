"""What runs must have in common: conventions and data to share a figure, draws and points to be compared one by one.

Numbers by different definitions of SNR, or of different images, do not answer one question. Draws in common need more: one
seed, and batches built in the same way, or the k-th part of one run met other fades than the k-th part of the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

from semsim.resume import differences
from semsim.runs import Run
from semsim.scenario import Propagation
from semsim.sweep import draw_id, point_name

NAMES = {
    "command": "the command",
    "conventions.snr": "the definition of SNR",
    "conventions.normalisation": "the normalisation",
    "conventions.psnr": "the definition of PSNR",
    "conventions.dialect": "the dialect",
    "conventions.energy": "the energy of a symbol",
    "data.name": "the data set",
    "data.images": "the number of images",
    "data.crc32": "the checksum of the pixels",
}
"""What refusals call the entries of a config; an entry that is not here goes by its own name."""

IMMATERIAL = ("data.note",)

CHANNEL = ("channel", *(field.name for field in fields(Propagation)))
"""The fields of a point that, with its Es/N0, decide what is drawn: they must agree."""

DRAWN = (*CHANNEL, "esno_db")
IMPLIED = ("ebno_db", "order")
"""Follow from Es/N0, modulation, code and grid: they differ between points that meet the same noise, and are not matched."""


class Pair(NamedTuple):
    """A point that both runs have."""

    label: dict  # what its two labels share
    left: dict
    right: dict


def check_overlay(runs: Sequence[Run]) -> None:
    """Refuses runs that do not belong into one figure. Errors: ValueError that names the folders and every reason."""
    for other in runs[1:]:
        reasons = _other_command(runs[0], other) or _other_question(runs[0], other)
        _refuse("do not share a figure", runs[0], other, reasons)


def translated(run: Run) -> Run:
    """A run whose dialect is to be shown by the textbook's SNR (`scenario.textbook_row`): its conventions say no other."""
    said = {name: value for name, value in run.config.get("conventions", {}).items() if name != "dialect"}
    return replace(run, config={**run.config, "conventions": said})


def check_comparable(left: Run, right: Run) -> None:
    """Refuses runs without draws in common. Errors: ValueError that names the folders and every reason."""
    reasons = _other_command(left, right) or _other_question(left, right) + _other_draws(left, right)
    _refuse("cannot be compared", left, right, reasons)


def name_of(run: Run) -> str:
    """What messages call a run: its folder, else its title."""
    return str(run.folder or run.config.get("title") or "a run in memory")


def _refuse(what: str, left: Run, right: Run, reasons: Sequence[str]) -> None:
    if reasons:
        raise ValueError(f"{name_of(left)} and {name_of(right)} {what}: {'; '.join(reasons)}")


def _other_command(left: Run, right: Run) -> list[str]:
    return _reasons(left, right, ("command",), "take two runs of one command")


def _other_question(left: Run, right: Run) -> list[str]:
    """Reasons why the two do not answer one question: conventions and data."""
    silent = [name_of(run) for run in (left, right) if not run.config.get("conventions")]
    if silent:
        return [f"{' and '.join(silent)} does not state its conventions: simulate it again with this version"]
    return [
        *_reasons(left, right, ("conventions",), "simulate both by one definition"),
        *_reasons(left, right, ("data",), "simulate both on the same images"),
    ]


def _other_draws(left: Run, right: Run) -> list[str]:
    """Reasons why draws of the same number are not the same draws: seed, structure of the batches, grid."""
    return [
        *_reasons(left, right, ("seed",), "simulate both with one seed"),
        *_reasons(left, right, ("draws", "grid"), "simulate both with the same"),
    ]


def _reasons(left: Run, right: Run, names: Sequence[str], remedy: str) -> list[str]:
    """A reason for every setting under `names` that differs, with both values."""
    a, b = (_chosen(run.config, names) for run in (left, right))
    return [
        f"{NAMES.get(name, name)} differs, {old!r} against {new!r}: {remedy}"
        for name, (old, new) in differences(a, b).items()
        if name not in IMMATERIAL
    ]


def _chosen(config: Mapping, names: Sequence[str]) -> dict[str, Any]:
    return {name: config[name] for name in names if name in config}


def labels(run: Run) -> list[dict]:
    return [label for label, _ in run.points]


def pairs(ours: Sequence[dict], theirs: Sequence[dict]) -> list[Pair]:
    """Points that meet the same draws and are equal but for what is compared, in the order of `ours`."""
    dropped = compared_fields(ours, theirs)
    known = {_identity(label, dropped): label for label in theirs}
    found = [(label, known.get(_identity(label, dropped))) for label in ours]
    return [Pair(_shared(label, other), label, other) for label, other in found if other is not None]


def _shared(label: dict, other: dict) -> dict:
    return {
        name: value
        for name, value in label.items()
        if name in DRAWN or (name in other and other[name] == value)
    }


def _identity(label: Mapping, dropped: Mapping) -> tuple[int, str]:
    """What two points must have in common: the number of their draws, and every field that is not dropped or implied."""
    draw = draw_id({name: label[name] for name in CHANNEL if name in label}, label["esno_db"])
    rest = {name: value for name, value in label.items() if name not in (*DRAWN, *IMPLIED, *dropped)}
    return draw, point_name(rest)


def compared_fields(ours: Sequence[Mapping], theirs: Sequence[Mapping]) -> dict[str, tuple]:
    """Fields that are constant on each side and differ between the sides, which is what is compared: name -> (a, b)."""
    if not (ours and theirs):
        return {}
    a, b = _values_of_fields(ours), _values_of_fields(theirs)
    constant = {
        name: (*a.get(name, [None]), *b.get(name, [None]))
        for name in dict.fromkeys((*a, *b))
        if name not in (*DRAWN, *IMPLIED)
    }
    return {name: found for name, found in constant.items() if len(found) == 2 and found[0] != found[1]}


def _values_of_fields(labels: Sequence[Mapping]) -> dict[str, list]:
    """For every field its values, each once; None stands for points without it."""
    names = dict.fromkeys(name for label in labels for name in label)
    return {name: list(dict.fromkeys(label.get(name) for label in labels)) for name in names}


def mismatch(left: Run, right: Run) -> str:
    """Why no point of one run matches one of the other, and what would do."""
    empty = [name_of(run) for run in (left, right) if not run.points]
    if empty:
        return f"{' and '.join(empty)} has no finished one: let it run longer"
    ours, theirs = labels(left), labels(right)
    dropped = compared_fields(ours, theirs)
    a, b = _values_of_fields(ours), _values_of_fields(theirs)
    apart = {
        name: f"{name} {_some(a[name])} against {_some(b[name])}"
        for name in a
        if name not in IMPLIED and name not in dropped and name in b and not set(a[name]) & set(b[name])
    }
    if not apart:
        return "each value is in both, but no combination: simulate the same points"
    remedy = (
        "the draws are common at equal Es/N0, not Eb/N0: simulate both at the same esno_db"
        if "esno_db" in apart
        else "simulate the same ones, or one against one"
    )
    return f"{', '.join(apart.values())}: {remedy}"


def _some(values: Sequence) -> str:
    shown = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values[:4])
    return shown + (", ..." if len(values) > 4 else "")
