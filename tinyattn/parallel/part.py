"""Attention of one span of queries to one span of keys: which pairs are visible, the outputs, and the gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyattn import fastest
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.masks import Pattern
from tinyattn.ops.masks.constructors import window as band
from tinyattn.ops.merge import Partial, merge
from tinyattn.ops.options import Window, blank_unseen, check_causal, check_scale, check_softcap, check_window, visible_keys
from tinyattn.ops.signature import shapes
from tinyattn.ops.storage import is_half
from tinyattn.ops.types import Array
from tinyattn.parallel.layout import Span

# From this many scores on the kernel is faster.
KERNEL_SCORES = 4096


class Rule(NamedTuple):
    """The options of a call, checked: the mask and the window are those of positions in the whole sequence."""

    mask: Pattern | None
    left: int | None
    right: int | None
    scale: float
    softcap: float | None


class Sees(NamedTuple):
    """Which keys of a span the queries of a span see, as the mask and window of a call of `attention` on these two spans alone."""

    mask: Pattern | None
    window: Window | None


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def check_arrays(q: Array, k: Array, v: Array) -> Array:
    """Returns q, and raises for arrays that attention does not take."""
    return q


def check_rule(mask: Any, causal: Any, window: Any, scale: Any, softcap: Any, head_dim: int) -> Rule:
    """Returns the options of a call; raises TypeError or ValueError as `attention` does."""
    if mask is not None and not isinstance(mask, Pattern):
        raise TypeError(f"mask: expected a Pattern, which is evaluated at positions of the whole sequence, got {type(mask).__name__}")
    left, right = check_window(window)
    return Rule(mask, left, 0 if check_causal(causal) else right, check_scale(scale, head_dim), check_softcap(softcap))


def sees(rule: Rule, queries: Span, keys: Span) -> Sees | None:
    """Returns which keys of a span the queries of a span see; None if no query sees any.

    >>> rule = Rule(None, None, 0, 1.0, None)
    >>> [sees(rule, queries, (4, 8)) for queries in ((0, 4), (8, 12))]
    [None, Sees(mask=None, window=None)]
    """
    (i0, i1), (j0, j1) = queries, keys
    mask = rule.mask
    # `attention` takes the last query to be at the position of the last key.
    apart = (i1 - i0) - (j1 - j0)
    aligned = i1 == j1
    if rule.left is not None or rule.right is not None:
        bounds = band(rule.left, rule.right)
        some, every = seen_of(bounds, queries, keys)
        if not some:
            return None
        if not every and not aligned:
            mask = bounds if mask is None else bounds & mask
        window: Window | None = (rule.left, rule.right) if aligned and not every else None
    else:
        window = None
    if mask is None:
        return Sees(None, window)
    some, every = seen_of(mask, queries, keys)
    if not some:
        return None
    return Sees(None if every else moved(mask, i0 + apart, j0), window)


def seen_of(pattern: Pattern, queries: Span, keys: Span) -> tuple[bool, bool]:
    """Returns whether some pair of two spans may be visible, and whether every pair surely is, by the pattern's corners."""
    box = [np.array([[end]]) for end in (queries[0], queries[1] - 1, keys[0], keys[1] - 1)]
    some, every = pattern.corners(*box)
    return bool(np.any(some)), bool(np.all(every))


def moved(pattern: Pattern, i0: int, j0: int) -> Pattern:
    """Returns the pattern in which positions i and j stand for i + i0 and j + j0."""
    if not i0 and not j0:
        return pattern
    return Pattern(lambda i, j: pattern.see(i + i0, j + j0), text=f"{pattern.text} from ({i0}, {j0})",
                   corners=lambda a, b, c, d: pattern.corners(a + i0, b + i0, c + j0, d + j0))


def attend(q: Array, k: Array, v: Array, seen: Sees, rule: Rule) -> Partial:
    """Returns (out, lse) of the attention to a part of the keys, lse in float64: a float32 lse of 20 makes weights wrong by 1e-6."""
    out, lse = fastest.attention_with_lse(q, k, v, mask=seen.mask, window=seen.window, scale=rule.scale, softcap=rule.softcap)
    return out, lse.astype(np.float64)


