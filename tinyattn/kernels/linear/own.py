"""What each token reads of itself, added to what it reads of the past: in blocks of tokens that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.replay import replayed
from tinyattn.kernels.tiles.rows import again
from tinyattn.ops.heads import split_group
from tinyattn.ops.types import Array

# Numbers of one array in a block. Measured: a quarter takes 1.5 times as long, whole arrays 1.2 times.
BLOCK = 1 << 16


def blocks(x: Array) -> Iterator[slice]:
    """Yields slices of the tokens of x (..., length, width)."""
    length = x.shape[-2]
    step = max(1, BLOCK * length // max(x.size, 1))
    return (slice(start, start + step) for start in range(0, length, step))


def own_in_numpy(read: Array, before: Array, q: Array, k: Array, v: Array, bonus: Array) -> Array:
    """Returns the same by functions that have rules."""
    own = np.sum(split_group(q, k.shape[-3]) * (k * bonus[..., None, :])[..., None, :, :], axis=-1, keepdims=True)
    mine = own * v[..., None, :, :]
    return np.concatenate((before, read), axis=-2)[..., : q.shape[-2], :] + mine.reshape(*q.shape[:-1], v.shape[-1])


def saved_of(_: Any, read: Array, before: Array, *given: Array) -> Any:
    """Returns what the backward reads: a shape, the number of rows before, and the arguments."""
    return read.shape, before.shape[-2], *given


@again(own_in_numpy)
@primitive
@replayed(lambda saved: None, saved_of)
def with_own(read: Array, before: Array, q: Array, k: Array, v: Array, bonus: Array) -> tuple[Array, Any]:
    """Returns (out, what the backward reads): the rows of `before` and then of `read`, plus (q_i . bonus k_i) v_i.

    q (..., heads, i, d), k (..., kv_heads, i, d), v (..., kv_heads, i, e), bonus (kv_heads, d), before (..., heads, 0 or 1, e), and
    read (..., heads, n, e), of which those rows are read that it takes.
    """
    out, first = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype), before.shape[-2]
    queries, outs = split_group(q, k.shape[-3]), split_group(out, k.shape[-3])
    past = split_group(read, k.shape[-3])
    outs[..., :first, :] = split_group(before, k.shape[-3])
    outs[..., first:, :] = past[..., : q.shape[-2] - first, :]
    for part in blocks(q):
        keys, values = (k[..., part, :] * bonus[:, None, :])[..., None, :, :], v[..., None, part, :]
        outs[..., part, :] += np.einsum("...id,...id->...i", queries[..., part, :], keys)[..., None] * values
    return out, saved_of(None, read, before, q, k, v, bonus)


@with_own.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    shape, first, q, k, v, bonus = saved
    d_read, d_bonus = np.zeros(shape, q.dtype), np.zeros(bonus.shape, q.dtype)
    d_q, d_k, d_v = (np.empty(x.shape, q.dtype) for x in (q, k, v))
    d_read[..., : q.shape[-2] - first, :] = d_out[..., first:, :]
    queries, d_queries, d_outs = (split_group(x, k.shape[-3]) for x in (q, d_q, d_out))
    for part in blocks(q):
        asked, given, each = queries[..., part, :], d_outs[..., part, :], bonus[:, None, :]
        keys, values = (k[..., part, :] * each)[..., None, :, :], v[..., None, part, :]
        d_mine = np.einsum("...ie,...ie->...i", given, values)
        np.multiply(d_mine[..., None], keys, out=d_queries[..., part, :])
        asks = np.einsum("...gi,...gid->...id", d_mine, asked)
        np.multiply(asks, each, out=d_k[..., part, :])
        of_part = np.einsum("...id,...id->...d", asks, k[..., part, :])
        d_bonus += of_part.sum(axis=tuple(range(of_part.ndim - bonus.ndim)))
        d_v[..., part, :] = np.einsum("...gi,...gie->...ie", np.einsum("...id,...id->...i", asked, keys), given)
    return {"read": d_read, "before": d_out[..., :first, :].copy(), "q": d_q, "k": d_k, "v": d_v, "bonus": d_bonus}
