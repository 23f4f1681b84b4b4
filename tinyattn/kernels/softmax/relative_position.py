"""Relative positions, in tiles or by rows of queries: the products with a part of the table are read along its diagonals."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinyattn.kernels.rows.distances import Saved, Tables, distant, distant_gradients, fits
from tinyattn.kernels.softmax.by_rows import by_rows
from tinyattn.kernels.softmax.row_scores import Call, Scores, Tiled
from tinyattn.kernels.tiles.seen import without_hidden
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_scale
from tinyattn.ops.relation_arguments import check_relative
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def relative_position_attention(q: Array, k: Array, v: Array, *, relative: Array, u: Array, w: Array,
                                bias: Array | Bias | None = None, mask: Array | Pattern | None = None, causal: bool = False,
                                window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                                sinks: Array | None = None) -> Array:
    """Returns attention whose scores add, to the product with a key, a product with a vector of its distance, by rows of queries.

    Formula: s_ij = cap(scale ((q_i + u_h) . k_j + (q_i + w_h) . R_{h, i-j})) + bias_ij.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), relative (heads, i + j - 1, d), u and w
    (heads, d) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.relative_position_attention`.

    Paper: Dai et al. 2019, arXiv:1901.02860; Yang et al. 2019, arXiv:1906.08237.

    >>> x, v = np.zeros((2, 1)), np.array([[1.0], [3.0]])
    >>> far = np.array([[[np.log(3.0)], [0.0], [0.0]]])
    >>> relative_position_attention(x, x, v, relative=far, u=np.zeros((1, 1)), w=np.ones((1, 1)))[:, 0]
    array([2. , 1.5])
    """
    scale, own = check_scale(scale, q.shape[-1]), check_relative(relative, u, w, q, k.shape[-2], causal, window)
    q, k, v = without_hidden(q, k, v, mask, causal, window)
    return by_rows(Distances, q, k, v, own, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap,
                   sinks=sinks)


def in_tiles(q: Array, k: Array, v: Array, bias: Array | None, sinks: Array | None, own: tuple[Any, ...],
             call: Call) -> tuple[Array, Saved]:
    """Returns (out, what the backward reads)."""
    relative, u, w = own
    # What a table that ends early lacks is of later keys, which nobody sees.
    line = np.minimum(np.arange(q.shape[-2] + k.shape[-2] - 1), relative.shape[1] - 1)
    return distant(q + u[:, None], q + w[:, None], k, v, bias, sinks, Tables(line, relative, None), call.options)


def gradients_in_tiles(d_out: Array, saved: Saved) -> dict[str, Array | None]:
    """Returns the gradients by argument."""
    found = distant_gradients(d_out, saved)
    d_u, d_w = (x.sum(axis=(*range(x.ndim - 3), -2)) for x in (found.q, found.placed))
    found.q[...] += found.placed
    return {"q": found.q, "k": found.k, "v": found.v, "first": found.of_query, "second": d_u, "third": d_w, "sinks": found.sinks}


class Distances(Scores):
    """Scores with a product of the query and a vector of the distance."""

    definition: ClassVar[str] = "relative_position_attention"
    names: ClassVar[tuple[str, ...]] = ("relative", "u", "w")
    tiled = Tiled(lambda q, k, v, bias, call: fits(q, k, v, call.options), in_tiles, gradients_in_tiles)

    def __init__(self, q: Array, k: Array, own: tuple[Any, ...], call: Call) -> None:
        self.table, u, w = own
        super().__init__(q + u[:, None, :], k, own, call)
        self.positional = (q + w[:, None, :]) * q.dtype.type(call.scale)
        self.d_positional = np.zeros_like(q)

    def read(self, rows: slice, keys: slice) -> slice:
        """Returns the rows of the table that these queries and keys read; a causal table ends before those of later keys."""
        low = self.q.shape[1] - rows.stop
        first, last = low + keys.start, low + keys.stop + rows.stop - rows.start - 1
        return slice(min(first, self.table.shape[1]), min(last, self.table.shape[1]))

    def made(self, rows: slice, keys: slice) -> Array:
        scores, read = super().made(rows, keys), self.read(rows, keys)
        products, along = diagonals(scores)
        np.matmul(self.positional[:, rows], self.table[:, read].mT, out=products[..., : read.stop - read.start])
        scores += along
        return scores

    def pull(self, rows: slice, keys: slice, d_scores: Array) -> None:
        super().pull(rows, keys, d_scores)
        read = self.read(rows, keys)
        d_products, along = diagonals(d_scores)
        along[...] = d_scores
        d_products = d_products[..., : read.stop - read.start]
        self.d_positional[:, rows] += d_products @ self.table[:, read]
        self.d_own[0][:, read] += d_products.mT @ self.positional[:, rows]

    def finish(self) -> None:
        positional = self.d_positional * self.q.dtype.type(self.call.scale)
        self.d_own[1] += self.d_q.sum(axis=1)
        self.d_own[2] += positional.sum(axis=1)
        self.d_q += positional


def diagonals(scores: Array) -> tuple[Array, Array]:
    """Returns zeros (heads, rows, n) and a view of them like the scores, in which [h, i, j] is their [h, i, j + rows - 1 - i]."""
    heads, rows, keys = scores.shape
    width, size = max(keys + rows - 1, 0), scores.itemsize
    products = np.zeros((heads, rows, width), scores.dtype)
    view = np.lib.stride_tricks.as_strided(products[:, 0, min(rows - 1, width) :] if width else products[..., :0], scores.shape,
                                           (rows * width * size, (width - 1) * size, size))
    return products, view
