"""Who may see whom: patterns, their algebra, and the blocks a kernel may skip."""

from tinyattn.ops.masks.batched import documents, documents_from_offsets, padding
from tinyattn.ops.masks.constructors import (
    block_local,
    causal,
    causal_top_left,
    dilated,
    first,
    global_tokens,
    per_head,
    prefix,
    random_blocks,
    sliding_window,
    strided,
    window,
)
from tinyattn.ops.masks.expression import parse
from tinyattn.ops.masks.pattern import EMPTY, FULL, PARTIAL, Pattern

__all__ = [
    "EMPTY",
    "FULL",
    "PARTIAL",
    "Pattern",
    "block_local",
    "causal",
    "causal_top_left",
    "dilated",
    "documents",
    "documents_from_offsets",
    "first",
    "global_tokens",
    "padding",
    "parse",
    "per_head",
    "prefix",
    "random_blocks",
    "sliding_window",
    "strided",
    "window",
]
