"""Generators of random bits: known answers, statistics, and independence of neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, chisquare, norm

import channels
from channels import GENERATORS, random_key
from channels.random import _threefry

FALSE_ALARM = 6e-5
WORDS = 1 << 20


@pytest.fixture(scope="module", params=GENERATORS)
def words(request):
    return np.asarray(channels.uniform_words(random_key(7, request.param), (WORDS,)))


# (rounds, key, counter, words) from kat_vectors of Random123 1.14
KNOWN = [
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
]


@pytest.mark.parametrize(("rounds", "key", "counter", "expected"), KNOWN)
def test_words_are_those_of_the_published_vectors(rounds, key, counter, expected):
    assert counter[0] == 0  # ours counts in the second word
    found = _threefry(jnp.asarray(key, jnp.uint32), jnp.asarray(counter[1:], jnp.uint32), rounds)
    assert tuple(int(word[0]) for word in found) == expected


@pytest.mark.parametrize("generator", GENERATORS)
def test_all_of_jax_random_works_with_its_keys(generator):
    key = random_key(3, generator)
    np.testing.assert_array_equal(jax.random.bits(key, (5, 3)), channels.uniform_words(key, (5, 3)))
    assert jax.random.bits(key, (4,), jnp.uint16).dtype == jnp.uint16
    assert abs(float(jnp.mean(jax.random.normal(key, (4096,))))) < 4 / 64
    left, right = jax.random.split(key)
    assert not np.array_equal(jax.random.key_data(left), jax.random.key_data(right))

    # Batched keys draw what each of them draws alone: grouping of blocks changes nothing.
    together = jax.jit(jax.vmap(lambda i: channels.complex_normal(jax.random.fold_in(key, i), (9,))))(
        jnp.arange(4)
    )
    apart = [channels.complex_normal(jax.random.fold_in(key, i), (9,)) for i in range(4)]
    np.testing.assert_allclose(together, apart, rtol=1e-6)


def test_generators_differ_and_an_unknown_one_is_a_mistake_of_the_caller():
    draws = {generator: channels.uniform_words(random_key(0, generator), (4,)) for generator in GENERATORS}
    assert len({tuple(np.asarray(value)) for value in draws.values()}) == len(GENERATORS) >= 2
    with pytest.raises(KeyError):
        random_key(0, "rbg")


def test_every_bit_and_every_byte_is_fair(words):
    ones = np.array([np.sum(words >> bit & 1) for bit in range(32)])
    z = (ones - WORDS / 2) / np.sqrt(WORDS / 4)
    assert chi2.sf(np.sum(z**2), 32) > FALSE_ALARM
    for shift in (0, 8, 16, 24):
        assert chisquare(np.bincount(words >> shift & 255, minlength=256)).pvalue > FALSE_ALARM


def test_neighbours_are_independent(words):
    """Pairs of bytes of consecutive words fill 256 x 256 cells evenly; lags 1 to 64 do not correlate."""
    cells = (words[:-1] >> 24).astype(np.int64) * 256 + (words[1:] >> 24)
    assert chisquare(np.bincount(cells, minlength=65536)).pvalue > FALSE_ALARM
    centred = words / 2**32 - 0.5
    z = [
        12 * np.sum(centred[:-lag] * centred[lag:]) / np.sqrt(WORDS - lag)
        for lag in (1, 2, 3, 4, 8, 16, 32, 64)
    ]
    assert chi2.sf(np.sum(np.square(z)), len(z)) > FALSE_ALARM


def test_runs_are_as_long_as_chance_makes_them(words):
    """Wald and Wolfowitz: the number of runs of equal top bits."""
    bit = (words >> 31).astype(int)
    runs, ones = 1 + np.count_nonzero(np.diff(bit)), bit.sum()
    zeros = WORDS - ones
    mean = 1 + 2 * ones * zeros / WORDS
    sigma = np.sqrt((mean - 1) * (mean - 2) / (WORDS - 1))
    assert 2 * norm.sf(abs(runs - mean) / sigma) > FALSE_ALARM


def test_spacings_of_birthdays_collide_as_often_as_they_should(words):
    """Marsaglia: 512 birthdays in 2^24 days leave a Poisson number of equal spacings, of mean 2."""
    days = np.sort((words[: 512 * 2000] >> 8).reshape(2000, 512), axis=1)
    spacings = np.sort(np.diff(days, axis=1), axis=1)
    equal = np.sum(np.diff(spacings, axis=1) == 0)
    assert abs(equal - 4000) < 4 * np.sqrt(4000)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("change", ["seed", "fold_in", "counter"])
def test_a_small_change_of_the_input_flips_half_of_the_bits(generator, change):
    """Avalanche, for inputs one apart: the mean of 32 x 4096 bits is within 4 sigma of a half, and every bit takes part."""
    if change == "counter":
        drawn = channels.uniform_words(random_key(1, generator), (4097,))
    else:
        make = {
            "seed": lambda i: random_key(i, generator),
            "fold_in": lambda i: jax.random.fold_in(random_key(1, generator), i),
        }[change]
        drawn = jax.vmap(lambda i: channels.uniform_words(make(i), (1,))[0])(jnp.arange(4097))
    flipped = np.asarray(drawn[1:] ^ drawn[:-1])
    rates = np.array([np.mean(flipped >> bit & 1) for bit in range(32)])
    assert abs(rates.mean() - 0.5) < 4 * 0.5 / np.sqrt(32 * 4096)
    assert np.abs(rates - 0.5).max() < 5 * 0.5 / np.sqrt(4096)
