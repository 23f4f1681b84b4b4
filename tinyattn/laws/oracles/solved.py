"""Recurrences that read by solving, or by levels, written another way: a regression over all past tokens, and pair by pair."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.draw.solved import LARGE
from tinyattn.laws.oracles.linear import UNNORMALISED
from tinyattn.laws.problem import repeat_heads
from tinyattn.ops.types import Array


def past(log_decay: Array, i: int) -> Array:
    """Returns the product of the decays after each token and up to token i, (..., i + 1)."""
    return np.stack([np.exp(np.sum(log_decay[..., j + 1 : i + 1], axis=-1)) for j in range(i + 1)], axis=-1)


def ridge_regression(q: Array, k: Array, v: Array, *, log_decay: Array, beta: Array, ridge: Array, scale: float = 1.0) -> Array:
    """Returns ridge regression over all tokens up to each query, solved for one unknown per token in place of one per channel."""
    first, (keys, values, decay, weight, damped) = k.shape[-2] - q.shape[-2], repeat_heads(
        q, k, v, log_decay[..., None], beta[..., None], np.broadcast_to(1.0 / ridge[:, None, :], (*k.shape[:-2], 1, k.shape[-1])))
    rows = []
    for i in range(first, k.shape[-2]):
        root = np.sqrt(past(decay[..., 0], i) * weight[..., : i + 1, 0])[..., None]
        mine, told = root * keys[..., : i + 1, :], root * values[..., : i + 1, :]
        among = (mine * damped) @ np.swapaxes(mine, -1, -2) + np.eye(i + 1, dtype=q.dtype)
        rows.append(scale * (q[..., i - first : i - first + 1, :] * damped) @ np.swapaxes(mine, -1, -2) @ np.linalg.solve(among, told))
    return np.concatenate(rows, axis=-2) if rows else np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)


def weighed_and_gated(q: Array, k: Array, v: Array, *, log_decay: Array, beta: Array, ridge: Array) -> Any:
    """Returns simple gated linear attention over values times beta."""
    return definitions.simple_gated_linear_attention(q, k, v * beta[..., None], log_decay=log_decay)


def less_linear(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Returns linear attention, divided by one more than a ridge of 3."""
    out: Array = UNNORMALISED(q, k, v) / 4
    return out


def times_ridge(f: Any, p: Any) -> tuple[Array, ...]:
    """Returns the output of mesa times its ridge `LARGE`."""
    return (p.call(f) * p.q.dtype.type(LARGE),)


def level_between(i: int, j: int) -> int:
    """Returns the level on which token i sees token j: one more than the highest bit in which they differ, 0 for itself.

    >>> [level_between(5, j) for j in range(6)]
    [3, 3, 3, 3, 1, 0]
    """
    return (i ^ j).bit_length()


def pair_by_pair(q: Array, k: Array, v: Array, *, log_decay: Array, level_scales: Array, scale: float = 1.0) -> Array:
    """Returns the sum of the values up to each query, each times its product, the decays between and the scale of its level."""
    first, (keys, values, decay, scales) = k.shape[-2] - q.shape[-2], repeat_heads(q, k, v, log_decay[..., None], level_scales)
    rows = []
    for i in range(first, k.shape[-2]):
        at = np.array([level_between(i, j) for j in range(i + 1)])
        weights = np.sum(q[..., i - first, None, :] * keys[..., : i + 1, :], axis=-1) * past(decay[..., 0], i) * scales[..., i, at]
        rows.append(scale * np.sum(weights[..., None] * values[..., : i + 1, :], axis=-2))
    return np.stack(rows, axis=-2) if rows else np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)


def without_levels(q: Array, k: Array, v: Array, *, log_decay: Array, level_scales: Array) -> Any:
    """Returns simple gated linear attention."""
    return definitions.simple_gated_linear_attention(q, k, v, log_decay=log_decay)


def blocks_of_four(q: Array, k: Array, v: Array, *, log_decay: Array, level_scales: Array) -> Array:
    """Returns simple gated linear attention in which every four tokens are a text of their own."""
    cuts = [slice(s, s + 4) for s in range(0, k.shape[-2], 4)]
    return np.concatenate([definitions.simple_gated_linear_attention(
        *(x[..., s, :] for x in (q, k, v)), log_decay=log_decay[..., s]) for s in cuts], axis=-2)
