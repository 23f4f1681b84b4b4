"""Faults in patterns and in tables of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops import masks
from tinyattn.ops.masks.pattern import EMPTY, Pattern
from tinyattn.testing.broken.gradient import slowed, stopped
from tinyattn.testing.broken.twin import twin

GATHERED, TABLE = "gathered_attention", "block_sparse_attention"


def places(p: Problem) -> tuple[Any, Any]:
    """Returns the positions of queries, as a column, and of keys, as a row."""
    return np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None], np.arange(p.k.shape[-2])


def seeing(p: Problem, change: Callable[[Pattern], Pattern], name: str = "") -> Problem:
    """Returns the problem with its pattern changed, if that pattern's text contains the name."""
    pattern = p.options["mask"]
    return p.but(mask=change(pattern)) if name in pattern.text else p


def masked(p: Problem, seen: Any, twice: Any = False) -> Any:
    """Returns attention to the visible keys, of which some are counted twice."""
    bias = np.where(twice, np.log(2.0), 0.0).astype(p.q.dtype)
    return definitions.attention(p.q, p.k, p.v, mask=seen, bias=bias, scale=p.options.get("scale"))


@twin("equals_attention", "equals_causal_attention", "block_is_invisible", row=GATHERED)
def ragged_block_dropped(f: Mechanism, p: Problem) -> Any:
    """Keys after the last complete block are not gathered."""
    block = p.options["block"]
    return seeing(p, lambda pattern: pattern & masks.first(p.k.shape[-2] // block * block)).call(f)


@twin("equals_attention", row=GATHERED)
def pattern_from_row_zero(f: Mechanism, p: Problem) -> Any:
    """A pattern is evaluated on rows counted from 0, while the queries are the last ones."""
    shift = p.k.shape[-2] - p.q.shape[-2]
    return seeing(p, lambda pattern: Pattern(lambda i, j: pattern.see(i - shift, j))).call(f)


@twin("equals_attention", "equals_own_values", "later_tokens_change_nothing_earlier", "cached_is_full", row=GATHERED)
def touched_blocks_seen_whole(f: Mechanism, p: Problem) -> Any:
    """A block that contains a visible pair is seen by all of its queries."""
    size, shift = p.options["block"], p.k.shape[-2] - p.q.shape[-2]
    kinds = p.options["mask"].blocks(*p.full()[-2:], size, size) != EMPTY
    return seeing(p, lambda _: Pattern(lambda i, j: kinds[..., (i - shift) // size, j // size])).call(f)


@twin("equals_attention_head_by_head", row=GATHERED)
def pattern_of_the_first_head(f: Mechanism, p: Problem) -> Any:
    """All heads use the pattern of the first head."""
    def first(pattern: Pattern) -> Pattern:
        return Pattern(lambda i, j: pattern.see(i, j).reshape(-1, *np.broadcast_shapes(i.shape, j.shape))[0])

    return seeing(p, first).call(f)


@twin("equals_transposed_blocks", row=GATHERED)
def stride_from_the_first_key(f: Mechanism, p: Problem) -> Any:
    """Every n-th key of the text is visible, instead of every n-th key back from the query."""
    return seeing(p, lambda _: Pattern(lambda i, j: (j <= i) & (j % 3 == 0)), "strided").call(f)


@twin("equals_residues_alone", "equals_multi_head_local_attention", row=GATHERED)
def dilation_inside_the_window(f: Mechanism, p: Problem) -> Any:
    """A dilated window of W covers W positions instead of W keys."""
    return seeing(p, lambda _: Pattern(lambda i, j: (i - j >= 0) & (i - j < 2) & ((i - j) % 3 == 0)), "dilated").call(f)


@twin("equals_blocks_alone", row=GATHERED)
def borders_from_the_end(f: Mechanism, p: Problem) -> Any:
    """Blocks are counted from the last token, and move with every new token."""
    return seeing(p, lambda pattern: Pattern(lambda i, j: pattern.see(i - p.k.shape[-2], j - p.k.shape[-2])), "block_local").call(f)


@twin("the_unseen_may_hold_anything", "the_unseen_leaves_gradients_alone", row=GATHERED)
def hidden_keys_times_zero(f: Mechanism, p: Problem) -> Any:
    """Hidden keys and values of a computed block are multiplied by weights of 0."""
    with np.errstate(invalid="ignore"):
        poison = 0.0 * stopped(p.k)[..., :1].sum(axis=-2, keepdims=True) + 0.0 * stopped(p.v)[..., :1].sum(axis=-2, keepdims=True)
        return p.but(k=slowed(p.k, 1.0 + poison), v=slowed(p.v, 1.0 + poison)).call(f)


@twin("gradients_equal_attention", row=GATHERED)
def gathered_gradient_written_over(f: Mechanism, p: Problem) -> Any:
    """Two blocks of queries write the gradient of one key, and the second overwrites the first."""
    return p.but(k=slowed(p.k, 0.5), v=slowed(p.v, 0.5)).call(f)


@twin("equals_the_gathered_form", "later_tokens_change_nothing_earlier", "cached_is_full", "equals_a_sharded_pattern", row=TABLE)
def diagonal_blocks_seen_whole(f: Mechanism, p: Problem) -> Any:
    """The table is causal, and causality within a block is left out."""
    i, j = places(p)
    size = max(p.options["q_block"], p.options["kv_block"])
    return p.but(causal=False, mask=j // size <= i // size if p.options.get("causal") else None).call(f)


@twin("blocks_cut_finer_change_nothing", "equals_the_gathered_form", row=TABLE)
def one_block_size_for_both(f: Mechanism, p: Problem) -> Any:
    """Queries are cut by the block size of the keys."""
    blocks, size = p.options["blocks"], p.options["kv_block"]
    rows = np.minimum(np.arange(p.q.shape[-2]) // size, blocks.shape[-2] - 1)
    return p.but(blocks=blocks[..., rows, :], q_block=1).call(f)


@twin("equals_attention", "tables_merge_into_their_union", row=TABLE)
def first_block_visited_twice(f: Mechanism, p: Problem) -> Any:
    """The first block of a table row is read before the loop, and again in it."""
    return p.but(bias=np.where(np.arange(p.k.shape[-2]) < p.options["kv_block"], np.log(2.0), 0.0).astype(p.q.dtype)).call(f)


@twin("gradients_equal_the_gathered_form", row=TABLE)
def table_not_turned_for_keys(f: Mechanism, p: Problem) -> Any:
    """The gradient of the keys uses the table without transposing it, and misses some of the queries."""
    return p.but(k=slowed(p.k, 0.5)).call(f)
