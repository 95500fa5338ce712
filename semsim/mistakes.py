"""A user's mistake as one line: what the parser says in a frame, and what the library says of its arguments, in the words
that were typed."""

import difflib
import re
from collections.abc import Callable, Collection, Sequence

from semsim.names import check_name
from semsim.saved_options import option_names

_RULE = re.compile("[─-]{8,}")
_FRAME = re.compile(r"(?m)^\s*[╭╰│|+][─-]?|[╮╯│|+]\s*$")
_KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a text"}


def said_by_parser(text: str, arguments: Sequence[str], command: Callable[..., None] | None) -> str:
    """One line from a frame of tyro's: a title, what is wrong, and help for the option.

    command: the one that was asked for; None for none. What is not known here is handed on without its frame.
    """
    parts = [" ".join(_FRAME.sub(" ", part).split()) for part in _RULE.split(text)]
    title, message, *rest = (*parts, "", "")
    name = f"semsim {arguments[0]}" if command else "semsim"
    if title.startswith("Unrecognized"):
        words = _left_over(message)
        near = _nearest(words, option_names(command) if command else ())
        return f"Unrecognized options: {' '.join(words)}{near}; see {name} --help"
    if found := re.match(r"Missing value for argument '(\S+)'", message):
        return f"{found[1]} needs a value; see {name} --help"
    if found := re.match(r"Missing from (.*?): (.*)", message):
        missing = re.findall(r"(?<!\S)(?:--\S+ )?[A-Z]{3,}(?!\S)", found[2])
        return f"{found[1]} lacks {' '.join(missing) or found[2]}; see {name} --help"
    if found := re.match(r"invalid choice '(.*)' for argument '(\S+)'. Expected one of \((.*)\)", message):
        return _unknown(found[2], found[1], re.findall(r"'([^']*)'", found[3]))
    if found := re.match(r"Error parsing (--\S+): (.*)", message):
        takes = re.search(rf"{re.escape(found[1])} ([A-Z{{\[]\S*)", " ".join(rest))
        given = re.findall(r"\[?'([^']*)'\]?", found[2].partition("Got errors")[0])
        if takes and given:
            return f"{found[1]} takes {_kind(takes[1])}; got {given[-1]!r}"
    return re.sub(r"^Error parsing __tyro-dummy-inner__[.\w]*: ", "", message or title)


def in_options(text: str, command: Callable[..., None]) -> str:
    """What the library says of its arguments, with the names of the command's options in their place.

    Words with an underscore, which no prose has, wherever they are; others where the message begins with them.
    """
    for option in option_names(command):
        name = option.rpartition(".")[2].replace("-", "_")
        where = r"(?<![\w./'\"-])" if "_" in name else "^"
        end = r"(?![\w/'\"]|\.\w)" if "_" in name else r"(?= |=)"
        text = re.sub(f"{where}{re.escape(name)}{end}", f"--{option}", text)
    return re.sub(r"^(--\S+?)=", r"\1 ", text)


def _left_over(message: str) -> list[str]:
    """The words that no option took: a list with commas, or each with the command that it was applied to."""
    if applied := re.findall(r"(\S+) \(applied to ", message):
        return applied
    return message.partition(": ")[2].replace(", ", " ").split()


def _nearest(words: Sequence[str], known: Collection[str]) -> str:
    wrong = next((word for word in words if word.startswith("--")), "")
    near = difflib.get_close_matches(wrong.removeprefix("--").replace("_", "-"), known, n=1) if wrong else []
    return f"; did you mean --{near[0]}?" if near else ""


def _unknown(option: str, given: str, choices: Sequence[str]) -> str:
    try:
        return check_name(option, given, choices)
    except ValueError as error:
        return str(error)


def _kind(metavar: str) -> str:
    """`{None}|INT`, as the parser shows a type, in words."""
    several = metavar.startswith("[")
    kinds = [kind for kind in metavar.strip("[]").split("|") if kind != "{None}"]
    told = " or ".join(_KINDS.get(kind, kind.strip("{}").replace(",", " or ")) for kind in kinds)
    return f"one or more of: {told}" if several else told
