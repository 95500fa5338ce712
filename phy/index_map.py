"""Permutations between VQ indices and labels, and indices that travel as bits on any modulation.

A map is an integer array `to_label` with label = to_label[index]; `inverse(to_label)[label]` is the index
again. A direct map sends codeword i as point to_label[i] of a constellation of the same size. A labelled map
writes the label's bits into a stream that any modulation carries (`indices_to_labels`). Maps are made on the
host, once; NumPy, float64, deterministic.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from phy.base import label_bits, labels_of_bits

_LARGEST_SWEEPS = 200


def natural(size: int) -> Int[np.ndarray, " k"]:
    """label = index."""
    return np.arange(_checked_size(size), dtype=np.int32)


def gray(size: int) -> Int[np.ndarray, " k"]:
    """Reflected Gray code: neighbouring indices have labels that differ in one bit."""
    index = natural(size)
    return index ^ (index >> 1)


def random(size: int, seed: int) -> Int[np.ndarray, " k"]:
    """A random permutation: the baseline that a similarity-preserving map has to beat."""
    return np.random.default_rng(seed).permutation(_checked_size(size)).astype(np.int32)


def inverse(to_label: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """Index of each label. Errors: ValueError if `to_label` is not a permutation of 0 .. K-1."""
    to_label = np.asarray(to_label)
    if to_label.ndim != 1 or not np.array_equal(np.sort(to_label), np.arange(to_label.size)):
        raise ValueError(f"an index map must hold each of 0 .. {to_label.size - 1} once")
    return np.argsort(to_label).astype(np.int32)


def index_distortion(
    to_label: Int[np.ndarray, " k"],
    codebook: Float[np.ndarray, "k d"],
    confusion: Float[np.ndarray, "_k _k"],
    usage: Float[np.ndarray, " _k"] | None = None,
) -> float:
    """Mean squared error that label errors cause: sum_ij usage_i P(label_j | label_i) ||e_i - e_j||^2.

    confusion[sent, decided]; usage: probability of each codeword, uniform by default.
    """
    flow, received = _problem(codebook, confusion, usage)
    order = np.asarray(to_label)
    return float(np.sum(flow * received[np.ix_(order, order)]))


def pseudo_gray(
    codebook: Float[np.ndarray, "k d"],
    confusion: Float[np.ndarray, "_k _k"],
    usage: Float[np.ndarray, " _k"] | None = None,
    start: Int[np.ndarray, " _k"] | None = None,
) -> Int[np.ndarray, " k"]:
    """A map under which likely label errors lead to similar codewords: pairwise swaps lower `index_distortion`.

    codebook: K codewords; confusion[sent, decided] as from `confusion` at the SNR of interest; usage:
    probability of each codeword; start: the map to improve, natural by default. Returns a local minimum,
    never worse than the start: no swap of two labels improves it. The problem is a quadratic assignment, so
    the global minimum is out of reach; other starts end within a few per cent of each other.
    Binary switching, Zeger and Gersho, "Pseudo-Gray coding", IEEE Trans. Commun. 38(12), 1990; O(K^3) a sweep.
    Errors: ValueError for shapes that do not fit, values that are not finite, rows that are no distributions.
    """
    flow, received = _problem(codebook, confusion, usage)
    order = natural(len(flow)) if start is None else np.array(start, np.int32)
    inverse(order)
    if len(order) != len(flow):
        raise ValueError(f"the start maps {len(order)} indices, the codebook has {len(flow)}")
    tolerance = 1e-12 * max(float(np.sum(flow * received[np.ix_(order, order)])), np.finfo(float).tiny)
    for _ in range(_LARGEST_SWEEPS):
        current = received[np.ix_(order, order)]
        change = _swap_changes(flow, current)
        # One matrix of candidates serves many swaps: the best partner of each index, most promising first,
        # each checked again in O(K) against the map as it has become.
        partner = np.argmin(change, axis=1)
        swapped = False
        for a in np.argsort(change[np.arange(len(order)), partner], kind="stable"):
            a, b = int(a), int(partner[a])
            if change[a, b] >= -tolerance:
                break
            if _swap_change(flow, current, a, b) < -tolerance:
                order[[a, b]] = order[[b, a]]
                current[[a, b]] = current[[b, a]]
                current[:, [a, b]] = current[:, [b, a]]
                swapped = True
        if not swapped:
            break
    return order


def num_carriers(num_indices: int, bits_per_index: int, bits_per_symbol: int) -> int:
    """Symbols that `num_indices` indices of `bits_per_index` bits occupy: rounded up."""
    return -(-num_indices * bits_per_index // bits_per_symbol)


def indices_to_labels(
    indices: Int[Array, "*b n"], bits_per_index: int, bits_per_symbol: int
) -> Int[Array, "*b s"]:
    """Symbol labels that carry a row of (already permuted) indices as one bit stream, zero bits at its end.

    Each index gives its `bits_per_index` bits, most significant first; each symbol takes the next
    `bits_per_symbol`.
    """
    count = indices.shape[-1]
    bits = label_bits(indices, bits_per_index, bits_per_index)
    bits = bits.reshape(*indices.shape[:-1], count * bits_per_index)
    symbols = num_carriers(count, bits_per_index, bits_per_symbol)
    padding = symbols * bits_per_symbol - count * bits_per_index
    bits = jnp.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, padding)])
    return labels_of_bits(bits.reshape(*indices.shape[:-1], symbols, bits_per_symbol))


def labels_to_indices(
    labels: Int[Array, "*b s"], num_indices: int, bits_per_index: int, bits_per_symbol: int
) -> Int[Array, "*b n"]:
    """The inverse of `indices_to_labels`: the first `num_indices` indices of the stream, without its padding.

    Errors: ValueError if the labels do not carry exactly that stream.
    """
    symbols = num_carriers(num_indices, bits_per_index, bits_per_symbol)
    if labels.shape[-1] != symbols:
        raise ValueError(
            f"{num_indices} indices of {bits_per_index} bits travel on {symbols} symbols of {bits_per_symbol} "
            f"bits; got {labels.shape[-1]} symbols"
        )
    bits = label_bits(labels, bits_per_symbol, bits_per_symbol)
    bits = bits.reshape(*labels.shape[:-1], symbols * bits_per_symbol)[..., : num_indices * bits_per_index]
    return labels_of_bits(bits.reshape(*labels.shape[:-1], num_indices, bits_per_index))


def _checked_size(size: int) -> int:
    if size < 2 or size & (size - 1):
        raise ValueError(f"an index map needs a size in 2, 4, 8, 16, ...; got {size}")
    return size


def _problem(
    codebook: np.ndarray, confusion: np.ndarray, usage: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Checked float64 `flow[i, j]` = usage_i ||e_i - e_j||^2, and the confusion matrix without its diagonal.

    Right decisions cost nothing, so their probabilities near 1 may go: errors of 1e-12 keep their precision.
    """
    codebook, confusion = np.asarray(codebook, np.float64), np.asarray(confusion, np.float64)
    size = len(codebook)
    if codebook.ndim != 2 or not np.all(np.isfinite(codebook)):
        raise ValueError(f"the codebook must be finite, [codewords, dimensions]; got shape {codebook.shape}")
    if confusion.shape != (size, size):
        raise ValueError(
            f"{size} codewords need a confusion matrix of {size} x {size}; got shape {confusion.shape}"
        )
    if np.any(confusion < 0) or not np.allclose(confusion.sum(1), 1.0, atol=1e-6):
        raise ValueError("each row of the confusion matrix must be a distribution: P(decided | sent), sum 1")
    usage = np.full(size, 1.0 / size) if usage is None else np.asarray(usage, np.float64)
    if usage.shape != (size,) or not np.all(usage >= 0) or abs(usage.sum() - 1.0) > 1e-6:
        raise ValueError(f"usage must be {size} probabilities that sum to 1")
    codebook = codebook - codebook.mean(axis=0)
    energy = np.sum(codebook**2, axis=1)
    distance = np.maximum(energy[:, None] + energy[None, :] - 2.0 * codebook @ codebook.T, 0.0)
    np.fill_diagonal(distance, 0.0)
    return usage[:, None] * distance, confusion * (1.0 - np.eye(size))


def _swap_changes(flow: np.ndarray, received: np.ndarray) -> np.ndarray:
    """Change of sum(flow * received) for swapping two rows and columns of `received`: all pairs at once.

    Both have a zero diagonal, which removes the diagonal terms of the general formula.
    """
    across = flow.T @ received + flow @ received.T
    own = np.diagonal(across)
    # The products sum over k = a and k = b as well, where the swap acts differently: put those terms right.
    excess = -2.0 * flow * received
    pair = (flow - flow.T) * (received.T - received)
    return across + across.T - own[:, None] - own[None, :] - excess - excess.T + pair


def _swap_change(flow: np.ndarray, received: np.ndarray, a: int, b: int) -> float:
    """The same for one pair in O(K)."""
    columns = (flow[:, a] - flow[:, b]) * (received[:, b] - received[:, a])
    rows = (flow[a] - flow[b]) * (received[b] - received[a])
    both = columns + rows
    both[[a, b]] = 0.0
    pair = (flow[a, b] - flow[b, a]) * (received[b, a] - received[a, b])
    return float(both.sum() + pair)
