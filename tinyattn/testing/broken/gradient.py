"""Faults in gradients whose outputs are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention_with_lse
from tinyattn.engine.tensor import Tensor
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.testing.broken.twin import twin


def stopped(x: Any) -> Any:
    """Returns the array without its gradient."""
    return x.value if isinstance(x, Tensor) else x


def slowed(x: Any, share: Any) -> Any:
    """Returns the array unchanged, with only a share of its gradient."""
    return x * share + stopped(x) * (1.0 - share)


@twin("d_k_is_the_sum_over_its_group", "queries_and_keys_share_a_slope", "the_values_slope_is_the_output")
def group_mean_for_group_sum(f: Mechanism, p: Problem) -> Any:
    """d_k and d_v of a shared head are the mean over its group instead of the sum."""
    share = p.k.shape[-3] / max(p.q.shape[-3], 1)
    return p.but(k=slowed(p.k, share), v=slowed(p.v, share)).call(f)


@twin("gradients_equal_the_definition", "queries_and_keys_share_a_slope")
def d_k_without_scale(f: Mechanism, p: Problem) -> Any:
    """The scale is applied to d_q and left out of d_k."""
    return p.but(k=slowed(p.k, 2.0)).call(f)


@twin("d_k_is_the_sum_over_its_group", "queries_and_keys_share_a_slope")
def d_k_of_one_head(f: Mechanism, p: Problem) -> Any:
    """The sum over the heads of a group, which stand on several devices, is left out of d_k alone."""
    return p.but(k=slowed(p.k, p.k.shape[-3] / max(p.q.shape[-3], 1))).call(f)


@twin("the_values_slope_is_the_output", "gradients_equal_streaming_attention")
def d_v_half(f: Mechanism, p: Problem) -> Any:
    """The last tile's share of d_v is lost, which with two tiles is half of it."""
    return p.but(v=slowed(p.v, 0.5)).call(f)


@twin("a_shift_of_scores_has_no_slope", "gradients_equal_streaming_attention")
def rows_dot_forgotten(f: Mechanism, p: Problem) -> Any:
    """d_scores is P dP without the row's d_out . out: the normaliser is treated as a constant."""
    if not isinstance(p.q, Tensor):
        return p.call(f)
    out, lse = p.call(attention_with_lse)
    lse = np.where(np.isneginf(stopped(lse)), 0.0, lse)
    return out * np.expand_dims(np.exp(lse - stopped(lse)), -1)


@twin("the_unseen_leaves_gradients_alone")
def unseen_gradients_are_nan(f: Mechanism, p: Problem) -> Any:
    """0 is multiplied by the gradient of a hidden score, which is NaN if that score is."""
    with np.errstate(invalid="ignore"):
        return p.but(k=slowed(p.k, 1.0 + 0.0 * stopped(p.k))).call(f)
