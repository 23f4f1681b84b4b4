"""Faults in windows, blocks and groups with something more: global tokens, random blocks, first tokens, shifts."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops import masks
from tinyattn.ops.positions.rotary import rotary
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.sparse import masked, places
from tinyattn.testing.broken.twin import twin

LONG, BIRD, STREAM, SHIFTED = "longformer_attention", "bigbird_attention", "streaming_llm_attention", "shifted_sparse_attention"


@twin("equals_gathered_attention", "equals_the_gathered_form", row=LONG)
def global_key_counted_twice(f: Mechanism, p: Problem) -> Any:
    """A key that is global and in the window has twice the weight: two score blocks are concatenated."""
    (i, j), chosen, width = places(p), p.options["global_tokens"], p.options["window"]
    near, seen = np.abs(i - j) <= width, np.isin(j, chosen)
    return np.where(np.isin(i, chosen), p.call(f), masked(p, near | seen, near & seen))


@twin("equals_attention", "equals_multi_head_local_attention", "a_text_turned_round_gives_its_result_turned_round", row=LONG)
def window_before_alone(f: Mechanism, p: Problem) -> Any:
    """The window is that of a decoder: no token after the query is visible."""
    (i, j), chosen = places(p), p.options["global_tokens"]
    near = (i - j <= p.options["window"]) & (j <= i)
    return np.where(np.isin(i, chosen), p.call(f), masked(p, near | np.isin(j, chosen)))


@twin("equals_attention_by_global_projections", "equals_the_gathered_form", row=LONG)
def one_projection_for_both(f: Mechanism, p: Problem) -> Any:
    """The global projections are loaded and never used."""
    return p.but(q_global=p.q, k_global=p.k, v_global=p.v).call(f)


@twin("equals_the_gathered_form", row=LONG)
def global_keys_by_their_own_projection(f: Mechanism, p: Problem) -> Any:
    """All tokens read the global ones by k_global and v_global, which are for the global queries only."""
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
    """A random block that is also a neighbour has twice the weight."""
    if p.options.get("causal"):
        return p.call(f)
    (i, j), size, lengths = places(p), p.options["block"], p.full()[-2:]
    drawn = masks.random_blocks(size, p.options["random"], p.options["seed"]).dense(*lengths)
    near, last = np.abs(i // size - j // size) <= 1, (p.k.shape[-2] - 1) // size
    end = np.isin(i // size, (0, last)) | np.isin(j // size, (0, last))
    return masked(p, near | drawn | end, near & drawn)


@twin("cached_is_full", "equals_the_gathered_form", row=BIRD)
def plan_of_the_whole_length(f: Mechanism, p: Problem) -> Any:
    """Random blocks are drawn for the whole table at once: another length changes every row."""
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
    """With causality, all queries still see the last block."""
    (i, j), size = places(p), p.options["block"]
    return masked(p, (j <= i) | (j // size == (p.k.shape[-2] - 1) // size)) if p.options.get("causal") else p.call(f)


@twin("equals_a_cache_that_evicts", "cached_is_full", row=STREAM)
def places_of_the_text(f: Mechanism, p: Problem) -> Any:
    """The first tokens keep their position in the text, farther away than in training."""
    (i, j), first = places(p), p.options["first"]
    turned = p.but(q=rotary(p.q, i[:, 0]), k=rotary(p.k, j))
    return masked(turned, (j <= i) & ((j < first) | (i - j < p.options["window"])))


@twin("equals_a_rotary_window", "equals_a_cache_that_evicts", row=STREAM)
def evicted_one_too_early(f: Mechanism, p: Problem) -> Any:
    """A token is evicted for the incoming one, which already has its place."""
    return p.but(window=max(1, p.options["window"] - 1)).call(f)


@twin("equals_rotary_attention", "equals_a_cache_that_evicts", row=STREAM)
def first_tokens_also_in_the_window(f: Mechanism, p: Problem) -> Any:
    """While the window still reaches the first tokens, they have twice the weight."""
    (i, j), first, width = places(p), p.options["first"], p.options["window"]
    turned = p.but(q=rotary(p.q, i[:, 0]), k=rotary(p.k, j))
    doubled = masked(turned, (j <= i) & ((j < first) | (i - j < width)), (j < first) & (i - j < width))
    return np.where(i < first + width, doubled, p.call(f))


@twin("gradients_equal_a_cache_that_evicts", row=STREAM)
def gradient_not_turned_back(f: Mechanism, p: Problem) -> Any:
    """The gradient of a rotated key is used for the key without rotating it back."""
    back = p.k - rotary(p.k, places(p)[1])
    return p.but(k=p.k + back - stopped(back)).call(f)


@twin("later_tokens_change_nothing_earlier", "equals_ragged_groups", "equals_a_turn_with_regions", row=SHIFTED)
def end_joined_to_the_beginning(f: Mechanism, p: Problem) -> Any:
    """The rolled text is causal in its new order: the first tokens see the last ones."""
    return (p.but(variant="roll") if p.q.shape[-2] == p.k.shape[-2] else p).call(f)


@twin("the_first_heads_are_not_shifted", "equals_ragged_groups", row=SHIFTED)
def shifted_heads_first(f: Mechanism, p: Problem) -> Any:
    """The first half of the heads is shifted instead of the second."""
    heads, own = p.q.shape[-3], p.repeated()
    order = np.roll(np.arange(heads), heads // 2)
    turned = own.but(**{name: getattr(own, name)[..., order, :, :] for name in ("q", "k", "v")})
    return turned.call(f)[..., np.argsort(order), :, :]


@twin("the_last_heads_see_shifted_windows", row=SHIFTED)
def no_head_is_shifted(f: Mechanism, p: Problem) -> Any:
    """The shift is computed and not applied."""
    i, j = places(p)
    size = p.options["group"]
    return masked(p, (i // size == j // size) & ((j <= i) | (not p.options.get("causal", True))))


@twin("equals_causal_attention", row=SHIFTED)
def group_of_a_quarter(f: Mechanism, p: Problem) -> Any:
    """A group is a quarter of the current length, instead of the given number."""
    return p.but(group=max(2, p.k.shape[-2] // 8 * 2)).call(f)


@twin("gradients_equal_ragged_groups", row=SHIFTED)
def turned_back_by_one_less(f: Mechanism, p: Problem) -> Any:
    """The gradient is rolled back by one token less than the text was rolled."""
    moved = np.roll(np.arange(p.v.shape[-2]), 1)
    return p.but(v=stopped(p.v) + p.v[..., moved, :] - stopped(p.v)[..., moved, :]).call(f)


@twin("equals_chunked_attention", row="multi_head_local_attention")
def chunks_that_slide(f: Mechanism, p: Problem) -> Any:
    """A chunk length is taken for a sliding window: the first token of a chunk sees the chunk before."""
    return p.but(mode="sliding").call(f) if p.options.get("mode") == "block" else p.call(f)
