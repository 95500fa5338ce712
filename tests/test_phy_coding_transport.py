"""A payload through CRC, code, scrambling and back: Sionna's sequence, round trips, known losses, combination."""

import hashlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phy.coding import TransportBlock, scrambling_sequence

BLOCKS = (
    TransportBlock(24, 120, 2),  # a short header
    TransportBlock(190, 400, 4, crc=None, scrambling=None),
    TransportBlock(8500, 12004, 4, scrambling=77),  # two code blocks, one filling bit
)


def payload_of(block: TransportBlock, words: int = 3) -> np.ndarray:
    return np.random.default_rng(block.num_bits).integers(0, 2, (words, block.num_bits), dtype=np.int32)


def llrs_of(sent: jax.Array, noise_var: float, seed: int = 0) -> np.ndarray:
    """LLRs of bits sent as -1 (0) and 1 (1) in real noise."""
    y = (
        2.0 * np.asarray(sent)
        - 1
        + np.sqrt(noise_var) * np.random.default_rng(seed).standard_normal(sent.shape)
    )
    return (2 * y / noise_var).astype(np.float32)


@pytest.mark.parametrize(
    ("c_init", "digest"),
    [
        (0, "f712fc4d66156d6d"),
        (1, "e3efc80444d4f670"),
        (12345, "1794ab0f1fdb7c59"),
        (2**31 - 1, "28b5c22f9beda348"),
    ],
)
def test_the_scrambling_sequence_is_sionnas(c_init: int, digest: str) -> None:
    """Of `sionna.phy.nr.utils.generate_prng_seq(2000, c_init)`, version 2.2."""
    sequence = scrambling_sequence(c_init, 2000)
    assert hashlib.sha256(np.packbits(sequence).tobytes()).hexdigest()[:16] == digest
    np.testing.assert_array_equal(scrambling_sequence(c_init, 30), sequence[:30])


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_payload_comes_back_and_a_loss_is_seen(block: TransportBlock) -> None:
    payload = payload_of(block)
    sent = block.send(jnp.asarray(payload))
    assert sent.shape == (3, block.n) and block.code.n == block.n
    llr = llrs_of(sent, 0.02)
    llr[1] = llrs_of(sent[1], 50.0)  # far below any threshold
    decoder = block.decoder(num_iterations=4)
    found = jax.jit(lambda llr: block.receive(block.soft(llr), decoder))(llr)
    np.testing.assert_array_equal(found.bits[::2], payload[::2])
    assert found.ok.tolist() == [True, False, True]
    assert found.iterations.shape == (3, block.code.num_blocks)


def test_lengths_by_the_standard() -> None:
    assert [TransportBlock(size, 3 * size).crc_name for size in (3824, 3825)] == ["16", "24a"]
    assert TransportBlock(100, 200).code.k == 116 and TransportBlock(100, 200, crc=None).code.k == 100
    assert TransportBlock(100, 200).coderate == 0.5
    assert TransportBlock(3, 40, crc=None).code.k == 12  # the smallest code, filled with zeros
    # Base graph 2 for A <= 3824 at R <= 0.67 and for A <= 292, where A and R leave the CRC out.
    assert [
        TransportBlock(*lengths).code.graph.number for lengths in ((288, 400), (3824, 6000), (3825, 6000))
    ] == [2, 2, 1]
    two = TransportBlock(8500, 12004, 4)
    assert (two.code.num_blocks, two.code.k) == (2, 8524) and two.code.graph.number == 1


def test_scrambled_zeros_are_no_constant() -> None:
    """The payload of all zeros has the code word of all zeros; on air half of it are ones."""
    block = TransportBlock(190, 400, crc=None)
    zeros = jnp.zeros((1, 190), jnp.int32)
    assert 150 < int(block.send(zeros).sum()) < 250
    plain = TransportBlock(190, 400, crc=None, scrambling=None)
    assert int(plain.send(zeros).sum()) == 0


@pytest.mark.parametrize("versions", [(0, 0), (0, 2)], ids=["chase", "incremental"])
def test_transmissions_combine(versions: tuple[int, int]) -> None:
    """Where one transmission fails most words, two bring nearly all; the second alone fails as well."""
    block = TransportBlock(190, 300, 2)
    payload = payload_of(block, 64)
    soft = [
        block.version(v).soft(llrs_of(block.version(v).send(jnp.asarray(payload)), 0.56, seed))
        for seed, v in enumerate(versions)
    ]
    decode = jax.jit(partial(block.receive, decoder=block.decoder(versions)))
    alone, together = decode(soft[0]), decode(soft[0] + soft[1])
    assert int(alone.ok.sum()) < 20 and int(together.ok.sum()) > 55
    right = np.all(np.asarray(together.bits) == payload, axis=-1)
    np.testing.assert_array_equal(together.ok, right)  # 16 bits of CRC: no word passes by chance here


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransportBlock(0, 100), "at least one payload bit"),
        (lambda: TransportBlock(100, 0), "and sends some; got 100 and 0"),
        (
            lambda: TransportBlock(100, 110),
            r"n must be at least 123 for 100 payload bits \(116 with CRC and filling\)",
        ),
        (lambda: TransportBlock(100, 201, 2), "multiple of num_bits_per_symbol"),
        (lambda: TransportBlock(100, 200, crc="32"), "no CRC is called '32'"),
        (lambda: TransportBlock(100, 200, scrambling=-1), r"scrambling must be in \[0, 2\^31\)"),
        (lambda: TransportBlock(100, 200).send(jnp.zeros((1, 99), jnp.int32)), "carries 100 bits; got 99"),
        (lambda: TransportBlock(100, 200).soft(jnp.zeros((1, 99))), "got 99"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
