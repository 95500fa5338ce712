"""Standard complex Gaussian draws for noise and fading: Box-Muller on counter-based words, made for vector units.

A draw is a function of key and position alone, as all of JAX's (partitionable) generators: it depends neither on devices
nor on sharding. For keys of JAX's default generator the words are those of `jax.random.split`, computed in one unrolled
pass: JAX's own rolled loop writes its state to memory five times on CPU, and throws one of every two words away.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PRNGKeyArray, UInt32

DEFAULT, SHORT = "threefry2x32", "threefry2x32-13"
_ROUNDS = {DEFAULT: 20, SHORT: 13}
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # Threefry-2x32: Salmon et al., SC'11
_PARITY = 0x1BD11BDA
_PIECES = 2
_settings: Any = jax.config  # its attributes are made at run time


def complex_normal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Complex[Array, "..."]:
    """CN(0, 1): independent real and imaginary parts of variance 1/2 each, complex64. Consumes `key`.

    |value|^2 is exponential up to 22.9, which is exceeded with probability 1.2e-10. Near 0 its grid is 6e-8, with a
    probability of 3e-8 at exactly 0: fades below -65 dB are coarse.
    """
    return _draw(key, tuple(shape), box_muller)


def uniform_words(key: PRNGKeyArray, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Uniform 32-bit words, the values of `jax.random.bits(key, shape)`. Consumes `key`."""
    if _generator(key) not in _ROUNDS:
        return jax.random.bits(key, shape)
    return _draw(key, tuple(shape), jnp.bitwise_xor)


def words_of_threefry(
    key: UInt32[Array, "2"], shape: tuple[int, ...], generator: str
) -> UInt32[Array, "..."]:
    """`uniform_words` of the data of a key of this generator."""
    return _draw_threefry(key, shape, jnp.bitwise_xor, _ROUNDS[generator])


def box_muller(radius: UInt32[Array, "*s"], angle: UInt32[Array, "*s"]) -> Complex[Array, "*s"]:
    """CN(0, 1) of two uniform words: -ln u is |z|^2, 2 bits choose the quadrant and 30 the angle in it; always finite."""
    u = (radius.astype(jnp.float32) + 0.5) * jnp.float32(2.0**-32)
    # The angle from the middle of the quadrant, in [-pi/4, pi/4): there short polynomials (the minimax ones of Cephes'
    # sinf and cosf) are exact to 1e-7. XLA does not vectorise sin and cos well on CPU.
    t = (angle << 2).view(jnp.int32).astype(jnp.float32) * jnp.float32(math.pi / 4 * 2.0**-31)
    s = t * t
    sin = t + t * s * (-1.6666654611e-1 + s * (8.3321608736e-3 - s * 1.9515295891e-4))
    cos = 1.0 - 0.5 * s + s * s * (4.166664568e-2 + s * (-1.388731625e-3 + s * 2.443315712e-5))
    # Turned by 45 degrees into the first quadrant: (cos - sin, cos + sin) / sqrt(2), where the two sign bits leave it.
    scale = jnp.sqrt(-0.5 * jnp.log(u))
    return jax.lax.complex(_signed(scale * (cos - sin), angle), _signed(scale * (cos + sin), angle << 1))


def _signed(x: Float[Array, "*s"], word: UInt32[Array, "*s"]) -> Float[Array, "*s"]:
    """`x` with its sign changed where the first bit of the word is set."""
    return (x.view(jnp.uint32) ^ (word & jnp.uint32(1 << 31))).view(jnp.float32)


def _generator(key: PRNGKeyArray) -> str:
    return str(jax.random.key_impl(key))


def _draw(key: PRNGKeyArray, shape: tuple[int, ...], finish: Callable[[Array, Array], Array]) -> Array:
    """`finish` of two independent words per position."""
    rounds = _ROUNDS.get(_generator(key))
    if rounds is None or math.prod(shape) >= 1 << 32:  # beyond 2^32 the counter has a second word
        return finish(*jax.random.bits(key, (2, *shape)))
    if _settings.jax_debug_key_reuse:
        jax.random.bits(key, (0,))  # to look at the words of a key is not to consume it
    return _draw_threefry(jax.random.key_data(key), shape, finish, rounds)


@partial(jax.jit, static_argnames=("shape", "finish", "rounds"))
def _draw_threefry(
    key: UInt32[Array, "2"], shape: tuple[int, ...], finish: Callable[[Array, Array], Array], rounds: int
) -> Array:
    size = math.prod(shape)

    def piece(key: Array, count: int, number: Array | int) -> Array:
        position = jax.lax.iota(jnp.uint32, count) + jnp.asarray(number, jnp.uint32) * jnp.uint32(count)
        return finish(*_threefry(key, position, rounds))

    def together(key: Array) -> Array:
        return piece(key, size, 0).reshape(shape)

    def in_pieces(key: Array) -> Array:
        draw = partial(piece, key, -(-size // _PIECES))
        return jax.lax.map(draw, jnp.arange(_PIECES)).reshape(-1)[:size].reshape(shape)

    # XLA's CPU compiler copies cheap arithmetic into every loop that uses its result, and Threefry is cheap to it: a link
    # with LLRs then draws the same noise eight times, and compiles for minutes with some versions. What a loop makes is
    # made once.
    return jax.lax.platform_dependent(key, cpu=in_pieces, default=together)


def _threefry(key: UInt32[Array, "2"], position: UInt32[Array, " n"], rounds: int) -> tuple[Array, Array]:
    """The two words of Threefry-2x32 at counter (0, position)."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    x0, x1 = jnp.full_like(position, schedule[0]), position + schedule[1]
    for turn in range(rounds):
        rotation = _ROTATIONS[turn // 4 % 2][turn % 4]
        x0 = x0 + x1
        x1 = ((x1 << rotation) | (x1 >> (32 - rotation))) ^ x0
        if turn % 4 == 3:
            number = turn // 4 + 1
            x0 = x0 + schedule[number % 3]
            x1 = x1 + (schedule[(number + 1) % 3] + jnp.uint32(number))
    return x0, x1
