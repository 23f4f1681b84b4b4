"""Faults in masks: which query sees which key."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.testing.broken.twin import twin


def hiding(p: Problem, hidden: Any) -> Problem:
    """Returns the problem with these pairs hidden in addition to those that already are."""
    return p.but(mask=p.visible() & ~hidden, causal=False, window=None)


def offsets(p: Problem) -> Any:
    """Returns how many positions each key is before each query, with the last ones aligned, (q_len, kv_len)."""
    q_len, kv_len = p.full()[-2:]
    return np.arange(q_len)[:, None] + (kv_len - q_len) - np.arange(kv_len)


@twin("a_mask_says_who_attends", "hidden_is_a_bias_of_minus_infinity")
def mask_inverted(f: Mechanism, p: Problem) -> Any:
    """True in a mask hides a key: two libraries read the same mask in opposite ways."""
    mask = p.options.get("mask")
    return (p.but(mask=~mask) if isinstance(mask, np.ndarray) else p).call(f)


@twin("a_mask_broadcasts_from_the_right")
def mask_of_the_first_head(f: Mechanism, p: Problem) -> Any:
    """A mask with axes of size 1 is read as the first head's, with the strides of a full mask."""
    mask = p.options.get("mask")
    if not isinstance(mask, np.ndarray) or mask.ndim < 3 or not mask.size or mask.shape == p.full():
        return p.call(f)
    return p.but(mask=mask[(0,) * (mask.ndim - 2)]).call(f)


@twin("causal_is_bottom_right", "the_last_query_alone")
def causal_top_left(f: Mechanism, p: Problem) -> Any:
    """Causal is aligned at the first token: with fewer queries than keys the newest keys are hidden."""
    if not p.options.get("causal"):
        return p.call(f)
    q_len, kv_len = p.full()[-2:]
    open_end = p.but(causal=False)
    return hiding(open_end, ~np.tri(q_len, kv_len, dtype=bool)).call(f)


@twin("causal_is_bottom_right")
def causal_without_self(f: Mechanism, p: Problem) -> Any:
    """Causal means j < i: a token does not see itself."""
    return (hiding(p, offsets(p) == 0) if p.options.get("causal") else p).call(f)


@twin("later_tokens_change_nothing_earlier", "appended_tokens_change_nothing_earlier", "cached_is_full")
def causal_sees_the_next(f: Mechanism, p: Problem) -> Any:
    """Causal means j <= i + 1: every token sees the one that it should predict, and training looks perfect."""
    if not p.options.get("causal"):
        return p.call(f)
    return hiding(p.but(causal=False), offsets(p) < -1).call(f)


@twin("later_tokens_change_nothing_earlier")
def normalised_over_the_text(f: Mechanism, p: Problem) -> Any:
    """Values are shifted by the mean over the whole text, future tokens included, before they are read."""
    if not p.options.get("causal") or p.k.shape[-2] == 0:
        return p.call(f)
    return p.but(v=p.v + 0.1 * (p.v.mean(axis=-2, keepdims=True))).call(f)


@twin("window_counts_the_others")
def window_one_long(f: Mechanism, p: Problem) -> Any:
    """A window of W keys is read as W keys besides the query's own: one key too many on each side."""
    window = p.options.get("window")
    return p.call(f) if window is None else p.but(window=tuple(w if w is None else w + 1 for w in window)).call(f)


@twin("window_counts_the_others", "a_wide_window_has_no_effect")
def window_forgets_the_right(f: Mechanism, p: Problem) -> Any:
    """The right side of a window is taken as 0, as in code that was written for decoders."""
    window = p.options.get("window")
    return p.call(f) if window is None else p.but(window=(window[0], 0)).call(f)


@twin("the_last_query_alone")
def window_differs_in_decode(f: Mechanism, p: Problem) -> Any:
    """With a single query, as in decoding, the window is one key longer than in prefill."""
    window = p.options.get("window")
    if window is None or window[0] is None or p.full()[-2] != 1:
        return p.call(f)
    return p.but(window=(window[0] + 1, window[1])).call(f)


@twin("window_zero_is_self")
def window_of_zero_is_off(f: Mechanism, p: Problem) -> Any:
    """The test `if window[0]:` treats a window of 0 as no window."""
    window = p.options.get("window")
    return p.call(f) if window is None else p.but(window=tuple(w or None for w in window)).call(f)


@twin("a_pattern_is_its_dense_array")
def pattern_without_offset(f: Mechanism, p: Problem) -> Any:
    """A pattern is evaluated on rows counted from 0 instead of the positions of the queries."""
    pattern = p.options.get("mask")
    if not isinstance(pattern, Pattern):
        return p.call(f)
    q_len, kv_len = p.full()[-2:]
    return p.but(mask=np.array(np.broadcast_to(pattern.visible(np.arange(q_len), np.arange(kv_len)), (q_len, kv_len)))).call(f)


@twin("nothing_seen_gives_zero")
def empty_rows_are_means(f: Mechanism, p: Problem) -> Any:
    """Hidden scores are set to -1e9, all equal, so that a query that sees no key gets the mean of all values."""
    empty = np.asarray(~p.visible().any(axis=-1, keepdims=True))
    if p.k.shape[-2] == 0 or not empty.any():
        return p.call(f)
    return np.where(empty, p.repeated().v.mean(axis=-2, keepdims=True), p.call(f))


@twin("nothing_seen_gives_zero")
def empty_rows_see_all(f: Mechanism, p: Problem) -> Any:
    """A mask that hides every key of a query is dropped for that query: it sees all keys."""
    seen = p.visible()
    return p.but(mask=seen | ~seen.any(axis=-1, keepdims=True), causal=False, window=None).call(f)


@twin("nothing_seen_gives_zero", "hidden_is_a_bias_of_minus_infinity")
def minus_infinity_is_finite(f: Mechanism, p: Problem) -> Any:
    """Hidden scores are -10 instead of -inf: where all other scores are as low, or a bias is, hidden keys take part."""
    seen = p.visible()
    if seen.all() or not isinstance(p.options.get("bias", 0.0), (float, np.ndarray)):
        return p.call(f)
    bias = np.where(seen, p.options.get("bias", 0.0), -10.0).astype(p.q.dtype)
    return p.but(bias=bias, mask=None, causal=False, window=None).call(f)


@twin("nothing_seen_gives_zero")
def empty_rows_are_nan(f: Mechanism, p: Problem) -> Any:
    """exp(-inf - -inf) is computed: a query that sees no key gets NaN."""
    return np.where(np.expand_dims(p.visible().any(axis=-1), -1), p.call(f), np.nan)


@twin("the_unseen_may_hold_anything")
def hidden_times_zero(f: Mechanism, p: Problem) -> Any:
    """Hidden values are multiplied by a weight of 0, and 0 times NaN is NaN."""
    hidden = np.where(p.visible(), 0.0, 1.0).astype(p.q.dtype)
    with np.errstate(invalid="ignore"):
        return p.call(f) + (hidden * 0.0) @ p.repeated().v
