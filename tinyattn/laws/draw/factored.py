"""Problems whose heads share more than keys: sums of outer products, and keys that an indexer chooses for all heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import but, given, on, one_of, with_options
from tinyattn.laws.draw.sizes import at_least, both, few_rows, fixed
from tinyattn.laws.draw.softmax import softmax
from tinyattn.laws.draw.sparse import choosing
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.ops.types import Array

# In these problems q, k and v are the channel factors, with their rank in the place of the heads.
FEWER = ("causal", "window", "scale", "softcap")


def factors(*options: str) -> Any:
    """Returns the drawing of tensor products with these options: three or six heads on one or three, and ranks from 1 to 8."""
    inner = softmax(*options)

    def draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
        p, (heads, kv_heads) = inner(rng, sizes), ((3, 1), (3, 3), (6, 3))[int(rng.integers(3))]
        p = p.but(v=rng.standard_normal((*p.v.shape[:-3], int(rng.integers(1, 4)), *p.v.shape[-2:])).astype(p.q.dtype))
        made = {f"{name}_factors": rng.standard_normal((*x.shape[:-1], count)).astype(p.q.dtype)
                for name, x, count in (("q", p.q, heads), ("k", p.k, kv_heads), ("v", p.v, kv_heads))}
        return p.but(**made)

    return draw


FACTORS = factors(*FEWER)


def same_rank(p: Problem) -> Problem:
    """Returns the problem with values of the rank of the keys, as a cache holds both."""
    rank = p.k.shape[-3]
    v, heads = (np.repeat(x[..., :1, :, :], rank, axis=-3) * np.arange(1.0, rank + 1)[:, None, None].astype(p.q.dtype)
                for x in (p.v, p.options["v_factors"]))
    return p.but(v=v, v_factors=heads)


CACHED = but(given(factors("scale", "softcap"), causal=True), same_rank)


def packed(p: Problem) -> Problem:
    """Returns a problem with each head factor before its channel factor in one array, as a cache holds them."""
    pairs = ((p.options[f"{name}_factors"], x) for name, x in (("q", p.q), ("k", p.k), ("v", p.v)))
    q, k, v = (np.concatenate(pair, axis=-1) for pair in pairs)
    counts = {"heads": p.options["q_factors"].shape[-1], "kv_heads": p.options["k_factors"].shape[-1]}
    return p.without("q_factors", "k_factors", "v_factors").but(q=q, k=k, v=v, **counts)


def units(x: Array, heads: int) -> Array:
    """Returns head factors that hand row h // (heads / rank) of the rank to head h, alone and unchanged."""
    each = np.repeat(np.eye(x.shape[-3], dtype=x.dtype), heads // x.shape[-3], axis=-1)
    return np.broadcast_to(each[:, None, :], (*x.shape[:-1], heads)).copy()


def unit_factors(repeated: bool) -> Callable[[Problem], Problem]:
    """Returns the change of a softmax problem into tensor products with unit head factors; `repeated`: a kv head per query head."""
    def change(p: Problem) -> Problem:
        heads = {"q": p.q.shape[-3], "k": p.k.shape[-3], "v": p.k.shape[-3]} if not repeated else dict.fromkeys("qkv", p.q.shape[-3])
        return p.but(**{f"{name}_factors": units(x, heads[name]) for name, x in (("q", p.q), ("k", p.k), ("v", p.v))})

    return change


UNITS = softmax("causal", "window", "scale", "mask", "bias", "sinks", fit=at_least(q_len=1))
GROUPED, OWN, ONE = (but(on(UNITS, fixed(**sizes)), unit_factors(repeated))
                     for sizes, repeated in (({}, False), ({"groups": 1}, False), ({"kv_heads": 1}, True)))


def eighths(name: str) -> Callable[[np.random.Generator, Problem], Array]:
    """Returns a maker of one of an indexer's arrays, for 3 heads of 5 channels in whole halves: sums are exact, and often equal."""
    def make(rng: np.random.Generator, p: Problem) -> Array:
        *lead, _, q_len, _ = p.q.shape
        shape = {"q_index": (*lead, 3, q_len, 5), "k_index": (*lead, 1, p.k.shape[-2], 5), "weights": (*lead, 3, q_len)}
        return (np.round(2.0 * rng.standard_normal(shape[name])) / 2.0).astype(p.q.dtype)

    return make


INDEX: dict[str, Any] = {name: eighths(name) for name in ("q_index", "k_index", "weights")}
CHOICE: dict[str, Any] = {**INDEX, "keep": one_of(1, 2, 3, 5)}
INDEXED = with_options(softmax("scale", fit=both(few_rows, at_least(head_dim=2))), **CHOICE, causal=one_of(True, True, False))
INDEXED_CAUSAL = given(INDEXED, causal=True)
INDEX_KEPT = given(with_options(softmax("scale", fit=at_least(head_dim=2)), **CHOICE), causal=True)


def own_index(p: Problem) -> Problem:
    """Returns the problem in which one head asks for itself: its indexer has the same queries and keys, all of them positive."""
    q, k = (np.round(8.0 * np.abs(x)) / 8.0 + 1.0 for x in (p.q, p.k))
    return p.but(q=q, k=k, q_index=q, k_index=k, weights=np.ones_like(q[..., 0]), scale=0.5)


def without_index_heads(p: Problem) -> Problem:
    """Returns the problem with the keys of an indexer as users give them: (..., j, c), for all its heads."""
    return p.but(k_index=p.options["k_index"][..., 0, :, :])


ALONE = but(on(INDEXED, fixed(kv_heads=1, groups=1)), own_index)
SELVES = given(choosing(), causal=True)
