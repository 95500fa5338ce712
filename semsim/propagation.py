"""What the names of channels leave open: delay spread, carrier, speed, K-factor."""

import math
from dataclasses import dataclass

FASTEST, LONGEST = 2e4, 1e-3
LOWEST, HIGHEST = 1e6, 1e13


@dataclass(frozen=True)
class Propagation:
    """What the named channels leave open; each channel uses what concerns it.

    Errors: ValueError for values that no channel could use, or that were probably meant in another unit, whether or not the
    channels at hand would look at them.
    """

    delay_spread: float = 100e-9
    """TDL: root mean square delay spread, s."""
    carrier_frequency: float = 3.5e9
    """TDL: carrier frequency, Hz."""
    speed: float = 3.0
    """TDL: speed of the receiver, m/s."""
    k_db: float = 10.0
    """Rician: K-factor, dB."""
    allow_ici: bool = False
    """TDL and recordings: also channels so fast that interference between subcarriers, which is not simulated, would have
    more than a tenth of the power."""

    def __post_init__(self) -> None:
        if not 0 <= self.delay_spread <= LONGEST:
            meant = f": did you mean {self.delay_spread:g}e-9 (ns)?" if self.delay_spread >= 1 else ""
            raise ValueError(
                f"delay_spread must be in seconds, >= 0 and at most {LONGEST:g}; got {self.delay_spread:g}{meant}"
            )
        if not LOWEST <= self.carrier_frequency <= HIGHEST:
            raise ValueError(
                f"carrier_frequency must be in Hz, from {LOWEST:g} to {HIGHEST:g}; got {self.carrier_frequency:g}"
                f"{_meant_in_larger_hertz(self.carrier_frequency)}"
            )
        if not 0 <= self.speed <= FASTEST:
            raise ValueError(
                f"speed must be in m/s, >= 0 and at most {FASTEST:g} (100 km/h is 27.8); got {self.speed:g}"
            )
        if not math.isfinite(self.k_db):
            raise ValueError(
                f"k_db must be a finite number of dB; got {self.k_db}: the limits are awgn and rayleigh"
            )


def _meant_in_larger_hertz(value: float) -> str:
    if not 0 < value < LOWEST:
        return ""
    exponent, unit = (9, "GHz") if value < 300 else (6, "MHz")
    return f": did you mean {value:g}e{exponent} ({unit})?"
