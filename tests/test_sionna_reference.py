"""Against Sionna 2.2: its numbers as committed fixtures, and live where it is installed.

tests/reference/make_sionna_fixtures.py wrote the fixtures and says what each is an oracle for.
"""

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import channels
import phy
from phy.coding import LdpcCode, LdpcDecoder, decode, encode, rate_recover

REFERENCE = Path(__file__).parent / "reference"
ARRAYS: dict[str, np.ndarray] = dict(np.load(REFERENCE / "sionna.npz"))
TABLES: dict[str, Any] = json.loads((REFERENCE / "sionna.json").read_text())
QAM = tuple(name.partition(".")[2] for name in ARRAYS if name.startswith("points."))
LARGEST = max(phy.num_bits(name) for name in QAM)
LS_CASES = tuple(name.split(".")[1] for name in ARRAYS if name.startswith("ls.") and name.endswith(".mask"))
SIGMAS = 4.0


def relative_error(ours: jax.Array, theirs: np.ndarray) -> float:
    """Largest error of an LLR relative to its size; below 0.1 relative to 0.1, since an LLR near 0 is a difference of
    two large numbers."""
    return float(np.max(np.abs(np.asarray(ours, np.float64) - theirs) / np.maximum(np.abs(theirs), 0.1)))


def grid_of(description: dict[str, Any]) -> phy.ResourceGrid:
    """Our grid for Sionna's arguments. Its "kronecker" pattern, whole pilot symbols, is the only one we have a name for."""
    assert description.get("pilot_pattern", "kronecker") == "kronecker"
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in description.items()
        if name != "pilot_pattern"
    }
    return phy.ResourceGrid(**arguments)


@pytest.mark.parametrize("max_bits", [None, LARGEST], ids=["own", "bank"])
@pytest.mark.parametrize("name", QAM)
def test_points(name: str, max_bits: int | None) -> None:
    """Label by label the same point: 3GPP's labels, most significant bit first, at unit mean energy."""
    labels = jnp.arange(2 ** phy.num_bits(name), dtype=jnp.int32)
    points = phy.modulation(name, max_bits).modulate(labels)
    np.testing.assert_allclose(points, ARRAYS[f"points.{name}"], atol=1e-6)


@pytest.mark.parametrize("max_bits", [None, LARGEST], ids=["own", "bank"])
@pytest.mark.parametrize("method", ["app", "maxlog"])
@pytest.mark.parametrize("name", QAM)
def test_llr(name: str, method: str, max_bits: int | None) -> None:
    """Every LLR of 256 noisy symbols from 0 to 30 dB: sign, scale and value, from the same float32 inputs."""
    y, noise_var = jnp.asarray(ARRAYS[f"llr.{name}.y"]), jnp.asarray(ARRAYS[f"llr.{name}.noise_var"])
    llr = phy.modulation(name, max_bits).llr(y, noise_var, method)
    bits = phy.num_bits(name)
    assert llr.shape == (len(y), max_bits or bits)
    assert relative_error(llr[:, :bits], ARRAYS[f"llr.{name}.{method}"]) < 1e-4
    assert not np.any(llr[:, bits:])


@pytest.mark.parametrize("case", LS_CASES)
def test_ls_estimate(case: str) -> None:
    """The same estimate at every resource element: interpolated in frequency, then in time, both continued
    linearly past the last pilots."""
    mask, at_pilots = ARRAYS[f"ls.{case}.mask"], ARRAYS[f"ls.{case}.pilots"]
    symbols, subcarriers = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    grid = phy.ResourceGrid(
        *mask.shape,
        pilot_ofdm_symbol_indices=tuple(int(i) for i in symbols),
        pilot_subcarrier_stride=int(subcarriers[1] - subcarriers[0]),
    )
    assert np.array_equal(grid.pilot_mask, mask)
    received = np.zeros(mask.shape, np.complex64)
    received[mask] = at_pilots * grid.pilots
    noise_var = jnp.asarray(ARRAYS[f"ls.{case}.noise_var"])
    estimate = phy.ls_estimate(grid, jnp.asarray(received), noise_var)
    np.testing.assert_allclose(estimate.gain, ARRAYS[f"ls.{case}.gain"], atol=2e-6, rtol=1e-5)
    # Sionna interpolates the error variance like the estimate; ours has the squared weights. Both are exact at the pilots.
    error_var = np.broadcast_to(np.asarray(estimate.error_var), mask.shape)
    np.testing.assert_allclose(error_var[mask], ARRAYS[f"ls.{case}.error_var"][mask], rtol=1e-5)


