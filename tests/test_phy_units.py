"""Laws of decibels and of the conversions between Es/N0, Eb/N0 and N0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phy


def test_decibels_are_inverse() -> None:
    db = np.array([-30.0, 0.0, 3.0, 17.5])
    np.testing.assert_allclose(phy.linear_to_db(phy.db_to_linear(db)), db, atol=1e-12)
    assert phy.db_to_linear(10.0) == pytest.approx(10.0)
    assert phy.linear_to_db(0.0) == -np.inf
    np.testing.assert_allclose(
        phy.linear_to_db(jnp.array([0.0, 1.0, 100.0])), [-np.inf, 0.0, 20.0], atol=1e-5
    )


def test_noise_variance_is_the_inverse_of_es_over_n0() -> None:
    assert phy.esnodb2no(10.0) == pytest.approx(0.1)
    assert phy.esnodb2no(0) == 1.0


@pytest.mark.parametrize("bits", [1, 4, 10])
@pytest.mark.parametrize("coderate", [1.0, 1 / 3])
def test_without_a_grid_only_bits_and_rate_count(bits: int, coderate: float) -> None:
    expected = 1.0 / (10**0.75 * coderate * bits)
    assert phy.ebnodb2no(7.5, bits, coderate) == pytest.approx(expected, rel=1e-12)
    esno_db = 7.5 + 10 * np.log10(coderate * bits)
    assert phy.ebnodb2esnodb(7.5, bits, coderate) == pytest.approx(esno_db, abs=1e-12)


def test_a_grid_charges_pilots_and_prefix_but_no_nulls() -> None:
    grid = phy.ResourceGrid(
        14,
        76,
        6,
        num_guard_carriers=(2, 1),
        dc_null=True,
        pilot_ofdm_symbol_indices=(2, 11),
        pilot_subcarrier_stride=2,
    )
    effective = 76 - 3 - 1
    data = 14 * effective - 2 * 36
    energy = 14 * effective * (1 + 6 / 76) / data
    assert phy.ebnodb2no(3.0, 4, 0.5, grid) == pytest.approx(energy / (10**0.3 * 2.0), rel=1e-12)
    plain = phy.ResourceGrid(14, 76, num_guard_carriers=(2, 1), dc_null=True)
    assert phy.ebnodb2no(3.0, 4, 0.5, plain) == pytest.approx(phy.ebnodb2no(3.0, 4, 0.5), rel=1e-12)


def test_traced_orders_and_values_stay_float32() -> None:
    no = jax.jit(phy.ebnodb2no)(jnp.array([0.0, 10.0]), jnp.array(4))
    assert no.dtype == jnp.float32
    np.testing.assert_allclose(no, phy.ebnodb2no(np.array([0.0, 10.0]), 4), rtol=1e-6)
    slope = jax.grad(lambda db: phy.esnodb2no(db))(jnp.float32(3.0))
    assert float(slope) == pytest.approx(-np.log(10) / 10 * 10**-0.3, rel=1e-5)


@pytest.mark.parametrize("coderate", [0.0, -0.5, 1.5, float("nan")])
def test_impossible_rate(coderate: float) -> None:
    with pytest.raises(ValueError, match=r"coderate must be in \(0, 1\]; got"):
        phy.ebnodb2no(0.0, 2, coderate)
