"""Masks: patterns, how they are composed, and the blocks that a kernel may skip.

Its files, in reading order:

    picture.py              a mask drawn as text or SVG
    pattern.py              Pattern: a mask as a predicate, with & | ~ and its blocks
    constructors.py         causal, window, prefix, strided, ...
    published.py            patterns that each belong to one mechanism
    batched.py              padding and packed documents
    expression.py           patterns parsed from text
"""

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
from tinyattn.ops.masks.published import fixed, look_back, sharded, shifted_blocks

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
    "fixed",
    "global_tokens",
    "look_back",
    "padding",
    "parse",
    "per_head",
    "prefix",
    "random_blocks",
    "sharded",
    "shifted_blocks",
    "sliding_window",
    "strided",
    "window",
]
