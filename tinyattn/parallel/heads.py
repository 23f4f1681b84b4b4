"""Attention by heads: ranks exchange tokens for heads, attend over all tokens with their heads, and exchange the outputs back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.fastest import attention_with_lse
from tinyattn.ops.masks import Pattern
from tinyattn.ops.merge import Partial
from tinyattn.ops.options import Window
from tinyattn.ops.storage import to_single
from tinyattn.ops.types import Array
from tinyattn.parallel.agree import Together, agreed, refuse_again
from tinyattn.parallel.layout import Layout, Span
from tinyattn.parallel.messages import exchanged, raw
from tinyattn.parallel.part import by_heads
from tinyattn.parallel.ring import checks_of


class Plan(NamedTuple):
    """What an exchange needs: the communicator, the layout, and the query heads and key heads of each rank."""

    comm: Any
    layout: Layout
    heads: tuple[Span, ...]
    kv_heads: tuple[Span, ...]


def plan_of(comm: Any, layout: Layout, heads: int, kv_heads: int) -> Plan:
    """Returns the plan in which query heads are shared as evenly as possible, and each rank gets the key heads that they read.

    With fewer heads than ranks some ranks have none. A key head whose group is split goes to every rank that has one of its
    query heads.
    """
    ranks, groups = layout.ranks, heads // max(kv_heads, 1)
    ends = [heads * rank // ranks for rank in range(ranks + 1)]
    shares = tuple(pairwise(ends))
    return Plan(comm, layout, shares, tuple((a // groups, -(-b // groups)) if a < b else (0, 0) for a, b in shares))


def head_parallel_attention(q: Array, k: Array, v: Array, comm: Any = None, layout: Layout | None = None, *,
                            mask: Pattern | None = None, causal: bool = False, window: Window | None = None,
                            scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
                            **unsupported: Any) -> Array:
    """Returns what `ring_attention` returns, by exchanging tokens for heads and back: two messages to every other rank.

    Formula: that of `attention`, head by head. Arguments, gradients and errors are those of `ring_attention`; it needs no overlap, but
    each rank holds all tokens of its heads, and with fewer heads than ranks some ranks have nothing to compute. A mask by head
    (`per_head`) is refused, as its heads are on several ranks.

    Paper: Jacobs et al. 2023, arXiv:2309.14509.

    >>> from tinyattn.parallel import threads, zigzag
    >>> layout, x = zigzag(4, 2), np.ones((2, 4, 2))
    >>> def program(comm):
    ...     mine = layout.take(x, comm.Get_rank())
    ...     return head_parallel_attention(mine, mine, mine, comm, layout, causal=True)
    >>> layout.put(threads.run(2, program)).shape
    (2, 4, 2)
    """
    return solved("head_parallel_attention", q, k, v, comm, layout, mask, causal, window, scale, softcap, sinks, unsupported)[0]


def head_parallel_attention_with_lse(q: Array, k: Array, v: Array, comm: Any = None, layout: Layout | None = None, *,
                                     mask: Pattern | None = None, causal: bool = False, window: Window | None = None,
                                     scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
                                     **unsupported: Any) -> Partial:
    """Returns (out, lse) as `ring_attention_with_lse` does, by exchanging tokens for heads; see `head_parallel_attention`.

    >>> from tinyattn.parallel import contiguous, threads
    >>> x = np.zeros((1, 1, 2))
    >>> threads.run(1, lambda comm: head_parallel_attention_with_lse(x, x, x, comm, contiguous(1, 1)))[0][1]
    array([[0.]])
    """
    return solved("head_parallel_attention_with_lse", q, k, v, comm, layout, mask, causal, window, scale, softcap, sinks, unsupported)


def solved(name: str, q: Array, k: Array, v: Array, comm: Any, layout: Any, mask: Any, causal: Any, window: Any, scale: Any,
           softcap: Any, sinks: Any, unsupported: dict[str, Any]) -> Partial:
    """Returns (out, lse) after all ranks have agreed on what they were given."""
    checked = checks_of(q, k, v, comm, layout, mask, causal, window, scale, softcap, sinks, unsupported)

    def checked_heads() -> tuple[dict[str, Any], Any]:
        facts, value = checked()
        if mask is not None and mask.dense(0, 0).shape[-3:-2] not in ((), (1,)):
            raise ValueError(f"mask: expected the same mask for all heads, got {mask.text}; ring_attention takes one for each head")
        return facts, value

    (rule, logits), _ = agreed(comm, checked_heads, name)
    options = {"mask": mask, "causal": causal, "window": window, "scale": rule.scale, "softcap": softcap}

    def run(q: Array, k: Array, v: Array) -> Partial:
        plan = plan_of(comm, layout, q.shape[-3], k.shape[-3])
        with Together(comm, name):
            return from_heads_again(*by_group(*to_heads_again(q, k, v, plan), logits, plan, options), plan)

    return by_heads(run, q, k, v)


def by_group(q: Array, k: Array, v: Array, sinks: Array | None, plan: Plan, options: dict[str, Any]) -> Partial:
    """Returns (out, lse) of this rank's heads over all tokens: its whole groups in one call, a split group in another."""
    rank = plan.comm.Get_rank()
    (first, last), (kv_first, kv_last) = plan.heads[rank], plan.kv_heads[rank]
    groups = plan.heads[-1][1] // max(max(stop for _, stop in plan.kv_heads), 1)
    whole = (-(-first // groups), last // groups) if groups else (0, 0)
    if whole[0] >= whole[1]:
        cuts = [(kv, kv + 1) for kv in range(kv_first, kv_last)]
    else:
        cuts = [(kv_first, whole[0]), whole, (whole[1], kv_last)]
    parts = []
    for a, b in cuts:
        low, high = max(a * groups, first), min(b * groups, last)
        if low < high:
            mine, keys = slice(low - first, high - first), slice(a - kv_first, b - kv_first)
            parts.append(attention_with_lse(q[..., mine, :, :], k[..., keys, :, :], v[..., keys, :, :],
                                            sinks=None if sinks is None else sinks[low:high], **options))
    if not parts:  # a rank without heads: it computes nothing, and takes part in the exchange, forward and backward
        return v[..., :0, :, :], q[..., :0, :, 0]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([out for out, _ in parts], axis=-3), np.concatenate([lse for _, lse in parts], axis=-2)


@primitive
def to_heads(q: Array, k: Array, v: Array, plan: Plan) -> tuple[tuple[Array, Array, Array], Any]:
    """Returns all tokens of this rank's heads, from this rank's tokens of all heads, and what the backward needs."""
    with Together(plan.comm, "head_parallel_attention"):
        shares = (plan.heads, plan.kv_heads, plan.kv_heads)
        # float16 and bfloat16 are sent as they are, and are float32 from here on: gradients are summed before they are rounded.
        sent = [to_single(x) for x in tokens_for_heads(plan, (q, k, v), shares)]
    return (sent[0], sent[1], sent[2]), (plan, shares, (q.shape[-3], k.shape[-3], v.shape[-3]))


@to_heads.backward
def _(d_outs: tuple[Array, ...], saved: Any) -> dict[str, Array]:
    plan, shares, heads = saved
    with Together(plan.comm, "head_parallel_attention (backward)"):
        return dict(zip("qkv", heads_for_tokens(plan, d_outs, shares, heads), strict=True))


@primitive
def from_heads(out: Array, lse: Array, plan: Plan) -> tuple[tuple[Array, Array], Any]:
    """Returns this rank's tokens of all heads, from all tokens of this rank's heads, and what the backward needs."""
    with Together(plan.comm, "head_parallel_attention"):
        heads = plan.heads[-1][1]
        back = heads_for_tokens(plan, (out, lse[..., None]), (plan.heads, plan.heads), (heads, heads))
    return (back[0], back[1][..., 0]), plan


@from_heads.backward
def _(d_outs: tuple[Array, Array], plan: Plan) -> dict[str, Array]:
    with Together(plan.comm, "head_parallel_attention (backward)"):
        d_out, d_lse = tokens_for_heads(plan, (d_outs[0], d_outs[1][..., None]), (plan.heads, plan.heads))
    return {"out": d_out, "lse": d_lse[..., 0]}


to_heads_again = to_heads.again(refuse_again("tinyattn.parallel.head_parallel_attention"))
from_heads_again = from_heads.again(refuse_again("tinyattn.parallel.head_parallel_attention"))


def tokens_for_heads(plan: Plan, arrays: Sequence[Array], shares: Sequence[tuple[Span, ...]]) -> list[Array]:
    """Returns arrays (..., this rank's heads, all tokens, width), from arrays (..., all heads, this rank's tokens, width)."""
    rank, layout = plan.comm.Get_rank(), plan.layout
    sent = [np.concatenate([raw(x[..., slice(*share[other]), :, :]) for x, share in zip(arrays, shares, strict=True)])
            for other in range(layout.ranks)]
    blocks = [[(*x.shape[:-3], share[rank][1] - share[rank][0], layout.count(other), x.shape[-1])
               for x, share in zip(arrays, shares, strict=True)] for other in range(layout.ranks)]
    came = received(plan.comm, sent, blocks, [x.dtype for x in arrays])
    return [layout.put([parts[place] for parts in came]) for place in range(len(arrays))]


def heads_for_tokens(plan: Plan, arrays: Sequence[Array], shares: Sequence[tuple[Span, ...]],
                     heads: Sequence[int]) -> list[Array]:
    """Returns arrays (..., all heads, this rank's tokens, width), from arrays (..., this rank's heads, all tokens, width).

    If several ranks have the same head, their arrays are summed.
    """
    rank, layout = plan.comm.Get_rank(), plan.layout
    sent = [np.concatenate([raw(layout.take(x, other)) for x in arrays]) for other in range(layout.ranks)]
    blocks = [[(*x.shape[:-3], share[other][1] - share[other][0], layout.count(rank), x.shape[-1])
               for x, share in zip(arrays, shares, strict=True)] for other in range(layout.ranks)]
    came = received(plan.comm, sent, blocks, [x.dtype for x in arrays])
    whole = [np.zeros((*x.shape[:-3], count, layout.count(rank), x.shape[-1]), x.dtype)
             for x, count in zip(arrays, heads, strict=True)]
    for other, parts in enumerate(came):
        for out, part, share in zip(whole, parts, shares, strict=True):
            out[..., slice(*share[other]), :, :] += part
    return whole


def received(comm: Any, sent: Sequence[Array], blocks: Sequence[Sequence[tuple[int, ...]]],
             dtypes: Sequence[Any]) -> list[list[Array]]:
    """Returns the arrays of these shapes and dtypes that each rank sent to this one, where `sent` are the bytes for each."""
    sizes = [[int(np.prod(shape)) * dtype.itemsize for shape, dtype in zip(shapes, dtypes, strict=True)] for shapes in blocks]
    came = exchanged(comm, sent, [sum(each) for each in sizes])
    return [[piece.view(dtype).reshape(shape) for piece, shape, dtype in
             zip(np.split(message, np.cumsum(each)[:-1]), shapes, dtypes, strict=True)]
            for message, each, shapes in zip(came, sizes, blocks, strict=True)]
