"""Rows of windows, blocks and groups with something beside them: global tokens, first tokens, random blocks, a shift."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog.recurrent import mixing
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.softmax import BAD, grown
from tinyattn.catalog.sparse import BELTAGY, FORMULA, SPARSE, all_before, decoded, forms, on, one_of, small
from tinyattn.catalog.variants import even, like, with_options
from tinyattn.definitions.sparse.bigbird import ends, near_blocks
from tinyattn.laws import gathered, general
from tinyattn.laws.draw import both, softmax, square
from tinyattn.laws.forms import agrees, but
from tinyattn.laws.law import Law
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.ops import masks
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array

TIED = with_options(SPARSE, global_tokens=one_of([], [0], [0, 3], [2, 5]), window=one_of(0, 1, 2))
PROJECTED = with_options(TIED, q_global=like("q"), k_global=like("k"), v_global=like("v"))
FLOCK = with_options(SPARSE, block=one_of(1, 2, 3), random=one_of(0, 1, 2), seed=one_of(0, 1), causal=one_of(False, True))
BEFORE = but(FLOCK, lambda p: p.but(causal=True))
KEPT = with_options(softmax("scale", fit=both(small, even)), first=one_of(0, 1, 2, 3), window=one_of(1, 2, 4))
GROUPS = with_options(SPARSE, group=one_of(2, 4, 6), causal=one_of(True, False))
SHIFTED = but(GROUPS, lambda p: p.but(causal=True))


def every_pair(q: Array, k: Array, v: Array, *, scale: float | None = None, **options: Any) -> Any:
    """Attention to all."""
    return definitions.attention(q, k, v, scale=scale)


def tied(f: Mechanism) -> Mechanism:
    """Returns Longformer, whose global projections are the others unless given."""
    def call(q: Array, k: Array, v: Array, *, q_global: Array | None = None, k_global: Array | None = None,
             v_global: Array | None = None, **options: Any) -> Any:
        pairs = ((q, q_global), (k, k_global), (v, v_global))
        given = {f"{name}_global": x if other is None else other for name, (x, other) in zip("qkv", pairs, strict=True)}
        return f(q, k, v, **given, **options)

    return call


def global_pairs(q: Array, k: Array, v: Array, *, q_global: Array, k_global: Array, v_global: Array, scale: float | None = None,
                 **options: Any) -> Any:
    """Attention by the global projections."""
    return definitions.attention(q_global, k_global, v_global, scale=scale)


def both_sides(q: Array, k: Array, v: Array, *, window: int, scale: float | None = None, **options: Any) -> Any:
    """A window on both sides, the query's own token counted."""
    return definitions.multi_head_local_attention(q, k, v, window=window + 1, causal=False, scale=scale)


def union(q: Array, k: Array, v: Array, *, window: int, global_tokens: list[int], scale: float | None = None) -> Any:
    """One pattern of both."""
    pattern = masks.window(window, window) | masks.global_tokens(global_tokens)
    return definitions.gathered_attention(q, k, v, mask=pattern, scale=scale, block=2)


def others_poisoned(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """NaN in the global tokens' own q, and in all other tokens' q_global."""
    places = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None]
    chosen = np.isin(places, p.options["global_tokens"])
    nan = p.q.dtype.type(np.nan)
    return plain(f, p.but(q=np.where(chosen, nan, p.q), q_global=np.where(chosen, p.options["q_global"], nan)))


