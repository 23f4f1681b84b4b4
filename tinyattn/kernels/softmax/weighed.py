"""Attention whose weights are not a softmax: a block of rows at a time in NumPy, so that memory grows with the keys of one block."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact.primitive import Options, blank_hidden
from tinyattn.kernels.rows.few import Few
from tinyattn.kernels.softmax.row_blocks import blocks, tasks, widened
from tinyattn.kernels.softmax.row_scores import Call, Scores, columns, fold, pairs, valued
from tinyattn.kernels.tiles.blas import each_multiplying
from tinyattn.kernels.tiles.rows import again
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import band
from tinyattn.ops.options import blank_unseen, visible_keys
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.types import Array

# Of so many keys of a block at most one may have a weight for the others to be left out of the products.
FEW = 8


class Weighing(NamedTuple):
    """How scores (heads, rows, keys), -inf where hidden, become weights.

    `plain(scores)` gives (weights, rest) by functions that have rules, rest one number per row. `form(scores, skip)` gives the same
    of plain arrays and `backward(scores, rest, d_weights, d_rest, skip)` the weights and the gradient of the scores, where
    `d_weights(low)` gives the gradient of the weights of the keys from `low` on; both may write over scores and d_weights. With
    `skip` what they return may be of the last keys only, if none before these has a weight. The rest may also be what the backward
    needs of a row and no caller sees: then no gradient of it comes. `few(scores)` gives, in their place, the keys that have a weight
    with their weights and with the slopes of these, up to a factor per row; None from a weighing that gives all keys one.
    """

    plain: Callable[[Array], tuple[Array, Array]]
    form: Callable[[Array, bool], tuple[Array, Array]]
    backward: Callable[[Array, Array, Callable[[int], Array], Array, bool], tuple[Array, Array]]
    few: Callable[[Array], tuple[Few, Few] | None] = lambda scores: None


def weighed(q: Array, k: Array, v: Array, bias: Array | None, weighing: Weighing, options: Options) -> tuple[Array, Array]:
    """Returns (out, rest) by weights of this kind, of which a bias that is learned makes the whole square exist."""
    learned = bias is not None and not isinstance(bias, np.ndarray)
    whole = learned or not (q.size and k.size and v.size)
    return (weighed_in_numpy if whole else weighed_by_rows)(q, k, v, bias, weighing, options)


def weighed_in_numpy(q: Array, k: Array, v: Array, bias: Array | Bias | None, weighing: Weighing,
                     options: Options) -> tuple[Array, Array]:
    """Returns `weighed_by_rows` by functions that have rules."""
    return weighed_by_rules(q, k, v, bias, weighing.plain, options)


def weighed_by_rules(q: Array, k: Array, v: Array, bias: Array | Bias | None, plain: Callable[[Array], tuple[Array, Array]],
                     options: Options) -> tuple[Array, Array]:
    """Returns (out, rest) of weights that functions with rules make of the scores (heads, rows, keys), -inf where hidden."""
    full = (*q.shape[:-1], k.shape[-2])
    q_len, kv_len = full[-2:]
    # A band may end before a query's own position, which no window does.
    near = band(np.arange(kv_len - q_len, kv_len)[:, None], np.arange(kv_len), options.left, options.right)
    shown = visible_keys(options.mask, False, None, full)
    visible = near if shown is None else near & shown
    q, k, v = blank_unseen(q, k, v, visible)
    scores = scores_of(q, k, scale=options.scale, softcap=options.softcap, bias=bias, visible=visible)
    weights, rest = plain(scores)
    return weighted_values(weights, v), rest


@again(weighed_in_numpy)
@primitive
def weighed_by_rows(q: Array, k: Array, v: Array, bias: Array | None, weighing: Weighing,
                    options: Options) -> tuple[tuple[Array, Array], Any]:
    """Returns ((out, rest), what the backward reads) of plain arrays."""
    full = (*q.shape[:-1], k.shape[-2])
    q, k, v = blank_hidden(q, k, v, options, full)
    bias, mask = widened(bias, full), widened(options.mask, full) if isinstance(options.mask, np.ndarray) else options.mask
    call = Call(Scores, mask, options.left, options.right, options.scale, options.softcap, learned=False)
    out, rest, every = np.zeros((*full[:-1], v.shape[-1]), q.dtype), np.zeros(full[:-1], q.dtype), tasks(q, k, together=False)

    def run(n: int) -> None:
        head, kv_head = every[n].places()
        scores, values = Scores(q[head], k[kv_head], (), call), v[kv_head]
        skip = all_finite(q[head], k[kv_head], values)
        for rows, keys, _, shown in blocks(every[n], scores, call, bias, full):
            found = weighing.few(shown)
            if found is None:
                weights, rest[head][:, rows] = weighing.form(shown, skip)
                out[head][:, rows] = valued(weights, values[:, last(keys, weights)])
                continue
            # Each row for itself: later keys, of which other rows see some, change no bit of it.
            few = found[0].counts() * FEW <= shown.shape[-1] if skip else np.zeros(math.prod(shown.shape[:2]), np.bool_)
            made = out[head][:, rows]
            if not few.all():
                made[...] = valued(found[0].dense(shown.shape), values[:, keys])
            if few.any():
                gathered = found[0].of_rows(few).gathered(values[0, keys]).reshape(made.shape)
                np.copyto(made, gathered, where=few.reshape(*shown.shape[:2], 1))

    with np.errstate(all="ignore"):
        each_multiplying(run, len(every), out.size * full[-1])
    return (out, rest), (q, k, v, bias, rest, weighing, call)


@weighed_by_rows.backward
def _(d_outs: tuple[Array, Array], saved: Any) -> dict[str, Array]:
    (d_out, d_rest), (q, k, v, bias, rest, weighing, call) = d_outs, saved
    full, every = (*q.shape[:-1], k.shape[-2]), tasks(q, k, together=False)
    d_q, d_k, d_v = np.zeros_like(q), np.zeros_like(k), np.zeros(v.shape, v.dtype)

    def run(n: int) -> None:
        head, kv_head = every[n].places()
        scores, values, d_values = Scores(q[head], k[kv_head], (), call), v[kv_head], d_v[kv_head]
        turned, d_keys = columns(values), np.zeros(k.shape[-2:], k.dtype)
        skip = all_finite(q[head], k[kv_head], values, d_out[head])
        for rows, keys, capped, shown in blocks(every[n], scores, call, bias, full):
            given = d_out[head][:, rows]
            found = weighing.few(shown)
            if found is not None and skip and found[0].numbers.size * FEW <= shown.size:
                one = fold(given, 1)[0]
                found[0].scatter(one, d_values[0, keys])
                d_few = found[1].pulled(one, values[0, keys])
                if call.softcap is not None:
                    d_few = d_few.times(1 - (capped.reshape(-1)[d_few.places(capped.shape[-1])] / call.softcap) ** 2)
                scale = q.dtype.type(call.scale)
                scores.d_q[:, rows] += d_few.gathered(scores.k[0, keys]).reshape(*shown.shape[:2], -1) * scale
                d_few.scatter(fold(scores.q[:, rows], 1)[0] * scale, d_keys[keys])
                continue
            if found is None:
                weights, d_scores = weighing.backward(
                    shown, rest[head][:, rows], lambda low, at=keys, d=given: pairs(d, turned[..., at.start + low : at.stop]),
                    d_rest[head][:, rows], skip)
            else:
                weights, slopes = (part.dense(shown.shape) for part in found)
                d_scores = pulled(slopes, pairs(given, turned[..., keys]))
            keys = last(keys, weights)
            d_values[:, keys] += fold(weights, len(values)).mT @ fold(given, len(values))
            if call.softcap is not None:
                d_scores *= 1 - (capped[..., capped.shape[-1] - weights.shape[-1] :] / call.softcap) ** 2
            scores.pull(rows, keys, d_scores)
        d_q[head], d_k[kv_head] = scores.d_q, scores.d_k + d_keys

    with np.errstate(all="ignore"):
        each_multiplying(run, len(every), d_out.size * full[-1])
    return {"q": d_q, "k": d_k, "v": d_v}


def pulled(slopes: Array, d_weights: Array) -> Array:
    """Returns the gradient of the scores of weights that sum to 1 and have these slopes, up to a factor; writes over d_weights."""
    total = slopes.sum(axis=-1)
    d_weights -= (np.vecdot(slopes, d_weights) / np.where(total == 0, 1, total))[..., None]
    d_weights *= slopes
    return d_weights


def last(keys: slice, weights: Array) -> slice:
    """Returns the last of the keys, as many as there are weights."""
    return slice(keys.stop - weights.shape[-1], keys.stop)


def all_finite(*arrays: Array) -> bool:
    """Returns whether all numbers are finite, so that a weight of 0 can be left out of a product; False also where sums overflow."""
    return all(bool(np.isfinite(x.sum())) for x in arrays)
