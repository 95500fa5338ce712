"""One program for many schemes: what arrives is what arrives with a program of its own, draw by draw."""

from fractions import Fraction

import jax
import numpy as np
import pytest

import phy
from channels import rayleigh
from semsim import shared_transmission
from semsim.coding import Decoding
from semsim.frame import bits_of_bytes, frame, frame_symbols
from semsim.link import Link
from semsim.mcs import MCS, frames
from semsim.separation import DECODING
from semsim.shared_transmission import SIZES, SharedTransmission, programs
from semsim.transmission import OnAir, Transmission

DRAWS, IMAGES = 3, 8
SETTINGS = Decoding(8)


@pytest.fixture(scope="module")
def plans():
    return {
        name: frame(128, name, rate, decoding=SETTINGS)
        for name, rate in (("qpsk", Fraction(1, 2)), ("qam64", Fraction(1, 2)))
    }


def payloads(plan):
    return np.random.default_rng(1).integers(0, 256, (IMAGES, plan.num_bytes), dtype=np.uint8)


def test_a_shared_program_loses_the_frames_that_one_of_its_own_loses(plans):
    """QPSK beside 64-QAM, over fades: the same noise, and so the same frames."""
    shared = programs(plans)
    assert set(shared) == set(plans) and shared["qpsk"].shape == shared["qam64"].shape
    plan, mine, data = plans["qpsk"], shared["qpsk"], payloads(plans["qpsk"])
    key, no = jax.random.key(3), np.float32(phy.esnodb2no(1.5))
    own = jax.jit(Transmission(Link(), DRAWS, IMAGES, plan))
    expected = own(key, data, OnAir(rayleigh(0), no, None))
    kernel = jax.jit(SharedTransmission(Link(), DRAWS, IMAGES, mine.shape, mine.width, SETTINGS))
    found = kernel(key, mine.words(data), OnAir(rayleigh(0), no, None, mine.code))
    np.testing.assert_array_equal(found.lost, expected.lost)
    np.testing.assert_array_equal(found.unseen, expected.unseen)
    np.testing.assert_allclose(found.sent.energy, expected.sent.energy, rtol=1e-6)
    assert 0 < int(found.lost.sum()) < DRAWS * IMAGES
    other = shared["qam64"]
    kernel(key, other.words(payloads(plans["qam64"])), OnAir(rayleigh(0), no, None, other.code))
    assert kernel._cache_size() == 1


@pytest.mark.parametrize("name", ["qpsk", "qam64"])
def test_the_host_sends_what_a_program_of_its_own_sends(plans, name):
    data, mine = payloads(plans[name]), programs(plans)[name]
    words = mine.words(data)
    symbols = phy.qam(phy.num_bits(name), mine.width).modulate(words.labels.astype(np.int32))
    np.testing.assert_allclose(symbols, frame_symbols(plans[name], data), rtol=1e-6)
    np.testing.assert_array_equal(words.bits[:, : 8 * plans[name].num_bytes], bits_of_bytes(data))
    assert not words.bits[:, 8 * plans[name].num_bytes :].any()


def test_the_schemes_of_nr_are_two_programs():
    found = programs(frames(MCS, 256, None, DECODING, automatic=True))
    assert len(found) == len(MCS)
    sizes = {name: one.shape.size for name, one in found.items()}
    assert set(sizes.values()) == {96, 144} and SIZES[0] == 96
    assert [name for name, size in sizes.items() if size == 144] == [
        ("qam64", "666/1024"), ("qam256", "1365/2048")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "plan",
    [
        frame(256, "qpsk", Fraction(1, 2), 2, Fraction(1, 4)),  # a header: two parts
        frame(9000, "qpsk", Fraction(1, 2)),  # several code blocks
        frame(255, "psk8", Fraction(1, 2)),
        frame(256, "qpsk", Fraction(1, 2), decoding=Decoding(schedule="flooding")),
    ],
)
def test_what_shares_no_program_has_one_of_its_own(plan):
    assert programs({"": plan}) == {}


def test_other_devices_compile_each_frame(monkeypatch, plans):
    """Rows are updated in place: only a CPU gets that right."""
    monkeypatch.setattr(shared_transmission.jax, "default_backend", lambda: "gpu")
    assert programs(plans) == {}
