"""Options that a run folder keeps, so that `--resume RUN` need not repeat them: those that define the result, no others.

A run folder may come from somebody else. What it can ask for is what the command's own signature lists beside its `job`:
never devices, processes to connect to, folders to write, nor whether to force.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro

from semsim.runs import read_config

EXECUTION = "job"
"""The parameter of a command that holds what results do not depend on."""
MOST = 1_000
"""Words that a run folder may hold: the longest option is a list of SNRs."""


def option_names(command: Callable[..., None]) -> frozenset[str]:
    """Names of all options of a command, such as `ebno-db` and `grid.fft-size`; what it takes without a name is none."""
    return frozenset(_all_options(command))


def result_options(command: Callable[..., None]) -> frozenset[str]:
    """Names of the options of a command that define its result, such as `ebno-db` and `grid.fft-size`."""
    return frozenset(name for name, (_, defining) in _all_options(command).items() if defining)


def kept(arguments: Sequence[str], command: Callable[..., None]) -> list[str]:
    """The words of a command line without those of options that define no result: what a run folder keeps of it."""
    known = _all_options(command)
    found, dropped = (
        list(arguments[:1]),
        0.0,
    )  # dropped: words of an option that are still to come and left out
    for word in arguments[1:]:
        if word.startswith("-") and not _is_value(word):
            name, equals, _ = word.removeprefix("--").replace("_", "-").partition("=")
            kind = known.get(name) or known.get(name.removeprefix("no-"))
            values, defining = kind or (math.inf, False)
            dropped = 0 if equals else 0 if defining else values
            if defining and word.startswith("--"):
                found.append(word)
        elif dropped:
            dropped -= 1
        else:
            found.append(word)
    return found


def with_saved(arguments: Sequence[str], commands: Mapping[str, Callable[..., None]]) -> list[str]:
    """The arguments of the command that made the run in front of those of `--resume RUN`, which win.

    commands: those that make runs. Errors: ValueError for a folder without a run, with one of another command or of
    Python, or whose words are none.
    """
    words = [
        word
        for argument in arguments
        for word in (argument.split("=", 1) if argument.startswith("--") else (argument,))
    ]
    if not arguments or arguments[0] not in commands or "--resume" not in words[:-1]:
        return list(arguments)
    command, folder = commands[arguments[0]], Path(words[words.index("--resume") + 1])
    config = read_config(folder)
    if config.get("command") != arguments[0]:
        raise ValueError(
            f"{folder} was made by `semsim {config.get('command')}`: resume it with that command"
        )
    given = list(arguments[1:])
    named = given[:1] if not given[0].startswith("-") else []  # the system, said again
    rest = given[len(named) :]
    if not config.get("arguments"):
        if len(kept(["", *rest], command)) > 1:
            return list(arguments)
        raise ValueError(
            f"{folder} was made from Python: resume it there with resume=True, or repeat its options here"
        )
    saved = kept(_words(config["arguments"], folder), command)[1:]
    if named and saved and not saved[0].startswith("-"):
        saved = saved[1:]
    return [arguments[0], *named, *saved, *rest]


def _words(value: Any, folder: Path) -> list[str]:
    good = isinstance(value, list) and len(value) <= MOST and all(isinstance(word, str) for word in value)
    if not good:
        raise ValueError(
            f"{folder}: the arguments in config.json are no command line: repeat the options here"
        )
    return value


def _all_options(command: Callable[..., None]) -> dict[str, tuple[float, bool]]:
    """Of each option how many words follow it (only told where it defines no result), and whether it defines the result."""
    hints = get_type_hints(command, include_extras=True)
    return {
        option: (0 if kind is bool else 1, name != EXECUTION)
        for name in inspect.signature(command).parameters
        if tyro.conf.Positional not in get_args(hints[name])
        for option, kind in _options(name, hints[name])
    }


def _options(name: str, hint: Any) -> list[tuple[str, Any]]:
    """The options that a parameter becomes, with their types: one, or those of the fields of a dataclass, with its name in
    front unless it has an empty one."""
    extras: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        extras = tuple(rest)
    named = next((extra.name for extra in extras if getattr(extra, "name", None)), name)
    if not dataclasses.is_dataclass(hint):
        return [] if tyro.conf.Suppress in extras else [(named.replace("_", "-"), hint)]
    inner = get_type_hints(hint, include_extras=True)
    flat = any(getattr(extra, "name", None) == "" for extra in extras)
    front = "" if flat else name.replace("_", "-") + "."
    fields = [field.name for field in dataclasses.fields(hint) if field.init]
    return [(front + option, kind) for field in fields for option, kind in _options(field, inner[field])]


def _is_value(word: str) -> bool:
    """Whether a word with a dash is a number or a range, such as -2:2:2."""
    return word[1:2].isdigit() or word[1:2] == "."
