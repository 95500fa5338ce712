"""Laws of index maps, of the confusion matrix they are made for, and of indices carried as bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import erfc
from scipy.stats import binomtest

import phy
from phy import index_map

SIGMA_4 = 1 - 6.3e-5


def codebook(size: int, dims: int = 4) -> np.ndarray:
    return np.random.default_rng(size + dims).normal(size=(size, dims))


def distortion(to_label: np.ndarray, codebook: np.ndarray, confusion: np.ndarray, usage: np.ndarray) -> float:
    """The sum of the docstring, term by term."""
    total = 0.0
    for i, e_i in enumerate(codebook):
        for j, e_j in enumerate(codebook):
            total += usage[i] * confusion[to_label[i], to_label[j]] * np.sum((e_i - e_j) ** 2)
    return total


@pytest.mark.parametrize("size", [2, 16, 1024])
def test_maps_are_permutations_with_inverses(size: int) -> None:
    for to_label in (index_map.natural(size), index_map.gray(size), index_map.random(size, 3)):
        back = phy.inverse(to_label)
        assert np.array_equal(back[to_label], np.arange(size)) and np.array_equal(
            to_label[back], np.arange(size)
        )
    assert np.array_equal(index_map.random(size, 3), index_map.random(size, 3))
    steps = index_map.gray(size)
    assert all(int(a ^ b).bit_count() == 1 for a, b in zip(steps[:-1], steps[1:], strict=True))


@pytest.mark.parametrize("name", phy.MODULATIONS)
@pytest.mark.parametrize("esno_db", [-10.0, 3.0, 12.0])
def test_confusion_is_what_decisions_do(name: str, esno_db: float) -> None:
    """Rows are distributions; and the share of right decisions, and of one label's decisions, by simulation."""
    matrix = phy.confusion(name, esno_db)
    size = 2 ** phy.num_bits(name)
    assert matrix.shape == (size, size) and matrix.dtype == np.float64
    assert np.all(matrix >= 0)
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-12)
    rng = np.random.default_rng(size)
    count, member = 40_000, phy.modulation(name)
    sent = rng.integers(0, size, count)
    noise = rng.normal(size=(count, 2)) @ [1, 1j] * np.sqrt(10 ** (-esno_db / 10) / 2)
    link = jax.jit(lambda sent, noise: member.decide(member.modulate(sent) + noise))
    decided = np.asarray(link(jnp.asarray(sent), jnp.asarray(noise, jnp.complex64)))
    low, high = binomtest(int(np.sum(decided == sent)), count).proportion_ci(SIGMA_4)
    assert low <= np.mean(np.diag(matrix)) <= high
    for label in (0, size - 1):
        low, high = binomtest(int(np.sum(decided == label)), count).proportion_ci(SIGMA_4)
        assert low <= matrix[:, label].mean() <= high


def test_confusion_of_16qam_by_quadrature() -> None:
    """One row against the two-dimensional Gaussian integrated over decision squares."""
    matrix, noise_var, unit = phy.confusion("qam16", 8.0), 10**-0.8, 1 / np.sqrt(10)
    points = np.asarray(phy.modulation("qam16").modulate(jnp.arange(16)), np.complex128)

    def edge(level: float) -> tuple[float, float]:
        low, high = level - unit, level + unit
        return (-4.0 if level < -2.5 * unit else low), (4.0 if level > 2.5 * unit else high)

    for sent, decided in ((0, 0), (0, 5), (3, 8)):
        x = points[sent]
        (left, right), (bottom, top) = edge(points[decided].real), edge(points[decided].imag)

        def density(q: float, i: float, x: complex = x) -> float:
            return np.exp(-(abs(i + 1j * q - x) ** 2) / noise_var) / (np.pi * noise_var)

        value = dblquad(density, left, right, bottom, top, epsabs=1e-12)[0]
        assert matrix[sent, decided] == pytest.approx(value, rel=1e-6)


def test_confusion_of_8psk_by_its_bounds() -> None:
    """At high SNR the error rate is 2 Q(sqrt(2 Es/N0) sin(pi/8)) to within its own overlap."""
    for esno_db in (12.0, 18.0):
        error = 1 - np.mean(np.diag(phy.confusion("psk8", esno_db)))
        bound = erfc(np.sqrt(10 ** (esno_db / 10)) * np.sin(np.pi / 8))
        assert error == pytest.approx(bound, rel=1e-3) and error <= bound * (1 + 1e-9)


