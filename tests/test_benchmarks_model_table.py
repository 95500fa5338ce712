"""docs/models.md is what the script makes of the files that ship; these say truly how they were made."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open

from semsim.checkpoint import read_metadata

SIZES = {"deepjscc_third": "cbr1/3"}
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "model_table.py"


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_table", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arrays(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def test_the_page_is_that_of_the_files_that_ship(table: ModuleType) -> None:
    results = json.loads(table.RESULTS.read_text())
    page = table.page(results)
    assert table.PAGE.read_text() == page, "python benchmarks/model_table.py --page"
    lines = {line.split("`")[1]: line.split(" | ") for line in page.splitlines() if line.startswith("| `")}
    assert {f"{name}.safetensors" for name in lines} == {
        path.name for path in table.models()[0].path.parent.glob("*.safetensors")
    }
    for model in table.models():
        numbers = sum(array.size for array in arrays(model.path).values())
        codec = nnx.eval_shape(lambda model=model: model.system.fresh(SIZES.get(model.file)))
        statistics = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(codec, nnx.BatchStat)))
        assert lines[model.file][1] == f"{numbers - statistics:,}", model.file
        assert lines[model.file][2] == f"{model.path.stat().st_size:,}"


def test_headers_name_a_recipe_that_exists_and_is_the_one_they_tell(table: ModuleType) -> None:
    for model in table.models():
        known: Any = read_metadata(model.path)
        training = known["training"]
        assert training["recipe"] == asdict(model.system.recipes.named(training["recipe"]["name"])), (
            model.file
        )
        assert (known["system"], known["step"]) == (model.system.name, training["recipe"]["steps"])
        assert (training["source"], training["images"], known["stored"]) == ("cifar10", 49_000, "float16")
        if model.system.as_bits is not None:
            assert known["usage"] == {"source": "cifar10", "images": 5_000}
            usage = arrays(model.path)["quantizer.count"]
            np.testing.assert_allclose(usage.sum(axis=1), 1, atol=1e-5)


def test_figures_of_another_file_are_refused(table: ModuleType) -> None:
    model = table.models()[0]
    with pytest.raises(ValueError, match="ujscc is not the file that was measured"):
        table.row(model, {"sha256": "0" * 16, "psnr": []})
