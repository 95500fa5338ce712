"""The decoder on devices that are not here: its program for them gives the CPU's bits, and never writes where it reads."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phy.coding import RULES, LdpcCode, LdpcDecoder, decode, encode, rate_recover
from phy.coding import ldpc_decoder as decoding
from phy.coding.ldpc_decoder import decode_words

WORDS = 37
SMALL = LdpcCode(24, 40)
FILLED = LdpcCode(90, 160)
PLANS = [
    LdpcDecoder(FILLED, 5, early_stop=False),
    LdpcDecoder(SMALL, 5),
    LdpcDecoder(LdpcCode(40, 120), 5, "normalised-min-sum", early_stop=False),
    LdpcDecoder(LdpcCode(40, 100, redundancy_version=2), 10, "min-sum", early_stop=False),
    LdpcDecoder(LdpcCode(400, 500, base_graph=1), 5, precision="float32", early_stop=False),
    LdpcDecoder(SMALL, 5, "sum-product", precision="float32"),
    LdpcDecoder(FILLED, 5, schedule="flooding", early_stop=False),
    LdpcDecoder(SMALL, 5, "sum-product", "flooding", "float32"),
]
NAMES = [f"{d.rule}-{d.schedule}-{d.precision}" for d in PLANS]


def words_of(code: LdpcCode, ebno_db: float, seed: int = 0) -> jax.Array:
    """ln P(0)/P(1) of all bits of noisy words, in steps of 1/8. [words, bits]"""
    rng = np.random.default_rng(seed)
    bits = jnp.asarray(rng.integers(0, 2, (WORDS, code.k)))
    variance = 1 / (2 * 10 ** (ebno_db / 10) * code.coderate)
    noisy = 2 * np.asarray(encode(code, bits)) - 1 + np.sqrt(variance) * rng.standard_normal((WORDS, code.n))
    llr = np.clip(np.round(2 / variance * noisy * 8), -127, 127) / 8
    return -rate_recover(code, jnp.asarray(llr, jnp.float32))[:, 0]


@functools.partial(jax.jit, static_argnums=(0, 2), compiler_options={"xla_backend_optimization_level": 0})
def decided(decoder: LdpcDecoder, start: jax.Array, on_cpu: bool) -> decoding.Found:
    if decoder.precision == "int8":
        start = jnp.clip(start * 8, -127, 127).astype(jnp.int8)
    return decode_words(decoder, start, on_cpu=on_cpu)


def test_every_rule_is_compared() -> None:
    assert {d.rule for d in PLANS} == set(RULES)


@pytest.mark.parametrize("decoder", PLANS, ids=NAMES)
def test_the_program_for_accelerators_gives_the_bits_of_the_one_for_a_cpu(decoder: LdpcDecoder) -> None:
    start = words_of(decoder.code, 2.5)
    here, there = decided(decoder, start, True), decided(decoder, start, False)
    assert 0 < int(here.satisfied.sum()) < WORDS
    jax.tree.map(np.testing.assert_array_equal, there, here)


@pytest.mark.parametrize(
    ("on_cpu", "early_stop"),
    [(True, True), (False, True), (False, False)],
    ids=["cpu", "accelerator", "accelerator-fixed"],
)
def test_the_result_of_a_word_does_not_depend_on_the_words_beside_it(
    on_cpu: bool, early_stop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks of 1, of 2 and of 16 (the last is padded, the unfinished start again), and all at once."""
    plan = functools.partial(LdpcDecoder, SMALL, 5, early_stop=early_stop)
    start = words_of(SMALL, 2.5, seed=1)
    whole = decided(plan(chunk=128), start, on_cpu)
    assert 0 < int(whole.satisfied.sum()) < WORDS
    for chunk in (1, 2, 16) if early_stop else (16,):
        jax.tree.map(np.testing.assert_array_equal, decided(plan(chunk=chunk), start, on_cpu), whole)
    if not early_stop:
        return
    monkeypatch.setattr(decoding, "CPU_CHUNK", 4)  # all at once, and the unfinished again in chunks of 4
    jax.tree.map(np.testing.assert_array_equal, decided(plan(chunk=WORDS), start, on_cpu), whole)
    order = np.random.default_rng(0).permutation(WORDS)
    turned = decided(plan(chunk=6), start[order], on_cpu)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y[order]), turned, whole)


def lowered(decoder: LdpcDecoder, platform: str) -> str:
    """StableHLO of a call; no such device is needed."""
    llr = jax.ShapeDtypeStruct((48, decoder.code.n), jnp.float32)
    call = jax.jit(lambda x: decode(decoder, rate_recover(decoder.code, x)))
    return jax.export.export(call, platforms=[platform])(llr).mlir_module()


def operations(text: str, name: str) -> int:
    return len(re.findall(rf"\bstablehlo\.{name}\b", text))


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
@pytest.mark.parametrize("schedule", ["layered", "flooding"])
@pytest.mark.parametrize("chunk", [16, None])
def test_nothing_is_written_where_it_is_read(platform: str, schedule: str, chunk: int | None) -> None:
    """A GPU decided other words for other chunks while one kernel gathered from and scattered into one array.

    The law of a correct program on any device, without one: no scatter at all, and no update in place but that of
    finished words by whole chunks, once they have all been decoded.
    """
    decoder = LdpcDecoder(SMALL, schedule=schedule, chunk=chunk)
    text = lowered(decoder, platform)
    assert operations(text, "while") and operations(text, "concatenate")  # the form that is looked for
    assert not operations(text, "scatter")
    # Stacked results of the first round, then three results of the second: of chunks, outside every iteration.
    assert operations(text, "dynamic_update_slice") <= (6 if chunk else 0)
    for body in re.findall(r"func\.func private @_chunk\b.*?\n  }", text, re.DOTALL):
        assert "dynamic_update_slice" not in body
    assert operations(text, "optimization_barrier")


def test_scatters_are_seen() -> None:
    """So that the test above cannot pass because it recognises nothing: the program for a CPU has them."""
    assert operations(lowered(LdpcDecoder(SMALL), "cpu"), "scatter")


def test_words_at_once() -> None:
    """128 on a CPU; elsewhere all that fit, in chunks of about one size."""
    decoder = LdpcDecoder(LdpcCode(4096, 8192))
    assert [decoder.words_at_once(words, on_cpu=True) for words in (1, 128, 129)] == [1, 128, 128]
    most = int(decoding.MEMORY_SHARE * 2**34) // decoder.bytes_per_word
    assert 5000 < most < 20000  # a word's posteriors and messages are 100 kB, in several copies
    assert [decoder.words_at_once(n, on_cpu=False) for n in (7, most, most + 1)] == [7, most, most // 2 + 1]
    for on_cpu in (True, False):
        assert LdpcDecoder(LdpcCode(4096, 8192), chunk=40).words_at_once(1000, on_cpu=on_cpu) == 40


def test_memory_decides_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = LdpcDecoder(SMALL)

    class Device:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 4 * 10 * decoder.bytes_per_word}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert decoder.words_at_once(10, on_cpu=False) == 10
    assert decoder.words_at_once(25, on_cpu=False) == 9
