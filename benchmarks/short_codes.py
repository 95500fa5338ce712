"""Do short headers need polar codes? Block error rates of NR LDPC (base graph 2) and of NR polar codes at equal (k, n).

BPSK or QPSK over AWGN, k bits in, n bits sent. LDPC by our decoders; polar by Sionna's CRC-aided list decoder of 8 paths,
uplink chain of TS 38.212 (it adds a CRC 11, or 6 below 20 bits, of its own within the same n). For every code the Es/N0 at
which the block error rate is 1e-2 and 1e-3, by interpolation of its logarithm between points 0.5 dB apart, and beside it
the normal approximation of what the best code of that length could do. Results: docs/short_codes.md.

    python benchmarks/short_codes.py --out short_codes.json       # an environment with Sionna; some hours on a core
"""

import argparse
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

from phy.coding import LdpcCode, LdpcDecoder, decode, encode, rate_recover

SIZES = ((40, (80, 160, 320)), (24, (48, 96, 192)), (64, (128, 256, 512)), (12, (24, 48, 96)))
TARGETS = (1e-2, 1e-3)
BATCH, FEWEST_ERRORS, MOST_WORDS, STEP_DB = 2048, 50, 40_000, 0.5
Decide = Callable[[np.ndarray], np.ndarray]  # LLRs [words, n] -> bits [words, k]
Send = Callable[[np.ndarray], np.ndarray]  # bits [words, k] -> bits [words, n]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs") / "short_codes.json")
    parser.add_argument(
        "--most-words", type=int, default=MOST_WORDS, help="at one point (default %(default)s)"
    )
    given = parser.parse_args()
    rows = []
    print(f"{'k':>3} {'n':>4} {'code and decoder':34} Es/N0 in dB at BLER " + ", ".join(map(str, TARGETS)))
    for k, lengths in SIZES:
        for n in lengths:
            best = [normal_approximation_db(k, n, target) for target in TARGETS]
            rows.append({"k": k, "n": n, "code": "normal approximation", "esno_db": best})
            report(rows[-1])
            for name, (send, decide) in {**ldpc(k, n), **polar(k, n)}.items():
                points = curve(k, n, send, decide, best[0], given.most_words)
                found = [crossing(points, target) for target in TARGETS]
                rows.append({"k": k, "n": n, "code": name, "esno_db": found, "points": points})
                report(rows[-1])
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(rows, indent=1) + "\n")


def report(row: dict) -> None:
    figures = "  ".join(f"{value:7.2f}" for value in row["esno_db"])
    print(f"{row['k']:3} {row['n']:4} {row['code']:34} {figures}", flush=True)


def curve(
    k: int, n: int, send: Send, decide: Decide, start_db: float, most_words: int
) -> list[tuple[float, int, int]]:
    """(Es/N0 in dB, wrong words, words) from above the first target to below the last."""
    points: list[tuple[float, int, int]] = []
    esno_db = math.floor(2 * start_db) / 2
    while not points or points[-1][1] > 0.8 * TARGETS[-1] * points[-1][2]:
        wrong = words = 0
        while wrong < FEWEST_ERRORS and words < most_words:
            # The same payloads and noise for every code.
            rng = np.random.default_rng([k, n, round(100 * esno_db) + 10_000, words])
            bits = rng.integers(0, 2, (BATCH, k), dtype=np.int32)
            # Of each real half of a QPSK symbol of energy 1.
            variance, amplitude = 10 ** (-esno_db / 10) / 2, math.sqrt(0.5)
            received = amplitude * (2.0 * send(bits) - 1) + math.sqrt(variance) * rng.standard_normal(
                (BATCH, n)
            )
            llr = (2 * amplitude / variance * received).astype(np.float32)
            wrong += int((decide(llr) != bits).any(-1).sum())
            words += BATCH
        points.append((esno_db, wrong, words))
        esno_db += STEP_DB
    return points


def crossing(points: list[tuple[float, int, int]], target: float) -> float:
    """Es/N0 at which the BLER is `target`: log BLER is interpolated."""
    dbs, wrong, words = np.array(points).T
    logs = np.log(np.maximum(wrong, 0.5) / words)
    return float(np.interp(-np.log(target), -logs, dbs))


def ldpc(k: int, n: int) -> dict[str, tuple[Send, Decide]]:
    """Ours: the default decoder, and the best that belief propagation can do."""
    code = LdpcCode(k, n)
    send = jax.jit(lambda x: encode(code, x))
    decoders = {
        "LDPC, layered offset int8, 20": LdpcDecoder(code),
        "LDPC, layered sum-product, 50": LdpcDecoder(code, 50, "sum-product", precision="float32", chunk=512),
    }

    def decider(decoder: LdpcDecoder) -> Decide:
        kernel = jax.jit(lambda llr: decode(decoder, rate_recover(code, llr)).bits[:, 0])
        return lambda llr: np.asarray(kernel(jnp.asarray(llr)))

    return {
        name: (lambda x: np.asarray(send(jnp.asarray(x))), decider(decoder))
        for name, decoder in decoders.items()
    }


def polar(k: int, n: int) -> dict[str, tuple[Send, Decide]]:
    """Sionna's: the uplink chain, list of 8."""
    warnings.filterwarnings("ignore")
    import torch
    from sionna.phy.fec.polar import Polar5GDecoder, Polar5GEncoder

    encoder = Polar5GEncoder(k, n)
    decoder = Polar5GDecoder(encoder, "SCL", 8)

    def send(bits: np.ndarray) -> np.ndarray:
        return encoder(torch.tensor(bits, dtype=torch.float32)).numpy()

    def decide(llr: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return decoder(torch.tensor(llr)).numpy()

    return {"polar, CRC-aided list of 8": (send, decide)}


def normal_approximation_db(k: int, n: int, bler: float) -> float:
    """Es/N0 of QPSK at which n uses of the binary AWGN channel carry k bits with that block error rate.

    log2 M = n C - sqrt(n V) Q^-1(e) + log2(n) / 2 (Polyanskiy, Poor and Verdu 2010, eq. 223 with the usual third term).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()

    def excess(esno_db: float) -> float:
        snr = 10 ** (esno_db / 10)  # of a real channel use: half the energy over half the noise
        density = 1 - np.logaddexp(0, -2 * snr - 2 * math.sqrt(snr) * nodes) / math.log(2)
        capacity = float(weights @ density)
        dispersion = float(weights @ (density - capacity) ** 2)
        carried = n * capacity - math.sqrt(n * dispersion) * special.ndtri(1 - bler) + math.log2(n) / 2
        return carried - k

    return float(optimize.brentq(excess, -20, 20))


if __name__ == "__main__":
    main()
