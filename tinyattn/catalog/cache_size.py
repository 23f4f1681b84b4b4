"""The size of a cache in bytes: one formula in words and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyattn.layers.tensor_product import RANK
from tinyattn.ops.levels import levels_of


@dataclass(frozen=True)
class CacheSize:
    """The bytes of a cache for one sequence: `formula` in words, and `nbytes(length, kv_heads, head_dim, value_dim, itemsize)`.

    `nbytes` also takes the settings of a cache by name, if its size depends on them, and `heads` where `by_heads` says that
    it depends on the number of query heads.
    """

    formula: str
    nbytes: Callable[..., int]
    by_heads: bool = False

    def of(self, length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, heads: int | None = None) -> int:
        """Returns the bytes for this number of query heads, or for one per kv head."""
        more = {"heads": heads or kv_heads} if self.by_heads else {}
        return self.nbytes(length, kv_heads, head_dim, value_dim, itemsize, **more)


def keys_and_values(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, **_: Any) -> int:
    """Returns the bytes of all keys and values."""
    return length * kv_heads * (head_dim + value_dim) * itemsize


def with_gates(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, *, heads: int, **_: Any) -> int:
    """Returns the bytes of all keys and values, and of a number per token and query head."""
    return keys_and_values(length, kv_heads, head_dim, value_dim, itemsize) + length * heads * itemsize


def with_index(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, *, index_dim: int, **_: Any) -> int:
    """Returns the bytes of all keys and values, and of a key per token that all heads of an indexer share."""
    return keys_and_values(length, kv_heads, head_dim, value_dim, itemsize) + length * index_dim * itemsize


def ring(length: int, *sizes: int, window: int, keep_first: int = 0, slack: int = 0, **_: Any) -> int:
    """Returns the bytes of the first tokens and the last ones."""
    return keys_and_values(min(length, keep_first + window + slack), *sizes)


def quantised(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, *, bits: int = 8, group: int = 32,
              residual: int = 32) -> int:
    """Returns the bytes of the codes, of a scale and a zero point per group, and of the newest tokens."""
    old, number = max(0, length - residual) // group * group, max(4, itemsize)
    codes = old * (-(-head_dim * bits // 8) + -(-value_dim * bits // 8))
    scales = 2 * number * (old // group * head_dim + old * -(-value_dim // group))
    return kv_heads * (codes + scales) + keys_and_values(length - old, kv_heads, head_dim, value_dim, itemsize)


def normalised_state(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, *, slack: int = 0) -> int:
    """Returns the bytes of the state with its normaliser, of its check-points and of the tokens since the older one."""
    marks, since = (min(length // slack, 2), length - max(0, length // slack - 1) * slack) if slack else (0, 0)
    states = (1 + marks) * kv_heads * head_dim * (value_dim + 1) * max(4, itemsize)
    return states + keys_and_values(since, kv_heads, head_dim, value_dim, itemsize)


def evicted(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, *, policy: Any) -> int:
    """Returns the bytes of the tokens held, each with its weight and its position."""
    return policy.held(length) * kv_heads * ((head_dim + value_dim) * itemsize + max(4, itemsize) + 8)


def state_of(features: Callable[[int], int]) -> Callable[[int, int, int, int, int], int]:
    """Returns the function that gives the bytes of a state of features(head_dim) features with its normaliser."""
    return lambda length, kv_heads, head_dim, value_dim, itemsize: kv_heads * features(head_dim) * (value_dim + 1) * itemsize


KEYS_AND_VALUES = CacheSize("length kv_heads (head_dim + value_dim) itemsize", keys_and_values)
KEYS_AND_VALUES_OF_ALL_HEADS = CacheSize("length heads (head_dim + value_dim) itemsize", keys_and_values)
KEYS_VALUES_AND_GATES = CacheSize("length (kv_heads (head_dim + value_dim) + heads) itemsize", with_gates, by_heads=True)
KEYS_VALUES_AND_INDEX = CacheSize("length (kv_heads (head_dim + value_dim) + index_dim) itemsize", with_index)
ONE_HEAD = CacheSize("length (head_dim + value_dim) itemsize", keys_and_values)
STATE = CacheSize("kv_heads head_dim value_dim itemsize",
                  lambda length, kv_heads, head_dim, value_dim, itemsize: kv_heads * head_dim * value_dim * itemsize)
KEYS_VALUES_AND_DIRECTIONS = CacheSize(
    "length kv_heads (2 head_dim + value_dim + 1) itemsize",
    lambda length, kv_heads, head_dim, value_dim, itemsize: length * kv_heads * (2 * head_dim + value_dim + 1) * itemsize)
SUMS = CacheSize("kv_heads head_dim (head_dim + value_dim) itemsize",
                 lambda length, kv_heads, head_dim, value_dim, itemsize: kv_heads * head_dim * (head_dim + value_dim) * itemsize)
LEVEL_STATES = CacheSize("kv_heads ((1 + ceil(log2 length)) head_dim value_dim itemsize + 8)",
                         lambda length, kv_heads, head_dim, value_dim, itemsize:
                         kv_heads * (levels_of(length) * head_dim * value_dim * itemsize + 8))
NORMALISED_STATE = CacheSize("kv_heads features (value_dim + 1) itemsize", state_of(lambda head_dim: head_dim))
# As wide as the keys and values of all kv heads, with half a head of rotated channels.
LATENT = CacheSize("length (r + p) itemsize", lambda length, kv_heads, head_dim, value_dim, itemsize:
                   length * (kv_heads * (head_dim + value_dim) + head_dim // 2) * itemsize)
# Keys and values of rank 2, as the layer makes them.
FACTORS = CacheSize("length rank (2 kv_heads + head_dim + value_dim) itemsize",
                    lambda length, kv_heads, head_dim, value_dim, itemsize:
                    length * RANK * (2 * kv_heads + head_dim + value_dim) * itemsize)
# head_dim numbers of a latent and value_dim of a rotated key, for any number of heads.
LATENTS = CacheSize("length (r + p) itemsize",
                    lambda length, kv_heads, head_dim, value_dim, itemsize: length * (head_dim + value_dim) * itemsize)
RING = CacheSize("min(length, keep_first + window + slack) kv_heads (head_dim + value_dim) itemsize", ring)
CODES = CacheSize(
    "kv_heads (old (ceil(head_dim bits / 8) + ceil(value_dim bits / 8)) + 2 max(4, itemsize) (old / group head_dim + old ceil("
    "value_dim / group)) + (length - old) (head_dim + value_dim) itemsize), old = group floor(max(0, length - residual) / group)",
    quantised)
EVICTED = CacheSize("held kv_heads ((head_dim + value_dim) itemsize + max(4, itemsize) + 8)", evicted)
STATE_WITH_CHECKPOINTS = CacheSize(
    "kv_heads features (value_dim + 1) max(4, itemsize); with slack as much for two check-points, and the tokens since",
    normalised_state)
