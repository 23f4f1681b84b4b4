"""How good a model is, in bits, and how far its logits through caches are from the full computation, in error budgets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.protocol import Cache
from tinyattn.engine.tree import map_tree
from tinyattn.models.decoder import Decoder, check_tokens, loss
from tinyattn.models.given import check_caches, check_given
from tinyattn.ops.checks import check_rng, index_array, whole
from tinyattn.ops.types import Array

FACTOR, DRAWS = 4.0, 4
EPS32 = float(np.finfo(np.float32).eps)


def bits_per_byte(decoder: Decoder, inputs: Array, targets: Array, *, batch: int = 8) -> float:
    """Returns the mean cross-entropy over windows (count, context), in bits.

    Raises:
        TypeError: inputs or targets that are not integer arrays, a batch that is not an int.
        ValueError: no windows, windows of no tokens, targets of another shape than the inputs, a batch below 1.

    >>> from tinyattn.models.config import DecoderConfig
    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> round(bits_per_byte(decoder, np.array([[97, 98]]), np.array([[98, 99]])))  # of a new model: log2(256)
    8
    """
    check_windows(decoder, inputs, "inputs")
    check_windows(decoder, targets, "targets")
    if targets.shape != inputs.shape:
        raise ValueError(f"targets: expected the shape of the inputs, {inputs.shape}, got {targets.shape}")
    batch = whole("batch", batch, 1)
    total = 0.0
    for start in range(0, len(inputs), batch):
        part = slice(start, start + batch)
        total += float(loss(decoder, inputs[part], targets[part])) * len(inputs[part])
    return total / len(inputs) / math.log(2.0)


def check_windows(decoder: Decoder, tokens: Array, name: str = "tokens") -> None:
    """Raises unless tokens (count, length) are at least one window of at least one token, all in the decoder's vocabulary."""
    check_given("decoder", decoder, "a Decoder", "embedding", "blocks")
    tokens = index_array(name, tokens)
    if tokens.ndim != 2 or 0 in tokens.shape:
        raise ValueError(f"{name}: expected at least one window (count, length), got shape {tokens.shape}")
    check_tokens(tokens, decoder.embedding.shape[0], name)


def cached_logits(decoder: Decoder, tokens: Array, caches: Sequence[Cache], *, prompt: int = 1) -> Array:
    """Returns the logits of tokens (batch, length), read into empty caches, one per layer: first the prompt, then token by token.

    Raises:
        TypeError: tokens that are not an integer array, a prompt that is not an int.
        ValueError: no tokens, a prompt that is not 1 to length.

    >>> from tinyattn.caches import GrowingCache
    >>> from tinyattn.models.config import DecoderConfig
    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> cached_logits(decoder, np.array([[97, 98, 99]]), [GrowingCache()], prompt=2).shape
    (1, 3, 256)
    """
    check_windows(decoder, tokens)
    check_caches(caches, len(decoder.blocks))
    prompt = whole("prompt", prompt, 1)
    if prompt > tokens.shape[1]:
        raise ValueError(f"prompt: expected 1 to {tokens.shape[1]}, the length of the tokens, got {prompt}")
    edges = [0, *range(prompt, tokens.shape[1] + 1)]
    return np.concatenate([decoder(tokens[:, a:b], caches=caches) for a, b in itertools.pairwise(edges)], axis=1)


def gap_in_budgets(decoder: Decoder, tokens: Array, cache: Callable[[], Any], rng: np.random.Generator) -> float:
    """Returns the largest difference of cached and full logits, token by token, in units of the error budget.

    >>> from tinyattn.caches import GrowingCache
    >>> from tinyattn.models.config import DecoderConfig
    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> gap_in_budgets(decoder, np.array([[97, 98, 99]]), GrowingCache, np.random.default_rng(0)) < 1.0
    True
    """
    check_given("cache", cache, "a function that makes a cache")
    full, budget = logits_and_budget(decoder, tokens, rng)
    cached = cached_logits(decoder, tokens, [cache() for _ in decoder.blocks])
    return float((np.abs(cached - full) / budget).max())


def logits_and_budget(decoder: Decoder, tokens: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Returns the logits of tokens (batch, length) by the full computation, as float64, and the error that each may have.

    The budget of a row of logits is 4 (E + J + eps |logit|). E is the error of the full float32 computation against float64,
    J the largest change when every parameter is multiplied by 1 + eps or 1 - eps, in 4 draws.

    Raises:
        TypeError: tokens that are not an integer array. ValueError: no tokens.

    >>> from tinyattn.models.config import DecoderConfig
    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> logits, budget = logits_and_budget(decoder, np.array([[97, 98, 99]]), np.random.default_rng(0))
    >>> logits.shape, bool(budget.max() < 1e-5)
    ((1, 3, 256), True)
    """
    check_given("decoder", decoder, "a Decoder", "astype", "blocks")
    check_rng(rng)
    check_windows(decoder, tokens)
    full = decoder(tokens).astype(np.float64)
    # The definition computes the truth: a float64 kernel would have to be compiled for these few passes.
    wide = map_tree(lambda leaf: definitions.attention if leaf is fastest.attention else leaf, decoder.astype(np.float64))
    truth = wide(tokens)
    spread = np.abs(full - truth).max(axis=-1, keepdims=True)
    for _ in range(DRAWS):
        moved = map_tree(lambda a: a * (1.0 + EPS32 * rng.choice((-1.0, 1.0), a.shape))
                         if isinstance(a, np.ndarray) else a, wide)
        spread = np.maximum(spread, np.abs(moved(tokens) - truth).max(axis=-1, keepdims=True))
    return full, FACTOR * (spread + EPS32 * np.abs(truth))
