"""What a rank holds while a ring computes: its shard, the keys on their way, and its gradients; nothing of the whole sequence."""

import tracemalloc

import numpy as np
import pytest

from tinyattn.engine import vjp
from tinyattn.parallel import contiguous, ring_attention, threads, zigzag

EACH, HEADS, WIDTH = 512, 2, 32
KEYS = 2 * HEADS * EACH * WIDTH * 4  # the bytes of keys and values of a rank


def peak(make, ranks):
    """Returns the largest number of bytes in use per rank during a forward and a backward."""
    layout = make(ranks * EACH, ranks)
    x = np.random.default_rng(0).standard_normal((3, 1, HEADS, ranks * EACH, WIDTH)).astype(np.float32)
    shards = [[layout.take(a, rank) for a in x] for rank in range(ranks)]

    def program(comm):
        out, pull = vjp(lambda t: ring_attention(*t, comm, layout, causal=True), shards[comm.Get_rank()])
        return pull(out)

    threads.run(ranks, program)  # whatever is compiled is compiled now
    tracemalloc.start()
    try:
        threads.run(ranks, program)
        return tracemalloc.get_traced_memory()[1] / ranks
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", [contiguous, zigzag])
@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_a_rank_holds_its_shard_two_buffers_and_its_gradients(make, ranks):
    alone = peak(contiguous, 1)  # one process with the tokens of one shard: the shard, its rows and its gradients
    # Keys and sums of gradients that come, the sums that leave, a part's own, and the messages in flight, which threads copy.
    assert peak(make, ranks) < alone + 6 * KEYS