def gradients(q: Array, k: Array, v: Array, out: Array, lse: Array, d_out: Array, d_lse: Array, seen: Sees,
              rule: Rule) -> tuple[Array, Array, Array]:
    """Returns what a part of the keys adds to d_q, and its d_k and d_v; (out, lse) are the results of all keys, lse in float64.

    With P = exp(S - lse): dS = P (d_out V^T - d_out . out + d_lse), d_v = P^T d_out, d_q = dS K, d_k = dS^T Q.
    """
    exact = fastest.kernel("exact.primitive")
    if exact is not None and q.size // q.shape[-1] * k.shape[-2] >= KERNEL_SCORES:
        left, right = seen.window or (None, None)
        options = exact.Options(seen.mask, left, right, rule.scale, rule.softcap, False)
        made: tuple[Array, Array, Array] = exact.part_gradients(q, k, v, out, lse, d_out, d_lse, options)
        return made
    heads, kv_heads = q.shape[-3], k.shape[-3]
    visible = visible_keys(seen.mask, False, seen.window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        scores = unfold_group(fold_group(q * q.dtype.type(rule.scale), kv_heads) @ k.mT, heads)
        tanh = None if rule.softcap is None else np.tanh(scores / rule.softcap)
        scores = scores if tanh is None else rule.softcap * tanh
        seen_rows = (lse > -np.inf)[..., None]
        low = np.where(seen_rows, lse[..., None], 0).astype(q.dtype)
        shown = seen_rows if visible is None else seen_rows & visible
        weights = np.where(shown, np.exp(scores - low) * np.exp(low - lse[..., None]).astype(q.dtype), 0)
        delta = (d_out * out).sum(axis=-1) - d_lse
        d_scores = weights * (unfold_group(fold_group(d_out, kv_heads) @ v.mT, heads) - delta[..., None])
        if tanh is not None:
            d_scores = d_scores * (1 - tanh * tanh)
        folded, scale = fold_group(d_scores, kv_heads), q.dtype.type(rule.scale)
        d_q = unfold_group(folded @ k, heads) * scale
        d_k, d_v = folded.mT @ fold_group(q, kv_heads) * scale, fold_group(weights, kv_heads).mT @ fold_group(d_out, kv_heads)
    return d_q, d_k, d_v


def by_heads(run: Callable[[Array, Array, Array], Partial], q: Array, k: Array, v: Array) -> Partial:
    """Returns the (out, lse) of `run`, which needs an axis of heads, for arrays with or without one; 16-bit ones give 16-bit out."""
    single = q.ndim == 2
    out, lse = run(*(x[None] if single else x for x in (q, k, v)))
    out = out.astype(q.dtype) if is_half(q.dtype) else out
    return (out[0], lse[0]) if single else (out, lse)


def with_sinks(out: Array, lse: Array, sinks: Array | None) -> Partial:
    """Returns (out, lse) with one more logit per head in the denominator of each row, applied once, after all keys."""
    if sinks is None:
        return out, lse
    logits = np.broadcast_to(sinks[:, None], lse.shape).astype(lse.dtype)
    return merge((out, lse), (np.zeros_like(out), logits))


def sink_gradient(sinks: Array, out: Array, lse: Array, d_out: Array, d_lse: Array) -> Array:
    """Returns the gradient of the sinks from the rows of one rank: -sum_i exp(sink - lse_i) (d_out_i . out_i - d_lse_i)."""
    delta = (d_out * out).sum(axis=-1) - d_lse
    with np.errstate(under="ignore", invalid="ignore"):
        share = np.where(lse > -np.inf, np.exp(sinks[:, None] - np.where(lse > -np.inf, lse, 0)), 0)
    return -np.asarray(share * delta).sum(axis=(*range(lse.ndim - 2), -1)).astype(sinks.dtype)
