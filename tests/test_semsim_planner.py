"""What a plan promises is what the run then does."""

import json

import numpy as np
import pytest

from semsim import cli, devices, error_counts, error_rates, image_runs, simulation
from semsim.data import from_array
from semsim.devices import Execution
from semsim.engine import execute
from semsim.planner import plan


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in {"FLAT_BLOCK": 8, "FLAT_SYMBOLS": 64, "GRID_BLOCK": 2, "BLOCKS": 4}.items():
        monkeypatch.setattr(error_counts, name, value)


def batches(run):
    return [len(run.batches(point)) for point, _ in run.points]


def test_the_programs_of_a_plan_are_the_compilations_of_the_run():
    sweep = error_rates.sweep(("qpsk", "qam16"), ("awgn", "rayleigh-block", "tdl-a"), (0.0, 5.0), max_bits=1)
    devices.evaluate.clear_cache()
    found = plan(sweep, Execution())
    assert (found.points, len(found.programs)) == (12, 2)
    assert [program.what for program in found.programs] == ["awgn, rayleigh-block", "tdl-a"]
    assert devices.evaluate._cache_size() == 2
    execute(sweep, Execution())
    assert devices.evaluate._cache_size() == 2
    for program in found.programs:
        assert program.seconds > 0 and program.memory > 0
    low, high = found.seconds()
    assert 0 < low <= high


def test_theory_foretells_how_many_batches_a_point_needs():
    """BER 0.1 to 1e-3 in batches of 4096 bits, 300 errors: within a look of the run, which is 25 % apart."""
    sweep = error_rates.sweep("qpsk", "awgn", (0.0, 4.0, 6.8), min_errors=300)
    (program,) = plan(sweep, Execution()).programs
    assert program.fewest == program.most
    done = sum(batches(execute(sweep, Execution())))
    assert done / 1.6 < program.fewest < 1.6 * done and done > 50


def test_where_theory_is_silent_the_plan_gives_a_range_that_holds():
    sweep = error_rates.sweep("qpsk", "tdl-a", (0.0, 10.0), min_errors=2000, max_bits=1e5)
    (program,) = plan(sweep, Execution()).programs
    done = sum(batches(execute(sweep, Execution())))
    assert program.fewest == 2 <= done <= program.most


def test_images_without_a_rule_are_all_sent(monkeypatch):
    monkeypatch.setattr(image_runs, "BLOCK", 2)
    monkeypatch.setattr(image_runs, "BLOCKS", 2)
    images = from_array(np.zeros((9, 32, 32, 3), np.uint8))
    sweep = simulation.sweep("ujscc", images, "qpsk", "awgn", (0.0, 9.0))
    (program,) = plan(sweep, Execution()).programs
    assert (program.fewest, program.most, program.realizations) == (6, 6, 4)


def test_the_command_prints_the_plan_and_simulates_nothing(capsys, tmp_path):
    out = tmp_path / "run"
    arguments = ["ber", "--channel", "awgn", "tdl-a", "--ebno-db", "0:4:2", "--plan", "--out", str(out)]
    assert cli.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["points"], found["compilations"]) == (6, 2) and found["devices"] >= 1
    assert {"fewest", "most", "memory", "seconds"} <= found["programs"][0].keys()
    assert cli.main(arguments) == 0
    assert "6 points, 2 compilations" in capsys.readouterr().out
    assert not out.exists()


def test_bursts_of_block_fading_are_a_range_too():
    """One deep fade makes hundreds of errors; how many fades a point needs, theory does not say."""
    sweep = error_rates.sweep("qam16", "rayleigh-block", [25.0], max_bits=1e6, total_bits=1e7)
    found = plan(sweep, Execution())
    assert found.total == 1e7 and found.programs[0].fewest == 1
    done = sum(
        batches(execute(error_rates.sweep("qam16", "rayleigh-block", [25.0], max_bits=1e6), Execution()))
    )
    assert 1 < done <= found.programs[0].most
