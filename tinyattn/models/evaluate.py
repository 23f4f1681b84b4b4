"""How good a model is in bits, and how far its cached decoding is from its full one, in budgets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.caches.protocol import Cache
from tinyattn.engine.tree import map_tree
from tinyattn.models.decoder import Decoder, loss
from tinyattn.ops.types import Array

FACTOR, DRAWS = 4.0, 4
EPS32 = float(np.finfo(np.float32).eps)


def bits_per_byte(decoder: Decoder, inputs: Array, targets: Array, *, batch: int = 8) -> float:
    """Returns the mean cross-entropy over windows (count, context), in bits."""
    total = 0.0
    for start in range(0, len(inputs), batch):
        part = slice(start, start + batch)
        total += float(loss(decoder, inputs[part], targets[part])) * len(inputs[part])
    return total / len(inputs) / math.log(2.0)


def cached_logits(decoder: Decoder, tokens: Array, caches: Sequence[Cache]) -> Array:
    """Returns the logits of tokens (batch, length), read one by one into caches, one a layer, that are empty."""
    return np.concatenate([decoder(tokens[:, i : i + 1], caches=caches) for i in range(tokens.shape[1])], axis=1)


def gap_in_budgets(decoder: Decoder, tokens: Array, cache: Callable[[], Any], rng: np.random.Generator) -> float:
    """Returns the largest difference of cached and full logits, token by token, in units of the error budget.

    The budget of a row of logits is 4 (E + J + eps |logit|): E the error of the full float32 computation against
    float64, J what changes when every parameter moves by a factor 1 +- eps (4 draws).
    """
    return largest_gap(decoder, tokens, cached_logits(decoder, tokens, [cache() for _ in decoder.blocks]), rng)


def largest_gap(decoder: Decoder, tokens: Array, cached: Array, rng: np.random.Generator) -> float:
    """Returns `gap_in_budgets` of logits that were computed through caches before."""
    full = decoder(tokens).astype(np.float64)
    wide = decoder.astype(np.float64)
    truth = wide(tokens)
    spread = np.abs(full - truth).max(axis=-1, keepdims=True)
    for _ in range(DRAWS):
        moved = map_tree(lambda a: a * (1.0 + EPS32 * rng.choice((-1.0, 1.0), a.shape))
                         if isinstance(a, np.ndarray) else a, wide)
        spread = np.maximum(spread, np.abs(moved(tokens) - truth).max(axis=-1, keepdims=True))
    budget = FACTOR * (spread + EPS32 * np.abs(truth))
    return float((np.abs(cached.astype(np.float64) - full) / budget).max())
