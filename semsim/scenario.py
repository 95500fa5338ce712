"""Channels by name: what a point of a sweep calls "tdl-a" becomes a fading for the plan at hand.

Besides the names in CHANNELS there are `recorded:FILE`, impulse responses from a file, and `dialect:NAME`, a channel of
public code, whose SNR is the label that its authors wrote.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import channels
import phy
from channels import TDL_MODELS, Fading, GridFading, covariance, doppler_of_speed, tdl_profile
from channels.dialects import DIALECTS, RICIAN_K_DB, DialectFading, dialect, label_shift_db
from channels.recorded import Recorded, replay
from channels.recording import Recording, load_recording
from phy import PilotFilter, ResourceGrid
from semsim.interference import NOTICED, check_ici, sir_db
from semsim.names import check_name
from semsim.propagation import Propagation as Propagation

FLAT_CHANNELS = ("awgn", "rayleigh", "rayleigh-block", "rician", "rician-block")
GRID_CHANNELS = ("awgn", "rayleigh-block", "rician-block", *TDL_MODELS)
CHANNELS = (*FLAT_CHANNELS, *TDL_MODELS)
"""`rayleigh` and `rician` draw a gain per symbol (ideal interleaving), the `-block` ones a gain per transmission."""

RECORDED, DIALECT = "recorded:", "dialect:"

NORMALISATION = "mean symbol energy 1 before the channel, E|h|^2 = 1 per resource element"
"""What every result is normalised to, as its config says it."""


def check_channel(name: str) -> str:
    """`name` if there is such a channel. Errors: ValueError for another, and for a file that is no recording."""
    if name.startswith(RECORDED):
        recording_of(name)
        return name
    known = (*CHANNELS, *(DIALECT + each for each in DIALECTS))
    return check_name("channel", name, known if name.startswith(DIALECT) else (*CHANNELS, "recorded:FILE"))


def needs_grid(name: str) -> bool:
    """Whether a channel is one of a resource grid, with its pilots, and not of symbols sent one after the other."""
    return name in TDL_MODELS or name.startswith(RECORDED)


def dialect_of(name: str) -> str | None:
    """The dialect that a channel is in; None for those of the textbook."""
    return name.removeprefix(DIALECT) if name.startswith(DIALECT) else None


def recording_of(name: str) -> Recording:
    """The recording that `recorded:FILE` names. Errors: as `channels.recording.load_recording`."""
    path = Path(name.removeprefix(RECORDED)).expanduser()
    try:
        state = path.stat()
    except OSError:  # no such file, which the loader says
        return load_recording(path)
    return _load(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4)
def _load(path: Path, changed: int, size: int) -> Recording:
    return load_recording(path)


def flat_fading(name: str, propagation: Propagation, together: int = 1) -> Fading:
    """A channel for symbols sent one after the other: [b, s]. together: symbols that share a gain where each has its own.

    Errors: ValueError for an unknown name.
    """
    if name.startswith(DIALECT):
        return DialectFading(check_channel(name).removeprefix(DIALECT))
    check_name("flat channel", name, FLAT_CHANNELS)
    coherence = 0 if name.endswith("-block") else together
    if name == "awgn":
        return channels.no_fading()
    if name.startswith("rayleigh"):
        return channels.rayleigh(coherence)
    return channels.rician(propagation.k_db, coherence)


def grid_fadings(
    names: Sequence[str], propagation: Propagation, grid: ResourceGrid, antennas: tuple[int, int] = (1, 1)
) -> list[GridFading | Recorded]:
    """`grid_fading` of each name; those that can share one compiled program do."""
    found: dict[int, GridFading | Recorded] = {
        number: grid_fading(name, propagation, grid, antennas) for number, name in enumerate(names)
    }
    alike = {number: fading for number, fading in found.items() if isinstance(fading, GridFading)}
    found |= zip(alike, channels.pad(list(alike.values())), strict=True)
    return [found[number] for number in range(len(names))]


def grid_fading(
    name: str, propagation: Propagation, grid: ResourceGrid, antennas: tuple[int, int] = (1, 1)
) -> GridFading | Recorded:
    """A channel for signals on the grid: [b, t, f], or [b, rx, tx, t, f] for several antennas (rx, tx).

    Warns of a channel so fast that interference between subcarriers would matter (`semsim.interference`).
    Errors: ValueError for an unknown name, a recording that fits neither grid nor antennas, or what a gain per resource
    element cannot show: a channel longer than the cyclic prefix, which would bring interference between symbols, or one with
    very much interference between subcarriers that is not allowed.
    """
    axes = {"frequencies": grid.frequencies, "times": grid.times}
    if name in ("rayleigh", "rician"):
        raise ValueError(
            f"on a resource grid {name} fades as {name}-block, one gain per transmission: ask for that"
        )
    if name.startswith(DIALECT):
        raise ValueError(f"{name} is a channel for symbols sent one after the other, not for a resource grid")
    if name.startswith(RECORDED):
        recording = recording_of(name)
        if recording.antennas not in ((), antennas):
            theirs, ours = (f"{rx} x {tx}" for rx, tx in (recording.antennas, antennas))
            raise ValueError(f"{name} was recorded with {theirs} antennas (rx x tx); the link has {ours}")
        remedy = "lengthen the prefix, or leave its longest records out (delays are in seconds)"
        _check_prefix(name, recording.longest, grid, remedy)
        check_interference(name, propagation, grid)
        return replay(recording, frequencies=grid.frequencies, times=grid.times)
    check_name("channel", name, GRID_CHANNELS)
    if name == "awgn":
        return channels.grid_awgn(**axes)
    if name == "rayleigh-block":
        return channels.grid_rayleigh(**axes)
    if name == "rician-block":
        return channels.grid_rician(propagation.k_db, **axes)
    longest = float(max(tdl_profile(name, propagation.delay_spread).delays))
    with_spread = f"{name} with a delay spread of {propagation.delay_spread * 1e9:g} ns"
    _check_prefix(with_spread, longest, grid, "lengthen the prefix or shorten the delay spread")
    check_interference(name, propagation, grid)
    return channels.tdl(
        name,
        delay_spread=propagation.delay_spread,
        carrier_frequency=propagation.carrier_frequency,
        speed=propagation.speed,
        frequencies=grid.frequencies,
        times=grid.times,
    )


def _check_prefix(what: str, longest: float, grid: ResourceGrid, remedy: str) -> None:
    prefix = grid.cyclic_prefix_length / grid.sample_rate
    if longest > prefix:
        raise ValueError(
            f"{what} lasts {longest * 1e6:.2f} us, longer than the cyclic prefix of {prefix * 1e6:.2f} us: {remedy}"
        )


def ici_power(name: str, propagation: Propagation, grid: ResourceGrid) -> float:
    """Share of the power of a channel that is interference between the subcarriers of a grid."""
    duration = 1 / grid.subcarrier_spacing
    if name.startswith(RECORDED):
        return channels.recorded_ici_power(recording_of(name), duration)
    if name not in TDL_MODELS:
        return 0.0
    top = doppler_of_speed(propagation.speed, propagation.carrier_frequency)
    return channels.ici_power(top, duration, tdl_profile(name, propagation.delay_spread).specular)


def check_interference(name: str, propagation: Propagation, grid: ResourceGrid) -> None:
    """Warns of, or refuses, a channel whose Doppler the grid is too narrow for: as `interference.check_ici`."""
    what = name
    if name in TDL_MODELS:
        what = f"{name} at {propagation.speed:g} m/s and {propagation.carrier_frequency / 1e9:g} GHz"
    check_ici(what, ici_power(name, propagation, grid), grid.subcarrier_spacing, propagation.allow_ici)


def interference(
    names: Sequence[str], propagation: Propagation, grid: ResourceGrid | None
) -> dict[str, dict[str, dict[str, float]]]:
    """What a run's config says of interference between subcarriers, for the rows of its channels; nothing where all have
    next to none."""
    found = {name: ici_power(name, propagation, grid) for name in names} if grid else {}
    rows = {
        str(channel_identity(name, propagation)["channel"]): {"ici_sir_db": round(sir_db(power), 2)}
        for name, power in found.items()
        if power >= NOTICED
    }
    return {"interference": rows} if rows else {}


def pilot_filters(
    csi: str,
    names: Sequence[str],
    fadings: Sequence[GridFading | Recorded],
    propagation: Propagation,
    grid: ResourceGrid,
) -> list[PilotFilter | None]:
    """What a receiver that estimates the channel from pilots knows of each channel of a grid; None for one that is told.

    csi ls: how large the mean square error of interpolation is in the fading itself, a recording included; lmmse: the
    covariance of the fading itself; robust: the cyclic prefix, and the Doppler of the propagation's speed.
    Errors: ValueError for lmmse on a recording, whose covariance is not known.
    """
    if csi == "perfect" or not names:
        return [None] * len(names)
    if csi == "ls":
        return [phy.ls_filter(grid, channels.waveforms(fading)) for fading in fadings]
    if csi == "robust":
        robust = phy.robust_filter(grid, float(receiver_label(csi, propagation)["max_doppler"]))
        return [robust] * len(names)
    filters = []
    for name, fading in zip(names, fadings, strict=True):
        if not isinstance(fading, GridFading):
            raise ValueError(
                f"csi lmmse needs the covariance of the channel, which {name} does not have: take robust"
            )
        filters.append(phy.lmmse_filter(grid, *covariance(fading)))
    return list(phy.pad_filters(filters))


def receiver_label(csi: str, propagation: Propagation) -> dict[str, str | float]:
    """What a point says of its receiver; a robust one has assumed a Doppler, whatever the channel has."""
    if csi != "robust":
        return {"csi": csi}
    top = doppler_of_speed(propagation.speed, propagation.carrier_frequency)
    return {"csi": csi, "max_doppler": round(float(top), 6)}


def channel_identity(name: str, propagation: Propagation) -> dict[str, str | float]:
    """The name and the propagation that matters to it: what distinguishes one channel from another in a result.

    A recording goes by its name and a fingerprint of its contents, wherever the file lies and whatever it is called.
    """
    if name.startswith(RECORDED):
        recording = recording_of(name)
        return {"channel": f"{RECORDED}{recording.name}@{recording.digest}"}
    used = asdict(propagation)
    del used["allow_ici"]  # a permission changes no draw
    if name not in TDL_MODELS:
        used = {"k_db": propagation.k_db} if name.startswith("rician") else {}
    else:
        del used["k_db"]
    return {"channel": name, **used}


def check_soft(names: Sequence[str]) -> None:
    """Errors: ValueError for a channel that has no noise variance to make soft bits of."""
    for name in names:
        spoken = dialect_of(name)
        if spoken and dialect(spoken).gain == "real":
            raise ValueError(
                f"{name} has no noise variance that soft bits could be made of: leave the code out"
            )


def dialect_convention(names: Sequence[str]) -> dict[str, str]:
    """What a run's `conventions` say of the dialects of its channels; nothing where all are of the textbook."""
    spoken = sorted({dialect_of(name) or "textbook" for name in names})
    return {"dialect": ", ".join(spoken)} if spoken not in ([], ["textbook"]) else {}


def textbook_row(row: Mapping) -> dict:
    """A row of a run with the channel and the SNR that the textbook has for it; rows of the textbook as they are.

    Errors: ValueError for a dialect that no shift turns into a textbook channel, and for an analogue system behind a
    receiver that does not equalise, whose quality is another.
    """
    name = dialect_of(str(row["channel"]))
    if name is None:
        return dict(row)
    if row["modulation"] == "analogue" and dialect(name).receiver == "none" and dialect(name).gain != "none":
        raise ValueError(
            f"an analogue system meets gains in {name} that nobody takes off: no shift says what the textbook has"
        )
    shift, law = label_shift_db(name), dialect(name).law
    shifted = {axis: round(row[axis] + shift, 6) for axis in ("esno_db", "ebno_db") if axis in row}
    factor = {"k_db": RICIAN_K_DB} if str(law).startswith("rician") else {}
    return {**row, "channel": law, **shifted, **factor, "dialect": name}


def identities(names: Sequence[str], propagation: Propagation) -> tuple[str, ...]:
    """The channels of a sweep as its points call them, for its config."""
    return tuple(str(channel_identity(name, propagation)["channel"]) for name in names)
