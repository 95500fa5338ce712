"""Whether a run may be continued: the settings it was made with against those at hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

IGNORED = (
    "environment.devices",
    "environment.python",
    "environment.git",
    "arguments",
    "history",
    "title",
    "weights.checkpoint",
    "propagation.allow_ici",
    "interference",
)
"""Results do not depend on these; weights are known by their checksum, wherever their file is; interference follows from
propagation and grid."""
SAFE = ("environment", "stop", "modulation", "channel", "ebno_db", "esno_db", "frames", "schemes")
"""Batches made under other values of these stay valid: other code, another rule when to stop, more or fewer points."""


def check_same(folder: Path, before: Mapping, now: Mapping, force: bool) -> bool:
    """Whether the config changes, by settings that `force` allowed.

    Errors: ValueError that lists what differs: without `force` at any difference, with it at one that is not SAFE.
    """
    found = differences(before, now)
    if not found:
        return False
    unsafe = {name: pair for name, pair in found.items() if not _within(name, SAFE)}
    if force and not unsafe:
        return True
    said = "; ".join(
        f"{name} {_short(old)} -> {_short(new)}" for name, (old, new) in (unsafe or found).items()
    )
    remedy = (
        "its batches would not fit together: choose another folder"
        if unsafe
        else "give the same settings, or add --force-config to go on with the new ones"
    )
    raise ValueError(f"{folder} was made with other settings ({said}): {remedy}")


def differences(before: Mapping, now: Mapping) -> dict[str, tuple[Any, Any]]:
    """Dotted name -> (before, now) for every setting that differs and matters."""
    old, new = _flat(before), _flat(now)
    return {
        name: (old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name) and not _within(name, IGNORED)
    }


def _flat(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
