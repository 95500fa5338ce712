"""The command line: arguments in, exit status out. `semsim.cli` is where a process starts."""

import functools
import io
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import tyro

import channels
import models
import phy
import semsim
from semsim import commands, comparison_commands, image_commands, weights_commands
from semsim.backend import prepare
from semsim.jobs import Job
from semsim.mistakes import in_options, said_by_parser
from semsim.names import check_name
from semsim.saved_options import kept, with_saved
from semsim.signals import STATUS
from semsim.terminal import warnings_said

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": commands.demo, "ber": commands.ber, "run": image_commands.run, "compare": comparison_commands.compare,
    "plot": comparison_commands.plot_runs, "record": commands.record, "train": weights_commands.train,
    "calibrate": weights_commands.calibrate, "import": weights_commands.import_weights,
    "data": commands.data, "info": commands.info,
}  # fmt: skip


RUNS = {name: COMMANDS[name] for name in ("ber", "run")}
"""The commands that make runs, which can be resumed."""


def run(arguments: Sequence[str]) -> int:
    """Runs a command. Exit status 0, 2 for the user's mistakes (one line on stderr), 130 after Ctrl-C or SIGTERM.

    Errors: BrokenPipeError where nobody reads what it prints.
    """
    if arguments == ["--version"]:
        print(f"semsim {semsim.__version__}")
        return 0
    prepare()
    arguments = arguments or ["--help"]
    try:
        if not arguments[0].startswith("-"):
            check_name("command", arguments[0], tuple(COMMANDS))
        _check_paths(arguments)
        command = _parse(with_saved(arguments, RUNS))
        with warnings_said():
            command()
    except (ValueError, FloatingPointError) as error:
        if not _is_ours(error):
            raise
        asked = COMMANDS.get(arguments[0])
        said = in_options(str(error), asked) if asked else str(error)
        print(f"semsim: {_one_line(said)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.strerror is None:
            raise
        said = f"{error.strerror}: {error.filename}; what was finished before is kept"
        print(f"semsim: {_one_line(said)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("semsim: stopped", file=sys.stderr)
        return STATUS
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    return 0


def _check_paths(arguments: Sequence[str]) -> None:
    """Errors: ValueError for an empty path, as of a shell variable that is not set: it would mean the current folder."""
    for word, following in zip(arguments, [*arguments[1:], None], strict=True):
        if word in ("--out=", "--resume=") or (word in ("--out", "--resume") and following == ""):
            raise ValueError(f"{word.rstrip('=')} is empty: name a folder or a file")


def _one_line(text: str) -> str:
    """Without line ends and without what would move the cursor: parts of a message may come from a file."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def _is_ours(error: BaseException) -> bool:
    """Whether this project raised the error: what a library raises is a bug of ours, and wants its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    packages = {Path(str(module.__file__)).parent for module in (semsim, phy, channels, models)}
    return any(package in Path(frames[-1].filename).parents for package in packages)


def _parse(arguments: Sequence[str]) -> Callable[[], None]:
    """The command asked for, with its arguments bound. Errors: ValueError with what the parser says, as one line."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _deferred(command, arguments) for name, command in COMMANDS.items()}, prog="semsim", args=arguments,
                description="Link-level simulation of semantic communication: images, codecs, modulations, channels.",
            )  # fmt: skip
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(said_by_parser(said.getvalue(), arguments, COMMANDS.get(arguments[0]))) from None


def _deferred(command: Callable[..., None], arguments: Sequence[str]) -> Callable[..., Callable[[], None]]:
    """The command as a function of the same signature that binds its arguments and does not run yet."""

    @functools.wraps(command)
    def bind(*values: object, **named: object) -> Callable[[], None]:
        if isinstance(job := named.get("job"), Job):
            named["job"] = replace(job, arguments=tuple(kept(arguments, command)))
        return functools.partial(command, *values, **named)

    return bind
