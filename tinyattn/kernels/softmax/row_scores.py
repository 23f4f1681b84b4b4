"""What scores are made of, where they need more than products of queries and keys, for some rows of queries at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinyattn.kernels.exact.primitive import Options
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array

Index = Any  # a tuple of ints and slices


class Task(NamedTuple):
    """Some heads of one sequence: the sequence's place on the axes before the heads, the query heads and the kv heads."""

    at: tuple[int, ...]
    heads: slice
    kv_heads: slice

    def places(self) -> tuple[Index, Index]:
        """Returns where its queries, and its keys and values, stand in the arrays of the call."""
        return (*self.at, self.heads), (*self.at, self.kv_heads)

    def of(self, x: Array, rows: slice, keys: slice) -> Index:
        """Returns the place of these heads, rows and keys in an array with all axes, which broadcasts to (..., heads, i, j)."""
        lead = tuple(n if size > 1 else 0 for n, size in zip(self.at, x.shape[:-3], strict=True))
        core = zip((self.heads, rows, keys), x.shape[-3:], strict=True)
        return (*lead, *(part if size > 1 else slice(None) for part, size in core))


def fold(x: Array, kv_heads: int) -> Array:
    """Returns (heads, rows, n) as (kv_heads, groups rows, n)."""
    return x.reshape(kv_heads, len(x) // max(kv_heads, 1) * x.shape[1], x.shape[2])


def columns(x: Array) -> Array:
    """Returns rows (kv_heads, j, d) as (kv_heads, d, j) that stand side by side: products of few rows read them twice as fast."""
    return np.ascontiguousarray(x.mT)


def pairs(q: Array, keys: Array) -> Array:
    """Returns the products (heads, rows, j) of queries (heads, rows, d) and the columns of keys (kv_heads, d, j)."""
    return (fold(q, len(keys)) @ keys).reshape(*q.shape[:2], keys.shape[-1])


def valued(weights: Array, values: Array) -> Array:
    """Returns weights (heads, rows, j) times values (kv_heads, j, e), (heads, rows, e)."""
    return (fold(weights, len(values)) @ values).reshape(*weights.shape[:2], values.shape[-1])


class Call(NamedTuple):
    """What of a call has no gradient; `more` holds the mechanism's own options without one."""

    scores: type[Scores]
    mask: Array | Pattern | None
    left: int | None
    right: int | None
    scale: float
    softcap: float | None
    learned: bool
    more: tuple[tuple[str, Any], ...] = ()

    @property
    def options(self) -> Options:
        """The options that kernels of tiles read."""
        return Options(self.mask, self.left, self.right, self.scale, self.softcap, self.learned)


class Tiled(NamedTuple):
    """Kernels of one mechanism for the calls that they take: `fits(q, k, v, bias, call)`.

    `forward(q, k, v, bias, sinks, own, call)` returns (out, what the backward reads), `backward(d_out, saved)` gradients by argument.
    """

    fits: Callable[..., bool]
    forward: Callable[..., tuple[Array, Any]]
    backward: Callable[..., dict[str, Array | None]]


class Scores:
    """The scores of some heads of one sequence: made from q (heads, i, d), k (kv_heads, j, d), and the mechanism's own arrays.

    A subclass makes the scores before the cap and takes their gradient; one that mixes heads does so before and after the softmax.
    `definition` is the name of the mechanism, `names` those of its own arrays, and `together` says that heads are mixed, so that all
    of them are one task. `finish` is called after the last rows of a backward. `tiled` are kernels that take the place of all this.
    """

    definition: ClassVar[str]
    names: ClassVar[tuple[str, ...]] = ()
    together: ClassVar[bool] = False
    tiled: ClassVar[Tiled | None] = None

    def __init__(self, q: Array, k: Array, own: tuple[Any, ...], call: Call) -> None:
        self.q, self.k, self.own, self.call, self.columns = q, k, own, call, columns(k)
        self.d_q, self.d_k = np.zeros_like(q), np.zeros_like(k)
        self.d_own: list[Any] = [None if x is None else np.zeros_like(x) for x in own]

    def made(self, rows: slice, keys: slice) -> Array:
        """Returns the scores (heads, rows, keys) before the cap, in an array of its own."""
        return pairs(self.q[:, rows] * self.q.dtype.type(self.call.scale), self.columns[..., keys])

    def pull(self, rows: slice, keys: slice, d_scores: Array) -> None:
        """Adds what a gradient of these scores gives to the gradients of all arrays; they are those that were made last."""
        scale, folded = self.q.dtype.type(self.call.scale), fold(d_scores, len(self.k))
        self.d_q[:, rows] += valued(d_scores, self.k[:, keys]) * scale
        self.d_k[:, keys] += folded.mT @ (fold(self.q[:, rows], len(self.k)) * scale)

    def finish(self) -> None:
        """Adds what is left to the gradients."""

    @classmethod
    def places(cls, task: Task) -> tuple[Index, ...]:
        """Returns where a task's part of each own array stands; here the arrays are tables (heads, ...) of all sequences."""
        return ((task.heads,),) * len(cls.names)

    @classmethod
    def given(cls, call: Call, kv_len: int) -> dict[str, Any]:
        """Returns the mechanism's own options without a gradient, as its definition takes them."""
        return dict(call.more)

    def mixed_before(self, capped: Array) -> Array:
        """Returns what the softmax is taken of, before bias and mask."""
        return capped

    def pull_before(self, d_scores: Array, capped: Array) -> Array:
        """Returns the gradient of the capped scores, and adds those of what mixes them."""
        return d_scores

    def mixed_after(self, weights: Array) -> Array:
        """Returns the weights of the values."""
        return weights

    def pull_after(self, d_mixed: Array, weights: Array) -> Array:
        """Returns the gradient of the softmax, and adds those of what mixes it."""
        return d_mixed
