"""Faults in gates that forget."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

FORGET = "forgetting_attention"


def lowered(p: Problem, sums: Any, shown: Any = True) -> Any:
    """Returns causal attention with a bias, to the pairs that are shown."""
    bias = np.where(np.isfinite(sums), sums, 0.0).astype(p.q.dtype)
    return p.without("log_forget").call(attention, bias=bias, mask=np.broadcast_to(shown & np.isfinite(sums), p.full()), causal=True)


def running(p: Problem) -> tuple[Any, Any]:
    """Returns the running sums of the gates at queries (..., heads, i, 1), and at keys (..., heads, 1, j)."""
    sums = np.cumsum(p.options["log_forget"], axis=-1)
    return sums[..., p.k.shape[-2] - p.q.shape[-2] :, None], sums[..., None, :]


@twin("equals_packed_documents", "equals_gates_one_by_one", row=FORGET)
def closed_gate_blinds_all_later_tokens(f: Mechanism, p: Problem) -> Any:
    """Running sums are subtracted: behind a closed gate both are -inf, their difference is NaN, and NaN is taken for hidden."""
    rows, keys = running(p)
    return lowered(p, rows - keys)


@twin("equals_packed_documents", "equals_gates_one_by_one", row=FORGET)
def closed_gate_leaves_a_little(f: Mechanism, p: Problem) -> Any:
    """Gates are held at e^-6 or more, so that their logs stay finite, and a little of what is forgotten is still read."""
    return p.but(log_forget=np.maximum(p.options["log_forget"], -6.0)).call(f)


@twin("equals_gates_one_by_one", row=FORGET)
def gates_counted_from_the_first_token(f: Mechanism, p: Problem) -> Any:
    """A query's running sum is that of its place among the queries, and not of its place in the text."""
    gate = np.where(np.isneginf(p.options["log_forget"]), -20.0, p.options["log_forget"])
    sums = np.cumsum(gate, axis=-1)
    return lowered(p, sums[..., : p.q.shape[-2], None] - sums[..., None, :])


@twin("equals_attention", "equals_attention_with_alibi", row=FORGET)
def gate_taken_for_a_logit(f: Mechanism, p: Problem) -> Any:
    """The log of the gate is put through a log-sigmoid again."""
    return p.but(log_forget=-np.logaddexp(0.0, -p.options["log_forget"])).call(f)


@twin("equals_attention_with_alibi", "equals_gates_one_by_one", row=FORGET)
def gates_of_kv_heads(f: Mechanism, p: Problem) -> Any:
    """All query heads of a group take the gates of its first head."""
    groups, gate = p.q.shape[-3] // p.k.shape[-3], p.options["log_forget"]
    return p.but(log_forget=np.repeat(gate[..., ::groups, :], groups, axis=-2)).call(f)


@twin("gradients_equal_gates_one_by_one", row=FORGET)
def gates_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """The running sums are computed in float64 on plain arrays, which loses the gradient of the gates."""
    return p.but(log_forget=stopped(p.options["log_forget"])).call(f)
