"""Mesa over the kernel of states: the regressions of a chunk of tokens are solved at once, and what reads them is linear attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.primitive import states
from tinyattn.kernels.tiles.once import once
from tinyattn.ops.gates import check_log_decay, check_strength, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_ridge, check_sums, solved
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# The matrices of a chunk should stay in the cache of a core: 16 of 64 x 64 channels take 256 KiB in float32.
CHUNK = 16


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)", "beta": "(j)"}, states=("ridge", "initial_state"))
def mesa(q: Array, k: Array, v: Array, *, log_decay: Array, beta: Array, ridge: Array, scale: float | None = None,
         initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns what a linear map from keys to values, fitted anew at every token to all tokens so far, says of the queries; compiled.

    Formula: out_t = G_t^T x_t with x_t = (H_t + diag(ridge))^-1 scale q_t: simple gated linear attention with x for queries. Only
    x needs H for every token, a chunk at a time, and its gradient another solution with the same matrices.

    Shapes, options and errors are those of `tinyattn.definitions.mesa`.

    Paper: von Oswald et al. 2025, arXiv:2506.05233.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> mesa(k, k, v, log_decay=np.zeros(2), beta=np.ones(2), ridge=np.array([1e-9])).round(6)
    array([[1.],
           [2.]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape[:-1], k.dtype), check_strength(beta, k.shape[:-1], k.dtype)
    ridge, (values, keys) = check_ridge(ridge, k), check_sums(initial_state, k, v)
    first_position(q, k)
    asked, given = q * check_scale(scale), (k, log_decay, beta, ridge, keys)
    x, weighed = solution(asked, *given), beta[..., None]
    # H x is linear attention too. What it lacks to q is 0, but has the gradients of all that H is made of.
    # The kernel reads S^T x, so S is the transpose of H: H is symmetric, but its gradient, entry by entry, is not.
    summed, turned = states(x, k * weighed, k, log_decay, None, keys.mT, 1.0)
    damped = (split_group(x, k.shape[-3]) @ ridge[:, None, :, :]).reshape(x.shape)
    out, values = states(corrected(asked - summed - damped, x, *given), k, v * weighed, log_decay, None, values, 1.0)
    return (out, (values, turned.mT)) if return_state else out


def by_chunks(q: Array, k: Array, log_decay: Array, beta: Array, ridge: Array, keys: Array) -> Array:
    """Returns x_t = (H_t + ridge)^-1 q_t of queries (..., heads, i, d), from the sum H of k k^T before the first token."""
    # In a product of a chunk 0 times NaN would reach tokens before the NaN.
    size, rows, width, first = CHUNK if np.isfinite(k).all() else 1, [], k.shape[-1], k.shape[-2] - q.shape[-2]
    queries = split_group(q, k.shape[-3])
    for start in range(0, k.shape[-2], size):
        told, lag = k[..., start : start + size, :], max(0, first - start)
        since = np.exp(np.cumsum(log_decay[..., start : start + size], axis=-1))[..., None]
        weigh = decays_between(log_decay[..., start : start + size, None])[..., 0] * beta[..., None, start : start + size]
        if lag < told.shape[-2]:
            squares = (told[..., :, None] * told[..., None, :]).reshape(*told.shape[:-1], width * width)
            summed = (weigh[..., lag:, :] @ squares).reshape(*told.shape[:-2], told.shape[-2] - lag, width, width)
            summed = summed + since[..., lag:, :, None] * keys[..., None, :, :] + ridge[..., None, :, :]
            asked = queries[..., max(0, start - first) : max(0, start + size - first), :]  # (..., kv_heads, groups, i, d)
            rows.append(np.moveaxis(solved(summed, np.moveaxis(asked, -3, -1)), -1, -3))
        keys = since[..., -1:, :] * keys + (weigh[..., -1, :, None] * told).mT @ told
    return np.concatenate(rows, axis=-2).reshape(q.shape) if rows else np.zeros(q.shape, q.dtype)


@once
@primitive
def solution(q: Array, k: Array, log_decay: Array, beta: Array, ridge: Array, keys: Array) -> tuple[Array, None]:
    """Returns `by_chunks` as a constant."""
    return by_chunks(q, k, log_decay, beta, ridge, keys), None


@solution.backward
def _(d_x: Array, saved: None) -> dict[str, Array]:
    return {}


@once
@primitive
def corrected(lack: Array, x: Array, k: Array, log_decay: Array, beta: Array, ridge: Array, keys: Array) -> tuple[Array, Any]:
    """Returns x + (H + ridge)^-1 lack, for a lack of 0."""
    return x.copy(), (k, log_decay, beta, ridge, keys.mT)


@corrected.backward
def _(d_x: Array, saved: Any) -> dict[str, Array]:
    # With the transposed matrices, made anew: they would take d times the memory of the keys.
    return {"lack": by_chunks(d_x, *saved)}


def corrected_by_chunks(lack: Array, x: Array, *given: Array) -> Array:
    """Returns what `corrected` does, with all derivatives."""
    return x + by_chunks(lack, *given)
