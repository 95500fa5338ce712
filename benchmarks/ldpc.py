"""How fast NR LDPC is decoded: information Mbit/s of our decoders and, where Sionna can be imported, of its own.

Every sample decodes the same noisy words (QPSK over AWGN, as LLRs of the sent bits); all decoders take turns, and the
table shows the minimum, median and maximum of the rounds. "one" is one XLA device, "all" every CPU device at once, each on
its own words. The block error rate beside each rate says what the speed is worth.

    python benchmarks/ldpc.py                    # k=512, n=1024; our decoders only, unless Sionna is there
    python benchmarks/ldpc.py --k 4096 --n 8192 --ebno-db 1.1 --compile
    python benchmarks/ldpc.py --aff3ct           # 50 iterations of (2304, 1152), beside AFF3CT's published figure

Sionna's decoders are flooding ones in float32: "flooding sum-product float32" is like for like, the ratio to the other lines
is also one of schedule, rule and precision.
With Sionna, run it in an environment that holds both: `pip install semsim-jax[sionna]`.
"""

import argparse
import importlib.util
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# Before JAX is imported: a device for each core, each working on its own with one thread.
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={CORES}")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from phy.coding import LdpcCode, LdpcDecoder, decode, encode, rate_recover  # noqa: E402

ITERATIONS = 20
AFF3CT_ITERATIONS, AFF3CT_CORES, AFF3CT_RATE = 50, 32, 862
"""AFF3CT's layered decoder with 16-bit messages, as published for (2304, 1152): coded Mbit/s of all cores together."""
Decide = Callable[[], np.ndarray]  # the decided bits of every word


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--k", type=int, default=512)
    parser.add_argument("--n", type=int, default=1024)
    parser.add_argument("--ebno-db", type=float, default=1.7, help="default 1.7: BLER about 1e-2 at k=512")
    parser.add_argument(
        "--words", type=int, default=1024, help="words for each device in a sample of ours (default 1024)"
    )
    parser.add_argument(
        "--their-words", type=int, default=256, help="words in a sample of Sionna's (default 256)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--compile", action="store_true", help="Sionna under torch.compile too: a minute for each rule"
    )
    parser.add_argument(
        "--aff3ct", action="store_true", help="k=1152, n=2304, 50 iterations: coded bits per core, no Sionna"
    )
    given = parser.parse_args()
    if given.aff3ct:
        given.k, given.n = 1152, 2304
    code, devices = LdpcCode(given.k, given.n), jax.devices()
    bits, llr = noisy(code, given.words * len(devices), given.ebno_db)
    print(
        f"jax {jax.__version__}, {len(devices)} x {devices[0].device_kind}; {code}, {given.ebno_db} dB",
        flush=True,
    )

    contestants: dict[str, tuple[Decide, int]] = {}
    decoders = ours(code)
    if given.aff3ct:
        decoders = {
            f"{name}, {AFF3CT_ITERATIONS}": replace(decoder, num_iterations=AFF3CT_ITERATIONS)
            for name, decoder in (
                ("layered offset int8", decoders["layered offset int8, 20"]),
                ("layered offset float32", decoders["layered offset float32, 20"]),
            )
        }
    for name, decoder in decoders.items():
        for label, used in (("one", devices[:1]), ("all", devices)):
            words = given.words * len(used)
            contestants[f"{name}, {label}"] = (on_devices(decoder, llr[:words], used), words)
    if importlib.util.find_spec("sionna") and not given.aff3ct:
        words = min(given.their_words, len(llr))
        contestants |= {name: (run, words) for name, run in theirs(code, llr[:words], given.compile).items()}

    print(f"{'decoder':44} {'first call':>10}  {'BLER':>7}  Mbit/s, min / median / max")
    rates: dict[str, list[float]] = {}
    first, bler = {}, {}
    for name, (run, words) in contestants.items():
        started = time.perf_counter()
        decided = run()
        first[name] = time.perf_counter() - started
        bler[name] = float(np.mean((decided != bits[:words]).any(-1)))
    for _ in range(given.rounds):
        for name, (run, words) in contestants.items():
            started = time.perf_counter()
            run()
            rates.setdefault(name, []).append(words * code.k / 1e6 / (time.perf_counter() - started))
    for name, found in rates.items():
        figures = " / ".join(f"{value:.2f}" for value in (min(found), statistics.median(found), max(found)))
        print(f"{name:44} {first[name]:8.1f} s  {bler[name]:7.4f}  {figures}", flush=True)
        if given.aff3ct and name.endswith("all"):
            coded = statistics.median(found) * code.n / code.k
            theirs_each, ours_each = AFF3CT_RATE / AFF3CT_CORES, coded / len(devices)
            print(
                f"  {coded:.2f} coded Mbit/s on {len(devices)} cores, {ours_each:.2f} a core; AFF3CT, published: "
                f"{AFF3CT_RATE} on {AFF3CT_CORES}, {theirs_each:.1f} a core, {theirs_each / ours_each:.1f} times ours"
            )


