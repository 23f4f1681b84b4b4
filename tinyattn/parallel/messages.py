"""Arrays as messages: sent to a neighbour, exchanged between all ranks, gathered, and joined along a tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.ops.types import Array
from tinyattn.parallel.agree import Together, refuse_again, wait

# The tag of every message between two ranks, so that those of the caller are not mistaken for them.
TAG = 20_311


def raw(x: Array) -> Array:
    """Returns the bytes of an array, whatever its dtype: MPI knows neither float16 nor bfloat16."""
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8)


def post(comm: Any, sent: Sequence[Array], dest: int, received: Sequence[Array], source: int) -> list[Any]:
    """Returns the requests of arrays sent to one rank and received from another; posted, not waited for.

    The arrays must not change, and those received must be contiguous, until the requests are done.
    """
    requests = [comm.Irecv(x.reshape(-1).view(np.uint8), source=source, tag=TAG) for x in received]
    return requests + [comm.Isend(raw(x), dest=dest, tag=TAG) for x in sent]


def advance(requests: Sequence[Any]) -> None:
    """Tests the requests, as MPI moves messages only within its own calls."""
    for request in requests:
        request.Test()


def finish(requests: Sequence[Any]) -> None:
    """Waits until all requests are done."""
    for request in requests:
        wait(request)


def exchanged(comm: Any, sent: Sequence[Array], sizes: Sequence[int]) -> list[Array]:
    """Returns the bytes that each rank sent to this one, where `sent` are the bytes for each of them."""
    into = np.empty(sum(sizes), np.uint8)
    wait(comm.Ialltoallv([np.concatenate(sent), ([x.size for x in sent], None)], [into, (list(sizes), None)]))
    return np.split(into, np.cumsum(sizes)[:-1])


def up_and_down(comm: Any, x: Array, join: Callable[[Array, Array], Array]) -> Array:
    """Returns the arrays of all ranks joined by `join`, the same bits on each rank, in 2 ceil(log2 ranks) successive messages.

    Neighbouring ranks join their arrays in pairs, then pairs of pairs, up to rank 0, which sends the result back down.
    """
    rank, ranks = comm.Get_rank(), comm.Get_size()
    x = np.array(x, order="C")
    steps = [1 << n for n in range((ranks - 1).bit_length())]
    for step in steps:
        if rank % (2 * step) == step:
            finish(post(comm, [x], rank - step, [], 0))
            break
        if rank + step < ranks:
            other = np.empty_like(x)
            finish(post(comm, [], 0, [other], rank + step))
            x = np.ascontiguousarray(join(x, other))
    for step in reversed(steps):
        if rank % (2 * step) == step:
            finish(post(comm, [], 0, [x], rank - step))
        elif rank % (2 * step) == 0 and rank + step < ranks:
            finish(post(comm, [x], rank + step, [], 0))
    return x


def total(comm: Any, x: Array) -> Array:
    """Returns the sum of the arrays of all ranks, the same bits on each."""
    return up_and_down(comm, x, np.add)


@primitive
def gathered_once(x: Array, comm: Any, counts: tuple[int, ...], name: str) -> tuple[Array, Any]:
    """Returns the arrays (counts[rank], ...) of all ranks, one after the other, and what the backward needs."""
    with Together(comm, name):
        each = x.dtype.itemsize * int(np.prod(x.shape[1:]))
        parts = exchanged(comm, [raw(x)] * len(counts), [count * each for count in counts])
        out = np.concatenate(parts).view(x.dtype).reshape(sum(counts), *x.shape[1:])
    return out, (comm, counts, name)


@gathered_once.backward
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    comm, counts, name = saved
    with Together(comm, f"{name} (backward)"):
        own = counts[comm.Get_rank()]
        each = d_out.dtype.itemsize * int(np.prod(d_out.shape[1:]))
        parts = exchanged(comm, [raw(part) for part in np.split(d_out, np.cumsum(counts)[:-1])], [own * each] * len(counts))
        return {"x": sum(part.view(d_out.dtype).reshape(own, *d_out.shape[1:]) for part in parts)}  # type: ignore[dict-item]


gathered = gathered_once.again(lambda x, comm, counts, name: refuse_again(f"tinyattn.parallel.{name}")())
