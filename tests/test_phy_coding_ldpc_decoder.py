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
WORDS = 40


def received(decoder: LdpcDecoder, llr: jax.Array) -> Decoded:
    return decode(decoder, rate_recover(decoder.code, llr))


def each_received(decoder: LdpcDecoder, llr: jax.Array) -> Decoded:
    return jax.vmap(functools.partial(received, decoder))(llr)


# Every decoder is a program of its own, and most of the time here was spent on optimising them. Where many words are
# decoded it pays; laws need few.
unoptimised = functools.partial(
    jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0}
)
run, run_many, run_each = (
    unoptimised(received),
    jax.jit(received, static_argnums=0),
    unoptimised(each_received),
)
run_recovered, sent_by = unoptimised(decode), unoptimised(encode)


def over_awgn(code: LdpcCode, words: int, ebno_db: float, seed: int) -> tuple[np.ndarray, jax.Array]:
    """Payloads, and LLRs of their sent bits over QPSK: two real channels of noise variance N0 / 2 each."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (words, code.k))
    sent = np.asarray(sent_by(code, bits))
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
    "decoder",
    plans(SMALL, num_iterations=8, early_stop=False),
    ids=lambda d: f"{d.rule}-{d.schedule}-{d.precision}",
)
def test_laws_of_every_decoder(decoder: LdpcDecoder) -> None:
    bits, llr = over_awgn(SMALL, WORDS, 60.0, 0)
    decoded = run(decoder, jnp.clip(llr, -6, 6))  # a word without noise comes back
    np.testing.assert_array_equal(decoded.bits[:, 0], bits)
    np.testing.assert_array_equal(decoded.llr[:, 0] > 0, bits == 1)
    assert bool(decoded.satisfied.all()) and bool((decoded.iterations == 8).all())
    assert decoded.bits.dtype == jnp.int32 and decoded.llr.dtype == jnp.float32
    # All words fail alike: the all-zero word under the same noise has the same posteriors, mirrored where a bit is 1.
    bits, llr = over_awgn(SMALL, WORDS, 1.0, 3)
    one = run(decoder, llr)
    zero = run(decoder, llr * (1 - 2 * np.asarray(sent_by(SMALL, bits))))
    if decoder.rule == "sum-product":  # its logarithm is not odd to the last bit
        np.testing.assert_array_equal(np.asarray(one.bits)[:, 0] ^ bits, zero.bits[:, 0])
    else:  # and a posterior of 0 is decided as 1 whatever was sent
        np.testing.assert_array_equal(np.asarray(one.llr)[:, 0] * (1 - 2 * bits), zero.llr[:, 0])
    assert 0 < int(one.satisfied.sum()) < WORDS
    nothing = run(decoder, jnp.zeros((WORDS, SMALL.n)))  # heard is not decoded
    assert not nothing.satisfied.any() and not np.asarray(nothing.llr).any()


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
    decoded = run_many(LdpcDecoder(code, 20, rule, schedule, precision), llr)
    found = int((np.asarray(decoded.bits)[:, 0] != bits).any(-1).sum())
    pooled = (found + errors) / (words + trials)
    sigma = np.sqrt(pooled * (1 - pooled) * (1 / words + 1 / trials))
    assert abs(found / words - errors / trials) < 4 * sigma, (found / words, errors / trials)


@pytest.mark.parametrize(
    ("schedule", "precision", "ebno_db", "seed"),
    [("layered", "int8", 3.0, 4), ("flooding", "float32", 3.75, 11)],
)
def test_early_termination_changes_no_word_and_neighbours_do_not_matter(
    schedule: str, precision: str, ebno_db: float, seed: int
) -> None:
    """Chunks of any size give the same; a finished word is what stopping after its iterations would have given."""
    bits, llr = over_awgn(SMALL, WORDS, ebno_db, seed)
    plan = functools.partial(LdpcDecoder, SMALL, 8, schedule=schedule, precision=precision)
    early = run(plan(chunk=16), llr)  # two rounds, with stragglers
    jax.tree.map(np.testing.assert_array_equal, early, run(plan(chunk=64), llr))
    others = np.random.default_rng(0).permutation(WORDS)  # each in another chunk, beside others
    turned = jax.tree.map(lambda x: x[others], early)
    jax.tree.map(np.testing.assert_array_equal, turned, run(plan(chunk=16), llr[others]))
    used = np.asarray(early.iterations)[:, 0]
    # One word is not finished when all others are: its chunk was left without it, and it alone started again.
    assert np.sort(used)[-2] < used.max() == 8 and used.min() <= 5
    for iterations, chunk in ((5, 16), (8, 128)):
        fixed = run(
            LdpcDecoder(
                SMALL, iterations, schedule=schedule, precision=precision, early_stop=False, chunk=chunk
            ),
            llr,
        )
        same = used == iterations
        assert same.any()
        np.testing.assert_array_equal(fixed.bits[same], early.bits[same])
        np.testing.assert_array_equal(fixed.satisfied[same], early.satisfied[same])
    wrong = (np.asarray(early.bits)[:, 0] != bits).any(-1)
    assert wrong.any() and not np.asarray(early.satisfied)[wrong].all()
    clean = run(plan(chunk=64), jnp.clip(over_awgn(SMALL, WORDS, 60.0, 0)[1], -6, 6))
    assert bool(clean.satisfied.all()) and int(clean.iterations.max()) <= 4


def test_vmap_is_one_at_a_time() -> None:
    _, llr = over_awgn(SMALL, WORDS, 1.5, 4)
    decoder = LdpcDecoder(SMALL, 8, chunk=64)
    found = run_each(decoder, llr.reshape(2, WORDS // 2, -1))
    expected = run(decoder, llr)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x.reshape(y.shape), y), found, expected)


def test_code_blocks_and_combined_transmissions() -> None:
    """Three blocks decode together; two redundancy versions, each hopeless alone, add up."""
    large = LdpcCode(9000, 15002, 2, base_graph=2)
    assert large.num_blocks == 3 and len(set(large.sent_per_block)) == 2
    bits, llr = over_awgn(large, 2, 3.5, 5)
    joined = join(large, run(LdpcDecoder(large), llr).bits)
    np.testing.assert_array_equal(joined.bits, bits)
    assert bool(joined.blocks_ok.all())
    first, second = LdpcCode(512, 600), LdpcCode(512, 600, redundancy_version=2)
    bits, llr_first = over_awgn(first, 50, 2.0, 6)
    _, llr_second = over_awgn(second, 50, 2.0, 6)  # the same seed: the same payloads
    decoder = LdpcDecoder(first, num_rows=max(first.num_rows, second.num_rows))
    alone = rate_recover(first, llr_first)
    combined = alone + rate_recover(second, llr_second)
    # Both in one program: checks of which nothing was heard tell the word that is alone nothing.
    decided = np.asarray(run_recovered(decoder, jnp.stack([alone, combined])).bits)[:, :, 0]
    wrong = (decided != bits).any(-1).mean(-1)
    assert wrong[0] > 0.5 and wrong[1] < 0.1


def test_errors() -> None:
    with pytest.raises(ValueError, match="rule must be one of min-sum, offset-min-sum"):
        LdpcDecoder(SMALL, rule="best")
    with pytest.raises(ValueError, match="schedule must be one of layered, flooding; got 'serial'"):
        LdpcDecoder(SMALL, schedule="serial")
    with pytest.raises(ValueError, match='sum-product rule needs precision="float32"'):
        LdpcDecoder(SMALL, rule="sum-product")
    with pytest.raises(ValueError, match="num_iterations must be at least 1; got 0"):
        LdpcDecoder(SMALL, 0)
    with pytest.raises(ValueError, match="chunk must be at least 1 word, or None; got 0"):
        LdpcDecoder(SMALL, chunk=0)
    with pytest.raises(ValueError, match=r"num_rows must be in \[\d+, 42\]; got 43"):
        LdpcDecoder(SMALL, num_rows=43)
    with pytest.raises(ValueError, match="rate_recover the LLRs first"):
        decode(LdpcDecoder(SMALL), jnp.zeros((2, 200)))
    with pytest.raises(ValueError, match="the batch is empty"):
        decode(LdpcDecoder(SMALL), jnp.zeros((0, 1, SMALL.word_bits)))
