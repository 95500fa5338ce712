"""A sweep as the command line runs it: where, into which folder, and what is shown meanwhile."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from semsim.backend import Cluster, is_leader
from semsim.devices import Execution
from semsim.engine import Sweep, execute
from semsim.planner import plan as plan_sweep
from semsim.runs import Run
from semsim.scenario import Propagation
from semsim.terminal import progress_bar, show_plan

Words = tuple[str, ...]
Flat = Annotated[Propagation, tyro.conf.arg(name="")]
"""Options of the channel without a prefix: --delay-spread, --speed, ..."""


@dataclass(frozen=True)
class Job:
    """Where a sweep runs and what becomes of it; results do not depend on it."""

    execution: Annotated[Execution, tyro.conf.arg(name="")] = Execution()
    cluster: Annotated[Cluster, tyro.conf.arg(name="")] = Cluster()
    out: Path | None = None
    """Run folder to write."""
    resume: Path | None = None
    """Go on with the run in this folder, or help the processes that fill it; its options need not be repeated."""
    force_config: bool = False
    """Resume under a changed stop rule, other points or another code version."""
    plan: bool = False
    """Print points, expected batches, memory, compilations and time; simulate nothing."""
    json: bool = False
    """One JSON object a line on stdout, and nothing else there."""
    arguments: tyro.conf.Suppress[tuple[str, ...]] = ()
    """The command line, kept with the run so that it can be resumed without repeating it."""

    def __post_init__(self) -> None:
        if self.resume is not None and self.out is not None:
            raise ValueError(
                f"resume {self.resume} goes on in that folder, and out {self.out} would be another: leave one of them out"
            )


Options = Annotated[Job, tyro.conf.arg(name="")]


def run_sweep(sweep: Sweep, job: Job) -> Run | None:
    """The run of a sweep; None where only a plan was asked for. Processes that do not lead their job end here."""
    sweep.config["arguments"] = list(job.arguments)
    if job.plan:
        found = plan_sweep(sweep, job.execution)
        if is_leader():
            show_plan(found, job.json)
        return None
    with progress_bar(job.json or not is_leader()) as progress:
        found = execute(
            sweep, job.execution, job.resume or job.out, resume=job.resume is not None, force_config=job.force_config,
            progress=progress,
        )  # fmt: skip
    if is_leader():
        return found
    raise SystemExit(130 if found.interrupted else 0)
