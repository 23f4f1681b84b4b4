"""Disentangled attention by rows of queries: products with the tables are gathered by the distance of each pair."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinyattn.kernels.softmax.by_rows import by_rows
from tinyattn.kernels.softmax.row_scores import Call, Scores
from tinyattn.kernels.tiles.seen import without_hidden
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_scale
from tinyattn.ops.relation_arguments import check_distance
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
    return by_rows(Tables, q, k, v, own, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks,
                   distance=distance)


class Tables(Scores):
    """Scores with products of the query, and of the key, and a vector of the distance."""

    definition: ClassVar[str] = "disentangled_attention"
    names: ClassVar[tuple[str, ...]] = ("q_relative", "k_relative")

    def __init__(self, q: Array, k: Array, own: tuple[Any, ...], call: Call) -> None:
        super().__init__(q, k, own, call)
        self.of_q, self.of_k = own
        self.scale, self.distance = q.dtype.type(call.scale), dict(call.more)["distance"]
        if self.of_q is not None:
            self.of_keys = (k * self.scale) @ self.of_q.mT  # (heads, j, rows of the table)
            self.d_of_keys = np.zeros_like(self.of_keys)

    def places_of(self, rows: slice, keys: slice) -> tuple[Array, Array]:
        """Returns where the pairs of these queries and keys stand in flat products of the queries, and of the keys, with all rows."""
        n = self.distance[rows, keys]
        count = [0 if table is None else table.shape[1] for table in (self.of_k, self.of_q)]
        return np.arange(len(n))[:, None] * count[0] + n, np.arange(keys.start, keys.stop) * count[1] + n

    def made(self, rows: slice, keys: slice) -> Array:
        scores, (by_query, by_key) = super().made(rows, keys), self.places_of(rows, keys)
        for h in range(len(scores)):
            if self.of_k is not None:
                scores[h] += np.take((self.q[h, rows] * self.scale) @ self.of_k[h].T, by_query)
            if self.of_q is not None:
                scores[h] += np.take(self.of_keys[h], by_key)
        return scores

    def pull(self, rows: slice, keys: slice, d_scores: Array) -> None:
        super().pull(rows, keys, d_scores)
        by_query, by_key = self.places_of(rows, keys)
        for h in range(len(d_scores)):
            if self.of_k is not None:
                shape = rows.stop - rows.start, self.of_k.shape[1]
                d_products = np.bincount(by_query.reshape(-1), d_scores[h].reshape(-1), shape[0] * shape[1]).reshape(shape)
                d_products = d_products.astype(d_scores.dtype, copy=False) * self.scale
                self.d_q[h, rows] += d_products @ self.of_k[h]
                self.d_own[1][h] += d_products.T @ self.q[h, rows]
            if self.of_q is not None:
                np.add.at(self.d_of_keys[h].reshape(-1), by_key.reshape(-1), d_scores[h].reshape(-1))

    def finish(self) -> None:
        if self.of_q is not None:
            self.d_k += (self.d_of_keys @ self.of_q).sum(axis=0) * self.scale
            self.d_own[0] += self.d_of_keys.mT @ self.k * self.scale
