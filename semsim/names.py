"""One way to say that a name is unknown."""

import difflib
import re
from collections.abc import Sequence

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


def parse_size(name: str, text: str) -> tuple[int, int]:
    """(height, width) of a side, or of WIDTHxHEIGHT as pictures are named. Errors: ValueError for other text."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"{name} takes a side such as 256, or WIDTHxHEIGHT such as 768x512; got {text!r}")
    return int(sides[-1]), int(sides[0])


def parse_range(name: str, tokens: Sequence[str | float]) -> tuple[float, ...]:
    """Numbers and `start:stop:step` ranges (stop included) as one tuple, in the order given, each value once.

    Errors: ValueError for text that is neither, an empty, reversed or endless range, and values that are not finite.
    """
    values: list[float] = []
    for token in tokens:
        values.extend([float(token)] if isinstance(token, int | float) else _expand(name, token))
    if not values:
        raise ValueError(f"{name} is empty: give numbers or start:stop:step")
    wrong = [value for value in values if not abs(value) <= MOST_DB]  # NaN and infinities too
    if wrong:
        raise ValueError(f"{name} must be in [-{MOST_DB:g}, {MOST_DB:g}] dB; got {wrong[0]:g}")
    return tuple(dict.fromkeys(values))


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
