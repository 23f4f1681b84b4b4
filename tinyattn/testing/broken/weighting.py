"""Faults in weights that are not a plain softmax: shares, sigmoids, thresholds, counts of keys."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention, entmax_attention
from tinyattn.laws.oracles import weighting as oracles
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
from tinyattn.laws.score import raw_scores
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

STICK, SIGMOID, SPARSEMAX = "stick_breaking_attention", "sigmoid_attention", "sparsemax_attention"
ENTMAX, SCALABLE = "entmax_attention", "scalable_softmax_attention"


def sticks(p: Problem, *, farthest_first: bool = False, own_too: bool = False) -> Any:
    """Returns weights of stick-breaking, with the products taken from the other end or over one share too many."""
    shares, reach = oracles.share(raw_scores(p)), 1 if p.options.get("current") else 0
    places = np.arange(p.k.shape[-2])
    seen = places < np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None] + reach
    left = np.where(seen, 1.0 - shares, 1.0)
    turned = left if farthest_first else left[..., ::-1]
    kept = np.cumprod(turned, axis=-1)
    if not own_too:
        kept = np.concatenate((np.ones_like(kept[..., :1]), kept[..., :-1]), axis=-1)
    weights = np.where(seen, shares * (kept if farthest_first else kept[..., ::-1]), 0.0)
    return (weights @ repeat_heads(p.q, p.v)[0]).astype(p.q.dtype)


@twin("equals_shares_one_by_one", row=STICK)
def farthest_key_first(f: Mechanism, p: Problem) -> Any:
    """The stick is broken from the first token on, so that the oldest keys take the most."""
    return sticks(p, farthest_first=True)


@twin("equals_halves", "weights_and_rest_are_one", "equals_shares_one_by_one", row=STICK)
def own_share_left_over_too(f: Mechanism, p: Problem) -> Any:
    """The running product includes the key's own share, as a cumulative sum does that is not shifted by one."""
    return sticks(p, own_too=True)


@twin("equals_halves", "equals_sigmoid_attention", row=STICK)
def current_token_always_read(f: Mechanism, p: Problem) -> Any:
    """The mask is that of causal attention, so that a query takes the first share itself."""
    return p.but(current=True).call(f)


@twin("weights_and_rest_are_one", row=STICK)
def weights_divided_by_their_sum(f: Mechanism, p: Problem) -> Any:
    """The weights are divided by their sum, as in a softmax, and nothing is left over."""
    total = p.but(v=np.ones_like(p.v)).call(f)[..., :1]
    return p.call(f) / np.where(total == 0, 1.0, total).astype(p.q.dtype)


@twin("gradients_equal_shares_one_by_one", row=STICK)
def nearer_shares_without_a_gradient(f: Mechanism, p: Problem) -> Any:
    """A key's own share has a gradient, and the shares of the nearer keys, which decide what is left for it, have none."""
    held = p.but(q=stopped(p.q), k=stopped(p.k))
    shares, fixed = (oracles.share(oracles.scores(x.q, x.k, p.scale, None, None)) for x in (p, held))
    seen = np.arange(p.k.shape[-2]) < np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None] + bool(p.options.get("current"))
    left = np.where(seen, 1.0 - fixed, 1.0)
    kept = np.stack([np.prod(left[..., j + 1 :], axis=-1) for j in range(p.k.shape[-2])], axis=-1)
    return np.where(seen, shares * kept, 0.0) @ repeat_heads(p.q, p.v)[0]


@twin("cached_is_full", "equals_keys_one_by_one", row=SIGMOID)
def offset_of_the_length(f: Mechanism, p: Problem) -> Any:
    """The offset is -log of the length of the text, so that a text that grows changes what its first tokens read."""
    given = p.options.get("offset")
    return p.but(offset=-float(np.log(p.k.shape[-2])) if given is None else given).call(f)


