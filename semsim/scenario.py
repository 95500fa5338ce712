"""Channels by name: what a point of a sweep calls "tdl-a" becomes a fading for the plan at hand."""

import math
from dataclasses import asdict, dataclass

import channels
from channels import TDL_MODELS, Fading, GridFading, tdl_profile
from phy import ResourceGrid
from semsim.names import check_name

FLAT_CHANNELS = ("awgn", "rayleigh", "rayleigh-block", "rician", "rician-block")
GRID_CHANNELS = ("awgn", "rayleigh-block", "rician-block", *TDL_MODELS)
CHANNELS = (*FLAT_CHANNELS, *TDL_MODELS)
"""`rayleigh` and `rician` draw a gain per symbol (ideal interleaving), the `-block` ones a gain per transmission."""

NORMALISATION = "mean symbol energy 1 before the channel, E|h|^2 = 1 per resource element"
"""What every result is normalised to, as its config says it."""


@dataclass(frozen=True)
class Propagation:
    """What the named channels leave open; each channel uses what concerns it.

    Errors: ValueError for values that no channel could use, whether or not the channels at hand would look at them.
    """

    delay_spread: float = 100e-9
    """TDL: root mean square delay spread, s."""
    carrier_frequency: float = 3.5e9
    """TDL: carrier frequency, Hz."""
    speed: float = 3.0
    """TDL: speed of the receiver, m/s."""
    k_db: float = 10.0
    """Rician: K-factor, dB."""

    def __post_init__(self) -> None:
        if not 0 <= self.delay_spread < math.inf:
            raise ValueError(f"delay_spread must be >= 0 s; got {self.delay_spread:g}")
        if not 0 < self.carrier_frequency < math.inf:
            raise ValueError(f"carrier_frequency must be > 0 Hz; got {self.carrier_frequency:g}")
        if not 0 <= self.speed < math.inf:
            raise ValueError(f"speed must be >= 0 m/s; got {self.speed:g}")
        if not math.isfinite(self.k_db):
            raise ValueError(
                f"k_db must be a finite number of dB; got {self.k_db}: the limits are awgn and rayleigh"
            )


def flat_fading(name: str, propagation: Propagation) -> Fading:
    """A channel for symbols sent one after the other: [b, s]. Errors: ValueError for an unknown name."""
    check_name("flat channel", name, FLAT_CHANNELS)
    coherence = 0 if name.endswith("-block") else 1
    if name == "awgn":
        return channels.no_fading()
    if name.startswith("rayleigh"):
        return channels.rayleigh(coherence)
    return channels.rician(propagation.k_db, coherence)


def grid_fading(name: str, propagation: Propagation, grid: ResourceGrid) -> GridFading:
    """A channel for signals on the grid: [b, t, f].

    Errors: ValueError for an unknown name, impossible propagation, or a channel longer than the cyclic prefix, which would
    bring interference between symbols that a gain per resource element cannot show.
    """
    axes = {"frequencies": grid.frequencies, "times": grid.times}
    if name in ("rayleigh", "rician"):
        raise ValueError(
            f"on a resource grid {name} fades as {name}-block, one gain per transmission: ask for that"
        )
    check_name("channel", name, GRID_CHANNELS)
    if name == "awgn":
        return channels.grid_awgn(**axes)
    if name == "rayleigh-block":
        return channels.grid_rayleigh(**axes)
    if name == "rician-block":
        return channels.grid_rician(propagation.k_db, **axes)
    longest = float(max(tdl_profile(name, propagation.delay_spread).delays))
    prefix = grid.cyclic_prefix_length / grid.sample_rate
    if longest > prefix:
        raise ValueError(
            f"{name} with a delay spread of {propagation.delay_spread * 1e9:g} ns lasts {longest * 1e6:.2f} us, longer than "
            f"the cyclic prefix of {prefix * 1e6:.2f} us: lengthen the prefix or shorten the delay spread"
        )
    return channels.tdl(
        name,
        delay_spread=propagation.delay_spread,
        carrier_frequency=propagation.carrier_frequency,
        speed=propagation.speed,
        frequencies=grid.frequencies,
        times=grid.times,
    )


def channel_identity(name: str, propagation: Propagation) -> dict[str, str | float]:
    """The name and the propagation that matters to it: what distinguishes one channel from another in a result."""
    used = asdict(propagation)
    if name not in TDL_MODELS:
        used = {"k_db": propagation.k_db} if name.startswith("rician") else {}
    else:
        del used["k_db"]
    return {"channel": name, **used}
