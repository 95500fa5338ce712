"""Laws of the resource grid and of the OFDM waveform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phy
from phy.pilots import gold_sequence

GRIDS = {
    "plain": phy.ResourceGrid(3, 16),
    "pilots": phy.ResourceGrid(14, 72, 6, pilot_ofdm_symbol_indices=(2, 11)),
    "comb": phy.ResourceGrid(5, 33, 7, 15e3, (2, 3), True, (3, 0), 4),
    "odd": phy.ResourceGrid(2, 9, 8, dc_null=True),
}
over_grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def noise(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.complex64)


@over_grids
def test_masks_partition_the_effective_subcarriers(grid: phy.ResourceGrid) -> None:
    low, high = grid.num_guard_carriers
    assert not np.any(grid.pilot_mask & grid.data_mask)
    used = grid.pilot_mask | grid.data_mask
    assert np.all(used[:, grid.effective_subcarriers])
    assert used.sum() == grid.num_ofdm_symbols * grid.num_effective_subcarriers
    assert not np.any(used[:, :low]) and not np.any(used[:, grid.fft_size - high :])
    assert not (grid.dc_null and np.any(used[:, grid.fft_size // 2]))
    assert grid.num_pilots == grid.pilot_mask.sum() == len(grid.pilots)
    assert grid.num_data_symbols == grid.data_mask.sum()
    assert grid.num_effective_subcarriers == grid.fft_size - low - high - grid.dc_null


def test_a_comb_leaves_data_between_its_teeth() -> None:
    grid = GRIDS["comb"]
    assert np.array_equal(np.flatnonzero(grid.pilot_mask.any(1)), [0, 3])
    assert np.array_equal(np.flatnonzero(grid.pilot_mask[3]), grid.effective_subcarriers[::4])
    assert grid.data_mask[3, 3] and not grid.data_mask[3, 2]


def test_frequencies_times_and_rate() -> None:
    grid = GRIDS["comb"]
    assert grid.frequencies[33 // 2] == 0 and grid.frequencies[0] == -16 * 15e3
    assert np.all(np.diff(grid.frequencies) == 15e3)
    np.testing.assert_allclose(np.diff(grid.times), (1 + 7 / 33) / 15e3)
    assert grid.times[0] == 0 and grid.sample_rate == 33 * 15e3
    assert grid.num_samples / grid.sample_rate == pytest.approx(
        grid.num_ofdm_symbols * (grid.times[1] - grid.times[0])
    )


def test_a_grid_is_a_hashable_plan_with_frozen_arrays() -> None:
    grid = phy.ResourceGrid(14, 72, pilot_ofdm_symbol_indices=[2, 11], num_guard_carriers=[0, 0])
    assert grid == phy.ResourceGrid(14, 72, pilot_ofdm_symbol_indices=(2, 11))
    assert hash(grid) == hash(phy.ResourceGrid(14, 72, pilot_ofdm_symbol_indices=(2, 11)))
    with pytest.raises(ValueError, match="read-only"):
        grid.pilots[0] = 0


def test_pilots_are_unit_energy_qpsk_and_fixed() -> None:
    pilots = GRIDS["pilots"].pilots
    np.testing.assert_allclose(np.abs(pilots), 1.0, atol=1e-6)
    assert abs(pilots.mean()) < 4 / np.sqrt(len(pilots))
    assert np.array_equal(pilots, phy.ResourceGrid(14, 72, pilot_ofdm_symbol_indices=(2, 11)).pilots)


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_gold_sequence_follows_its_recursion(seed: int) -> None:
    """TS 38.211 clause 5.2.1, one bit at a time."""
    first, second = [1] + [0] * 30, [(seed >> i) & 1 for i in range(31)]
    for n in range(1700):
        first.append((first[n + 3] + first[n]) % 2)
        second.append((second[n + 3] + second[n + 2] + second[n + 1] + second[n]) % 2)
    expected = [(first[n + 1600] + second[n + 1600]) % 2 for n in range(100)]
    assert gold_sequence(100, seed).tolist() == expected
    with pytest.raises(ValueError, match="seed of a Gold sequence must be in"):
        gold_sequence(4, -1)


@over_grids
def test_round_trip_and_contents(grid: phy.ResourceGrid) -> None:
    data = noise(0, 2, 3, grid.num_data_symbols)
    x = phy.place(grid, data)
    assert x.shape == (2, 3, grid.num_ofdm_symbols, grid.fft_size) and x.dtype == jnp.complex64
    np.testing.assert_array_equal(phy.take(grid, x), data)
    np.testing.assert_array_equal(np.asarray(x)[..., grid.data_mask], data)
    np.testing.assert_array_equal(np.asarray(x)[1, 2][grid.pilot_mask], grid.pilots)
    assert not np.any(np.asarray(x)[..., ~(grid.data_mask | grid.pilot_mask)])
    samples = phy.modulate(grid, x)
    assert samples.shape == (2, 3, grid.num_samples) and samples.dtype == jnp.complex64
    np.testing.assert_allclose(phy.take(grid, phy.demodulate(grid, samples)), data, atol=2e-6)


@over_grids
def test_unitary(grid: phy.ResourceGrid) -> None:
    """Parseval, behind the prefix; and the prefix is the end of each symbol."""
    x = noise(1, grid.num_ofdm_symbols, grid.fft_size)
    samples = np.asarray(phy.modulate(grid, x)).reshape(grid.num_ofdm_symbols, -1)
    prefix = grid.cyclic_prefix_length
    np.testing.assert_allclose(
        np.sum(np.abs(samples[:, prefix:]) ** 2, 1), np.sum(np.abs(x) ** 2, 1), rtol=1e-5
    )
    np.testing.assert_array_equal(samples[:, :prefix], samples[:, samples.shape[1] - prefix :])


def test_waveform_is_a_sum_of_subcarriers_at_their_frequencies() -> None:
    """Against the definition, in float64: subcarrier f is exp(j 2 pi frequencies[f] t) / sqrt(F)."""
    grid = phy.ResourceGrid(1, 12, 5)
    x = np.asarray(noise(2, 1, 12), np.complex128)
    t = (np.arange(17) - 5) / grid.sample_rate
    expected = x[0] @ np.exp(2j * np.pi * grid.frequencies[:, None] * t[None, :]) / np.sqrt(12)
    np.testing.assert_allclose(phy.modulate(grid, jnp.asarray(x, jnp.complex64)), expected, atol=3e-6)


def test_a_channel_within_the_prefix_is_one_tap_per_subcarrier() -> None:
    grid = phy.ResourceGrid(3, 32, 5)
    x = noise(3, 3, 32)
    taps = np.array([0.8, -0.3j, 0.0, 0.2, 0.1 + 0.1j, -0.2])  # delays 0 .. 5: as long as the prefix allows
    samples = np.convolve(np.asarray(phy.modulate(grid, x)), taps)[: grid.num_samples]
    delays = np.arange(6) / grid.sample_rate
    gain = np.exp(-2j * np.pi * grid.frequencies[:, None] * delays[None, :]) @ taps
    received = phy.demodulate(grid, jnp.asarray(samples, jnp.complex64))
    np.testing.assert_allclose(received, np.asarray(x) * gain[None, :], atol=1e-5)


def test_white_noise_keeps_its_variance() -> None:
    """4 sigma of the mean of exponential variables; DFT of default norm would be off by the FFT size."""
    grid = phy.ResourceGrid(16, 64, 8)
    received = phy.demodulate(grid, noise(4, 64, grid.num_samples))
    count = received.size
    assert float(jnp.mean(jnp.abs(received) ** 2)) == pytest.approx(1.0, abs=4 / np.sqrt(count))


def test_batches_are_independent_and_vmap_agrees() -> None:
    grid = GRIDS["comb"]
    data = noise(5, 4, grid.num_data_symbols)
    whole = phy.modulate(grid, phy.place(grid, data))
    mapped = jax.vmap(lambda d: phy.modulate(grid, phy.place(grid, d)))(data)
    np.testing.assert_allclose(whole, mapped, atol=1e-6)
    np.testing.assert_allclose(whole[2], phy.modulate(grid, phy.place(grid, data[2])), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(num_ofdm_symbols=0, fft_size=8), "at least one OFDM symbol and one subcarrier; got 0 x 8"),
        (dict(num_ofdm_symbols=1, fft_size=64, cyclic_prefix_length=64), r"must be in \[0, 64\); got 64"),
        (dict(num_ofdm_symbols=1, fft_size=64, cyclic_prefix_length=-1), r"must be in \[0, 64\); got -1"),
        (dict(num_ofdm_symbols=1, fft_size=8, subcarrier_spacing=0.0), "subcarrier_spacing must be positive"),
        (
            dict(num_ofdm_symbols=1, fft_size=8, subcarrier_spacing=float("nan")),
            "subcarrier_spacing must be positive",
        ),
        (dict(num_ofdm_symbols=1, fft_size=8, num_guard_carriers=(-1, 0)), "two numbers >= 0"),
        (dict(num_ofdm_symbols=1, fft_size=8, num_guard_carriers=(4, 4)), "leave none of 8 subcarriers"),
        (
            dict(num_ofdm_symbols=1, fft_size=8, num_guard_carriers=(4, 3), dc_null=True),
            "leave none of 8 subcarriers",
        ),
        (
            dict(num_ofdm_symbols=4, fft_size=8, pilot_ofdm_symbol_indices=(1, 4)),
            r"must be in \[0, 4\); got 4",
        ),
        (
            dict(num_ofdm_symbols=4, fft_size=8, pilot_ofdm_symbol_indices=(1, 1)),
            "must differ from each other",
        ),
        (dict(num_ofdm_symbols=4, fft_size=8, pilot_subcarrier_stride=9), r"stride must be in \[1, 8\]"),
        (dict(num_ofdm_symbols=4, fft_size=8, pilot_subcarrier_stride=0), r"stride must be in \[1, 8\]"),
        (dict(num_ofdm_symbols=2, fft_size=8, pilot_ofdm_symbol_indices=(0, 1)), "leave no room for data"),
    ],
)
def test_impossible_plans(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        phy.ResourceGrid(**arguments)


def test_wrong_shapes() -> None:
    grid = GRIDS["pilots"]
    with pytest.raises(ValueError, match="the grid holds 864 data symbols; got 863"):
        phy.place(grid, noise(0, 863))
    with pytest.raises(ValueError, match=r"last two axes must be \(14, 72\)"):
        phy.take(grid, noise(0, 72, 14))
    with pytest.raises(ValueError, match="the frame has 1092 samples; got 1093"):
        phy.demodulate(grid, noise(0, 1093))
