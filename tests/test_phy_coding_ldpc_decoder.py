"""Belief propagation: laws, Sionna's decisions bit for bit, and Sionna's block error rates."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phy.coding import RULES, Decoded, LdpcCode, LdpcDecoder, decode, encode, join, rate_recover

SIONNA = np.load(Path(__file__).parent / "reference" / "ldpc_decoder.npz")
FIXTURES = {  # as in make_ldpc_fixtures.py
    "bg2-filler": LdpcCode(512, 1024),
    "bg2-full": LdpcCode(640, 1280),
    "bg1-full": LdpcCode(1056, 1500),
    "bg1-low": LdpcCode(3900, 9800),
}
SMALL = LdpcCode(96, 200)


@functools.partial(jax.jit, static_argnums=0)
def run(decoder: LdpcDecoder, llr: jax.Array) -> Decoded:
    return decode(decoder, rate_recover(decoder.code, llr))


def over_awgn(code: LdpcCode, words: int, ebno_db: float, seed: int) -> tuple[np.ndarray, jax.Array]:
    """Payloads, and LLRs of their sent bits over QPSK: two real channels of noise variance N0 / 2 each."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (words, code.k))
    sent = np.asarray(jax.jit(lambda x: encode(code, x))(jnp.asarray(bits)))
    variance = 1 / (2 * 10 ** (ebno_db / 10) * code.coderate)
    noisy = 2 * sent - 1 + np.sqrt(variance) * rng.standard_normal(sent.shape)
    return bits, jnp.asarray(2 / variance * noisy, jnp.float32)


def plans(code: LdpcCode, **settings) -> list[LdpcDecoder]:
    """Every rule, schedule and precision that go together."""
    return [
        LdpcDecoder(code, rule=rule, schedule=schedule, precision=precision, **settings)
        for rule in RULES
        for schedule in ("layered", "flooding")
        for precision in ("int8", "float32")
        if (rule, precision) != ("sum-product", "int8")
    ]


@pytest.mark.parametrize(
    "decoder", plans(SMALL, num_iterations=10), ids=lambda d: f"{d.rule}-{d.schedule}-{d.precision}"
)
def test_a_word_without_noise_comes_back(decoder: LdpcDecoder) -> None:
    bits, llr = over_awgn(SMALL, 20, 60.0, 0)
    decoded = run(decoder, jnp.clip(llr, -6, 6))
    np.testing.assert_array_equal(decoded.bits[:, 0], bits)
    np.testing.assert_array_equal(decoded.llr[:, 0] > 0, bits == 1)
    assert bool(decoded.satisfied.all()) and int(decoded.iterations.max()) <= 4
    assert decoded.bits.dtype == jnp.int32 and decoded.llr.dtype == jnp.float32


def check_decisions(name: str, rule: str, iterations: int) -> None:
    """Flooding. The LLRs are multiples of 1/8, so that the sums of the min-sum rules are exact in both."""
    code, quantised = FIXTURES[name], SIONNA[f"{name}.llr"]
    decoder = LdpcDecoder(code, iterations, rule, "flooding", "float32", early_stop=False)
    decided = np.asarray(run(decoder, jnp.asarray(quantised / 8, jnp.float32)).bits)[:, 0]
    theirs = np.unpackbits(SIONNA[f"{name}.{rule}.{iterations}"], axis=-1, count=code.k)
    assert np.array_equal(decided, theirs), (name, iterations, int((decided != theirs).sum()))


