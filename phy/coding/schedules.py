"""One iteration of belief propagation on a lifted graph, layered or flooding, batch last.

Posteriors are [columns, Z, batch], as ln P(0)/P(1). Only what matters is there: columns of fillers and checks whose own
parity bit was not sent take no part. Everything is row gathers through constant indices and elementwise work between
them, over rows of the graph of equal degree together: the form that a CPU runs at the speed of its caches.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Shaped

from phy.coding.base_graph import BaseGraph
from phy.coding.check_nodes import answer, summarise

Messages = tuple[Array, ...]  # answers of the checks, one array for each degree: [rows, degree, Z, batch]


@dataclass(frozen=True)
class TannerGraph:
    """The part of a lifted base graph that decoding needs: the first num_rows rows, without columns of fillers only.

    Hashable, with cached index arrays. Layers are rows of the base graph, largest degree first; `layers` holds one
    entry for each degree. A column lies turned by the shift of the last layer that met it ("in its frame"), so that
    a layer turns what it reads and writes it back as it is.
    """

    graph: BaseGraph
    block_bits: int
    num_rows: int

    @functools.cached_property
    def columns(self) -> np.ndarray:
        """Columns of the base graph that take part."""
        information, size = self.graph.num_information_columns, self.graph.lifting_size
        return np.array(
            [*range(-(-self.block_bits // size)), *range(information, information + self.num_rows)]
        )

    @functools.cached_property
    def rows(self) -> tuple[np.ndarray, ...]:
        """By degree: place of the column in `columns`, and shift, of every edge of every row. [rows, degree, 2]"""
        place = {int(column): i for i, column in enumerate(self.columns)}
        rows = [
            [(place[int(c)], int(s)) for c, s in self.graph.row(r) if int(c) in place]
            for r in range(self.num_rows)
        ]
        degrees = sorted({len(row) for row in rows}, reverse=True)
        return tuple(np.array([row for row in rows if len(row) == degree]) for degree in degrees)

    @functools.cached_property
    def frame(self) -> np.ndarray:
        """The turn of every column between iterations: the shift of the last row that meets it."""
        frame = np.zeros(len(self.columns), int)
        for rows in self.rows:
            for row in rows:
                frame[row[:, 0]] = row[:, 1]
        return frame

    @functools.cached_property
    def entry(self) -> np.ndarray:
        """Position in the word of every bit, columns in their frames. [columns, Z]"""
        size = self.graph.lifting_size
        return (self.columns[:, None] * size + (np.arange(size) + self.frame[:, None]) % size).astype(
            np.int32
        )

    @functools.cached_property
    def exit(self) -> np.ndarray:
        """Where the bits of a code block lie among the posteriors, laid end to end. [block_bits]"""
        return np.argsort(self.entry.ravel())[: self.block_bits].astype(np.int32)

    @functools.cached_property
    def layers(self) -> tuple[np.ndarray, ...]:
        """By degree: which posterior each check meets when its layer's turn comes. [rows, degree, Z]"""
        frame, layers = self.frame.copy(), []
        for rows in self.rows:
            layer = []
            for row in rows:
                layer.append(self._members(row, frame))
                frame[row[:, 0]] = row[:, 1]
            layers.append(np.array(layer, np.int32))
        return tuple(layers)

    @functools.cached_property
    def members(self) -> tuple[np.ndarray, ...]:
        """By degree: which posterior each check meets between iterations. [rows, degree, Z]"""
        return tuple(
            np.array([self._members(row, self.frame) for row in rows], np.int32) for rows in self.rows
        )

    @functools.cached_property
    def edges_of_bits(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """By degree of the column: the columns, and the edges of their bits, edges of all `members` laid end to end.
        [columns], [degree, columns, Z]"""
        size = self.graph.lifting_size
        ends = np.concatenate([m.ravel() for m in self.members])
        order = np.argsort(ends, kind="stable")
        degree = np.bincount(ends, minlength=len(self.columns) * size)
        first = np.concatenate([[0], np.cumsum(degree)])[:-1].reshape(-1, size)
        degree = degree.reshape(-1, size)[:, 0]
        found = []
        for wanted in sorted(set(degree.tolist())):
            columns = np.flatnonzero(degree == wanted)
            found.append(
                (columns, order[first[columns][None] + np.arange(wanted)[:, None, None]].astype(np.int32))
            )
        return tuple(found)

    def _members(self, row: np.ndarray, frame: np.ndarray) -> np.ndarray:
        column, shift = row.T[:, :, None]
        size = self.graph.lifting_size
        return column * size + (np.arange(size) + shift - frame[column]) % size


def no_messages(tanner: TannerGraph, batch: int, dtype: np.dtype | type) -> Messages:
    """Answers before the first iteration: nothing known."""
    return tuple(jnp.zeros((*members.shape, batch), dtype) for members in tanner.members)


def layered(
    tanner: TannerGraph,
    rule: str,
    posterior: Shaped[Array, "n z b"],
    messages: Messages,
    awake: Bool[Array, ""],
) -> tuple[Array, Messages]:
    """One iteration, row after row: each sees what the rows before it found. About twice as fast as flooding.

    awake: True, but not a constant: see `_apart`.
    """
    updated = []
    for rows, layer, old in zip(tanner.rows, tanner.layers, messages, strict=True):

        def one(i: Array, state: tuple[Array, Array], layer: np.ndarray = layer, rows: np.ndarray = rows):
            posterior, messages = state
            bits, columns = jnp.asarray(layer)[i], jnp.asarray(rows[..., 0].astype(np.int32))[i]
            before = lax.dynamic_index_in_dim(messages, i, 0, keepdims=False)
            incoming = _apart(awake, functools.partial(_incoming, bits), posterior, before)
            summary = _apart(awake, functools.partial(summarise, rule), incoming)
            after = answer(rule, incoming, summary)
            # The posterior keeps what the messages' range cuts off: incoming is not clipped, only answers are.
            posterior = posterior.at[columns].set(
                incoming + after.astype(posterior.dtype), unique_indices=True
            )
            return posterior, lax.dynamic_update_index_in_dim(messages, after, i, 0)

        posterior, new = lax.fori_loop(0, len(layer), one, (posterior, old))
        updated.append(new)
    return posterior, tuple(updated)


def flooding(
    tanner: TannerGraph,
    rule: str,
    channel: Shaped[Array, "n z b"],
    posterior: Shaped[Array, "n z b"],
    messages: Messages,
    awake: Bool[Array, ""],
) -> tuple[Array, Messages]:
    """One iteration, all checks at once, then all bits: posteriors are the channel's values plus all answers."""
    updated = []
    for members, before in zip(tanner.members, messages, strict=True):
        bits = np.moveaxis(members, 1, 0)
        incoming = _apart(awake, functools.partial(_incoming, bits), posterior, jnp.moveaxis(before, 1, 0))
        summary = _apart(awake, functools.partial(summarise, rule), incoming)
        updated.append(jnp.moveaxis(answer(rule, incoming, summary), 0, 1))
    batch = channel.shape[-1]
    edges = jnp.concatenate([answers.reshape(-1, batch) for answers in updated])
    edges = _apart(awake, lambda x: x, edges)
    for columns, of_bits in tanner.edges_of_bits:
        total = channel[columns]
        for edge in of_bits:
            total = total + edges[edge].astype(channel.dtype)
        posterior = posterior.at[columns].set(total, unique_indices=True)
    return posterior, tuple(updated)


def satisfied(tanner: TannerGraph, posterior: Shaped[Array, "n z b"]) -> Bool[Array, "b"]:
    """True for words whose every check holds. A posterior of 0 counts as bit 1, so that no news is not good news."""
    hard = (posterior <= 0).astype(jnp.int8).reshape(-1, posterior.shape[-1])
    broken = jnp.zeros(hard.shape[1], jnp.int8)
    for members in tanner.members:
        parity = hard[members[:, 0]]
        for j in range(1, members.shape[1]):
            parity = parity ^ hard[members[:, j]]
        broken = broken | jnp.max(parity, axis=(0, 1))
    return broken == 0


def _incoming(bits: Array | np.ndarray, posterior: Array, answers: Array) -> Array:
    """What the bits tell their checks: posteriors without the checks' own answers."""
    return posterior.reshape(-1, posterior.shape[-1])[bits] - answers.astype(posterior.dtype)


def _apart(awake: Bool[Array, ""], function: Callable, *arguments: Array):
    """function(*arguments), computed once and kept.

    XLA's CPU compiler fuses cheap producers into every consumer, here once for each edge of a check, and drops
    optimisation barriers before it does so: three to five times slower (measured). It does not fuse into a branch
    that depends on data; `awake` is always True.
    """

    def asleep(*arguments: Array):
        shapes = jax.eval_shape(function, *arguments)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return lax.platform_dependent(
        awake,
        *arguments,
        cpu=lambda awake, *given: lax.cond(awake, function, asleep, *given),
        default=lambda awake, *given: function(*given),
    )
