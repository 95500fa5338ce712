"""When a point has been simulated long enough, and how often one may look.

    look after 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, ... batches --> reached? --> the next look, or the next point

The looks are fixed in advance and independent of devices and processes, so every way of running a sweep ends a point
after the same batches. They grow by a quarter: a point gets at most a quarter, or one batch, more than it needs,
and is looked at a few dozen times at most, not after each of a million batches.

Why the intervals hold although the data decide when to stop: sampling until a number of errors is inverse binomial
sampling (Haldane, Biometrika 33, 1945), whose exact interval lies inside the binomial one that is reported; sampling
until an interval is narrow stops by the spread and not by the value, and keeps its coverage as the width asked for
becomes small (Chow and Robbins, Annals of Mathematical Statistics 36, 1965). Neither holds for errors that come in a
few large bursts, as in block fading at high SNR, where the first deep fade would end the point and leave its rate too
high: so rules of 100 errors or more also ask for 100 bursts. A point that its budget ends before has an interval that
allows for the fades it did not meet (`stats.clustered_interval`). The tests measure all this on the engine itself.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from semsim.stats import Interval, bursts

Reason = str
"""Why a point ended: "errors", "width" or "trials"."""

FEWEST_ERRORS = 100
"""A relative width is not believed before so many errors, nor a rule of that many or more before so many bursts of
them: early on, chance makes narrow intervals."""
FEWEST_VALUES = 10
"""A width of a mean is not believed before so many values, or photographs that they were cut from: two that happen to
agree make a narrow interval."""


@dataclass(frozen=True)
class Stop:
    """A point is done when it has `min_errors` and is as narrow as asked for, or has used its budget.

    metric: what is looked at. max_trials: budget of a point; unit: trials of an error rate, else values of a mean.
    rel_width, abs_width: how far the interval may reach from the value on its longer side, relative to it or in its
    unit.
    target: a curve ends at the first point, in ascending SNR, whose whole interval lies below it; the rest stays
    absent.
    total: budget of the sweep; what the points leave of it goes, look by look, to the point whose interval is widest.
    Points whose own rules need more get more.
    Errors: ValueError for numbers that make no rule.
    """

    metric: str
    max_trials: float
    min_errors: int | None = None
    rel_width: float | None = None
    abs_width: float | None = None
    target: float | None = None
    total: float | None = None

    def __post_init__(self) -> None:
        if self.min_errors is not None and self.min_errors < 1:
            raise ValueError(f"min_errors must be at least 1; got {self.min_errors}")
        for name, most in (
            ("rel_width", math.inf),
            ("abs_width", math.inf),
            ("target", 1.0),
            ("total", math.inf),
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < most:
                what = "a positive number" if most == math.inf else "an error rate, in (0, 1)"
                raise ValueError(f"{name} must be {what}; got {value:g}")

    def as_dict(self) -> dict[str, object]:
        """The rules in force, for a run's config."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def reached(self, part: Mapping[str, Any], interval: Interval) -> Reason | None:
        """Why a point with these sums and this interval ends; None if it goes on."""
        if self.precise(part, interval):
            return "width" if self.rel_width or self.abs_width else "errors"
        return "trials" if trials(part) >= self.max_trials else None

    def precise(self, part: Mapping[str, Any], interval: Interval) -> bool:
        """Whether every rule of precision is met; never without one."""
        if self.min_errors is None and self.rel_width is None and self.abs_width is None:
            return False
        enough = self.min_errors or (FEWEST_ERRORS if self.rel_width else 0)
        if "errors" in part:
            seen = part["errors"], bursts(part["errors"], part["errors_sq"])
            if seen[0] < enough or seen[1] < FEWEST_ERRORS <= enough:
                return False
        elif (len(part.get("clusters", ())) or part["n"]) < FEWEST_VALUES:
            return False
        reach = half_width(interval)
        return not (
            (self.rel_width is not None and reach > self.rel_width * abs(interval.value))
            or (self.abs_width is not None and reach > self.abs_width)
        )

    def below_target(self, interval: Interval) -> bool:
        return self.target is not None and interval.high < self.target


def half_width(interval: Interval) -> float:
    """How far the interval reaches from the value, on its longer side."""
    return max(interval.high - interval.value, interval.value - interval.low)


def trials(part: Mapping[str, float]) -> float:
    """What a budget counts: trials of an error rate, else values of a mean."""
    return part["trials"] if "trials" in part else part["n"]


def next_look(batches: int, limit: int) -> int:
    """After how many batches to look again, having looked after `batches`; at most `limit`."""
    return min(batches + max(1, batches // 4), limit)
