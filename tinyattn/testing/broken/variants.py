"""Faults in variants of attention: the 1 in the denominator, norms, two maps, gates, windows per head."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention, attention_with_lse
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import raw_scores
from tinyattn.ops.norm import layer_norm, rms_norm
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

OFF_BY_ONE, QK_NORM, DIFFERENTIAL = "softmax_off_by_one_attention", "qk_norm_attention", "differential_attention"
GATED, LOCAL = "gated_attention", "multi_head_local_attention"


@twin("equals_attention_with_sinks_of_0", "one_more_key_of_0", row=OFF_BY_ONE)
def one_not_shifted(f: Mechanism, p: Problem) -> Any:
    """The largest score is subtracted from all others, and the 1 in the denominator is not multiplied by exp(-largest)."""
    out, lse = p.call(attention_with_lse)
    scores = np.where(p.visible(), raw_scores(p) + p.options.get("bias", 0.0), -np.inf)
    total = np.exp(lse - np.maximum(np.max(scores, axis=-1, initial=-np.inf), -1e30))
    return out * (total / (1.0 + total)).astype(out.dtype)[..., None]


@twin("gradients_equal_attention_with_sinks_of_0", row=OFF_BY_ONE)
def gate_of_a_saved_lse(f: Mechanism, p: Problem) -> Any:
    """The kernel returns its lse without a gradient, so that the gate made of it has none."""
    out, lse = p.call(attention_with_lse)
    return out * np.exp(-np.logaddexp(0.0, -stopped(lse)))[..., None]


@twin("equals_attention_with_sinks_of_0", "one_more_key_of_0", row=OFF_BY_ONE)
def one_for_each_block(f: Mechanism, p: Problem) -> Any:
    """Keys are read in blocks of two, and each block adds the 1 to its own sum."""
    blocks = max(-(-p.k.shape[-2] // 2), 1)
    return p.call(attention, sinks=np.full(p.q.shape[-3], np.log(blocks), p.q.dtype))


def normed(p: Problem, norm: Any, *, rotated_first: bool = False) -> Any:
    """Returns attention on queries and keys with another norm."""
    given = dict(p.options)
    weights, rotate = (given.pop("q_weight", None), given.pop("k_weight", None)), given.pop("rotate", None)
    parts = [(rotate(x) if rotate and rotated_first else x, weight) for x, weight in zip((p.q, p.k), weights, strict=True)]
    q, k = (norm(x, weight) for x, weight in parts)
    if rotate and not rotated_first:
        q, k = rotate(q), rotate(k)
    return attention(q, k, p.v, **given)


@twin("equals_attention_on_turned_norms", row=QK_NORM)
def norm_after_the_turn(f: Mechanism, p: Problem) -> Any:
    """Vectors are rotated before the norm: a channel's weight is applied to a mixture with another channel."""
    return normed(p, rms_norm, rotated_first=True)


@twin("a_norm_and_a_turn_commute", "equals_attention_on_cosines", row=QK_NORM)
def mean_taken_off(f: Mechanism, p: Problem) -> Any:
    """A layer norm is used instead of the RMS norm: the mean of the channels is subtracted."""
    return normed(p, lambda x, weight: layer_norm(x, weight, epsilon=1e-6))


@twin("vectors_have_no_length", row=QK_NORM)
def root_held_below(f: Mechanism, p: Problem) -> Any:
    """The root mean square is limited to 2e9 so that nothing overflows: longer vectors stay longer."""
    def held(x: Any, weight: Any) -> Any:
        return rms_norm(x, weight) * np.maximum(np.sqrt(np.mean(x * x, axis=-1, keepdims=True)) / 2e9, 1.0).astype(x.dtype)

    return normed(p, held)


@twin("equals_two_weights", row=DIFFERENTIAL)
def heads_of_other_pairs(f: Mechanism, p: Problem) -> Any:
    """Heads are paired as (0, 2), (1, 3) in a checkpoint of (0, 1), (2, 3): the second map is another head's."""
    q2, k2 = (np.roll(p.options[name], 1, axis=-3) for name in ("q2", "k2"))
    return p.but(q2=q2, k2=k2).call(f)


@twin("equals_less_attention", "equals_two_weights", row=DIFFERENTIAL)
def second_map_added(f: Mechanism, p: Problem) -> Any:
    """The second map is added instead of subtracted."""
    return p.but(lambda_=-p.options["lambda_"]).call(f)


@twin("equals_attention", row=DIFFERENTIAL)
def initial_lambda_added_again(f: Mechanism, p: Problem) -> Any:
    """The layer adds lambda_init, and the mechanism adds it again."""
    return p.but(lambda_=p.options["lambda_"] + 0.2).call(f)


@twin("gradients_equal_two_weights", row=DIFFERENTIAL)
def lambda_does_not_learn(f: Mechanism, p: Problem) -> Any:
    """Lambda is converted by float(), which loses its gradient."""
    return p.but(lambda_=stopped(p.options["lambda_"])).call(f)


@twin("equals_gate_in_the_weights", "equals_half_of_attention", row=GATED)
def gate_before_the_softmax(f: Mechanism, p: Problem) -> Any:
    """The gate multiplies the queries before the softmax instead of the output."""
    gate = 1.0 / (1.0 + np.exp(-p.options["gate"]))
    return p.but(q=p.q * gate[..., None], gate=np.full_like(gate, 60.0)).call(f)


@twin("equals_half_of_attention", row=GATED)
def gate_taken_for_a_share(f: Mechanism, p: Problem) -> Any:
    """The gate is multiplied without a sigmoid: a logit is used as a factor."""
    gate = p.options["gate"]
    return p.but(gate=np.full_like(gate, 60.0)).call(f) * gate[..., None]


@twin("equals_attention", row=GATED)
def keep_rate_not_divided(f: Mechanism, p: Problem) -> Any:
    """A dropout after the gate keeps nine tenths, and the result is not divided by 0.9."""
    return p.call(f) * 0.9


@twin("equals_pairs_one_by_one", "equals_own_values", row=LOCAL)
def head_windows_besides_self(f: Mechanism, p: Problem) -> Any:
    """A window of W keys is read as W keys besides the query's own."""
    window = p.options["window"]
    return p.but(window=window + 1 if isinstance(window, int) else [w + 1 for w in window]).call(f)


@twin("windows_are_heads_own", row=LOCAL)
def window_of_the_first_head(f: Mechanism, p: Problem) -> Any:
    """All heads use the first head's window."""
    window = p.options["window"]
    return (p if isinstance(window, int) else p.but(window=window[0])).call(f)


@twin("equals_attention", row=LOCAL)
def window_cut_at_four(f: Mechanism, p: Problem) -> Any:
    """Windows are cut to the four keys for which the buffer was made."""
    window = p.options["window"]
    return p.but(window=min(window, 4) if isinstance(window, int) else [min(w, 4) for w in window]).call(f)