@pytest.mark.parametrize("usage", [None, "skewed"])
def test_swap_changes_are_exact(usage: str | None) -> None:
    size = 16
    share = None if usage is None else np.random.default_rng(1).dirichlet(np.ones(size))
    matrix = phy.confusion("qam16", 4.0)
    flow, received = index_map._problem(codebook(size), matrix, share)
    changes = index_map._swap_changes(flow, received)
    for a in range(size):
        for b in range(size):
            order = np.arange(size)
            order[[a, b]] = order[[b, a]]
            expected = np.sum(flow * received[np.ix_(order, order)]) - np.sum(flow * received)
            assert changes[a, b] == pytest.approx(expected, abs=1e-12)
            assert index_map._swap_change(flow, received, a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "esno_db"), [("bpsk", 0.0), ("qam16", 10.0), ("qam64", 16.0), ("qam64", 30.0)]
)
@pytest.mark.parametrize("skewed", [False, True])
def test_pseudo_gray_is_a_local_minimum_below_its_start(name: str, esno_db: float, skewed: bool) -> None:
    matrix = phy.confusion(name, esno_db)
    size = len(matrix)
    words = codebook(size)
    usage = np.random.default_rng(2).dirichlet(np.ones(size)) if skewed else np.full(size, 1 / size)
    start = index_map.random(size, 5)
    for given in (None, start):
        found = phy.pseudo_gray(words, matrix, usage if skewed else None, given)
        assert np.array_equal(found, phy.pseudo_gray(words, matrix, usage, given))
        phy.inverse(found)
        reached = distortion(found, words, matrix, usage)
        begun = distortion(index_map.natural(size) if given is None else given, words, matrix, usage)
        assert reached <= begun * (1 + 1e-12)
        assert size == 2 or reached < 0.8 * begun
        assert phy.index_distortion(found, words, matrix, usage) == pytest.approx(reached, rel=1e-9)
    for a, b in np.random.default_rng(3).integers(0, size, (40, 2)):
        swapped = found.copy()
        swapped[[a, b]] = swapped[[b, a]]
        assert phy.index_distortion(swapped, words, matrix, usage) >= reached * (1 - 1e-9)


def test_pseudo_gray_undoes_a_shuffle() -> None:
    """Codewords that *are* the points, shuffled: a quarter of the random distortion or less is within reach."""
    points = np.asarray(phy.modulation("qam64").modulate(jnp.asarray(index_map.random(64, 0))))
    words, matrix = np.stack([points.real, points.imag], 1), phy.confusion("qam64", 18.0)
    found = phy.index_distortion(phy.pseudo_gray(words, matrix), words, matrix)
    assert found < 0.25 * phy.index_distortion(index_map.random(64, 1), words, matrix)


@pytest.mark.parametrize(
    ("bits_per_index", "bits_per_symbol"), [(8, 4), (4, 8), (6, 4), (10, 1), (1, 8), (5, 3)]
)
def test_indices_survive_as_bits(bits_per_index: int, bits_per_symbol: int) -> None:
    count = 7
    indices = np.random.default_rng(bits_per_index).integers(0, 2**bits_per_index, (2, 3, count))
    labels = phy.indices_to_labels(jnp.asarray(indices), bits_per_index, bits_per_symbol)
    symbols = phy.num_carriers(count, bits_per_index, bits_per_symbol)
    assert labels.shape == (2, 3, symbols) and symbols == int(
        np.ceil(count * bits_per_index / bits_per_symbol)
    )
    text = "".join(f"{i:0{bits_per_index}b}" for i in indices[1, 2]).ljust(symbols * bits_per_symbol, "0")
    assert labels[1, 2].tolist() == [
        int(text[i : i + bits_per_symbol], 2) for i in range(0, len(text), bits_per_symbol)
    ]
    assert np.array_equal(phy.labels_to_indices(labels, count, bits_per_index, bits_per_symbol), indices)
    with pytest.raises(
        ValueError, match=f"travel on {symbols} symbols of {bits_per_symbol} bits; got {symbols + 1}"
    ):
        phy.labels_to_indices(jnp.zeros(symbols + 1, int), count, bits_per_index, bits_per_symbol)


def test_errors() -> None:
    words, matrix = codebook(4), np.eye(4)
    for size in (0, 1, 12):
        with pytest.raises(ValueError, match=f"an index map needs a size in 2, 4, 8, 16, ...; got {size}"):
            index_map.gray(size)
    with pytest.raises(ValueError, match="must hold each of 0 .. 3 once"):
        phy.inverse(np.array([0, 1, 1, 3]))
    with pytest.raises(ValueError, match="the codebook must be finite"):
        phy.pseudo_gray(words * np.nan, matrix)
    with pytest.raises(ValueError, match="4 codewords need a confusion matrix of 4 x 4"):
        phy.pseudo_gray(words, np.eye(8))
    with pytest.raises(ValueError, match="must be a distribution"):
        phy.pseudo_gray(words, 2 * matrix)
    with pytest.raises(ValueError, match="usage must be 4 probabilities that sum to 1"):
        phy.pseudo_gray(words, matrix, np.ones(4))
    with pytest.raises(ValueError, match="the start maps 8 indices, the codebook has 4"):
        phy.pseudo_gray(words, matrix, start=index_map.natural(8))
    with pytest.raises(ValueError, match="unknown modulation 'qam15'; did you mean qam16"):
        phy.confusion("qam15", 3.0)
    with pytest.raises(ValueError, match="esno_db must be finite; got nan"):
        phy.confusion("qam16", float("nan"))
