"""Faults where heads share more than keys: in sums of outer products, and in the choice of an indexer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.largest import largest
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

TENSOR, INDEX, DSA = "tensor_product_attention", "lightning_indexer", "deepseek_sparse_attention"


@twin("equals_multi_head_attention", "equals_grouped_query_attention", "equals_sums_of_outer_products", row=TENSOR)
def divided_by_the_rank(f: Mechanism, p: Problem) -> Any:
    """The sums are divided by the rank a second time: factors that are not the paper's means become too small."""
    return p.but(q=p.q / p.q.shape[-3], k=p.k / p.k.shape[-3], v=p.v / p.v.shape[-3]).call(f)


@twin("equals_sums_of_outer_products", row=TENSOR)
def rank_and_heads_exchanged(f: Mechanism, p: Problem) -> Any:
    """A projection of rank times heads numbers is cut into heads first and ranks second."""
    def mixed(x: Any) -> Any:
        rank, length, heads = x.shape[-3:]
        flat = np.moveaxis(x, -3, -2).reshape(*x.shape[:-3], length, heads, rank)
        return np.moveaxis(flat, -1, -3)

    return p.but(**{name: mixed(p.options[name]) for name in ("q_factors", "k_factors", "v_factors")}).call(f)


@twin("a_turn_of_the_channel_factors_turns_the_products", "equals_sums_of_outer_products", row=TENSOR)
def first_rank_alone(f: Mechanism, p: Problem) -> Any:
    """Only the first outer product of the keys is used."""
    return p.but(k=p.k[..., :1, :, :], k_factors=p.options["k_factors"][..., :1, :, :]).call(f)


@twin("equals_multi_query_attention", "a_number_may_go_to_either_factor", row=TENSOR)
def head_factors_normalised(f: Mechanism, p: Problem) -> Any:
    """The head factors go through a softmax over the heads."""
    def weights(x: Any) -> Any:
        mass = np.exp(x - np.max(x, axis=-1, keepdims=True))
        return mass / np.sum(mass, axis=-1, keepdims=True)

    return p.but(q_factors=weights(p.options["q_factors"])).call(f)


@twin("gradients_equal_sums_of_outer_products", row=TENSOR)
def head_factors_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """The gradient of the head factors is not computed."""
    return p.but(**{name: stopped(p.options[name]) for name in ("q_factors", "k_factors", "v_factors")}).call(f)


def over(p: Problem, choose: Callable[[Any, Any], Any], relu: bool = True) -> Any:
    """Returns attention to the keys that choose(scores, visible) gives."""
    asked, told, weights = (p.options[name] for name in ("q_index", "k_index", "weights"))
    products = asked @ np.swapaxes(told, -1, -2)
    scores = np.sum(weights[..., None] * (np.maximum(products, 0) if relu else products), axis=-3, keepdims=True)
    rows = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None]
    visible = (np.arange(p.k.shape[-2]) <= rows) | (not p.options.get("causal", True))
    return definitions.attention(p.q, p.k, p.v, mask=visible & choose(scores, visible), scale=p.options.get("scale"))


@twin("equals_row_by_row", row=DSA)
def later_of_ties(f: Mechanism, p: Problem) -> Any:
    """Of equal scores the later key is kept: relu gives many scores of exactly 0."""
    def choose(scores: Any, visible: Any) -> Any:
        return largest(np.where(visible, scores, -np.inf)[..., ::-1], p.options["keep"])[..., ::-1]

    return over(p, choose) if "q_index" in p.options else p.call(f)


@twin("equals_row_by_row", row=INDEX)
def all_ties(f: Mechanism, p: Problem) -> Any:
    """Every score equal to the smallest that is kept is kept too: a row of zeros keeps all of its keys."""
    def choose(scores: Any, visible: Any) -> Any:
        seen = np.where(visible, scores, -np.inf)
        return seen >= np.sort(seen, axis=-1)[..., -min(p.options["keep"], seen.shape[-1])][..., None]

    return over(p, choose)


@twin("equals_row_by_row", "equals_deepseek_sparse_attention", row=INDEX)
def without_relu(f: Mechanism, p: Problem) -> Any:
    """Negative products count too."""
    return over(p, lambda scores, visible: largest(np.where(visible, scores, -np.inf), p.options["keep"]), relu=False)


@twin("later_tokens_change_nothing_earlier", row=INDEX)
def chosen_before_hiding_later_keys(f: Mechanism, p: Problem) -> Any:
    """Later keys are hidden after the choice, in which they took places."""
    late = (np.arange(p.k.shape[-2]) >= p.k.shape[-2] // 2)[:, None]
    told = p.options["k_index"] + late * np.abs(p.v[..., :1, :, :1])
    return p.but(k_index=told).call(lambda q, k, v, **options: over(
        Problem(q, k, v, options), lambda scores, visible: largest(scores + 0 * visible, p.options["keep"])))


@twin("equals_attention", "decoded_with_mean_keys", row=DSA)
def one_key_too_few(f: Mechanism, p: Problem) -> Any:
    """A query's own key takes one of the places, and is not among the keys read."""
    return p.but(keep=max(1, min(p.options["keep"], p.k.shape[-2]) - 1)).call(f)


@twin("equals_top_k_attention", row=DSA)
def smallest_scores(f: Mechanism, p: Problem) -> Any:
    """Scores are sorted upwards and cut at the wrong end."""
    if "q_index" not in p.options:
        return p.call(f)
    return over(p, lambda scores, visible: largest(np.where(visible, -scores, -np.inf), p.options["keep"]))


@twin("a_factor_changes_no_choice", row=DSA)
def softmax_of_the_weights(f: Mechanism, p: Problem) -> Any:
    """The weights of the index heads go through a softmax, which takes their signs."""
    if "weights" not in p.options:
        return p.call(f)
    mass = np.exp(p.options["weights"])
    return p.but(weights=mass / np.sum(mass, axis=-2, keepdims=True)).call(f)


@twin("gradients_equal_row_by_row", row=DSA)
def gradient_for_all_keys(f: Mechanism, p: Problem) -> Any:
    """The gradient of the whole softmax is given to keys that were not kept."""
    whole = p.but(keep=p.k.shape[-2]).call(f)
    return stopped(p.call(f)) + whole - stopped(whole)
