"""How often a "95 %" interval holds the truth: what the intervals were before, and what they are.

    fades      ber, QPSK in Rayleigh block fading at 36.99 dB Eb/N0: points that end at a budget of few deep fades
    rates      the same for other SNRs, fadings and modulations, on the host: errors of a block are binomial given its fade
    paired     two receivers over the same fades, on the host: the difference of their bit error rates
    ls         symbol error rate of images whose grid shares one channel estimate, by `semsim run` (needs CIFAR-10)
    tiles      PSNR over tiles of photographs, by `semsim run` (needs natural)

"below" and "above": the truth lies there, in per cent; 2.5 each would be exact. Exact intervals cover more than they say
where few bursts of errors were seen, and do here.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

import semsim
from semsim import data, error_rates, theory
from semsim.devices import Execution
from semsim.engine import execute
from semsim.runs import sharing_of
from semsim.stats import (
    INDEPENDENT,
    Interval,
    bursts,
    clustered_interval,
    mean_interval,
    paired_interval,
    paired_rate_interval,
    ratio_interval,
)
from semsim.sweep import metric_interval, total

TRIALS = 512  # bits of a fade
BITS_DB = 36.99  # 10 log10(5000): a bit error rate of 5e-5


class Case(NamedTuple):
    """Intervals of many experiments with one truth, before and after."""

    what: str
    truth: float
    bursts: float
    before: Sequence[Interval]
    after: Sequence[Interval]


def show(title: str, cases: Iterable[Case]) -> None:
    print(f"\n{title}\n{'':44} bursts |  before: covers below above  width |  now: covers below above  width")
    for case in cases:
        cells = []
        for found in (case.before, case.after):
            low, high = np.array([one[1:] for one in found]).T
            below, above = np.mean(case.truth < low), np.mean(case.truth > high)
            width = np.median((high - low) / abs(case.truth))
            cells.append(
                f"{100 * (1 - below - above):14.1f} {100 * below:5.1f} {100 * above:5.1f} {width:6.2f}"
            )
        print(f"{case.what:44} {case.bursts:6.1f} | {' | '.join(cells)}", flush=True)


def students_t(blocks: int, errors: float, errors_sq: float, trials: int) -> Interval:
    """What an error rate over fading had: Student's t over blocks, and without an error the exact bound over them."""
    if not 0 < errors < blocks * trials:
        return ratio_interval(blocks, errors, errors_sq, trials)
    found = mean_interval(blocks, errors, errors_sq)
    return Interval(*(min(max(bound / trials, 0.0), 1.0) for bound in found))


def fades(seeds: int) -> Iterable[Case]:
    """Points of `ber` at three budgets: the first batches of those of the largest."""
    budgets, size = (2e6, 4e6, 8e6), 2**20
    sweeps = [error_rates.sweep("qpsk", "rayleigh-block", [BITS_DB], max_bits=budgets[-1], min_errors=10**9, seed=seed)
              for seed in range(seeds)]  # fmt: skip
    jobs = [
        job._replace(point={**job.point, "draw": seed})
        for seed, sweep in enumerate(sweeps)
        for job in sweep.jobs
    ]
    found = execute(sweeps[0]._replace(jobs=jobs), Execution())
    truth = float(theory.ber("qpsk", jobs[0].point["esno_db"], "rayleigh"))
    for budget in budgets:
        look = range(round(budget / size))
        parts = [total({number: found.batches(job.point)[number] for number in look})["ber"] for job in jobs]
        seen = np.median(
            [bursts(part["errors"], part["errors_sq"]) if part["errors"] else 0 for part in parts]
        )
        before = [students_t(part["blocks"], part["errors"], part["errors_sq"], TRIALS) for part in parts]
        yield Case(
            f"ber, {budget:.0e} bits, {seeds} seeds",
            truth,
            float(seen),
            before,
            [metric_interval(part) for part in parts],
        )


def power(name: str, rng: np.random.Generator, count: int) -> np.ndarray:
    """Power of fades."""
    if name == "rayleigh":
        return rng.exponential(size=count)
    if name == "diversity 4":  # as of a channel with four equal paths, or of four antennas
        return rng.gamma(4, 0.25, count)
    scattered = rng.standard_normal(count) + 1j * rng.standard_normal(count)
    return abs(np.sqrt(10 / 11) + np.sqrt(1 / 22) * scattered) ** 2


def bit_errors(bits: int, snr: np.ndarray) -> np.ndarray:
    """BPSK and QPSK: exactly; 16-QAM: the nearest neighbours, which is the shape that matters here."""
    if bits <= 2:
        return special.ndtr(-np.sqrt(snr * 2 / bits))
    return 0.75 * special.ndtr(-np.sqrt(snr / 5))


def rates(runs: int) -> Iterable[Case]:
    rng = np.random.default_rng(1)
    for fading, bits, esno_db in (
        ("rayleigh", 2, 20), ("rayleigh", 2, 30), ("rayleigh", 2, 40), ("rayleigh", 4, 25), ("rayleigh", 1, 35),
        ("diversity 4", 2, 8), ("diversity 4", 2, 12), ("diversity 4", 2, 16), ("rician 10 dB", 2, 10),
        ("rician 10 dB", 2, 14),
    ):  # fmt: skip
        snr = 10 ** (esno_db / 10)
        truth = float(np.mean(bit_errors(bits, snr * power(fading, rng, 10_000_000))))
        for blocks in (512, 2048, 8192):
            counts = [
                rng.binomial(TRIALS, bit_errors(bits, snr * power(fading, rng, blocks))) for _ in range(runs)
            ]
            sums = [(blocks, int(one.sum()), int(one @ one), TRIALS) for one in counts]
            seen = np.median([bursts(one[1], one[2]) if one[1] else 0 for one in sums])
            what = f"{fading}, {bits} bit/symbol, {esno_db} dB, {blocks} fades"
            yield Case(
                what,
                truth,
                float(seen),
                [students_t(*one) for one in sums],
                [ratio_interval(*one) for one in sums],
            )


