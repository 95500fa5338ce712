"""The three payloads over one link."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import channels
import phy
from phy import ResourceGrid
from phy.index_map import random
from semsim.link import Link, fade, send_bits, send_indices, send_symbols
from semsim.payload import Bits, Indices, Symbols

KEY = jax.random.key(3)
GRID = ResourceGrid(4, 32, 4, pilot_ofdm_symbol_indices=(0, 3))
CLEAN, NOISY = jnp.float32(1e-9), jnp.float32(0.05)


def gain_of(batch, symbols):
    fading = channels.grid_rayleigh(frequencies=GRID.frequencies, times=GRID.times)
    return fade(KEY, Link(GRID), fading, (batch,), symbols)


@pytest.mark.parametrize("name", ["bpsk", "psk8", "qam64"])
def test_bits_arrive_over_any_modulation_padding_included(name):
    bits = jax.random.bernoulli(KEY, shape=(3, 50)).astype(jnp.int32)
    received = send_bits(KEY, Link(GRID), Bits(bits), phy.modulation(name), gain_of(3, 50), CLEAN)
    np.testing.assert_array_equal(received.values, bits)


@pytest.mark.parametrize("bits_per_index", [None, 4])
def test_indices_arrive_directly_and_as_bits(bits_per_index):
    indices = jax.random.randint(KEY, (3, 40), 0, 16)
    name = "qam16" if bits_per_index is None else "qam64"  # 4-bit indices on 6-bit symbols
    received = send_indices(
        KEY, Link(GRID), Indices(indices), phy.modulation(name), gain_of(3, 40), CLEAN,
        to_label=jnp.asarray(random(16, seed=1)), bits_per_index=bits_per_index,
    )  # fmt: skip
    np.testing.assert_array_equal(received.values, indices)


def test_direct_and_labelled_maps_are_the_same_where_one_index_fills_one_symbol():
    indices = jax.random.randint(KEY, (20, 60), 0, 16)
    to_label = jnp.asarray(random(16, seed=1))

    def through(bits_per_index):
        sent = (Indices(indices), phy.modulation("qam16"), gain_of(20, 60), NOISY)
        return send_indices(KEY, Link(GRID), *sent, to_label=to_label, bits_per_index=bits_per_index).values

    received = through(None)
    np.testing.assert_array_equal(received, through(4))
    assert int(jnp.sum(received != indices)) > 0


def test_symbols_come_as_the_least_squares_estimate():
    """E|s_hat - s|^2 = N0 / (|h|^2 + N0) at each gain, which is below zero forcing's N0 / |h|^2."""
    values = jax.random.normal(KEY, (64, 64), jnp.complex64)
    gain = gain_of(64, 64)
    received = send_symbols(KEY, Link(GRID), Symbols(values), gain, jnp.float32(0.5))
    power = np.abs(np.asarray(gain[:, 0, 0])) ** 2
    error = np.mean(np.abs(np.asarray(received.values - values)) ** 2, axis=1)
    expected = 0.5 / (power + 0.5)
    # the mean of 64 exponential variables per transmission, over 64 transmissions
    assert abs(np.mean(error / expected) - 1) < 4 / np.sqrt(64 * 64)


def test_a_bit_stream_refuses_a_member_of_a_wider_bank():
    with pytest.raises(ValueError, match="4 bits in a bank of 8"):
        send_bits(
            KEY,
            Link(),
            Bits(jnp.zeros((1, 8), jnp.int32)),
            phy.modulation("qam16", 8),
            jnp.ones((1, 2)),
            CLEAN,
        )
