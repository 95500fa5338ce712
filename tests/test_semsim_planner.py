"""What a plan promises is what the run then does."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import SwinConfig
from semsim import cli, devices, error_counts, error_rates, image_runs, planner, simulation
from semsim.data import ImageSet, from_array
from semsim.devices import Execution
from semsim.engine import execute
from semsim.memory import live_bytes
from semsim.planner import plan
from semsim.systems import SYSTEMS


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
        assert program.seconds and program.memory > 0
    low, high = found.seconds() or (0, 0)
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


def test_a_large_program_is_planned_from_its_shapes(monkeypatch, capsys):
    """Nothing is compiled: one photograph through a large net takes minutes, the plan seconds."""
    monkeypatch.setattr(planner, "LARGE", 0)
    devices.evaluate.clear_cache()
    assert cli.main(["ber", "--ebno-db", "0", "--plan", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] is None and found["programs"][0]["seconds"] is None
    assert found["programs"][0]["memory"] > 0 and found["points"] == 1
    assert cli.main(["ber", "--ebno-db", "0", "--plan"]) == 0
    assert "time unknown" in capsys.readouterr().out.replace("\n", " ")
    assert devices.evaluate._cache_size() == 0


def test_images_of_mixed_sizes_are_a_program_for_each_padded_size(monkeypatch):
    """Three sizes that two sizes hold: at two points, each image is a batch of one of the two programs."""
    monkeypatch.setattr(planner, "LARGE", 0)
    images = np.empty(5, object)
    for place, size in enumerate([(16, 16), (21, 27), (24, 32), (15, 13), (24, 32)]):
        images[place] = np.zeros((*size, 3), np.uint8)
    codec = SYSTEMS["stsc"].build(SwinConfig((8, 8), (1, 1), (2, 2), 2, channels=4), 0)
    sweep = simulation.sweep(
        "stsc", ImageSet("mixed", images, tuple("abcde"), ""), "analogue", "awgn", (0.0, 9.0), codec=codec
    )
    found = plan(sweep, Execution()).programs
    assert sorted((one.points, one.fewest, one.most) for one in found) == [(2, 4, 4), (2, 6, 6)]


def test_memory_of_shapes_counts_what_lives_at_once():
    """By hand, in rows of 100 numbers of 4 bytes: x stays for the last line, and what a loop makes stays while it runs."""

    def chain(x):
        return jnp.exp(jnp.sin(jnp.cos(x)))

    def kept(x):
        first = jnp.cos(x)
        return jnp.exp(jnp.sin(first)) + first

    def loop(x):
        return jax.lax.map(kept, x)

    for function, shape, rows in ((chain, (100,), 2), (kept, (100,), 3), (loop, (10, 100), 12)):
        program = jax.make_jaxpr(function)(jnp.zeros(shape))
        assert live_bytes(program) == 4 * 100 * rows


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
