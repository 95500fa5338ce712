"""Modulations by name, as a point of a sweep spells them."""

import difflib

from phy.bank import qam
from phy.base import Modulation
from phy.points import psk

_BITS = {"bpsk": 1, "qpsk": 2, "qam16": 4, "qam64": 6, "qam256": 8, "qam1024": 10, "psk8": 3}
MODULATIONS: tuple[str, ...] = tuple(_BITS)
"""Every name `modulation` knows. All but psk8 are members of the QAM bank and share a compiled program."""


def num_bits(name: str) -> int:
    """Bits per symbol of a named modulation. Errors: ValueError for an unknown name, with the nearest and the
    choices."""
    if name not in _BITS:
        near = difflib.get_close_matches(str(name).lower(), MODULATIONS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown modulation {name!r}{hint} Choices: {', '.join(MODULATIONS)}")
    return _BITS[name]


def modulation(name: str, max_bits: int | None = None) -> Modulation:
    """The modulation called `name`; `max_bits` pads it to the width of a bank that holds larger orders too.

    Members of the QAM bank with equal `max_bits` differ in a traced number only: switching between them never
    recompiles.
    Errors: ValueError for an unknown name, a width below the member's bits, or a width for psk8, which is no
    bank member.
    """
    bits = num_bits(name)
    if name != "psk8":
        return qam(bits, max_bits)
    if max_bits not in (None, bits):
        raise ValueError(f"psk8 is not in the QAM bank and always has max_bits = {bits}; got {max_bits}")
    return psk(8)
