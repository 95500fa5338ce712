"""The graph that a word is decoded on: index arrays of a lifted base graph, by degree of its rows and columns."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Array

from phy.coding.base_graph import BaseGraph


class Rows(NamedTuple):
    """Rows of one degree, as the layered schedule goes through them: constants of one graph, or data (`shared_program`)."""

    used: int | np.int32 | Array  # that there are; those beyond are padding
    bits: (
        np.ndarray | Array
    )  # [rows, degree, Z] the posterior that each check meets when its layer's turn comes
    columns: np.ndarray | Array  # [rows, degree] places of the columns


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
        """Columns of the base graph that take part, those of the smallest degree first."""
        information, size = self.graph.num_information_columns, self.graph.lifting_size
        used = [*range(-(-self.block_bits // size)), *range(information, information + self.num_rows)]
        met = self.graph.edges[self.graph.edges[:, 0] < self.num_rows, 1]
        return np.array(sorted(used, key=lambda column: int(np.sum(met == column))))

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
    def schedule(self) -> tuple[Rows, ...]:
        """The rows by degree, each with the posteriors that it meets and the columns that it writes."""
        pairs = zip(self.rows, self.layers, strict=True)
        return tuple(Rows(len(rows), layer, rows[..., 0].astype(np.int32)) for rows, layer in pairs)

    @functools.cached_property
    def turns(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Layer after layer: place of every column, and how far it is turned when the layer's turn comes."""
        size = self.graph.lifting_size
        return tuple(
            tuple(divmod(int(bits[0]), size) for bits in row) for layer in self.layers for row in layer
        )

    @functools.cached_property
    def members(self) -> tuple[np.ndarray, ...]:
        """By degree: which posterior each check meets between iterations. [rows, degree, Z]"""
        return tuple(
            np.array([self._members(row, self.frame) for row in rows], np.int32) for rows in self.rows
        )

    @functools.cached_property
    def edges_of_bits(self) -> tuple[np.ndarray, ...]:
        """By degree of the columns, which lie in that order: the edges of their bits, edges of all `members` laid end to
        end. [degree, columns, Z]"""
        size = self.graph.lifting_size
        ends = np.concatenate([m.ravel() for m in self.members])
        order = np.argsort(ends, kind="stable")
        degree = np.bincount(ends, minlength=len(self.columns) * size)
        first = np.concatenate([[0], np.cumsum(degree)])[:-1].reshape(-1, size)
        degree = degree.reshape(-1, size)[:, 0]
        return tuple(
            (order[first[degree == wanted][None] + np.arange(wanted)[:, None, None]]).astype(np.int32)
            for wanted in np.unique(degree)
        )

    def _members(self, row: np.ndarray, frame: np.ndarray) -> np.ndarray:
        column, shift = row.T[:, :, None]
        size = self.graph.lifting_size
        return column * size + (np.arange(size) + shift - frame[column]) % size
