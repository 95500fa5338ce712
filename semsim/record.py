"""Records channel models as impulse responses that `--channel recorded:FILE` replays.

CDL, UMi and UMa come from Sionna (extra `sionna`, on PyTorch), which is asked once and not needed for the replay. The TDL
models are recorded from our own fading, without it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from channels import TDL_MODELS, complex_normal, recorded_ici_power, tdl, tdl_profile
from channels.recording import Recording, save_recording
from phy import ResourceGrid
from semsim.interference import check_ici
from semsim.names import check_name
from semsim.scenario import Propagation, check_interference
from semsim.sweep import check_seed

CDL_MODELS = ("cdl-a", "cdl-b", "cdl-c", "cdl-d", "cdl-e")
URBAN_MODELS = ("umi", "uma")
RECORDABLE = (*TDL_MODELS, *CDL_MODELS, *URBAN_MODELS)

_AT_ONCE = 64  # records that Sionna computes at a time: a gigabyte for UMa with many antennas


@dataclass(frozen=True)
class Session:
    """What is recorded: so many records of so many snapshots, `time_step` seconds apart, between so many antennas.

    Errors: ValueError for numbers that make no recording.
    """

    records: int
    snapshots: int
    time_step: float
    num_rx: int = 1
    num_tx: int = 1

    def __post_init__(self) -> None:
        for name in ("records", "snapshots", "num_rx", "num_tx"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if not 0 < self.time_step < math.inf:
            raise ValueError(f"time_step must be a positive number of seconds; got {self.time_step}")


def record(
    model: str,
    out: Path,
    grid: ResourceGrid,
    *,
    records: int = 1000,
    num_rx: int = 1,
    num_tx: int = 1,
    max_delay: float | None = None,
    propagation: Propagation | None = None,
    seed: int = 0,
) -> Recording:
    """Records a channel model at the symbols of a grid, and writes `out`, an `.npz`.

    model: one of RECORDABLE. Antennas are half a wavelength apart in a row, vertically polarised and omnidirectional. CDL
    scales its delays to `propagation.delay_spread`; UMi and UMa bring their own, one user a record dropped anew into a
    sector, without path loss and shadowing. max_delay: records that last longer than so many seconds are left out and
    counted in the metadata, so that the others fit a cyclic prefix; what is left is a selection.
    Warns of a channel too fast for the subcarriers of the grid (`semsim.interference`).
    Errors: ValueError for an unknown model, impossible numbers, interference that is not allowed, a Sionna that is not
    installed, no record left.
    """
    check_name("model to record", model, RECORDABLE)
    if max_delay is not None and not 0 < max_delay < math.inf:
        raise ValueError(f"max_delay must be a positive number of seconds; got {max_delay:g}")
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent} to write {out.name} into: make it first")
    propagation = propagation or Propagation()
    times = grid.times
    snapshots = len(times) if propagation.speed > 0 and len(times) > 1 else 1
    step = float(times[1] - times[0]) if snapshots > 1 else 1 / grid.subcarrier_spacing
    session = Session(records, snapshots, step, num_rx, num_tx)
    capture = record_tdl if model in TDL_MODELS else record_sionna
    if model in TDL_MODELS:
        check_interference(model, propagation, grid)
    found = capture(model, session, propagation, check_seed(seed))
    if model not in TDL_MODELS:
        power, spacing = recorded_ici_power(found, 1 / grid.subcarrier_spacing), grid.subcarrier_spacing
        check_ici(model, power, spacing, propagation.allow_ici)
    if max_delay is not None:
        found = shorter(found, max_delay)
    save_recording(out, found)
    return found


def shorter(recording: Recording, max_delay: float) -> Recording:
    """The records that last no longer than `max_delay` seconds. Errors: ValueError if none does."""
    lasting = np.broadcast_to(np.max(recording.arrivals, axis=-1), len(recording.gains))
    kept = lasting <= max_delay
    if not kept.any():
        raise ValueError(
            f"all records last longer than {max_delay * 1e6:g} us, the shortest {lasting.min() * 1e6:.2f} us: allow more"
        )
    note = {**recording.metadata, "max_delay": max_delay, "left_out": int(np.sum(~kept))}
    delays = recording.delays if recording.delays.ndim == 1 else recording.delays[kept]
    return Recording(recording.gains[kept], delays, recording.time_step, recording.name, note)


def record_tdl(model: str, session: Session, propagation: Propagation, seed: int) -> Recording:
    """A TDL model of TR 38.901 clause 7.7.2, tap by tap; antenna pairs fade independently of each other."""
    profile = tdl_profile(model, propagation.delay_spread)
    times = np.arange(session.snapshots) * session.time_step
    # At one frequency the grid's fading is the process of every tap: its factor over time, and the line of sight.
    process = tdl(
        model, delay_spread=0.0, carrier_frequency=propagation.carrier_frequency, speed=propagation.speed,
        frequencies=np.zeros(1), times=times,
    )  # fmt: skip
    factor, los = np.asarray(process.time_factor, np.float64), np.asarray(process.los, np.complex128)[:, 0]
    pairs = (session.records, session.num_rx, session.num_tx)
    key_scattered, key_phase = jax.random.split(jax.random.key(seed))
    drawn = complex_normal(key_scattered, (*pairs, factor.shape[1], len(profile.delays)))
    gains = factor @ (np.asarray(drawn) * np.sqrt(profile.scattered))
    delays = profile.delays
    if profile.specular:
        phase = np.asarray(jax.random.uniform(key_phase, (*pairs, 1, 1), maxval=2 * math.pi))
        gains = np.concatenate([np.exp(1j * phase) * los[:, None], gains], axis=-1)
        delays = np.append(0.0, delays)
    return Recording(gains, delays, session.time_step, model, _note(session, propagation, seed, "semsim"))


def record_sionna(model: str, session: Session, propagation: Propagation, seed: int) -> Recording:
    """CDL-A to E, UMi or UMa of TR 38.901 as Sionna computes them; downlink. Errors: ValueError without Sionna."""
    try:
        import sionna  # pyright: ignore[reportMissingImports]
        from sionna.phy import config  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            f"recording {model} needs Sionna: pip install 'semsim-jax[sionna]', or record one of {', '.join(TDL_MODELS)}"
        ) from None
    config.seed = seed
    capture = (
        _cdl(model, session, propagation) if model in CDL_MODELS else _urban(model, session, propagation)
    )
    parts = []
    for start in range(0, session.records, _AT_ONCE):
        gains, delays = capture(min(_AT_ONCE, session.records - start))
        # [b, 1, rx, 1, tx, paths, time] and [b, 1, 1, paths] there
        parts.append((np.moveaxis(gains.numpy()[:, 0, :, 0], -1, -2), delays.numpy()[:, 0, 0]))
    gains = np.concatenate([gains for gains, _ in parts])
    delays = np.concatenate([np.where(np.isfinite(delays), delays, 0.0) for _, delays in parts])
    if np.all(delays == delays[:1]):
        delays = delays[0]
    note = _note(session, propagation, seed, f"sionna {sionna.__version__}")
    return Recording(gains, delays, session.time_step, model, note)


def _cdl(model: str, session: Session, propagation: Propagation) -> Callable[[int], Any]:
    from sionna.phy.channel.tr38901 import CDL  # pyright: ignore[reportMissingImports]

    channel = CDL(
        model[-1].upper(), propagation.delay_spread, propagation.carrier_frequency,
        ut_array=_array(session.num_rx, propagation), bs_array=_array(session.num_tx, propagation),
        direction="downlink", min_speed=propagation.speed, max_speed=propagation.speed,
    )  # fmt: skip
    return lambda count: channel(count, session.snapshots, 1 / session.time_step)


def _urban(model: str, session: Session, propagation: Propagation) -> Callable[[int], Any]:
    from sionna.phy.channel import gen_single_sector_topology  # pyright: ignore[reportMissingImports]
    from sionna.phy.channel.tr38901 import UMa, UMi  # pyright: ignore[reportMissingImports]

    def capture(count: int) -> Any:
        # A channel is for one number of users: the last part may have fewer.
        channel = {"umi": UMi, "uma": UMa}[model](
            carrier_frequency=propagation.carrier_frequency, o2i_model="low", direction="downlink",
            ut_array=_array(session.num_rx, propagation), bs_array=_array(session.num_tx, propagation),
            enable_pathloss=False, enable_shadow_fading=False,
        )  # fmt: skip
        speed = propagation.speed
        drop = gen_single_sector_topology(count, 1, model, min_ut_velocity=speed, max_ut_velocity=speed)
        channel.set_topology(*drop)
        return channel(session.snapshots, 1 / session.time_step)

    return capture


def _array(count: int, propagation: Propagation) -> Any:
    from sionna.phy.channel.tr38901 import PanelArray  # pyright: ignore[reportMissingImports]

    return PanelArray(
        num_rows_per_panel=1, num_cols_per_panel=count, polarization="single", polarization_type="V",
        antenna_pattern="omni", carrier_frequency=propagation.carrier_frequency,
    )  # fmt: skip


def _note(session: Session, propagation: Propagation, seed: int, source: str) -> dict[str, object]:
    """What a reader of the file wants to know."""
    return {
        "source": source, "seed": seed, "delay_spread": propagation.delay_spread, "speed": propagation.speed,
        "carrier_frequency": propagation.carrier_frequency, "antennas": [session.num_rx, session.num_tx],
    }  # fmt: skip
