"""The parts of a training step of the default model, each forward and backward, as often as a step has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyattn import fastest
from tinyattn.engine.grad import grad, vjp
from tinyattn.layers import fused
from tinyattn.layers.feed_forward import SwiGLU
from tinyattn.layers.linear import projections
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.optimise import AdamW, update
from tinyattn.ops.types import Array


class Shapes(NamedTuple):
    """The arrays of a step's parts: for each part the shapes of its arrays, and how often a step has it."""

    attention: tuple[int, list[tuple[int, ...]]]
    products: list[tuple[int, list[tuple[int, ...]]]]
    norms: tuple[int, list[tuple[int, ...]]]
    feed_forward: tuple[int, list[tuple[int, ...]]]
    rotary: list[tuple[int, list[tuple[int, ...]]]]
    embedding: tuple[int, ...]
    logits: tuple[int, ...]


def shapes(config: DecoderConfig, batch: int) -> Shapes:
    """Returns the shapes of a step on `batch` sequences of the model's context.

    >>> shapes(DecoderConfig(), 8).logits
    (8, 256, 256)
    """
    layers, width, dim, kv_heads, tokens = config.layers, config.width, config.head_dim, config.kv_heads, (batch, config.context)
    q, k = (batch, config.heads, config.context, dim), (batch, kv_heads, config.context, dim)
    x = (*tokens, width)
    products = [(layers, [x, (width, width), (width, kv_heads * dim), (width, kv_heads * dim)]), (layers, [x, (width, width)]),
                (1, [x, (width, config.vocab)])]
    feed_forward = layers, [x, (width, config.hidden), (width, config.hidden), (config.hidden, width)]
    return Shapes((layers, [q, k, k]), products, (2 * layers + 1, [x, (width,)]), feed_forward,
                  [(layers, [q]), (layers, [k])], (config.vocab, width), (*tokens, config.vocab))


def drawn(sizes: list[tuple[int, ...]]) -> tuple[Array, ...]:
    """Returns arrays of these shapes, filled with normal numbers."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(size, np.float32) for size in sizes)


def both_ways(times: int, function: Callable[..., Any], arrays: tuple[Array, ...]) -> Callable[[], None]:
    """Returns a function that computes a part and its gradients so many times."""
    def run() -> None:
        for _ in range(times):
            out, pull = vjp(lambda given: function(*given), arrays)
            pull(out)

    return run


def in_turn(functions: list[Callable[[], None]]) -> Callable[[], None]:
    """Returns the function that calls each."""
    def run() -> None:
        for function in functions:
            function()

    return run


def parts(config: DecoderConfig, batch: int) -> dict[str, Callable[[], None]]:
    """Returns a function per part of our training step, by its name."""
    sizes, decoder = shapes(config, batch), Decoder.create(config, np.random.default_rng(0))
    tokens = np.random.default_rng(0).integers(0, config.vocab, (batch, config.context))
    state = AdamW.create(decoder)
    slopes = grad(lambda model: sum(np.sum(leaf * leaf) for leaf in (model.embedding, model.head)))(decoder)

    def optimise() -> None:
        update(decoder, slopes, state, rate=1e-3, limit=1.0)

    def attend(q: Array, k: Array, v: Array) -> Array:
        return fastest.attention(q, k, v, causal=True)

    return {
        "attention": both_ways(sizes.attention[0], attend, drawn(sizes.attention[1])),
        "products": in_turn([both_ways(times, projections, drawn(arrays)) for times, arrays in sizes.products]),
        "norms": both_ways(sizes.norms[0], fused.rms_norm, drawn(sizes.norms[1])),
        "feed-forward": both_ways(sizes.feed_forward[0], lambda x, *weights: SwiGLU(*weights)(x), drawn(sizes.feed_forward[1])),
        "rotary": in_turn([both_ways(times, lambda x: fused.rotary_from(x, 0), drawn(arrays)) for times, arrays in sizes.rotary]),
        "embedding": both_ways(1, lambda table: fused.embedding(table, tokens), drawn([sizes.embedding])),
        "loss": both_ways(1, lambda logits: fused.cross_entropy(logits, tokens), drawn([sizes.logits])),
        "optimiser": optimise,
    }
