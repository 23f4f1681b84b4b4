"""Ring attention: keys and values travel from rank to rank while each rank attends to those that it holds."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.ops.masks import Pattern
from tinyattn.ops.merge import Partial, merge
from tinyattn.ops.options import Window, check_sinks
from tinyattn.ops.storage import is_half, to_single
from tinyattn.ops.types import Array
from tinyattn.parallel.agree import Together, agreed, check_layout, differentiated, refuse_again, refuse_options
from tinyattn.parallel.layout import Layout
from tinyattn.parallel.messages import advance, finish, post
from tinyattn.parallel.part import Rule, attend, by_heads, check_arrays, check_rule, gradients, sees, sink_gradient, with_sinks

TAKEN = "mask (a Pattern), causal, window, scale, softcap and sinks"


class Call(NamedTuple):
    """The arguments without a gradient: the communicator, the layout and the checked options."""

    comm: Any
    layout: Layout
    rule: Rule


def ring_attention(q: Array, k: Array, v: Array, comm: Any = None, layout: Layout | None = None, *, mask: Pattern | None = None,
                   causal: bool = False, window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                   sinks: Array | None = None, **unsupported: Any) -> Array:
    """Returns this rank's rows of the attention of the whole sequence, each rank holding the tokens that `layout` gives it.

    Formula: that of `attention`; the parts of the keys are merged by their log-sum-exps, and the sink is applied once.
    q (..., heads, count, d), k (..., kv_heads, count, d), v (..., kv_heads, count, e) with count = layout.count(rank); mask, causal
    and window are those of positions in the whole sequence. Every rank must call it, and every rank must differentiate it: the
    gradients are those of the sum of what all ranks compute; of arguments that all ranks share, such as the sinks, each rank
    gets its own part.

    Raises:
        TypeError, ValueError: on every rank, even if the mistake is on one: arrays or options as `attention` refuses them, a
            mask that is not a Pattern, options that are not taken here, a layout over another number of ranks, arrays of
            another length than the layout's, shapes, dtypes or options that differ between ranks.

    Paper: Liu et al. 2023, arXiv:2310.01889; zigzag: Brandon et al. 2023, arXiv:2311.09431.

    >>> from tinyattn.parallel import contiguous, threads
    >>> layout, x = contiguous(4, 2), np.ones((1, 4, 2))
    >>> def program(comm):
    ...     mine = layout.take(x, comm.Get_rank())
    ...     return ring_attention(mine, mine, mine, comm, layout, causal=True)
    >>> layout.put(threads.run(2, program)).shape
    (1, 4, 2)
    """
    return solved("ring_attention", q, k, v, comm, layout, mask, causal, window, scale, softcap, sinks, unsupported)[0]


def ring_attention_with_lse(q: Array, k: Array, v: Array, comm: Any = None, layout: Layout | None = None, *,
                            mask: Pattern | None = None, causal: bool = False, window: Window | None = None,
                            scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
                            **unsupported: Any) -> Partial:
    """Returns this rank's rows of (out, lse) of the attention of the whole sequence; see `ring_attention`.

    lse (..., heads, count) is the natural log of each row's sum of exponentials, the sink's included; -inf for a row that sees no
    key and has no sink.

    >>> from tinyattn.parallel import contiguous, threads
    >>> x = np.zeros((1, 1, 2))
    >>> threads.run(1, lambda comm: ring_attention_with_lse(x, x, x, comm, contiguous(1, 1)))[0][1]
    array([[0.]])
    """
    return solved("ring_attention_with_lse", q, k, v, comm, layout, mask, causal, window, scale, softcap, sinks, unsupported)


def solved(name: str, q: Array, k: Array, v: Array, comm: Any, layout: Any, mask: Any, causal: Any, window: Any, scale: Any,
           softcap: Any, sinks: Any, unsupported: dict[str, Any]) -> Partial:
    """Returns (out, lse) after all ranks have agreed on what they were given."""
    checked = checks_of(q, k, v, comm, layout, mask, causal, window, scale, softcap, sinks, unsupported)
    (rule, logits), _ = agreed(comm, checked, name)
    return by_heads(lambda q, k, v: ring_again(q, k, v, logits, Call(comm, layout, rule)), q, k, v)


def checks_of(q: Array, k: Array, v: Array, comm: Any, layout: Any, mask: Any, causal: Any, window: Any, scale: Any, softcap: Any,
              sinks: Any, unsupported: dict[str, Any]) -> Callable[[], tuple[dict[str, Any], tuple[Rule, Any]]]:
    """Returns the checks of one rank, which give what all ranks must agree on, the options, and the sinks."""
    def checked() -> tuple[dict[str, Any], tuple[Rule, Any]]:
        refuse_options(unsupported, TAKEN)
        check_arrays(q, k, v)
        check_layout(layout, comm.Get_size())
        count = layout.count(comm.Get_rank())
        for array, shown in ((q, "q"), (k, "k"), (v, "v")):
            if array.shape[-2] != count:
                raise ValueError(f"{shown}: expected the {count} tokens that the layout gives this rank, got shape {array.shape}")
        rule = check_rule(mask, causal, window, scale, softcap, q.shape[-1])
        wide = np.float32 if is_half(q.dtype) else q.dtype
        facts = facts_of(rule, q, k, v, sinks) | {"layout": layout.spans}
        return facts, (rule, check_sinks(sinks, q.shape[-3] if q.ndim > 2 else 1, wide))

    return checked


def facts_of(rule: Rule, q: Array, k: Array, v: Array, sinks: Any) -> dict[str, Any]:
    """Returns what all ranks must agree on: shapes without the tokens, the dtype, the options, what has gradients."""
    heads = {name: (*x.shape[:-2], x.shape[-1]) for name, x in (("q", q), ("k", k), ("v", v))}
    shapes = {f"the shape of {name} without its tokens": shape for name, shape in heads.items()}
    return {**shapes, "dtype": str(np.dtype(q.dtype).name), "mask": None if rule.mask is None else shortened(rule.mask.text),
            "causal and window": (rule.left, rule.right), "scale": rule.scale, "softcap": rule.softcap, "sinks": sinks is not None,
            "arguments with gradients": differentiated(q=q, k=k, v=v, **({} if sinks is None else {"sinks": sinks}))}


def shortened(text: str) -> str:
    """Returns a text; of a long one, such as the documents of a million tokens, its beginning and a digest."""
    return text if len(text) <= 80 else f"{text[:60]}... ({blake2b(text.encode(), digest_size=8).hexdigest()})"


@primitive
def ring(q: Array, k: Array, v: Array, sinks: Array | None, call: Call) -> tuple[tuple[Array, Array], Any]:
    """Returns ((out, lse), what the backward reads), in float32 for float16 and bfloat16."""
    comm, layout, rule = call
    rank, ranks = comm.Get_rank(), comm.Get_size()
    with Together(comm, "ring_attention"):
        wide_q = to_single(q)
        parts: list[Partial | None] = [None] * len(layout.spans[rank])
        keys, values = np.ascontiguousarray(k), np.ascontiguousarray(v)
        for step in range(ranks):
            source = (rank - step) % ranks
            coming, requests = [], []
            if step < ranks - 1:
                coming = [blank(x, layout.count((source - 1) % ranks)) for x in (keys, values)]
                requests = post(comm, (keys, values), (rank + 1) % ranks, coming, (rank - 1) % ranks)
            wide_k, wide_v = to_single(keys), to_single(values)
            for own, rows, columns, seen in met(layout, rule, rank, source):
                part = attend(wide_q[..., rows, :], wide_k[..., columns, :], wide_v[..., columns, :], seen, rule)
                before = parts[own]
                parts[own] = part if before is None else merge(before, part)
                advance(requests)
            finish(requests)
            keys, values = coming or (keys, values)
        held = [part if part is not None else unseen(wide_q[..., rows, :], v.shape[-1])
                for part, rows in zip(parts, layout.cuts(rank), strict=True)] or [unseen(wide_q, v.shape[-1])]
        out, lse = (np.concatenate(x, axis=axis) for x, axis in zip(zip(*held, strict=True), (-2, -1), strict=True))
        out, lse = with_sinks(out, lse, sinks)
    return (out, lse.astype(out.dtype)), (call, q, k, v, sinks, out, lse)


@ring.backward
def _(d_outs: tuple[Array, Array], saved: Any) -> dict[str, Array | None]:
    call, q, k, v, sinks, out, lse = saved
    (comm, layout, rule), (d_out, d_lse) = call, d_outs
    rank, ranks = comm.Get_rank(), comm.Get_size()
    after, before = (rank + 1) % ranks, (rank - 1) % ranks
    with Together(comm, "ring_attention (backward)"):
        wide_q = to_single(q)
        d_q: Array | None = None
        keys, values = np.ascontiguousarray(k), np.ascontiguousarray(v)
        sums: list[Array] = []
        for step in range(ranks):
            source = (rank - step) % ranks
            coming, summed, requests = [], [], []
            if step < ranks - 1:
                coming = [blank(x, layout.count((source - 1) % ranks)) for x in (keys, values)]
                requests += post(comm, (keys, values), after, coming, before)
            if step:  # gradients of these keys so far come from the rank before; those of the last keys are sent on
                summed = [blank(x, layout.count(source), wide_q.dtype) for x in (keys, values)]
                requests += post(comm, sums, after, summed, before)
            wide_k, wide_v = to_single(keys), to_single(values)
            d_k: Array | None = None
            d_v: Array | None = None
            for _, rows, columns, seen in met(layout, rule, rank, source):
                added = gradients(wide_q[..., rows, :], wide_k[..., columns, :], wide_v[..., columns, :], out[..., rows, :],
                                  lse[..., rows], d_out[..., rows, :], d_lse[..., rows], seen, rule)
                d_q = total_of(d_q, added[0], rows, wide_q.shape)
                d_k, d_v = total_of(d_k, added[1], columns, wide_k.shape), total_of(d_v, added[2], columns, wide_v.shape)
                del added  # before the next ones are made
                advance(requests)
            d_keys = [np.zeros(x.shape, wide_q.dtype) if d_x is None else d_x for d_x, x in ((d_k, wide_k), (d_v, wide_v))]
            finish(requests)
            for whole, part in zip(d_keys, summed, strict=False):
                whole += part
            sums = d_keys
            keys, values = coming or (keys, values)
        if ranks > 1:  # the gradients return to the rank that holds the keys
            home = [blank(x, layout.count(rank), wide_q.dtype) for x in (k, v)]
            finish(post(comm, sums, after, home, before))
            sums = home
        found: dict[str, Array | None] = {"q": np.zeros_like(wide_q) if d_q is None else d_q, "k": sums[0], "v": sums[1]}
        if sinks is not None:
            found["sinks"] = sink_gradient(sinks, out, lse, d_out, d_lse)
    return found


ring_again = ring.again(refuse_again("tinyattn.parallel.ring_attention"))


def met(layout: Layout, rule: Rule, rank: int, source: int) -> list[tuple[int, slice, slice, Any]]:
    """Returns the spans of a rank's queries and another rank's keys with visible pairs, and where each is in its array."""
    found = []
    for own, (queries, rows) in enumerate(zip(layout.spans[rank], layout.cuts(rank), strict=True)):
        for keys, columns in zip(layout.spans[source], layout.cuts(source), strict=True):
            seen = sees(rule, queries, keys)
            if seen is not None:
                found.append((own, rows, columns, seen))
    return found


def total_of(whole: Array | None, part: Array, at: slice, shape: tuple[int, ...]) -> Array:
    """Returns a sum with one more part added; a first part of full size becomes the sum itself, which saves two passes."""
    if whole is None and part.shape == shape:
        return part
    whole = np.zeros(shape, part.dtype) if whole is None else whole
    whole[..., at, :] += part
    return whole


def blank(like: Array, count: int, dtype: Any = None) -> Array:
    """Returns an array, not filled, for the keys or values of this many tokens."""
    return np.empty((*like.shape[:-2], count, like.shape[-1]), like.dtype if dtype is None else dtype)


def unseen(q: Array, value_dim: int) -> Partial:
    """Returns (out, lse) of queries that see no key: 0 and -inf."""
    return np.zeros((*q.shape[:-1], value_dim), q.dtype), np.full(q.shape[:-1], -np.inf)
