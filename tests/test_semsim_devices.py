"""One answer on any number of devices: measured on 8 CPU devices, in a process of its own that is this file as a script.

Other numbers of devices are the first n of the 8; `test_semsim_distributed.py` compares processes that have one and two.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import semsim
from models import UJSCCConfig
from phy import ResourceGrid
from semsim import devices, error_rates, processes, simulation
from semsim.data import from_array
from semsim.devices import Evaluator, Execution, Kernel, Work, block_key, evaluate
from semsim.processes import agreed, any_process, refuse_together, unanimous
from semsim.sweep import GENERATORS, draw_words
from semsim.systems import ujscc

GRID = ResourceGrid(6, 16, 8, subcarrier_spacing=60e3, pilot_ofdm_symbol_indices=(1, 4))
BATCHES = (0, 1, 2)
TOLERANCE = 1e-6
"""How far a real number of one realisation may move. Measured: 5e-8, of an SSIM, when a device works on several blocks at
once; 0 otherwise, and 0 for any number of devices."""
PORTIONS = {
    "flat": ((1, 1), (2, 1), (4, 1), (8, 1), (3, 4)),
    "grid": ((1, 1), (8, 1), (3, 4)),
    "images": ((1, 1), (8, 1), (3, 2)),
    "rare": ((1, 1), (3, 2)),
}
"""Devices, and blocks at once on each; 3 x 4 and 3 x 2 divide neither the 32 blocks of a batch nor the 8 of images."""


def some_work(name: str, generator: str = GENERATORS[0]) -> Work:
    if name == "images":
        codec = ujscc.build(UJSCCConfig(image_size=16, width=8, encoder_blocks=1, decoder_blocks=1))
        images = from_array(np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), np.uint8))
        options = {"codec": codec, "grid": GRID, "csi": "ls", "generator": generator}
        sweep = simulation.sweep("ujscc", images, "auto", "tdl-a", [12.0], **options)
    elif name == "rare":
        sweep = error_rates.sweep("qam16", "awgn", [16.0], importance=True, generator=generator)
    else:
        where = {"channel": "rayleigh-block", "demap": "app"}
        if name == "grid":
            where = {"channel": "tdl-a", "csi": "ls", "grid": GRID}
        sweep = error_rates.sweep("qam16", ebno_db=[6.0], generator=generator, **where)
    return sweep.jobs[0].work


def results(work: Work, devices: int, width: int) -> list[np.ndarray]:
    """The arrays of all batches, one after the other."""
    evaluator = Evaluator(Execution(devices, width * work.kernel.realizations))
    found = [jax.tree.leaves(values) for _, values in evaluator.batches(work, BATCHES)]
    return [np.concatenate(leaves) for leaves in zip(*found, strict=True)]


def measure() -> dict[str, list]:
    """For every portion how far each array is from that of one device, one block at once; and what sweeps compile."""
    found: dict[str, list] = {}
    for name, portions in PORTIONS.items():
        work = some_work(name)
        alone, *others = (results(work, *portion) for portion in portions)
        assert all(np.ptp(values) > 0 for values in alone)  # there is something to differ in
        found[name] = [
            [
                (str(a.dtype), int(np.sum(a != b)), float(np.max(np.abs(a - b))))
                for a, b in zip(alone, other, strict=True)
            ]
            for other in others
        ]
    flat, grid = ("awgn", "rayleigh-block", "rician-block"), ("tdl-a", "tdl-d")
    known = evaluate._cache_size()
    options = {"max_bits": 1.0, "execution": Execution(devices=8)}
    semsim.ber(("bpsk", "qam16", "qam256"), flat, [0, 5, 10], **options)
    semsim.ber(("bpsk", "qam16", "qam256"), grid, [0, 5, 10], grid=GRID, **options)
    found["compiled"] = [evaluate._cache_size() - known]
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu", "JAX_NUMPY_RANK_PROMOTION": "raise", "XLA_FLAGS": "",
        "PYTHONPATH": str(Path(semsim.__file__).parents[1]), "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", PORTIONS)
def test_counts_are_the_same_on_any_number_of_devices_and_in_any_portions(measured, name):
    for portion, arrays in zip(PORTIONS[name][1:], measured[name], strict=True):
        for dtype, differing, furthest in arrays:
            assert furthest <= TOLERANCE, portion
            assert differing == 0 or dtype.startswith("float"), portion


def test_a_sweep_compiles_one_program_for_each_kind_of_channel(measured):
    """3 modulations x 3 SNRs over 3 flat channels, and over 2 on the grid."""
    assert measured["compiled"] == [2]


@pytest.mark.parametrize(
    "values, message",
    [
        ({"devices": 0}, "devices must be at least 1; got 0"),
        ({"batch": 0}, "batch must be auto or at least 1 realisation; got 0"),
    ],
)
def test_impossible_portions_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Execution(**values)


def test_more_devices_than_there_are():
    with pytest.raises(
        ValueError, match=f"devices must be at most {jax.device_count()}, as many as there are; got 4096"
    ):
        Evaluator(Execution(devices=4096))


def out_of_memory(*arguments, **options):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.")


def test_a_device_that_runs_out_of_memory_gets_half_as_much(monkeypatch):
    work, widths = some_work("flat"), []
    wanted = results(work, 1, 1)

    def small(*arguments, width, **options):
        widths.append(width)
        return out_of_memory() if width > 2 else evaluate(*arguments, width=width, **options)

    monkeypatch.setattr(small, "trace", evaluate.trace, raising=False)
    monkeypatch.setattr(devices, "evaluate", small)
    found = results(work, 1, 8)
    assert widths == [8, 8, 4, 4, 2, 2, 2]  # two calls are under way when the first is found to have failed
    for before, after in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_block_that_does_not_fit_is_the_users_to_change(monkeypatch):
    monkeypatch.setattr(out_of_memory, "trace", evaluate.trace, raising=False)
    monkeypatch.setattr(devices, "evaluate", out_of_memory)
    with pytest.raises(
        ValueError, match="a block of 64 realisations does not fit into the memory of .*smaller grid"
    ):
        results(some_work("flat"), 1, 1)


def test_another_failure_is_not_taken_for_a_lack_of_memory(monkeypatch):
    def broken(*arguments, **options):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(broken, "trace", evaluate.trace, raising=False)
    monkeypatch.setattr(devices, "evaluate", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        results(some_work("flat"), 1, 1)


@dataclass(frozen=True)
class Keys(Kernel):
    """What each block is given: its key."""

    realizations: int = 1

    def __call__(self, key, mapped, shared):
        return jax.random.key_data(key)[None]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_every_block_of_every_batch_has_the_key_of_its_numbers(batch):
    """Two blocks of one key would be the same draws counted twice."""
    words = draw_words(7, 5)
    work = Work(Keys(), 6, words, GENERATORS[0], (), lambda number: ())
    found = dict(Evaluator(Execution(batch=batch)).batches(work, [4, 0, 9]))
    wanted = {
        number: [
            jax.random.key_data(block_key(jnp.asarray(words), jnp.asarray([number, block], jnp.uint32)))
            for block in range(6)
        ]
        for number in (4, 0, 9)
    }
    for number, keys in wanted.items():
        np.testing.assert_array_equal(found[number][:, 0], np.stack(keys))
    assert len({tuple(row) for keys in found.values() for row in keys[:, 0].tolist()}) == 18


@dataclass(frozen=True)
class Parts(Kernel):
    """Draws of a block, all in a call or three at a time."""

    draws: int
    whole: bool
    realizations: int = 1

    def __call__(self, key, mapped, shared):
        return self._draws(key, jnp.arange(self.draws))

    @property
    def pieces(self):
        return 1 if self.whole else -(-self.draws // 3)

    def piece(self, key, mapped, shared, number):
        return self._draws(key, 3 * number + jnp.arange(3))

    def join(self, found):
        return np.concatenate(found, axis=2)[:, :, : self.draws]

    def _draws(self, key, numbers):
        return jax.vmap(lambda draw: jax.random.bits(jax.random.fold_in(key, draw)))(numbers)[None]


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_a_batch_in_pieces_is_the_batch(batch, monkeypatch):
    def found(whole):
        work = Work(Parts(7, whole), 4, draw_words(7, 5), GENERATORS[0], (), lambda number: ())
        return list(Evaluator(Execution(2, batch)).batches(work, [3, 0, 1, 2]))

    wanted = found(True)
    for failing in (None, 2, 3, 5):  # a call that finds no memory, in the middle of a batch
        calls = []

        def sometimes(*arguments, width, failing=failing, calls=calls, **named):
            calls.append(width)
            if len(calls) == failing and width > 1:
                return out_of_memory()
            return evaluate(*arguments, width=width, **named)

        monkeypatch.setattr(sometimes, "trace", evaluate.trace, raising=False)
        monkeypatch.setattr(devices, "evaluate", sometimes)
        for (number, left), (other, right) in zip(wanted, found(False), strict=True):
            assert number == other
            np.testing.assert_array_equal(left, right)


def test_what_one_process_refuses_all_do(monkeypatch):
    """Else the others would wait for it in the next call that they share."""

    def refuse():
        raise ValueError("too much here")

    refuse_together(lambda: None, "too much there")
    with pytest.raises(ValueError, match="too much here"):
        refuse_together(refuse, "too much there")
    told: list[bool] = []
    monkeypatch.setattr(processes, "any_process", lambda flag: told.append(flag) or True)
    with pytest.raises(ValueError, match="too much there"):
        refuse_together(lambda: None, "too much there")
    with pytest.raises(ValueError, match="too much here"):
        refuse_together(refuse, "too much there")
    assert told == [False, True]
    work, evaluator = some_work("flat"), Evaluator(Execution(1))
    with pytest.raises(ValueError, match="another process of this job has too little memory: take smaller"):
        evaluator.width(work)
    with pytest.raises(ValueError, match="another process of this job"):
        evaluator.outline(work)


@pytest.mark.parametrize("generator", GENERATORS)
def test_one_process_agrees_with_itself_and_a_generator_repeats_itself(generator):
    assert agreed({"a": [1, 2]}) == {"a": [1, 2]} and unanimous(1)
    assert any_process(True) and not any_process(False)
    once, again = (results(some_work("grid", generator), 1, 1) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


if __name__ == "__main__":
    print(json.dumps(measure()))