def paired(runs: int) -> Iterable[Case]:
    rng, fades_a_part = np.random.default_rng(2), 64
    for esno_db, parts in ((20, 32), (20, 256), (30, 32), (30, 256), (37, 256)):
        snr = 10 ** (esno_db / 10)
        rate = [(1 - np.sqrt(x / (2 + x))) / 2 for x in (snr / 2, snr)]
        before, after, seen = [], [], []
        for _ in range(runs):
            gain = power("rayleigh", rng, parts * fades_a_part)
            a, b = (
                rng.binomial(TRIALS, bit_errors(2, part * snr * gain)).reshape(parts, -1).sum(1)
                for part in (0.5, 1)
            )
            differences = (a - b) / (fades_a_part * TRIALS)
            seen.append(bursts(np.abs(a - b).sum(), ((a - b) ** 2).sum()) if (a != b).any() else 0)
            before.append(paired_interval(differences))
            after.append(paired_rate_interval(differences, fades_a_part * TRIALS, TRIALS))
        yield Case(
            f"3 dB apart, {esno_db} dB, {parts} parts",
            float(rate[0] - rate[1]),
            float(np.median(seen)),
            before,
            after,
        )


def runs_of_images(seeds: int, size: int, channel: str, csi: str) -> list[dict]:
    """Sums of the symbol error rate of `seeds` runs, each of other images and draws."""
    images, rng = data.load("cifar10").images, np.random.default_rng(3)
    found = []
    for seed in range(seeds):
        mine = data.from_array(images[rng.choice(len(images), size, replace=False)])
        run = semsim.run("ujscc", mine, "qam64", channel, [16.0], csi=csi, seed=seed)
        ((point, sums),) = run.points
        found.append({"point": point, **sums["ser"]})
    return found


def ls(seeds: int) -> Iterable[Case]:
    for channel, csi, size in (
        ("awgn", "ls", 8),
        ("awgn", "ls", 64),
        ("awgn", "perfect", 64),
        ("tdl-a", "ls", 64),
    ):
        found = runs_of_images(seeds, size, channel, csi)
        truth = sum(one["errors"] for one in found) / sum(one["trials"] for one in found)
        fading = channel == "tdl-a"
        before = [
            students_t(one["blocks"], one["errors"], one["errors_sq"], one["trials"] // one["blocks"]) if fading
            else clustered_interval(one["errors"], one["errors_sq"], one["trials"], one["blocks"], INDEPENDENT)
            for one in found
        ]  # fmt: skip
        after = [metric_interval(one, sharing_of(one["point"], "ser")) for one in found]
        seen = float(np.median([bursts(one["errors"], one["errors_sq"]) for one in found]))
        yield Case(f"ser, {channel}, {csi}, {size} images, {seeds} runs", truth, seen, before, after)


def tiles(runs: int) -> Iterable[Case]:
    """Photographs drawn with repetition from the 24 of natural, whose mean is the truth; one run gives every tile's PSNR."""
    images = data.load("natural", tile=32, limit=24 * 64)
    found = semsim.run("ujscc", images, "qam16", "awgn", [14.0])
    ((_, sums),) = found.points
    of_photograph = np.array([[number, value] for number, value in sums["psnr"]["clusters"].values()])
    ((point, _),) = found.points
    values = np.concatenate([batch.parts["psnr"] for _, batch in sorted(found.batches(point).items())])
    names = images.groups[np.random.default_rng(0).permutation(len(images.images))]
    rng, truth = np.random.default_rng(4), float(of_photograph[:, 1].sum() / of_photograph[:, 0].sum())
    for count in (4, 8, 24):
        before, after = [], []
        for _ in range(runs):
            drawn = rng.integers(24, size=count)
            mine = np.concatenate([values[names == one] for one in drawn])
            before.append(mean_interval(mine.size, float(mine.sum()), float(mine @ mine)))
            part = {str(place): of_photograph[one].tolist() for place, one in enumerate(drawn)}
            after.append(metric_interval({"n": mine.size, "clusters": part}))
        yield Case(f"psnr, 64 tiles of each of {count} photographs", truth, float(count), before, after)


PARTS: dict[str, tuple[str, Callable[[int], Iterable[Case]], int]] = {
    "fades": ("Through the engine: QPSK, Rayleigh block fading, 36.99 dB Eb/N0, budgets", fades, 1000),
    "rates": ("On the host: error rates over fades", rates, 1000),
    "paired": ("On the host: paired differences of error rates", paired, 500),
    "ls": ("Through the engine: images, 64-QAM at 16 dB Es/N0 ('bursts' are images)", ls, 200),
    "tiles": ("Tiles of photographs ('bursts' are photographs)", tiles, 2000),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--seeds", type=int, help="experiments of a line (default: 200 to 2,000)")
    chosen = parser.parse_args()
    for name in chosen.parts or PARTS:
        title, cases, count = PARTS[name]
        show(title, cases(chosen.seeds or count))


if __name__ == "__main__":
    main()
