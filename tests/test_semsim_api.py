"""The public table: what `import semsim` gives, and that its help says what every argument is."""

import inspect
import re
import subprocess
import sys

import pytest

import semsim
from semsim import api


def test_names_are_there_after_a_bare_import():
    code = "import semsim; print(semsim.__version__, semsim.plot.__name__, semsim.separation.run.__name__)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+ semsim.plot run\n", out)
    with pytest.raises(AttributeError, match="module 'semsim' has no attribute 'bear'"):
        _ = semsim.bear


@pytest.mark.parametrize("function", [semsim.ber, semsim.run])
def test_help_has_every_argument_with_its_default(function):
    """As "name:" where it must be given, else as "name = default", whose value is that of the signature."""
    text = inspect.getdoc(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            assert re.search(rf"\b{name}: ", text), name
            continue
        (said,) = set(re.findall(rf"\b{name} = ([^\s,:]+)", text))
        default = parameter.default
        if said in ("GRID", "silent"):
            assert said == "GRID" or default.__name__ == said
        else:
            value = eval(said, {**vars(api), "__builtins__": {}})
            assert value == default, name
