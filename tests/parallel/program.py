"""What each rank runs under mpiexec: every scheme against one process, forward and backward, and one error on all ranks."""

import os
import signal
import sys
import threading
import time
from functools import partial

import numpy as np
from mpi4py import MPI

from tinyattn import definitions
from tinyattn.engine import vjp
from tinyattn.parallel import (
    contiguous,
    head_parallel_attention_with_lse,
    recurrent,
    ring_attention,
    ring_attention_with_lse,
    tree_attention,
    zigzag,
)

COMM = MPI.COMM_WORLD
RANK, RANKS = COMM.Get_rank(), COMM.Get_size()


def near(got, want, name):
    """Raises unless two arrays differ by a few roundings of float64; the budgets are measured in one process."""
    error, bound = np.abs(got - want).max(initial=0.0), 256 * np.finfo(np.float64).eps * (1 + np.abs(want).max(initial=0.0))
    if not (got.shape == want.shape and error <= bound):
        raise ValueError(f"{name}: {got.shape}, {want.shape}, {error}")


def schemes():
    rng = np.random.default_rng(0)
    for length, heads, kv_heads, causal in ((41, 6, 2, True), (3, 2, 1, False)):
        x = [rng.standard_normal((2, n, length, d)) for n, d in ((heads, 4), (kv_heads, 4), (kv_heads, 3))]
        (out, lse), pull = vjp(lambda t, causal=causal: definitions.attention_with_lse(*t, causal=causal), x)
        gradients = pull((out, lse))
        for layout in (contiguous(length, RANKS), zigzag(length, RANKS)):
            mine = [layout.take(a, RANK) for a in x]
            for scheme in (ring_attention_with_lse, head_parallel_attention_with_lse):
                got, back = vjp(lambda t: scheme(*t, COMM, layout, causal=causal), mine)
                near(got[0], layout.take(out, RANK), scheme.__name__)
                near(got[1], layout.take(lse, RANK, -1), scheme.__name__)
                for mine_of, whole in zip(back(got), gradients, strict=True):
                    near(mine_of, layout.take(whole, RANK), f"{scheme.__name__}, backward")
            near(tree_attention(x[0][..., -1:, :], *mine[1:], COMM, layout), definitions.attention(x[0][..., -1:, :], *x[1:]), "tree")
            run = partial(definitions.retention_chunked, log_decay=np.linspace(-0.5, -0.1, kv_heads))
            near(recurrent(run, *mine, {}, None, COMM, layout), layout.take(run(*x), RANK), "states")


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
