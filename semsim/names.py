"""One way to say that a name, a number or a value of another type is none of those that would do."""

import difflib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

MOST_DB = 300.0
"""Largest SNR: what single precision can hold of a noise variance."""
MOST_VALUES = 10_000
"""Of a range of SNRs."""


def check_name(kind: str, given: str, choices: Sequence[str]) -> str:
    """`given` if it is one of `choices`. Errors: ValueError with the nearest choice and all of them."""
    if given in choices:
        return given
    near = _same(str(given), choices) or difflib.get_close_matches(str(given).lower(), choices, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ValueError(f"unknown {kind} {given!r}{hint} Choices: {', '.join(choices)}")


def _same(given: str, choices: Sequence[str]) -> list[str]:
    """The choice with the same letters and digits in another order or notation: 16qam, QAM-16, 16-QAM."""

    def parts(name: str) -> list[str]:
        return sorted(re.findall("[a-z]+|[0-9]+", name.lower()))

    return [choice for choice in choices if parts(choice) == parts(given)][:1]


def check_kind(name: str, given: Any, kind: type, example: str) -> None:
    """Errors: ValueError, with what would do, for a value that is none of a kind."""
    if not isinstance(given, kind):
        shown = repr(given) if isinstance(given, str | int | float) else f"a {type(given).__name__}"
        raise ValueError(f"{name} must be of type {kind.__name__}, such as {example}; got {shown}")


def parse_size(name: str, text: str) -> tuple[int, int]:
    """(height, width) of a side, or of WIDTHxHEIGHT as pictures are named. Errors: ValueError for other text."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"{name} takes a side such as 256, or WIDTHxHEIGHT such as 768x512; got {text!r}")
    return int(sides[-1]), int(sides[0])


def parse_range(name: str, given: str | float | Sequence[str | float]) -> tuple[float, ...]:
    """Numbers and `start:stop:step` ranges (stop included), one or several, as one tuple, in the order given, each once.

    Errors: ValueError for what is neither, an empty, reversed or endless range, and values beyond `MOST_DB`.
    """
    tokens: Any = given if np.iterable(given) and not isinstance(given, str) else [given]
    values: list[float] = []
    for token in tokens:
        values.extend(_expand(name, token) if isinstance(token, str) else [_number(name, token)])
    if not values:
        raise ValueError(f"{name} is empty: give numbers or start:stop:step")
    wrong = [value for value in values if not abs(value) <= MOST_DB]  # NaN and infinities too
    if wrong:
        raise ValueError(f"{name} must be in [-{MOST_DB:g}, {MOST_DB:g}] dB; got {wrong[0]:g}")
    return tuple(dict.fromkeys(value + 0.0 for value in values))  # no -0.0


def _number(name: str, given: Any) -> float:
    try:
        return float(given)
    except (TypeError, ValueError):
        raise ValueError(f"{name} takes numbers or start:stop:step; got {given!r}") from None


def _expand(name: str, text: str) -> list[float]:
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        raise ValueError(f"{name} takes numbers or start:stop:step; got {text!r}") from None
    if len(parts) == 1:
        return parts
    if len(parts) != 3:
        raise ValueError(f"{name} takes numbers or start:stop:step; got {text!r}")
    start, stop, step = parts
    if not step > 0:
        raise ValueError(f"the step of {name} must be positive; got {text!r}")
    if not stop >= start:
        raise ValueError(
            f"the range of {name} is reversed: {text!r} should run upwards, {stop:g}:{start:g}:{step:g}"
        )
    steps = (stop - start) / step
    if not steps < MOST_VALUES:  # of an infinite range too
        raise ValueError(f"{name} {text} has more than {MOST_VALUES:,} values: use a larger step")
    count = int(steps + 1e-9) + 1
    return [round(start + i * step, 9) for i in range(count)]