@twin("equals_exponentials", row=SIGMOID)
def sigmoid_by_tanh(f: Mechanism, p: Problem) -> Any:
    """The sigmoid is (1 + tanh(x / 2)) / 2, which is 0 for every logit below -40."""
    logits = np.where(p.visible(), raw_scores(p) + p.options.get("bias", 0.0), -np.inf)
    given = p.options.get("offset")
    shift = -np.log(np.maximum(p.visible().sum(axis=-1, keepdims=True), 1)) if given is None else np.reshape(given, (-1, 1, 1))
    return (0.5 * (1.0 + np.tanh(0.5 * (logits + shift))) @ repeat_heads(p.q, p.v)[0]).astype(p.q.dtype)


@twin("equals_softmax_off_by_one_attention", "equals_keys_one_by_one", row=SIGMOID)
def sigmoids_normalised(f: Mechanism, p: Problem) -> Any:
    """The sigmoids of a query are divided by their sum."""
    total = p.but(v=np.ones_like(p.v)).call(f)[..., :1]
    return p.call(f) / np.where(total == 0, 1.0, total).astype(p.q.dtype)


@twin("gradients_equal_keys_one_by_one", row=SIGMOID)
def offset_does_not_learn(f: Mechanism, p: Problem) -> Any:
    """The offset is converted by float(), which loses its gradient."""
    given = p.options.get("offset")
    return p.but(offset=stopped(given) if isinstance(given, np.ndarray) or hasattr(given, "node") else given).call(f)


def sparse_weights(p: Problem, scores: Any, seen: Any = None) -> Any:
    """Returns sparsemax of scores by the oracle's halving, applied to the values."""
    weights = oracles.threshold_weights(scores if seen is None else np.where(seen, scores, -np.inf), 2.0)
    return (np.where(p.visible(), weights, 0.0) @ repeat_heads(p.q, p.v)[0]).astype(p.q.dtype)


def biased(p: Problem) -> Any:
    """Returns the scores with the bias."""
    return raw_scores(p) + p.options.get("bias", 0.0)


@twin("equals_a_threshold_found_by_halving", "equals_entmax_attention", row=SPARSEMAX)
def hidden_keys_raise_the_threshold(f: Mechanism, p: Problem) -> Any:
    """The threshold is found among all keys, and hidden ones are removed afterwards."""
    return sparse_weights(p, biased(p))


@twin("equals_scores_less_their_mean", "equals_a_threshold_found_by_halving", row=SPARSEMAX)
def hidden_keys_scored_zero(f: Mechanism, p: Problem) -> Any:
    """Hidden keys get a score of 0 instead of -inf, so that they take a part of the weight."""
    return sparse_weights(p, np.where(p.visible(), biased(p), 0.0))


@twin("equals_top_k_attention", "equals_a_threshold_found_by_halving", row=SPARSEMAX)
def threshold_at_the_mean(f: Mechanism, p: Problem) -> Any:
    """The threshold is computed as if all keys had a weight, and negative weights are cut to 0 without computing it again."""
    seen = p.visible()
    count = np.maximum(seen.sum(axis=-1, keepdims=True), 1)
    mean = np.where(seen, biased(p), 0.0).sum(axis=-1, keepdims=True) / count
    weights = np.where(seen, np.maximum(biased(p) - mean + 1.0 / count, 0.0), 0.0)
    return (weights @ repeat_heads(p.q, p.v)[0]).astype(p.q.dtype)


def threshold_stopped(p: Problem, alpha: float) -> Any:
    """Returns entmax attention whose threshold is a constant for the gradient."""
    products = oracles.scores(p.q, p.k, p.scale, p.options.get("softcap"), p.options.get("bias"))
    held = np.where(p.visible(), getattr(products, "value", products), -np.inf)
    weights = oracles.threshold_weights(held, alpha) if alpha > 1.0 else oracles.softmax_weights(held)
    slopes = np.where(weights > 0, np.where(weights > 0, weights, 1.0) ** (2.0 - alpha), 0.0)
    moved = np.where(weights > 0, products - stopped(products), 0.0)
    return (weights + slopes * moved) @ repeat_heads(p.q, p.v)[0]


