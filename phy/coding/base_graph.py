"""The two base graphs of NR LDPC and their liftings (3GPP TS 38.212 clause 5.3.2).

A base graph is a small bipartite graph whose every edge stands for Z edges: check i of row r meets bit
(i + shift) mod Z of column c. The shifts depend on the lifting size Z through its set.
"""

import functools
from dataclasses import dataclass
from importlib import resources

import numpy as np

LIFTING_SETS = tuple(
    tuple(first << j for j in range(8) if first << j <= 384) for first in (2, 3, 5, 7, 9, 11, 13, 15)
)
"""Lifting sizes by set index i_LS, TS 38.212 table 5.3.2-1."""
LIFTING_SIZES = tuple(sorted(size for sizes in LIFTING_SETS for size in sizes))
NUM_CORE_ROWS = 4
"""The first four rows close the double diagonal; every later row has a parity column of degree one of its own."""
PUNCTURED_COLUMNS = 2
"""The first 2 Z systematic bits are never sent (clause 5.3.2)."""
_SIZES = {1: (46, 22), 2: (42, 10)}  # rows, information columns


@dataclass(frozen=True)
class BaseGraph:
    """One lifted base graph: a hashable plan with cached index arrays, edges sorted by row, then column.

    number: 1 or 2; lifting_size: Z. Errors: ValueError for another number or a size that is not in table 5.3.2-1.
    """

    number: int
    lifting_size: int

    def __post_init__(self) -> None:
        if self.number not in _SIZES:
            raise ValueError(f"NR LDPC has base graphs 1 and 2; got {self.number}")
        if self.lifting_size not in LIFTING_SIZES:
            raise ValueError(
                f"{self.lifting_size} is no lifting size of TS 38.212 table 5.3.2-1; try {_nearest(self.lifting_size)}"
            )

    @property
    def num_rows(self) -> int:
        """Rows of the base graph: 46 or 42."""
        return _SIZES[self.number][0]

    @property
    def num_information_columns(self) -> int:
        """Columns that carry information and filler bits: 22 or 10."""
        return _SIZES[self.number][1]

    @property
    def num_columns(self) -> int:
        """All columns: 68 or 52. The codeword with its punctured head has num_columns * lifting_size bits."""
        return self.num_information_columns + self.num_rows

    @property
    def lifting_set(self) -> int:
        """Set index i_LS of the lifting size, 0 to 7."""
        return next(i for i, sizes in enumerate(LIFTING_SETS) if self.lifting_size in sizes)

    @functools.cached_property
    def edges(self) -> np.ndarray:
        """Row, column and shift (modulo the lifting size) of every edge. [num_edges, 3]"""
        table = _tables()
        table = table[table[:, 0] == self.number]
        edges = np.stack(
            [table[:, 1], table[:, 2], table[:, 3 + self.lifting_set] % self.lifting_size], axis=1
        )
        edges.setflags(write=False)
        return edges

    def row(self, row: int) -> np.ndarray:
        """Column and shift of every edge of one row. [degree, 2]"""
        return self.edges[self.edges[:, 0] == row, 1:]

    def bits_of_checks(self, row: int) -> np.ndarray:
        """The bits that each check of a row meets, as positions in the whole codeword. [degree, Z]"""
        column, shift = self.row(row).T[:, :, None]
        return column * self.lifting_size + (np.arange(self.lifting_size) + shift) % self.lifting_size


def select_base_graph(k: int, coderate: float) -> int:
    """Number of the base graph for k payload bits at a code rate (TS 38.212 clauses 6.2.2 and 7.2.2)."""
    return 2 if k <= 292 or (k <= 3824 and coderate <= 0.67) or coderate <= 0.25 else 1


def largest_block(number: int) -> int:
    """Most bits, CRC included, of one code block: 8448 or 3840 (clause 5.2.2)."""
    return _SIZES[number][1] * 384


def select_lifting_size(number: int, num_bits: int, block_bits: int) -> int:
    """Smallest lifting size that holds a code block (clause 5.2.2).

    num_bits: all bits that enter segmentation, which choose how many columns of graph 2 are used;
    block_bits: K', bits of one block with its CRC.
    """
    if number == 1:
        used = 22
    else:
        used = 10 if num_bits > 640 else 9 if num_bits > 560 else 8 if num_bits > 192 else 6
    fitting = [size for size in LIFTING_SIZES if used * size >= block_bits]
    if not fitting:
        raise ValueError(
            f"a code block of base graph {number} holds at most {largest_block(number)} bits; got {block_bits}"
        )
    return fitting[0]


@functools.cache
def _tables() -> np.ndarray:
    """The data file: graph, row, column, eight shifts. [513, 11]"""
    text = resources.files("phy.coding").joinpath("base_graphs.csv").read_text(encoding="ascii")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return np.array([[int(field) for field in line.split(",")] for line in lines], np.int32)


def _nearest(size: int) -> int:
    return min(LIFTING_SIZES, key=lambda known: abs(known - size))
