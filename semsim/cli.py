"""The command line: arguments in, exit status out."""

import functools
import io
import re
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
from semsim import commands, image_commands
from semsim.backend import prepare
from semsim.jobs import Job
from semsim.runs import read_config

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": commands.demo, "ber": commands.ber, "run": image_commands.run, "compare": commands.compare,
    "plot": commands.plot_runs, "record": commands.record, "train": commands.train,
    "import": commands.import_weights,
    "data": commands.data, "info": commands.info,
}  # fmt: skip


ATTEMPT = {
    "--resume": 1, "--force-config": 0, "--devices": 1, "--batch": 1, "--distributed": 0, "--coordinator": 1,
    "--num-processes": 1, "--process-id": 1,
}  # fmt: skip
"""Options of one attempt at a run, and how many values each has; `--resume` does not repeat them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Exit status 0, 2 for the user's mistakes (one line on stderr), 130 after Ctrl-C."""
    prepare()
    try:
        _parse(_with_saved(sys.argv[1:] if arguments is None else list(arguments)))()
    except (ValueError, FloatingPointError) as error:
        if not _is_ours(error):
            raise
        print(f"semsim: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.strerror is None:
            raise
        print(
            f"semsim: {error.strerror}: {error.filename}; what was finished before is kept", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("semsim: stopped", file=sys.stderr)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    return 0


def _is_ours(error: BaseException) -> bool:
    """Whether this project raised the error: what a library raises is a bug of ours, and wants its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    packages = {Path(str(module.__file__)).parent for module in (semsim, phy, channels, models)}
    return any(package in Path(frames[-1].filename).parents for package in packages)


def _with_saved(arguments: list[str]) -> list[str]:
    """The arguments of the command that made the run in front of those of `--resume RUN`, which win.

    Errors: ValueError for a folder without a run, or with one of another command.
    """
    words = [word for argument in arguments for word in argument.split("=", 1)]
    if arguments[:1] not in (["ber"], ["run"]) or "--resume" not in words[:-1]:
        return arguments
    folder = Path(words[words.index("--resume") + 1])
    config = read_config(folder)
    if config.get("command") != arguments[0]:
        raise ValueError(
            f"{folder} was made by `semsim {config.get('command')}`: resume it with that command"
        )
    given = arguments[1:]
    named = given[:1] if not given[0].startswith("-") else []  # the system, said again
    if not config.get("arguments"):
        if _lasting(given[len(named) :]):
            return arguments
        raise ValueError(
            f"{folder} was made from Python: resume it there with resume=True, or repeat its options here"
        )
    saved = config["arguments"][1:]
    if named and saved and not saved[0].startswith("-"):
        saved = saved[1:]
    return [arguments[0], *named, *saved, *given[len(named) :]]


def _lasting(arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments without those that belong to one attempt: where it ran and how it went on."""
    found, values = [], 0  # values: arguments of a dropped option that are still to come
    for word in arguments:
        name = word.split("=", 1)[0].replace("_", "-").replace("--no-", "--")
        if word.startswith("--") and name in ATTEMPT:
            values = 0 if "=" in word else ATTEMPT[name]
        elif values:
            values -= 1
        else:
            found.append(word)
    return tuple(found)


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
        words = re.sub("[╭╮╰╯│─]|Error parsing __tyro-dummy-inner__[.\\w]*: ", " ", said.getvalue())
        raise ValueError(" ".join(words.split())) from None


def _deferred(command: Callable[..., None], arguments: Sequence[str]) -> Callable[..., Callable[[], None]]:
    """The command as a function of the same signature that binds its arguments and does not run yet."""

    @functools.wraps(command)
    def bind(*values: object, **named: object) -> Callable[[], None]:
        if isinstance(job := named.get("job"), Job):
            named["job"] = replace(job, arguments=_lasting(arguments))
        return functools.partial(command, *values, **named)

    return bind


if __name__ == "__main__":
    sys.exit(main())
