"""Every notebook runs from top to bottom, at the small size that SEMSIM_SMOKE=1 asks for."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import phy

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
HANGS = 1800
"""Seconds after which a cell, or the start of a kernel, is taken to hang; says nothing of speed."""


def test_there_are_notebooks() -> None:
    """An empty list would pass the test below without running anything."""
    assert NOTEBOOKS, f"no notebook in {FOLDER}"


# The client and the kernel are not ours, and this test judges neither's warnings.
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMSIM_SMOKE", "1")
    # The kernel works in an empty folder, so that what a notebook writes stays out of the tree; and it imports the
    # packages that the tests import, installed or not.
    packages = str(Path(str(phy.__file__)).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [packages, os.environ.get("PYTHONPATH")])))
    notebook = nbformat.read(path, as_version=4)
    assert any(cell.cell_type == "code" for cell in notebook.cells), f"{path.name} has no code"
    client = NotebookClient(
        notebook,
        timeout=HANGS,
        startup_timeout=HANGS,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
