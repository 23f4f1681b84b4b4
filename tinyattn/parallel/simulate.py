"""What each scheme computes and sends, as a program per rank, and how long they take on a machine that three numbers describe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from tinyattn.parallel.heads import plan_of
from tinyattn.parallel.layout import Layout, Span


class Machine(NamedTuple):
    """A machine: operations per second of a rank, bytes per second that a rank sends, and the latency of a message in seconds."""

    flops: float
    bandwidth: float
    latency: float


class Shape(NamedTuple):
    """The sizes of one layer: batch, heads, heads of keys, their widths, and the bytes of a number."""

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    itemsize: int


class Op(NamedTuple):
    """One step of a rank: "send" or "receive" (posted, not waited for) with the other rank, "compute" or "wait"; bytes or FLOPs."""

    what: str
    other: int = -1
    size: int = 0


Program = list[Op]


def pairs_between(queries: Span, keys: Span, left: int | None = None, right: int | None = None) -> int:
    """Returns how many pairs of a span of queries and a span of keys see each other in a window.

    >>> pairs_between((0, 4), (0, 4), right=0), pairs_between((4, 8), (0, 4), right=0), pairs_between((0, 4), (4, 8), right=0)
    (10, 16, 0)
    """
    def below(distance: int) -> int:
        """Returns for how many pairs the position of the key minus that of the query is below a distance."""
        return (staircase(distance + queries[1] - keys[0]) - staircase(distance + queries[0] - keys[0])
                - staircase(distance + queries[1] - keys[1]) + staircase(distance + queries[0] - keys[1]))

    whole = (queries[1] - queries[0]) * (keys[1] - keys[0])
    return (whole if right is None else below(right + 1)) - (0 if left is None else below(-left))


def staircase(n: int) -> int:
    """Returns 0 + 1 + ... + (n - 1), and 0 for n below 1: the number of pairs in a corner of n - 1 diagonals."""
    return n * (n - 1) // 2 if n > 0 else 0


def ring_programs(layout: Layout, shape: Shape, *, left: int | None = None, right: int | None = None,
                  backward: bool = False) -> list[Program]:
    """Returns what each rank does in `ring_attention`, or in its backward, in order."""
    ranks, (b, h, g, d, e, s) = layout.ranks, shape
    per_pair, wide = b * h * flops_of_a_pair(d, e, backward), max(s, 4)

    def program(rank: int) -> Program:
        ops: Program = []

        def pass_on(sent: int, come: int, itemsize: int) -> None:
            """Adds messages with the keys and values, or gradients, of one rank to the next rank, and of another from the last."""
            for what, other, holder in (("receive", (rank - 1) % ranks, come), ("send", (rank + 1) % ranks, sent)):
                ops.extend(Op(what, other, b * g * layout.count(holder) * width * itemsize) for width in (d, e))

        for step in range(ranks):
            source = (rank - step) % ranks
            if step < ranks - 1:
                pass_on(source, (source - 1) % ranks, s)
            if backward and step:
                pass_on((source + 1) % ranks, source, wide)
            pairs = [pairs_between(i, j, left, right) for i in layout.spans[rank] for j in layout.spans[source]]
            ops.extend(Op("compute", size=count * per_pair) for count in pairs if count)
            ops.append(Op("wait"))
        if backward and ranks > 1:
            pass_on((rank + 1) % ranks, rank, wide)
            ops.append(Op("wait"))
        return ops

    return [program(rank) for rank in range(ranks)]


def flops_of_a_pair(head_dim: int, value_dim: int, backward: bool) -> int:
    """Returns the operations per head and pair of query and key: two products, or the five of the backward."""
    return 2 * (3 * head_dim + 2 * value_dim) if backward else 2 * (head_dim + value_dim)


def heads_programs(layout: Layout, shape: Shape, *, left: int | None = None, right: int | None = None,
                   backward: bool = False) -> list[Program]:
    """Returns what each rank does in `head_parallel_attention`, or in its backward, in order."""
    b, h, g, d, e, s = shape
    plan = plan_of(None, layout, h, g)
    own, held = ([b - a for a, b in shares] for shares in (plan.heads, plan.kv_heads))
    pairs = sum(layout.pairs(rank, left, right) for rank in range(layout.ranks))
    wide = max(s, 4)

    def exchange(rank: int, forward: bool) -> Program:
        """Returns tokens for heads (q, k, v) or heads for tokens (out, lse), and in the backward the gradients of these."""
        def size(holder: int, reader: int) -> int:
            width = own[reader] * d + held[reader] * (d + e) if forward else own[reader] * (e + 1)
            return b * layout.count(holder) * width * (wide if backward or not forward else s)

        to_heads, others = forward != backward, others_of(layout, rank)
        return [*(Op("receive", other, size(other, rank) if to_heads else size(rank, other)) for other in others),
                *(Op("send", other, size(rank, other) if to_heads else size(other, rank)) for other in others), Op("wait")]

    return [[*exchange(rank, not backward), Op("compute", size=b * own[rank] * pairs * flops_of_a_pair(d, e, backward)),
             *exchange(rank, backward)] for rank in range(layout.ranks)]


def others_of(layout: Layout, rank: int) -> list[int]:
    """Returns all ranks but one."""
    return [other for other in range(layout.ranks) if other != rank]


def tree_programs(layout: Layout, shape: Shape) -> list[Program]:
    """Returns what each rank does in `tree_attention` of one query per head, which sees all tokens, in order."""
    b, h, _, d, e, _ = shape
    ranks, size = layout.ranks, b * h * (e + 1) * 4
    steps = [1 << n for n in range((ranks - 1).bit_length())]
    programs = []
    for rank in range(ranks):
        ops = [Op("compute", size=b * h * layout.count(rank) * 2 * (d + e))]
        for step in steps:
            if rank % (2 * step) == step:
                ops += [Op("send", rank - step, size), Op("wait")]
                break
            if rank + step < ranks:
                ops += [Op("receive", rank + step, size), Op("wait")]
        for step in reversed(steps):
            if rank % (2 * step) == step:
                ops += [Op("receive", rank - step, size), Op("wait")]
            elif rank % (2 * step) == 0 and rank + step < ranks:
                ops += [Op("send", rank + step, size), Op("wait")]
        programs.append(ops)
    return programs


def states_programs(layout: Layout, shape: Shape) -> list[Program]:
    """Returns what each rank does in `recurrent` with a state (d, e) per head of keys and one span per rank, in order."""
    b, h, g, d, e, _ = shape
    size, programs = b * g * d * (d + e) * 4, []
    for rank in range(layout.ranks):
        others = others_of(layout, rank)
        ops = [Op("compute", size=b * layout.count(rank) * 2 * (h + g) * d * (d + e))]
        ops += [Op("receive", other, size * max(len(layout.spans[other]), 1)) for other in others]
        ops += [Op("send", other, size * max(len(layout.spans[rank]), 1)) for other in others]
        ops += [Op("wait"), Op("compute", size=b * layout.ranks * 2 * g * d * d * e)]
        programs.append(ops)
    return programs


def turns_programs(layout: Layout, shape: Shape) -> list[Program]:
    """Returns what each rank does in `recurrent_in_turn` with a state (d, e) per head of keys, in order."""
    b, h, g, d, e, _ = shape
    size = b * g * d * e * 4
    programs: list[Program] = [[] for _ in range(layout.ranks)]
    order = sorted((span, owner) for owner, spans in enumerate(layout.spans) for span in spans)
    for at, (span, owner) in enumerate(order):
        ops = programs[owner]
        if at and order[at - 1][1] != owner:
            ops += [Op("receive", order[at - 1][1], size), Op("wait")]
        ops.append(Op("compute", size=b * (span[1] - span[0]) * 2 * (h + g) * d * e))
        if at + 1 < len(order) and order[at + 1][1] != owner:
            ops += [Op("send", order[at + 1][1], size), Op("wait")]
    return programs


def seconds(programs: Sequence[Program], machine: Machine, *, overlap: bool = True) -> list[float]:
    """Returns when each rank has finished its program.

    A rank sends one message after the other; a message arrives after its latency and the time that its bytes take. A wait
    lasts until all messages that the rank has posted are complete. Without `overlap`, a rank waits for its messages before it
    computes.

    Raises:
        ValueError: ranks that wait for messages that are never sent.

    >>> one = [Op("receive", 1, 100), Op("send", 1, 100), Op("compute", size=300), Op("wait")]
    >>> other = [Op("receive", 0, 100), Op("send", 0, 100), Op("compute", size=100), Op("wait")]
    >>> seconds([one, other], Machine(100.0, 50.0, 1.0)), seconds([one, other], Machine(100.0, 50.0, 1.0), overlap=False)
    ([3.0, 3.0], [6.0, 4.0])
    """
    now, at = [0.0] * len(programs), [0] * len(programs)
    free, arrived = [0.0] * len(programs), defaultdict(list)
    wanted: list[list[int]] = [[] for _ in programs]
    taken: dict[tuple[int, int], int] = defaultdict(int)
    moved = True
    while moved:
        moved = False
        for rank, program in enumerate(programs):
            while at[rank] < len(program):
                op = program[at[rank]]
                if op.what == "send":
                    free[rank] = max(now[rank], free[rank]) + op.size / machine.bandwidth
                    arrived[rank, op.other].append(free[rank] + machine.latency)
                elif op.what == "receive":
                    wanted[rank].append(op.other)
                if op.what == "wait" or (op.what == "compute" and not overlap and wanted[rank]):
                    counts = {other: taken[other, rank] + wanted[rank].count(other) for other in wanted[rank]}
                    if any(len(arrived[other, rank]) < count for other, count in counts.items()):
                        break
                    now[rank] = max([now[rank], free[rank], *(arrived[other, rank][count - 1] for other, count in counts.items())])
                    taken.update({(other, rank): count for other, count in counts.items()})
                    wanted[rank] = []
                if op.what == "compute":
                    now[rank] += op.size / machine.flops
                at[rank] += 1
                moved = True
    if any(place < len(program) for place, program in zip(at, programs, strict=True)):
        raise ValueError("programs: a rank waits for a message that is never sent")
    return now


def sent(program: Program) -> int:
    """Returns the bytes that a rank sends."""
    return sum(op.size for op in program if op.what == "send")


def messages(program: Program) -> int:
    """Returns how many messages a rank sends."""
    return sum(op.what == "send" for op in program)


def balance(programs: Sequence[Program]) -> float:
    """Returns the mean work of the ranks divided by the largest: 1 if all compute the same amount."""
    work = [sum(op.size for op in program if op.what == "compute") for program in programs]
    return sum(work) / len(work) / max(work) if max(work) else 1.0
