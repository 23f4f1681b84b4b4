"""Mechanisms with tables of distances and mixtures of heads, as a decoder and a cache call them at every length."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.laws.problem import Mechanism
from tinyattn.ops.norm import unit
from tinyattn.ops.positions.absolute import sinusoidal
from tinyattn.ops.types import Array


def same_for_all_tokens(mechanism: Mechanism) -> Mechanism:
    """Declares that no option of a mechanism has one entry per token, as batched caches would guess from the number of axes."""
    mechanism.per_token = {}  # type: ignore[attr-defined]
    return mechanism


@same_for_all_tokens
def talking(q: Array, k: Array, v: Array, *, before: Array, after: Array, **options: Any) -> Any:
    """Returns talking-heads attention whose matrices are the identity plus those given, which begin at 0."""
    same = np.eye(q.shape[-3], dtype=q.dtype)
    return fastest.talking_heads_attention(q, k, v, before=same + before, after=same + after, **options)


@same_for_all_tokens
def transformer_xl(q: Array, k: Array, v: Array, *, projection: Array, u: Array, w: Array, **options: Any) -> Any:
    """Returns causal relative-position attention whose table is a projection (heads, d, d) of the sinusoids of all distances."""
    waves = sinusoidal(np.arange(k.shape[-2])[::-1], q.shape[-1]).astype(q.dtype)
    return fastest.relative_position_attention(q, k, v, relative=waves @ projection, u=u, w=w, **options)


@same_for_all_tokens
def deberta(q: Array, k: Array, v: Array, *, q_relative: Array, k_relative: Array, **options: Any) -> Any:
    """Returns disentangled attention whose distances are clipped to the middle of the tables."""
    q_len, kv_len, rows = q.shape[-2], k.shape[-2], k_relative.shape[-2]
    behind = np.arange(kv_len - q_len, kv_len)[:, None] - np.arange(kv_len)
    return fastest.disentangled_attention(q, k, v, q_relative=q_relative, k_relative=k_relative,
                                          distance=np.clip(behind + rows // 2, 0, rows - 1), **options)


def path(q: Array, k: Array, v: Array, *, w: Array, beta: Array, **options: Any) -> Any:
    """Returns PaTH attention on directions of length 1, as the paper trains it."""
    return fastest.path_attention(q, k, v, w=unit(w), beta=beta, **options)


def with_nearest_rows(f: Mechanism) -> Mechanism:
    """Returns causal relative-position attention that takes the table of a whole text, and reads a row per key from its end."""
    def mechanism(q: Array, k: Array, v: Array, *, relative: Array, **options: Any) -> Any:
        return f(q, k, v, relative=relative[:, relative.shape[1] - k.shape[-2] :], **options)

    return mechanism


def with_distances_so_far(f: Mechanism) -> Mechanism:
    """Returns disentangled attention that takes the distances of a whole text and reads those of the tokens so far."""
    def mechanism(q: Array, k: Array, v: Array, *, distance: Array, **options: Any) -> Any:
        kv_len = k.shape[-2]
        return f(q, k, v, distance=distance[kv_len - q.shape[-2] : kv_len, :kv_len], **options)

    return mechanism


def with_bias_of_cells(f: Mechanism) -> Mechanism:
    """Returns attention with the bias that f makes of two tables."""
    def mechanism(q: Array, k: Array, v: Array, *, table_y: Array, table_x: Array, grid: Any, **options: Any) -> Any:
        return fastest.attention(q, k, v, bias=f(q, table_y=table_y, table_x=table_x, grid=grid), **options)

    return mechanism
