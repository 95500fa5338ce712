"""What an installation says of itself, against counts by hand."""

import jax
import jax.numpy as jnp

import phy
from models import UJSCCConfig
from semsim.info import _macs, cost, info
from semsim.systems import SYSTEMS


def test_what_ujscc_costs_by_hand():
    """Convolutions on the 8 x 8 grid, 3 x 3 but for the two projections, and the search among 256 codewords."""
    config = UJSCCConfig()
    width, code, pixels, positions = config.width, 4 * max(config.dims), 48, 64
    block = 2 * 9 * width * width
    encoder = 9 * pixels * width + config.encoder_blocks * block + width * code + pixels * code
    search = 256 * 256 * max(config.dims)
    decoder = 9 * code * width + config.decoder_blocks * block + 9 * width * pixels + 9 * code * pixels
    found = cost(SYSTEMS["ujscc"])
    assert found["encoder_macs"] == positions * encoder + search
    assert found["decoder_macs"] == positions * decoder
    norms = 2 * 5 * width * (2 + 2 * config.encoder_blocks + 2 * config.decoder_blocks)
    codewords = 5 * 256 * max(config.dims)
    assert found["parameters"] == encoder + decoder + pixels + norms + codewords  # `pixels` biases
    assert found["parameters"] <= 3_000_000 and found["bytes"] >= 4 * found["parameters"]


def test_products_are_counted_inside_loops_and_calls():
    def program(x, w):
        step = jax.jit(lambda c, _: (c @ w, None))
        return jax.lax.scan(step, x, length=5)[0]

    closed = jax.make_jaxpr(program)(jnp.ones((2, 3)), jnp.ones((3, 3)))
    assert _macs(closed.jaxpr) == 5 * 2 * 3 * 3


def test_grouped_convolutions_cost_their_group():
    def program(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4
        )

    closed = jax.make_jaxpr(program)(jnp.ones((1, 6, 6, 8)), jnp.ones((3, 3, 2, 16)))
    assert _macs(closed.jaxpr) == 36 * 16 * 9 * 2


def test_info_lists_what_there_is():
    found = info()
    assert found["modulations"] == list(phy.MODULATIONS)
    assert {"awgn", "rayleigh-block", "tdl-e"} <= set(found["channels"])
    assert set(found["systems"]) == set(SYSTEMS)
    assert found["versions"]["jax"] and found["devices"]
