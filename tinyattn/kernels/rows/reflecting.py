"""Attention whose tokens reflect the queries, on plain arrays: what its kernels read and keep, and sums of gradients."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.rows.reflect import reflections
from tinyattn.kernels.rows.reflect_backward import reflect_backward
from tinyattn.kernels.rows.reflect_forward import reflect_forward
from tinyattn.kernels.rows.reflect_slopes import reflection_slopes
from tinyattn.kernels.rows.reflect_tiles import Reflecting
from tinyattn.kernels.tiles import lanes, pages
from tinyattn.kernels.tiles.storage import padded, rounded_up
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array

# Tokens of a chunk: a tile of queries, of keys, and one triangular system.
CHUNK = 64
# Chunks that later queries pass by one product, at least; more where the backward would keep the queries of more than so many steps.
TOGETHER, MOST_STEPS = 4, 256
# Splits of the chunks of queries, each with copies of the gradients: fixed, so that the sums are taken in one order everywhere.
# With 4 one head of 2,048 tokens of width 16 took 18 MiB, more than its 2,048 x 2,048 scores would.
TASKS = 2


class Saved(NamedTuple):
    """What the backward reads."""

    sizes: Reflecting
    factor: Any
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    begin: int
    tokens: tuple[Array, ...]
    made: dict[str, Array]
    gates: tuple[Array, Array, Array]
    out: Array
    tops: Array
    totals: Array


def reflected(q: Array, k: Array, v: Array, w: Array, beta: Array, gates: Array | None, scale: float) -> tuple[Array, Saved]:
    """Returns (out, what the backward reads); q, k and v must be finite."""
    sizes, dtype = sizes_of(q, k, v), q.dtype
    begin, rows = (k.shape[-2] - q.shape[-2]) % CHUNK, sizes.blocks * CHUNK
    length, kv_heads = sizes.chunks * CHUNK, sizes.heads // sizes.groups
    tokens = (in_chunks(q, begin, rows, sizes.head_width), padded(k, length, sizes.head_width), padded(v, length, sizes.value_width),
              padded(w, length, sizes.head_width), padded(beta[..., None], length, 1))
    steps, square, turn = -(-sizes.chunks // sizes.together), CHUNK * CHUNK, sizes.head_width**2
    count = kv_heads * sizes.chunks
    made = {name: pages.empty(size, dtype) for name, size in (
        ("inverse", count * square), ("taking", count * square), ("lower", count * square), ("near", tokens[1].size),
        ("far", tokens[1].size), ("turns", count * turn), ("turns_t", count * turn), ("passes", count * turn),
        ("far_turns", kv_heads * steps * turn), ("far_turns_t", kv_heads * steps * turn))}
    run(reflections, kv_heads * steps, 8 * count * CHUNK * turn, sizes, tokens[1], *tokens[3:], *made.values())
    out = pages.empty(sizes.heads * rows * sizes.value_width, dtype)
    tops, totals = pages.empty(sizes.heads * rows, dtype), pages.empty(sizes.heads * rows)
    factor, logs = dtype.type(scale), in_float64(gates, length)
    run(reflect_forward, sizes.heads * sizes.blocks, work(sizes), sizes, factor, *tokens[:4],
        *(made[name] for name in ("taking", "lower", "near", "far", "turns", "far_turns")), *logs, out, tops, totals)
    shown = out.reshape(*q.shape[:-2], rows, sizes.value_width)[..., begin : begin + q.shape[-2], : v.shape[-1]]
    return np.ascontiguousarray(shown), Saved(sizes, factor, (q.shape, k.shape, v.shape), begin, tokens, made, logs, out, tops, totals)


def reflected_gradients(d_out: Array, saved: Saved) -> dict[str, Array | None]:
    """Returns the gradients by argument; first, second and third are w, beta and the gates."""
    sizes, made, (of_q, of_k, of_v), dtype = saved.sizes, saved.made, saved.shapes, d_out.dtype
    kv_heads, rows, length = sizes.heads // sizes.groups, sizes.blocks * CHUNK, sizes.chunks * CHUNK
    splits = max(1, min(-(-TASKS // kv_heads), sizes.blocks * sizes.groups))
    q, k, v, w, beta = saved.tokens
    like = {"k": k, "v": v, "w": w, **{name: made[name] for name in ("taking", "lower", "near", "far", "turns", "far_turns")}}
    d = {name: pages.zeros((splits, x.size), dtype) for name, x in like.items()}
    d_q, d_sums = pages.empty(q.shape, q.dtype), pages.zeros((splits, saved.gates[0].size))
    names = ("taking", "lower", "near", "far", "turns", "turns_t", "far_turns", "far_turns_t")
    run(reflect_backward, kv_heads * splits, 3 * work(sizes), splits, sizes, saved.factor, q, k, v, w, *(made[n] for n in names),
        *saved.gates, saved.out, saved.tops, saved.totals, in_chunks(d_out, saved.begin, rows, sizes.value_width), d_q,
        *(x.reshape(-1) for x in d.values()), d_sums.reshape(-1))
    total = {name: x[0] if splits == 1 else x.sum(axis=0) for name, x in d.items()}
    d_beta = np.zeros_like(beta)
    run(reflection_slopes, kv_heads * -(-sizes.chunks // sizes.together), 16 * kv_heads * length * sizes.head_width**2, sizes, k, w,
        beta, *(made[n] for n in ("inverse", "taking", "lower", "near", "turns_t", "passes")), total["k"], total["w"], d_beta,
        *(total[n] for n in ("taking", "lower", "near", "far", "turns", "far_turns")))
    gradients: dict[str, Array | None] = {
        "q": whole(d_q, of_q, rows, saved.begin), "k": whole(total["k"], of_k, length), "v": whole(total["v"], of_v, length),
        "first": whole(total["w"], of_k, length), "second": whole(d_beta, (*of_k[:-1], 1), length)[..., 0]}
    if saved.gates[0].size:
        slopes = np.flip(np.cumsum(np.flip(d_sums.sum(axis=0).reshape(*of_q[:-2], length), axis=-1), axis=-1), axis=-1)
        gradients["third"] = slopes[..., : of_k[-2]].copy()
    return gradients


def sizes_of(q: Array, k: Array, v: Array) -> Reflecting:
    """Returns the sizes of a call on (..., heads, length, dim) arrays."""
    micro, chunks = lanes.columns(q.dtype.itemsize), -(-k.shape[-2] // CHUNK)
    return Reflecting(math.prod(q.shape[:-2]), q.shape[-3] // k.shape[-3], chunks, chunks - (k.shape[-2] - q.shape[-2]) // CHUNK,
                      max(TOGETHER, -(-chunks // MOST_STEPS)), CHUNK, rounded_up(q.shape[-1], micro), rounded_up(v.shape[-1], micro),
                      micro, lanes.lanes(q.dtype.itemsize))


def work(sizes: Reflecting) -> int:
    """Returns the multiply-adds of a forward over all tiles that are seen."""
    tiles = sizes.blocks * (sizes.chunks - sizes.blocks) + sizes.blocks * (sizes.blocks + 1) // 2
    return sizes.heads * tiles * CHUNK * CHUNK * (sizes.head_width + sizes.value_width)


def in_chunks(x: Array, begin: int, rows: int, width: int) -> Array:
    """Returns rows (..., length, dim) flat, `begin` rows of zeros before them and others behind, up to (rows, width) of each head."""
    if begin == 0:
        return padded(x, rows, width)
    whole_rows = np.zeros((*x.shape[:-2], rows, width), x.dtype)
    whole_rows[..., begin : begin + x.shape[-2], : x.shape[-1]] = x
    return whole_rows.reshape(-1)


def whole(x: Array, shape: tuple[int, ...], rows: int, begin: int = 0) -> Array:
    """Returns the part of a padded array that the caller gave, in an array of its own."""
    return np.ascontiguousarray(x.reshape(*shape[:-2], rows, -1)[..., begin : begin + shape[-2], : shape[-1]])


def in_float64(gates: Array | None, length: int) -> tuple[Array, Array, Array]:
    """Returns the finite log gates, their sums over all chunks before a chunk, and the running counts of gates of -inf; all flat."""
    if gates is None:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
    padded_gates = np.pad(gates.astype(np.float64), [(0, 0)] * (gates.ndim - 1) + [(0, length - gates.shape[-1])])
    closed = np.isneginf(padded_gates)
    logs = np.where(closed, 0.0, padded_gates)
    of_chunks = logs.reshape(*logs.shape[:-1], length // CHUNK, CHUNK).sum(axis=-1)
    before = np.cumsum(of_chunks, axis=-1)
    before[..., 1:], before[..., :1] = before[..., :-1].copy(), 0.0
    return logs.reshape(-1), before.reshape(-1), np.cumsum(closed, axis=-1, dtype=np.int64).reshape(-1)
