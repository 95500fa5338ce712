"""Laws of user-supplied constellations and PSK, and of modulations by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phy

RNG = np.random.default_rng(0)
Y = jnp.asarray(RNG.normal(size=(2, 40, 2)) @ [1, 1j], jnp.complex64)


@pytest.mark.parametrize("order", [2, 4, 8, 16])
def test_psk_is_gray_on_the_unit_circle(order: int) -> None:
    symbols = np.asarray(phy.psk(order).modulate(jnp.arange(order)))
    np.testing.assert_allclose(np.abs(symbols), 1.0, atol=1e-6)
    around = np.argsort(np.round(np.angle(symbols) % (2 * np.pi), 5))
    assert all(int(a ^ b).bit_count() == 1 for a, b in zip(around, np.roll(around, 1), strict=True))
    assert symbols.dtype == np.complex64


@pytest.mark.parametrize("method", ["app", "maxlog"])
def test_the_same_points_give_the_same_llrs_in_every_family(method: str) -> None:
    """QAM-4, the same four points by full search, and PSK-4 turned by 45 degrees; one noise_var, one scale."""
    qam = phy.qam(2)
    demap = jax.jit(lambda member, y: member.llr(y, 0.3, method))
    expected = np.asarray(demap(qam, Y))
    same = phy.constellation(qam.modulate(jnp.arange(4)))
    np.testing.assert_allclose(demap(same, Y), expected, rtol=1e-4, atol=1e-5)
    posterior = jax.jit(lambda member, y: (member.posterior(y, 0.3), member.decide(y)))
    for ours, theirs in zip(posterior(same, Y), posterior(qam, Y), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # Gray PSK-4 has labels 0, 1, 3, 2 around the circle from angle 0, QPSK 0, 2, 3, 1 from 45 degrees: bits swapped.
    turned = demap(phy.psk(4), Y * jnp.complex64(np.exp(-0.25j * np.pi)))
    np.testing.assert_allclose(turned[..., ::-1], expected, rtol=1e-4, atol=1e-4)


def test_8psk_against_float64() -> None:
    member = phy.modulation("psk8")
    points = np.asarray(member.modulate(jnp.arange(8)), np.complex128)
    noise_var = np.linspace(0.05, 1.0, 40)[None, :]
    metric = -(np.abs(np.asarray(Y, np.complex128)[..., None] - points) ** 2) / noise_var[..., None]
    one = (np.arange(8)[None, :] >> np.array([2, 1, 0])[:, None]) & 1 == 1
    expected = [
        np.logaddexp.reduce(metric[..., o], -1) - np.logaddexp.reduce(metric[..., ~o], -1) for o in one
    ]
    llr = np.asarray(member.llr(Y, jnp.asarray(noise_var, jnp.float32)))
    relative = np.abs(llr - np.stack(expected, -1)) / np.maximum(np.abs(np.stack(expected, -1)), 1)
    assert relative.max() < 1e-4
    assert np.array_equal(member.decide(Y), np.argmax(metric, -1))
    posterior = np.exp(metric - np.logaddexp.reduce(metric, -1)[..., None])
    np.testing.assert_allclose(member.posterior(Y, jnp.asarray(noise_var, jnp.float32)), posterior, atol=1e-5)
    maxlog = member.llr(Y, 0.1, "maxlog")
    assert np.array_equal(phy.decide_llr(member, maxlog), member.decide(Y))


def test_extremes_and_gradients_stay_finite() -> None:
    member = phy.psk(8)
    y = jnp.array([0.0, 1e3 + 1e3j, 0.5 - 0.1j], jnp.complex64)
    demap = jax.jit(member.llr)
    for noise_var in (0.0, 1e-9, 1e12):
        assert np.all(np.isfinite(demap(y, noise_var)))
    slope = jax.jit(jax.grad(lambda a: jnp.sum(member.llr(a * y, 0.1) ** 2)))(1.0)
    assert np.isfinite(slope) and slope != 0


@pytest.mark.parametrize("name", phy.MODULATIONS)
def test_named_modulations_have_unit_energy_and_their_bits(name: str) -> None:
    bits = phy.num_bits(name)
    member = phy.modulation(name)
    assert member.max_bits == bits and int(member.num_bits_per_symbol) == bits
    labels = jnp.arange(2**bits)
    symbols = jax.jit(member.modulate)(labels)
    assert np.mean(np.abs(np.asarray(symbols, np.complex128)) ** 2) == pytest.approx(1.0, abs=1e-5)
    assert len(np.unique(np.round(np.asarray(symbols), 5))) == 2**bits
    assert np.array_equal(jax.jit(member.decide)(symbols), labels)


def test_names() -> None:
    assert phy.MODULATIONS == ("bpsk", "qpsk", "qam16", "qam64", "qam256", "qam1024", "psk8")
    assert phy.modulation("qam16", 8).max_bits == 8
    with pytest.raises(
        ValueError, match="unknown modulation 'qam46'; did you mean qam64.? Choices: bpsk, qpsk, qam16"
    ):
        phy.modulation("qam46")
    with pytest.raises(ValueError, match="unknown modulation 'ofdm'.*Choices: bpsk"):
        phy.num_bits("ofdm")
    with pytest.raises(ValueError, match="max_bits = 4"):
        phy.modulation("qam64", 4)
    with pytest.raises(ValueError, match="psk8 is not in the QAM bank and always has max_bits = 3; got 8"):
        phy.modulation("psk8", 8)


def test_bits_of_labels() -> None:
    labels = jnp.array([[0b1011, 0b0001]])
    assert phy.label_bits(labels, 4, 6).tolist() == [[[1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]]]
    assert phy.label_bits(labels, jnp.array([[4]]), 4).tolist() == phy.label_bits(labels, 4, 4).tolist()
    assert phy.labels_of_bits(phy.label_bits(labels, 4, 4)).tolist() == labels.tolist()
    everything = jnp.arange(1024)
    assert np.array_equal(phy.labels_of_bits(phy.label_bits(everything, 10, 10)), everything)
    with pytest.raises(ValueError, match=r"num_bits must be in \[1, max_bits = 4\]; got 5"):
        phy.label_bits(labels, 5, 4)


def test_bit_errors_are_counted_per_symbol() -> None:
    sent, decided = RNG.integers(0, 1024, (2, 3, 50))
    counted = phy.count_bit_errors(jnp.asarray(sent), jnp.asarray(decided))
    assert np.array_equal(
        counted,
        [
            [int(a ^ b).bit_count() for a, b in zip(*rows, strict=True)]
            for rows in zip(sent, decided, strict=True)
        ],
    )


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([1, -1, 1j], "one row of 2, 4, 8, 16, ... points"),
        ([1.0], "one row of 2, 4, 8, 16, ... points"),
        ([[1, -1]], "one row of 2, 4, 8, 16, ... points"),
        ([1, np.nan], "must be finite; point 1 is"),
        ([1, 1, -1, -1], "must be distinct"),
        ([2, -2], r"mean \|points\|\^2 must be 1; got 4. Multiply the points by 0.5"),
    ],
)
def test_impossible_constellations(points: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        phy.constellation(points)


@pytest.mark.parametrize("order", [0, 1, 3, 12])
def test_impossible_psk(order: int) -> None:
    with pytest.raises(ValueError, match=f"PSK needs an order in 2, 4, 8, 16, ...; got {order}"):
        phy.psk(order)