@twin("gradients_equal_a_threshold_found_by_halving", row=SPARSEMAX)
def threshold_without_a_gradient(f: Mechanism, p: Problem) -> Any:
    """The threshold is a constant for the gradient, as the sort in which it is found has none."""
    return threshold_stopped(p, 2.0)


@twin("gradients_equal_a_threshold_found_by_halving", row=ENTMAX)
def threshold_of_entmax_without_a_gradient(f: Mechanism, p: Problem) -> Any:
    """The threshold is a constant for the gradient: the weights of its bisection are differentiated, and it is not."""
    return threshold_stopped(p, p.options.get("alpha", 1.5))


@twin("equals_attention", "equals_a_threshold_found_by_halving", row=ENTMAX)
def alpha_just_above_one(f: Mechanism, p: Problem) -> Any:
    """An alpha of 1 becomes 1.001, which avoids a division by 0 and is 3e-3 off."""
    return p.but(alpha=max(p.options.get("alpha", 1.5), 1.001)).call(f)


@twin("equals_sparsemax_attention", "equals_a_threshold_found_by_halving", row=ENTMAX)
def scores_not_multiplied(f: Mechanism, p: Problem) -> Any:
    """The scores are not multiplied by alpha - 1 before the threshold is taken off; for sparsemax by 2 instead of 1."""
    alpha = p.options.get("alpha", 1.5)
    return p.but(scale=p.scale / (alpha - 1.0) if 1.0 < alpha < 2.0 else 2.0 * p.scale).call(f)


@twin("equals_a_threshold_found_by_halving", row=ENTMAX)
def always_one_and_a_half(f: Mechanism, p: Problem) -> Any:
    """The fast path for alpha 1.5 serves every alpha from 1.2 to 1.8."""
    alpha = p.options.get("alpha", 1.5)
    return entmax_attention(p.q, p.k, p.v, **{**p.options, "alpha": 1.5 if 1.2 < alpha < 1.8 else alpha})


@twin("cached_is_full", "equals_powers_of_counts", row=SCALABLE)
def count_of_the_whole_text(f: Mechanism, p: Problem) -> Any:
    """Every query counts all keys of the text, those that it does not see included."""
    return scaled_by(p, np.full(p.q.shape[:-1], np.log(p.k.shape[-2])))


@twin("equals_attention", "equals_powers_of_counts", row=SCALABLE)
def log_of_base_two(f: Mechanism, p: Problem) -> Any:
    """The log has base 2, as in the exponential of a kernel."""
    return p.but(factor=p.options["factor"] / float(np.log(2.0))).call(f)


@twin("equals_powers_of_counts", row=SCALABLE)
def scaled_after_the_cap(f: Mechanism, p: Problem) -> Any:
    """The capped scores are multiplied, so that the cap no longer bounds them."""
    counts = np.maximum(p.visible().sum(axis=-1, keepdims=True), 1)
    factor = np.reshape(p.options["factor"], (-1, 1, 1))
    bias = (raw_scores(p) * np.log(counts) * factor + p.options.get("bias", 0.0)).astype(p.q.dtype)
    return p.without("factor").but(q=p.q * 0.0, bias=bias, softcap=None, scale=1.0).call(attention)


@twin("gradients_equal_powers_of_counts", row=SCALABLE)
def factor_does_not_learn(f: Mechanism, p: Problem) -> Any:
    """The factor is converted by float(), which loses its gradient."""
    return p.but(factor=stopped(p.options["factor"])).call(f)


def scaled_by(p: Problem, logs: Any) -> Any:
    """Returns attention on queries multiplied by the factor and these logs."""
    factor = np.reshape(p.options["factor"], (-1, 1, 1))
    return p.without("factor").but(q=(p.q * factor * logs[..., None]).astype(p.q.dtype)).call(attention)
