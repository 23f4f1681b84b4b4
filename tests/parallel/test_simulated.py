"""Programs are what the schemes do, message by message, and the simulator gives schedules that were worked out by hand."""

from functools import partial

import numpy as np
import pytest
from test_recorded import B, D, E, G, H, arrays, recorded

from tinyattn import definitions
from tinyattn.parallel import (
    contiguous,
    head_parallel_attention,
    recurrent,
    recurrent_in_turn,
    ring_attention,
    threads,
    tree_attention,
    zigzag,
)
from tinyattn.parallel.recording import Recording
from tinyattn.parallel.simulate import (
    Machine,
    Op,
    Shape,
    balance,
    heads_programs,
    pairs_between,
    ring_programs,
    seconds,
    sent,
    states_programs,
    tree_programs,
    turns_programs,
)

SHAPE = Shape(B, H, G, D, E, 4)


def messages_of(ops):
    return [tuple(op) for op in ops if op[0] in ("send", "receive")]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("make", [contiguous, zigzag])
def test_the_messages_of_a_ring_and_their_order_are_those_recorded(make, ranks):
    layout = make(33, ranks)
    for real, program in (zip(zip(*recorded(ring_attention, layout, arrays(33), causal=True), strict=True),
                              (ring_programs(layout, SHAPE, right=0), ring_programs(layout, SHAPE, right=0, backward=True)), strict=True)):
        assert [messages_of(events) for events in real] == [messages_of(ops) for ops in program]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 11])
def test_the_bytes_of_an_exchange_of_heads_are_those_recorded(ranks):
    layout = zigzag(33, ranks)
    forward, backward = zip(*recorded(head_parallel_attention, layout, arrays(33), causal=True), strict=True)
    for real, programs in ((forward, heads_programs(layout, SHAPE, right=0)), (backward, heads_programs(layout, SHAPE, right=0, backward=True))):
        assert [sum(event.size for event in events) for events in real] == [sent(program) for program in programs]


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_the_messages_of_a_tree_and_of_states_are_those_recorded(ranks):
    q, k, v = arrays(18)
    layout = contiguous(18, ranks)

    def program(comm):
        comm = Recording(comm)
        mine = [layout.take(x, comm.Get_rank()) for x in (k, v)]
        tree_attention(q[..., -1:, :], *mine, comm, layout)
        tree, comm.events = comm.events, []
        run = partial(definitions.retention_chunked, log_decay=np.full(G, -0.1, np.float32))
        recurrent(run, layout.take(q, comm.Get_rank()), *mine, {}, None, comm, layout)
        gathered, comm.events = sum(event.size for event in comm.events), []
        recurrent_in_turn(run, layout.take(q, comm.Get_rank()), *mine, {}, None, comm, layout)
        return tree, gathered, comm.events

    every = threads.run(ranks, program)
    assert [messages_of(tree) for tree, _, _ in every] == [messages_of(ops) for ops in tree_programs(layout, SHAPE)]
    assert [size for _, size, _ in every] == [sent(ops) for ops in states_programs(layout, SHAPE)]
    assert [messages_of(turns) for _, _, turns in every] == [messages_of(ops) for ops in turns_programs(layout, SHAPE)]


def test_pairs_are_those_that_are_counted_one_by_one():
    rng = np.random.default_rng(0)
    for _ in range(200):
        i, j = (tuple(sorted(rng.integers(0, 12, 2).tolist())) for _ in range(2))
        left, right = (None if rng.random() < 0.3 else int(rng.integers(0, 6)) for _ in range(2))
        count = sum((left is None or y >= x - left) and (right is None or y <= x + right) for x in range(*i) for y in range(*j))
        assert pairs_between(i, j, left, right) == count


def test_a_schedule_of_two_ranks_is_the_one_worked_out_by_hand():
    # 4 tokens on 2 ranks, one head of 1: a rank sends k and v of 2 tokens, 8 bytes each, at 4 bytes a second: 4 s in all, and 1 s of
    # latency. It computes 2 x 2 pairs of 4 FLOP at 2 a second: 8 s for its own keys, then 8 s for the other's.
    layout, shape = contiguous(4, 2), Shape(1, 1, 1, 1, 1, 4)
    programs = ring_programs(layout, shape)
    assert seconds(programs, Machine(2.0, 4.0, 1.0)) == [16.0, 16.0]  # the 5 s of the messages pass behind the first 8 s
    assert seconds(programs, Machine(2.0, 4.0, 1.0), overlap=False) == [21.0, 21.0]
    assert seconds(programs, Machine(8.0, 4.0, 1.0)) == [7.0, 7.0]  # 2 s of compute wait for the messages until 5 s, then 2 s
    # Causal: rank 0 computes 3 pairs (6 s), rank 1 computes 3 pairs and then the 4 of the keys of rank 0 (6 + 8 s).
    assert seconds(ring_programs(layout, shape, right=0), Machine(2.0, 4.0, 1.0)) == [6.0, 14.0]
    assert balance(ring_programs(layout, shape, right=0)) == 5 / 7
    assert balance(ring_programs(zigzag(4, 2), shape, right=0)) == 1.0


def test_programs_that_wait_for_ever_are_refused():
    with pytest.raises(ValueError, match="never sent"):
        seconds([[Op("receive", 1, 8), Op("wait")], []], Machine(1.0, 1.0, 1.0))
