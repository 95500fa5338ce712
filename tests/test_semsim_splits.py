"""Splits of images among clients: every image once, shares as asked."""

import numpy as np
import pytest

from semsim.techniques.splits import by_quantity, dirichlet, iid

LABELS = np.repeat(np.arange(10), 300)


@pytest.mark.parametrize(
    "parts", [iid(103, 10, 1), by_quantity(1000, 7, 8.0, 1), dirichlet(LABELS, 10, 0.6, 1), iid(5, 1)]
)
def test_every_image_has_one_client(parts):
    everything = np.sort(np.concatenate(parts))
    np.testing.assert_array_equal(everything, np.arange(len(everything)))


def test_iid_parts_are_of_one_size_and_of_all_labels():
    parts = iid(3000, 10, 2)
    assert {len(part) for part in parts} == {300}
    counts = np.array([np.bincount(LABELS[part], minlength=10) for part in parts])
    expected, spread = 30, np.sqrt(300 * 0.1 * 0.9)
    assert np.abs(counts - expected).max() < 4 * spread


def test_small_concentrations_leave_few_labels_and_large_ones_all():
    few, many = (dirichlet(LABELS, 10, alpha, 3) for alpha in (0.05, 1e6))
    assert np.mean([np.bincount(LABELS[p], minlength=10).max() / len(p) for p in few]) > 0.5
    counts = np.array([np.bincount(LABELS[p], minlength=10) for p in many])
    assert np.abs(counts - 30).max() <= 2


def test_quantities_rise_by_the_ratio():
    sizes = [len(part) for part in by_quantity(100_000, 5, 16.0)]
    np.testing.assert_allclose(np.divide(sizes[1:], sizes[:-1]), 2, rtol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: iid(10, 0), "at least one client"),
        (lambda: dirichlet(LABELS, 10, 0.0), "must be positive"),
        (lambda: dirichlet(LABELS[:20], 10, 0.01), "without images"),
        (lambda: by_quantity(10, 2, 0.5), "at least as large"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
