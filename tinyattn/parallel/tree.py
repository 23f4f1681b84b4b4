"""Decoding over the caches of many ranks: each attends to the keys that it holds, and the results are merged along a tree."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.ops.masks import Pattern
from tinyattn.ops.merge import Partial, merge
from tinyattn.ops.options import Window, check_sinks
from tinyattn.ops.storage import to_single
from tinyattn.ops.types import Array
from tinyattn.parallel.agree import Together, agreed, check_layout, refuse_again, refuse_options
from tinyattn.parallel.layout import Layout
from tinyattn.parallel.messages import total, up_and_down
from tinyattn.parallel.part import Sees, attend, by_heads, check_arrays, check_rule, gradients, sees, sink_gradient, with_sinks
from tinyattn.parallel.ring import TAKEN, Call, facts_of, unseen


def tree_attention(q: Array, k: Array, v: Array, comm: Any = None, layout: Layout | None = None, *, mask: Pattern | None = None,
                   causal: bool = False, window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                   sinks: Array | None = None, **unsupported: Any) -> Array:
    """Returns, on every rank, the attention of queries that all ranks hold to keys and values that are spread over the ranks.

    Formula: that of `attention`, merged by log-sum-exps: the same bits on all ranks, in 2 ceil(log2 ranks) messages one after the
    other. q (..., heads, q_len, d) is the same on all ranks; k (..., kv_heads, count, d) and v (..., kv_heads, count, e) are the
    tokens of this rank. Without a layout, the keys of rank 0 come first, then those of rank 1, and so on. The last query
    has the position of the last key of all. The gradients are those of the sum of what all ranks compute; d_q is the part that
    came through the keys of this rank; the sum over the ranks is the whole gradient.

    Raises:
        TypeError, ValueError: on every rank, as `ring_attention`; queries of different shapes.

    Paper: Shyam et al. 2024, arXiv:2408.04093.

    >>> from tinyattn.parallel import threads
    >>> q, k = np.zeros((1, 1, 2)), np.ones((1, 3, 2))
    >>> threads.run(2, lambda comm: tree_attention(q, k, k + comm.Get_rank(), comm))[1]
    array([[[1.5, 1.5]]])
    """
    return solved("tree_attention", q, k, v, comm, layout, mask, causal, window, scale, softcap, sinks, unsupported)[0]


def tree_attention_with_lse(q: Array, k: Array, v: Array, comm: Any = None, layout: Layout | None = None, *,
                            mask: Pattern | None = None, causal: bool = False, window: Window | None = None,
                            scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
                            **unsupported: Any) -> Partial:
    """Returns (out, lse) of the attention to the keys of all ranks, on every rank; see `tree_attention`.

    >>> from tinyattn.parallel import threads
    >>> x = np.zeros((1, 1, 2))
    >>> bool(threads.run(2, lambda comm: tree_attention_with_lse(x, x, x, comm))[0][1] == np.log(2.0))
    True
    """
    return solved("tree_attention_with_lse", q, k, v, comm, layout, mask, causal, window, scale, softcap, sinks, unsupported)


def solved(name: str, q: Array, k: Array, v: Array, comm: Any, layout: Any, mask: Any, causal: Any, window: Any, scale: Any,
           softcap: Any, sinks: Any, unsupported: dict[str, Any]) -> Partial:
    """Returns (out, lse) after all ranks have agreed on what they were given."""
    def checked() -> tuple[dict[str, Any], Any]:
        refuse_options(unsupported, TAKEN)
        check_arrays(q, k, v)
        rule = check_rule(mask, causal, window, scale, softcap, q.shape[-1])
        if layout is not None:
            check_layout(layout, comm.Get_size())
            count = layout.count(comm.Get_rank())
            if k.shape[-2] != count:
                raise ValueError(f"k: expected the {count} tokens that the layout gives this rank, got shape {k.shape}")
        facts = facts_of(rule, q, k, v, sinks) | {"the length of q": q.shape[-2], "layout": None if layout is None else layout.spans}
        return facts | {"count_here": k.shape[-2]}, (rule, check_sinks(sinks, q.shape[-3] if q.ndim > 2 else 1, to_single(q).dtype))

    (rule, logits), facts = agreed(comm, checked, name)
    ends = np.cumsum([0, *(theirs["count_here"] for theirs in facts)]).tolist()
    spans = layout or Layout(ends[-1], tuple(((a, b),) for a, b in pairwise(ends)))
    return by_heads(lambda q, k, v: tree_again(q, k, v, logits, Call(comm, spans, rule)), q, k, v)


def joined(a: Array, b: Array) -> Array:
    """Returns the merged partial results of two sets of keys, each (..., e + 1) with its lse as the last column."""
    out, lse = merge((a[..., :-1], a[..., -1]), (b[..., :-1], b[..., -1]))
    return np.concatenate((out, lse[..., None]), axis=-1)


@primitive
def tree(q: Array, k: Array, v: Array, sinks: Array | None, call: Call) -> tuple[tuple[Array, Array], Any]:
    """Returns ((out, lse), what the backward reads), in float32 for float16 and bfloat16."""
    with Together(call.comm, "tree_attention"):
        wide = [to_single(x) for x in (q, k, v)]
        part = unseen(wide[0], v.shape[-1])
        for number, (columns, seen) in enumerate(seen_spans(call, q.shape[-2])):
            keys = attend(wide[0], wide[1][..., columns, :], wide[2][..., columns, :], seen, call.rule)
            part = merge(part, keys) if number else keys
        both = up_and_down(call.comm, np.concatenate((part[0], part[1][..., None].astype(part[0].dtype)), axis=-1), joined)
        out, lse = with_sinks(both[..., :-1].copy(), both[..., -1].astype(np.float64), sinks)
    return (out, lse.astype(out.dtype)), (call, *wide, sinks, out, lse)


@tree.backward
def _(d_outs: tuple[Array, Array], saved: Any) -> dict[str, Array | None]:
    call, q, k, v, sinks, out, lse = saved
    with Together(call.comm, "tree_attention (backward)"):
        found: dict[str, Array | None] = {}
        if sinks is not None:  # the part of this rank, from its own d_out
            found["sinks"] = sink_gradient(sinks, out, lse, *d_outs)
        summed = total(call.comm, np.concatenate((d_outs[0], d_outs[1][..., None]), axis=-1))
        d_out, d_lse = np.ascontiguousarray(summed[..., :-1]), np.ascontiguousarray(summed[..., -1])
        d_q, d_k, d_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        for columns, seen in seen_spans(call, q.shape[-2]):
            added = gradients(q, k[..., columns, :], v[..., columns, :], out, lse, d_out, d_lse, seen, call.rule)
            d_q += added[0]
            d_k[..., columns, :], d_v[..., columns, :] = added[1:]
    return found | {"q": d_q, "k": d_k, "v": d_v}


tree_again = tree.again(refuse_again("tinyattn.parallel.tree_attention"))


def seen_spans(call: Call, q_len: int) -> list[tuple[slice, Any]]:
    """Returns the spans of this rank's keys that the queries see, as places in its arrays."""
    rank, layout = call.comm.Get_rank(), call.layout
    found: list[tuple[slice, Any]] = []
    for keys, columns in zip(layout.spans[rank], layout.cuts(rank), strict=True) if q_len else ():
        seen = sees(call.rule, (layout.length - q_len, layout.length), keys)
        if found and seen == found[-1][1] == Sees(None, None) and found[-1][0].stop == columns.start:
            found[-1] = slice(found[-1][0].start, columns.stop), seen  # every query sees both: one call for all of them
        elif seen is not None:
            found.append((columns, seen))
    return found
