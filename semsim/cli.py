"""`semsim`: answers signals first, then loads what the commands need, and runs one."""

import os
import sys
from collections.abc import Sequence

from semsim.signals import STATUS, end_while_loading, ending_in_time

BROKEN_PIPE = 141
"""Exit status where the reader of stdout has gone, as `head` does: what a shell says of a process that SIGPIPE ends."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Exit status 0, 2 for the user's mistakes (one line on stderr), 130 after Ctrl-C or SIGTERM.

    arguments: of the command; None: those of the process, which is this command and nothing else.
    """
    if arguments is not None:
        return _run(arguments)
    end_while_loading()
    status = _run(sys.argv[1:])
    if status == STATUS:  # what is still under way on the devices would hold the process up
        _leave(status)
    return status


def _run(arguments: Sequence[str]) -> int:
    from semsim.command_line import run  # loads JAX and all the rest

    with ending_in_time():
        try:
            status = run(list(arguments))
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python says so once more at its exit
            return BROKEN_PIPE
        except KeyboardInterrupt:  # it came between two of the handlers below
            return STATUS
    return status


def _leave(status: int) -> None:
    """Ends this process without the rest of Python's exit; a process of a distributed job tells the others in it."""
    import jax

    if jax.process_count() > 1:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
