"""The loop: interrupted between batches, short of memory, shared with others, in memory and on disk."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semsim import cli, devices, engine, error_counts, error_rates
from semsim.claims import Claims
from semsim.devices import Evaluator, Execution, Kernel, Stopped, Work
from semsim.engine import Job, Sweep, execute, silent, simulate
from semsim.runs import RunWriter, load_run
from semsim.signals import asked_to_stop
from semsim.stopping import Stop
from semsim.sweep import DEFAULT_GENERATOR, count_sums, draw_words


@dataclass(frozen=True)
class Coins(Kernel):
    realizations: int = 8
    scale: int = 1  # another one, another program

    def __call__(self, key, mapped, rate):
        coins = jax.random.uniform(key, (self.realizations, 16)) < rate
        return self.scale * jnp.sum(coins, axis=1, dtype=jnp.int32)


def job(number, rate=0.2, kernel=Coins(), budget=12, blocks=4, hook=None):  # noqa: B008 (frozen)
    def sums(batch, found):
        if hook is not None:
            hook(number, batch)
        return {"ber": count_sums(found, 16)}, {"ber": found.sum(axis=1).tolist()}

    point = {"modulation": "bpsk", "channel": "awgn", "esno_db": float(number)}
    work = Work(kernel, blocks, draw_words(5, number), DEFAULT_GENERATOR, np.float32(rate), lambda batch: ())
    return Job(point, f"{number} dB", "awgn", work, budget, 10**6, sums)


STOP = Stop("ber", 12 * 4 * 8 * 16, min_errors=10**6)


def sweep(jobs, stop=STOP):
    return Sweep(jobs, stop, {"seed": 5, "stop": stop.as_dict()})


def made(jobs=None, out=None, execution=Execution(), **named):  # noqa: B008 (frozen)
    return execute(sweep(jobs or [job(0), job(1)]), execution, out, **named)


def counts(run):
    return {
        (point["esno_db"], number): (batch.sums, np.asarray(batch.parts["ber"]).tolist())
        for point, _ in run.points
        for number, batch in run.batches(point).items()
    }


@pytest.fixture(scope="module")
def whole():
    found = counts(made())
    assert len(found) == 24
    return found


def test_on_disk_as_in_memory(whole, tmp_path):
    assert counts(made(out=tmp_path / "run")) == counts(load_run(tmp_path / "run")) == whole
    assert sorted(path.suffix for path in (tmp_path / "run").iterdir()) == [".json", ".jsonl"]


@pytest.mark.parametrize("batch", [1, 8, 9, 24, 32, 100, 999_999])
def test_portions_change_no_count(whole, batch):
    assert counts(made(execution=Execution(batch=batch))) == whole


def test_progress_counts_points(tmp_path):
    seen = []
    made(progress=lambda *said: seen.append(said))
    assert seen == [("0 dB", 0, 2), ("1 dB", 1, 2), ("", 2, 2)]


def test_devices_that_are_not_there_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"devices must be at most \d+, as many as there are; got 999"):
        made(out=tmp_path / "run", execution=Execution(devices=999))
    assert not (tmp_path / "run").exists()
    for wrong in ({"devices": 0}, {"batch": 0}, {"batch": -3}):
        with pytest.raises(ValueError, match="at least 1"):
            Execution(**wrong)


# Memory.


@pytest.fixture
def short_of_memory(monkeypatch):
    """Calls of more than `most` blocks at once on a device fail; what widths were tried."""
    tried, evaluate = [], devices.evaluate

    def limit(most, late=False):
        def limited(*arguments, width, **named):
            tried.append(width)
            if width > most:
                error = jax.errors.JaxRuntimeError(
                    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7 bytes."
                )
                if late:
                    return Late(error)
                raise error
            return evaluate(*arguments, width=width, **named)

        monkeypatch.setattr(limited, "trace", evaluate.trace, raising=False)
        monkeypatch.setattr(devices, "evaluate", limited)
        return tried

    return limit


class Late:
    """A result that fails when it is read, as those of a device do."""

    def __init__(self, error):
        self.error = error

    def __array__(self, *_, **__):
        raise self.error


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("most", [1, 2, 3, 5, 8, 63])
def test_out_of_memory_halves_and_goes_on_with_the_same_counts(
    whole, short_of_memory, monkeypatch, most, late
):
    tried = short_of_memory(most, late)
    get = jax.device_get

    def read(tree):
        if isinstance(tree, Late):
            raise tree.error
        return get(tree)

    monkeypatch.setattr(jax, "device_get", read)
    assert counts(made(execution=Execution(batch=8 * 64))) == whole
    # A call under way fails with the one before it; then it goes down, and stays there, over points too.
    assert list(dict.fromkeys(tried)) == [64 >> i for i in range(7) if i == 0 or 64 >> (i - 1) > most]
    assert sorted(tried, reverse=True) == tried


def test_out_of_memory_of_a_single_block_is_said(short_of_memory):
    short_of_memory(0)
    with pytest.raises(
        ValueError, match="a block of 8 realisations does not fit into the memory of .*: use a smaller"
    ):
        made(execution=Execution(batch=32))


def test_out_of_memory_in_the_middle_keeps_and_repeats_nothing(whole, monkeypatch, tmp_path):
    """The fifth call fails, with others before it read and one behind it under way."""
    evaluate, calls = devices.evaluate, []

    def sometimes(*arguments, width, **named):
        calls.append(width)
        if len(calls) in (5, 6) and width > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 1 GiB")
        return evaluate(*arguments, width=width, **named)

    monkeypatch.setattr(sometimes, "trace", evaluate.trace, raising=False)
    monkeypatch.setattr(devices, "evaluate", sometimes)
    assert counts(made(out=tmp_path / "run", execution=Execution(batch=16))) == whole
    assert sum(path.read_text().count("\n") for path in (tmp_path / "run").glob("rows-*")) == 24


def test_another_error_of_the_device_is_not_taken_for_memory(monkeypatch):
    def broken(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: cable")

    monkeypatch.setattr(broken, "trace", devices.evaluate.trace, raising=False)
    monkeypatch.setattr(devices, "evaluate", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="cable"):
        made()


# Signals.


def at(number, batch, do):
    """A hook that acts at one batch of one point."""
    return lambda *where: do() if where == (number, batch) else None


def interrupted_at(number, batch, signals, out=None, **named):
    def send():
        for each in signals:
            signal.raise_signal(each)

    hook = at(number, batch, send)
    return made([job(0, hook=hook), job(1, hook=hook)], out, **named)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("point", "batch", "kept"), [(0, 0, 1), (0, 7, 8), (0, 11, 12), (1, 3, 16), (1, 11, 24)]
)
def test_the_first_signal_finishes_the_batch_at_hand(whole, tmp_path, number, point, batch, kept):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    run = interrupted_at(point, batch, [number], tmp_path / "run")
    assert run.interrupted and len(counts(run)) == kept
    assert counts(load_run(tmp_path / "run")) == counts(run) == dict(list(whole.items())[:kept])
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    assert not (tmp_path / "run" / "claims").exists()
    again = made(out=tmp_path / "run", resume=True)
    assert not again.interrupted and counts(again) == whole


def test_a_second_signal_does_not_wait_for_the_batch(tmp_path):
    run = interrupted_at(0, 4, [signal.SIGINT, signal.SIGINT], tmp_path / "run")
    assert run.interrupted and len(counts(run)) == 4
    assert len(list((tmp_path / "run").glob("rows-*"))) == 1


def test_a_second_signal_acts_as_usual():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), asked_to_stop() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGINT)
        assert asked()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_handlers_of_others_are_given_back(monkeypatch):
    mine = []
    before = signal.signal(signal.SIGTERM, lambda *_: mine.append(1))
    try:
        with asked_to_stop() as asked:
            signal.raise_signal(signal.SIGTERM)
            assert asked() and not mine
            signal.raise_signal(signal.SIGTERM)
            assert mine == [1]
        with pytest.raises(RuntimeError), asked_to_stop():
            raise RuntimeError
        signal.raise_signal(signal.SIGTERM)
        assert mine == [1, 1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_the_main_thread_it_runs_and_is_never_asked(whole):
    found = []
    thread = threading.Thread(target=lambda: found.append(made()))
    thread.start()
    thread.join()
    assert counts(found[0]) == whole


def test_the_command_ends_with_status_130_and_says_what_is_kept(monkeypatch, tmp_path, capsys):
    for name, value in {"FLAT_BLOCK": 4, "FLAT_SYMBOLS": 32, "BLOCKS": 1}.items():
        monkeypatch.setattr(error_counts, name, value)
    append = RunWriter.append

    def interrupted(self, point, number, *rest):
        append(self, point, number, *rest)
        if number == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunWriter, "append", interrupted)
    words = [
        "ber",
        "--modulation",
        "qpsk",
        "--ebno-db",
        "9",
        "--min-errors",
        "50",
        "--out",
        str(tmp_path / "run"),
    ]
    assert cli.main(words) == 130
    said = capsys.readouterr().err
    assert f"semsim: stopped; the points and batches that were finished are in {tmp_path / 'run'}" in said
    (ber, _) = load_run(tmp_path / "run").rows()
    assert ber["n"] == 12 and ber["stopped"] == "interrupted"


@dataclass(frozen=True)
class Slow(Kernel):
    realizations: int = 1

    def __call__(self, key, mapped, rounds):
        x = jax.random.normal(key, (300, 300))
        return jax.lax.fori_loop(0, rounds, lambda i, y: jnp.tanh(x @ y), x)[0, :1]


def test_a_batch_that_devices_work_on_is_dropped_and_not_waited_for():
    work = Work(Slow(), 4, draw_words(5, 0), DEFAULT_GENERATOR, np.int32(300), lambda batch: ())
    asked = iter([False, True])
    with pytest.raises(Stopped):
        list(Evaluator().batches(work, [0, 1, 2], lambda: next(asked)))
    assert [number for number, _ in Evaluator().batches(work, [0, 1], lambda: False)] == [0, 1]


def test_the_loop_asks_while_devices_work_and_keeps_what_was_finished(whole, monkeypatch, tmp_path):
    batches = Evaluator.batches

    def stopped(self, work, numbers, asked):
        for number, found in batches(self, work, numbers, asked):
            if number == 5:
                signal.raise_signal(signal.SIGTERM)
                assert asked()
                raise Stopped
            yield number, found

    monkeypatch.setattr(Evaluator, "batches", stopped)
    run = made(out=tmp_path / "run")
    assert run.interrupted and len(counts(run)) == 5 and not (tmp_path / "run" / "claims").exists()
    monkeypatch.setattr(Evaluator, "batches", batches)
    assert counts(made(out=tmp_path / "run", resume=True)) == whole


def test_every_batch_is_a_sign_of_life_of_its_claim(monkeypatch, tmp_path):
    """Else another process takes the point over after a quarter of an hour, and both do it."""
    signs = []
    monkeypatch.setattr(Claims, "alive", lambda self: signs.append(self._held is not None))
    made(out=tmp_path / "run")
    assert signs == [True] * 24


# Others in the folder.


def test_it_waits_for_a_point_of_another_and_takes_over_what_that_one_abandons(whole, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "WAIT", 0.01)
    other = Claims(tmp_path / "run").hold(engine.point_name(job(0).point))
    seen = []

    def progress(text, done, total):
        seen.append((text, done))
        if text.startswith("waiting") and len(seen) > 4:
            other.__exit__(None, None, None)

    (tmp_path / "run").mkdir()
    assert other.__enter__()
    assert counts(made(out=tmp_path / "run", progress=progress)) == whole
    assert ("1 dB", 0) == seen[0] and ("waiting for other processes", 1) in seen and ("0 dB", 1) in seen


def test_it_can_be_interrupted_while_it_waits(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "WAIT", 0.01)
    (tmp_path / "run").mkdir()
    with Claims(tmp_path / "run").hold(engine.point_name(job(0).point)):

        def progress(text, done, total):
            if text.startswith("waiting"):
                signal.raise_signal(signal.SIGINT)

        run = made(out=tmp_path / "run", progress=progress)
    assert run.interrupted and len(counts(run)) == 12


def test_what_others_did_meanwhile_is_not_done_again(whole, tmp_path):
    """Another one fills the folder while this one is at its first point."""
    simulated, folder = [], tmp_path / "run"

    def hook(number, batch):
        simulated.append((float(number), batch))
        if (number, batch) == (0, 0):
            jobs = [job(1)]
            with RunWriter(folder, sweep(jobs).config, resume=True) as writer:
                simulate(jobs, STOP, writer, Evaluator(), silent)

    assert counts(made([job(0, hook=hook), job(1, hook=hook)], folder)) == whole
    assert simulated == [(0.0, batch) for batch in range(12)]


def test_an_error_in_a_kernel_leaves_a_run_that_can_be_resumed(whole, tmp_path):
    def broken():
        raise FloatingPointError("not finite")

    with pytest.raises(FloatingPointError):
        made([job(0), job(1, hook=at(1, 5, broken))], tmp_path / "run")
    assert len(counts(load_run(tmp_path / "run"))) == 17 and not (tmp_path / "run" / "claims").exists()
    assert counts(made(out=tmp_path / "run", resume=True)) == whole


def test_a_point_that_got_more_from_the_rest_still_says_why_it_ended():
    """A mean that was narrow at one look may be a little less so at the next; nobody interrupted it."""
    stop = Stop("ber", 10**9, rel_width=0.12, total=400_000)
    jobs = [job(i, 0.2, Coins(scale=1), budget=10**6, blocks=1) for i in range(40)]
    for each in jobs:
        each.point["channel"] = "rayleigh-block"
    with RunWriter(None, {"stop": stop.as_dict()}) as writer:
        rows = simulate(jobs, stop, writer, Evaluator(), silent).rows()
    assert {row["stopped"] for row in rows} == {"width"}


COUNTS = """
from semsim.devices import Execution
from semsim.error_rates import ber
for devices in (1, 2, 4):
    run = ber("qam16", ("awgn", "tdl-a"), [6.0], min_errors=10**9, max_bits=2e6, execution=Execution(devices=devices))
    print([(row["errors"], row["trials"]) for row in run.rows()])
"""


def test_counts_are_the_same_on_one_two_and_four_devices():
    said = subprocess.run(
        [sys.executable, "-c", COUNTS],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "4", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    one, two, four = said.splitlines()
    assert one == two == four and one.count("(") == 4


def test_points_beside_a_channel_do_not_change_its_counts():
    """So that a run can be given more points, and two runs over different channels are paired where they meet."""
    alone = error_rates.ber("qpsk", "tdl-a", [6.0], max_bits=1e5, seed=1)
    beside = error_rates.ber(("qpsk", "qam256"), ("tdl-d", "tdl-a"), [6.0], max_bits=1e5, seed=1)
    ((point, sums),) = alone.points
    assert dict((str(p), s) for p, s in beside.points)[str(point)] == sums
