"""EvictingCache: a budget of tokens, and a policy that selects which are evicted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches import base
from tinyattn.caches.checks import check_chunk, check_keys_values
from tinyattn.caches.options import READING, check_options
from tinyattn.caches.parts import computed
from tinyattn.caches.policies import Policy
from tinyattn.caches.turns import exclusive
from tinyattn.ops.heads import split_group
from tinyattn.ops.score_rule import Score, ScoreRule, with_parts
from tinyattn.ops.scores import weighted_values
from tinyattn.ops.types import Array

OPTIONS = ("scale", "softcap", "sinks", "score")


class Weighed(NamedTuple):
    """The tokens of each kv head: keys and values (..., kv_heads, n, dim), positions and total weights (..., kv_heads, n).

    `length` is the number of tokens seen. The weight of a token is the sum of what all queries so far gave it.
    """

    keys: Array
    values: Array
    positions: Array
    mass: Array
    length: int

    @classmethod
    def empty(cls, k: Array, v: Array) -> Weighed:
        """Returns a value without tokens, for keys and values like these."""
        none = k[..., :0, :].copy()
        return cls(none, v[..., :0, :].copy(), np.zeros(none.shape[:-1], np.int64), np.zeros(none.shape[:-1], computed(k.dtype)), 0)

    @property
    def like(self) -> tuple[Array, Array]:
        """Keys and values of the shape and dtype that are held."""
        return self.keys, self.values

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self[:4])

    def extended(self, k: Array, v: Array) -> Weighed:
        """Returns the tokens and new ones, which no query has read yet."""
        length = self.length + k.shape[-2]
        positions = np.broadcast_to(np.arange(self.length, length), k.shape[:-1])
        return Weighed(np.concatenate((self.keys, k), axis=-2), np.concatenate((self.values, v), axis=-2),
                       np.concatenate((self.positions, positions), axis=-1),
                       np.concatenate((self.mass, np.zeros(k.shape[:-1], self.mass.dtype)), axis=-1), length)

    def chosen(self, index: Array) -> Weighed:
        """Returns the tokens at these indices of each kv head."""
        keys, values = (np.take_along_axis(x, index[..., None], axis=-2) for x in self[:2])
        positions, mass = (np.take_along_axis(x, index, axis=-1) for x in self[2:4])
        return Weighed(keys, values, positions, mass, self.length)

    def forked(self) -> tuple[Weighed, Weighed]:
        """Returns the values of a cache and of its fork: the same, as neither is ever written."""
        return self, self

    def reordered(self, rows: Array) -> Weighed:
        """Returns the tokens of these rows of the first axis."""
        return Weighed(self.keys[rows], self.values[rows], self.positions[rows], self.mass[rows], self.length)

    def saved(self) -> dict[str, Array]:
        """Returns all arrays by name."""
        return {**dict(zip(self._fields, self[:4], strict=False)), "length": np.array(self.length, np.int64)}


class EvictingCache(base.Base):
    """Keeps the tokens that a policy selects, which may differ from kv head to kv head; approximate.

    Attention is exact for the tokens held. Until the budget of the policy is first exceeded nothing is evicted, and the result
    is exact. A policy weighs tokens by the queries that attend to them, so tokens come with `step`; heads that share keys weigh
    them together.

    nbytes = n kv_heads ((head_dim + value_dim) itemsize + max(4, itemsize) + 8), where n is the number of tokens that the policy
    holds: with each token its total weight and its position are kept.

    Raises:
        ValueError: append; attend once a token was evicted; truncate to other than 0 or the length (fork before a step that may
            be taken back); options besides scale, softcap, sinks and score.

    >>> from tinyattn.caches.policies import HeavyHitters
    >>> cache = EvictingCache(HeavyHitters(heavy=1, recent=1))
    >>> x = np.array([[[2.0], [0.0], [1.0], [1.0]]])
    >>> _ = cache.step(x, x, x)
    >>> cache.view()[2]
    array([[0, 3]])
    """

    exact = False
    _held: Weighed | None
    allocated = base.Base.nbytes
    view = base.view

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        if missing := [name for name in ("piece", "held", "kept") if not callable(getattr(policy, name, None))]:
            raise TypeError(f"policy: expected a policy such as HeavyHitters or SnapKV, got {type(policy).__name__}, which has no "
                            f"method {' or '.join(missing)}")
        self.policy = policy

    def _appended(self, k: Array, v: Array) -> Weighed:
        raise ValueError("append: tokens are weighed by the queries that attend to them; step takes both")

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Stores a chunk, as many tokens at once as the policy allows, and returns the attention of its queries."""
        check_weighed("step", options)
        held = self._held
        k, v = check_keys_values(k, v, held and held.like)
        held, n, start = held or Weighed.empty(k, v), k.shape[-2], 0
        outs: list[Array] = []
        check_chunk(q, n)
        if q.shape[-2] != n:
            raise ValueError(f"q: expected a query for each of the chunk's {n} tokens, got shape {q.shape}")
        q = self._fitting(q, k)
        while start < n or not outs:
            stop = start + self.policy.piece(held.keys.shape[-2], n - start)
            out, held = self._taken(held, q[..., start:stop, :], k[..., start:stop, :], v[..., start:stop, :], options)
            outs.append(out)
            start = stop
        out = np.concatenate(outs, axis=-2)
        self._held = held
        return out

    def _taken(self, held: Weighed, q: Array, k: Array, v: Array, options: dict[str, Any]) -> tuple[Array, Weighed]:
        """Returns the attention of a piece's queries to the held tokens and the piece, and the tokens held afterwards."""
        grown = held.extended(k, v)
        weights, out = weighed(q, grown, options)
        grown = grown._replace(mass=grown.mass + weights.sum(axis=-2))
        index = self.policy.kept(weights, grown.mass, first=held.length == 0)
        return out, grown if index is None else grown.chosen(index)

    def _attended(self, q: Array, held: Weighed, options: dict[str, Any]) -> Array:
        check_weighed("attend", options)
        if held.keys.shape[-2] < held.length:
            raise ValueError(f"q: {held.length - held.keys.shape[-2]} of the {held.length} tokens that it sees were evicted; "
                             f"step attends before it evicts")
        return weighed(q, held, options)[1]

    def _viewed(self, held: Weighed) -> tuple[Array, Array, Array]:
        return held.keys[:], held.values[:], held.positions.copy()

    def _truncated(self, held: Weighed, length: int) -> None:
        if length:
            raise ValueError(f"length: the weights that {self.length} tokens received cannot be undone, expected 0 or {self.length}, "
                             f"got {length}; fork before a step that may be taken back")

    def _loaded(self, arrays: dict[str, Array]) -> Weighed:
        keys, values = check_keys_values(arrays["keys"], arrays["values"], None)
        positions, mass = arrays["positions"], arrays["mass"]
        if not positions.shape == mass.shape == keys.shape[:-1]:
            raise ValueError(f"positions, mass: expected {keys.shape[:-1]} as in keys {keys.shape}, got {positions.shape} and "
                             f"{mass.shape}")
        return Weighed(keys, values, positions, mass, int(arrays["length"]))


