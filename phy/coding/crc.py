"""Cyclic redundancy checks of 3GPP TS 38.212 clause 5.1, as products over GF(2).

Bits are integers 0 and 1 on the last axis, the first transmitted bit first; parity bits follow the message.
"""

import functools
from types import ModuleType
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer

_POLYNOMIALS = {  # the generator without its leading term, and its degree
    "24a": (0x864CFB, 24),
    "24b": (0x800063, 24),
    "24c": (0xB2B117, 24),
    "16": (0x1021, 16),
    "11": (0x621, 11),
    "6": (0x21, 6),
}
CRCS = tuple(_POLYNOMIALS)
"""Names of the polynomials of clause 5.1: gCRC24A, gCRC24B, gCRC24C, gCRC16, gCRC11, gCRC6."""
Words = TypeVar("Words", Array, np.ndarray)
"""What senders take: NumPy's arrays are worked off by NumPy, on the host and without a compilation."""
_LONGEST = 1 << 24  # float32 counts ones exactly up to here


def crc_length(name: str) -> int:
    """Number of parity bits of a CRC. Errors: ValueError for an unknown name."""
    if name not in _POLYNOMIALS:
        raise ValueError(f"no CRC is called {name!r}; one of {', '.join(CRCS)}")
    return _POLYNOMIALS[name][1]


def crc(bits: Integer[Words, "*b k"], name: str) -> Integer[Words, "*b l"]:
    """Parity bits of each message: the remainder of its polynomial times D^l (TS 38.212 clause 5.1), highest power first.

    NumPy's bits give NumPy's. Law: linear, crc(a ^ b) = crc(a) ^ crc(b). Errors: ValueError for an unknown name or more than
    2^24 bits.
    """
    length = crc_length(name)
    if bits.shape[-1] > _LONGEST:
        raise ValueError(
            f"a CRC is computed over at most {_LONGEST} bits; got {bits.shape[-1]}: cut the message"
        )
    # A matrix product in floats is what every backend does fastest; sums of ones are exact in float32 accumulators.
    xp = namespace(bits)
    table = xp.asarray(remainders(name, bits.shape[-1]), np.float32)
    ones = xp.matmul(bits.astype(np.float32), table.reshape(bits.shape[-1], length))
    return (ones.astype(np.int32) & 1).astype(bits.dtype)


def crc_attach(bits: Integer[Words, "*b k"], name: str) -> Integer[Words, "*b n"]:
    """Messages followed by their parity bits. [*b, k + l]"""
    return namespace(bits).concatenate([bits, crc(bits, name)], axis=-1)


def crc_check(bits: Integer[Array, "*b n"], name: str) -> Bool[Array, "*b"]:
    """True where the last bits are the CRC of the others: an error of up to l bits in a row is always seen.

    Errors: ValueError unless there are more bits than parity bits.
    """
    length = crc_length(name)
    if bits.shape[-1] <= length:
        raise ValueError(f"a message with CRC {name} has more than {length} bits; got {bits.shape[-1]}")
    return jnp.all(crc(bits[..., :-length], name) == bits[..., -length:], axis=-1)


def namespace(bits: Array | np.ndarray) -> ModuleType:
    """NumPy or JAX's: whose array it is."""
    return np if isinstance(bits, np.ndarray) else jnp


@functools.lru_cache(maxsize=64)
def remainders(name: str, k: int) -> np.ndarray:
    """Row i: what bit i of a message of k bits contributes, D^(k - 1 - i + l) modulo the generator. [k, l]"""
    polynomial, length = _POLYNOMIALS[name]
    registers = np.empty(k, np.uint32)
    register = 1 << (length - 1)
    for i in range(k - 1, -1, -1):
        register = ((register << 1) ^ (polynomial if register >> (length - 1) else 0)) & ((1 << length) - 1)
        registers[i] = register
    table = ((registers[:, None] >> np.arange(length - 1, -1, -1)) & 1).astype(np.uint8)
    table.setflags(write=False)
    return table
