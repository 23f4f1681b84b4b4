"""Attention whose scores add products with vectors of distances, on plain arrays: what its kernels read, and sums of gradients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.kernels.exact.primitive import Options, scoring
from tinyattn.kernels.exact.scores import Rules
from tinyattn.kernels.exact.tasks import TASKS
from tinyattn.kernels.rows.distant import distant_forward
from tinyattn.kernels.rows.distant_backward import distant_backward
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.listed import LISTS
from tinyattn.kernels.tiles.seen import seen_of
from tinyattn.kernels.tiles.storage import Sizes, filled, padded, sizes_of, work
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array


class Tables(NamedTuple):
    """Tables of vectors (heads, rows, d), of which one may be missing, and the row of each distance, (q_len + kv_len - 1,)."""

    line: Array
    of_query: Array | None
    of_key: Array | None

    def read(self, width: int, like: Array) -> tuple[Array, Array, Array, int]:
        """Returns what the kernels read: rows of distances, both tables flat, and how many rows they have."""
        given = [table for table in (self.of_query, self.of_key) if table is not None]
        rows = max((table.shape[-2] for table in given), default=0)
        flat = [np.zeros(0, like.dtype) if table is None else padded(table, rows, width) for table in (self.of_query, self.of_key)]
        return self.line.astype(np.int64), flat[0], flat[1], rows


class Saved(NamedTuple):
    """What the backward reads."""

    options: Options
    sizes: Sizes
    rules: Rules
    arrays: tuple[Array, ...]
    inputs: tuple[Array, Array, Array, Array]
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    tables: Tables
    sinks: Array | None
    out: Array
    tops: Array
    totals: Array


class Gradients(NamedTuple):
    """The gradients of all that is given; `placed` is that of the queries that meet the table."""

    q: Array
    placed: Array
    k: Array
    v: Array
    of_query: Array | None
    of_key: Array | None
    sinks: Array | None


def fits(q: Array, k: Array, v: Array, options: Options) -> bool:
    """Returns whether the kernels take a call: its mask is no pattern, and its bias needs no gradient."""
    plain = options.mask is None or isinstance(options.mask, np.ndarray)
    return plain and not options.learned and q.size > 0 and k.size > 0 and v.size > 0


def last_of(options: Options, kv_len: int, q_len: int) -> int:
    """Returns the last distance of a visible pair, as far as positions tell."""
    return kv_len + q_len - 2 if options.right is None else min(kv_len - 1 + options.right, kv_len + q_len - 2)


def distant(q: Array, placed: Array, k: Array, v: Array, bias: Array | None, sinks: Array | None, tables: Tables,
            options: Options) -> tuple[Array, Saved]:
    """Returns (out, what the backward reads); `placed` are the queries that meet the table of queries."""
    full, sizes, dtype = (*q.shape[:-1], k.shape[-2]), sizes_of(q, k, v), q.dtype
    rules, *arrays = scoring(options, seen_of(options.mask, options.left, options.right, full, sizes), bias, None, full, dtype)
    parts, (flat_q, flat_k, flat_v) = tuple(arrays[LISTS - 1 :]), filled(q, k, v, sizes)
    inputs = flat_q, flat_q if placed is q else padded(placed, sizes.q_len, sizes.head_width), flat_k, flat_v
    out, tops, totals = pages.empty((*full[:-1], sizes.value_dim), dtype), pages.empty(full[:-1], dtype), pages.empty(full[:-1])
    run(distant_forward, sizes.batch * sizes.heads * -(-sizes.q_len // sizes.q_tile), work(sizes), sizes, rules,
        last_of(options, sizes.kv_len, sizes.q_len), *parts,
        np.zeros(0, dtype) if sinks is None else np.require(sinks, requirements=["C", "W"]), *tables.read(sizes.head_width, q),
        *inputs, out.reshape(-1), tops.reshape(-1), totals.reshape(-1))
    return out, Saved(options, sizes, rules, parts, inputs, (q.shape, k.shape, v.shape), tables, sinks, out, tops, totals)


def distant_gradients(d_out: Array, saved: Saved) -> Gradients:
    """Returns the gradients."""
    sizes, tables, dtype, (of_q, of_k, of_v) = saved.sizes, saved.tables, d_out.dtype, saved.shapes
    blocks = -(-sizes.q_len // sizes.q_tile) * (sizes.heads // sizes.kv_heads)
    splits = max(1, min(-(-TASKS // (sizes.batch * sizes.kv_heads)), blocks))
    copies = min(sizes.batch * splits, -(-TASKS // sizes.kv_heads))
    line, flat_query, flat_key, rows = tables.read(sizes.head_width, d_out)
    d_q, delta = pages.empty(of_q, dtype), pages.empty(of_q[:-1])
    d_placed = pages.empty(of_q if flat_query.size else 0, dtype)
    d_k, d_v = (pages.zeros((splits, *of_k[:-1], width), dtype) for width in (sizes.head_width, sizes.value_width))
    d_tables = [pages.zeros((copies, sizes.heads, rows, sizes.head_width) if flat.size else 0, dtype)
                for flat in (flat_query, flat_key)]
    run(distant_backward, sizes.kv_heads * copies, 3 * work(sizes), splits, copies, sizes, saved.rules,
        last_of(saved.options, sizes.kv_len, sizes.q_len), *saved.arrays, saved.options.scale, line, flat_query, flat_key, rows,
        *saved.inputs, saved.out.reshape(-1), saved.tops.reshape(-1), saved.totals.reshape(-1),
        padded(d_out, sizes.q_len, sizes.value_width), d_q.reshape(-1), d_placed.reshape(-1), d_k.reshape(-1), d_v.reshape(-1),
        delta.reshape(-1), *(d_table.reshape(-1) for d_table in d_tables))
    d_of_query, d_of_key = (None if table is None else summed(d_tables, n)[:, : table.shape[-2], : table.shape[-1]]
                            for n, table in enumerate((tables.of_query, tables.of_key)))
    d_rows = [d_k, d_v]
    del d_k, d_v
    d_sinks = None
    if saved.sinks is not None:
        shift = np.where(np.isneginf(saved.tops), dtype.type(0), saved.tops)
        share = np.exp(saved.sinks[:, None] - shift) / np.where(saved.totals == 0, 1, saved.totals) * delta
        d_sinks = -share.sum(axis=(*range(share.ndim - 2), -1)).astype(dtype)
    d_k, d_v = summed(d_rows, 0)[..., : of_k[-1]], summed(d_rows, 1)[..., : of_v[-1]]
    return Gradients(d_q, d_placed, d_k, d_v, d_of_query, d_of_key, d_sinks)


def summed(copies: list[Array], n: int) -> Array:
    """Returns the sum of the copies copies[n] (copies, ...), which are then gone from the list; of one copy, the copy."""
    found, copies[n] = copies[n], np.zeros(0, copies[n].dtype)
    return found[0] if len(found) == 1 else found.sum(axis=0)
