"""Disentangled attention: products with the tables are read along diagonals in tiles, or gathered by rows of queries."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinyattn.kernels.rows import distances
from tinyattn.kernels.softmax.by_rows import by_rows
from tinyattn.kernels.softmax.row_scores import Call, Scores, Tiled
from tinyattn.kernels.tiles.seen import without_hidden
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_scale
from tinyattn.ops.relation_arguments import check_distance, narrowed
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def disentangled_attention(q: Array, k: Array, v: Array, *, q_relative: Array | None = None, k_relative: Array | None = None,
                           distance: Array, mask: Array | Pattern | None = None, bias: Array | Bias | None = None,
                           causal: bool = False, window: Window | None = None, scale: float | None = None,
                           softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention whose scores add the products of the query and of the key with vectors of their distance, by rows of queries.

    Formula: s_ij = cap(scale (q_i . k_j + q_i . k_relative[n_ij] + k_j . q_relative[n_ij])) + bias_ij, n = distance,
    scale = (terms d)^-1/2.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), q_relative and k_relative (heads, rows, d),
    distance (i, j) of integers -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.disentangled_attention`.

    Paper: He et al. 2020, arXiv:2006.03654.

    >>> q, k, v = np.ones((1, 1)), np.zeros((2, 1)), np.array([[1.0], [3.0]])
    >>> table = np.array([[[0.0], [2.0 ** 0.5 * np.log(3.0)]]])
    >>> disentangled_attention(q, k, v, k_relative=table, distance=np.array([[0, 1]]))
    array([[2.5]])
    """
    distance, tables = check_distance(distance, {"q_relative": q_relative, "k_relative": k_relative}, q, k.shape[-2])
    scale, own = check_scale(scale, (1 + len(tables)) * q.shape[-1]), (tables.get("q_relative"), tables.get("k_relative"))
    q, k, v = without_hidden(q, k, v, mask, causal, window)
    line = diagonals(distance)  # a few numbers in place of one per pair, of which a gradient would keep a copy
    return by_rows(Tables, q, k, v, own, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks,
                   distance=narrowed(distance) if line is None else None, diagonals=line)


# Rows of pairs that are compared at once: what says whether they are alike is then no array of all pairs.
ROWS = 64


def fits(q: Array, k: Array, v: Array, bias: Array | None, call: Call) -> bool:
    """Returns whether the kernels of tiles take a call: one whose pairs of each diagonal are alike."""
    return dict(call.more)["diagonals"] is not None and distances.fits(q, k, v, call.options)


def in_tiles(q: Array, k: Array, v: Array, bias: Array | None, sinks: Array | None, own: tuple[Any, ...],
             call: Call) -> tuple[Array, distances.Saved]:
    """Returns (out, what the backward reads)."""
    of_key, of_query, _ = own
    tables = distances.Tables(dict(call.more)["diagonals"], of_query, of_key)
    return distances.distant(q, q, k, v, bias, sinks, tables, call.options)


def gradients_in_tiles(d_out: Array, saved: distances.Saved) -> dict[str, Array | None]:
    """Returns the gradients by argument."""
    found = distances.distant_gradients(d_out, saved)
    if found.of_query is not None:
        found.q[...] += found.placed
    return {"q": found.q, "k": found.k, "v": found.v, "first": found.of_key, "second": found.of_query, "sinks": found.sinks}


class Tables(Scores):
    """Scores with products of the query, and of the key, and a vector of the distance."""

    definition: ClassVar[str] = "disentangled_attention"
    names: ClassVar[tuple[str, ...]] = ("q_relative", "k_relative")
    tiled = Tiled(fits, in_tiles, gradients_in_tiles)

    @classmethod
    def given(cls, call: Call, kv_len: int) -> dict[str, Any]:
        more = dict(call.more)
        if more["diagonals"] is not None:
            more["distance"] = np.lib.stride_tricks.sliding_window_view(more["diagonals"], kv_len)[::-1]
        return more

    def __init__(self, q: Array, k: Array, own: tuple[Any, ...], call: Call) -> None:
        super().__init__(q, k, own, call)
        self.of_q, self.of_k = own
        self.scale, self.more = q.dtype.type(call.scale), dict(call.more)
        if self.of_q is not None:
            # Keys side by side: what the pairs of one query read then stands together, which takes a quarter of the time.
            self.of_keys = self.of_q @ (k * self.scale).mT  # (heads, rows of the table, j)
            self.d_of_keys = np.zeros_like(self.of_keys)

    def numbers(self, rows: slice, keys: slice, times: int) -> Array:
        """Returns the table's row of each of these pairs, times a whole number."""
        line, width, low = self.more["diagonals"], keys.stop - keys.start, self.q.shape[1] - rows.stop
        if line is None:
            return self.more["distance"][rows, keys].astype(np.intp) * times
        part = line[low + keys.start : low + keys.stop + rows.stop - rows.start - 1]
        return np.lib.stride_tricks.sliding_window_view(part * times, width)[::-1]

    def by_query(self, rows: slice, keys: slice) -> Array:
        """Returns where these pairs stand in the flat products of these queries with k_relative."""
        return self.numbers(rows, keys, 1) + np.arange(rows.stop - rows.start)[:, None] * self.of_k.shape[1]

    def by_key(self, rows: slice, keys: slice) -> Array:
        """Returns where these pairs stand in the flat products of q_relative with all keys."""
        return self.numbers(rows, keys, self.k.shape[1]) + np.arange(keys.start, keys.stop)

    def made(self, rows: slice, keys: slice) -> Array:
        scores = super().made(rows, keys)
        if self.of_k is not None:
            places = self.by_query(rows, keys)
            for h in range(len(scores)):
                scores[h] += np.take((self.q[h, rows] * self.scale) @ self.of_k[h].T, places)
        if self.of_q is not None:
            places = self.by_key(rows, keys)
            for h in range(len(scores)):
                scores[h] += np.take(self.of_keys[h], places)
        return scores

    def pull(self, rows: slice, keys: slice, d_scores: Array) -> None:
        super().pull(rows, keys, d_scores)
        flat = d_scores.reshape(len(d_scores), -1)
        if self.of_k is not None:
            places = self.by_query(rows, keys).reshape(-1)
            for h in range(len(flat)):
                d_products = np.zeros((rows.stop - rows.start, self.of_k.shape[1]), d_scores.dtype)
                np.add.at(d_products.reshape(-1), places, flat[h])
                d_products *= self.scale
                self.d_q[h, rows] += d_products @ self.of_k[h]
                self.d_own[1][h] += d_products.T @ self.q[h, rows]
        if self.of_q is not None:
            places = self.by_key(rows, keys).reshape(-1)
            for h in range(len(flat)):
                np.add.at(self.d_of_keys[h].reshape(-1), places, flat[h])

    def finish(self) -> None:
        if self.of_q is not None:
            self.d_k += (self.d_of_keys.mT @ self.of_q).sum(axis=0) * self.scale
            self.d_own[0] += self.d_of_keys @ self.k * self.scale


def diagonals(distance: Array) -> Array | None:
    """Returns one number per diagonal, (i + j - 1,), from the last query's first key on; None unless all pairs of each are alike."""
    if not distance.size:
        return None
    for i in range(1, len(distance), ROWS):
        rows = distance[i : i + ROWS, 1:]
        if not np.array_equal(rows, distance[i - 1 : i - 1 + len(rows), :-1]):
            return None
    return np.concatenate((distance[::-1, 0], distance[0, 1:])).astype(np.intp)
