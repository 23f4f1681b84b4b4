"""Linear attention: with a feature map in the place of exp, the keys fold into one matrix and are forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.features import elu_plus_one
from tinyattn.ops.heads import fold_group, split_group, unfold_group
from tinyattn.ops.linear_options import check_state, linear_scale, positive_int, same_or_later
from tinyattn.ops.signature import mapped, shapes
from tinyattn.ops.types import Array

FeatureMap = Callable[[Array], Array] | None
State = Any


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def linear_attention_parallel(q: Array, k: Array, v: Array, *, feature_map: FeatureMap = elu_plus_one,
                              normalize: bool = True, causal: bool = False, scale: float | None = None,
                              initial_state: State = None, return_state: bool = False) -> Any:
    """Returns for every query the mean of the values, weighted by the product of features of query and key.

    Formula: w_ij = scale f(q_i) . f(k_j), out_i = sum_j w_ij v_j / sum_j w_ij, over j <= i if causal; without the
    division if not `normalize`. A row of total weight 0 gives 0. State: S = sum_j f(k_j) v_j^T, z = sum_j f(k_j).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e). The state is
    S (..., kv_heads, features, e), with `normalize` the pair (S, z), z (..., kv_heads, features).

    Args:
        q: queries.
        k: keys.
        v: values.
        feature_map: applied to q and k; None if they are features already.
        normalize: divide by the total weight.
        causal: a query sees no later key; q_len <= kv_len, the last query stands at the last key.
        scale: factor of the weights; None is 1.
        initial_state: what earlier tokens left; every query sees it.
        return_state: give (out, state after all keys).

    Raises:
        ValueError: q_len above kv_len when causal, a state of another shape; otherwise as `attention`.

    Paper: Katharopoulos et al. 2020, arXiv:2006.16236.

    >>> k = np.zeros((2, 1)); v = np.array([[1.0], [3.0]])
    >>> linear_attention_parallel(k, k, v, causal=True)
    array([[1.],
           [2.]])
    """
    state = check_state(initial_state, q, k, v, feature_map, normalize)
    q, k = features(q, k, feature_map, scale)
    heads, kv_heads = q.shape[-3], k.shape[-3]
    weights = unfold_group(fold_group(q, kv_heads) @ k.mT, heads)
    if causal:
        weights = np.tril(weights, same_or_later(q, k))
    out = fold_group(weights, kv_heads) @ v
    total = np.sum(weights, axis=-1, keepdims=True)
    if state is not None:
        out = out + fold_group(q, kv_heads) @ state[0]
        total = total + unfold_group(fold_group(q, kv_heads) @ state[1][..., None], heads)
    out = unfold_group(out, heads)
    if normalize:
        out = out / np.where(total == 0, 1.0, total)
    if not return_state:
        return out
    summed, norm = k.mT @ v, np.sum(k, axis=-2)
    if state is not None:
        summed, norm = state[0] + summed, state[1] + norm
    return out, (summed, norm) if normalize else summed


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def linear_attention_recurrent(q: Array, k: Array, v: Array, *, feature_map: FeatureMap = elu_plus_one,
                               normalize: bool = True, causal: bool = False, scale: float | None = None,
                               initial_state: State = None, return_state: bool = False) -> Any:
    """Returns linear attention read from a state that takes in one token at a time.

    Formula: S_t = S_{t-1} + f(k_t) v_t^T, z_t = z_{t-1} + f(k_t), out_t = S_t^T f(q_t) / (z_t . f(q_t)): the token is
    written before it is read, so that it sees itself. Not causal: every query reads the last state.

    Shapes: as `linear_attention_parallel`.

    Raises:
        TypeError, ValueError: as `linear_attention_parallel`.

    Paper: Katharopoulos et al. 2020, arXiv:2006.16236.

    >>> k = np.zeros((2, 1)); v = np.array([[1.0], [3.0]])
    >>> linear_attention_recurrent(k, k, v, causal=True)
    array([[1.],
           [2.]])
    """
    state = check_state(initial_state, q, k, v, feature_map, normalize)
    q, k = features(q, k, feature_map, scale)
    kv_heads, q_len, kv_len = k.shape[-3], q.shape[-2], k.shape[-2]
    queries = split_group(q, kv_heads)  # (..., kv_heads, groups, i, f)
    first = same_or_later(q, k) if causal else 0
    summed, norm = empty_state(k, v) if state is None else state
    rows = []
    for t in range(kv_len):
        key, value = k[..., t, :], v[..., t, :]
        summed, norm = summed + key[..., :, None] * value[..., None, :], norm + key
        if causal and t >= first:
            rows.append(read(queries[..., t - first, :], summed, norm, normalize))
    if not causal:
        rows = [read(queries[..., i, :], summed, norm, normalize) for i in range(q_len)]
    shape = (*q.shape[:-1], v.shape[-1])
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, (summed, norm) if normalize else summed) if return_state else out


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def linear_attention_chunked(q: Array, k: Array, v: Array, *, feature_map: FeatureMap = elu_plus_one,
                             normalize: bool = True, causal: bool = False, scale: float | None = None,
                             initial_state: State = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns linear attention, parallel within chunks and recurrent between them.

    Formula, for a chunk with queries Q, keys K (features applied), values V and the state S before it:
    O = Q S + tril(Q K^T) V, S' = S + K^T V; the total weights likewise with a column of ones for V.

    Shapes: as `linear_attention_parallel`; the length need not divide by `chunk`, and `chunk` changes nothing.

    Raises:
        TypeError, ValueError: as `linear_attention_parallel`; chunk below 1.

    Paper: Katharopoulos et al. 2020, arXiv:2006.16236; chunks: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.zeros((2, 1)); v = np.array([[1.0], [3.0]])
    >>> linear_attention_chunked(k, k, v, causal=True, chunk=1)
    array([[1.],
           [2.]])
    """
    chunk = positive_int("chunk", chunk)
    state = check_state(initial_state, q, k, v, feature_map, normalize)
    q, k = features(q, k, feature_map, scale)
    kv_heads, q_len, kv_len = k.shape[-3], q.shape[-2], k.shape[-2]
    first = same_or_later(q, k) if causal else 0
    summed, norm = empty_state(k, v) if state is None else state
    shape, outs = (*q.shape[:-1], v.shape[-1]), []
    if causal and first:
        summed, norm = summed + k[..., :first, :].mT @ v[..., :first, :], norm + np.sum(k[..., :first, :], axis=-2)
    for start in range(first, kv_len, chunk) if causal else ():
        stop = min(start + chunk, kv_len)
        keys, values = k[..., start:stop, :], v[..., start:stop, :]
        rows = split_group(q[..., start - first : stop - first, :], kv_heads)
        inside = np.tril(rows @ keys[..., None, :, :].mT)
        total = np.sum(inside, axis=-1) + (rows @ norm[..., None, :, None])[..., 0]
        out = inside @ values[..., None, :, :] + rows @ summed[..., None, :, :]
        outs.append(divide(out, total, normalize))
        summed, norm = summed + keys.mT @ values, norm + np.sum(keys, axis=-2)
    if not causal:
        for start in range(0, kv_len, chunk):
            keys, values = k[..., start : start + chunk, :], v[..., start : start + chunk, :]
            summed, norm = summed + keys.mT @ values, norm + np.sum(keys, axis=-2)
        for start in range(0, q_len, chunk):
            rows = split_group(q[..., start : start + chunk, :], kv_heads)
            outs.append(divide(rows @ summed[..., None, :, :], (rows @ norm[..., None, :, None])[..., 0], normalize))
    out = np.concatenate(outs, axis=-2).reshape(shape) if outs else np.zeros(shape, q.dtype)
    return (out, (summed, norm) if normalize else summed) if return_state else out


