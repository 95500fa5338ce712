"""Generators of random bits that a sweep may choose from; keys of any of them work with all of `jax.random`.

Every one is counter-based: a word is a function of its key and its position alone, so that draws depend neither on
devices nor on how they are grouped. `rbg`, JAX's other generator, is not offered: its words change when keys are batched.
"""

import jax
from jax.extend.random import define_prng_impl, threefry_prng_impl
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray, UInt

from channels.random import DEFAULT, SHORT, words_of_threefry


def _random_bits(key: UInt[Array, "2"], bit_width: int, shape: tuple[int, ...]) -> UInt[Array, "..."]:
    if bit_width > 32:
        raise ValueError(f"{SHORT} draws words of at most 32 bits; got {bit_width}")
    return words_of_threefry(key, tuple(shape), SHORT).astype(f"uint{bit_width}")


_short = define_prng_impl(
    key_shape=(2,),
    seed=threefry_prng_impl.seed,
    split=threefry_prng_impl.split,
    random_bits=_random_bits,
    fold_in=threefry_prng_impl.fold_in,
    name=SHORT,
    tag=SHORT,
)
_IMPLEMENTATIONS = {DEFAULT: DEFAULT, SHORT: _short}

GENERATORS = tuple(_IMPLEMENTATIONS)
"""`threefry2x32` is JAX's default, with 20 rounds. `threefry2x32-13` draws with 13, the fewest at which its authors found
it to pass every statistical test they had (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011); keys
are still made with 20."""


def random_key(seed: ArrayLike, generator: str = DEFAULT) -> PRNGKeyArray:
    """The key of `seed` for one of GENERATORS."""
    return jax.random.key(seed, impl=_IMPLEMENTATIONS[generator])
