"""Mesa over two kernels: the regressions of all tokens are solved, and what reads the solutions is linear attention."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.linear.parts import by_parts
from tinyattn.kernels.states.primitive import Saved, decays, flat, sizes_of, states
from tinyattn.kernels.states.regression import regressions
from tinyattn.kernels.states.replay import replayed
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import rows_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.gates import check_log_decay, check_strength, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_ridge, check_sums, solved
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# The matrices of a chunk should stay in the cache of a core: 16 of 64 x 64 channels take 256 KiB in float32.
CHUNK = 16
# Differences of an H from its transpose that count as rounding, in units of it.
ASYMMETRY = 64


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)", "beta": "(j)"}, states=("ridge", "initial_state"))
def mesa(q: Array, k: Array, v: Array, *, log_decay: Array, beta: Array, ridge: Array, scale: float | None = None,
         initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns what a linear map from keys to values, fitted anew at every token to all tokens so far, says of the queries; compiled.

    Formula: out_t = G_t^T x_t with x_t = (H_t + diag(ridge))^-1 scale q_t: simple gated linear attention with x for queries. Only
    x needs H for every token, and its gradient another solution with the same matrices.

    Shapes, options and errors are those of `tinyattn.definitions.mesa`.

    Paper: von Oswald et al. 2025, arXiv:2506.05233.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> mesa(k, k, v, log_decay=np.zeros(2), beta=np.ones(2), ridge=np.array([1e-9])).round(6)
    array([[1.],
           [2.]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape[:-1], k.dtype), check_strength(beta, k.shape[:-1], k.dtype)
    ridge, sums, factor = check_ridge(ridge, k), check_sums(initial_state, k, v), check_scale(scale)
    first_position(q, k)

    def form(_start: int, q: Array, k: Array, v: Array, log_decay: Array, beta: Array, _: None, values: Array, keys: Array,
             ridge: Array) -> Any:
        x, keys = solution(q * factor, k, log_decay, beta, ridge, keys)
        return *states(x, k, v * beta[..., None], log_decay, None, values, 1.0), keys

    # The solutions are read of what a kernel gives.
    out, values, keys = by_parts(form, (q, k, v, log_decay, beta), sums, ridge, outs=True)
    return (out, (values, keys)) if return_state else out


def by_chunks(q: Array, k: Array, log_decay: Array, beta: Array, ridge: Array, keys: Array) -> tuple[Array, Array]:
    """Returns x_t = (H_t + ridge)^-1 q_t of queries (..., heads, i, d) and the last H, from the sum H of k k^T before the first token.

    Any H will do, and all of it can be differentiated; each takes far longer than by Cholesky factors.
    """
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
    return np.concatenate(rows, axis=-2).reshape(q.shape) if rows else np.zeros(q.shape, q.dtype), keys


def by_lanes(q: Array, k: Array, log_decay: Array, beta: Array, ridge: Array, keys: Array) -> tuple[Array, Array] | None:
    """Returns what `by_chunks` does, by Cholesky factors, or None where a matrix has none: it must be symmetric and positive."""
    diagonal = np.abs(np.diagonal(keys, axis1=-2, axis2=-1))
    with np.errstate(all="ignore"):
        # Two ways of summing the same tokens differ by rounding; an H of a caller's own may be anything.
        rounding = ASYMMETRY * np.finfo(keys.dtype).eps * np.sqrt(diagonal[..., None] * diagonal[..., None, :])
        if (np.abs(keys - keys.mT) > rounding).any():
            return None
        initial = (keys + keys.mT) / 2
    sizes = sizes_of(q, k, k)
    segments = max(1, min(sizes.lanes, sizes.q_len))
    tasks = -(-sizes.batch * sizes.kv_heads * segments // sizes.lanes)
    out, last, least = pages.empty(q.shape, q.dtype), pages.empty(keys.shape, q.dtype), np.full(tasks * sizes.lanes, np.inf, q.dtype)
    with np.errstate(under="ignore"):
        run(regressions, tasks, q.size * k.shape[-1] ** 2 // 6, sizes, segments, *rows_of(q), *rows_of(k), decays(log_decay),
            flat(beta), flat(np.diagonal(ridge, axis1=-2, axis2=-1)), flat(initial), out.reshape(-1), last.reshape(-1), least)
    return (out, last) if (least > 0).all() else None


def saved_of(x: Array, _q: Array, *given: Array) -> Any:
    """Returns what the backward reads, from the solutions and the arguments."""
    return x, *given


@once
@primitive
@replayed(itemgetter(0), saved_of)
def solution(q: Array, k: Array, log_decay: Array, beta: Array, ridge: Array, keys: Array) -> tuple[tuple[Array, Array], Any]:
    """Returns what `by_chunks` does."""
    given = k, log_decay, beta, ridge, keys
    x, last = by_lanes(q, *given) or by_chunks(q, *given)
    return (x, last), (x, *given)


@solution.backward
def _(d_outs: tuple[Array, Array], saved: Any) -> dict[str, Array | None]:
    (d_x, d_last), (x, k, log_decay, beta, ridge, keys) = d_outs, saved
    # With the transposed matrices, made anew: they would take d times the memory of the keys.
    given = k, log_decay, beta, ridge, keys.mT
    d_q, _ = by_lanes(d_x, *given) or by_chunks(d_x, *given)
    # The gradient of H_t is -d_q_t x_t^T. It flows as if linear attention had given H_t x_t, and -d_q_t were the gradient of that.
    # The kernel reads S^T x, so S is the transpose of H: H is symmetric, but its gradient, entry by entry, is not.
    weighed = k * beta[..., None]
    flows = states.pulled((-d_q, d_last.mT), Saved(sizes_of(x, k, k), 1.0, (x, weighed, k), log_decay, None, keys.mT, None))
    d_ridge = -np.sum(split_group(d_q * x, k.shape[-3]), axis=(-3, -2))
    return {"q": d_q, "k": flows["k"] * beta[..., None] + flows["v"], "log_decay": flows["log_decay"],
            "beta": np.vecdot(flows["k"], k), "keys": flows["state"].mT,
            "ridge": d_ridge.sum(axis=tuple(range(d_ridge.ndim - 2)))[..., None] * np.eye(k.shape[-1], dtype=k.dtype)}
