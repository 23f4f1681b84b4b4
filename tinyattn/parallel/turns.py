"""The linear family over many ranks, one after the other: each rank hands the state on to the rank that has the next tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.ops.checks import truth
from tinyattn.ops.storage import is_half
from tinyattn.ops.types import Array
from tinyattn.parallel.agree import Together, agreed, differentiated, refuse_again
from tinyattn.parallel.layout import Layout
from tinyattn.parallel.messages import finish, gathered, post
from tinyattn.parallel.states import facts_and_arrays


def recurrent_in_turn(run: Callable[..., Any], q: Array, k: Array, v: Array, gates: Mapping[str, Array] | None = None,
                      initial_state: Any = None, comm: Any = None, layout: Layout | None = None, *,
                      return_state: bool = False) -> Any:
    """Returns this rank's rows of a recurrence over the whole sequence, in any layout; ranks compute one after the other.

    Formula: rows, state = run(tokens of a span, initial_state=state), span after span in the order of the tokens, and the state
    is sent to the rank that has the next span.

    `run(q, k, v, **gates, initial_state=, return_state=True)` is any causal recurrence, normalised or not: unlike `recurrent` it
    need not be an affine map of its state, computes each token once, and sends one state per span instead of all maps to all
    ranks; but a rank waits for the ranks before it. Where each span is a whole number of the run's chunks, the result has the
    same bits as that of one process. `gates` are arguments with one entry per token, for this rank's tokens. The last state,
    which `return_state` returns, is the same on all ranks. The gradients are those of the sum of what all ranks compute; each
    rank gets its own part of the gradient of the initial state.

    Raises:
        TypeError, ValueError: on every rank, as `recurrent`.

    >>> from tinyattn import definitions
    >>> from tinyattn.parallel import contiguous, threads
    >>> layout, x = contiguous(8, 2), np.ones((1, 8, 2))
    >>> def program(comm):
    ...     mine = layout.take(x, comm.Get_rank())
    ...     return recurrent_in_turn(definitions.delta_rule_chunked, mine, mine, mine, {"beta": mine[..., 0]}, None, comm, layout)
    >>> layout.put(threads.run(2, program)).shape
    (1, 8, 2)
    """
    def checked() -> tuple[dict[str, Any], Any]:
        facts, wide = facts_and_arrays(run, q, k, v, gates, comm, layout)
        # A run over no tokens checks the initial state and returns it: zeros where there is none.
        rows, state = step(run, wide, slice(0, 0), initial_state)
        parts = {f"initial_state {number}": x for number, x in enumerate(parts_of(state))}
        facts |= {"initial_state": [x.shape for x in parts.values()], "initial_state with gradients": differentiated(**parts),
                  "return_state": truth("return_state", return_state)}
        return facts, (wide, rows, state)

    (wide, rows, state), _ = agreed(comm, checked, "recurrent_in_turn")
    with Together(comm, "recurrent_in_turn"):
        out, last = in_turn(run, wide, rows, state, comm, layout)  # type: ignore[arg-type]
    out = out.astype(q.dtype) if is_half(q.dtype) else out
    return (out, last) if return_state else out


def step(run: Callable[..., Any], given: Mapping[str, Array], cut: slice, state: Any) -> tuple[Array, Any]:
    """Returns the rows of some of this rank's tokens, and the state after them."""
    at = (slice(None),) * (given["k"].ndim - 2) + (cut,)
    gates = {name: array[at] for name, array in given.items()}
    q, k, v = (gates.pop(name) for name in "qkv")
    rows, after = run(q, k, v, **gates, initial_state=state, return_state=True)
    return rows, after


def in_turn(run: Callable[..., Any], given: Mapping[str, Array], none: Array, state: Any, comm: Any,
            layout: Layout) -> tuple[Array, Any]:
    """Returns this rank's rows and the last state, from the state before all tokens; `none` are the rows of no token."""
    rank, cuts = comm.Get_rank(), layout.cuts(comm.Get_rank())
    order = sorted((span, owner, number) for owner, spans in enumerate(layout.spans) for number, span in enumerate(spans))
    # This adds 0, and makes every rank differentiate the same arrays, so that every rank sends and receives gradients. Each
    # message depends on the one before it, so that the backward sends and receives in the reverse order.
    done = sum(x[..., :0].sum() for x in (*given.values(), *parts_of(state)))
    rows, last = {}, state
    owners = [rank, *(owner for _, owner, _ in order), rank]  # before the first span and after the last there is no message
    for at, (_, owner, number) in enumerate(order):
        if owner != rank:
            continue
        before, after = owners[at], owners[at + 2]
        if before != rank:
            last = unpacked(received(done, comm, before, packed(state).size), state)
        rows[number], last = step(run, given, cuts[number], last)
        if after != rank:
            done = done + handed_on(packed(last) + done, comm, after)
    whole = np.concatenate([none, *(rows[number] for number in sorted(rows))], axis=-2) + done
    if not order:
        return whole, last
    # The rank that has the last token sends the state after it to all ranks.
    counts = tuple(int(other == order[-1][1]) for other in range(layout.ranks))
    message = gathered(packed(last)[None][: counts[rank]] + done, comm, counts, "recurrent_in_turn")[0]
    return whole + message[:0].sum(), unpacked(message, state)


def parts_of(state: Any) -> tuple[Array, ...]:
    """Returns the arrays of a state: itself, or those of a pair of state and normaliser."""
    return state if isinstance(state, tuple) else (state,)


def packed(state: Any) -> Array:
    """Returns the numbers of a state as one message."""
    return np.concatenate([x.reshape(-1) for x in parts_of(state)])


def unpacked(message: Array, like: Any) -> Any:
    """Returns the state of a message, in the form of another state."""
    ends = np.cumsum([x.size for x in parts_of(like)])
    made = tuple(message[end - x.size : end].reshape(x.shape) for x, end in zip(parts_of(like), ends.tolist(), strict=True))
    return made if isinstance(like, tuple) else made[0]


@primitive
def sent(x: Array, comm: Any, rank: int) -> tuple[Array, Any]:
    """Returns 0 once x is sent to a rank, and what the backward needs: it receives the gradient of x from there."""
    with Together(comm, "recurrent_in_turn"):
        finish(post(comm, [x], rank, [], rank))
    return np.zeros((), x.dtype), (comm, rank, x.shape)


@sent.backward
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    comm, rank, shape = saved
    with Together(comm, "recurrent_in_turn (backward)"):
        d_x = np.empty(shape, d_out.dtype)
        finish(post(comm, [], rank, [d_x], rank))
    return {"x": d_x}


@primitive
def came(after: Array, comm: Any, rank: int, size: int) -> tuple[Array, Any]:
    """Returns as many numbers as a rank sends, and what the backward needs: it sends their gradient there."""
    with Together(comm, "recurrent_in_turn"):
        x = np.empty(size, after.dtype)
        finish(post(comm, [], rank, [x], rank))
    return x, (comm, rank)


@came.backward
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    comm, rank = saved
    with Together(comm, "recurrent_in_turn (backward)"):
        finish(post(comm, [d_out], rank, [], rank))
    return {"after": np.zeros((), d_out.dtype)}


handed_on = sent.again(refuse_again("tinyattn.parallel.recurrent_in_turn"))
received = came.again(refuse_again("tinyattn.parallel.recurrent_in_turn"))
