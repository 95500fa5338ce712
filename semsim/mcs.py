"""Modulation and coding schemes of the digital baseline: which combinations a sweep takes, and the frame of each."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import phy
from semsim.coding import Decoding
from semsim.frame import Frame, frame
from semsim.names import check_name

Scheme = tuple[str, str]
"""A modulation and a code rate, as points of a run call them: "qam16", "553/1024"."""

TABLE_1 = {
    "qpsk": (120, 157, 193, 251, 308, 379, 449, 526, 602, 679),
    "qam16": (340, 378, 434, 490, 553, 616, 658),
    "qam64": (438, 466, 517, 567, 616, 666, 719, 772, 822, 873, 910, 948),
}
"""1024 times the target code rates of MCS 0 to 28, up to 64-QAM (TS 38.214 table 5.1.3.1-1)."""
TABLE_2 = {
    "qpsk": (120, 193, 308, 449, 602),
    "qam16": (378, 434, 490, 553, 616, 658),
    "qam64": (466, 517, 567, 616, 666, 719, 772, 822, 873),
    "qam256": (682.5, 711, 754, 797, 841, 885, 916.5, 948),
}
"""The same of MCS 0 to 27, up to 256-QAM (table 5.1.3.1-2)."""


def _union() -> tuple[Scheme, ...]:
    """The schemes of both tables, each once, by modulation and rate."""
    rates = {name: {*TABLE_1.get(name, ()), *TABLE_2[name]} for name in TABLE_2}
    return tuple(
        (name, f"{2 * rate:g}/2048" if rate % 1 else f"{rate}/1024")
        for name in TABLE_2
        for rate in sorted(rates[name])
    )


MCS = _union()
"""What "auto" stands for: the schemes of NR, of both tables."""
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


def schemes(modulation: tuple[str, ...], coderate: tuple[str, ...]) -> list[Scheme]:
    """Modulation and code rate of every frame: all combinations of what is named. With "auto" for the rate the rates that NR
    has for each modulation, with "auto" for the modulation those of NR, each at the rates that are named.
    Errors: ValueError for unknown names, and for a modulation that NR has no rates for."""
    if not modulation:
        raise ValueError("give at least one modulation")
    known = tuple(TABLE_2)
    chosen, rates = known if modulation == ("auto",) else modulation, tuple(dict.fromkeys(coderate))
    if rates != ("auto",):
        for name in chosen:
            check_name("modulation", name, phy.MODULATIONS)
        return list(product(chosen, rates))
    for name in chosen:
        check_name("modulation with coderate auto", name, known)
    return [(name, rate) for name, rate in MCS if name in chosen]


def frames(
    wanted: Sequence[Scheme],
    symbols: int,
    header: str | None,
    decoding: Decoding,
    *,
    automatic: bool,
) -> dict[Scheme, Frame]:
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
