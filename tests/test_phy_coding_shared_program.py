"""One program for many codes: the same bits, checks and iterations as the decoder that is compiled for each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phy.coding import TransportBlock
from phy.coding.shared_program import receive, shape_of

BLOCKS = (  # both base graphs, repetition, fillers, several symbol widths, and no CRC
    TransportBlock(40, 512, 2),
    TransportBlock(240, 512, 2),
    TransportBlock(536, 1024, 4, crc=None),
    TransportBlock(1400, 1536, 6, crc="24a", scrambling=None),
)
LARGE = (  # the largest liftings of both base graphs, and a block that is sent three times over
    TransportBlock(8100, 9600, 4),
    TransportBlock(3000, 6000, 2),
    TransportBlock(60, 1600, 2),
)
WORDS, N = 8, 1600


def places_of(block, n):
    """LLRs anywhere in a transmission of n, in any order."""
    return np.random.default_rng(block.n).permutation(n)[: block.n]


@pytest.mark.parametrize(
    ("rule", "precision", "iterations"), [("sum-product", "float32", 12), ("offset-min-sum", "int8", 6)]
)
def test_one_program_decides_as_the_decoder_of_each_code(rule, precision, iterations):
    seen = decided_alike(BLOCKS, N, (1.6, 0.9, 0.75, 0.38), rule, precision, iterations)
    assert {ok for ok, _ in seen} == {True, False} and len(seen) > 4


def test_the_largest_codes_and_many_copies_too():
    blocks = {block.code.graph.lifting_size for block in LARGE}
    assert max(blocks) == 384 and len(blocks) == 3
    decided_alike(LARGE, 9600, (0.5, 0.8, 1.8), "offset-min-sum", "int8", 3)


def decided_alike(blocks, n, deviations, rule, precision, iterations):
    """(whether the checks hold, iterations) of words that the shared program decides as each code's own decoder does."""
    shape = shape_of(blocks, n)
    settings = {"rule": rule, "precision": precision, "num_iterations": iterations}
    shared = jax.jit(functools.partial(receive, shape, **settings))
    seen = set()
    for block, deviation in zip(blocks, deviations, strict=True):
        rng = np.random.default_rng(block.num_bits)
        payload = rng.integers(0, 2, (WORDS, block.num_bits), dtype=np.int32)
        sent = block.send(payload)
        noisy = 2.0 * sent - 1 + deviation * rng.standard_normal(sent.shape)
        llr = np.float32(2 * noisy / deviation**2)
        own = block.decoder(**settings, chunk=WORDS)
        expected = jax.jit(lambda x, block=block, own=own: block.receive(block.soft(x), own))(llr)
        found = shared(shape.tables(block, places_of(block, n)), spread(block, llr, n))
        np.testing.assert_array_equal(found.bits[:, : block.num_bits], expected.bits)
        np.testing.assert_array_equal(found.ok, expected.ok)
        np.testing.assert_array_equal(found.iterations, expected.iterations[:, 0])
        seen |= {(bool(ok), int(used)) for ok, used in zip(found.ok, found.iterations, strict=True)}
    assert shared._cache_size() == 1
    return seen


def spread(block, llr, n):
    everywhere = np.full((len(llr), n), 7.0, np.float32)  # what no bit of the block has is of no interest
    everywhere[:, places_of(block, n)] = llr
    return jnp.asarray(everywhere)


def test_a_wrong_crc_is_seen_although_all_parity_checks_hold():
    block = BLOCKS[1]
    shape = shape_of([block], block.n)
    whole = TransportBlock(block.num_bits + 16, block.n, 2, crc=None)
    assert whole.code.k == block.code.k
    bits = np.random.default_rng(0).integers(0, 2, (WORDS, whole.num_bits), dtype=np.int32)
    llr = jnp.asarray(20.0 * (2 * whole.send(bits) - 1), jnp.float32)
    decide = jax.jit(
        functools.partial(receive, shape, rule="offset-min-sum", precision="int8", num_iterations=3)
    )
    found = decide(shape.tables(block, np.arange(block.n)), llr)
    np.testing.assert_array_equal(found.bits, bits)
    assert not np.any(found.ok)


def test_several_code_blocks_share_no_program():
    with pytest.raises(ValueError, match="payloads of one code block; got 9000 bits"):
        shape_of([TransportBlock(9000, 12000)], 12000)
