"""EvictingCache: a budget of tokens, and a policy that says which are forgotten."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn import definitions
from tinyattn.caches.asked import READING, check_options
from tinyattn.caches.base import Keyed, exclusive
from tinyattn.caches.policies import Policy
from tinyattn.caches.protocol import check_chunk, check_tokens
from tinyattn.caches.reading import computed
from tinyattn.ops.heads import fold_group, split_group, unfold_group
from tinyattn.ops.types import Array

OPTIONS = ("scale", "softcap", "sinks")


class Held(NamedTuple):
    """Keys and values (..., kv_heads, n, dim), the position and the summed weights (..., kv_heads, n) of each, tokens seen."""

    keys: Array
    values: Array
    positions: Array
    mass: Array
    length: int


class EvictingCache(Keyed):
    """Keeps the tokens that a policy does not forget, another set in each kv head; approximate.

    What is read is exact for the tokens held: no more than the policy's budget were ever there, nothing is. A policy weighs
    tokens by the queries that read them, so that tokens come with `step`; heads that share keys weigh them together.

    nbytes = n kv_heads ((head_dim + value_dim) itemsize + max(4, itemsize) + 8), where n is what the policy holds: of each
    token also the weight that it was given and its position.

    Raises:
        ValueError: append; attend once something was forgotten; truncate to other than 0 or the length (fork before a step
            that may be taken back); options besides scale, softcap and sinks.

    >>> from tinyattn.caches.policies import HeavyHitters
    >>> cache = EvictingCache(HeavyHitters(heavy=1, recent=1))
    >>> x = np.array([[[2.0], [0.0], [1.0], [1.0]]])
    >>> _ = cache.step(x, x, x)
    >>> cache.view()[2]
    array([[0, 3]])
    """

    exact = False
    _held: Held | None

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        if missing := [name for name in ("piece", "held", "kept") if not callable(getattr(policy, name, None))]:
            raise TypeError(f"policy: expected one with {', '.join(missing)}, as HeavyHitters has, got {type(policy).__name__}")
        self.policy = policy

    @property
    def nbytes(self) -> int:
        """Bytes of the tokens held."""
        return 0 if self._held is None else sum(array.nbytes for array in self._held[:4])

    allocated = nbytes

    def _kept(self) -> tuple[Array, Array] | None:
        return None if self._held is None else (self._held.keys, self._held.values)

    def _grown(self, k: Array, v: Array) -> Held:
        raise ValueError("append: tokens are weighed by the queries that read them; step brings both")

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Takes in a chunk, as much at once as the policy says, and returns what its queries read."""
        check_weighed("step", options)
        k, v = check_tokens(k, v, self._kept())
        held, n, start = self._held or empty(k, v), k.shape[-2], 0
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

    def _taken(self, held: Held, q: Array, k: Array, v: Array, options: dict[str, Any]) -> tuple[Array, Held]:
        """Returns what a piece's queries read of the held tokens and the piece, and what is held after that."""
        grown = joined(held, k, v)
        weights, out = read(q, grown.keys, grown.values, options)
        grown = grown._replace(mass=grown.mass + weights.sum(axis=-2))
        index = self.policy.kept(weights, grown.mass, first=held.length == 0)
        return out, grown if index is None else chosen(grown, index)

    def _read(self, q: Array, held: Held, options: dict[str, Any]) -> Array:
        check_weighed("attend", options)
        if held.keys.shape[-2] < held.length:
            raise ValueError(f"q: {held.length - held.keys.shape[-2]} of the {held.length} tokens that it sees were forgotten; "
                             f"step reads before it forgets")
        return read(q, held.keys, held.values, options)[1]

    def _seen(self, held: Held) -> tuple[Array, Array, Array]:
        return held.keys[:], held.values[:], held.positions.copy()

    def _cut(self, length: int) -> Held | None:
        if length:
            raise ValueError(f"length: what {self.length} tokens were given as weight is not taken back, expected 0 or {self.length}, "
                             f"got {length}; fork before a step that may be undone")
        return None

    def _picked(self, rows: Array) -> Held | None:
        held = self._held
        return held and Held(held.keys[rows], held.values[rows], held.positions[rows], held.mass[rows], held.length)

    def _arrays(self) -> dict[str, Array]:
        held = self._held
        return {} if held is None else {**dict(zip(Held._fields, held[:4], strict=False)), "length": np.array(held.length, np.int64)}

    def _restore(self, arrays: dict[str, Array]) -> None:
        keys, values = check_tokens(arrays["keys"], arrays["values"], None)
        positions, mass = arrays["positions"], arrays["mass"]
        if not positions.shape == mass.shape == keys.shape[:-1]:
            raise ValueError(f"positions, mass: expected {keys.shape[:-1]} as in keys {keys.shape}, got {positions.shape} and "
                             f"{mass.shape}")
        self._held = Held(keys, values, positions, mass, int(arrays["length"]))


def read(q: Array, keys: Array, values: Array, options: dict[str, Any]) -> tuple[Array, Array]:
    """Returns the weights of each kv head's keys, summed over the heads that share them, and what the queries read."""
    wide, keys, values = (x.astype(computed(q.dtype), copy=False) for x in (q, keys, values))
    weights = definitions.attention_weights(wide, keys, causal=True, **options)
    kv_heads = keys.shape[-3]
    out = unfold_group(fold_group(weights, kv_heads) @ values, q.shape[-3])
    return split_group(weights, kv_heads).sum(axis=-3), out.astype(q.dtype, copy=False)


def empty(k: Array, v: Array) -> Held:
    """Returns a value without tokens of this kind."""
    none = k[..., :0, :].copy()
    return Held(none, v[..., :0, :].copy(), np.zeros(none.shape[:-1], np.int64), np.zeros(none.shape[:-1], computed(k.dtype)), 0)


def joined(held: Held, k: Array, v: Array) -> Held:
    """Returns what is held and new tokens, which nobody has read yet."""
    length = held.length + k.shape[-2]
    positions = np.broadcast_to(np.arange(held.length, length), k.shape[:-1])
    return Held(np.concatenate((held.keys, k), axis=-2), np.concatenate((held.values, v), axis=-2),
                np.concatenate((held.positions, positions), axis=-1),
                np.concatenate((held.mass, np.zeros(k.shape[:-1], held.mass.dtype)), axis=-1), length)


def chosen(held: Held, index: Array) -> Held:
    """Returns the tokens at these indices of each kv head."""
    keys, values = (np.take_along_axis(x, index[..., None], axis=-2) for x in (held.keys, held.values))
    positions, mass = (np.take_along_axis(x, index, axis=-1) for x in (held.positions, held.mass))
    return Held(keys, values, positions, mass, held.length)


def check_weighed(method: str, options: dict[str, Any]) -> None:
    """Raises ValueError for an option that has no meaning where every head holds other tokens, TypeError for an unknown one."""
    check_options(method, options, READING)
    for name in options:
        if name not in OPTIONS:
            raise ValueError(f"{name}: an evicting cache takes {', '.join(OPTIONS)}")
