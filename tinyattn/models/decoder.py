"""A decoder language model: bytes in, logits of the next byte out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.engine.tree import map_tree, named_leaves
from tinyattn.layers.attention import SelfAttention, Stepping
from tinyattn.layers.block import Block
from tinyattn.layers.checks import check_parts
from tinyattn.layers.fused import cross_entropy, embedding
from tinyattn.layers.inputs import Input, Parameter
from tinyattn.layers.linear import normal, project
from tinyattn.layers.norm import RMSNorm
from tinyattn.models.config import DEVIATION, DecoderConfig, residual_deviation
from tinyattn.models.given import check_blocks, check_caches, check_given
from tinyattn.ops.checks import check_rng, has_axes, index_array, real, truth
from tinyattn.ops.signature import FLOATING, floating
from tinyattn.ops.storage import is_half
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class Decoder:
    """A language model: embedding, blocks of rotary grouped-query attention and SwiGLU, norm, head.

    tokens (batch, length) of integers -> logits (batch, length, vocab). With `caches`, one per layer, the tokens follow those
    that the caches hold; `positions` (batch, length) are needed where rows have different positions.

    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> decoder(np.array([[97, 98, 99]])).shape
    (1, 3, 256)
    """

    embedding: Array
    blocks: tuple[Block, ...]
    norm: RMSNorm
    head: Array

    def __post_init__(self) -> None:
        embedding, head = (has_axes(name, floating(name, x), 2) for name, x in (("embedding", self.embedding), ("head", self.head)))
        if len(embedding) != 2 or len(head) != 2 or head[0] != embedding[1]:
            raise ValueError(f"head: expected shape (width, vocab) for an embedding (vocab, width) of {embedding}, got {head}")
        check_blocks(self.blocks)
        check_parts(norm=self.norm)

    def __repr__(self) -> str:
        return f"Decoder(vocab={self.embedding.shape[0]}, width={self.embedding.shape[1]}, layers={len(self.blocks)})"

    @classmethod
    def create(cls, config: DecoderConfig, rng: np.random.Generator, *,
               mechanism: Callable[..., Any] = fastest.attention, inputs: tuple[Input | Parameter, ...] = (),
               rotary: bool = True, layer: Callable[..., Any] = SelfAttention.create, deviation: float = DEVIATION) -> Decoder:
        """Returns the model with normal weights of this standard deviation, smaller in matrices whose product is added to their input.

        `inputs` compute further arguments of the mechanism; `rotary` is False for a mechanism that applies positions itself;
        `layer` makes the attention layer, called as `SelfAttention.create` is.
        """
        if not isinstance(config, DecoderConfig):
            raise TypeError(f"config: expected a DecoderConfig, got {type(config).__name__}")
        check_rng(rng)
        check_given("layer", layer, "a function that makes an attention layer")
        rotary, deviation = truth("rotary", rotary), real("deviation", deviation, least=0.0)
        smaller, embedding = residual_deviation(config.layers), normal(rng, config.vocab, config.width)

        def block() -> Block:
            attention = layer(rng, config.width, config.heads, config.kv_heads, mechanism=mechanism,
                              base=config.base if rotary else None, deviation=smaller, inputs=inputs)
            return Block.create(rng, attention, config.width, config.hidden, deviation=smaller)

        blocks = tuple(block() for _ in range(config.layers))
        made = cls(embedding, blocks, RMSNorm.create(config.width), normal(rng, config.width, config.vocab))
        factor = np.float32(deviation / DEVIATION)
        return made if factor == 1 else map_tree(lambda leaf: leaf * factor if np.ndim(leaf) > 1 else leaf, made)

    def __call__(self, tokens: Array, *, caches: Sequence[Stepping] | None = None, positions: Array | None = None) -> Array:
        if caches is not None:
            check_caches(caches, len(self.blocks))
        x = embedding(self.embedding, check_tokens(tokens, self.embedding.shape[0]))
        for i, block in enumerate(self.blocks):
            x = block(x, cache=None if caches is None else caches[i], positions=positions, causal=True)
        return project(self.norm(x), self.head)

    def astype(self, dtype: Any) -> Decoder:
        """Returns the model with its parameters in another dtype; float16 and bfloat16 are for storage: it computes in float32.

        Raises:
            TypeError: a dtype that is not float16, bfloat16, float32 or float64.
        """
        try:
            kind = None if dtype is None else np.dtype(dtype)
        except (TypeError, ValueError, SyntaxError):
            kind = None
        if kind is None or (kind not in FLOATING and not is_half(kind)):
            raise TypeError(f"dtype: expected float16, bfloat16, float32 or float64, got {kind or repr(dtype)}")
        cast: Decoder = map_tree(lambda leaf: leaf.astype(dtype) if isinstance(leaf, np.ndarray) else leaf, self)
        return cast


def check_tokens(tokens: Array, vocab: int, name: str = "tokens") -> Array:
    """Returns the tokens (batch, length); raises TypeError, ValueError or IndexError for others."""
    tokens = index_array(name, tokens)
    if tokens.ndim != 2:
        raise ValueError(f"{name}: expected (batch, length), got shape {tokens.shape}")
    if tokens.size and tokens.astype(np.uint64).max() >= vocab:  # one pass: as an unsigned int a negative token is very large
        raise IndexError(f"{name}: expected 0 to {vocab - 1}, got {int(tokens.min())} to {int(tokens.max())}")
    return tokens


def loss(decoder: Decoder, tokens: Array, targets: Array) -> Array:
    """Returns the mean cross-entropy of the logits of the next byte, in nats.

    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> round(float(loss(decoder, np.array([[97, 98]]), np.array([[98, 99]]))), 1)  # of a new model: log(256)
    5.5
    """
    check_given("decoder", decoder, "a Decoder")
    return cross_entropy(decoder(tokens), targets)


def parameters(tree: Any) -> dict[str, Array]:
    """Returns the arrays of a model by dotted name.

    Raises:
        TypeError: a tree without any array.

    >>> list(parameters({"w": np.ones(2), "layers": [{"b": np.zeros(1)}]}))
    ['w', 'layers.0.b']
    """
    found = {name: leaf for name, leaf in named_leaves(tree) if isinstance(leaf, np.ndarray)}
    if not found:
        raise TypeError(f"tree: expected a tree with at least one array, got {type(tree).__name__}")
    return found
