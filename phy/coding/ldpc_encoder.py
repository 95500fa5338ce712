"""Systematic NR LDPC encoding by the structure of the base graphs (3GPP TS 38.212 clause 5.3.2): no dense matrix."""

import numpy as np
from jaxtyping import Integer

from phy.coding.base_graph import NUM_CORE_ROWS, BaseGraph
from phy.coding.crc import Words, namespace
from phy.coding.ldpc import LdpcCode, segment


def encode(code: LdpcCode, bits: Integer[Words, "*b k"]) -> Integer[Words, "*b n"]:
    """The sent bits of a payload: segmentation, encoding, rate matching, interleaving and concatenation.

    NumPy's bits give NumPy's. Law: linear over GF(2). Errors: ValueError unless the last axis holds k bits.
    """
    batch, xp = bits.shape[:-1], namespace(bits)
    blocks = segment(code, bits).astype(np.uint8).reshape(-1, code.block_bits)
    # Batch last from here on: cyclic shifts become copies of whole rows.
    words = encode_words(code.graph, blocks.T, code.num_rows)
    words = xp.moveaxis(words.reshape(words.shape[0], -1, code.num_blocks), -1, 0)
    position, kept = code.selection, words.shape[1]
    index = position // code.word_bits * kept + position % code.word_bits
    return words.reshape(-1, words.shape[-1])[index].T.reshape(*batch, code.n).astype(bits.dtype)


def encode_words(
    graph: BaseGraph, blocks: Integer[Words, "k b"], num_rows: int | None = None
) -> Integer[Words, "w b"]:
    """Words of the mother code, batch last, up to the parity of `num_rows` rows of the base graph (default: all).

    blocks: information bits as uint8, zeros are appended as fillers. Every check of those rows holds (clause
    5.3.2): the double diagonal of the first four rows gives their parity by substitution, every later row its own.
    """
    size, num_rows = graph.lifting_size, graph.num_rows if num_rows is None else num_rows
    information = graph.num_information_columns * size
    xp = namespace(blocks)
    systematic = xp.pad(blocks, ((0, information - blocks.shape[0]), (0, 0)))
    core = _parities(systematic, graph, range(NUM_CORE_ROWS), graph.num_information_columns)
    parity = xp.concatenate([systematic, *_solve_core(graph, core)])
    later = _parities(
        parity, graph, range(NUM_CORE_ROWS, num_rows), graph.num_information_columns + NUM_CORE_ROWS
    )
    return xp.concatenate([parity, later.reshape(-1, later.shape[-1])])


def _parities(word: Words, graph: BaseGraph, rows: range, below: int) -> Words:
    """Parity over the bits in columns < `below` of every check of some rows. word: [w, b] -> [rows, Z, b]"""
    members = [graph.bits_of_checks(row)[graph.row(row)[:, 0] < below] for row in rows]
    most = max((len(bits) for bits in members), default=0)
    nothing = np.full(graph.lifting_size, word.shape[0])  # the position of an appended zero
    index = np.array([[*bits, *[nothing] * (most - len(bits))] for bits in members], np.int32)
    index = index.reshape(len(members), most, graph.lifting_size)
    xp = namespace(word)
    zero = xp.zeros((1, word.shape[1]), word.dtype)
    return xp.sum(xp.concatenate([word, zero])[index], axis=1, dtype=word.dtype) & 1


def _solve_core(graph: BaseGraph, right: Words) -> list[Words]:
    """The four parity columns of the first rows from the parities of their information bits. right: [4, Z, b]

    The first column meets three rows, twice with one shift: the sum of all rows leaves it alone, shifted by the
    third. Row r then gives column r + 1 from the one before.
    """
    first = graph.num_information_columns
    rows = graph.edges[(graph.edges[:, 1] == first) & (graph.edges[:, 0] < NUM_CORE_ROWS)]
    shifts = {int(row): int(shift) for row, _, shift in rows}
    single = next(s for s in shifts.values() if list(shifts.values()).count(s) != 2)
    xp = namespace(right)
    columns = [xp.roll(xp.sum(right, axis=0, dtype=right.dtype) & 1, single, axis=0)]
    for row in range(NUM_CORE_ROWS - 1):
        value = right[row] if row == 0 else right[row] ^ columns[row]
        if row in shifts:
            value = value ^ xp.roll(columns[0], -shifts[row], axis=0)
        columns.append(value)
    return columns
