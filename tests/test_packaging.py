"""The four packages as a user imports them: whose they are, what they may import, what importing them does."""

import ast
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import channels
import models
import phy
import semsim

ROOT = Path(__file__).parents[1]
PACKAGES = {module.__name__: Path(str(module.__file__)).parent for module in (semsim, channels, phy, models)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# What each layer may import of this project, and from outside the standard library: dependencies follow the layers.
# semsim's own outside imports are the declared dependencies.
SIBLINGS = {"semsim": {"channels", "phy", "models"}, "channels": set(), "phy": set(), "models": set()}
OUTSIDE = {
    "channels": {"jax", "jaxtyping", "numpy"},
    "phy": {"jax", "jaxtyping", "numpy"},
    "models": {"flax", "jax", "jaxtyping", "numpy"},
}


def imported(package: Path) -> dict[str, set[str]]:
    """Top-level names that the files below `package` import, each with the files that do."""
    names: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name}:{node.lineno}: imports are absolute in this house"
                found = [str(node.module)]
            else:
                continue
            for name in found:
                names.setdefault(name.partition(".")[0], set()).add(path.name)
    return names


def elsewhere(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter from another folder, with the same packages on its path."""
    path = os.pathsep.join(dict.fromkeys(str(package.parent) for package in PACKAGES.values()))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_four_packages_share_one_parent() -> None:
    parents = {package.parent for package in PACKAGES.values()}
    assert len(parents) == 1, f"a foreign distribution owns one of our names: {parents}"


def test_the_wheel_lists_the_four_packages() -> None:
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed_and_has_a_public_table(package: str) -> None:
    folder = PACKAGES[package]
    assert (folder / "py.typed").is_file()
    init = ast.parse((folder / "__init__.py").read_text())
    assert ast.get_docstring(init), f"{package} does not say what it is"
    table = folder / ("api.py" if package == "semsim" else "__init__.py")
    for node in ast.walk(ast.parse(table.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.asname == alias.name for alias in node.names), (
                f"{table}:{node.lineno}: the table says `import name as name`"
            )


LAZY = """
import sys
import semsim.cli
assert not {"jax", "numpy", "tyro", "semsim.api"} & set(sys.modules), "the command line cannot answer Ctrl-C yet"
from semsim import error_rates, plot
assert "semsim.api" not in sys.modules
import semsim
assert semsim.plot is plot and semsim.ber is error_rates.ber and {"ber", "plot", "__version__"} <= set(dir(semsim))
assert semsim.compare.__name__ == "compare"
assert semsim.__version__ == semsim.environment.environment()["versions"]["semsim-jax"]
try:
    semsim.nothing
except AttributeError as error:
    assert "no attribute 'nothing'" in str(error)
else:
    raise AssertionError
"""


def test_public_names_are_loaded_when_they_are_asked_for(tmp_path: Path) -> None:
    done = elsewhere(LAZY, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_layers(package: str) -> None:
    found = imported(PACKAGES[package])
    ours = {name: files for name, files in found.items() if name in PACKAGES and name != package}
    assert set(ours) <= SIBLINGS[package], f"{package} reaches out of its layer: {ours}"


@pytest.mark.parametrize("package", OUTSIDE)
def test_dependencies_follow_the_layers(package: str) -> None:
    found = imported(PACKAGES[package])
    outside = {
        name: files for name, files in found.items() if name not in sys.stdlib_module_names | set(PACKAGES)
    }
    assert set(outside) <= OUTSIDE[package], f"{package} needs more than it may: {outside}"


ALREADY_THERE = {"IPython"}
"""Imported only where it runs the show: a notebook has it, and nothing is to be installed for its sake."""
EXTRAS = {"sionna"}
"""Imported only where a user asks for it, with an error that names the extra."""


def test_every_outside_import_is_declared() -> None:
    distributions = importlib.metadata.packages_distributions()
    declared = {requirement.partition(">=")[0].lower() for requirement in PROJECT["project"]["dependencies"]}
    for package in PACKAGES.values():
        for name, files in imported(package).items():
            if name in sys.stdlib_module_names or name in PACKAGES or name in ALREADY_THERE:
                continue
            if name in EXTRAS:
                assert name in PROJECT["project"]["optional-dependencies"]
                continue
            owners = {owner.lower().replace("_", "-") for owner in distributions.get(name, [])}
            assert owners & declared, (
                f"{name}, imported by {sorted(files)}, is in no dependency of pyproject.toml"
            )


def test_no_dependency_owns_one_of_our_names() -> None:
    distributions = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        owners = set(distributions.get(package, [])) - {PROJECT["project"]["name"]}
        assert not owners, (
            f"{package} is also installed by {owners}; use an environment for this project alone"
        )


def test_tests_are_flat() -> None:
    """pytest would take tests/phy as the package phy, and the suite would die at collection."""
    tests = ROOT / "tests"
    assert not list(tests.rglob("__init__.py"))
    assert not [package for package in PACKAGES if (tests / package).exists()]
    assert not [path for path in tests.rglob("test_*.py") if path.parent != tests]


def test_changelog_speaks_of_this_version() -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## [")]
    assert headings[0].startswith(("## [Unreleased]", f"## [{PROJECT['project']['version']}]"))


def test_importing_is_silent_and_starts_no_backend(tmp_path: Path) -> None:
    """`jax.distributed` comes before the first computation, so an import may compute nothing; no backend exists here."""
    result = elsewhere("import semsim, channels, phy, models", tmp_path, JAX_PLATFORMS="no_such_backend")
    assert result.returncode == 0, result.stderr
    assert result.stdout == result.stderr == ""
    assert not list(tmp_path.iterdir())


def test_command_answers_from_another_folder(tmp_path: Path) -> None:
    """Calls what the installed script calls; .ci/run calls the script itself, from the wheel."""
    module, _, function = PROJECT["project"]["scripts"]["semsim"].partition(":")
    code = f"import sys; sys.argv = ['semsim', '--help']; from {module} import {function}; {function}()"
    result = elsewhere(code, tmp_path)
    assert result.returncode == 0, result.stderr
    for command in ("ber", "run", "train", "data", "plot", "info", "demo"):
        assert command in result.stdout
    assert not list(tmp_path.iterdir())
