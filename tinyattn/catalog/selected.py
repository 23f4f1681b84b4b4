"""Rows of attention to keys that the queries themselves choose: by score, by hash, by the means of blocks."""

from __future__ import annotations

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
from tinyattn.catalog.sparse import FORMULA, all_before, decoded, forms, on, one_of, small
from tinyattn.catalog.variants import with_options
from tinyattn.laws import gathered, general
from tinyattn.laws.draw import ALL, at_least, both, softmax, square
from tinyattn.laws.forms import agrees, but
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.layers.inputs import Input
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.draws import lsh_rotations
from tinyattn.ops.types import Array


def eighths(p: Problem) -> Problem:
    """Queries and keys in whole eighths, and a scale that is a power of two: every form finds the very same scores.

    Two scores that are one in theory and differ by a rounding would be chosen by one form and not by the other.
    """
    return p.but(q=np.round(8.0 * p.q) / 8.0, k=np.round(8.0 * p.k) / 8.0, scale=p.options.get("scale", 0.5))


def choosing(*names: str, **make: Any) -> Draw:
    """Returns the drawing of problems whose scores have no rounding, with options of their own."""
    return with_options(but(softmax("scale", *names, fit=both(small, at_least(head_dim=2))), eighths), **make)


def gates(rng: np.random.Generator, p: Problem) -> Array:
    """Three numbers a query."""
    return rng.random((*p.q.shape[:-1], 3)).astype(p.q.dtype)


def seven(sizes: Sizes) -> Sizes:
    """Returns the sizes with seven tokens at least, of which a query has some to choose from besides those it must read."""
    more = max(0, 7 - sizes.kv_len)
    return replace(sizes, q_len=sizes.q_len + more, kv_len=sizes.kv_len + more)


TOP = choosing("causal", keep=one_of(1, 2, 3, 5))
NATIVE = on(choosing(gates=gates, block=one_of(1, 1, 2, 4), selected=one_of(1, 3, 4, 5), window=one_of(1, 2, 4)), seven)
MIXTURE = choosing(block=one_of(1, 2, 4), keep=one_of(1, 2, 3))


def any_options(q: Array, k: Array, v: Array, *, keep: int, **options: Any) -> Any:
    """Attention with the same options."""
    return definitions.attention(q, k, v, **options)


