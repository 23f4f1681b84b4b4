"""Rows of linear attention that are their features: Based, cosFormer, Performer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.caches.state import StateCache
from tinyattn.catalog.contextual import one_of, small
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.variants import ordinary, with_options
from tinyattn.laws import general, linear
from tinyattn.laws.cached import cached
from tinyattn.laws.forms import agrees, but, slopes_agree
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.ops.draws import performer_projection
from tinyattn.ops.features import cosformer_features, performer_features, relu_features, taylor_features
from tinyattn.ops.types import Array

LINEAR = definitions.linear_attention
FEATURES = 64  # of the mixer's Performer
SEEDS = 300
SIGMAS = 6.0


def same_for_all(features: Callable[..., Array]) -> Mechanism:
    """Returns linear attention on features f(x, **their own options)."""
    def mechanism(q: Array, k: Array, v: Array, *, causal: bool = False, normalize: bool = True, initial_state: Any = None,
                  return_state: bool = False, **own: Any) -> Any:
        return LINEAR(q, k, v, feature_map=partial(features, **own), causal=causal, normalize=normalize, initial_state=initial_state,
                      return_state=return_state)

    return mechanism


def placed(features: Callable[..., Array]) -> Mechanism:
    """Returns linear attention on features f(x, positions, max_length); the first key stands at `start`."""
    def mechanism(q: Array, k: Array, v: Array, *, max_length: int, start: int = 0, causal: bool = False, **options: Any) -> Any:
        at = start + np.arange(k.shape[-2] - q.shape[-2], k.shape[-2])
        return LINEAR(features(q, at, max_length), features(k, start + np.arange(k.shape[-2]), max_length), v, feature_map=None,
                      causal=causal, **options)

    return mechanism


def by_weights(weights: Callable[..., Array]) -> Mechanism:
    """Returns what weights(q, keys, **own options) of every pair give, hidden where later and divided by their sum."""
    def mechanism(q: Array, k: Array, v: Array, *, causal: bool, normalize: bool, **own: Any) -> Array:
        keys, values = (np.repeat(x, q.shape[-3] // k.shape[-3], axis=-3) for x in (k, v))
        w = weights(q, keys, **own)
        w = np.tril(w, k.shape[-2] - q.shape[-2]) if causal else w
        total = np.sum(w, axis=-1, keepdims=True)
        return w @ values / (np.where(total == 0, 1.0, total) if normalize else 1.0)

    return mechanism


def polynomial(q: Array, k: Array) -> Array:
    """1 + s + s^2 / 2 of the scores."""
    s = q @ np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5
    return 1.0 + s + s * s * 0.5


def by_distance(q: Array, k: Array, *, max_length: int, start: int) -> Array:
    """Products of what is above 0, times the cosine of the distance."""
    distance = np.arange(k.shape[-2] - q.shape[-2], k.shape[-2])[:, None] - np.arange(k.shape[-2])
    above, keys = (np.where(x > 0, x, 0.0) for x in (q, k))
    return above @ np.swapaxes(keys, -1, -2) * np.cos(np.pi / 2 * distance / max_length).astype(q.dtype)


def positive_kernel(q: Array, k: Array, *, projection: Array) -> Array:
    """The mean of exp(w . (q + k) - (|q|^2 + |k|^2) / 2) over the directions w, by d^(1/4) shorter."""
    q, k = q[..., :, None, :] * q.shape[-1] ** -0.25, k[..., None, :, :] * k.shape[-1] ** -0.25
    lengths = np.sum(q * q, axis=-1, keepdims=True) + np.sum(k * k, axis=-1, keepdims=True)
    return np.mean(np.exp((q + k) @ np.swapaxes(projection, -1, -2) - 0.5 * lengths), axis=-1)


def softmaxed(q: Array, k: Array, v: Array, *, causal: bool, **_options: Any) -> Any:
    """Attention."""
    return definitions.attention(q, k, v, causal=causal)


def on_relu(q: Array, k: Array, v: Array, *, max_length: int, start: int, **options: Any) -> Any:
    """Linear attention on what is above 0."""
    return LINEAR(q, k, v, feature_map=relu_features, **options)


@lru_cache(maxsize=1024)
def directions(head_dim: int, features: int, seed: int) -> Array:
    """Returns one drawing of Performer's directions, always the same."""
    return performer_projection(np.random.default_rng(seed), features, head_dim)


