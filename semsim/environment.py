"""What a result may depend on beside its settings: versions, devices and the state of the code."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

PACKAGES = ("semsim", "channels", "phy", "models")


def environment() -> dict[str, object]:
    """What a result may depend on: versions, devices and the state of the code."""
    return {
        "versions": {
            name: _version(name) for name in ("semsim-jax", "jax", "jaxlib", "flax", "numpy", "scipy")
        },
        "python": platform.python_version(),
        "devices": [str(device) for device in jax.devices()],
        "git": _git_state(),
        "code": _code(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _code() -> str:
    """A fingerprint of the sources that results come from, installed or not."""
    found = hashlib.sha256()
    root = Path(__file__).parents[1]
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            found.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _git_state() -> str | None:
    """Commit of the source tree, with "+" if it was changed; None outside a checkout of this project."""
    root = Path(__file__).parents[1]
    if not os.path.exists(root / ".git"):  # unlike Path.exists, False also where one may not look
        return None
    commit, changes = (
        _git(root, "rev-parse", "--short", "HEAD"),
        _git(root, "status", "--porcelain", "--", *PACKAGES),
    )
    return f"{commit}{'+' if changes else ''}" if commit else None


def _git(root: Path, *words: str) -> str | None:
    """What a git command prints; None if it fails."""
    try:
        found = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
