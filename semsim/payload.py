"""What may cross the air, and the ledger that prices it.

Three payloads: `Bits`, `Indices` (one codeword number per vector) and `Symbols` (complex values of a power-normalised
analogue code). Everything else the receiver uses is either fixed in the plan before the source was seen, or a line of the
ledger: sent and priced, or declared free by name.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from jaxtyping import Array

from phy import ResourceGrid


class Bits(NamedTuple):
    """values: [*b, n], 0 or 1."""

    values: Array


class Indices(NamedTuple):
    """values: [*b, n], each below the size of its codebook; one index is one constellation point."""

    values: Array


class Symbols(NamedTuple):
    """values: [*b, n] complex, unit mean energy by the sender's normalisation."""

    values: Array


@dataclass(frozen=True)
class Line:
    """One thing that the receiver uses. channel_uses: complex symbols on air; 0 for what is declared free."""

    what: str
    channel_uses: float
    note: str = ""

    def __post_init__(self) -> None:
        if not self.channel_uses >= 0:
            raise ValueError(f"{self.what}: channel uses must be >= 0; got {self.channel_uses}")


@dataclass(frozen=True)
class Ledger:
    """The price of one source (an image): `payload` first, then everything else that reaches the receiver.

    source_samples: real numbers in the source, H W C for an image. CBR = complex channel uses per source sample.
    """

    source_samples: int
    payload: Line
    overhead: tuple[Line, ...] = ()

    def __post_init__(self) -> None:
        if self.source_samples < 1:
            raise ValueError(f"a source has at least one sample; got {self.source_samples}")

    @property
    def lines(self) -> tuple[Line, ...]:
        return (self.payload, *self.overhead)

    @property
    def channel_uses(self) -> float:
        return sum(line.channel_uses for line in self.lines)

    @property
    def cbr(self) -> float:
        """Everything on air: payload, padding, pilots, cyclic prefix, side information."""
        return self.channel_uses / self.source_samples

    @property
    def cbr_payload(self) -> float:
        return self.payload.channel_uses / self.source_samples

    def times(self, count: int) -> "Ledger":
        """The price of `count` sources that are sent as one."""
        payload, *overhead = (replace(line, channel_uses=count * line.channel_uses) for line in self.lines)
        return Ledger(count * self.source_samples, payload, tuple(overhead))

    def seconds(self, sample_rate: float) -> float:
        """Airtime at `sample_rate` complex symbols per second."""
        return self.channel_uses / sample_rate

    def as_dict(self) -> dict[str, object]:
        """Plain data, for a run's config."""
        return {
            "source_samples": self.source_samples,
            "lines": [{"what": x.what, "channel_uses": x.channel_uses, "note": x.note} for x in self.lines],
            "cbr": self.cbr,
            "cbr_payload": self.cbr_payload,
        }


def grid_overhead(grid: ResourceGrid | None, num_symbols: int) -> tuple[Line, ...]:
    """What a resource grid adds to `num_symbols` payload symbols: padding, pilots and cyclic prefix.

    Nulled guard and DC carriers send nothing and are not counted. A prefix sample is counted as effective / fft_size channel
    uses, the time it takes on the carriers in use.
    """
    if grid is None:
        return ()
    padding = grid.num_data_symbols - num_symbols
    if padding < 0:
        raise ValueError(
            f"the grid holds {grid.num_data_symbols} data symbols; the payload has {num_symbols}: use a larger grid"
        )
    prefix = (
        grid.num_ofdm_symbols * grid.num_effective_subcarriers * grid.cyclic_prefix_length / grid.fft_size
    )
    lines = (
        Line("padding", padding, "unused data positions of the grid"),
        Line("pilots", grid.num_pilots, "known to both ends"),
        Line("cyclic prefix", prefix),
    )
    return tuple(line for line in lines if line.channel_uses)
