"""Faults in feature maps: missing terms, wrong lengths, maxima over all keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinyattn.definitions import linear_attention
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.features import cosformer_features, performer_features, taylor_features
from tinyattn.ops.types import Array
from tinyattn.testing.broken.gradient import slowed
from tinyattn.testing.broken.twin import twin


def same_for_all(features: Callable[..., Array]) -> Mechanism:
    """Returns linear attention with features f(x, **their own options), the same for queries and keys."""
    def mechanism(q: Array, k: Array, v: Array, *, causal: bool = False, normalize: bool = True, initial_state: Any = None,
                  return_state: bool = False, **own: Any) -> Any:
        return linear_attention(q, k, v, feature_map=partial(features, **own), causal=causal, normalize=normalize,
                                            initial_state=initial_state, return_state=return_state)

    return mechanism


def placed(features: Callable[..., Array]) -> Mechanism:
    """Returns linear attention with features f(x, positions, max_length); the first key is at position `start`."""
    def mechanism(q: Array, k: Array, v: Array, *, max_length: int, start: int = 0, causal: bool = False, **options: Any) -> Any:
        at = start + np.arange(k.shape[-2] - q.shape[-2], k.shape[-2])
        keys = features(k, start + np.arange(k.shape[-2]), max_length)
        return linear_attention(features(q, at, max_length), keys, v, feature_map=None, causal=causal, **options)

    return mechanism


@twin("equals_polynomial", row="based")
def squares_not_halved(f: Mechanism, p: Problem) -> Any:
    """The squares are not divided by the root of 2: their term is s^2 instead of s^2 / 2."""
    first = 1 + p.q.shape[-1]
    halves = np.where(np.arange(first + p.q.shape[-1] ** 2) < first, 1.0, 2.0 ** 0.5).astype(p.q.dtype)
    return p.call(same_for_all(lambda x: taylor_features(x) * halves))


@twin("equals_attention_on_small_scores", "equals_polynomial", row="based")
def no_constant_feature(f: Mechanism, p: Problem) -> Any:
    """The constant feature 1 is missing: small scores give small weights, which may be negative."""
    return p.call(same_for_all(lambda x: taylor_features(x)[..., 1:]))


@twin("gradients_equal_polynomial", row="based")
def squares_learn_half(f: Mechanism, p: Problem) -> Any:
    """The gradient of the outer product reaches only one of its two factors."""
    return p.but(k=slowed(p.k, 0.5)).call(f)


@twin("equals_weights_by_distance", "equals_relu_features", "cached_is_full", row="cosformer")
def length_of_today(f: Mechanism, p: Problem) -> Any:
    """max_length is the current length: keys in the state were rotated by other angles."""
    return p.but(max_length=max(p.k.shape[-2], 1)).call(f)


@twin("tokens_may_move_together", "equals_weights_by_distance", row="cosformer")
def queries_not_placed(f: Mechanism, p: Problem) -> Any:
    """All queries are at position 0: keys decrease with their position instead of their distance."""
    given = dict(p.options)
    most, start = given.pop("max_length"), given.pop("start", 0)
    q = cosformer_features(p.q, np.zeros(p.q.shape[-2], int), most)
    return linear_attention(q, cosformer_features(p.k, start + np.arange(p.k.shape[-2]), most), p.v, feature_map=None, **given)


@twin("gradients_equal_weights_by_distance", row="cosformer")
def cosines_alone_learn(f: Mechanism, p: Problem) -> Any:
    """Cosine and sine share a buffer, and the gradient of one of them is lost."""
    def halved(x: Any, at: Any, most: int) -> Any:
        return slowed(cosformer_features(x, at, most), (np.arange(2 * x.shape[-1]) < x.shape[-1]).astype(x.dtype))

    return p.call(placed(halved))


@twin("on_average_it_is_attention", "equals_positive_kernel", row="performer")
def lengths_not_taken_off(f: Mechanism, p: Problem) -> Any:
    """exp(W x) is used without the factor exp(-|x|^2 / 2): long vectors weigh too much on average."""
    def longer(x: Any, projection: Any) -> Any:
        return np.exp(x * x.shape[-1] ** -0.25 @ projection.T.astype(x.dtype)) * len(projection) ** -0.5

    return p.call(same_for_all(longer))


@twin("later_tokens_change_nothing_earlier", "equals_positive_kernel", row="performer")
def largest_of_all_keys(f: Mechanism, p: Problem) -> Any:
    """The largest exponent of all keys is subtracted and an epsilon is added: later keys change earlier weights."""
    given = dict(p.options)
    projection = given.pop("projection")
    q, k = (performer_features(x, projection=projection) for x in (p.q, p.k))
    largest = np.max(k, axis=(-1, -2), keepdims=True, initial=1e-30)
    return linear_attention(q, k / largest + np.asarray(1e-2, k.dtype), p.v, feature_map=None, **given)


@twin("gradients_equal_positive_kernel", row="performer")
def lengths_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """The term |x|^2 / 2 is treated as a stabiliser without a gradient."""
    def features(x: Any, projection: Any) -> Any:
        length = np.sum(x * x, axis=-1, keepdims=True) * (0.5 * x.shape[-1] ** -0.5)
        return performer_features(x, projection=projection) * np.exp(length - slowed(length, 0.0))

    return p.call(same_for_all(features))
