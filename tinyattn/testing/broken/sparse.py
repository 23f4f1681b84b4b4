"""Wrong patterns, tables, windows and groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops import masks
from tinyattn.ops.masks.pattern import EMPTY, Pattern
from tinyattn.ops.positions.rotary import rotary
from tinyattn.testing.broken.gradient import slowed, stopped
from tinyattn.testing.broken.twin import twin

GATHERED, TABLE, LONG, BIRD = "gathered_attention", "block_sparse_attention", "longformer_attention", "bigbird_attention"
STREAM, SHIFTED = "streaming_llm_attention", "shifted_sparse_attention"


def places(p: Problem) -> tuple[Any, Any]:
    """Returns the positions of queries, a column, and of keys, a row."""
    return np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None], np.arange(p.k.shape[-2])


def seeing(p: Problem, change: Callable[[Pattern], Pattern], name: str = "") -> Problem:
    """Returns the problem with its pattern changed, if its name is in it."""
    pattern = p.options["mask"]
    return p.but(mask=change(pattern)) if name in pattern.text else p


def masked(p: Problem, seen: Any, twice: Any = False) -> Any:
    """Returns attention over what is seen, some of it counted twice."""
    bias = np.where(twice, np.log(2.0), 0.0).astype(p.q.dtype)
    return definitions.attention(p.q, p.k, p.v, mask=seen, bias=bias, scale=p.options.get("scale"))


@twin("equals_attention", "equals_causal_attention", "block_is_invisible", row=GATHERED)
def ragged_block_dropped(f: Mechanism, p: Problem) -> Any:
    """Keys behind the last whole block are not gathered."""
    block = p.options["block"]
    return seeing(p, lambda pattern: pattern & masks.first(p.k.shape[-2] // block * block)).call(f)


@twin("equals_attention", row=GATHERED)
def pattern_from_row_zero(f: Mechanism, p: Problem) -> Any:
    """A pattern is asked about rows from 0 on, while the queries are the last ones."""
    shift = p.k.shape[-2] - p.q.shape[-2]
    return seeing(p, lambda pattern: Pattern(lambda i, j: pattern.see(i - shift, j))).call(f)


@twin("equals_attention", "equals_own_values", "later_tokens_change_nothing_earlier", "cached_is_full", row=GATHERED)
def touched_blocks_seen_whole(f: Mechanism, p: Problem) -> Any:
    """A block in which somebody sees somebody is seen by all of its queries."""
    size, shift = p.options["block"], p.k.shape[-2] - p.q.shape[-2]
    kinds = p.options["mask"].blocks(*p.full()[-2:], size, size) != EMPTY
    return seeing(p, lambda _: Pattern(lambda i, j: kinds[..., (i - shift) // size, j // size])).call(f)


@twin("equals_attention_head_by_head", row=GATHERED)
def pattern_of_the_first_head(f: Mechanism, p: Problem) -> Any:
    """All heads see by the pattern of the first."""
    def first(pattern: Pattern) -> Pattern:
        return Pattern(lambda i, j: pattern.see(i, j).reshape(-1, *np.broadcast_shapes(i.shape, j.shape))[0])

    return seeing(p, first).call(f)


@twin("equals_transposed_blocks", row=GATHERED)
def stride_from_the_first_key(f: Mechanism, p: Problem) -> Any:
    """Every n-th key of the text, not every n-th one back from the query."""
    return seeing(p, lambda _: Pattern(lambda i, j: (j <= i) & (j % 3 == 0)), "strided").call(f)


@twin("equals_residues_alone", "equals_multi_head_local_attention", row=GATHERED)
def dilation_inside_the_window(f: Mechanism, p: Problem) -> Any:
    """A dilated window of W spans W positions, not W keys."""
    return seeing(p, lambda _: Pattern(lambda i, j: (i - j >= 0) & (i - j < 2) & ((i - j) % 3 == 0)), "dilated").call(f)


@twin("equals_blocks_alone", row=GATHERED)
def borders_from_the_end(f: Mechanism, p: Problem) -> Any:
    """Blocks are cut from the last token backwards, and move with every token that comes."""
    return seeing(p, lambda pattern: Pattern(lambda i, j: pattern.see(i - p.k.shape[-2], j - p.k.shape[-2])), "block_local").call(f)


@twin("the_unseen_may_hold_anything", "the_unseen_leaves_gradients_alone", row=GATHERED)
def hidden_keys_times_zero(f: Mechanism, p: Problem) -> Any:
    """Hidden keys and values of a touched block are multiplied by weights of 0."""
    with np.errstate(invalid="ignore"):
        poison = 0.0 * stopped(p.k)[..., :1].sum(axis=-2, keepdims=True) + 0.0 * stopped(p.v)[..., :1].sum(axis=-2, keepdims=True)
        return p.but(k=slowed(p.k, 1.0 + poison), v=slowed(p.v, 1.0 + poison)).call(f)


@twin("gradients_equal_attention", row=GATHERED)
def gathered_gradient_written_over(f: Mechanism, p: Problem) -> Any:
    """Two blocks of queries write the gradient of one key, and the last one stays."""
    return p.but(k=slowed(p.k, 0.5), v=slowed(p.v, 0.5)).call(f)


@twin("equals_the_gathered_form", "later_tokens_change_nothing_earlier", "cached_is_full", "equals_a_sharded_pattern", row=TABLE)
def diagonal_blocks_seen_whole(f: Mechanism, p: Problem) -> Any:
    """The table is causal, so the tokens within a block need not be."""
    i, j = places(p)
    size = max(p.options["q_block"], p.options["kv_block"])
    return p.but(causal=False, mask=j // size <= i // size if p.options.get("causal") else None).call(f)


@twin("blocks_cut_finer_change_nothing", "equals_the_gathered_form", row=TABLE)
def one_block_size_for_both(f: Mechanism, p: Problem) -> Any:
    """Queries are cut by the keys' block size."""
    blocks, size = p.options["blocks"], p.options["kv_block"]
    rows = np.minimum(np.arange(p.q.shape[-2]) // size, blocks.shape[-2] - 1)
    return p.but(blocks=blocks[..., rows, :], q_block=1).call(f)


@twin("equals_attention", "tables_merge_into_their_union", row=TABLE)
def first_block_visited_twice(f: Mechanism, p: Problem) -> Any:
    """The first block of a row of the table is read before the loop, and again in it."""
    return p.but(bias=np.where(np.arange(p.k.shape[-2]) < p.options["kv_block"], np.log(2.0), 0.0).astype(p.q.dtype)).call(f)


@twin("gradients_equal_the_gathered_form", row=TABLE)
def table_not_turned_for_keys(f: Mechanism, p: Problem) -> Any:
    """The keys' gradient needs the table turned; as it is, it reaches some of the queries."""
    return p.but(k=slowed(p.k, 0.5)).call(f)


@twin("equals_gathered_attention", "equals_the_gathered_form", row=LONG)
def global_key_counted_twice(f: Mechanism, p: Problem) -> Any:
    """A key that is global and in the window weighs twice: the two score blocks were joined, not united."""
    (i, j), chosen, width = places(p), p.options["global_tokens"], p.options["window"]
    near, seen = np.abs(i - j) <= width, np.isin(j, chosen)
    return np.where(np.isin(i, chosen), p.call(f), masked(p, near | seen, near & seen))


@twin("equals_attention", "equals_multi_head_local_attention", "a_text_turned_round_gives_its_result_turned_round", row=LONG)
def window_before_alone(f: Mechanism, p: Problem) -> Any:
    """The window is that of a decoder: nothing after the token."""
    (i, j), chosen = places(p), p.options["global_tokens"]
    near = (i - j <= p.options["window"]) & (j <= i)
    return np.where(np.isin(i, chosen), p.call(f), masked(p, near | np.isin(j, chosen)))


@twin("equals_attention_by_global_projections", "equals_the_gathered_form", row=LONG)
def one_projection_for_both(f: Mechanism, p: Problem) -> Any:
    """The global projections are loaded and never used."""
    return p.but(q_global=p.q, k_global=p.k, v_global=p.v).call(f)


@twin("equals_the_gathered_form", row=LONG)
def global_keys_by_their_own_projection(f: Mechanism, p: Problem) -> Any:
    """All tokens read the global ones by k_global and v_global; these are for what global tokens read."""
    chosen = np.isin(np.arange(p.k.shape[-2]), p.options["global_tokens"])[:, None]
    k, v = p.options.get("k_global", p.k), p.options.get("v_global", p.v)
    return p.but(k=np.where(chosen, k, p.k), v=np.where(chosen, v, p.v)).call(f)


@twin("a_token_has_one_projection", row=LONG)
def rows_blended_by_zeros(f: Mechanism, p: Problem) -> Any:
    """Both results are computed for all rows and multiplied by 0 and 1."""
    other = p.options.get("q_global", p.q)
    return p.call(f) + 0.0 * (p.q + other).sum(axis=-1, keepdims=True)


@twin("equals_the_gathered_form", "equals_attention", row=BIRD)
def random_block_counted_twice(f: Mechanism, p: Problem) -> Any:
    """A block drawn at random that is a neighbour too weighs twice."""
    if p.options.get("causal"):
        return p.call(f)
    (i, j), size, lengths = places(p), p.options["block"], p.full()[-2:]
    drawn = masks.random_blocks(size, p.options["random"], p.options["seed"]).dense(*lengths)
    near, last = np.abs(i // size - j // size) <= 1, (p.k.shape[-2] - 1) // size
    end = np.isin(i // size, (0, last)) | np.isin(j // size, (0, last))
    return masked(p, near | drawn | end, near & drawn)


@twin("cached_is_full", "equals_the_gathered_form", row=BIRD)
def plan_of_the_whole_length(f: Mechanism, p: Problem) -> Any:
    """The random blocks are drawn for the whole table at once: another length, another plan for every row."""
    return p.but(seed=p.options["seed"] + p.k.shape[-2]).call(f)


@twin("equals_the_gathered_form", row=BIRD)
def ends_see_their_neighbours_alone(f: Mechanism, p: Problem) -> Any:
    """The first and the last block are seen by all, and do not see all."""
    if p.options.get("causal"):
        return p.call(f)
    (i, j), size = places(p), p.options["block"]
    return masked(p, (np.abs(i // size - j // size) <= 1) | np.isin(j // size, (0, (p.k.shape[-2] - 1) // size)))


@twin("later_tokens_change_nothing_earlier", "equals_causal_attention", row=BIRD)
def last_block_open_to_all(f: Mechanism, p: Problem) -> Any:
    """Causal, and yet all see the last block."""
    (i, j), size = places(p), p.options["block"]
    return masked(p, (j <= i) | (j // size == (p.k.shape[-2] - 1) // size)) if p.options.get("causal") else p.call(f)


@twin("equals_a_cache_that_evicts", "cached_is_full", row=STREAM)
def places_of_the_text(f: Mechanism, p: Problem) -> Any:
    """The first tokens stand where they stood in the text, farther away than a model was ever trained."""
    (i, j), first = places(p), p.options["first"]
    turned = p.but(q=rotary(p.q, i[:, 0]), k=rotary(p.k, j))
    return masked(turned, (j <= i) & ((j < first) | (i - j < p.options["window"])))


@twin("equals_a_rotary_window", "equals_a_cache_that_evicts", row=STREAM)
def evicted_one_too_early(f: Mechanism, p: Problem) -> Any:
    """Room is made for the incoming token that had its place already."""
    return p.but(window=max(1, p.options["window"] - 1)).call(f)


@twin("equals_rotary_attention", "equals_a_cache_that_evicts", row=STREAM)
def first_tokens_also_in_the_window(f: Mechanism, p: Problem) -> Any:
    """While the window still reaches the first tokens, they weigh twice."""
    (i, j), first, width = places(p), p.options["first"], p.options["window"]
    turned = p.but(q=rotary(p.q, i[:, 0]), k=rotary(p.k, j))
    doubled = masked(turned, (j <= i) & ((j < first) | (i - j < width)), (j < first) & (i - j < width))
    return np.where(i < first + width, doubled, p.call(f))


@twin("gradients_equal_a_cache_that_evicts", row=STREAM)
def gradient_not_turned_back(f: Mechanism, p: Problem) -> Any:
    """The gradient of a rotated key is given to the key as it is."""
    back = p.k - rotary(p.k, places(p)[1])
    return p.but(k=p.k + back - stopped(back)).call(f)


@twin("later_tokens_change_nothing_earlier", "equals_ragged_groups", "equals_a_turn_with_regions", row=SHIFTED)
def end_joined_to_the_beginning(f: Mechanism, p: Problem) -> Any:
    """The turned text is causal in its new order: the first tokens see the last ones."""
    return (p.but(variant="roll") if p.q.shape[-2] == p.k.shape[-2] else p).call(f)


@twin("the_first_heads_are_not_shifted", "equals_ragged_groups", row=SHIFTED)
def shifted_heads_first(f: Mechanism, p: Problem) -> Any:
    """The first half of the heads is shifted, and the second is not."""
    groups, heads = p.q.shape[-3] // p.k.shape[-3], p.q.shape[-3]
    whole = p.but(k=np.repeat(p.k, groups, axis=-3), v=np.repeat(p.v, groups, axis=-3))
    order = np.roll(np.arange(heads), heads // 2)
    turned = whole.but(**{name: getattr(whole, name)[..., order, :, :] for name in ("q", "k", "v")})
    return turned.call(f)[..., np.argsort(order), :, :]


@twin("the_last_heads_see_shifted_windows", row=SHIFTED)
def no_head_is_shifted(f: Mechanism, p: Problem) -> Any:
    """The shift is computed and not applied."""
    i, j = places(p)
    size = p.options["group"]
    return masked(p, (i // size == j // size) & ((j <= i) | (not p.options.get("causal", True))))


@twin("equals_causal_attention", row=SHIFTED)
def group_of_a_quarter(f: Mechanism, p: Problem) -> Any:
    """A group is a quarter of whatever length came, not the number that was given."""
    return p.but(group=max(2, p.k.shape[-2] // 8 * 2)).call(f)


@twin("gradients_equal_ragged_groups", row=SHIFTED)
def turned_back_by_one_less(f: Mechanism, p: Problem) -> Any:
    """The gradient is turned back by one token less than the text was turned."""
    moved = np.roll(np.arange(p.v.shape[-2]), 1)
    return p.but(v=stopped(p.v) + p.v[..., moved, :] - stopped(p.v)[..., moved, :]).call(f)
