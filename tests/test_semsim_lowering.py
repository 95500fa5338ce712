"""The whole link lowered for TPUs and GPUs: single precision throughout, and no product on the PHY path is rounded.

A TPU rounds the operands of a product to bfloat16 unless it states another precision, a GPU to TF32: a network may have
that, a channel may not.
"""

import re
from collections import Counter

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType

from models.windows import WindowAttention
from semsim import error_rates, simulation
from semsim.data import from_array
from semsim.devices import AXIS, Evaluator, Execution, Work, evaluate
from semsim.devices import _Call as Call
from semsim.sweep import GENERATORS
from semsim.systems import SYSTEMS

LS = {"csi": "ls", "demap": "app"}
CONVOLUTIONS = (nnx.Conv, nnx.ConvTranspose)
CODECS = {name: system.fresh() for name, system in SYSTEMS.items()}


def some_work(name: str, generator: str) -> Work:
    if name in SYSTEMS:
        images = from_array(np.zeros((1, 32, 32, 3), np.uint8))
        options = {"codec": CODECS[name], "generator": generator, **LS}
        sweep = simulation.sweep(name, images, SYSTEMS[name].modulations[0], "tdl-a", [12.0], **options)
    elif name == "rare":
        sweep = error_rates.sweep("qam16", "rician-block", [16.0], importance=True, generator=generator)
    elif name == "grid":
        sweep = error_rates.sweep("qam16", "tdl-d", [6.0], generator=generator, **LS)
    else:
        sweep = error_rates.sweep("qam16", "rayleigh", [6.0], demap="app", generator=generator)
    return sweep.jobs[0].work


def lowered(work: Work, platform: str, num_devices: int) -> str:
    """StableHLO of a call on that many devices of a platform; none of them is needed."""
    mesh = AbstractMesh((num_devices,), (AXIS,), axis_types=(AxisType.Auto,))
    arguments = Evaluator(Execution(devices=1))._arguments(work, Call((0,), 0), max(work.blocks, num_devices))

    def call(*arguments):
        return evaluate(*arguments, kernel=work.kernel, mesh=mesh, width=1, generator=work.generator)

    return jax.export.export(jax.jit(call), platforms=[platform])(*arguments).mlir_module()


def products(text: str) -> list[tuple[str, bool]]:
    """(operation, whether both operands keep their full precision) of every product in a program."""
    found = re.findall(r"= stablehlo\.(dot_general|dot|convolution)\b(.*)", text)
    return [(name, rest.partition(" loc(")[0].count("HIGHEST") == 2) for name, rest in found]


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("name", ["flat", "grid", "rare", *SYSTEMS])
def test_the_link_lowers_in_single_precision_with_every_precision_stated(name, generator, platform):
    text = lowered(some_work(name, generator), platform, 4)
    assert "stablehlo.sqrt" in text and "tensor<" in text  # the forms that are looked for below
    assert not re.findall(r"\b(?:complex<f64>|\w*f64|bf16|f16)\b", text)
    assert not re.findall(r"(?i)lapack|ducc|eigen", text)  # libraries that only a CPU has
    rounded = [product for product, full in products(text) if not full]
    if name in SYSTEMS:
        layers = [layer for _, layer in nnx.iter_modules(CODECS[name])]
        convolutions = sum(isinstance(layer, CONVOLUTIONS) for layer in layers)
        matrices = sum(
            isinstance(layer, nnx.Linear) + 2 * isinstance(layer, WindowAttention) for layer in layers
        )
        # Those of the networks, and nothing else; attention has two beside its linear layers.
        assert Counter(rounded) == Counter(convolution=convolutions, dot_general=matrices)
    else:
        assert not rounded
    if name != "flat" and name != "rare":
        assert len(products(text)) >= 2  # the delays of a TDL


def test_products_are_told_apart():
    """So that the test above cannot pass because it recognises nothing."""
    x = np.ones((3, 3), np.float32)

    def text(precision):
        return jax.jit(lambda a: jax.numpy.matmul(a, a, precision=precision)).lower(x).as_text()

    assert products(text(None)) == [("dot_general", False)]
    assert products(text(jax.lax.Precision.HIGHEST)) == [("dot_general", True)]


def test_the_link_lowers_for_a_pod():
    text = lowered(some_work("grid", GENERATORS[0]), "tpu", 256)
    assert f'"{AXIS}"=256' in text
