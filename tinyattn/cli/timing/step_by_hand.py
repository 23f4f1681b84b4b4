"""Greedy decoding typed out in NumPy, without layers, caches and checks, its arrays allocated beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, parameters
from tinyattn.ops.types import Array


def write_by_hand(decoder: Decoder, config: DecoderConfig, prompt: bytes, tokens: int) -> Iterator[int]:
    """Yields the bytes that `generate` yields at temperature 0."""
    step = make_step(decoder, config, len(prompt) + tokens)
    logits = [step(token) for token in prompt][-1]
    for _ in range(tokens):
        token = int(np.argmax(logits))
        yield token
        logits = step(token)


def make_step(decoder: Decoder, config: DecoderConfig, capacity: int) -> Callable[[int], Array]:
    """Returns a function that takes the next token and returns the logits after it, for up to `capacity` tokens in a row.

    The decoder has grouped-query attention, rotary positions, and the sizes of the config.
    """
    kv_heads, dim, dtype = config.kv_heads, config.head_dim, decoder.embedding.dtype
    groups, half, scale = config.heads // kv_heads, dim // 2, dim ** -0.5
    keys, values = np.empty((2, config.layers, kv_heads, capacity, dim), dtype)
    angles = np.arange(capacity)[:, None] * config.base ** (-np.arange(half) / half)
    cos, sin = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
    names = ("attention_norm.weight", "attention.q", "attention.k", "attention.v", "attention.out", "feed_forward_norm.weight",
             "feed_forward.gate", "feed_forward.up", "feed_forward.down")
    weights = parameters(decoder)
    layers = [[weights[f"blocks.{i}.{name}"] for name in names] for i in range(config.layers)]
    length = 0

    def norm(x: Array, weight: Array) -> Array:
        return x / np.sqrt((x * x).mean() + 1e-6) * weight

    def rotated(x: Array) -> Array:
        a, b = x[..., :half], x[..., half:]
        return np.concatenate((a * cos[length] - b * sin[length], b * cos[length] + a * sin[length]), axis=-1)

    def step(token: int) -> Array:
        nonlocal length
        x = decoder.embedding[token]
        for i, (norm1, w_q, w_k, w_v, w_out, norm2, w_gate, w_up, w_down) in enumerate(layers):
            y = norm(x, norm1)
            q = rotated((y @ w_q).reshape(kv_heads, groups, dim))
            keys[i, :, length] = rotated((y @ w_k).reshape(kv_heads, dim))
            values[i, :, length] = (y @ w_v).reshape(kv_heads, dim)
            scores = q @ keys[i, :, : length + 1].mT * scale
            exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
            read = exps / exps.sum(axis=-1, keepdims=True) @ values[i, :, : length + 1]
            x = x + read.reshape(-1) @ w_out
            y = norm(x, norm2)
            gate = y @ w_gate
            x = x + (gate / (1 + np.exp(-gate)) * (y @ w_up)) @ w_down
        length += 1
        return norm(x, decoder.norm.weight) @ decoder.head

    return step
