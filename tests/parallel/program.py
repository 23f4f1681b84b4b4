"""What each rank runs under mpiexec: every scheme against one process, forward and backward, and one error on all ranks."""

import os
import signal
import sys
import threading
import time
from functools import partial

import numpy as np
from mpi4py import MPI
from sharded import one_process, seeds_of

from tinyattn import definitions
from tinyattn.engine import vjp
from tinyattn.laws.budget import Budget, anywhere, measure, of_logs
from tinyattn.laws.problem import Sizes, arrays
from tinyattn.parallel import (
    contiguous,
    head_parallel_attention_with_lse,
    recurrent,
    recurrent_in_turn,
    ring_attention,
    ring_attention_with_lse,
    tree_attention,
    zigzag,
)

COMM = MPI.COMM_WORLD
RANK, RANKS = COMM.Get_rank(), COMM.Get_size()


def spent(budget, layout, got, axes):
    """Returns the largest error of this rank's part of each array, in budgets of the same part of one process's."""
    def part(arrays):
        return tuple(x if axis is None else layout.take(x, RANK, axis) for x, axis in zip(arrays, axes, strict=True))

    return Budget(part(budget.truth), part([np.broadcast_to(a, np.shape(t)) for a, t in zip(budget.allowed, budget.truth, strict=True)])).spent(got)


def problems():
    """Yields problems whose length is no multiple of the number of ranks, or smaller, each with its budgets in one process."""
    rng = np.random.default_rng(0)
    for length, heads, kv_heads, causal, dtype in ((41, 6, 2, True, "float64"), (103, 4, 4, True, "float32"), (3, 2, 1, False, "float32")):
        sizes = Sizes(leading=(2,), kv_heads=kv_heads, groups=heads // kv_heads, q_len=length, kv_len=length, dtype=dtype)
        p = arrays(rng, sizes, causal=causal)
        both = [measure((side,), None, p, np.random.default_rng(1), reorder=False, pool=pool)
                for side, pool in ((one_process, anywhere), (one_process, of_logs))]
        budget = Budget(both[0].truth, tuple(both[i == 1].allowed[i] for i in range(5)))
        last = p.but(q=p.q[..., -1:, :])
        few = measure((lambda _, p: (p.call(definitions.attention),),), None, last, np.random.default_rng(1), reorder=False)
        run = partial(definitions.retention_chunked, log_decay=np.linspace(-0.5, -0.1, kv_heads).astype(dtype))
        states = measure((lambda f, p: (f(p.q, p.k, p.v),),), run, p, np.random.default_rng(1), reorder=False, pool=anywhere)
        yield p, budget, last, few, run, states


def schemes():
    """Every scheme on the first 1, 2, ... ranks, up to all of them."""
    groups = [COMM.Split(0 if RANK < ranks else MPI.UNDEFINED, RANK) for ranks in range(1, RANKS)]
    drawn = list(problems()) if RANK == 0 else None
    awaited(COMM.Ibarrier())
    drawn = COMM.bcast(drawn)
    for comm in (COMM, *reversed(groups)):
        if comm != MPI.COMM_NULL:
            on_ranks(comm, drawn)
    awaited(COMM.Ibarrier())


def awaited(barrier):
    """Waits for the other ranks asleep: in a call that waits, a rank takes a processor of those that have work."""
    while not barrier.Test():
        time.sleep(0.01)


def on_ranks(comm, drawn):
    """Compares every scheme with one process on the ranks of a communicator."""
    ranks, worst = comm.Get_size(), {}
    for p, budget, last, few, run, states in drawn:
        length, causal, x = p.k.shape[-2], p.options["causal"], [p.q, p.k, p.v]
        for layout in (contiguous(length, ranks), zigzag(length, ranks)):
            mine = [layout.take(a, RANK) for a in x]
            d_out, d_lse = (layout.take(a, RANK, axis) for a, axis in zip(seeds_of(p), (-2, -1), strict=True))
            for scheme in (ring_attention_with_lse, head_parallel_attention_with_lse):
                (out, lse), back = vjp(lambda t: scheme(*t, comm, layout, causal=causal), mine)
                error = spent(budget, layout, (out, lse, *back((d_out, d_lse))), (-2, -1, -2, -2, -2))
                worst[scheme.__name__] = max(worst.get(scheme.__name__, 0.0), error)
            error = few.spent((tree_attention(last.q, *mine[1:], comm, layout, causal=causal),))
            worst["tree_attention"] = max(worst.get("tree_attention", 0.0), error)
            for scheme in (recurrent, recurrent_in_turn):
                error = spent(states, layout, (scheme(run, *mine, {}, None, comm, layout),), (-2,))
                worst[scheme.__name__] = max(worst.get(scheme.__name__, 0.0), error)
    every = comm.allgather(worst)
    found = {name: max(rank[name] for rank in every) for name in worst}
    if RANK == 0:
        print(ranks, "ranks:", " ".join(f"{name} {error:.2f}" for name, error in found.items()), flush=True)
    if not max(found.values()) <= 1.0:
        raise ValueError(f"budgets exceeded on {ranks} ranks: {found}")


def refused():
    layout, x = contiguous(8, RANKS), np.zeros((1, 8, 2), np.float64 if RANK == RANKS - 1 else np.float32)
    x = layout.take(x, RANK)
    try:
        ring_attention(x, x, x, COMM, layout)
    except ValueError as error:
        if RANKS > 1 and "dtype: expected the same on all ranks, got float32 on rank 0" not in str(error):
            raise
    freed = COMM.Dup()
    freed.Free()
    try:
        ring_attention(x, x, x, freed, layout)
    except ValueError as error:
        if "freed" not in str(error):
            raise
    else:
        raise ValueError("a freed communicator was taken")


def failing():
    """A rank that waits for a slower one gets the signal of Ctrl-C while it is in the scheme."""
    from tinyattn.parallel import ring

    computed = ring.attend

    def slow(*given):
        if RANK == RANKS - 1:
            time.sleep(30.0)
        return computed(*given)

    ring.attend = slow
    x = np.zeros((1, 4, 2))
    if RANK == 0:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    ring_attention(x, x, x, COMM, contiguous(4 * RANKS, RANKS))


def absent():
    """The last rank does not call the scheme at all; the first one, which waits for it, is interrupted."""
    if RANK == RANKS - 1:
        time.sleep(30.0)
    x = np.zeros((1, 4, 2))
    if RANK == 0:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    head_parallel_attention_with_lse(x, x, x, COMM, contiguous(4 * RANKS, RANKS))


if __name__ == "__main__":
    {"schemes": schemes, "refused": refused, "failing": failing, "absent": absent}[sys.argv[1]]()
