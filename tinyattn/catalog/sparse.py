"""Rows of sparse attention by any pattern, and by any table of blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog.recurrent import mixing
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.softmax import BAD, grown
from tinyattn.catalog.variants import own, with_options
from tinyattn.definitions.sparse.bigbird import ends, near_blocks
from tinyattn.laws import gathered, general
from tinyattn.laws.budget import FEW
from tinyattn.laws.cached import cached
from tinyattn.laws.draw import softmax, square
from tinyattn.laws.forms import agrees, but, invisible, slopes_agree
from tinyattn.laws.gradient import gradients
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.masking import unseen_poisoned
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.ops import masks
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.merge import merge
from tinyattn.ops.types import Array

FORMULA = "length kv_heads (head_dim + value_dim) itemsize"
CHILD, BELTAGY = Paper("Child et al.", 2019, "1904.10509"), Paper("Beltagy et al.", 2020, "2004.05150")
SHARDED = Paper("Lin et al.", 2024, "2407.17678")


def small(sizes: Sizes) -> Sizes:
    """Returns sizes whose pairs can be gone through one by one, with at most as many queries as keys.

    The fewer rows there are, the wider are the values: half of the results is enough to know an error by.
    """
    few = replace(sizes, leading=tuple(min(n, 2) for n in sizes.leading[:1]), kv_heads=min(sizes.kv_heads, 2),
                  groups=min(sizes.groups, 2), q_len=max(1, min(sizes.q_len, sizes.kv_len)))
    return replace(few, value_dim=max(few.value_dim, -(-2 * FEW // (math.prod(few.leading) * few.heads * few.q_len))))


def sloping(sizes: Sizes) -> Sizes:
    """Returns the sizes of a problem whose slopes are not 0: four tokens, of which each may see others."""
    return replace(sizes, leading=(), kv_heads=2, groups=2, q_len=4, kv_len=4, head_dim=4, regime="plain")


def on(draw: Draw, fit: Callable[[Sizes], Sizes]) -> Draw:
    """Returns the drawing on other sizes."""
    return lambda rng, sizes: draw(rng, fit(sizes))


def forms(name: str, other: Mechanism, draw: Draw, says: str) -> tuple[Law, ...]:
    """Returns the laws that another form gives the same, outputs and gradients."""
    return (agrees(name, other, draw=draw, says=says), slopes_agree(name, other, draw=on(draw, sloping)))


def one_of(*choices: Any) -> Callable[[np.random.Generator, Problem], Any]:
    """Returns how an option is drawn from a few."""
    return lambda rng, p: choices[int(rng.integers(len(choices)))]


def decoded(mixer: Mechanism, draw: Draw) -> tuple[Law, ...]:
    """Returns the laws of a mechanism that is causal: its cache, and later tokens."""
    return cached(partial(GrowingCache, mixer), draw), general.causal(draw)


def each_part(parts: list[Array], order: Array) -> Array:
    """Returns rows computed in another order, put back."""
    return np.concatenate(parts, axis=-2)[..., np.argsort(order), :]


BACK = (masks.sliding_window(3), masks.causal() & masks.block_local(3), masks.strided(3), masks.dilated(2, 2), masks.fixed(3, 1),
        masks.causal() & masks.look_back(2), masks.causal() & (masks.sliding_window(2) | masks.first(2)))
AROUND = (masks.window(2, 1), masks.window(1, 1) | masks.global_tokens([0, 3]), near_blocks(2) | masks.random_blocks(2, 1, 5),
          near_blocks(1) | ends(2, 9), masks.shifted_blocks(4, 2), Pattern(lambda i, j: (i - j) % 3 == 1))
SPARSE = softmax("scale", fit=small)
STATIC = with_options(SPARSE, mask=one_of(*BACK, *AROUND), block=one_of(1, 2, 3, 16))
STATIC_BACK = with_options(SPARSE, mask=one_of(*BACK), block=one_of(1, 2, 3, 16))
OF_HEADS = with_options(STATIC, mask=lambda rng, p: masks.sharded(p.q.shape[-3], size=2, local=1, stride=3) | one_of(*BACK)(rng, p))


def seen(*patterns: Pattern, fit: Callable[[Sizes], Sizes] = square) -> Draw:
    """Returns the drawing of problems with one of these patterns."""
    return with_options(on(STATIC, fit), mask=one_of(*patterns))


def masked(q: Array, k: Array, v: Array, *, mask: Pattern, block: int, scale: float | None = None) -> Any:
    """Attention with the pattern as its mask."""
    return definitions.attention(q, k, v, mask=mask, scale=scale)


def all_before(q: Array, k: Array, v: Array, *, scale: float | None = None, **options: Any) -> Any:
    """Causal attention."""
    return definitions.attention(q, k, v, causal=True, scale=scale)


def window_of_three(q: Array, k: Array, v: Array, *, scale: float | None = None, **options: Any) -> Any:
    """A sliding window of three tokens."""
    return definitions.multi_head_local_attention(q, k, v, window=3, scale=scale)


def blocks_alone(q: Array, k: Array, v: Array, *, scale: float | None = None, **options: Any) -> Array:
    """Each three tokens as a text of their own."""
    cuts = [slice(s, s + 3) for s in range(0, q.shape[-2], 3)]
    return np.concatenate([definitions.attention(*(x[..., s, :] for x in (q, k, v)), causal=True, scale=scale) for s in cuts], axis=-2)


def residues_alone(q: Array, k: Array, v: Array, *, scale: float | None = None, **options: Any) -> Array:
    """Each third token, a text of its own, with a window of two."""
    order = np.concatenate([np.arange(r, q.shape[-2], 3) for r in range(3)])
    parts = [definitions.multi_head_local_attention(*(x[..., r::3, :] for x in (q, k, v)), window=2, scale=scale) for r in range(3)]
    return each_part(parts, order)


def transposed(q: Array, k: Array, v: Array, *, scale: float | None = None, **options: Any) -> Array:
    """The text as a table three wide, turned, so that a column is a block."""
    rows = q.shape[-2] // 3
    order = np.arange(q.shape[-2]).reshape(rows, 3).T.reshape(-1)
    turned = (x[..., order, :] for x in (q, k, v))
    return each_part([definitions.attention(*turned, mask=masks.causal() & masks.block_local(rows), scale=scale)], order)


def threes(sizes: Sizes) -> Sizes:
    """Returns the sizes with a length of three times something."""
    return square(replace(sizes, kv_len=3 * -(-sizes.kv_len // 3)))


def last_unseen(p: Problem) -> Problem:
    """The problem with its last key hidden from all."""
    return p.but(mask=p.options["mask"] & masks.first(p.k.shape[-2] - 1))


def tables(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A problem with a table of blocks for all heads, or one for each."""
    p = softmax("scale", "causal", fit=small)(rng, sizes)
    q_block, kv_block = (int(n) for n in rng.integers(1, 4, 2))
    lead = ((), p.q.shape[-3:-2])[int(rng.integers(2))]
    shape = (*lead, -(-p.q.shape[-2] // q_block), -(-p.k.shape[-2] // kv_block))
    return p.but(blocks=rng.random(shape) < 0.6, q_block=q_block, kv_block=kv_block)


def one_table(p: Problem) -> Problem:
    """The problem with the first head's table for all."""
    table = p.options["blocks"]
    return p.but(blocks=table if table.ndim == 2 else table[0])


def cut_finer(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Blocks of one query and one key."""
    return plain(f, p.but(blocks=pairs_of(p, p.options["blocks"]), q_block=1, kv_block=1))


def pairs_of(p: Problem, blocks: Array) -> Array:
    """Returns the pairs of a table's blocks."""
    rows = np.repeat(blocks, p.options["q_block"], axis=-2)[..., : p.q.shape[-2], :]
    return np.repeat(rows, p.options["kv_block"], axis=-1)[..., : p.k.shape[-2]]


def two_tables(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Two tables without a block in common, merged."""
    blocks = p.options["blocks"]
    some = np.indices(blocks.shape[-2:]).sum(axis=0) % 2 == 0
    rest = {name: p.options[name] for name in ("scale", "causal") if name in p.options}
    parts = [definitions.attention_with_lse(p.q, p.k, p.v, mask=pairs_of(p, blocks & half), **rest) for half in (some, ~some)]
    return (merge(*parts)[0],)


def sharded(q: Array, k: Array, v: Array, *, causal: bool = True, size: int = 16, local: int = 2, stride: int = 4,
            mechanism: Mechanism = definitions.block_sparse_attention, **options: Any) -> Any:
    """Returns attention to the last blocks and to every stride-th one before them, other ones in each head."""
    positions, heads = np.arange(k.shape[-2] - q.shape[-2], k.shape[-2]), np.arange(q.shape[-3])[:, None, None]
    mine, theirs = positions[:, None] // size, np.arange(-(-k.shape[-2] // size))
    kept = (theirs + heads * max(1, stride // q.shape[-3]) + 1) % stride == 0
    return mechanism(q, k, v, blocks=(mine - theirs < local) | kept, q_block=1, kv_block=size, causal=True, **options)


def sharded_pattern(q: Array, k: Array, v: Array, *, size: int, local: int, stride: int, scale: float | None = None) -> Any:
    """The gathered form of the same shards."""
    pattern = masks.sharded(q.shape[-3], size=size, local=local, stride=stride)
    return definitions.gathered_attention(q, k, v, mask=pattern, scale=scale, block=size)


SHARDS = with_options(SPARSE, size=one_of(1, 2, 3), local=one_of(1, 2), stride=one_of(1, 2, 3, 4))
SPARSE_TRANSFORMER = masks.sliding_window(32) | masks.strided(32)
STRIDED = partial(definitions.gathered_attention, mask=SPARSE_TRANSFORMER)
ROWS = (
    Row("gathered_attention", "Of a pattern, only the blocks in which somebody sees somebody are computed.",
        definitions.gathered_attention, (CHILD, BELTAGY), "exact", "heads visible (d + e), by whole blocks", OF_HEADS,
        (agrees("attention", masked, draw=STATIC, to="attention", says="It is attention with the pattern as a mask."),
         agrees("attention_head_by_head", masked, draw=OF_HEADS, to="attention", says="Heads may have patterns of their own."),
         slopes_agree("attention", masked, draw=on(STATIC, sloping)),
         agrees("causal_attention", all_before, to="attention",
                says="A window, block, last tokens or shard as long as the text, or a stride of 1, is causal attention.",
                draw=seen(masks.sliding_window(99), masks.causal() & masks.block_local(99), masks.strided(1), masks.fixed(3, 3),
                          masks.causal() & masks.look_back(99), masks.dilated(99, 1), masks.sharded(1, size=2, local=1, stride=1),
                          masks.sharded(1, size=2, local=99, stride=3))),
         agrees("multi_head_local_attention", window_of_three, to="multi_head_local_attention",
                draw=seen(masks.sliding_window(3), masks.dilated(3, 1), masks.window(2, 0)),
                says="A window is the same by any name; a dilation of 1 is none."),
         agrees("own_values", own, draw=seen(masks.sliding_window(1), masks.block_local(1), masks.dilated(1, 3), masks.window(0, 0)),
                says="A window or block of one token reads the query's own value."),
         agrees("blocks_alone", blocks_alone, to="attention",
                draw=seen(*(masks.causal() & blocks for blocks in (masks.block_local(3), masks.shifted_blocks(3, 0)))),
                says="Blocks that see themselves alone are texts of their own."),
         agrees("residues_alone", residues_alone, draw=seen(masks.dilated(2, 3)), to="multi_head_local_attention",
                says="A dilated window is a window on each residue class of the tokens."),
         agrees("transposed_blocks", transposed, draw=seen(masks.strided(3), fit=threes), to="attention",
                says="A stride is a block once the text is written as a table and turned."),
         Law("the_unseen_may_hold_anything", "NaN or inf where nobody looks changes nothing.", but(STATIC, last_unseen), plain,
             unseen_poisoned),
         Law("the_unseen_leaves_gradients_alone", "NaN where nobody looks changes no gradient.", but(STATIC, last_unseen, fit=sloping),
             gradients, lambda f, p: unseen_poisoned(lambda q, k, v, **o: gradients(f, Problem(q, k, v, o)), p)),
         invisible("block", (1, 2, 3, 7), STATIC), *decoded(mixing(definitions.gathered_attention), STATIC_BACK),
         *general.laws(STATIC)),
        (BadInput({"mask": np.ones((5, 7), bool)}, TypeError, ("mask", "ndarray")),
         BadInput({"mask": masks.per_head([masks.causal()] * 3)}, ValueError, ("mask", "(3, 5, 7)")),
         BadInput({"block": 0}, ValueError, ("block", "0")), BAD[2]),
        aliases=("sparse transformer", "strided attention", "dilated attention", "dilated window", "block-local attention",
                 "fixed attention", "look-back attention"),
        mixer=mixing(STRIDED), cache=partial(GrowingCache, mixing(STRIDED)), cache_bytes=grown, cache_formula=FORMULA,
        pattern=masks.sliding_window(4) | masks.strided(4)),
    Row("block_sparse_attention", "A table says which block of queries sees which block of keys.",
        definitions.block_sparse_attention, (CHILD, SHARDED), "exact", "heads i j (d + e)", tables,
        (*forms("the_gathered_form", gathered.block_sparse, tables, "Gathering the keys of each query's blocks gives the same."),
         agrees("attention", lambda q, k, v, *, blocks, q_block, kv_block, **o: definitions.attention(q, k, v, **o),
                draw=but(tables, lambda p: p.but(blocks=np.ones_like(p.options["blocks"]))), to="attention",
                says="A full table is attention."),
         Law("blocks_cut_finer_change_nothing", "A table of single pairs, the blocks' own, gives the same.", tables, plain, cut_finer),
         Law("tables_merge_into_their_union", "The results of two tables without a block in common merge into that of both.", tables,
             plain, two_tables, to="attention_with_lse"),
         Law("equals_a_sharded_pattern", "A table of each head's shards is the pattern of shards.", SHARDS,
             lambda f, p: plain(partial(sharded, mechanism=f), p), lambda f, p: plain(sharded_pattern, p), to="gathered_attention"),
         replace(cached(partial(GrowingCache, sharded), SHARDS), left=lambda f, p: plain(partial(sharded, mechanism=f), p)),
         general.causal(but(tables, lambda p: p.but(causal=True))), *general.laws(but(tables, one_table))),
        (BadInput({"blocks": np.ones((3, 3))}, TypeError, ("blocks", "float64")),
         BadInput({"blocks": np.ones((9, 9), bool)}, ValueError, ("blocks", "(9, 9)")),
         BadInput({"q_block": 0}, ValueError, ("q_block", "0")), BadInput({"kv_block": 1.5}, TypeError, ("kv_block", "float")),
         *BAD[:4]),
        aliases=("block-sparse attention", "sharded attention", "sparsely-sharded attention", "phi-3-small attention"),
        mixer=sharded, cache=partial(GrowingCache, sharded), cache_bytes=grown, cache_formula=FORMULA,
        pattern=masks.sharded(1, size=2, local=2, stride=4)),
)
