"""The link: one path for every payload, equal to what it is made of, and blind to the source."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import channels
import phy
from phy import ResourceGrid
from semsim import theory
from semsim.link import Link, carry, detect, fade, mean_snr, send_labels
from semsim.stats import FOUR_SIGMA, proportion_interval

GRID = ResourceGrid(4, 16, 4, pilot_ofdm_symbol_indices=(0, 3))
KEY = jax.random.key(7)


def axes(grid):
    return {"frequencies": grid.frequencies, "times": grid.times}


def random_labels(key, bits, shape):
    return jax.random.randint(key, shape, 0, 2**bits)


@pytest.mark.parametrize("link", [Link(), Link(GRID), Link(GRID, csi="ls")])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_without_noise_every_link_is_transparent(link, bits):
    labels = random_labels(KEY, bits, (5, 30))
    fading = channels.rayleigh(0) if link.grid is None else channels.grid_rayleigh(**axes(GRID))
    gain = fade(KEY, link, fading, (5,), 30)
    found = send_labels(KEY, link, labels, phy.qam(bits), gain, jnp.float32(1e-12))
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize(
    "grid",
    [None, GRID, ResourceGrid(3, 64, 16), ResourceGrid(2, 20, 0, num_guard_carriers=(3, 4), dc_null=True)],
)
def test_awgn_over_any_grid_equals_a_single_carrier(grid):
    """conventions: OFDM over AWGN has the error rate of the closed form, whatever the FFT size."""
    symbols = 1000 if grid is None else grid.num_data_symbols
    batch = 200_000 // symbols
    labels = random_labels(KEY, 4, (batch, symbols))
    fading = channels.no_fading() if grid is None else channels.grid_awgn(**axes(grid))
    link = Link(grid)

    @jax.jit
    def wrong(key):
        gain = fade(key, link, fading, (batch,), symbols)
        return jnp.sum(
            send_labels(key, link, labels, phy.qam(4), gain, phy.esnodb2no(jnp.float32(12.0))) != labels
        )

    interval = proportion_interval(int(wrong(KEY)), batch * symbols, FOUR_SIGMA)
    assert interval.low < float(theory.ser("qam16", 12.0)) < interval.high


def test_noise_variance_may_differ_per_transmission():
    noise_var = jnp.asarray([1e-6, 0.5])
    symbols = phy.qam(2).modulate(random_labels(KEY, 2, (2, 4000)))
    equalised = carry(KEY, Link(), symbols, jnp.ones((2, 1), jnp.complex64), noise_var)
    measured = np.mean(np.abs(np.asarray(equalised.symbols - symbols)) ** 2, axis=1)
    np.testing.assert_allclose(
        measured, [1e-6, 0.5], rtol=4 / np.sqrt(4000)
    )  # 4 sigma of an exponential mean
    np.testing.assert_allclose(equalised.noise_var[:, 0], noise_var, rtol=1e-6)


def test_app_and_nearest_differ_only_where_theory_says():
    """Bitwise decisions have fewer bit errors at low SNR; nearest-point ones fewer symbol errors."""
    labels = random_labels(KEY, 6, (64, 2000))
    gain = jnp.ones((64, 1), jnp.complex64)
    equalised = carry(KEY, Link(), phy.qam(6).modulate(labels), gain, jnp.float32(1.0))
    errors = {
        demap: detect(Link(demap=demap), phy.qam(6), equalised) for demap in ("nearest", "app")
    }  # same noise: a paired comparison
    bits = {name: int(jnp.sum(phy.count_bit_errors(labels, found))) for name, found in errors.items()}
    symbols = {name: int(jnp.sum(labels != found)) for name, found in errors.items()}
    assert bits["app"] < bits["nearest"]
    assert symbols["nearest"] < symbols["app"]


def test_the_gain_is_known_before_sending_and_sets_the_snr():
    link = Link(GRID)
    fading = channels.grid_rayleigh(**axes(GRID))
    gain = fade(KEY, link, fading, (3,), 20)
    np.testing.assert_allclose(
        mean_snr(gain, jnp.float32(0.1)), np.abs(np.asarray(gain[:, 0, 0])) ** 2 / 0.1, rtol=1e-5
    )


def test_the_receiver_sees_the_source_only_through_the_air():
    """Zero gain: nothing crosses, and the equalised symbols have no derivative with respect to what was sent."""
    symbols = phy.qam(4).modulate(random_labels(KEY, 4, (2, 30)))

    def received(scale, gain):
        return carry(KEY, Link(GRID), scale * symbols, gain, jnp.float32(0.1)).symbols

    open_gain, closed = jnp.ones((2, 4, 16), jnp.complex64), jnp.zeros((2, 4, 16), jnp.complex64)
    one = jnp.float32(1.0)
    _, through = jax.jvp(lambda s: received(s, open_gain), (one,), (one,))
    _, blocked = jax.jvp(lambda s: received(s, closed), (one,), (one,))
    assert float(jnp.max(jnp.abs(through))) > 0.1
    assert float(jnp.max(jnp.abs(blocked))) == 0.0


def test_impossible_links_are_refused():
    with pytest.raises(ValueError, match="csi must be perfect or ls; got 'genie'"):
        Link(csi="genie")
    with pytest.raises(ValueError, match="demap must be nearest or app; got 'soft'"):
        Link(demap="soft")
    with pytest.raises(ValueError, match="needs a resource grid that has some"):
        Link(csi="ls")
    with pytest.raises(ValueError, match="needs a resource grid that has some"):
        Link(ResourceGrid(2, 8), csi="ls")
    with pytest.raises(ValueError, match="the grid holds 32 data symbols; the payload has 33"):
        carry(KEY, Link(GRID), jnp.ones((1, 33), jnp.complex64), jnp.ones((1, 4, 16)), jnp.float32(1.0))
