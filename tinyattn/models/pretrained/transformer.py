"""The model that all families are built into: embedding, blocks, norm, head, and the factors that some families have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyattn.layers.affine import Affine
from tinyattn.layers.attention import Stepping
from tinyattn.layers.mixed import ResidualBlock, same
from tinyattn.layers.trained_attention import TrainedAttention
from tinyattn.models.decoder import check_tokens
from tinyattn.models.given import check_caches
from tinyattn.ops.files.stored import Stored
from tinyattn.ops.positions.frequencies import FrequenciesByLength
from tinyattn.ops.types import Array


def rows_of(table: Array | Stored, indices: Array, dtype: Any) -> Array:
    """Returns the rows of a table that is an array or stays in its file.

    >>> rows_of(np.arange(4.0).reshape(2, 2), np.array([1]), np.float64)
    array([[2., 3.]])
    """
    return table.take(indices, dtype) if isinstance(table, Stored) else table[indices]


@dataclass(frozen=True, eq=False)
class Transformer:
    """tokens (batch, length) of integers -> logits (batch, length, vocab), or hidden states where the head is None.

    With `caches`, one per layer, the tokens follow those that the caches hold. `positions` is a learned table (length, width)
    that is added to the embedding, or None; `embedding_norm` acts on their sum. The logits are multiplied by `logit_scale` and
    then capped. An encoder is not causal: every token sees all others.

    >>> Transformer(np.eye(3), None, (), same, Affine(np.eye(3)), np.dtype(float))(np.array([[0, 2]]))[0, 1]
    array([0., 0., 1.])
    """

    embedding: Array | Stored
    positions: Array | Stored | None
    blocks: tuple[ResidualBlock, ...]
    norm: Callable[[Array], Array]
    head: Affine | None
    dtype: np.dtype[Any]
    embedding_scale: float = 1.0
    logit_scale: float = 1.0
    softcap: float | None = None
    embedding_norm: Callable[[Array], Array] = same
    causal: bool = True

    def __repr__(self) -> str:
        vocab, width = self.embedding.shape
        return f"Transformer(vocab={vocab}, width={width}, layers={len(self.blocks)})"

    def __call__(self, tokens: Array, *, caches: Sequence[Stepping] | None = None) -> Array:
        hidden = self.hidden(tokens, caches=caches)
        return hidden if self.head is None else self.logits(hidden)

    def hidden(self, tokens: Array, *, caches: Sequence[Stepping] | None = None, layers: int | None = None) -> Array:
        """Returns what the head reads (batch, length, width), or what the block number `layers` reads."""
        if caches is not None:
            check_caches(caches, len(self.blocks))
        x = self.embedded(tokens, 0 if not caches else caches[0].length)
        for i, block in enumerate(self.blocks[:layers]):
            x = block(x, cache=None if caches is None else caches[i], causal=self.causal)
        return self.norm(x) if layers is None else x

    def of_length(self, length: int) -> Transformer:
        """Returns the model as it reads texts of this length; it is another one only if its frequencies depend on the length."""
        if not any(map(by_length, self.blocks)):
            return self
        return replace(self, blocks=tuple(fixed(block, length) for block in self.blocks))

    def reads_alike(self, length: int, longer: int) -> bool:
        """Returns whether tokens that were cached in a text of the first length, unless it is 0, are valid in one of the second."""
        found = (by_length(block) for block in self.blocks)
        return length == 0 or all(each is None or each.of(length) is each.of(longer) for each in found)

    def logits(self, hidden: Array) -> Array:
        """Returns the logits of hidden states (..., width) -> (..., vocab).

        Raises:
            ValueError: an encoder, which has no head.
        """
        if self.head is None:
            raise ValueError("logits: this model is an encoder, which has no head; it gives hidden states")
        logits = self.head(hidden)
        if self.logit_scale != 1.0:
            logits = logits * self.logit_scale
        return logits if self.softcap is None else np.tanh(logits / self.softcap) * self.softcap

    def embedded(self, tokens: Array, start: int) -> Array:
        """Returns the tokens as vectors, the first at position `start`."""
        x = rows_of(self.embedding, check_tokens(tokens, self.embedding.shape[0]), self.dtype) * self.embedding_scale
        if self.positions is not None:
            stop, learned = start + tokens.shape[1], self.positions.shape[0]
            if stop > learned:
                raise ValueError(f"tokens: expected at most {learned} positions, which the model has learned, got {stop}")
            x = x + rows_of(self.positions, np.arange(start, stop), self.dtype)
        return self.embedding_norm(x)


def by_length(block: ResidualBlock) -> FrequenciesByLength | None:
    """Returns the frequencies of a block if they depend on the length of the text."""
    found = block.attention.frequencies if isinstance(block.attention, TrainedAttention) else None
    return found if isinstance(found, FrequenciesByLength) else None


def fixed(block: ResidualBlock, length: int) -> ResidualBlock:
    """Returns a block with the frequencies of this length."""
    attention = block.attention
    if not isinstance(attention, TrainedAttention) or not isinstance(attention.frequencies, FrequenciesByLength):
        return block
    return replace(block, attention=replace(attention, frequencies=attention.frequencies.of(length)))
