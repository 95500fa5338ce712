"""The engine: joins a source, a codec, the PHY and a channel into a link, and runs it a million times.

import semsim
semsim.ber(["qam16"], ["awgn", "tdl-a"], range(0, 13, 2)).rows()
semsim.run("ujscc", semsim.data.load("embedded", limit=64), ["qam16"], ["tdl-a"], [12.0]).rows()

The public names are those of `semsim.api`. They are loaded when the first of them is asked for: JAX takes seconds, and the
command line must be able to answer Ctrl-C before that.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semsim.api import *  # noqa: F403 (the table, for type checkers and editors)

    __version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version as version  # slow to import

        return version("semsim-jax")
    if not name.startswith("_"):
        if find_spec(f"semsim.{name}") is not None:
            return import_module(f"semsim.{name}")
        public = vars(import_module("semsim.api"))
        if name in public:
            return public[name]
    raise AttributeError(f"module 'semsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    public = vars(import_module("semsim.api"))
    return sorted({*globals(), *(name for name in public if not name.startswith("_")), "__version__"})
