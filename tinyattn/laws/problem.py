"""Problems: the arguments of one call, made from sizes and a seed so that a wrong mechanism gives a wrong answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.score_rule import ScoreRule, check_score, of_keys, with_parts
from tinyattn.ops.types import Array

Mechanism = Callable[..., Any]
# Options with one entry per token: those that definitions declare, and arrays that the laws give by name: latent attention's second
# array of queries, the keys of an indexer, the head factors of tensor products.
BY_NAME = {"q_rope", "k_index", "q_factors", "k_factors", "v_factors"}
TOKENS = frozenset(BY_NAME.union(*(getattr(getattr(definitions, name), "per_token", ()) for name in definitions.__all__)))
# Which of q, k and v a regime changes, and how.
CHANGES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "spiky": ("qk", lambda x: x * 4.0), "ties": ("qk", np.round), "offset": ("kv", lambda x: x + 30.0),
    "tiny": ("qk", lambda x: x * 1e-3), "flat": ("q", lambda x: x * 0.0)}
REGIMES = ("plain", *CHANGES)


@dataclass(frozen=True)
class Sizes:
    """How large a problem is. hypothesis draws and shrinks sizes; without it a seeded generator draws them.

    >>> Sizes(kv_heads=2, groups=3).heads
    6
    """

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
        """The number of query heads."""
        return self.kv_heads * self.groups


@dataclass(frozen=True, eq=False)
class Problem:
    """The arguments of one call: q, k, v, and the options by name.

    >>> x = np.zeros((1, 2, 4))
    >>> Problem(x, x, x, {"causal": True}).but(scale=2.0).call(definitions.attention).shape
    (1, 2, 4)
    """

    q: Array
    k: Array
    v: Array
    options: Mapping[str, Any] = field(default_factory=dict)

    def call(self, mechanism: Mechanism, **options: Any) -> Any:
        """Returns mechanism(q, k, v, **options) with the problem's options, of which some may be replaced."""
        return mechanism(self.q, self.k, self.v, **{**self.options, **options})

    def but(self, **changes: Any) -> Problem:
        """Returns the problem with some of q, k, v and the options replaced."""
        arrays = {name: changes.pop(name) for name in ("q", "k", "v") if name in changes}
        return replace(self, **arrays, options={**self.options, **changes})

    def without(self, *names: str) -> Problem:
        """Returns the problem without some of its options."""
        return replace(self, options={name: option for name, option in self.options.items() if name not in names})

    @property
    def scale(self) -> float:
        """The scale of the scores: the one given, or head_dim ** -0.5."""
        return scale_of(self.q, self.options.get("scale"))

    def per_token(self) -> dict[str, int]:
        """Returns the axis of the tokens, -2 or -1, for every option with one entry per token."""
        ndim = self.k.ndim
        return {name: -2 if x.ndim >= ndim or name in BY_NAME else -1 for name, x in self.options.items()
                if name in TOKENS and isinstance(x, np.ndarray) and x.ndim >= ndim - 1}

    def tokens(self, at: slice | Array) -> Problem:
        """Returns the problem of the tokens at these places, in this order, with their entries of the options per token."""
        cut = {name: self.options[name][(..., at, *[slice(None)] * (-1 - axis))] for name, axis in self.per_token().items()}
        return self.but(q=self.q[..., at, :], k=self.k[..., at, :], v=self.v[..., at, :], **cut)

    def repeated(self) -> Problem:
        """Returns the problem with keys and values repeated, so that every query head has its own."""
        k, v = repeat_heads(self.q, self.k, self.v)
        return self.but(k=k, v=v)

    def map(self, f: Callable[[Array], Array]) -> Problem:
        """Returns the problem with f applied to every floating array, those in options and states included."""
        def each(item: Any) -> Any:
            if isinstance(item, np.ndarray) and item.dtype.kind == "f":
                return f(item)
            if isinstance(item, ScoreRule):
                return with_parts(item, f)
            return tuple(each(part) for part in item) if isinstance(item, tuple) else item

        return Problem(f(self.q), f(self.k), f(self.v), {name: each(o) for name, o in self.options.items()})

    def astype(self, dtype: Any) -> Problem:
        """Returns the problem with its floating arrays in another dtype."""
        return self.map(lambda array: array.astype(dtype))

    def full(self) -> tuple[int, ...]:
        """Returns the shape of the scores, (..., heads, q_len, kv_len)."""
        return (*self.q.shape[:-1], self.k.shape[-2])

    def visible(self) -> Array:
        """Returns which query sees which key, (..., heads, q_len, kv_len), decided pair by pair from their positions."""
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
        """Returns the same softmax problem with causal, window and pattern replaced by one boolean mask."""
        return self.but(mask=self.visible(), causal=False, window=None)

    def reordered(self, order: Array) -> Problem:
        """Returns the same softmax problem with its keys in another order."""
        same = self.explicit()
        changes: dict[str, Any] = {"mask": same.options["mask"][..., order]}
        bias = self.options.get("bias")
        if isinstance(bias, np.ndarray) and bias.ndim and bias.shape[-1] == len(order):
            changes["bias"] = bias[..., order]
        if (rule := check_score(self.options.get("score"), self.full(), self.q.dtype)) is not None:
            changes["score"] = of_keys(rule, order)
        return same.but(k=self.k[..., order, :], v=self.v[..., order, :], **changes)


def values(rng: np.random.Generator, shape: tuple[int, ...], regime: str, *, role: str) -> Array:
    """Returns an array for q, k or v (its `role`) whose numbers follow the regime, which decides how peaked the softmax is."""
    x = rng.standard_normal(shape)
    roles, change = CHANGES.get(regime, ("", np.array))
    return change(x) if role in roles else x


def scale_of(q: Array, scale: float | None) -> float:
    """Returns the scale of the scores: the one given, or head_dim ** -0.5."""
    return float(q.shape[-1] ** -0.5) if scale is None else scale


def repeat_heads(q: Array, *arrays: Array) -> tuple[Array, ...]:
    """Returns arrays of kv heads with each head repeated for its group: place h holds kv head h // groups.

    >>> repeat_heads(np.zeros((4, 1, 1)), np.array([[[1.0]], [[2.0]]]))[0].reshape(-1)
    array([1., 1., 2., 2.])
    """
    return tuple(np.repeat(x, q.shape[-3] // max(x.shape[-3], 1), axis=-3) for x in arrays)


def arrays(rng: np.random.Generator, sizes: Sizes, **options: Any) -> Problem:
    """Returns a problem of these sizes, their regime and these options.

    >>> arrays(np.random.default_rng(0), Sizes(), causal=True).q.shape
    (1, 4, 5, 4)
    """
    lead, regime = sizes.leading, sizes.regime
    q = values(rng, (*lead, sizes.heads, sizes.q_len, sizes.head_dim), regime, role="q")
    k = values(rng, (*lead, sizes.kv_heads, sizes.kv_len, sizes.head_dim), regime, role="k")
    v = values(rng, (*lead, sizes.kv_heads, sizes.kv_len, sizes.value_dim), regime, role="v")
    return Problem(q, k, v, options).astype(sizes.dtype)
