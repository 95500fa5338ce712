"""The Monte Carlo loop: points of a sweep, looks at a point, batches on devices, rows on disk.

    for each point:  claim it --> [ simulate the batches up to the next look --> append rows --> look ] until it is done
    then, if the sweep has a budget: the same for the point with the widest interval, look by look

What a point gets depends on its own batches alone (a budget: on those of all points), never on devices, processes or
time: a run that was killed and resumed, at any moment, ends with the rows of one that was not.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax

from semsim.claims import Claims
from semsim.devices import Evaluator, Execution, Stopped, Work
from semsim.environment import environment
from semsim.names import check_kind
from semsim.processes import agreed, any_process, refuse_together, unanimous
from semsim.runs import Run, RunWriter, point_interval
from semsim.signals import asked_to_stop
from semsim.stopping import Stop, half_width, next_look, trials
from semsim.sweep import Parts, Sums, add, point_name

Progress = Callable[[str, int, int], None]
"""Called with what is at hand, finished points and all points."""

WAIT, SHOW = 0.5, 5.0
"""Seconds between two looks at work that other processes hold, and between two signs of progress within a point."""


class Job(NamedTuple):
    """A point of a sweep and how it is simulated.

    point: what it is called. title: for the progress display. curve: equal for points that differ in SNR only. work:
    for the devices. budget: batches until its own rule must be satisfied; most: batches that there are at all. sums:
    (batch, what the kernel returned for it) -> sums, parts. expected: errors of a batch by theory, where there is
    one. made_up: stands for `work.mapped` in a plan, where that takes long to make: the plan then looks at shapes and times
    nothing. work_of: of a batch, where their shapes differ.
    """

    point: dict[str, str | float]
    title: str
    curve: str
    work: Work
    budget: int
    most: int
    sums: Callable[[int, Any], tuple[Sums, Parts]]
    expected: float | None = None
    made_up: Callable[[int], Any] | None = None
    work_of: Callable[[int], Work] | None = None

    def programs(self, batches: Iterable[int]) -> list[tuple[Work, list[int]]]:
        """These batches by the work that they are."""
        if self.work_of is None:
            return [(self.work, list(batches))]
        found: dict[int, tuple[Work, list[int]]] = {}
        for number in batches:
            work = self.work_of(number)
            found.setdefault(id(work), (work, []))[1].append(number)
        return list(found.values())


class Sweep(NamedTuple):
    """Everything that a result depends on: points, when to stop, and the settings to keep with it."""

    jobs: list[Job]
    stop: Stop
    config: dict


class _State(NamedTuple):
    """A point at a look: its first so many batches."""

    looked: int
    sums: Sums


def silent(text: str, done: int, total: int) -> None:
    """No progress display."""


def execute(
    sweep: Sweep,
    execution: Execution,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    force_config: bool = False,
    progress: Progress = silent,
) -> Run:
    """Simulates a sweep and returns the run.

    execution: on which devices, in what portions; counts do not depend on it. out: run folder to write; None: memory
    only.
    resume: go on with the run in `out`, or help the processes that fill it; force_config: also under a changed stop
    rule, axes or code version. progress: called with what is at hand, finished points and all points. Ctrl-C and
    SIGTERM end the run with the batches that are finished.
    Errors: ValueError for devices that are not there, a folder that cannot be used, and settings that differ from
    those of the run to resume, before anything is compiled; OSError when a finished batch cannot be stored.
    """
    if force_config and not resume:
        raise ValueError("force_config says how to resume a run: give resume too")
    check_kind("execution", execution, Execution, "Execution(devices=1)")
    evaluator = Evaluator(execution)
    leader = jax.process_index() == 0
    same = {name: value for name, value in sweep.config.items() if name != "arguments"}
    code = {name: environment()[name] for name in ("code", "versions")}
    if not unanimous([same, asdict(execution), code]):
        raise ValueError(
            "the processes of the job differ in options or code: start all of them with the same"
        )
    with _writer(out, sweep.config, resume, force_config) as writer:
        return simulate(sweep.jobs, sweep.stop, writer, evaluator, progress if leader else silent)


def _writer(out: str | Path | None, config: dict, resume: bool, force_config: bool) -> RunWriter:
    """The writer; in a distributed job only process 0 has the folder, and what it refuses stops all."""
    if jax.process_count() == 1:
        return RunWriter(out, config, resume=resume, force_config=force_config)
    refused, writer = None, RunWriter(None, config)
    if jax.process_index() == 0:
        try:
            writer = RunWriter(out, config, resume=resume, force_config=force_config)
        except ValueError as error:
            refused = str(error)
    if refused := agreed(refused):
        raise ValueError(refused)
    return writer


def simulate(
    jobs: Sequence[Job], stop: Stop, writer: RunWriter, evaluator: Evaluator, progress: Progress
) -> Run:
    """Simulates every job until `stop` is satisfied and returns the run; batches that the writer has are not
    repeated.

    Ctrl-C and SIGTERM end it with the batches that are finished, and `interrupted` set in the run; those that devices
    work on are dropped. Points that another process
    works on are left to it; when nothing else is left, this one waits for them, and takes over what their process
    abandoned.
    Errors: OSError when a row cannot be stored; what the kernel and `Job.sums` raise.
    """
    with asked_to_stop() as asked:
        loop = _Loop(jobs, stop, writer, evaluator, progress, asked)
        try:
            states = loop.points()
            if stop.total is not None:
                loop.remainder(states, stop.total)
        except (Stopped, KeyboardInterrupt):
            return writer.finish(interrupted=True)
    progress("", len(jobs), len(jobs))
    return writer.finish()


class _Loop:
    def __init__(
        self,
        jobs: Sequence[Job],
        stop: Stop,
        writer: RunWriter,
        evaluator: Evaluator,
        progress: Progress,
        asked: Callable[[], bool],
    ):
        self.jobs, self.stop, self.writer, self.evaluator = jobs, stop, writer, evaluator
        self.progress, self.asked = progress, asked
        self.claims = Claims(writer.folder if jax.process_index() == 0 else None)
        self.place = 0  # of the point at hand, for the progress display
        self.shown = time.monotonic()
        self.ahead_of: Job | None = None
        self.ahead: dict[int, Any] = {}

    def points(self) -> dict[str, _State]:
        """Every point until its own rule is satisfied. A curve with a target is one piece of work: it may end
        early."""
        groups: dict[str, list[Job]] = {}
        for job in self.jobs:
            name = point_name(job.point) if self.stop.target is None else job.curve
            groups.setdefault(name, []).append(job)
        states: dict[str, _State] = {}
        done = 0
        while groups:
            left: dict[str, list[Job]] = {}
            for name, group in groups.items():
                with self._claimed(name) as ours:
                    if ours:
                        states |= self._group(group, done)
                        done += len(group)
                    else:
                        left[name] = group
            if len(left) == len(groups):
                self._wait(done)
            groups = left
        return states

    def remainder(self, states: dict[str, _State], budget: float) -> None:
        """What the points left of the sweep's budget goes, look by look, to the one whose interval is widest."""
        ours = False
        while not ours:
            with self._claimed("remainder") as ours:
                if ours:
                    self._spend(states, budget)
            if not ours:
                self._wait(len(self.jobs))

    def _spend(self, states: dict[str, _State], budget: float) -> None:
        jobs = {point_name(job.point): job for job in self.jobs}
        metric = self.stop.metric
        spent = sum(trials(state.sums[metric]) for state in states.values())
        while open_points := [n for n in jobs if n in states and states[n].looked < jobs[n].most]:
            name = max(open_points, key=lambda name: self._width(jobs[name], states[name]))
            job, state = jobs[name], states[name]
            per_batch = trials(state.sums[metric]) / state.looked
            affordable = state.looked + max(0, int((budget - spent) / per_batch))
            look = min(next_look(state.looked, job.most), affordable)
            if look == state.looked:
                return
            self.progress(f"{job.title}, remaining budget", len(jobs), len(jobs))
            states[name] = self._extended(job, state, look)
            spent += trials(states[name].sums[metric]) - trials(state.sums[metric])

    def _group(self, group: list[Job], done: int) -> dict[str, _State]:
        states = {}
        for number, job in enumerate(sorted(group, key=lambda job: job.point["esno_db"])):
            self.place = done + number
            self.progress(job.title, self.place, len(self.jobs))
            state = self._until_done(job)
            states[point_name(job.point)] = state
            if self.stop.below_target(point_interval(self.stop, job.point, state.sums)):
                break
        return states

    def _until_done(self, job: Job) -> _State:
        """A point at the first look that satisfies the rule, or that ends its budget."""
        state = _State(0, {})
        while True:
            state = self._extended(job, state, next_look(state.looked, job.budget))
            interval = point_interval(self.stop, job.point, state.sums)
            if state.looked >= job.budget or self.stop.reached(state.sums[self.stop.metric], interval):
                return state

    def _extended(self, job: Job, state: _State, look: int) -> _State:
        """The point at a later look: simulates what is not known, and adds up in the order of the batches."""
        known = self.writer.totals.batches(job.point)
        missing = agreed([number for number in range(state.looked, look) if number not in known])
        for number, found in self._results(job, missing):
            self._store(job, number, found)
        known = self.writer.totals.batches(job.point)
        sums = state.sums
        for number in range(state.looked, look):
            if number in known:  # the leader knows all; the others may not know what a former job left
                sums = add(sums, known[number].sums)
        return _State(look, agreed(sums))

    def _store(self, job: Job, number: int, found: Any) -> None:
        """Appends a batch, and asks whether to go on. In a distributed job what fails in one process ends all."""
        failed: Exception | None = None
        try:
            self.writer.append(job.point, number, *job.sums(number, found))
        except (OSError, FloatingPointError) as error:
            failed = error
        self.claims.alive()
        if time.monotonic() - self.shown > SHOW:
            self.shown = time.monotonic()
            known = len(self.writer.totals.batches(job.point))
            self.progress(f"{job.title}, {known} batches", self.place, len(self.jobs))
        stop = any_process(self.asked() or failed is not None)
        if failed:
            raise failed
        if stop:
            raise Stopped

    def _results(self, job: Job, missing: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """What the kernel returns for the missing batches. Where a call of an accelerator holds more than a look asks
        for, it is filled with the batches of the looks to come, which wait here."""
        if self.ahead_of is not job:
            self.ahead_of, self.ahead = job, {}
        ready = [number for number in missing if number in self.ahead]
        for number in ready:
            yield number, self.ahead.pop(number)
        left = [number for number in missing if number not in ready]
        if not left:
            return
        room = -len(left) % self.evaluator.batches_per_call(job.work)
        later = range(left[-1] + 1, min(left[-1] + 1 + room, job.most))
        for work, numbers in job.programs([*left, *later]):
            for number, found in self.evaluator.batches(work, numbers, self.asked):
                if number in later:
                    self.ahead[number] = found
                else:
                    yield number, found

    def _width(self, job: Job, state: _State) -> float:
        """What is widest on a figure: relative for an error rate, in dB for a mean; a point without errors comes
        last."""
        interval = point_interval(self.stop, job.point, state.sums)
        if "trials" not in state.sums[self.stop.metric]:
            return half_width(interval)
        return half_width(interval) / interval.value if interval.value else 0.0

    @contextmanager
    def _claimed(self, work: str) -> Iterator[bool]:
        with self.claims.hold(work) as ours:
            ours = agreed(ours)
            if ours:
                self._refresh()
            yield ours

    def _refresh(self) -> None:
        """Takes in the rows of others. In a distributed job a damaged row ends all processes."""
        refuse_together(self.writer.refresh, "process 0 could not read the run: it says why")

    def _wait(self, done: int) -> None:
        self.progress("waiting for other processes", done, len(self.jobs))
        time.sleep(WAIT)
        if any_process(self.asked()):
            raise Stopped
