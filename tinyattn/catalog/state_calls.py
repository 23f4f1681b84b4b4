"""Further states as a decoder calls them, and the bytes of their caches."""

from __future__ import annotations

from functools import wraps
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.catalog.cache_size import CacheSize
from tinyattn.laws.problem import Mechanism
from tinyattn.ops.checks import truth
from tinyattn.ops.norm import unit
from tinyattn.ops.options import first_position
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

# The width of the convolution of a decoder.
TAPS = 4
MEMORY = CacheSize("kv_heads (head_dim (value_dim + 1) + 1) itemsize", lambda length, kv_heads, head_dim, value_dim, itemsize:
                   kv_heads * (head_dim * (value_dim + 1) + 1) * itemsize)


CONVOLVED = CacheSize("kv_heads value_dim (width - 1) itemsize",
                      lambda length, kv_heads, head_dim, value_dim, itemsize: kv_heads * value_dim * (TAPS - 1) * itemsize)


def of_values(f: Mechanism) -> Mechanism:
    """Returns a convolution as f(q, k, v, weight=, bias=), which mixes the tokens of v; each query head reads those of its kv head.

    weight (kv_heads, value_dim, width), bias (kv_heads, value_dim); queries and keys only say how many heads and rows there are.
    """
    def mixer(q: Array, k: Array, v: Array, *, weight: Array, bias: Array | None = None, initial_state: Array | None = None,
              return_state: bool = False) -> Any:
        first, channels = first_position(q, k), v.mT.reshape(*v.shape[:-3], v.shape[-3] * v.shape[-1], v.shape[-2])
        taps, offset = (x if x is None else floating(name, x) for name, x in (("weight", weight), ("bias", bias)))
        out, state = f(channels, merged(taps, 3), bias=merged(offset, 2), initial_state=initial_state, return_state=True)
        rows = out.reshape(*v.shape[:-2], v.shape[-1], v.shape[-2]).mT[..., first:, :]
        rows = np.repeat(rows, q.shape[-3] // max(v.shape[-3], 1), axis=-3)
        return (rows, state) if truth("return_state", return_state) else rows

    mixer.per_token, mixer.waiting = {}, None  # type: ignore[attr-defined]
    return mixer


def merged(x: Array | None, rank: int) -> Array | None:
    """Returns an array of this many axes with its first two, heads and channels, as one; any other as it is."""
    return x.reshape(-1, *x.shape[2:]) if x is not None and x.ndim == rank else x


CONVOLUTION = of_values(fastest.causal_convolution)


@wraps(fastest.mlstm)
def with_unit_keys(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Returns mLSTM on queries and keys of length 1: with longer ones the sum that divides changes its sign as it learns."""
    return fastest.mlstm(unit(q), unit(k), v, **options)


def minimax_slopes(heads: int) -> Array:
    """Returns the slopes of MiniMax's first layer, nearly 2^(-8 (h + 1) / heads) for head h.

    >>> minimax_slopes(2).round(4)
    array([0.0625, 0.0039])
    """
    return 2.0 ** (-8.0 * np.arange(1, heads + 1) / heads) * (1 + 1e-5)


def minimax(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Returns lightning attention with the slopes of MiniMax's first layer and queries scaled by d^-1/2.

    A decoder here gives all layers the same slopes; in MiniMax's models those of a later layer are smaller.
    """
    return fastest.lightning_attention(q, k, v, slopes=minimax_slopes(k.shape[-3]).astype(k.dtype), scale=k.shape[-1] ** -0.5,
                                       **options)
