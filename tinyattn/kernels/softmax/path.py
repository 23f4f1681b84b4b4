"""PaTH by tiles, or by rows of queries where not all numbers are finite: a chunk is one triangular system (the UT transform)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinyattn.kernels.rows.reflecting import reflected, reflected_gradients
from tinyattn.kernels.softmax.by_rows import by_rows
from tinyattn.kernels.softmax.row_scores import Call, Index, Scores, Task, Tiled, fold
from tinyattn.kernels.tiles.storage import all_finite
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.relation_arguments import check_reflections
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

CHUNK, NEAR = 64, 8


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"w": "(j,d)", "beta": "(j)", "log_forget": "(j)"})
def path_attention(q: Array, k: Array, v: Array, *, w: Array, beta: Array, log_forget: Array | None = None,
                   scale: float | None = None) -> Array:
    """Returns causal attention in which every token after a key changes its score with the query, by chunks of keys; compiled.

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
    _, own, factor = first_position(q, k), check_reflections(w, beta, log_forget, q, k), check_scale(scale, q.shape[-1])
    return by_rows(Reflections, q, k, v, own, mask=None, bias=None, causal=True, window=None, scale=factor, softcap=None, sinks=None)


def fits(q: Array, k: Array, v: Array, _bias: Array | None, _call: Call) -> bool:
    """Returns whether the kernel takes a call: in a product of a chunk 0 times NaN would reach earlier rows."""
    return q.size > 0 and v.size > 0 and all_finite(q, k, v)


def forward(q: Array, k: Array, v: Array, _bias: Array | None, _sinks: Array | None, own: tuple[Any, ...],
            call: Call) -> tuple[Array, Any]:
    """Returns (out, what the backward reads)."""
    w, beta, gates = own
    return reflected(q, k, v, w, beta, gates, call.scale)


