"""Block error rates over AWGN against Sionna's same decoder, word for word on the same noise: less than 0.05 dB apart."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phy import labels_of_bits, qam
from phy.coding import LdpcCode, LdpcDecoder, decode, encode, rate_recover
from semsim.stats import FOUR_SIGMA, proportion_interval

ROWS = json.loads((Path(__file__).parent / "reference" / "ldpc_bler.json").read_text())
CASES = sorted({tuple(row[:4]) for row in ROWS})
DRAWN = 32  # words of one seed, as in make_ldpc_bler_fixtures.py
TARGET, APART_DB = 1e-2, 0.05


def draw(k: int, n: int, bits_per_symbol: int, ebno_db: float, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """The payloads and the unit noise that Sionna met."""
    rng = np.random.default_rng([k, n, bits_per_symbol, round(100 * ebno_db), batch])
    bits = rng.integers(0, 2, (DRAWN, k), dtype=np.uint8)
    return bits, np.sqrt(np.float32(0.5)) * rng.standard_normal((DRAWN, n // bits_per_symbol, 2), np.float32)


def test_every_size_and_modulation_is_there() -> None:
    assert {case[:3] for case in CASES} == {(k, 2 * k, bits) for k in (512, 1024, 4096) for bits in (2, 4)}


@functools.partial(jax.jit, static_argnums=0)
def wrong_words(decoder: LdpcDecoder, bits: jax.Array, noise: jax.Array, no: jax.Array) -> jax.Array:
    """The whole link: which words are decided wrong. bits [w, k], noise [w, s, 2], no [] -> [w]"""
    code = decoder.code
    modulation, sent = qam(code.num_bits_per_symbol), encode(code, bits)
    symbols = modulation.modulate(labels_of_bits(sent.reshape(len(sent), -1, code.num_bits_per_symbol)))
    received = symbols + jnp.sqrt(no) * jax.lax.complex(noise[..., 0], noise[..., 1])
    llr = modulation.llr(received, no).reshape(len(sent), code.n)
    return (decode(decoder, rate_recover(code, llr)).bits[:, 0] != bits).any(-1)


def ours(decoder: LdpcDecoder, ebno_db: float, words: int) -> np.ndarray:
    """Which of the first words of a row we decide wrong, [words]."""
    code = decoder.code
    no = jnp.float32(1 / (10 ** (ebno_db / 10) * code.num_bits_per_symbol * code.coderate))
    at_once = DRAWN * max(1, 16384 // code.k)  # one shape, so that one program serves a row of any length
    found = []
    for start in range(0, words, at_once):
        drawn = [
            draw(code.k, code.n, code.num_bits_per_symbol, ebno_db, batch)
            for batch in range(start // DRAWN, (start + at_once) // DRAWN)
        ]
        bits, noise = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        found.append(np.asarray(wrong_words(decoder, bits, noise, no)))
    return np.concatenate(found)[:words]


def theirs(row: list) -> np.ndarray:
    """Which words of a row Sionna decided wrong, [words]."""
    wrong = np.zeros(row[5], bool)
    wrong[row[6]] = True
    return wrong


def threshold_db(ebno_db: np.ndarray, wrong: np.ndarray, words: np.ndarray) -> float:
    """Eb/N0 of the target, on the line through two points of log BLER."""
    low, high = np.log(wrong / words)
    return float(ebno_db[0] + (ebno_db[1] - ebno_db[0]) * (low - np.log(TARGET)) / (low - high))


@pytest.mark.parametrize(
    "case",
    [case if case[:3] == (512, 1024, 2) else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
    ids=lambda case: f"{case[0]}-{2 ** case[2]}qam-{case[3]}",
)
def test_the_same_decoder_of_sionna_is_less_than_a_twentieth_of_a_db_apart(
    case: tuple[int, int, int, str],
) -> None:
    """20 flooding iterations in float32. Counts of one SNR would leave 0.1 dB open; words in pairs do not: only those
    that one decoder got right and the other wrong can move the curve."""
    rows = [row for row in ROWS if tuple(row[:4]) == case]
    code = LdpcCode(*case[:3])
    decoder = LdpcDecoder(code, 20, case[3], "flooding", "float32", early_stop=False)
    ebno_db, words = (np.array([row[i] for row in rows]) for i in (4, 5))
    their, our = [theirs(row) for row in rows], [ours(decoder, row[4], row[5]) for row in rows]
    errors, found = (np.array([wrong.sum() for wrong in side]) for side in (their, our))
    assert errors[0] / words[0] > TARGET > errors[1] / words[1] and errors.min() >= 10
    apart = threshold_db(ebno_db, found, words) - threshold_db(ebno_db, errors, words)
    # What chance may hide: the largest rate of different words that is within 4 sigma, all of them to one side.
    differ = sum(int((a != b).sum()) for a, b in zip(their, our, strict=True))
    hidden = proportion_interval(differ, int(words.sum()), FOUR_SIGMA).high * words.sum() / errors.sum()
    slope = np.log(errors[0] / words[0] * words[1] / errors[1]) / (ebno_db[1] - ebno_db[0])
    assert abs(apart) + hidden / slope < APART_DB, (apart, hidden / slope, differ, errors)


def test_the_default_beats_sionnas_exact_rule() -> None:
    """Layered int8 offset min-sum against flooding sum-product, 20 iterations each, on the same words."""
    row = next(row for row in ROWS if row[:4] == [512, 1024, 2, "sum-product"])
    words = min(row[5], 4096)
    default = ours(LdpcDecoder(LdpcCode(*row[:3])), row[4], words)
    assert default.sum() < theirs(row)[:words].sum() and words >= 2048