def within_sigmas(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Of every pair, whether products of features, on average over many drawings, are exp of the score."""
    small, size = p.but(q=0.3 * p.q, k=0.3 * p.k, causal=False, normalize=False), p.k.shape[-2]
    each = small.but(v=np.broadcast_to(np.eye(size, dtype=p.q.dtype), (*p.k.shape[:-1], size)))
    drawn = np.stack([each.call(f, projection=directions(p.q.shape[-1], p.q.shape[-1], seed)) for seed in range(SEEDS)])
    exact = np.exp(small.q @ small.k.mT * p.q.shape[-1] ** -0.5)
    return (np.abs(drawn.mean(axis=0) - exact) <= SIGMAS * drawn.std(axis=0) / SEEDS ** 0.5 + 1e-5,)


def everywhere(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Yes, for every pair."""
    return (np.ones((*p.q.shape[:-1], p.k.shape[-2]), bool),)


def one_head(sizes: Sizes) -> Sizes:
    """Returns the sizes with one head of one sequence."""
    return replace(sizes, leading=(), kv_heads=1, groups=1)


def tame(draw: Draw) -> Draw:
    """Returns the drawing with numbers that are neither tiny nor huge."""
    return but(draw, lambda p: p, fit=ordinary)


def laws(draw: Draw, mechanism: Mechanism) -> tuple[Law, ...]:
    """Returns the laws that each of them obeys, on problems drawn so."""
    causal = but(draw, lambda p: p.but(causal=True, normalize=True))
    return (cached(partial(StateCache, mechanism), causal), general.causal(causal), *general.laws(draw))


def bytes_of(features: Callable[[int], int]) -> Callable[[int, int, int, int, int], int]:
    """Returns the bytes of a state of so many features for a head_dim, and its normaliser, whatever the length."""
    return lambda length, kv_heads, head_dim, value_dim, itemsize: kv_heads * features(head_dim) * (value_dim + 1) * itemsize


def directed(rng: np.random.Generator, p: Problem) -> Array:
    """Directions, few or many."""
    return rng.standard_normal((int(rng.choice((1, 4, 9))), p.q.shape[-1])).astype(p.q.dtype)


BASED, COSFORMER, PERFORMER = same_for_all(taylor_features), placed(cosformer_features), same_for_all(performer_features)
NEAR = with_options(linear.draw, max_length=one_of(16, 100))
AWAY = with_options(NEAR, start=one_of(0, 5))
DIRECTED = with_options(linear.draw, projection=directed)
BAD_STATE = BadInput({"initial_state": np.ones(1), "normalize": True}, TypeError, ("initial_state", "pair"))


def reweighted(q: Array, k: Array, v: Array, *, start: int = 0, causal: bool = False, **options: Any) -> Any:
    """Returns cosFormer for texts of up to 1024 tokens, queries and keys moved up by 2, as by a bias of their projections.

    They begin near 0: unmoved, half of all features would begin at 0 and learn slowly (after 300 steps 3.3 bits, not 3.0).
    """
    return COSFORMER(q + q.dtype.type(2), k + k.dtype.type(2), v, max_length=1024, start=start, causal=causal, **options)


def directed_always(q: Array, k: Array, v: Array, *, causal: bool = False, **options: Any) -> Any:
    """Returns Performer with directions that are never drawn again, so that what is cached stays right."""
    return PERFORMER(q, k, v, projection=directions(q.shape[-1], FEATURES, 0).astype(q.dtype), causal=causal, **options)


ROWS = (
    Row("based", "Features whose products are the first three terms of exp.", taylor_features,
        (Paper("Arora et al.", 2024, "2402.18668"),), "approximate", "heads i d^2 e", linear.draw,
        (agrees("polynomial", by_weights(polynomial), draw=linear.draw, says="Products of features are the polynomial of the scores."),
         slopes_agree("polynomial", by_weights(polynomial), draw=tame(linear.draw)),
         agrees("attention_on_small_scores", softmaxed, to="attention", kind="approximate",
                says="The smaller the scores, the nearer it is to attention, by their third power.",
                draw=but(linear.draw, lambda p: p.but(q=1e-6 * p.q, normalize=True))),
         *laws(linear.draw, BASED)), (BAD_STATE,),
        aliases=("taylor features", "taylor linear attention"), called=same_for_all, fit=small, mixer=BASED,
        cache=partial(StateCache, BASED), cache_bytes=bytes_of(lambda d: 1 + d + d * d),
        cache_formula="kv_heads (1 + head_dim + head_dim^2) (value_dim + 1) itemsize"),
    Row("cosformer", "Features above 0 whose products fade with the cosine of the distance.", cosformer_features,
        (Paper("Qin et al.", 2022, "2202.08791"),), "exact", "heads i d e", AWAY,
        (agrees("weights_by_distance", by_weights(by_distance), draw=AWAY,
                says="Keys folded first give what weights of every pair give."),
         slopes_agree("weights_by_distance", by_weights(by_distance), draw=tame(AWAY)),
         agrees("relu_features", on_relu, draw=but(AWAY, lambda p: p.but(max_length=10 ** 12)), to="linear_attention",
                says="Where no text is long it is linear attention on what is above 0."),
         Law("tokens_may_move_together", "All tokens a few places further on give the same.", AWAY, plain,
             lambda f, p: plain(f, p.but(start=p.options["start"] + 7))),
         *laws(NEAR, COSFORMER)),
        (BAD_STATE, BadInput({"max_length": 0}, ValueError, ("max_length", "0")),
         BadInput({"max_length": 2.5}, TypeError, ("max_length", "float"))),
        aliases=("cosine reweighting",), called=placed, fit=small, mixer=reweighted,
        cache=partial(StateCache, reweighted), cache_bytes=bytes_of(lambda d: 2 * d),
        cache_formula="kv_heads 2 head_dim (value_dim + 1) itemsize"),
    Row("performer", "Random features whose products are exp of the score, on average.", performer_features,
        (Paper("Choromanski et al.", 2020, "2009.14794"),), "approximate", "heads i features e", DIRECTED,
        (agrees("positive_kernel", by_weights(positive_kernel), draw=DIRECTED,
                says="Products of features are means over the directions, pair by pair."),
         slopes_agree("positive_kernel", by_weights(positive_kernel), draw=tame(DIRECTED)),
         Law("on_average_it_is_attention", "Averaged over directions, products of features are exp of the scores.",
             but(DIRECTED, lambda p: p, fit=one_head), within_sigmas, everywhere, exact=True, to="attention", kind="in distribution"),
         *laws(DIRECTED, PERFORMER)),
        (BAD_STATE, BadInput({"projection": np.ones((3, 99))}, ValueError, ("projection", "(3, 99)")),
         BadInput({"projection": [[1.0]]}, TypeError, ("projection", "list"))),
        aliases=("favor+", "random features"), called=same_for_all, fit=small, mixer=directed_always,
        cache=partial(StateCache, directed_always), cache_bytes=bytes_of(lambda d: FEATURES),
        cache_formula=f"kv_heads {FEATURES} (value_dim + 1) itemsize"),
)