@pytest.mark.parametrize("rule", ["min-sum", "offset-min-sum", "sum-product"])
def test_decisions_are_sionnas(rule: str) -> None:
    check_decisions("bg2-filler", rule, 5)
    check_decisions("bg2-filler" if rule == "sum-product" else "bg1-full", rule, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("rule", ["min-sum", "offset-min-sum", "sum-product"])
def test_decisions_are_sionnas_for_all_codes(name: str, rule: str) -> None:
    for iterations in (1, 5, 20):
        check_decisions(name, rule, iterations)


@pytest.mark.parametrize(
    ("rule", "schedule", "precision", "ebno_db", "errors", "trials"),
    [
        ("sum-product", "flooding", "float32", 1.5, 307, 4096),
        pytest.param("sum-product", "flooding", "float32", 1.0, 351, 768, marks=pytest.mark.slow),
        pytest.param("min-sum", "flooding", "float32", 2.0, 335, 2048, marks=pytest.mark.slow),
        ("min-sum", "flooding", "int8", 2.0, 335, 2048),
        ("offset-min-sum", "flooding", "float32", 1.5, 331, 2304),
    ],
)
def test_block_error_rates_are_sionnas(
    rule: str, schedule: str, precision: str, ebno_db: float, errors: int, trials: int
) -> None:
    """k=512, n=1024, QPSK over AWGN, 20 iterations: two binomial counts within 4 sigma of each other."""
    code, words = LdpcCode(512, 1024), 1536
    bits, llr = over_awgn(code, words, ebno_db, 11)
    decoded = run(LdpcDecoder(code, 20, rule, schedule, precision), llr)
    found = int((np.asarray(decoded.bits)[:, 0] != bits).any(-1).sum())
    pooled = (found + errors) / (words + trials)
    sigma = np.sqrt(pooled * (1 - pooled) * (1 / words + 1 / trials))
    assert abs(found / words - errors / trials) < 4 * sigma, (found / words, errors / trials)


def test_the_default_beats_the_exact_rule_of_a_flooding_decoder() -> None:
    """Layered int8 offset min-sum against flooding float32 sum-product, 20 iterations each, on the same noise."""
    code = LdpcCode(512, 1024)
    bits, llr = over_awgn(code, 1536, 1.5, 12)
    wrong = [
        (np.asarray(run(decoder, llr).bits)[:, 0] != bits).any(-1).sum()
        for decoder in (
            LdpcDecoder(code),
            LdpcDecoder(code, rule="sum-product", schedule="flooding", precision="float32"),
        )
    ]
    assert wrong[0] < wrong[1], wrong


@pytest.mark.parametrize("schedule", ["layered", "flooding"])
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_all_words_fail_alike(schedule: str, precision: str) -> None:
    """The all-zero word under the same noise has the same posteriors, mirrored at the bits that are 1.

    Fixed iterations, and decisions compared where the posterior is not 0: a tie is decided as 1 whatever was sent.
    """
    bits, llr = over_awgn(SMALL, 40, 1.0, 3)
    sent = np.asarray(encode(SMALL, jnp.asarray(bits)))
    decoder = LdpcDecoder(SMALL, 8, schedule=schedule, precision=precision, early_stop=False)
    one, zero = run(decoder, llr), run(decoder, llr * (1 - 2 * sent))
    np.testing.assert_array_equal(np.asarray(one.llr)[:, 0] * (1 - 2 * bits), zero.llr[:, 0])
    assert 0 < int(one.satisfied.sum()) < 40


@pytest.mark.parametrize("schedule", ["layered", pytest.param("flooding", marks=pytest.mark.slow)])
def test_early_termination_changes_no_word_and_neighbours_do_not_matter(schedule: str) -> None:
    """Chunks of any size give the same; a finished word is what stopping after its iterations would have given."""
    bits, llr = over_awgn(SMALL, 150, 1.5, 4)
    plan = functools.partial(LdpcDecoder, SMALL, 8, schedule=schedule)
    early = run(plan(chunk=16), llr)  # two rounds, with stragglers
    for other in (plan(chunk=64),):
        jax.tree.map(np.testing.assert_array_equal, early, run(other, llr))
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x: x[7:8], early), run(plan(), llr[7:8]))
    used = np.asarray(early.iterations)[:, 0]
    assert 0 < (used == 8).sum() < 150 and used.min() <= 5
    for iterations in (6, 8):
        fixed = run(LdpcDecoder(SMALL, iterations, schedule=schedule, early_stop=False, chunk=64), llr)
        same = used == iterations
        np.testing.assert_array_equal(fixed.bits[same], early.bits[same])
        np.testing.assert_array_equal(fixed.satisfied[same], early.satisfied[same])
    wrong = (np.asarray(early.bits)[:, 0] != bits).any(-1)
    assert not np.asarray(early.satisfied)[wrong].all()


def test_nothing_heard_is_not_decoded() -> None:
    for decoder in (LdpcDecoder(SMALL), LdpcDecoder(SMALL, precision="float32", schedule="flooding")):
        decoded = run(decoder, jnp.zeros((2, SMALL.n)))
        assert not decoded.satisfied.any() and not np.asarray(decoded.llr).any()


def test_code_blocks_and_combined_transmissions() -> None:
    """Three blocks decode together; two redundancy versions, each hopeless alone, add up."""
    large = LdpcCode(20001, 40002, 2)
    bits, llr = over_awgn(large, 2, 2.5, 5)
    joined = join(large, run(LdpcDecoder(large), llr).bits)
    np.testing.assert_array_equal(joined.bits, bits)
    assert bool(joined.blocks_ok.all())
    first, second = LdpcCode(512, 600), LdpcCode(512, 600, redundancy_version=2)
    bits, llr_first = over_awgn(first, 50, 2.0, 6)
    _, llr_second = over_awgn(second, 50, 2.0, 6)  # the same seed: the same payloads
    most = max(first.num_rows, second.num_rows)
    combined = rate_recover(first, llr_first) + rate_recover(second, llr_second)
    decoded = decode(LdpcDecoder(first, num_rows=most), combined)
    alone = run(LdpcDecoder(first), llr_first)
    assert (np.asarray(decoded.bits)[:, 0] != bits).any(-1).mean() < 0.1
    assert (np.asarray(alone.bits)[:, 0] != bits).any(-1).mean() > 0.5


def test_errors() -> None:
    with pytest.raises(ValueError, match="rule must be one of min-sum, offset-min-sum"):
        LdpcDecoder(SMALL, rule="best")
    with pytest.raises(ValueError, match="schedule must be one of layered, flooding; got 'serial'"):
        LdpcDecoder(SMALL, schedule="serial")
    with pytest.raises(ValueError, match='sum-product rule needs precision="float32"'):
        LdpcDecoder(SMALL, rule="sum-product")
    with pytest.raises(ValueError, match="must be at least 1; got 0 and 128"):
        LdpcDecoder(SMALL, 0)
    with pytest.raises(ValueError, match=r"num_rows must be in \[\d+, 42\]; got 43"):
        LdpcDecoder(SMALL, num_rows=43)
    with pytest.raises(ValueError, match="rate_recover the LLRs first"):
        decode(LdpcDecoder(SMALL), jnp.zeros((2, 200)))
    with pytest.raises(ValueError, match="the batch is empty"):
        decode(LdpcDecoder(SMALL), jnp.zeros((0, 1, SMALL.word_bits)))
