"""Sparse attention by other mechanisms: separate texts, residue classes, transposed tables, rotated windows, chosen keys."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.calls import pairs, restored, taking
from tinyattn.laws.problem import Mechanism, repeat_heads
from tinyattn.ops import masks
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array

TO_ALL = taking(definitions.attention, "scale")
CAUSAL = taking(definitions.attention, "scale", causal=True)
BY_PATTERN = taking(definitions.attention, "mask", "scale")


def chunked(q: Array, k: Array, v: Array, *, window: int, mode: str, **options: Any) -> Any:
    """Returns attention with causal blocks as its mask."""
    return definitions.attention(q, k, v, mask=masks.causal() & masks.block_local(window), **{**options, "causal": False})


def blocks_alone(q: Array, k: Array, v: Array, *, scale: float | None = None, **options: Any) -> Array:
    """Returns causal attention in which every three tokens are a text of their own."""
    cuts = [slice(s, s + 3) for s in range(0, q.shape[-2], 3)]
    return np.concatenate([definitions.attention(*(x[..., s, :] for x in (q, k, v)), causal=True, scale=scale) for s in cuts], axis=-2)


def residues_alone(q: Array, k: Array, v: Array, *, scale: float | None = None, **options: Any) -> Array:
    """Returns local attention with a window of two tokens within each residue class modulo three."""
    order = np.concatenate([np.arange(r, q.shape[-2], 3) for r in range(3)])
    parts = [definitions.multi_head_local_attention(*(x[..., r::3, :] for x in (q, k, v)), window=2, scale=scale) for r in range(3)]
    return restored(parts, order)


def columns_as_blocks(q: Array, k: Array, v: Array, *, scale: float | None = None, **options: Any) -> Array:
    """Returns blocks of the text written as a table three wide and transposed, so that a column is a block."""
    rows = q.shape[-2] // 3
    order = np.arange(q.shape[-2]).reshape(rows, 3).T.reshape(-1)
    turned = (x[..., order, :] for x in (q, k, v))
    return restored([definitions.attention(*turned, mask=masks.causal() & masks.block_local(rows), scale=scale)], order)


def sharded_pattern(q: Array, k: Array, v: Array, *, size: int, local: int, stride: int, scale: float | None = None) -> Any:
    """Returns gathered attention with a pattern of the same shards."""
    pattern = masks.sharded(q.shape[-3], size=size, local=local, stride=stride)
    return definitions.gathered_attention(q, k, v, mask=pattern, scale=scale, block=size)


def by_global_projections(q: Array, k: Array, v: Array, *, q_global: Array, k_global: Array, v_global: Array,
                          scale: float | None = None, **options: Any) -> Any:
    """Returns attention by the global projections."""
    return definitions.attention(q_global, k_global, v_global, scale=scale)


def both_sides(q: Array, k: Array, v: Array, *, window: int, scale: float | None = None, **options: Any) -> Any:
    """Returns a window on both sides of the query, whose own token counts."""
    return definitions.multi_head_local_attention(q, k, v, window=window + 1, causal=False, scale=scale)


def one_pattern(q: Array, k: Array, v: Array, *, window: int, global_tokens: list[int], scale: float | None = None) -> Any:
    """Returns gathered attention with one pattern of the window and the global tokens."""
    pattern = masks.window(window, window) | masks.global_tokens(global_tokens)
    return definitions.gathered_attention(q, k, v, mask=pattern, scale=scale, block=2)


def on_rotated(mechanism: Mechanism, q: Array, k: Array, v: Array, *, first: int, window: int, **options: Any) -> Any:
    """Returns another mechanism on rotated queries and keys."""
    places = np.arange(k.shape[-2])
    return mechanism(rotary(q, places[k.shape[-2] - q.shape[-2] :]), rotary(k, places), v, **options)


def rotary_window(q: Array, k: Array, v: Array, *, window: int, **options: Any) -> Any:
    """Returns a sliding window over rotated queries and keys."""
    local = partial(definitions.multi_head_local_attention, window=window)
    return on_rotated(local, q, k, v, window=window, **options)


def rolled(q: Array, k: Array, v: Array, *, group: int, causal: bool, scale: float | None = None) -> Array:
    """Returns groups of the text, which for the second half of the heads is rolled by half a group and rolled back.

    What came round the end of the text is a region of its own, which the rest does not see.
    """
    length, half = q.shape[-2], q.shape[-3] // 2
    order = np.roll(np.arange(length), -group // 2)
    came_round = order < group // 2
    neighbours = masks.block_local(group).dense(length, length) & (came_round[:, None] == came_round)
    seen = neighbours & (order <= order[:, None]) if causal else neighbours
    straight = definitions.multi_head_local_attention(*(x[..., :half, :, :] for x in (q, k, v)), window=group, mode="block",
                                                      causal=causal, scale=scale)
    turned = definitions.attention(*(x[..., half:, order, :] for x in (q, k, v)), mask=seen, scale=scale)
    return np.concatenate((straight, turned[..., np.argsort(order), :]), axis=-3)


def within_blocks(option: str) -> Mechanism:
    """Returns attention within blocks, in all heads; this option of a problem is their length."""
    return lambda q, k, v, *, causal=True, scale=None, **options: definitions.multi_head_local_attention(
        q, k, v, window=options[option], mode="block", causal=causal, scale=scale)


def shifted_in_all_heads(q: Array, k: Array, v: Array, *, group: int, causal: bool, scale: float | None = None) -> Any:
    """Returns windows on a line shifted by half a window, in all heads."""
    return definitions.shifted_window_attention(q, k, v, grid=(q.shape[-2],), window=group, shift=group // 2, scale=scale)


def best_value(q: Array, k: Array, v: Array, *, keep: int, scale: float) -> Array:
    """Returns the value of the first key with the largest score."""
    best, values = np.argmax(pairs(q, k) * scale, axis=-1)[..., None], repeat_heads(q, v)[0]
    return np.take_along_axis(values, np.broadcast_to(best, (*best.shape[:-1], v.shape[-1])), axis=-2)


def unit_keys(q: Array, k: Array, v: Array, *, rotations: Array, chunk: int, **options: Any) -> Any:
    """Returns attention to keys of length 1 in which each query's own key scores 1e5 lower."""
    places = np.arange(q.shape[-2])
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    last = np.where(places[:, None] == places, -1e5, 0.0).astype(q.dtype)
    return definitions.attention(q, q / np.where(length == 0, 1.0, length), v, bias=last, **options)