def weighed(q: Array, held: Weighed, options: dict[str, Any]) -> tuple[Array, Array]:
    """Returns the weights of each kv head's keys, summed over the heads that share them, and the attention."""
    if options.get("score") is not None:
        options = options | {"score": placed(options["score"], q, held)}
    wide, keys, values = (x.astype(computed(q.dtype), copy=False) for x in (q, held.keys, held.values))
    weights = definitions.attention_weights(wide, keys, causal=True, **options)
    return split_group(weights, keys.shape[-3]).sum(axis=-3), weighted_values(weights, values).astype(q.dtype, copy=False)


def placed(score: Score, q: Array, held: Weighed) -> ScoreRule:
    """Returns the rule at the positions of the tokens that each head holds, for queries at the last positions."""
    rule = score if isinstance(score, ScoreRule) else ScoreRule(score)
    if (trace := fastest.kernel("rules.tracer.check")) is not None:
        trace(rule)  # what the kernels of other caches refuse is refused here too
    for x in rule.parameters:
        if any(n > 1 for n in x.shape[-2:]):
            raise ValueError(f"score: an evicting cache takes no parameter per query or key, got one of shape {x.shape}")
    of_heads = np.repeat(held.positions, q.shape[-3] // held.positions.shape[-2], axis=-2)
    return with_parts(rule, lambda x: x, (np.arange(held.length - q.shape[-2], held.length), of_heads))


def check_weighed(method: str, options: dict[str, Any]) -> None:
    """Raises ValueError for an option that has no meaning where heads hold different tokens, TypeError for an unknown one."""
    check_options(method, options, READING)
    for name in options:
        if name not in OPTIONS:
            raise ValueError(f"{name}: an evicting cache takes {', '.join(OPTIONS)}")
