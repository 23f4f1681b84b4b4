"""Attention over keys that lie in several parts: each part is read by itself, and the results are merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinyattn import fastest, in_numpy
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.merge import Partial, merge
from tinyattn.ops.options import Window, check_bias, check_mask, check_sinks, check_window, has_infinite
from tinyattn.ops.score_rule import Score, ScoreRule, check_score, of_keys, with_parts
from tinyattn.ops.storage import is_half
from tinyattn.ops.types import Array

# Keys that are gathered or unpacked at a time.
PART_KEYS = 512


class Part(NamedTuple):
    """Keys (..., kv_heads, n, d), values (..., kv_heads, n, e) and their positions (n,), in any order.

    `sees(i, j)` tells which of these keys a query sees, by their positions; None is all. `q` and `at` replace the queries and
    their positions for this part, as rotated positions need.
    """

    keys: Array
    values: Array
    positions: Array
    sees: Callable[[Array, Array], Array] | None = None
    q: Array | None = None
    at: Array | None = None


def attend_parts(q: Array, parts: Iterable[tuple[Any, ...]], length: int, *, mask: Array | Pattern | None = None,
                 bias: Array | Bias | None = None, window: Window | None = None, scale: float | None = None,
                 softcap: float | None = None, sinks: Array | None = None, score: Score | None = None) -> Array:
    """Returns causal attention over keys that come in parts, merged by their log-sum-exps; the sink is added once, at the end.

    q (..., heads, i, d) stands at the last i of `length` positions; each part is a `Part` or its first fields. Options are those
    of `attention`, on positions: the last axis of a mask or bias is a key's position.

    >>> x = np.array([[[1.0], [3.0]]])
    >>> attend_parts(x[:, 1:] * 0, [(x[:, :1], x[:, :1], np.array([0])), (x[:, 1:], x[:, 1:], np.array([1]))], 2)
    array([[[2.]]])
    """
    compute, full, end = computed(q.dtype), (*q.shape[:-1], length), np.arange(length - q.shape[-2], length)
    mask, (left, _) = check_mask(mask, full), check_window(window)  # the right side has no effect on causal queries
    bias = settled_bias(bias, full, compute, lambda: seen_part(mask, left, end, np.arange(length)))
    rule = check_score(score, full, compute)
    total: Partial | None = None
    for keys, values, positions, sees, turned, own in (Part(*part) for part in parts):
        queries, at = (q if turned is None else turned), (end if own is None else own)
        seen = seen_part(mask, left, at, positions, sees)
        if total is None or seen is None or seen.any():
            arrays = (x.astype(compute, copy=False) for x in (queries, keys, values))
            read = fastest.attention_with_lse(*arrays, mask=seen, bias=bias_part(bias, at, positions), scale=scale, softcap=softcap,
                                              score=None if rule is None else of_keys(rule, positions, at))
            total = read if total is None else merge(total, read)
    if total is None:
        raise ValueError("parts: expected at least one, which gives the shapes; it may have no keys")
    return with_sinks(total, sinks).astype(q.dtype, copy=False)


def few(q: Array, kv_heads: int, most: int) -> bool:
    """Returns whether each key head is read by at most `most` rows of queries: those of all heads of its group.

    >>> few(np.zeros((8, 1, 4)), 2, 4), few(np.zeros((8, 2, 4)), 2, 4)
    (True, False)
    """
    return q.shape[-2] * q.shape[-3] <= most * kv_heads


def reads_all(parts: Sequence[Part], queries: Array, options: dict[str, Any]) -> bool:
    """Returns whether parts can be read as they are: one query per head, too few keys for a kernel, and no option in use."""
    if queries.shape[-2] != 1 or any(option is not None for option in options.values()):
        return False
    keys = sum([part.keys.shape[-2] for part in parts])
    return queries.size // max(queries.shape[-1], 1) * keys < in_numpy.DECODE_SCORES and all(
        [in_numpy.plain_step(queries if part.q is None else part.q, part.keys, part.values, {}) for part in parts])


@np.errstate(under="ignore", invalid="ignore")
def one_query(q: Array, parts: list[Part]) -> Array | None:
    """Returns attention to parts of which one query per head sees every key; None if a score is too large for the bare formula.

    Written out as `in_numpy.one_query` is, for the same reason: reading two parts by `attention_with_lse` and merging them makes
    four times as many calls and takes about three times as long.
    """
    *leading, heads, _, dim = q.shape
    kv_heads, cuts = parts[0].keys.shape[-3], np.cumsum([part.keys.shape[-2] for part in parts])[:-1]
    rows = (*leading, kv_heads, heads // kv_heads, dim)
    each = [(q if part.q is None else part.q).reshape(rows) @ part.keys.mT for part in parts]
    scores = np.concatenate(each, axis=-1) * dim ** -0.5
    top = scores.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        return None
    exps = np.exp(scores - top)
    out = sum([some @ part.values for some, part in zip(np.split(exps, cuts, axis=-1), parts, strict=True)])
    shown: Array = (out / exps.sum(axis=-1, keepdims=True)).reshape(*leading, heads, 1, parts[0].values.shape[-1])
    return shown


def settled_bias(bias: Array | Bias | None, full: tuple[int, ...], compute: Any,
                 visible: Callable[[], Array | None]) -> Array | Bias | None:
    """Returns a bias whose +inf are replaced while all keys of a query are known, since no part knows the keys of the others.

    `visible()` tells which of all keys each query sees. If a query sees several +inf, they become NaN, as its output is; +inf at
    keys that it does not see become -inf.
    """
    settled = check_bias(bias, full, compute, visible)
    if settled is None or isinstance(settled, Bias) or not has_infinite(settled):
        return settled
    seen = visible()
    shown: Array = np.where(settled == np.inf, np.where(True if seen is None else seen, np.nan, -np.inf), settled)
    return shown.astype(settled.dtype)


def with_sinks(partial: Partial, sinks: Array | None) -> Array:
    """Returns the output after one sink per head, (heads,), has taken its share of the weight."""
    out, lse = partial
    sinks = check_sinks(sinks, out.shape[-3], out.dtype)
    if sinks is None:
        return out
    sinks = sinks[:, None]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # NaN in the input gives NaN, without a warning
        beside = np.where(sinks == -np.inf, 0, np.exp(sinks - lse))  # the sink's weight as a multiple of all keys' weight
    shown: Array = out / (1 + beside)[..., None]
    return shown


def computed(dtype: Any) -> Any:
    """Returns the dtype in which numbers of a dtype are summed: float32 for half-width ones."""
    return np.dtype(np.float32) if is_half(dtype) else dtype


def seen_part(mask: Array | Pattern | None, left: int | None, at: Array, positions: Array,
              sees: Callable[[Array, Array], Array] | None = None) -> Array | None:
    """Returns which queries at the positions `at` see which keys at `positions`, none of them later; None if all see all."""
    seen = None
    if at.size and positions.size and (positions.max() > at.min() or (left is not None and positions.min() < at.max() - left)):
        offset = positions - at[:, None]
        seen = (offset <= 0) if left is None else (offset <= 0) & (offset >= -left)
    if sees is not None:
        rule = sees(at[:, None], positions)
        seen = rule if seen is None else seen & rule
    if mask is None:
        return seen
    if isinstance(mask, Pattern):
        shown = mask.visible(at, positions)
    else:
        shown = mask[..., positions] if mask.ndim and mask.shape[-1] > 1 else mask
    return shown if seen is None else seen & shown


def bias_part(bias: Array | Bias | None, at: Array, positions: Array) -> Array | None:
    """Returns the bias of the keys at these positions."""
    if isinstance(bias, Bias):
        return bias.tile(at, positions)
    return bias[..., positions] if bias is not None and bias.ndim and bias.shape[-1] > 1 else bias


def narrowed(mask: Array | Pattern | None, pattern: Pattern, full: tuple[int, ...]) -> Array | Pattern:
    """Returns a mask that also hides what a pattern hides, for queries at the last of all positions."""
    mask = check_mask(mask, full)
    if isinstance(mask, np.ndarray):
        return mask & pattern.dense(*full[-2:])
    return pattern if mask is None else mask & pattern


def is_learned(option: Any) -> bool:
    """Returns whether an option is, or computes with, something else than plain arrays: a Tensor, which wants gradients.

    The kernels that read pages and codes in place have no backward.

    >>> is_learned(np.ones(3)), is_learned(ScoreRule(lambda s, i, j, p: s, np.ones(3)))
    (False, False)
    """
    if isinstance(option, ScoreRule):
        return any(map(is_learned, option.parameters))
    return hasattr(option.of(np.zeros(1, np.int64)) if isinstance(option, Bias) else option, "value")


def option_of_queries(name: str, option: Any, rows: slice, length: int, full: tuple[int, ...]) -> Any:
    """Returns the part of a chunk's mask, bias or score rule that belongs to some of its queries, at the time of `length` tokens."""
    if isinstance(option, ScoreRule):
        return with_parts(option, lambda x: option_of_queries("a score parameter", x, rows, length, full))
    if not isinstance(option, np.ndarray) or not option.ndim:
        return option
    check_broadcast(name, option.shape, full)
    some = option[..., rows, :] if option.ndim > 1 and option.shape[-2] > 1 else option
    return some[..., :length] if some.shape[-1] > 1 else some