def turned_round(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The text from its end to its beginning, and the result turned back."""
    last = p.k.shape[-2] - 1
    flipped = {name: x[..., ::-1, :] for name, x in {"q": p.q, "k": p.k, "v": p.v}.items()}
    tokens = [last - g for g in p.options["global_tokens"] if g <= last]
    return (plain(f, p.but(**flipped, global_tokens=tokens))[0][..., ::-1, :],)


def rotated(q: Array, k: Array, v: Array, *, first: int, window: int, mechanism: Mechanism = definitions.attention,
            **options: Any) -> Any:
    """Another mechanism on rotated queries and keys."""
    places = np.arange(k.shape[-2])
    return mechanism(rotary(q, places[k.shape[-2] - q.shape[-2] :]), rotary(k, places), v, **options)


def sliding(q: Array, k: Array, v: Array, *, window: int, **options: Any) -> Any:
    """A window over rotated queries and keys."""
    local = partial(definitions.multi_head_local_attention, window=window)
    return rotated(q, k, v, window=window, mechanism=local, **options)


def whole_groups(sizes: Sizes) -> Sizes:
    """Returns the sizes with a length of two groups of four or more, and as many heads as kv heads, two at least."""
    return replace(square(sizes), q_len=4 * max(2, sizes.kv_len // 4), kv_len=4 * max(2, sizes.kv_len // 4), kv_heads=2, groups=1)


def rolled(q: Array, k: Array, v: Array, *, group: int, causal: bool, scale: float | None = None) -> Array:
    """The second half of the heads turned by half a group; what came round is a region of its own; turned back."""
    length, half = q.shape[-2], q.shape[-3] // 2
    order = np.roll(np.arange(length), -group // 2)
    came_round = order < group // 2
    neighbours = masks.block_local(group).dense(length, length) & (came_round[:, None] == came_round)
    seen = neighbours & (order <= order[:, None]) if causal else neighbours
    straight = definitions.multi_head_local_attention(*(x[..., :half, :, :] for x in (q, k, v)), window=group, mode="block",
                                                      causal=causal, scale=scale)
    turned = definitions.attention(*(x[..., half:, order, :] for x in (q, k, v)), mask=seen, scale=scale)
    return np.concatenate((straight, turned[..., np.argsort(order), :]), axis=-3)


def first_half(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The heads that are not shifted."""
    return (plain(f, p)[0][..., : p.q.shape[-3] // 2, :, :],)


def second_half(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The heads that are shifted."""
    return (plain(f, p)[0][..., p.q.shape[-3] // 2 :, :, :],)


def blocks_of_all(q: Array, k: Array, v: Array, *, group: int, causal: bool, scale: float | None = None) -> Any:
    """Blocks that see themselves alone, in all heads."""
    return definitions.multi_head_local_attention(q, k, v, window=group, mode="block", causal=causal, scale=scale)


def windows_of_all(q: Array, k: Array, v: Array, *, group: int, causal: bool, scale: float | None = None) -> Any:
    """Windows shifted by half, in all heads."""
    return definitions.shifted_window_attention(q, k, v, grid=(q.shape[-2],), window=group, shift=group // 2, scale=scale)


BIRD = partial(definitions.bigbird_attention, block=16, random=2, seed=0)
STREAM = mixing(partial(definitions.streaming_llm_attention, first=4, window=60))
S2 = partial(definitions.shifted_sparse_attention, group=32)
ROWS = (
    Row("longformer_attention", "All read a window; a few tokens read all, and all read them.", definitions.longformer_attention,
        (BELTAGY,), "exact", "heads i (window + global) (d + e)", PROJECTED,
        (*forms("the_gathered_form", gathered.longformer, PROJECTED,
                "Gathering each token's window and the global tokens gives the same."),
         agrees("multi_head_local_attention", both_sides, draw=but(PROJECTED, lambda p: p.but(global_tokens=[])),
                to="multi_head_local_attention", says="Without global tokens it is a window on both sides."),
         agrees("attention", every_pair, draw=but(PROJECTED, lambda p: p.but(global_tokens=[], window=99)), to="attention",
                says="A window as long as the text is attention."),
         agrees("attention_by_global_projections", global_pairs, draw=but(PROJECTED, lambda p: p.but(global_tokens=range(99))),
                to="attention", says="Where all tokens are global it is attention by the global projections."),
         agrees("gathered_attention", union, draw=TIED, to="gathered_attention",
                says="With one projection for both it is one pattern, in which a key counts once."),
         Law("a_token_has_one_projection", "The global tokens' own q and the others' q_global are never read.", PROJECTED, plain,
             others_poisoned),
         Law("a_text_turned_round_gives_its_result_turned_round", "Before and after are alike.", on(TIED, square),
             plain, turned_round),
         *general.laws(TIED)),
        (BadInput({"window": -1}, ValueError, ("window", "-1")),
         BadInput({"global_tokens": [0, -3]}, ValueError, ("global_tokens", "-3")),
         BadInput({"global_tokens": [0.5]}, TypeError, ("global_tokens", "float64")),
         BadInput({"q_global": np.ones((1, 4, 9, 4))}, ValueError, ("q_global", "(1, 4, 9, 4)")), BAD[2]),
        aliases=("longformer", "global tokens"), called=tied, pattern=masks.window(2, 2) | masks.global_tokens([0, 9])),
    Row("bigbird_attention", "Blocks see their neighbours, the first and last block, and some at random.",
        definitions.bigbird_attention, (Paper("Zaheer et al.", 2020, "2007.14062"),), "exact", "heads i (5 + random) block (d + e)",
        FLOCK,
        (*forms("the_gathered_form", gathered.bigbird, FLOCK, "Gathering each query's set of blocks gives the same."),
         agrees("attention", every_pair, draw=but(FLOCK, lambda p: p.but(block=5, causal=False)), to="attention",
                says="Of three blocks every one is an end or a neighbour: it is attention."),
         agrees("causal_attention", all_before, draw=but(BEFORE, lambda p: p.but(random=99)), to="attention",
                says="With as many random blocks as there are it is causal attention."),
         *decoded(definitions.bigbird_attention, BEFORE), *general.laws(FLOCK)),
        (BadInput({"block": 0}, ValueError, ("block", "0")), BadInput({"random": -1}, ValueError, ("random", "-1")),
         BadInput({"seed": 0.5}, TypeError, ("seed", "float")), BadInput({"causal": 1}, TypeError, ("causal", "int")), BAD[2]),
        aliases=("bigbird", "big bird"), mixer=BIRD, cache=partial(GrowingCache, BIRD), cache_bytes=grown, cache_formula=FORMULA,
        pattern=near_blocks(2) | ends(2, 16) | masks.random_blocks(2, 1, 0)),
    Row("streaming_llm_attention", "The first tokens and the last ones, at the places that they have in a cache of these alone.",
        definitions.streaming_llm_attention, (Paper("Xiao et al.", 2023, "2309.17453"),), "exact", "heads i (first + window) (d + e)",
        KEPT,
        (*forms("a_cache_that_evicts", gathered.streaming_llm, KEPT, "A cache that evicts, read token by token, gives the same."),
         agrees("rotary_attention", partial(rotated, causal=True), draw=but(KEPT, lambda p: p.but(window=99)), to="attention",
                says="Where nothing is evicted it is causal attention with rotary positions."),
         agrees("a_rotary_window", sliding, draw=but(KEPT, lambda p: p.but(first=0)), to="multi_head_local_attention",
                says="Without first tokens it is a sliding window with rotary positions."),
         *decoded(mixing(definitions.streaming_llm_attention), KEPT), *general.laws(KEPT)),
        (BadInput({"first": -1}, ValueError, ("first", "-1")), BadInput({"window": 0}, ValueError, ("window", "0")),
         BadInput({"base": float("nan")}, ValueError, ("base", "nan")), BadInput({"base": "x"}, TypeError, ("base", "str")), BAD[2]),
        aliases=("streamingllm", "streaming llm", "attention sinks"), rotates=True, mixer=STREAM, cache=partial(GrowingCache, STREAM),
        cache_bytes=grown, cache_formula=FORMULA, pattern=masks.causal() & (masks.first(2) | masks.sliding_window(4))),
    Row("shifted_sparse_attention", "Tokens see their group; in half of the heads the groups are shifted by half.",
        definitions.shifted_sparse_attention, (Paper("Chen et al.", 2023, "2309.12307"),), "exact", "heads i group (d + e)", GROUPS,
        (*forms("ragged_groups", gathered.shifted_sparse, GROUPS,
                "Groups whose borders are written down, a half one at each end, give the same."),
         agrees("a_turn_with_regions", rolled, draw=but(GROUPS, lambda p: p.but(group=4), fit=whole_groups),
                says="Turning the text, hiding from each other what was not neighbours, and turning back gives the same."),
         agrees("causal_attention", all_before, draw=but(SHIFTED, lambda p: p.but(group=40)), to="attention",
                says="Groups twice as long as the text are causal attention."),
         Law("the_first_heads_are_not_shifted", "The first half of the heads sees blocks.", GROUPS, first_half,
             lambda f, p: first_half(blocks_of_all, p), to="multi_head_local_attention"),
         Law("the_last_heads_see_shifted_windows", "Not causal, the other half is windows on a line, shifted by half.",
             but(GROUPS, lambda p: p.but(group=4, causal=False), fit=whole_groups), second_half,
             lambda f, p: second_half(windows_of_all, p), to="shifted_window_attention"),
         *decoded(definitions.shifted_sparse_attention, SHIFTED), *general.laws(GROUPS, heads=False)),
        (BadInput({"group": 3}, ValueError, ("group", "3")), BadInput({"group": 0}, ValueError, ("group", "0")),
         BadInput({"variant": "swin"}, ValueError, ("variant", "swin", "safe")),
         BadInput({"variant": "roll"}, ValueError, ("q", "(1, 4, 5, 4)")), BAD[2]),
        aliases=("longlora", "s2", "s2-attn", "shifted sparse attention"), mixer=S2, cache=partial(GrowingCache, S2),
        cache_bytes=grown, cache_formula=FORMULA, pattern=masks.causal() & masks.shifted_blocks(4, 2)),
)
