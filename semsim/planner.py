"""What a sweep will cost, before it runs: a few measured batches of every program, and theory for how many batches a
point needs."""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax

from semsim.devices import Evaluator, Execution, Work
from semsim.engine import Job, Sweep
from semsim.stopping import FEWEST_ERRORS, next_look

NORMAL = 1.96  # of the 95 % interval
BATCHES, ENOUGH = 4, 1.0  # that are timed of a point, unless one takes more than so many seconds
LARGE = 2**28
"""Bytes of a program on a device of the CPU from which on a plan neither compiles nor times it: one photograph through a
large net takes minutes."""


class Program(NamedTuple):
    """One compiled program of a sweep.

    what: the channels it serves. batches: expected, fewest and most over its points; they differ where theory does
    not know the error rate. realizations: in a batch. memory: bytes on each device beside the arguments. seconds: of
    a batch, compiled, in the mean over its lowest, its middle and its highest Es/N0; None for a `LARGE` program, whose
    memory is then that of its shapes.
    """

    what: str
    points: int
    fewest: int
    most: int
    realizations: int
    memory: int
    compile_seconds: float | None
    seconds: float | None


class Plan(NamedTuple):
    """devices: that share the work. programs: one compilation each. total: budget of the sweep, if it has one."""

    devices: int
    programs: list[Program]
    total: float | None

    @property
    def points(self) -> int:
        return sum(program.points for program in self.programs)

    def seconds(self) -> tuple[float, float] | None:
        """Time until the result, at least and at most, compilation included; None with a program that was not timed."""
        least = most = 0.0
        for program in self.programs:
            if program.compile_seconds is None or program.seconds is None:
                return None
            least += program.compile_seconds + program.fewest * program.seconds
            most += program.compile_seconds + program.most * program.seconds
        return least, most


def plan(sweep: Sweep, execution: Execution) -> Plan:
    """Compiles every program of the sweep that is not `LARGE` and times a few batches of each; simulates and writes
    nothing else.

    Programs whose data take long to make (`Job.made_up`) are neither compiled nor timed: what it costs to code their images
    would still not be known. Of several of a kind one is traced, and its memory stands for all.

    What a target saves and what a total budget adds is not foreseen. Errors: as `engine.execute` has before it
    compiles.
    """
    evaluator = Evaluator(execution)
    groups: dict[object, list[Job]] = {}
    for job in (part for whole in sweep.jobs for part in _parts(whole)):
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(job.work.shared))
        groups.setdefault((job.work.kernel, jax.tree.structure(job.work.shared), shapes), []).append(job)
    programs, alike = [], {}
    for jobs in sorted(groups.values(), key=lambda jobs: jobs[0].made_up is not None):
        kind = type(jobs[0].work.kernel)
        like = alike.get(kind) if jobs[0].made_up else None
        alike[kind] = _program(jobs, sweep, evaluator) if like is None else _as(like, jobs, sweep)
        programs.append(alike[kind])
    return Plan(evaluator.mesh.size, programs, sweep.stop.total)


def _as(like: Program, jobs: Sequence[Job], sweep: Sweep) -> Program:
    """A program that is taken to cost what another does."""
    needs = [_batches(job, sweep) for job in jobs]
    fewest, most = (sum(need) for need in zip(*needs, strict=True))
    return like._replace(what=_what(jobs), points=len(jobs), fewest=fewest, most=most)


def _parts(job: Job) -> list[Job]:
    """A point of several programs as a point of each, whose batches are those that it has of it."""
    if job.work_of is None:
        return [job]
    return [
        job._replace(work=_renumbered(work, numbers), work_of=None, budget=len(numbers), most=len(numbers))
        for work, numbers in job.programs(range(job.most))
    ]


def _renumbered(work: Work, numbers: Sequence[int]) -> Work:
    return work._replace(mapped=lambda batch: work.mapped(numbers[batch]), example=0)


def _program(jobs: Sequence[Job], sweep: Sweep, evaluator: Evaluator) -> Program:
    work = jobs[0].work
    if jobs[0].made_up:
        work = work._replace(mapped=jobs[0].made_up)
    needs = [_batches(job, sweep) for job in jobs]
    entry = Program(
        what=_what(jobs),
        points=len(jobs),
        fewest=sum(low for low, _ in needs),
        most=sum(high for _, high in needs),
        realizations=work.blocks * work.kernel.realizations,
        memory=evaluator.outline(work) if jobs[0].made_up or evaluator.platform == "cpu" else 0,
        compile_seconds=None,
        seconds=None,
    )
    if jobs[0].made_up or entry.memory > LARGE:
        return entry
    started = time.perf_counter()
    list(evaluator.batches(work, [0]))
    compiled = time.perf_counter()
    # A decoder that stops early takes longest at the lowest SNR.
    ordered = sorted(jobs, key=lambda job: float(job.point["esno_db"]))
    timed = [ordered[place] for place in sorted({0, len(jobs) // 2, len(jobs) - 1})]
    seconds = sum(_seconds(job, evaluator) for job in timed) / len(timed)
    memory = evaluator.memory(work, evaluator.width(work))
    return entry._replace(memory=memory, compile_seconds=compiled - started, seconds=seconds)


def _seconds(job: Job, evaluator: Evaluator) -> float:
    """Of a batch: of the first, where it takes so long that it tells enough, else of those behind it."""
    numbers = [0]
    while True:
        began = time.perf_counter()
        list(evaluator.batches(job.work, [number % job.most for number in numbers]))
        spent = time.perf_counter() - began
        if spent > ENOUGH or len(numbers) > 1:
            return spent / len(numbers)
        numbers = list(range(1, 1 + BATCHES))


def _what(jobs: Sequence[Job]) -> str:
    """The channels of a program, and before them what else tells it from others."""
    names = ("codec", "modulation", "coderate", "transmissions")
    coded = any("code" in job.point or "codec" in job.point for job in jobs)
    fixed = [
        str(jobs[0].point[name]) for name in names
        if coded and name in jobs[0].point and len({job.point[name] for job in jobs}) == 1
    ]  # fmt: skip
    return " ".join([*fixed, ", ".join(dict.fromkeys(str(job.point["channel"]) for job in jobs))])


def _batches(job: Job, sweep: Sweep) -> tuple[int, int]:
    """Batches of a point at least and at most; the same number twice where theory knows the error rate."""
    stop = sweep.stop
    if stop.min_errors is None and stop.rel_width is None and stop.abs_width is None:
        return job.budget, job.budget
    if job.expected is None:
        return 1, job.budget
    needed = max(
        stop.min_errors or 0, max((NORMAL / stop.rel_width) ** 2, FEWEST_ERRORS) if stop.rel_width else 0
    )
    wanted = needed / job.expected if job.expected else math.inf
    look = 0
    while look < job.budget and look < wanted:
        look = next_look(look, job.budget)
    return look, look
