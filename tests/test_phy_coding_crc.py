"""CRCs against their published check values and against long division."""

import binascii

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phy.coding import CRCS, crc, crc_attach, crc_check, crc_length

POWERS = {  # TS 38.212 clause 5.1, written as the exponents of each generator
    "24a": (24, 23, 18, 17, 14, 11, 10, 7, 6, 5, 4, 3, 1, 0),
    "24b": (24, 23, 6, 5, 1, 0),
    "24c": (24, 23, 21, 20, 17, 15, 13, 12, 8, 4, 2, 1, 0),
    "16": (16, 12, 5, 0),
    "11": (11, 10, 9, 5, 0),
    "6": (6, 5, 0),
}
DIGITS = np.unpackbits(np.frombuffer(b"123456789", np.uint8)).astype(np.int32)


def value(bits: jax.Array) -> int:
    return int("".join(str(int(b)) for b in np.asarray(bits)), 2)


def test_check_values_of_the_catalogue() -> None:
    """CRC-24/LTE-A, CRC-24/LTE-B and CRC-16/XMODEM of the digits 1 to 9."""
    assert value(crc(jnp.asarray(DIGITS), "24a")) == 0xCDE703
    assert value(crc(jnp.asarray(DIGITS), "24b")) == 0x23EF52
    assert value(crc(jnp.asarray(DIGITS), "16")) == 0x31C3 == binascii.crc_hqx(b"123456789", 0)


@pytest.mark.parametrize("name", CRCS)
def test_long_division(name: str) -> None:
    """The message with its parity is a multiple of the generator, bit by bit over GF(2)."""
    message = np.random.default_rng(0).integers(0, 2, (2, 3, 101))
    whole = np.asarray(crc_attach(jnp.asarray(message), name))
    assert whole.shape == (2, 3, 101 + crc_length(name)) and max(POWERS[name]) == crc_length(name)
    np.testing.assert_array_equal(whole[..., :101], message)
    rest, generator = whole.copy(), crc_length(name) - np.array(POWERS[name])
    for i in range(101):
        rest[..., i + generator] ^= rest[..., i, None].copy()
    assert not rest.any()


@pytest.mark.parametrize("name", CRCS)
def test_linear_and_sees_bursts(name: str) -> None:
    length = crc_length(name)
    rng = np.random.default_rng(1)
    a, b = jnp.asarray(rng.integers(0, 2, (2, 40)))
    np.testing.assert_array_equal(crc(a ^ b, name), crc(a, name) ^ crc(b, name))
    whole = crc_attach(a, name)
    assert bool(crc_check(whole, name))
    bursts = np.zeros((200, 40 + length), np.int64)
    for burst in bursts:
        start = rng.integers(0, 41)
        burst[start : start + length] = rng.integers(0, 2, length)
        burst[start] = 1
    assert not crc_check(whole[None] ^ jnp.asarray(bursts, whole.dtype), name).any()


def test_errors() -> None:
    with pytest.raises(ValueError, match="no CRC is called '32'; one of 24a, 24b"):
        crc(jnp.zeros(8, jnp.int32), "32")
    with pytest.raises(ValueError, match="more than 24 bits; got 24"):
        crc_check(jnp.zeros(24, jnp.int32), "24a")