linear_attention = linear_attention_parallel


def features(q: Array, k: Array, feature_map: FeatureMap, scale: float | None) -> tuple[Array, Array]:
    """Returns f(q) scale and f(k)."""
    factor = linear_scale(scale)
    if feature_map is not None:
        q, k = mapped("feature_map", feature_map, q), mapped("feature_map", feature_map, k)
    return (q if factor == 1.0 else q * factor), k


def empty_state(k: Array, v: Array) -> tuple[Array, Array]:
    """Returns the state before any token: S and z of zeros."""
    summed = np.zeros((*k.shape[:-2], k.shape[-1], v.shape[-1]), k.dtype)
    return summed, np.zeros((*k.shape[:-2], k.shape[-1]), k.dtype)


def read(query: Array, summed: Array, norm: Array, normalize: bool) -> Array:
    """Returns what one query (..., kv_heads, groups, f) reads from a state."""
    out = np.einsum("...gf,...fe->...ge", query, summed)
    return divide(out, np.einsum("...gf,...f->...g", query, norm), normalize)


def divide(out: Array, total: Array, normalize: bool) -> Array:
    """Returns out divided by its row totals, 0 where a total is 0; out itself if not `normalize`."""
    return out / np.where(total == 0, 1.0, total)[..., None] if normalize else out
