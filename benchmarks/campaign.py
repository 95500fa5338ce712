"""Everything that wants an accelerator, as one resumable list: the `accelerator` trainings, then the measurements.

    python benchmarks/campaign.py --plan                          # what there is, with hours and bytes
    python benchmarks/campaign.py --out campaign --jobs 4         # all of it, four at once on one card
    python benchmarks/campaign.py --out campaign --only ujscc ladder

Started again with the same folder it goes on where it was, after Ctrl-C, SIGTERM, kill -9 or a lost machine. OUT gets a
folder for each job with its log and results, OUT/weights the weights (float16) with log and recipe beside them, and
OUT/summary.txt the table that is printed at the end. A finished job is not run again; OUT/JOB/done.json says what it took.

No network is needed. A machine that has jax for its card, flax, optax, orbax, chex, numpy, scipy, Pillow, rich and
safetensors gets the rest from wheels laid beside it, brought from a machine of the same Python and platform:

    pip download --dest wheels . dm-pix jaxtyping matplotlib tyro   # there
    pip wheel --no-deps --wheel-dir wheels .                        # there: semsim itself
    pip install --no-index --find-links wheels semsim-jax           # here; what it has already stays
    semsim data get cifar10 --from COPY                             # here: a copy of the archive
"""

import argparse
import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from _common import print_table
from _tasks import Task, done, run_tasks
from flax import nnx

from semsim import training_folder
from semsim.checkpoint import read_metadata, store_half
from semsim.systems import SYSTEMS

HERE = Path(__file__).parent
MEMORY_SHARE = 0.9
"""Of a card's memory, what all jobs together may take."""
BYTES_A_NUMBER = 4 + 2 * 3 * 4 + 2
"""Of a training: weights, two states with both moments, weights as float16."""


class Job(NamedTuple):
    """arguments: of `semsim` for a training, else of Python; {folder} and {weights} stand for the job's folder and that of
    all weights. hours: on one NVIDIA H100 that ten trainings shared, None where that was not timed. size: bytes that it
    leaves, at most; those of a training follow from its net. module: which must be installed."""

    name: str
    what: str
    arguments: tuple[str, ...]
    hours: float | None
    size: int = 0
    needs: tuple[str, ...] = ()
    trains: bool = False
    module: str | None = None


TRAININGS: tuple[tuple[str, str, float | None], ...] = (
    ("ujscc", "cifar", 0.20),
    ("ujscc", "wide", 0.38),
    ("deepjscc", "cbr1/12", None),
    ("deepjscc", "cbr1/3", None),
    ("deepjscc-strong", "cifar", 0.15),
    ("deepjscc-vq", "cifar", None),
    ("stsc", "small", 0.34),
    ("stsc-vq", "small", 0.09),
    ("frenca", "small", None),
)
"""System, size, hours by the log: the wide uJSCC was timed over half the length."""

MEASUREMENTS = (
    Job("accelerator_check", "is this device right: decoder, link, fading and codecs against the CPU",
        ("accelerator_check.py",), None, 10_000),
    Job("link_speed", "rates of the general path",
        ("link_speed.py", "--batches", "4096", "--image-batches", "64"), None, 10_000),
    Job("ldpc-512", "LDPC, k = 512", ("ldpc.py", "--words", "65536"), None, 10_000),
    Job("ldpc-4096", "LDPC, k = 4096",
        ("ldpc.py", "--k", "4096", "--n", "8192", "--ebno-db", "1.1", "--words", "16384"), None, 10_000),
    Job("vs_sionna", "Sionna on the same machine", ("vs_sionna.py",), None, 10_000, module="sionna"),
    Job("attention", "window against global attention", ("attention.py", "--out", "{folder}"), None, 100_000),
    Job("costs", "parameters, MACs, latency", ("costs.py", "--out", "{folder}"), None, 100_000),
    Job("training_speed", "training steps with the link, without, in PyTorch",
        ("training_speed.py", "--out", "{folder}"), None, 100_000, module="torch"),
    Job("federated", "federated, local, centralised, three seeds",
        ("federated.py", "--splits", "iid", "dirichlet:0.6", "--images", "20000", "--batch", "50", "--device", "1000",
         "--out", "{folder}"), None, 50_000_000),
    Job("frenca-methods", "FRENCA against its parts, three seeds",
        ("frenca.py", "--steps", "6000", "--out", "{folder}"), None, 500_000_000),
    Job("ladder", "rate-PSNR ladder of the new ujscc, all test images",
        ("ladder.py", "--checkpoint", "{weights}/ujscc.safetensors", "--out", "{folder}"), None, 1_000_000, ("ujscc",)),
    Job("index_mapping", "soft and hard decisions, labellings, of the new ujscc, all test images",
        ("index_mapping.py", "--checkpoint", "{weights}/ujscc.safetensors", "--out", "{folder}"), None, 1_000_000,
        ("ujscc",)),
    Job("swin_curves", "stsc and two DeepJSCCs that ship, all test images",
        ("swin_curves.py", "--out", "{folder}"), None, 1_000_000),
    Job("swin_digital", "stsc-vq against ujscc, as they ship, all test images",
        ("swin_digital.py", "--out", "{folder}"), None, 1_000_000),
)  # fmt: skip


def jobs() -> list[Job]:
    """All of them, trainings first."""
    return [*(_training(*entry) for entry in TRAININGS), *MEASUREMENTS]


def _training(system: str, size: str, hours: float | None) -> Job:
    chosen = SYSTEMS[system]
    first = chosen.sizes[0][0]
    name = system if size == first else f"{system}-{size.replace('/', '_')}"
    what = f"training of {system}, size {size}" + (
        ", from the stsc that ships" if system == "stsc-vq" else ""
    )
    arguments = ("train", system, "--recipe", "accelerator", "--size", size)
    return Job(name, what, arguments, hours, trains=True)