def test_lmmse() -> None:
    y, gain, noise_var = (jnp.asarray(ARRAYS[f"lmmse.{name}"]) for name in ("y", "gain", "noise_var"))
    equalised = phy.lmmse(y, gain, noise_var)
    np.testing.assert_allclose(equalised.symbols, ARRAYS["lmmse.symbols"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(equalised.noise_var, ARRAYS["lmmse.effective"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", TABLES["tdl"])
def test_tdl_tables(name: str) -> None:
    theirs = TABLES["tdl"][name]
    ours = channels.tdl_profile(f"tdl-{name.lower()}", 1.0)
    first = 1 if theirs["los"] else 0  # the specular path is a row of its own there
    powers = 10 ** (np.array(theirs["powers_db"]) / 10)
    np.testing.assert_allclose(ours.delays, theirs["delays"][first:], atol=1e-12)
    np.testing.assert_allclose(ours.scattered, powers[first:] / powers.sum(), rtol=1e-12)
    with_los = np.array(ours.scattered)
    with_los[0] += ours.specular
    np.testing.assert_allclose(with_los, theirs["mean_powers"], rtol=1e-12)
    if theirs["los"]:
        assert ours.specular / ours.scattered[0] == pytest.approx(theirs["k_factor"], rel=1e-12)
    else:
        assert ours.specular == 0


@pytest.mark.parametrize("case", TABLES["ebnodb2no"], ids=lambda case: f"{case['bits']}-{len(case['grid'])}")
def test_ebnodb2no(case: dict[str, Any]) -> None:
    """Prefix and pilots are charged to the data symbols; guards and a nulled DC cost nothing."""
    resource_grid = grid_of(case["grid"]) if case["grid"] else None
    ours = phy.ebnodb2no(case["ebno_db"], case["bits"], case["coderate"], resource_grid)
    assert float(jnp.asarray(ours)) == pytest.approx(case["noise_var"], rel=1e-6)


NUM_GRIDS = 4096
BATCH = 512
GRID = grid_of(TABLES["ofdm"]["grid"])


def tdl_a() -> channels.GridFading:
    """The fixture's channel on the fixture's grid."""
    theirs = TABLES["ofdm"]["channel"]
    return channels.tdl(
        f"tdl-{theirs['model'].lower()}",
        delay_spread=theirs["delay_spread"],
        carrier_frequency=theirs["carrier_frequency"],
        speed=theirs["max_speed"],
        frequencies=GRID.frequencies,
        times=GRID.times,
    )


@jax.jit
def link(key: jax.Array, fading: channels.GridFading, noise_var: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bit errors of each of BATCH grids with perfect and with LS channel knowledge: same bits, fades and noise."""
    key_labels, key_channel = jax.random.split(key)
    modulation = phy.modulation("qam16")
    labels = jax.random.randint(key_labels, (BATCH, GRID.num_data_symbols), 0, 16, jnp.int32)
    received = channels.transmit(key_channel, fading, phy.place(GRID, modulation.modulate(labels)), noise_var)

    def errors(gain: jax.Array, error_var: jax.Array) -> jax.Array:
        equalised = phy.lmmse(received.y, gain, received.noise_var, error_var)
        llr = modulation.llr(phy.take(GRID, equalised.symbols), phy.take(GRID, equalised.noise_var), "app")
        return jnp.sum(phy.count_bit_errors(labels, phy.decide_llr(modulation, llr)), axis=-1)

    estimate = phy.ls_estimate(GRID, received.y, received.noise_var)
    return errors(received.gain, jnp.zeros(())), errors(estimate.gain, estimate.error_var)


@pytest.fixture(scope="module")
def measured() -> dict[tuple[float, str], np.ndarray]:
    """Errors of each of our grids, by Eb/N0 and channel knowledge. The link is compiled once for all four points."""
    fading = tdl_a()
    counts: dict[tuple[float, str], np.ndarray] = {}
    for ebno_db in sorted({row["ebno_db"] for row in TABLES["ofdm"]["rows"]}):
        key = jax.random.fold_in(jax.random.key(20), round(ebno_db))
        noise_var = jnp.asarray(phy.ebnodb2no(ebno_db, 4), jnp.float32)
        blocks = [link(jax.random.fold_in(key, i), fading, noise_var) for i in range(NUM_GRIDS // BATCH)]
        for csi, grids in zip(("perfect", "ls"), zip(*blocks, strict=True), strict=True):
            counts[ebno_db, csi] = np.concatenate([np.asarray(block, np.int64) for block in grids])
    return counts


@pytest.mark.parametrize("row", TABLES["ofdm"]["rows"], ids=lambda row: f"{row['csi']}-{row['ebno_db']:g}dB")
def test_ofdm_link(row: dict[str, Any], measured: dict[tuple[float, str], np.ndarray]) -> None:
    """16-QAM over TDL-A 100 ns at 3 m/s: as many errors a grid, within 4 sigma.

    The bits of a grid share its fade, hence the spread over grids; both simulators are random, hence the sum
    of variances.
    """
    ours = measured[row["ebno_db"], row["csi"]]
    assert row["bits_per_grid"] == 4 * GRID.num_data_symbols
    assert ours.sum() >= 1000
    mean = row["errors"] / row["grids"]
    variance = (row["sum_sq"] / row["grids"] - mean**2) / row["grids"] + ours.var() / len(ours)
    assert abs(ours.mean() - mean) < SIGMAS * math.sqrt(variance)


@pytest.mark.parametrize("ebno_db", sorted({row["ebno_db"] for row in TABLES["ofdm"]["rows"]}))
def test_price_of_estimation(ebno_db: float, measured: dict[tuple[float, str], np.ndarray]) -> None:
    """Errors with LS over errors with perfect knowledge: Sionna's ratio within 4 sigma.

    Both receivers see the same fades, so the ratio is far better known than either count. Its variance is that of
    the residuals `ls - ratio * perfect` over grids (delta method), the same for both simulators.
    """
    theirs = {row["csi"]: row for row in TABLES["ofdm"]["rows"] if row["ebno_db"] == ebno_db}
    assert {row["grids"] for row in theirs.values()} == {NUM_GRIDS}
    perfect, ls = measured[ebno_db, "perfect"], measured[ebno_db, "ls"]
    ratio = ls.sum() / perfect.sum()
    variance = np.mean((ls - ratio * perfect) ** 2) / (NUM_GRIDS * np.mean(perfect) ** 2)
    difference = ratio - theirs["ls"]["errors"] / theirs["perfect"]["errors"]
    assert abs(difference) < SIGMAS * math.sqrt(2 * variance)


NOT_HERE = "Sionna is not installed (extra: sionna); its committed numbers are compared in other tests"


@pytest.mark.filterwarnings("default")  # PyTorch's own
def test_live_ldpc() -> None:
    """The installed Sionna's own encoder and decoder on other words than the fixtures hold: every coded bit is equal, and
    every decided one of the words that come right; the same words come wrong."""
    ldpc = pytest.importorskip("sionna.phy.fec.ldpc", reason=NOT_HERE)
    torch = pytest.importorskip("torch", reason=NOT_HERE)
    rng = np.random.default_rng(8)
    for k, n, width, ebno_db in ((100, 300, 2, 1.0), (512, 1024, 4, 1.3), (1500, 2004, 6, 2.2)):
        code, encoder = LdpcCode(k, n, width), ldpc.LDPC5GEncoder(k, n, width)
        bits = rng.integers(0, 2, (64, k))
        sent = encoder(torch.tensor(bits, dtype=torch.float32)).numpy()
        np.testing.assert_array_equal(encode(code, jnp.asarray(bits)), sent)
        # Near its threshold, where the decoder has work to do and some words stay wrong.
        variance = 1 / (2 * 10 ** (ebno_db / 10) * k / n)  # of BPSK's real noise
        llr = np.float32(2 / variance * (2 * sent - 1 + np.sqrt(variance) * rng.standard_normal(sent.shape)))
        theirs = ldpc.LDPC5GDecoder(encoder, cn_update="boxplus", num_iter=20)(torch.tensor(llr)).numpy()
        decoder = LdpcDecoder(code, 20, "sum-product", "flooding", "float32", early_stop=False)
        ours = decode(decoder, rate_recover(code, jnp.asarray(llr))).bits[:, 0]
        wrong = (theirs != bits).any(-1)
        assert 3 < wrong.sum() < 61
        np.testing.assert_array_equal(np.asarray(ours)[~wrong], theirs[~wrong])
        assert ((np.asarray(ours) != bits).any(-1) == wrong).all()


@pytest.mark.filterwarnings("default")  # PyTorch's own
def test_live_demapper() -> None:
    """The installed Sionna's own demapper on other symbols than the fixtures hold."""
    mapping = pytest.importorskip("sionna.phy.mapping", reason=NOT_HERE)
    torch = pytest.importorskip("torch", reason=NOT_HERE)
    rng = np.random.default_rng(7)
    for name in ("qpsk", "qam16", "qam64", "qam256"):
        bits = phy.num_bits(name)
        y = np.complex64(rng.standard_normal((1000, 2)) @ np.array([1, 1j]))
        noise_var = np.float32(10 ** -rng.uniform(0, 2, 1000))
        for method in ("app", "maxlog"):
            demapper = mapping.Demapper(method, "qam", bits, precision="double", device="cpu")
            theirs = demapper(
                torch.tensor(y.astype(np.complex128)), torch.tensor(noise_var.astype(np.float64))
            )
            ours = phy.modulation(name).llr(jnp.asarray(y), jnp.asarray(noise_var), method)
            assert relative_error(ours, theirs.numpy().reshape(1000, bits)) < 1e-4
