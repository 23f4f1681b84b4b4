"""What a recording communicator sees: messages are posted before a block is computed, and their bytes are the formulas'."""

import threading
from itertools import groupby
from math import ceil, log2

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.engine import vjp
from tinyattn.parallel import (
    contiguous,
    head_parallel_attention,
    recurrent,
    ring,
    ring_attention,
    threads,
    tree_attention,
    zigzag,
)
from tinyattn.parallel.recording import Recording

B, H, G, D, E = 2, 8, 4, 6, 3
RANKS = [1, 2, 4]


def arrays(length, dtype=np.float32):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((B, heads, length, width)).astype(dtype) for heads, width in ((H, D), (G, D), (G, E))]


def recorded(scheme, layout, x, **options):
    """Returns of each rank its recording after the forward, and after the backward."""
    def program(comm):
        comm = Recording(comm)
        out, pull = vjp(lambda t: scheme(*t, comm, layout, **options), [layout.take(a, comm.Get_rank()) for a in x])
        forward, comm.events = comm.events, []
        pull(out)
        return forward, comm.events

    return threads.run(layout.ranks, program)


def sent(events):
    return sum(event.size for event in events if event.what in ("send", "exchange"))


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("make", [contiguous, zigzag])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_ring_sends_what_its_formula_says(make, ranks, dtype):
    layout, s = make(32, ranks), np.dtype(dtype).itemsize
    for forward, backward in recorded(ring_attention, layout, arrays(32, dtype), causal=True):
        assert sent(forward) == (ranks - 1) * B * G * 32 // ranks * (D + E) * s
        assert sum(event.what == "send" for event in forward) == 2 * (ranks - 1)
        sums = ranks * B * G * 32 // ranks * (D + E) * max(s, 4) if ranks > 1 else 0
        assert sent(backward) == sent(forward) + sums


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_an_exchange_of_heads_sends_what_its_formula_says(ranks):
    layout = zigzag(32, ranks)
    for forward, backward in recorded(head_parallel_attention, layout, arrays(32)):
        of_lse = B * 32 // ranks * (ranks - 1) * H // ranks * 4  # the log-sum-exps, which have gradients too, come home with the rows
        formula = B * 32 * (ranks - 1) * (D + E) * 4 * (H + max(G, ranks)) // ranks ** 2
        assert sent(forward) == formula + of_lse
        assert sent(backward) == sent(forward)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5, 8])
def test_a_tree_takes_two_messages_for_each_doubling_of_the_ranks(ranks):
    q, k, v = arrays(16)

    def program(comm):
        comm = Recording(comm)
        layout = contiguous(16, ranks)
        tree_attention(q[..., :1, :], layout.take(k, comm.Get_rank()), layout.take(v, comm.Get_rank()), comm, layout)
        return comm.events

    every = threads.run(ranks, program)
    size = B * H * (E + 1) * 4
    assert {event.size for events in every for event in events if event.what == "send"} <= {size}
    assert sum(sent(events) for events in every) == 2 * (ranks - 1) * size
    # Rank 0 takes part in every step, up and down.
    assert sum(event.what in ("send", "receive") for event in every[0]) == 2 * ceil(log2(ranks))


@pytest.mark.parametrize("ranks", RANKS)
def test_states_are_gathered_as_their_formula_says(ranks):
    q, k, v = arrays(16)

    def program(comm):
        comm, layout = Recording(comm), contiguous(16, ranks)
        recurrent(definitions.delta_rule_recurrent, *(layout.take(x, comm.Get_rank()) for x in (q, k, v)),
                  {"beta": np.ones((B, G, 16 // ranks), np.float32)}, None, comm, layout)
        return sent(comm.events)

    assert threads.run(ranks, program) == [(ranks - 1) * B * G * D * (D + E) * 4] * ranks


def test_a_block_is_computed_while_the_next_is_on_its_way(monkeypatch):
    ranks, log, first = 3, [], threading.local()
    for name in ("attend", "gradients"):
        def computed(*args, sound=getattr(ring, name)):
            if hasattr(first, "is_rank_0"):
                log.append("compute")
            return sound(*args)

        monkeypatch.setattr(ring, name, computed)

    def program(comm):
        comm = Recording(comm)
        if comm.Get_rank() == 0:
            comm.events, first.is_rank_0 = log, True
        layout = contiguous(12, ranks)
        out, pull = vjp(lambda t: ring_attention(*t, comm, layout), [layout.take(x, comm.Get_rank()) for x in arrays(12)])
        comm.events.append("backward")
        pull(out)

    threads.run(ranks, program)
    # A wait tests its request until it is done, so that how often it does is not always the same.
    words = [word for word, _ in groupby(event if isinstance(event, str) else event.what for event in log)]
    forward, backward = " ".join(words).split(" backward ")
    post = "receive send"
    step = post + " compute" + " test wait" * 4
    assert forward == " ".join([step, step, "compute"])
    both = " ".join([post, post, "compute"]) + " test wait" * 8
    home = post + " test wait" * 4
    assert backward == " ".join([step, both, step, home])


def test_requests_get_the_messages_in_the_order_in_which_both_were_posted():
    world = threads.World(2)
    sender, receiver = threads.Threads(world, 0), threads.Threads(world, 1)
    first, second = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    requests = [receiver.Irecv(first, source=0), receiver.Irecv(second, source=0)]
    for message in (1, 2):
        sender.Isend(np.array([message], np.uint8), dest=1)
    assert requests[1].Test() and requests[0].Test()  # asked in the other order
    assert (first[0], second[0]) == (1, 2)