def size(job: Job) -> int:
    """Bytes that it leaves, at most. A training has as many states as stages."""
    if not job.trains:
        return job.size
    system, named = SYSTEMS[job.arguments[1]], job.arguments[-1]
    codec: Any = nnx.eval_shape(lambda: system.fresh(named))
    numbers = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(codec)))
    return BYTES_A_NUMBER * numbers * len(system.stages(None))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plan", action="store_true", help="print the jobs and what they take; run nothing")
    parser.add_argument("--only", nargs="+", default=[], metavar="JOB", help="these jobs alone")
    parser.add_argument("--jobs", type=int, default=1, help="at once (default 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"))
    parser.add_argument("--data", default="cifar10", help="what trainings see (default cifar10)")
    parser.add_argument("--steps", type=int, help="steps of every training in place of its recipe's: a trial")
    given = parser.parse_args(arguments)
    every = {job.name: job for job in jobs()}
    if unknown := [name for name in given.only if name not in every]:
        parser.error(f"no job {', '.join(unknown)}; there are {', '.join(every)}")
    if given.jobs < 1:
        parser.error(f"--jobs is at least 1; got {given.jobs}")
    wanted = [job for job in every.values() if job.name in (given.only or every)]
    absent = [job for job in wanted if job.module and importlib.util.find_spec(job.module) is None]
    chosen = [job for job in wanted if job not in absent]
    for job in absent:
        print(f"{job.name}: left out, {job.module} is not installed")
    if given.plan:
        print_table(_plan(chosen, given.out))
        return 0
    try:
        failed = _run(chosen, given)
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here")
        return 130
    except ValueError as error:
        parser.error(str(error))
    rows = _summary([*every.values()], given.out)
    print_table(rows)
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    (given.out / "summary.txt").write_text("\n".join(lines) + "\n")
    return 1 if failed else 0


def _run(chosen: list[Job], given: argparse.Namespace) -> list[str]:
    out = given.out.absolute()
    weights = out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    tasks = [
        _train(job, given, weights) if job.trains else Task(job.name, _measuring(job, weights), job.needs)
        for job in chosen
    ]
    share = f"{MEMORY_SHARE / given.jobs:.2f}"
    return run_tasks(tasks, out, given.jobs, {"XLA_PYTHON_CLIENT_MEM_FRACTION": share})


def _measuring(job: Job, weights: Path) -> Any:
    script, *rest = job.arguments
    return lambda folder: [
        sys.executable,
        str(HERE / script),
        *(text.format(folder=folder, weights=weights) for text in rest),
    ]


def _train(job: Job, given: argparse.Namespace, weights: Path) -> Task:
    def command(folder: Path) -> list[str]:
        run = folder / "run"
        begun = (run / training_folder.FILE).exists()
        return [
            sys.executable, "-m", "semsim.cli", *job.arguments, "--data", given.data, "--out", str(run),
            *(["--steps", str(given.steps)] if given.steps else []), *(["--resume"] if begun else []),
        ]  # fmt: skip

    def collect(folder: Path) -> None:
        run = folder / "run"
        for name in ("log.jsonl", "recipe.json"):
            for path in sorted(run.rglob(name)):  # a folder for each stage, where there are several
                stage = "" if path.parent == run else f"-{path.parent.name}"
                shutil.copyfile(path, weights / f"{job.name}{stage}.{name}")
        store_half(run / "weights.safetensors", weights / f"{job.name}.safetensors")

    return Task(job.name, command, job.needs, collect)


def _plan(chosen: list[Job], out: Path) -> list[dict[str, str]]:
    sizes = {job.name: size(job) for job in chosen}
    rows = [
        {
            "job": job.name,
            "what": job.what,
            "recipe": _recipe(job),
            "hours": "not timed" if job.hours is None else f"{job.hours:.2f}",
            "MB": f"{sizes[job.name] / 1e6:.1f}",
            "after": ", ".join(job.needs),
            "state": "done" if done(out, job.name) else "",
        }
        for job in chosen
    ]
    hours = sum(job.hours or 0.0 for job in chosen)
    untimed = sum(job.hours is None for job in chosen)
    total = {
        "job": "all",
        "what": f"{untimed} of {len(chosen)} were not timed",
        "recipe": "",
        "hours": f"{hours:.2f}",
        "MB": f"{sum(sizes.values()) / 1e6:.1f}",
        "after": "",
        "state": "",
    }
    return [*rows, total]


def _recipe(job: Job) -> str:
    if not job.trains:
        return ""
    recipe = SYSTEMS[job.arguments[1]].recipes.accelerator
    return f"{recipe.steps:,} x {recipe.batch}"


def _summary(every: list[Job], out: Path) -> list[dict[str, str]]:
    rows = []
    for job in every:
        found, weights = done(out, job.name), out / "weights" / f"{job.name}.safetensors"
        trained = found is not None and job.trains
        known: Any = read_metadata(weights) if trained else {}
        logs = sorted((out / job.name / "run").rglob("log.jsonl")) if trained else []  # one for each stage
        last = json.loads(logs[-1].read_text().splitlines()[-1]) if logs else {}
        rows.append(
            {
                "job": job.name,
                "state": "done" if found else "missing",
                "seconds": f"{found['seconds']:.0f}" if found else "",
                "steps": str(known.get("step", "")),
                "kB": f"{weights.stat().st_size / 1000:.0f}" if trained else "",
                "last PSNR in training, dB": str(last.get("psnr", "")),
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
