"""One rule of broadcasting for quantities that may be common to a whole signal."""

import jax.numpy as jnp
from jaxtyping import Array


def broadcastable(name: str, x: Array | float | int, ndim: int) -> Array:
    """`x` as an array of `ndim` axes: a scalar gains them, an array must have them already (no silent rank
    promotion).

    Errors: ValueError, naming the quantity, for any other number of axes.
    """
    x = jnp.asarray(x)
    if x.ndim not in (0, ndim):
        raise ValueError(f"{name} must be a scalar or have {ndim} axes like the signal; got shape {x.shape}")
    return x.reshape((1,) * ndim) if x.ndim == 0 else x
