"""One iteration of belief propagation on a lifted graph, layered or flooding, batch last.

Posteriors are [columns, Z, batch], as ln P(0)/P(1). Only what matters is there: columns of fillers and checks whose own
parity bit was not sent take no part.

The layered schedule has two forms that give the same bits. A CPU goes through rows of equal degree in a loop, gathers a
row's posteriors through constant indices and writes them back in place: small programs that run at the speed of its
caches. Everywhere else each layer has code of its own and makes new columns, so that nothing is ever written where
the same step reads. The first form on a GPU lost the reads of some threads to the writes of others once XLA had fused
them: block error rates of 0.015 to 0.044 where 0.0105 is right, another for each number of words decoded together.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Shaped

from phy.coding.check_nodes import answer, summarise
from phy.coding.tanner import Rows, TannerGraph

Messages = tuple[Array, ...]
"""Answers of the checks: [rows, degree, Z, batch] for each degree, or [degree, Z, batch] for each row if unrolled."""
Apart = Callable[..., Any]
"""Called with a function and its arguments: computes it once and keeps it, whoever reads it how often."""


def no_messages(tanner: TannerGraph, batch: int, dtype: np.dtype | type, *, unrolled: bool) -> Messages:
    """Answers before the first iteration: nothing known."""
    grouped = tuple(jnp.zeros((*members.shape, batch), dtype) for members in tanner.members)
    return tuple(row for rows in grouped for row in rows) if unrolled else grouped


def layered(
    schedule: Sequence[Rows], rule: str, posterior: Shaped[Array, "n z b"], messages: Messages, apart: Apart
) -> tuple[Array, Messages]:
    """One iteration, row after row: each sees what the rows before it found. About twice as fast as flooding.

    In place, row after row in loops: right only where `apart` holds reads and writes apart, as `behind_branch` does on a
    CPU.
    """
    updated = []
    for rows, old in zip(schedule, messages, strict=True):

        def one(i: Array, state: tuple[Array, Array], rows: Rows = rows):
            posterior, messages = state
            bits, columns = jnp.asarray(rows.bits)[i], jnp.asarray(rows.columns)[i]
            before = lax.dynamic_index_in_dim(messages, i, 0, keepdims=False)
            incoming = apart(functools.partial(_incoming, bits), posterior, before)
            summary = apart(functools.partial(summarise, rule), incoming)
            after = answer(rule, incoming, summary)
            # The posterior keeps what the messages' range cuts off: incoming is not clipped, only answers are.
            posterior = posterior.at[columns].set(
                incoming + after.astype(posterior.dtype), unique_indices=True
            )
            return posterior, lax.dynamic_update_index_in_dim(messages, after, i, 0)

        posterior, new = lax.fori_loop(0, rows.used, one, (posterior, old))
        updated.append(new)
    return posterior, tuple(updated)


def layered_unrolled(
    tanner: TannerGraph, rule: str, posterior: Shaped[Array, "n z b"], messages: Messages, apart: Apart
) -> tuple[Array, Messages]:
    """The same without loops, gathers and writes in place: every layer makes its columns anew."""
    columns, updated = [_part(posterior, column) for column in range(len(posterior))], []
    for row, before in zip(tanner.turns, messages, strict=True):
        met = [_turned(columns[column], turn) for column, turn in row]
        incoming = jnp.stack(met) - before.astype(posterior.dtype)
        after = answer(rule, incoming, apart(functools.partial(summarise, rule), incoming))
        # Kept: else the next layers would compute this one again for each column that they read.
        after, new = apart(lambda x, y: (x, y + x.astype(y.dtype)), after, incoming)
        for place, (column, _) in enumerate(row):
            columns[column] = _part(new, place)
        updated.append(after)
    return jnp.stack(columns), tuple(updated)


def flooding(
    tanner: TannerGraph,
    rule: str,
    channel: Shaped[Array, "n z b"],
    posterior: Shaped[Array, "n z b"],
    messages: Messages,
    apart: Apart,
) -> tuple[Array, Messages]:
    """One iteration, all checks at once, then all bits: posteriors are the channel's values plus all answers."""
    updated = []
    for members, before in zip(tanner.members, messages, strict=True):
        bits = np.moveaxis(members, 1, 0)
        incoming = apart(functools.partial(_incoming, bits), posterior, jnp.moveaxis(before, 1, 0))
        summary = apart(functools.partial(summarise, rule), incoming)
        updated.append(jnp.moveaxis(answer(rule, incoming, summary), 0, 1))
    edges = jnp.concatenate([answers.reshape(-1, channel.shape[-1]) for answers in updated])
    edges = apart(lambda x: x, edges)
    totals, start = [], 0
    for of_bits in tanner.edges_of_bits:
        total = channel[start : start + of_bits.shape[1]]
        for edge in of_bits:
            total = total + edges[edge].astype(channel.dtype)
        totals.append(total)
        start += of_bits.shape[1]
    return jnp.concatenate(totals), tuple(updated)


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


def behind_branch(awake: Bool[Array, ""], function: Callable, *arguments: Array) -> Any:
    """function(*arguments), kept apart on a CPU. awake: True, but not a constant.

    XLA's CPU compiler fuses cheap producers into every consumer, here once for each edge of a check, and drops
    optimisation barriers before it does so: three to five times slower (measured). It does not fuse into a branch
    that depends on data.
    """

    def asleep(*arguments: Array):
        shapes = jax.eval_shape(function, *arguments)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return lax.cond(awake, function, asleep, *arguments)


def behind_barrier(function: Callable, *arguments: Array) -> Any:
    """function(*arguments), kept apart where the compiler heeds optimisation barriers until it has fused."""
    return lax.optimization_barrier(function(*arguments))


def _incoming(bits: Array | np.ndarray, posterior: Array, answers: Array) -> Array:
    """What the bits tell their checks: posteriors without the checks' own answers."""
    return posterior.reshape(-1, posterior.shape[-1])[bits] - answers.astype(posterior.dtype)


def _part(array: Array, place: int) -> Array:
    """array[place], traced in a tenth of the time: graphs have hundreds of edges."""
    return lax.index_in_dim(array, place, keepdims=False)


def _turned(column: Array, turn: int) -> Array:
    """The column from bit `turn` on, and round."""
    ends = (lax.slice_in_dim(column, turn, None), lax.slice_in_dim(column, 0, turn))
    return lax.concatenate(ends, 0) if turn else column
