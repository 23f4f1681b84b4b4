"""Problems: inputs that can tell right from wrong, drawn from sizes and a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array

Mechanism = Callable[..., Any]
# Options that have an entry a token: on the axis before the last where they have as many axes as k or more, else on the last.
TOKENS = ("log_decay", "beta", "gate", "gates", "span", "q_rope")
REGIMES = ("plain", "spiky", "ties", "offset", "tiny", "flat")


@dataclass(frozen=True)
class Sizes:
    """How large a problem is: hypothesis draws and shrinks these, a seeded generator does where it is absent."""

    leading: tuple[int, ...] = (1,)
    kv_heads: int = 2
    groups: int = 2
    q_len: int = 5
    kv_len: int = 7
    head_dim: int = 4
    value_dim: int = 3
    regime: str = "plain"
    dtype: str = "float64"

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.kv_heads * self.groups


@dataclass(frozen=True, eq=False)
class Problem:
    """The arguments of one call: q, k, v, and options by name."""

    q: Array
    k: Array
    v: Array
    options: Mapping[str, Any] = field(default_factory=dict)

    def call(self, mechanism: Mechanism, **options: Any) -> Any:
        """Returns mechanism(q, k, v) with the problem's options, some of them replaced."""
        return mechanism(self.q, self.k, self.v, **{**self.options, **options})

    def but(self, **changes: Any) -> Problem:
        """Returns the problem with other arrays (q, k, v) or options."""
        arrays = {name: changes.pop(name) for name in ("q", "k", "v") if name in changes}
        return replace(self, **arrays, options={**self.options, **changes})

    def tokens(self, s: slice) -> Problem:
        """Returns the problem of some of its tokens, what belongs to each of them with it."""
        ndim = self.k.ndim
        changes = {name: x[..., s, :] if x.ndim >= ndim else x[..., s] for name, x in self.options.items()
                   if name in TOKENS and isinstance(x, np.ndarray) and x.ndim >= ndim - 1}
        return self.but(q=self.q[..., s, :], k=self.k[..., s, :], v=self.v[..., s, :], **changes)

    def map(self, f: Callable[[Array], Array]) -> Problem:
        """Returns the problem with f applied to every floating array in it, options and states included."""
        def each(item: Any) -> Any:
            if isinstance(item, np.ndarray) and item.dtype.kind == "f":
                return f(item)
            return tuple(each(part) for part in item) if isinstance(item, tuple) else item

        return Problem(f(self.q), f(self.k), f(self.v), {name: each(o) for name, o in self.options.items()})

    def astype(self, dtype: Any) -> Problem:
        """Returns the problem in another dtype."""
        return self.map(lambda array: array.astype(dtype))

    def full(self) -> tuple[int, ...]:
        """Returns (..., heads, q_len, kv_len)."""
        return (*self.q.shape[:-1], self.k.shape[-2])

    def visible(self) -> Array:
        """Returns who sees whom, (..., heads, q_len, kv_len), spelled out pair by pair from positions."""
        full = self.full()
        q_len, kv_len = full[-2:]
        mask = self.options.get("mask")
        if isinstance(mask, Pattern):
            mask = mask.dense(q_len, kv_len)
        seen = np.array(np.broadcast_to(True if mask is None else mask, full))
        left, right = self.options.get("window") or (None, None)
        for i in range(q_len):
            for j in range(kv_len):
                position = i + kv_len - q_len
                late = self.options.get("causal", False) and j > position
                if late or (left is not None and j < position - left) or (right is not None and j > position + right):
                    seen[..., i, j] = False
        return seen

    def explicit(self) -> Problem:
        """Returns the same softmax problem with causal, window and patterns written out as one dense mask."""
        return self.but(mask=self.visible(), causal=False, window=None)

    def reordered(self, order: Array) -> Problem:
        """Returns the same softmax problem with its keys in another order."""
        same = self.explicit()
        changes: dict[str, Any] = {"mask": same.options["mask"][..., order]}
        bias = self.options.get("bias")
        if isinstance(bias, np.ndarray) and bias.ndim and bias.shape[-1] == len(order):
            changes["bias"] = bias[..., order]
        return same.but(k=self.k[..., order, :], v=self.v[..., order, :], **changes)


def values(rng: np.random.Generator, shape: tuple[int, ...], regime: str, *, role: str) -> Array:
    """Returns an array for q, k or v (`role`) that makes the softmax of one kind: a flat one proves nothing."""
    x = rng.standard_normal(shape)
    if regime == "spiky" and role in "qk":
        return x * 4.0
    if regime == "ties" and role in "qk":
        return np.round(x)
    if regime == "offset" and role in "kv":
        return x + 30.0
    if regime == "tiny" and role in "qk":
        return x * 1e-3
    if regime == "flat" and role == "q":
        return x * 0.0
    return x


def arrays(rng: np.random.Generator, sizes: Sizes, **options: Any) -> Problem:
    """Returns a problem of these sizes and regime with the options given.

    >>> arrays(np.random.default_rng(0), Sizes(), causal=True).q.shape
    (1, 4, 5, 4)
    """
    lead, regime = sizes.leading, sizes.regime
    q = values(rng, (*lead, sizes.heads, sizes.q_len, sizes.head_dim), regime, role="q")
    k = values(rng, (*lead, sizes.kv_heads, sizes.kv_len, sizes.head_dim), regime, role="k")
    v = values(rng, (*lead, sizes.kv_heads, sizes.kv_len, sizes.value_dim), regime, role="v")
    return Problem(q, k, v, options).astype(sizes.dtype)