def ours(code: LdpcCode) -> dict[str, LdpcDecoder]:
    """The decoders that are compared."""
    exact = {"rule": "sum-product", "precision": "float32"}
    return {
        "layered offset int8, 20": LdpcDecoder(code, ITERATIONS, early_stop=False),
        "layered offset int8, early": LdpcDecoder(code, ITERATIONS),
        "layered offset float32, 20": LdpcDecoder(code, ITERATIONS, precision="float32", early_stop=False),
        "layered offset float32, early": LdpcDecoder(code, ITERATIONS, precision="float32"),
        "flooding offset int8, 20": LdpcDecoder(code, ITERATIONS, schedule="flooding", early_stop=False),
        "layered sum-product float32, 20": LdpcDecoder(code, ITERATIONS, early_stop=False, **exact),
        "flooding sum-product float32, 20": LdpcDecoder(
            code, ITERATIONS, schedule="flooding", early_stop=False, **exact
        ),
    }


def noisy(code: LdpcCode, words: int, ebno_db: float) -> tuple[np.ndarray, np.ndarray]:
    """Payloads [words, k] and LLRs [words, n] of their sent bits over QPSK and AWGN."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2, (words, code.k))
    sent = np.asarray(jax.jit(lambda x: encode(code, x))(jnp.asarray(bits)))
    variance = 1 / (2 * 10 ** (ebno_db / 10) * code.coderate)
    received = 2 * sent - 1 + np.sqrt(variance) * rng.standard_normal(sent.shape)
    return bits, (2 / variance * received).astype(np.float32)


def on_devices(decoder: LdpcDecoder, llr: np.ndarray, devices: list) -> Decide:
    """Decodes equal shares on the devices, all at work before any result is fetched."""
    shares = [
        jax.device_put(part, device)
        for part, device in zip(np.split(llr, len(devices)), devices, strict=True)
    ]
    kernel = jax.jit(lambda x: decode(decoder, rate_recover(decoder.code, x)).bits[:, 0])

    def run() -> np.ndarray:
        started = [kernel(share) for share in shares]
        return np.concatenate([np.asarray(x) for x in started])

    return run


def theirs(code: LdpcCode, llr: np.ndarray, compiled: bool) -> dict[str, Decide]:
    """Sionna's flooding decoders, eager and under torch.compile."""
    warnings.filterwarnings("ignore")
    import torch
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

    encoder, received = LDPC5GEncoder(code.k, code.n, device="cpu"), torch.tensor(llr)

    def runner(decide: Callable) -> Decide:
        def run() -> np.ndarray:
            with torch.no_grad():
                return decide(received).numpy().astype(np.int64)

        return run

    found = {}
    for rule in ("minsum", "boxplus"):
        decoder = LDPC5GDecoder(encoder, cn_update=rule, num_iter=ITERATIONS, device="cpu")
        found[f"Sionna {rule}, eager, 20"] = runner(decoder)
        if compiled:
            found[f"Sionna {rule}, torch.compile, 20"] = runner(torch.compile(decoder))
    return found


if __name__ == "__main__":
    main()
