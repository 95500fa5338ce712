"""Modulation and coding schemes of the digital baseline: which combinations a sweep takes, and the frame of each."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import phy
from semsim.coding import Decoding
from semsim.frame import Frame, frame
from semsim.names import check_name

MCS = tuple(
    (modulation, rate)
    for modulation, rates in {
        "qpsk": ("1/3", "1/2", "2/3"), "qam16": ("1/2", "2/3", "5/6"), "qam64": ("2/3", "3/4", "5/6"),
        "qam256": ("3/4", "5/6"),
    }.items()
    for rate in rates
)  # fmt: skip
"""Modulations and code rates that "auto" stands for."""
HEADER_BYTES = 2
"""What a header of its own carries: the first bytes of the source codec, without which the rest means nothing."""


def fraction(name: str, text: str) -> Fraction:
    """A ratio in (0, 1] as "1/2" or "0.5". Errors: ValueError for another."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{name} is a fraction such as 1/2; got {text!r}") from None
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be in (0, 1]; got {text}")
    return value


def schemes(modulation: tuple[str, ...], coderate: tuple[str, ...]) -> list[tuple[str, str]]:
    """Modulation and code rate of every frame: all combinations of what is named, or with "auto" for either the members of
    MCS that agree with the other. Errors: ValueError for unknown names, and where "auto" has none of them."""
    if not modulation:
        raise ValueError("give at least one modulation")
    rates = tuple(dict.fromkeys(coderate))
    if modulation != ("auto",) and rates != ("auto",):
        for name in modulation:
            check_name("modulation", name, phy.MODULATIONS)
        return list(product(modulation, rates))
    known = tuple(dict.fromkeys(name for name, _ in MCS))
    for name in modulation if modulation != ("auto",) else ():
        check_name("modulation with coderate auto", name, known)
    wanted = None if rates == ("auto",) else {fraction("coderate", rate) for rate in rates}
    found = [
        (name, rate) for name, rate in MCS
        if modulation in (("auto",), (name,)) or name in modulation
        if wanted is None or Fraction(rate) in wanted
    ]  # fmt: skip
    if not found:
        listed = ", ".join(f"{name} {rate}" for name, rate in MCS)
        raise ValueError(
            f"auto has no coderate {', '.join(rates)}; it has {listed}: name modulations to take others"
        )
    return found


def frames(
    wanted: Sequence[tuple[str, str]],
    symbols: int,
    header: str | None,
    decoding: Decoding,
    *,
    automatic: bool,
) -> dict[tuple[str, str], Frame]:
    """The frame of every scheme, its body decoded as `decoding` says; of automatic ones those that leave room for a byte.

    header: code rate of a header of its own; None: there is none. Errors: ValueError for frames without room for a byte."""
    header_bytes, header_rate = (HEADER_BYTES, fraction("header_coderate", header)) if header else (0, None)
    found, refused = {}, None
    for name, rate in wanted:
        try:
            found[name, rate] = frame(
                symbols, name, fraction("coderate", rate), header_bytes, header_rate, decoding
            )
        except ValueError as error:
            refused = error
            if not automatic:
                raise
    if refused and not found:
        raise refused
    return found
