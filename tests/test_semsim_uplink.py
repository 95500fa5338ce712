"""Numbers over the uplink: right or known to be lost, at the price that it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semsim.techniques.uplink import WORD, Uplink

KEY = jax.random.key(0)
NUMBERS = [
    np.random.default_rng(1).integers(-127, 128, shape).astype(np.int32)
    for shape in ((3, 70, 5), (3,), (3, 2, 2))
]
NUMBERS[0][0, 0, :2] = -127, 127


def arrived(uplink):
    return [np.asarray(one) for one in uplink.deliver(KEY, [jnp.asarray(one) for one in NUMBERS], 8)]


def test_at_high_snr_every_number_arrives_in_its_place():
    for found, sent in zip(arrived(Uplink("qam16", "2/3", 20.0)), NUMBERS, strict=True):
        np.testing.assert_array_equal(found, sent)


def test_words_arrive_whole_or_not_at_all():
    """At 1.2 dB some do; of noise alone none."""
    flat = np.concatenate([one.reshape(3, -1) for one in NUMBERS], axis=1)
    found = np.concatenate([one.reshape(3, -1) for one in arrived(Uplink(esno_db=1.2))], axis=1)
    right = [np.array_equal(f, s) for f, s in zip(words(found), words(flat), strict=True)]
    lost = [not f.any() for f in words(found)]
    assert all(r or z for r, z in zip(right, lost, strict=True)) and any(right) and any(lost)
    assert not any(one.any() for one in arrived(Uplink(esno_db=-20.0)))


def words(flat):
    padded = np.pad(flat, ((0, 0), (0, -flat.shape[1] % WORD)))
    return padded.reshape(-1, WORD)


def test_the_price_is_that_of_whole_words():
    """355 numbers are 3 words of 1024 bits, 2048 sent bits each, 2 a symbol."""
    assert Uplink("qpsk", "1/2").channel_uses(355, 8) == 3 * 1024
    assert Uplink("qam16", "1/2").channel_uses(128, 4) == 256


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"coderate": "1"}, "between 0 and 1"),
        ({"coderate": "x"}, "coderate is a fraction"),
        ({"modulation": "qam17"}, "qam17"),
        ({"esno_db": float("nan")}, "must be finite"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(ValueError, match=message):
        Uplink(**wrong)