def best_value(q: Array, k: Array, v: Array, *, keep: int, scale: float) -> Array:
    """The value of the first key of largest score."""
    best = np.argmax(gathered.pairs(q, k) * scale, axis=-1)[..., None]
    values = np.repeat(v, q.shape[-3] // k.shape[-3], axis=-3)
    return np.take_along_axis(values, np.broadcast_to(best, (*best.shape[:-1], v.shape[-1])), axis=-2)


def dropped(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Every other key taken out by hand."""
    return plain(f, p.but(k=p.k[..., ::2, :], v=p.v[..., ::2, :], mask=None))


def excess(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """How far off attention it is, or how far it may be where that is more: twice the weight left out, of the largest value."""
    weights = definitions.attention_weights(p.q, p.k, scale=p.options["scale"])
    left_out = 1.0 - np.sort(weights, axis=-1)[..., -p.options["keep"]:].sum(axis=-1, keepdims=True)
    most = np.abs(p.v).max(initial=0.0)
    error = np.abs(plain(f, p)[0] - definitions.attention(p.q, p.k, p.v, scale=p.options["scale"])).max(axis=-1, keepdims=True)
    return (most + np.maximum(error, 2.0 * most * left_out),)


def bound(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """How far it may be."""
    weights = definitions.attention_weights(p.q, p.k, scale=p.options["scale"])
    left_out = 1.0 - np.sort(weights, axis=-1)[..., -p.options["keep"]:].sum(axis=-1, keepdims=True)
    return (np.abs(p.v).max(initial=0.0) * (1.0 + 2.0 * left_out),)


def hashed(f: Mechanism) -> Mechanism:
    """Returns LSH attention as f(q, k, v): its keys are its queries."""
    return lambda q, k, v, **options: f(q, v, **options)


def one_head_each(sizes: Sizes) -> Sizes:
    """Returns the sizes with as many keys as queries and heads of their own."""
    return square(replace(small(sizes), groups=1))


def turns(hashes: int) -> Callable[[np.random.Generator, Problem], Array]:
    """Returns how rotations are drawn for four buckets."""
    return lambda rng, p: lsh_rotations(rng, hashes, p.q.shape[-1], 4).astype(p.q.dtype)


HASHED = with_options(softmax("scale", "causal", fit=one_head_each), rotations=turns(2), chunk=one_of(1, 2, 3, 13))


def unit_keys(q: Array, k: Array, v: Array, *, rotations: Array, chunk: int, **options: Any) -> Any:
    """Attention to keys of length one, each query's own 1e5 lower."""
    places = np.arange(q.shape[-2])
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    last = np.where(places[:, None] == places, -1e5, 0.0).astype(q.dtype)
    return definitions.attention(q, q / np.where(length == 0, 1.0, length), v, bias=last, **options)


def errors_fall(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Whether the mean error against attention falls from 1 to 4 to 16 hashes, over four draws of rotations."""
    rng, errors = np.random.default_rng(p.options["chunk"]), []
    whole = unit_keys(p.q, p.k, p.v, rotations=p.q, chunk=0)
    for hashes in (1, 4, 16):
        outs = [p.call(f, rotations=turns(hashes)(rng, p)) for _ in range(4)]
        errors.append(np.mean([np.mean((out - whole) ** 2) for out in outs]))
    return (np.diff(errors) < 0,)


def texts(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """One of four texts of 24 tokens, the same each time."""
    chunk = int(rng.integers(4, 8))
    draw = np.random.default_rng(chunk)
    q, v = draw.standard_normal((1, 2, 24, 4)), draw.standard_normal((1, 2, 24, 3))
    return Problem(q, q, v, {"chunk": chunk, "rotations": q})


def gates_of(*values: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem's gates to these three."""
    return lambda p: p.but(gates=np.zeros_like(p.options["gates"]) + np.asarray(values, p.q.dtype))


def window_alone(q: Array, k: Array, v: Array, *, window: int, scale: float, **options: Any) -> Any:
    """A sliding window."""
    return definitions.multi_head_local_attention(q, k, v, window=window, scale=scale)


def three_attentions(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Each of the three alone, times its gates, added up."""
    parts = [plain(f, gates_of(*row)(p))[0] for row in np.eye(3)]
    return (sum(p.options["gates"][..., n : n + 1] * part for n, part in enumerate(parts)),)


def equal_values(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """All values one."""
    return plain(f, p.but(v=np.ones_like(p.v)))


def open_gates(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The sum of the gates of the attentions that see something: no block's mean before a block is past."""
    places = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None]
    seen = np.concatenate((places + 1 >= p.options["block"], places >= 0, places >= 0), axis=-1)
    total = np.sum(p.options["gates"] * seen, axis=-1, keepdims=True)
    return (np.repeat(total, p.v.shape[-1], axis=-1),)


def own_block(q: Array, k: Array, v: Array, *, block: int, keep: int, scale: float) -> Any:
    """Blocks that see themselves alone."""
    return definitions.multi_head_local_attention(q, k, v, window=block, mode="block", scale=scale)


def itself_best(p: Problem) -> Problem:
    """Keys of length one that are their own queries: none scores above the query's own."""
    k = p.k + 0.1 * np.cos(np.arange(p.k.size)).reshape(p.k.shape).astype(p.k.dtype)  # no two alike
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    own = np.repeat(k, p.q.shape[-3] // k.shape[-3], axis=-3)[..., k.shape[-2] - p.q.shape[-2] :, :]
    return p.but(q=own, k=k, block=1)


def top_k_before(q: Array, k: Array, v: Array, *, block: int, keep: int, scale: float) -> Any:
    """The largest scores of all that came before."""
    return definitions.top_k_attention(q, k, v, keep=keep, causal=True, scale=scale)


FEWER = BadInput({"k": np.ones((1, 2, 3, 4)), "v": np.ones((1, 2, 3, 3))}, ValueError, ("q_len <= kv_len", "(1, 2, 3, 4)"))
TOP_16 = partial(definitions.top_k_attention, keep=16)
NSA = mixing(partial(definitions.native_sparse_attention, block=8, selected=4, window=16))
MOBA = mixing(partial(definitions.block_mixture_attention, block=16, keep=3))
ROWS = (
    Row("top_k_attention", "Each query keeps its largest scores.", definitions.top_k_attention,
        (Paper("Gupta et al.", 2021, "2106.06899"), Paper("Zhao et al.", 2019, "1912.11637")), "approximate",
        "heads i j d + heads i keep e", TOP,
        (*forms("the_gathered_form", gathered.top_k, but(TOP, lambda p: p.but(keep=max(p.options["keep"], 2))),
                "Sorting each query's keys and gathering the first gives the same."),
         agrees("attention", any_options, draw=with_options(softmax(*ALL, fit=small), keep=one_of(13, 99)), to="attention",
                says="Keeping as many as can be seen is attention."),
         agrees("the_best_value", best_value, draw=choosing(keep=one_of(1)), says="Keeping one reads the value of the best key."),
         Law("hidden_keys_take_no_place", "Keys that are hidden are not among those kept.",
             choosing(keep=one_of(1, 2, 3), mask=lambda rng, p: np.arange(p.k.shape[-2]) % 2 == 0), plain, dropped),
         Law("what_is_left_out_bounds_the_error", "It is off attention by at most twice the weight left out, of the largest value.",
             choosing(keep=one_of(1, 2, 3)), excess, bound, to="attention", kind="approximate"),
         *decoded(definitions.top_k_attention, but(TOP, lambda p: p.but(causal=True))), *general.laws(TOP)),
        (BadInput({"keep": 0}, ValueError, ("keep", "0")), BadInput({"keep": 2.0}, TypeError, ("keep", "float")), *BAD),
        aliases=("top-k attention", "topk", "explicit sparse transformer"), mixer=TOP_16, cache=partial(GrowingCache, TOP_16),
        cache_bytes=grown, cache_formula=FORMULA),
    Row("lsh_attention", "Tokens are sorted by a hash and see those that it brought near.", definitions.lsh_attention,
        (Paper("Kitaev et al.", 2020, "2001.04451"),), "approximate", "hashes heads i 2 chunk (d + e)", HASHED,
        (*forms("a_dense_mask", hashed(gathered.lsh), HASHED, "A mask of the pairs that each hash brings together gives the same."),
         agrees("attention", unit_keys, to="attention",
                draw=but(HASHED, lambda p: p.but(rotations=np.zeros_like(p.options["rotations"]), chunk=13)),
                says="With one bucket and one chunk it is attention to keys of length one, each query's own last."),
         Law("a_hash_again_tells_nothing_new", "The same hash three times gives what it gives once.",
             but(HASHED, lambda p: p.but(rotations=p.options["rotations"][:1])), plain,
             lambda f, p: plain(f, p.but(rotations=np.repeat(p.options["rotations"], 3, axis=0)))),
         Law("tokens_have_no_length", "Tokens twice as long at half the scale give the same.", HASHED, plain,
             lambda f, p: plain(f, p.but(q=2.0 * p.q, scale=0.5 * (p.options.get("scale") or p.q.shape[-1] ** -0.5)))),
         Law("more_hashes_err_less", "Its mean error against attention falls from 1 to 4 to 16 hashes.", texts, errors_fall,
             lambda f, p: (np.ones(2, bool),), exact=True, to="attention", kind="approximate"),
         replace(general.causal(but(HASHED, lambda p: p.but(causal=True, chunk=13))), exact=False,
                 says="In one chunk, other later tokens change nothing earlier; of several chunks they move the borders."),
         *general.laws(HASHED)),
        (BadInput({"rotations": np.ones((2, 4, 0))}, ValueError, ("rotations", "(2, 4, 0)")),
         BadInput({"rotations": np.full((1, 4, 2), np.nan)}, ValueError, ("rotations", "NaN")),
         BadInput({"rotations": [[1.0]]}, TypeError, ("rotations", "list")),
         BadInput({"chunk": 0}, ValueError, ("chunk", "0")), BAD[2]),
        aliases=("reformer", "locality-sensitive hashing", "shared-qk attention"), called=hashed, fit=one_head_each),
    Row("native_sparse_attention", "A query reads the means of blocks, the blocks that these chose, and a window.",
        definitions.native_sparse_attention, (Paper("Yuan et al.", 2025, "2502.11089"),), "approximate",
        "heads i (j / block + selected block + window) (d + e)", NATIVE,
        (*forms("the_gathered_form", gathered.native_sparse, NATIVE,
                "Gathering means, blocks and window one query at a time gives the same."),
         agrees("causal_attention", all_before, draw=but(NATIVE, lambda p: gates_of(0, 1, 0)(p.but(selected=99))), to="attention",
                says="With all blocks selected and their gate alone it is causal attention."),
         agrees("attention_to_means_of_one", all_before, draw=but(NATIVE, lambda p: gates_of(1, 0, 0)(p.but(block=1))), to="attention",
                says="The means of single tokens, with their gate alone, are causal attention."),
         agrees("a_window_alone", window_alone, draw=but(NATIVE, gates_of(0, 0, 1)), to="multi_head_local_attention",
                says="With the window's gate alone it is a sliding window."),
         Law("gates_weigh_three_attentions", "It is each of the three alone, times its gates, added up.", NATIVE, plain,
             three_attentions),
         Law("equal_values_give_the_open_gates", "Values that are all 1 give the sum of the gates.", NATIVE, equal_values,
             open_gates),
         *decoded(mixing(definitions.native_sparse_attention), NATIVE), *general.laws(NATIVE, heads=False)),
        (BadInput({"gates": np.full((1, 4, 5, 3), np.nan)}, ValueError, ("gates", "NaN")),
         BadInput({"gates": np.ones((1, 4, 5))}, ValueError, ("gates", "(1, 4, 5)")),
         BadInput({"gates": 1.0}, TypeError, ("gates", "float")), BadInput({"block": 0}, ValueError, ("block", "0")),
         BadInput({"selected": 0}, ValueError, ("selected", "0")), BadInput({"window": 0}, ValueError, ("window", "0")),
         FEWER, BAD[2]),
        aliases=("nsa", "native sparse attention"), inputs=(Input("gates", "heads 3", sigmoid, 0.0),), mixer=NSA,
        cache=partial(GrowingCache, NSA), cache_bytes=grown, cache_formula=FORMULA),
    Row("block_mixture_attention", "A query picks past blocks by the mean of their keys.", definitions.block_mixture_attention,
        (Paper("Lu et al.", 2025, "2502.13189"),), "approximate", "heads i (j / block d + keep block (d + e))", MIXTURE,
        (*forms("two_parts_merged", gathered.block_mixture, MIXTURE,
                "Its own block and its past blocks, read apart and merged, give the same."),
         agrees("causal_attention", all_before, draw=with_options(MIXTURE, keep=one_of(13, 99)), to="attention",
                says="Keeping all blocks is causal attention."),
         agrees("attention_in_one_block", all_before, draw=with_options(MIXTURE, block=one_of(13, 99)), to="attention",
                says="A block as long as the text is causal attention."),
         agrees("own_blocks", own_block, draw=with_options(MIXTURE, keep=one_of(1)), to="multi_head_local_attention",
                says="Keeping one block reads the query's own."),
         agrees("top_k_attention", top_k_before, draw=but(MIXTURE, itself_best), to="top_k_attention",
                says="With blocks of one token, and queries that like their own key best, it is top-k attention."),
         *decoded(mixing(definitions.block_mixture_attention), MIXTURE), *general.laws(MIXTURE)),
        (BadInput({"block": 0}, ValueError, ("block", "0")), BadInput({"keep": 0}, ValueError, ("keep", "0")),
         FEWER, BAD[2]),
        aliases=("moba", "mixture of block attention"), mixer=MOBA, cache=partial(GrowingCache, MOBA), cache_bytes=grown,
        cache_formula=FORMULA),
)
