"""PaTH by rows of queries and chunks of keys: the reflections of a chunk are one triangular system (the UT transform)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinyattn.kernels.softmax.by_rows import by_rows
from tinyattn.kernels.softmax.row_scores import Call, Index, Scores, Task, fold
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.relation_arguments import check_reflections
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

CHUNK, NEAR = 64, 8


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"w": "(j,d)", "beta": "(j)", "log_forget": "(j)"})
def path_attention(q: Array, k: Array, v: Array, *, w: Array, beta: Array, log_forget: Array | None = None,
                   scale: float | None = None) -> Array:
    """Returns causal attention in which every token after a key changes how the query meets that key, by chunks of keys.

    Formula: s_ij = scale k_j^T H_{j+1} ... H_i q_i + sum_{j < l <= i} log f_l, H_l = I - beta_l w_l w_l^T. For a chunk with
    A = (I + D triu(W W^T, 1))^-1 D and rows Z that have passed all later chunks: C = tril(Z W^T) A^T,
    S = Z K^T - C tril(W K^T, -1), and Z - C W goes on to the chunk before.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), w (..., kv_heads, j, d), beta
    (..., kv_heads, j), log_forget (..., heads, j) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.path_attention`.

    Paper: Yang et al. 2025, arXiv:2505.16381.

    >>> k = np.array([[1.0, 0.0], [0.0, 0.0]]); v = np.array([[1.0], [3.0]])
    >>> path_attention(50.0 * k[:1], k, v, w=k[::-1], beta=np.full(2, 2.0))
    array([[3.]])
    """
    _, own = first_position(q, k), check_reflections(w, beta, log_forget, q, k)
    return by_rows(Reflections, q, k, v, own, mask=None, bias=None, causal=True, window=None, scale=check_scale(scale, q.shape[-1]),
                   softcap=None, sinks=None)


class Reflections(Scores):
    """Scores of queries that the tokens after each key have turned."""

    definition: ClassVar[str] = "path_attention"
    names: ClassVar[tuple[str, ...]] = ("w", "beta", "log_forget")

    def __init__(self, q: Array, k: Array, own: tuple[Any, ...], call: Call) -> None:
        super().__init__(q, k, own, call)
        self.keys, self.w, self.beta, self.gates = k[0], own[0][0], own[1][0], own[2]
        self.first, self.scale = len(self.keys) - q.shape[1], q.dtype.type(call.scale)
        self.starts = range(0, len(self.keys), CHUNK)
        self.inner, self.lower = (np.zeros((len(self.starts), CHUNK, CHUNK), q.dtype) for _ in range(2))
        for n, start in enumerate(self.starts):
            chunk, size = slice(start, start + CHUNK), min(CHUNK, len(self.keys) - start)
            upper = np.triu(self.w[chunk] @ self.w[chunk].T, 1) * self.beta[chunk, None]
            # An upper triangle of ones on its diagonal is solved without an exchange of rows: later tokens change no earlier row.
            self.inner[n, :size, :size] = np.linalg.solve(np.eye(size, dtype=q.dtype) + upper, np.diag(self.beta[chunk]))
            self.lower[n, :size, :size] = np.tril(self.w[chunk] @ self.keys[chunk].T, -1)
        self.d_inner, self.d_lower = np.zeros_like(self.inner), np.zeros_like(self.lower)
        self.d_sums = None if self.gates is None else np.zeros(self.gates.shape)

    @classmethod
    def places(cls, task: Task) -> tuple[Index, ...]:
        queries, keys = task.places()
        return keys, keys, queries

    def made(self, rows: slice, keys: slice) -> Array:
        stop, heads, count = keys.stop, len(self.q), rows.stop - rows.start
        positions = np.arange(rows.start, rows.stop) + self.first
        scores = np.zeros((heads, count, stop), self.q.dtype)
        z, self.trail = fold(self.q[:, rows] * self.scale, 1)[0], []
        for n in range((stop - 1) // CHUNK, -1, -1):
            start, end = n * CHUNK, min(n * CHUNK + CHUNK, len(self.keys))
            chunk, size, shown = slice(start, end), end - start, min(end, stop) - start
            met = z @ self.w[chunk].T
            if end - 1 > positions[0]:
                met = met.reshape(heads, count, size) * (np.arange(start, end) <= positions[:, None])
                met = met.reshape(heads * count, size)
            taken = met @ self.inner[n, :size, :size].T
            self.trail.append((n, z, met, taken))
            products = z @ self.keys[chunk].T - taken @ self.lower[n, :size, :size]
            scores[..., start : start + shown] = products.reshape(heads, count, size)[..., :shown]
            z = z - taken @ self.w[chunk]
        if self.gates is not None:
            forget(scores, self.gates, positions)
        return scores

    def pull(self, rows: slice, keys: slice, d_scores: Array) -> None:
        heads, count, stop = d_scores.shape
        positions = np.arange(rows.start, rows.stop) + self.first
        d_z, d_w = np.zeros((heads * count, self.q.shape[-1]), self.q.dtype), self.d_own[0][0]
        if self.d_sums is not None:
            self.d_sums[:, positions] += d_scores.sum(axis=-1)
            self.d_sums[:, :stop] -= d_scores.sum(axis=1)
        for n, z, met, taken in reversed(self.trail):
            start, end = n * CHUNK, min(n * CHUNK + CHUNK, len(self.keys))
            chunk, size, shown = slice(start, end), end - start, min(end, stop) - start
            d_products = np.zeros((heads, count, size), self.q.dtype)
            d_products[..., :shown] = d_scores[..., start : start + shown]
            d_products = d_products.reshape(heads * count, size)
            d_taken = -d_products @ self.lower[n, :size, :size].T - d_z @ self.w[chunk].T
            self.d_lower[n, :size, :size] -= taken.T @ d_products
            d_w[chunk] -= taken.T @ d_z
            self.d_inner[n, :size, :size] += d_taken.T @ met
            d_met = d_taken @ self.inner[n, :size, :size]
            if end - 1 > positions[0]:
                d_met = d_met.reshape(heads, count, size) * (np.arange(start, end) <= positions[:, None])
                d_met = d_met.reshape(heads * count, size)
            d_w[chunk] += d_met.T @ z
            self.d_k[0, chunk] += d_products.T @ z
            d_z = d_z + d_products @ self.keys[chunk] + d_met @ self.w[chunk]
        self.d_q[:, rows] += d_z.reshape(heads, count, -1) * self.scale

    def finish(self) -> None:
        d_w, d_beta = self.d_own[0][0], self.d_own[1][0]
        for n, start in enumerate(self.starts):
            chunk, size = slice(start, start + CHUNK), min(CHUNK, len(self.keys) - start)
            w, beta = self.w[chunk], self.beta[chunk, None]
            d_lower = np.tril(self.d_lower[n, :size, :size], -1)
            d_w[chunk] += d_lower @ self.keys[chunk]
            self.d_k[0, chunk] += d_lower.T @ w
            # Of A = M^-1 D, M = I + D U: with X = M^-T d_A, d_M = -X A^T, d_D = diag(X) + rows of d_M U, d_U = D d_M.
            upper = np.triu(w @ w.T, 1)
            x = np.linalg.solve((np.eye(size, dtype=w.dtype) + beta * upper).T, self.d_inner[n, :size, :size])
            d_system = np.triu(-x @ self.inner[n, :size, :size].T, 1)
            d_beta[chunk] += np.diag(x) + (d_system * upper).sum(axis=1)
            d_upper = beta * d_system
            d_w[chunk] += (d_upper + d_upper.T) @ w
        if self.d_sums is not None:
            self.d_own[2] += np.flip(np.cumsum(np.flip(self.d_sums, axis=-1), axis=-1), axis=-1)


def forget(scores: Array, gates: Array, positions: Array) -> None:
    """Adds to scores (heads, rows, stop) the sums of the log gates (heads, j) after each key up to each query; -inf hides a pair.

    Sums are taken from one query of every few on and back, so that near pairs do not lose digits to far ones.
    """
    stop, cleared = scores.shape[-1], np.isneginf(gates)
    finite = np.where(cleared, 0.0, gates)[:, :stop]
    for part in range(0, len(positions), NEAR):
        some = positions[part : part + NEAR]
        after = np.cumsum(finite[:, some[0] + 1 :], axis=-1)
        before = np.flip(np.cumsum(np.flip(finite[:, 1 : some[0] + 1], axis=-1), axis=-1), axis=-1)
        sums = np.concatenate((-before, np.zeros((len(gates), 1)), after), axis=-1)
        scores[:, part : part + NEAR] += (sums[:, some, None] - sums[:, None, :]).astype(scores.dtype)
    if cleared.any():
        count = np.cumsum(cleared[:, :stop], axis=-1)
        np.copyto(scores, -np.inf, where=count[:, positions, None] != count[:, None, :])
