"""The pilot sequence: deterministic unit-energy QPSK that both ends know, so that it costs airtime but no
side information."""

import numpy as np

_SKIPPED = 1600  # N_C of TS 38.211: output starts where the two shift registers have mixed


def gold_sequence(length: int, seed: int) -> np.ndarray:
    """Pseudo-random bits of the length-31 Gold sequence, 3GPP TS 38.211 clause 5.2.1. [length], int8

    seed: c_init, the state of the second shift register. Errors: ValueError if it is not in [0, 2^31).
    """
    if not 0 <= seed < 1 << 31:
        raise ValueError(f"the seed of a Gold sequence must be in [0, 2^31); got {seed}")
    total = _SKIPPED + length
    first = np.zeros(total + 31, np.int8)
    second = np.zeros(total + 31, np.int8)
    first[0] = 1
    second[:31] = [(seed >> i) & 1 for i in range(31)]
    # x1(n+31) = x1(n+3) + x1(n); x2(n+31) = x2(n+3) + x2(n+2) + x2(n+1) + x2(n), mod 2. The shortest feedback
    # reaches back 28 places, so 28 new bits follow from known ones at a time.
    for n in range(0, total, 28):
        m = min(n + 28, total)
        first[n + 31 : m + 31] = first[n + 3 : m + 3] ^ first[n:m]
        second[n + 31 : m + 31] = (
            second[n + 3 : m + 3] ^ second[n + 2 : m + 2] ^ second[n + 1 : m + 1] ^ second[n:m]
        )
    return (first ^ second)[_SKIPPED:total]


def qpsk_sequence(length: int, seed: int = 1) -> np.ndarray:
    """Unit-energy QPSK pilots r(n) = ((1 - 2c(2n)) + j(1 - 2c(2n+1))) / sqrt(2), TS 38.211 clause 7.4.1.1.1.
    complex64"""
    bits = 1 - 2 * gold_sequence(2 * length, seed).astype(np.float64)
    return ((bits[0::2] + 1j * bits[1::2]) / np.sqrt(2.0)).astype(np.complex64)
