"""Interference between subcarriers: what a Doppler shift does that the simulation leaves out, and what is done about it.

A gain per resource element has none of it. From NOTICED of the power on a warning and every row say so; above REFUSED the
results would be about another channel, and only who allows it gets them.
"""

import math
import warnings

NOTICED, REFUSED = 0.01, 0.1


class InterferenceWarning(UserWarning):
    """A channel has interference between subcarriers that is not simulated."""


def check_ici(what: str, power: float, spacing: float, allowed: bool) -> None:
    """Warns of a channel that turns a noticeable share `power` of its power into interference between subcarriers.

    what: the channel and what it owes that to; spacing: of the subcarriers, Hz. Errors: ValueError for more than a tenth,
    unless allowed.
    """
    if power < NOTICED:
        return
    said = (
        f"{what} turns {100 * power:.2g} % of the power into interference between subcarriers {spacing / 1e3:g} kHz apart "
        f"(signal to interference {sir_db(power):.1f} dB), which is not simulated"
    )
    remedy = "take a wider subcarrier spacing or a slower channel"
    if power > REFUSED and not allowed:
        raise ValueError(f"{said}: {remedy}, or allow it with allow_ici")
    warnings.warn(
        f"{said}: the error rates at high SNR are too good; {remedy}", InterferenceWarning, stacklevel=3
    )


def sir_db(power: float) -> float:
    """What stays on a subcarrier over what comes from the others, dB."""
    return 10 * math.log10((1 - power) / power)
