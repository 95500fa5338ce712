"""How images fall to clients: alike, by label, or in unequal numbers. Indices into the whole set, every image used once."""

import numpy as np
from jaxtyping import Int


def iid(count: int, clients: int, seed: int = 0) -> list[Int[np.ndarray, " n"]]:
    """Random parts of equal size, or one apart. Errors: ValueError for less than one client."""
    _check(clients)
    return list(np.array_split(np.random.default_rng(seed).permutation(count), clients))


def dirichlet(
    labels: Int[np.ndarray, " n"], clients: int, alpha: float, seed: int = 0
) -> list[Int[np.ndarray, " n"]]:
    """Of every label, shares from a Dirichlet law of concentration `alpha` (Hsu et al., arXiv 1909.06335).

    Small alphas give clients of few labels and of unequal size; large ones approach `iid`.
    Errors: ValueError for less than one client, an alpha that is not positive, and a client that is left without an image.
    """
    _check(clients)
    if not 0 < alpha < float("inf"):
        raise ValueError(f"the concentration of a Dirichlet split must be positive; got {alpha}")
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, alpha))
        cuts = np.round(np.cumsum(shares)[:-1] * len(members)).astype(int)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.append(piece)
    found = [np.concatenate(part) for part in parts]
    empty = [number for number, part in enumerate(found) if not len(part)]
    if empty:
        raise ValueError(
            f"a Dirichlet split of {alpha} leaves client {empty[0]} without images: take another seed or alpha"
        )
    return found


def by_quantity(count: int, clients: int, ratio: float = 10.0, seed: int = 0) -> list[Int[np.ndarray, " n"]]:
    """Random parts whose sizes rise geometrically, the largest `ratio` times the smallest.

    Errors: ValueError for less than one client and a ratio below 1.
    """
    _check(clients)
    if not ratio >= 1:
        raise ValueError(f"the largest part is at least as large as the smallest; got a ratio of {ratio}")
    sizes = ratio ** (np.arange(clients) / max(clients - 1, 1))
    cuts = np.round(np.cumsum(sizes / sizes.sum())[:-1] * count).astype(int)
    return list(np.split(np.random.default_rng(seed).permutation(count), cuts))


def _check(clients: int) -> None:
    if clients < 1:
        raise ValueError(f"a federation needs at least one client; got {clients}")
