"""The model that all families are built into: embedding, blocks, norm, head, and the factors that some families have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.layers.affine import Affine
from tinyattn.layers.attention import Stepping
from tinyattn.layers.mixed import ResidualBlock
from tinyattn.models.decoder import check_tokens
from tinyattn.models.given import check_caches
from tinyattn.ops.files.stored import Stored
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
    that is added to the embedding, or None. The logits are multiplied by `logit_scale` and then capped.

    >>> from tinyattn.layers.mixed import same
    >>> Transformer(np.eye(3), None, (), same, Affine(np.eye(3)), np.dtype(float))(np.array([[0, 2]]))[0, 1]
    array([0., 0., 1.])
    """

    embedding: Array | Stored
    positions: Array | Stored | None
    blocks: tuple[ResidualBlock, ...]
    norm: Callable[[Array], Array]
    head: Affine
    dtype: np.dtype[Any]
    embedding_scale: float = 1.0
    logit_scale: float = 1.0
    softcap: float | None = None

    def __call__(self, tokens: Array, *, caches: Sequence[Stepping] | None = None) -> Array:
        if caches is not None:
            check_caches(caches, len(self.blocks))
        x = self.embedded(tokens, 0 if not caches else caches[0].length)
        for i, block in enumerate(self.blocks):
            x = block(x, cache=None if caches is None else caches[i], causal=True)
        logits = self.head(self.norm(x)) * self.logit_scale
        return logits if self.softcap is None else np.tanh(logits / self.softcap) * self.softcap

    def embedded(self, tokens: Array, start: int) -> Array:
        """Returns the tokens as vectors, the first at position `start`."""
        x = rows_of(self.embedding, check_tokens(tokens, self.embedding.shape[0]), self.dtype) * self.embedding_scale
        if self.positions is None:
            return x
        stop = start + tokens.shape[1]
        if stop > self.positions.shape[0]:
            raise ValueError(f"tokens: expected at most {self.positions.shape[0]} positions, which the model has learned, got {stop}")
        return x + rows_of(self.positions, np.arange(start, stop), self.dtype)