class Reflections(Scores):
    """Scores of queries that the tokens after each key have reflected.

    Queries after a whole chunk meet its keys as Z K'^T, with K' = K - L^T A W and L = tril(W K^T, -1), and pass it as Z T, with
    T = I - (A W)^T W: two products in the place of five.
    """

    definition: ClassVar[str] = "path_attention"
    names: ClassVar[tuple[str, ...]] = ("w", "beta", "log_forget")
    tiled: ClassVar[Tiled | None] = Tiled(fits, forward, reflected_gradients)

    def __init__(self, q: Array, k: Array, own: tuple[Any, ...], call: Call) -> None:
        super().__init__(q, k, own, call)
        self.gates, self.first, self.scale = own[2], k.shape[1] - q.shape[1], q.dtype.type(call.scale)
        self.keys, self.w, self.beta = in_chunks(k[0]), in_chunks(own[0][0]), in_chunks(own[1][0][:, None])
        self.upper = np.triu(self.w @ self.w.mT, 1)
        self.inverse = inverse_of_unit_upper(np.eye(CHUNK, dtype=q.dtype) + self.beta * self.upper)
        self.inner = self.inverse * self.beta.mT
        self.lower = np.tril(self.w @ self.keys.mT, -1)
        self.solved = self.inner @ self.w
        self.met_keys = self.keys - self.lower.mT @ self.solved
        self.passed = np.eye(q.shape[-1], dtype=q.dtype) - self.solved.mT @ self.w
        self.d_chunks = [np.zeros_like(x) for x in (self.keys, self.w, self.inner, self.lower, self.met_keys, self.passed)]
        self.d_sums = None if self.gates is None else np.zeros(self.gates.shape)

    @classmethod
    def places(cls, task: Task) -> tuple[Index, ...]:
        queries, keys = task.places()
        return keys, keys, queries

    def made(self, rows: slice, keys: slice) -> Array:
        stop, heads, count = keys.stop, len(self.q), rows.stop - rows.start
        positions = np.arange(rows.start, rows.stop) + self.first
        scores = np.empty((heads, count, stop), self.q.dtype)
        z, self.trail = fold(self.q[:, rows] * self.scale, 1)[0], []
        for n in range((stop - 1) // CHUNK, -1, -1):
            start, shown = n * CHUNK, min(n * CHUNK + CHUNK, stop) - n * CHUNK
            if start + CHUNK - 1 <= positions[0]:
                self.trail.append((n, z, None, None))
                products, z = z @ self.met_keys[n].T, z @ self.passed[n]
            else:
                met = (z @ self.w[n].T).reshape(heads, count, CHUNK) * (np.arange(start, start + CHUNK) <= positions[:, None])
                met = met.reshape(heads * count, CHUNK)
                taken = met @ self.inner[n].T
                self.trail.append((n, z, met, taken))
                products, z = z @ self.keys[n].T - taken @ self.lower[n], z - taken @ self.w[n]
            scores[..., start : start + shown] = products.reshape(heads, count, CHUNK)[..., :shown]
        if self.gates is not None:
            forget(scores, self.gates, positions)
        return scores

    def pull(self, rows: slice, keys: slice, d_scores: Array) -> None:
        heads, count, stop = d_scores.shape
        positions = np.arange(rows.start, rows.stop) + self.first
        d_z = np.zeros((heads * count, self.q.shape[-1]), self.q.dtype)
        d_keys, d_w, d_inner, d_lower, d_met_keys, d_passed = self.d_chunks
        if self.d_sums is not None:
            self.d_sums[:, positions] += d_scores.sum(axis=-1)
            self.d_sums[:, :stop] -= d_scores.sum(axis=1)
        for n, z, met, taken in reversed(self.trail):
            start = n * CHUNK
            if met is None:
                d_products = d_scores[..., start : start + CHUNK].reshape(heads * count, CHUNK)
                d_met_keys[n] += d_products.T @ z
                d_passed[n] += z.T @ d_z
                d_z = d_z @ self.passed[n].T + d_products @ self.met_keys[n]
                continue
            d_products = np.zeros((heads, count, CHUNK), self.q.dtype)
            d_products[..., : stop - start] = d_scores[..., start : start + CHUNK]
            d_products = d_products.reshape(heads * count, CHUNK)
            d_taken = -d_products @ self.lower[n].T - d_z @ self.w[n].T
            d_lower[n] -= taken.T @ d_products
            d_w[n] -= taken.T @ d_z
            d_inner[n] += d_taken.T @ met
            d_met = (d_taken @ self.inner[n]).reshape(heads, count, CHUNK) * (np.arange(start, start + CHUNK) <= positions[:, None])
            d_met = d_met.reshape(heads * count, CHUNK)
            d_w[n] += d_met.T @ z
            d_keys[n] += d_products.T @ z
            d_z = d_z + d_products @ self.keys[n] + d_met @ self.w[n]
        self.d_q[:, rows] += d_z.reshape(heads, count, -1) * self.scale

    def finish(self) -> None:
        d_keys, d_w, d_inner, d_lower, d_met_keys, d_passed = self.d_chunks
        length = self.k.shape[1]
        d_solved = -(self.lower @ d_met_keys + self.w @ d_passed.mT)
        d_w += self.inner.mT @ d_solved - self.solved @ d_passed
        d_inner += d_solved @ self.w.mT
        d_lower = np.tril(d_lower - self.solved @ d_met_keys.mT, -1)
        d_w += d_lower @ self.keys
        d_keys += d_met_keys + d_lower.mT @ self.w
        # Of A = M^-1 D, M = I + D U: with X = M^-T d_A, d_M = -X A^T, d_D = diag(X) + rows of d_M U, d_U = D d_M.
        x = self.inverse.mT @ d_inner
        d_system = np.triu(-x @ self.inner.mT, 1)
        d_beta = np.diagonal(x, axis1=-2, axis2=-1) + (d_system * self.upper).sum(axis=-1)
        d_upper = self.beta * d_system
        d_w += (d_upper + d_upper.mT) @ self.w
        self.d_k[0] += d_keys.reshape(-1, d_keys.shape[-1])[:length]
        self.d_own[0][0] += d_w.reshape(-1, d_w.shape[-1])[:length]
        self.d_own[1][0] += d_beta.reshape(-1)[:length]
        if self.d_sums is not None:
            self.d_own[2] += np.flip(np.cumsum(np.flip(self.d_sums, axis=-1), axis=-1), axis=-1)


def in_chunks(x: Array) -> Array:
    """Returns rows (j, width) as (chunks, CHUNK, width), with zeros after the last one."""
    chunks = np.zeros((-(-len(x) // CHUNK), CHUNK, x.shape[-1]), x.dtype)
    chunks.reshape(-1, x.shape[-1])[: len(x)] = x
    return chunks


def inverse_of_unit_upper(x: Array) -> Array:
    """Returns the inverses of upper triangles (chunks, n, n) with ones on the diagonal, n a power of two.

    Of two blocks on the diagonal, A and D, with B beside A, the inverse has -A^-1 B D^-1 beside A^-1: later tokens change no earlier
    row, as they would where rows are exchanged.
    """
    out = np.zeros_like(x)
    np.einsum("cii->ci", out)[...] = 1
    size = 1
    while size < x.shape[-1]:
        for start in range(0, x.shape[-1], 2 * size):
            first, second = np.s_[start : start + size], np.s_[start + size : start + 2 * size]
            out[:, first, second] = -(out[:, first, first] @ x[:, first, second] @ out[:, second, second])
        size *= 2
    return out


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
