"""What this installation is and has, as plain data."""

from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from flax import nnx

import phy
from channels import GENERATORS
from semsim.backend import compilation_cache, no_cache_because, prepare
from semsim.environment import environment
from semsim.scenario import CHANNELS
from semsim.systems import SYSTEMS, System


def info() -> dict[str, object]:
    """Versions, devices, compilation cache, modulations, channels, and for every system its size and cost."""
    prepare()
    return {
        **environment(),
        "compilation_cache": compilation_cache(),
        **({"no_compilation_cache": why} if (why := no_cache_because()) else {}),
        "generators": list(GENERATORS),
        "modulations": list(phy.MODULATIONS),
        "channels": list(CHANNELS),
        "systems": {name: cost(system) for name, system in SYSTEMS.items()},
    }


def cost(system: System) -> dict[str, object]:
    """Parameters, bytes in memory, and multiply-accumulates per image of encoder and decoder, of a system's first size.

    FLOPs are XLA's own estimate for the same programs, everything included.
    """
    codec = nnx.eval_shape(system.fresh)  # shapes are enough: nothing is drawn or compiled
    estimated = {f"{side}_flops": _flops(run, given) for side, (run, given) in _sides(system, codec).items()}
    return {
        "modulations": list(system.modulations),
        "parameters": parameters(codec),
        "bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(nnx.state(codec))),
        **macs(system, codec),
        **estimated,
        "checkpoint": system.checkpoint is not None and system.checkpoint.exists(),
    }


def parameters(codec: Any) -> int:
    """How many numbers of a codec are trained by gradients."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(codec, nnx.Param)))


def macs(system: System, codec: Any) -> dict[str, int]:
    """Multiply-accumulates an image of a codec of the system, which may be of shapes alone: `encoder_macs`, `decoder_macs`.

    Half the floating-point operations of convolutions and matrix products, the codeword search among them, counted on the
    traced program; norms and activations are left out as everybody does.
    """
    return {f"{side}_macs": count_macs(run, *given) for side, (run, given) in _sides(system, codec).items()}


def _sides(system: System, codec: Any) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Encoder and decoder of one image as functions, and shapes of what they are given."""
    graph, state = nnx.split(codec)
    image = jax.ShapeDtypeStruct((1, *codec.config.image_shape, 3), jnp.float32)
    row = jax.ShapeDtypeStruct((1,), jnp.int32)

    def encode(state: Any, image: Any, row: Any) -> Any:
        return system.encode(nnx.merge(graph, state), image, row)

    def decode(state: Any, sent: Any, row: Any) -> Any:
        return system.decode(nnx.merge(graph, state), sent, row)

    return {
        "encoder": (encode, (state, image, row)),
        "decoder": (decode, (state, jax.eval_shape(encode, state, image, row), row)),
    }


def count_macs(run: Any, *arguments: Any) -> int:
    """Multiply-accumulates of the convolutions and matrix products of a function of arrays, or of their shapes."""
    return _macs(jax.make_jaxpr(run)(*arguments).jaxpr)


def _flops(run: Any, given: tuple[Any, ...]) -> int:
    found: Any = jax.jit(run).lower(*given).cost_analysis()
    return int(found["flops"])


def _macs(jaxpr: Any) -> int:
    """Multiply-accumulates of every convolution and matrix product in a traced program."""
    total = 0
    for equation in jaxpr.eqns:
        output = equation.outvars[0].aval
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = equation.params["dimension_numbers"].rhs_spec[0]
            total += int(np.prod(output.shape)) * int(np.prod(kernel)) // kernel[features]
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total += int(np.prod(output.shape)) * int(
                np.prod([equation.invars[0].aval.shape[i] for i in contracted])
            )
        if equation.primitive.name == "cond":  # one of the branches runs; the dearest is the price
            total += max(_macs(branch.jaxpr) for branch in equation.params["branches"])
            continue
        repeats = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            total += repeats * _macs(inner)
    return total
