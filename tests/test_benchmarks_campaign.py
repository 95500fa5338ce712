"""`benchmarks/campaign.py`: its jobs exist, its plan adds up, and a toy list is stopped, goes on, and leaves its weights."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import load_file

from semsim import cli, weights_commands
from semsim.checkpoint import named_arrays, read_metadata
from semsim.recipe import Recipe, Recipes
from semsim.systems import SYSTEMS, deepjscc

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("campaign", BENCHMARKS / "campaign.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plan_has_every_job_and_adds_up(campaign, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(campaign, "TRAININGS", (("deepjscc", "cbr1/12", 0.25), ("deepjscc", "cbr1/3", None)))
    monkeypatch.setattr(
        campaign,
        "MEASUREMENTS",
        (*campaign.MEASUREMENTS[:2], campaign.Job("absent", "", (), None, module="no_such_module")),
    )
    assert campaign.main(["--plan", "--out", str(tmp_path / "run")]) == 0
    left_out, _, *lines, total = capsys.readouterr().out.splitlines()
    assert left_out == "absent: left out, no_such_module is not installed"
    assert [line.split()[0] for line in lines] == [
        "deepjscc", "deepjscc-cbr1_3", "accelerator_check", "link_speed",
    ]  # fmt: skip
    numbers = sum(array.size for array in named_arrays(deepjscc.build()).values())
    assert lines[0].split()[-2:] == ["0.25", f"{30 * numbers / 1e6:.1f}"] and "not timed" in lines[1]
    assert "3 of 4 were not timed" in total and "0.25" in total.split()
    assert not (tmp_path / "run").exists()


def test_every_training_with_its_sizes_and_every_script_with_its_options_exists(campaign):
    jobs = {job.name: job for job in campaign.jobs()}
    assert {job.arguments[1] for job in jobs.values() if job.trains} == set(SYSTEMS) - {"fssc"}  # by rounds
    shared = (BENCHMARKS / "_common.py").read_text()
    for job in jobs.values():
        assert set(job.needs) <= jobs.keys()
        if not job.trains:
            text = (BENCHMARKS / job.arguments[0]).read_text()
            options = [word for word in job.arguments if word.startswith("--")]
            assert all(f'"{word}"' in text + shared or 'f"--{name}"' in text for word in options), job.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "ujsc"], "no job ujsc; there are toy, after"),
        (["--jobs", "0"], "--jobs is at least 1; got 0"),
        (["--only", "after"], "after needs toy: add it"),
    ],
)
def test_mistakes_are_told_in_a_line(campaign, toy, capsys, tmp_path, words, message):
    with pytest.raises(SystemExit, match="2"):
        campaign.main([*words, "--out", str(tmp_path / "run")])
    assert message in capsys.readouterr().err


@pytest.fixture
def toy(campaign, monkeypatch, tmp_path):
    """One training of two steps, and a job after it; data of its own."""
    recipe = Recipe(steps=2, batch=4, warmup=1, log_every=1, checkpoint_every=1)
    tiny = replace(SYSTEMS["deepjscc"], recipes=Recipes(recipe, replace(recipe, batch=6)))
    monkeypatch.setitem(SYSTEMS, "deepjscc", tiny)
    first = campaign._training("deepjscc", "cbr1/12", 0.5)._replace(name="toy")
    after = campaign.Job("after", "needs it", ("costs.py",), None, needs=("toy",))
    monkeypatch.setattr(campaign, "jobs", lambda: [first, after])
    pixels = np.random.default_rng(5).integers(0, 256, (1006, 32, 32, 3), np.uint8)
    np.savez(
        tmp_path / "data.npz", train_images=pixels, train_labels=np.zeros(1006, np.uint8), test_images=pixels[:1],
        test_labels=np.zeros(1, np.uint8),
    )  # fmt: skip
    return ["--only", "toy", "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "run")]


def test_a_toy_list_is_stopped_goes_on_and_leaves_its_weights(campaign, toy, monkeypatch, tmp_path, capsys):
    ran: list[list[str]] = []

    def here(tasks, out, jobs, environment):
        """The list in this process; `tests/test_benchmarks_tasks.py` has the real one."""
        assert environment == {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45"} and jobs == 2
        for task in tasks:
            folder = out / task.name
            folder.mkdir(exist_ok=True)
            ran.append(list(task.command(folder)))
            assert ran[-1][1:3] == ["-m", "semsim.cli"]
            if cli.main(ran[-1][3:]):
                return [task.name]
            task.finish(folder)
            (folder / "done.json").write_text(json.dumps({"seconds": 1.0}))
        return []

    def stopped(*arguments, **options):
        def report(line):
            if line.get("step") == 1:
                raise KeyboardInterrupt

        return real(*arguments, **{**options, "report": report})

    real = weights_commands.train_system
    monkeypatch.setattr(campaign, "run_tasks", here)
    monkeypatch.setattr(weights_commands, "train_system", stopped)
    assert campaign.main([*toy, "--jobs", "2"]) == 1
    monkeypatch.setattr(weights_commands, "train_system", real)
    capsys.readouterr()
    assert campaign.main([*toy, "--jobs", "2"]) == 0
    assert [words[-1] == "--resume" for words in ran] == [False, True]
    weights = tmp_path / "run" / "weights"
    assert {path.name for path in weights.iterdir()} == {
        "toy.safetensors",
        "toy.log.jsonl",
        "toy.recipe.json",
    }
    known = read_metadata(weights / "toy.safetensors")
    assert (known["step"], known["stored"]) == (2, "float16")
    assert {str(array.dtype) for array in load_file(weights / "toy.safetensors").values()} == {"float16"}
    assert json.loads((weights / "toy.recipe.json").read_text())["batch"] == 6
    header, line, other = (
        text.split("\t") for text in (tmp_path / "run" / "summary.txt").read_text().splitlines()
    )
    found = dict(zip(header, line, strict=True))
    assert (found["job"], found["state"], found["steps"]) == ("toy", "done", "2") and other[1] == "missing"
    last = json.loads((weights / "toy.log.jsonl").read_text().splitlines()[-1])
    assert found["last PSNR in training, dB"] == str(last["psnr"])
