"""Recorded impulse responses: what a file has, and whether it can be a channel.

The file is an `.npz` with
    gains      complex [n, t, taps], or [n, rx, tx, t, taps]: n records, t snapshots each
    delays     float [taps], or [n, taps]: seconds
    time_step  float []: seconds from one snapshot to the next; may be missing when t = 1, a response at rest
    metadata   str []: JSON object; "name" goes into results, everything else is for the reader; may be missing

A receiver follows the first arrival: of the delays of a record only the differences count.
"""

import functools
import hashlib
import json
import lzma
import math
import re
import secrets
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from channels.npz import member

LARGEST = 2**30
"""Bytes of an array in a file: 9 million responses of 15 taps."""
MEMBERS = {"gains": LARGEST, "delays": LARGEST, "time_step": 2**10, "metadata": 2**20}
"""What is read of a file, and bytes of each at most."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Impulse responses as a file has them. Errors: ValueError, one line, for arrays that cannot be a channel."""

    gains: np.ndarray  # [n, t, taps] or [n, rx, tx, t, taps] complex64
    delays: np.ndarray  # [taps] or [n, taps] float64, s; only differences count
    time_step: float = 0.0  # s between snapshots; 0: one snapshot
    name: str = "recording"
    metadata: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        gains, delays = np.asarray(self.gains), np.asarray(self.delays)
        if gains.dtype.kind != "c" or gains.ndim not in (3, 5) or 0 in gains.shape:
            raise ValueError(
                "gains must be complex [record, time, tap] or [record, rx, tx, time, tap], no axis empty;"
                f" got {gains.dtype} of shape {gains.shape}"
            )
        records, taps = gains.shape[0], gains.shape[-1]
        if delays.dtype.kind not in "fiu" or delays.shape not in ((taps,), (records, taps)):
            raise ValueError(
                f"delays must be real, seconds, of shape {(taps,)} or {(records, taps)} to fit gains {gains.shape};"
                f" got {delays.dtype} of shape {delays.shape}"
            )
        if gains.shape[1:-2] == (1, 1):
            gains = gains[:, 0, 0]
        object.__setattr__(self, "gains", gains.astype(np.complex64))
        object.__setattr__(self, "delays", delays.astype(np.float64))
        good = np.isfinite(self.gains).all(axis=tuple(range(1, gains.ndim)))
        good &= np.isfinite(self.delays).all(axis=-1)
        if not good.all():
            raise ValueError(
                f"{np.sum(~good)} of {records} records are not finite, the first is number {np.argmin(good)}: leave them out"
            )
        if not np.any(self.gains):
            raise ValueError("all gains are zero: a channel without power cannot be normalised")
        if not (math.isfinite(self.time_step) and self.time_step >= 0):
            raise ValueError(f"time_step must be a finite number of seconds >= 0; got {self.time_step}")
        if gains.shape[-2] > 1 and not self.time_step:
            raise ValueError(
                f"{gains.shape[-2]} snapshots a record need a time_step, the seconds from one to the next"
            )
        if not re.fullmatch(r"[\w.+-]+", self.name):
            raise ValueError(
                f"the name of a recording must be letters, digits and . + - _ only; got {self.name!r}"
            )

    @property
    def antennas(self) -> tuple[int, ...]:
        """(rx, tx), or () for one antenna each."""
        return self.gains.shape[1:-2]

    @functools.cached_property
    def digest(self) -> str:
        """A fingerprint of the numbers, whatever file they came from and however that one is compressed."""
        found = hashlib.sha256(json.dumps([self.gains.shape, self.delays.shape, self.time_step]).encode())
        found.update(np.ascontiguousarray(self.gains).tobytes())
        found.update(np.ascontiguousarray(self.delays).tobytes())
        return found.hexdigest()[:12]

    @functools.cached_property
    def arrivals(self) -> Float[np.ndarray, "n taps"] | Float[np.ndarray, "1 taps"]:
        """Delays after the first tap with power of each record, s; 0 for taps without. One row where all agree."""
        present = np.any(self.gains, axis=tuple(range(1, self.gains.ndim - 1)))
        first = np.min(np.where(present, self.delays, np.inf), axis=-1, keepdims=True)
        after = np.where(present, self.delays - first, 0.0)
        return after[:1] if np.all(after == after[:1]) else after

    @property
    def longest(self) -> float:
        """The longest response of all records, first to last arrival, s."""
        return float(np.max(self.arrivals))


def load_recording(path: Path) -> Recording:
    """The recording in an `.npz` file, of which only the four arrays above are read.

    Errors: ValueError, one line that names the file and what is wrong with it, also for arrays of more than `LARGEST` bytes
    and for those whose header declares another size than they have.
    """
    try:
        if path.exists() and not path.is_file():  # a device has no end
            raise ValueError("it is no file")
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            known = {name.removesuffix(".npy") for name in archive.namelist()}
            arrays = {name: member(archive, name, most) for name, most in MEMBERS.items() if name in known}
    except FileNotFoundError:
        raise ValueError(
            f"there is no recording {path}: `semsim record` makes one from a channel model"
        ) from None
    except (
        OSError, ValueError, EOFError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
    ) as error:  # fmt: skip
        raise ValueError(f"{path} cannot be read as an .npz of plain arrays: {error}") from None
    missing = [name for name in ("gains", "delays") if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} has no array {' and no '.join(missing)}: a recording needs gains [n, (rx, tx,) t, taps] and delays"
        )
    try:
        metadata = json.loads(str(arrays["metadata"])) if "metadata" in arrays else {}
        if not isinstance(metadata, dict):
            raise ValueError(f"metadata must be a JSON object; got {metadata!r}")
        step = np.asarray(arrays.get("time_step", 0.0), np.float64)
        if step.size != 1:
            raise ValueError(f"time_step must be one number of seconds; got shape {step.shape}")
        name = str(metadata.pop("name", "recording"))
        return Recording(arrays["gains"], arrays["delays"], float(step.reshape(())), name, metadata)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None


def save_recording(path: Path, recording: Recording) -> Path:
    """Writes the `.npz` that `load_recording` reads; a file of that name is replaced only by a complete one."""
    text = json.dumps({"name": recording.name, **recording.metadata}, sort_keys=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(
                file, gains=recording.gains, delays=recording.delays, time_step=recording.time_step, metadata=text
            )  # fmt: skip
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
