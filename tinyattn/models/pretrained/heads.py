"""What the heads of a model look at: the token before, the first token, near tokens, or what followed an earlier copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinyattn import definitions
from tinyattn.models.pretrained.model import Model
from tinyattn.ops.checks import check_rng
from tinyattn.ops.types import Array

# Random tokens that are written twice, to find heads that look at what followed the earlier copy.
REPEATED = 64
# Tokens that count as near, the token itself included.
NEAR = 8
# A head has a name if its mean weight is at least this.
LEAST = {"previous": 0.5, "sink": 0.5, "local": 0.8, "induction": 0.4}


class Head(NamedTuple):
    """Mean weights of one head: on the token before, on token 0, within the last 8 tokens, and on what followed an earlier copy."""

    layer: int
    head: int
    previous: float
    sink: float
    local: float
    induction: float

    @property
    def names(self) -> tuple[str, ...]:
        """What the head is called."""
        return tuple(name for name, least in LEAST.items() if getattr(self, name) >= least)


def weights_by_layer(model: Model, tokens: Array) -> Iterator[Array]:
    """Yields the weights (heads, length, length) of each layer for tokens (length,)."""
    network = model.network
    x = network.embedded(tokens[None], 0)
    for layer, block in enumerate(network.blocks):
        attention = model.attention(layer)
        q, k, _ = attention.parts(x if block.order == "after" else block.attention_norm(x))
        yield definitions.attention_weights(q, k, causal=network.causal, **attention.options)[0]
        x = block(x, cache=None, causal=network.causal)


def head_table(model: Model, text: str | Array, rng: np.random.Generator) -> Iterator[list[Head]]:
    """Yields the heads of each layer; `rng` draws the tokens that are written twice.

    Raises:
        TypeError: no Generator. ValueError: a text of fewer than 16 tokens, a layer that is no attention.
    """
    check_rng(rng)
    tokens = model.tokens(text)[0]
    if len(tokens) < 2 * NEAR:
        raise ValueError(f"text: expected at least {2 * NEAR} tokens, as heads are judged by means over tokens, got {len(tokens)}")
    vocab = model.network.embedding.shape[0]
    once = rng.choice(vocab, REPEATED, replace=vocab < REPEATED)
    both = zip(weights_by_layer(model, tokens), weights_by_layer(model, np.tile(once, 2)), strict=True)
    for layer, (weights, repeated) in enumerate(both):
        yield heads_of(layer, weights, repeated)


def heads_of(layer: int, weights: Array, repeated: Array) -> list[Head]:
    """Returns the heads of one layer from their weights (heads, length, length) on a text, and on tokens that are written twice."""
    length, half = weights.shape[-1], repeated.shape[-1] // 2
    previous = np.diagonal(weights, -1, 1, 2).mean(axis=-1)
    sink = weights[:, 1:, 0].mean(axis=-1)
    queries = np.arange(length)
    near = (queries >= queries[:, None] - NEAR + 1) & (queries <= queries[:, None])
    # The first queries see near tokens only, whatever the head does.
    local = (weights * near).sum(axis=-1)[:, NEAR:].mean(axis=-1)
    induction = np.diagonal(repeated, 1 - half, 1, 2)[:, 1:].mean(axis=-1)
    return [Head(layer, head, *(float(values[head]) for values in (previous, sink, local, induction))) for head in range(len(weights))]
