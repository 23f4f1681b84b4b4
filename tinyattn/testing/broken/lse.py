"""Faults in log-sum-exps."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.testing.broken.twin import twin

ROW = "attention_with_lse"


@twin("equals_the_definition", "lse_is_the_log_of_the_sum", "parts_merge_to_the_whole", "a_key_twice_adds_log_two", row=ROW)
def lse_in_base_two(f: Mechanism, p: Problem) -> Any:
    """The kernel works with exp2 and returns its lse in base two."""
    out, lse = p.call(f)
    return out, lse * np.log2(np.e).astype(lse.dtype)


@twin("lse_is_the_log_of_the_sum", "parts_merge_to_the_whole", row=ROW)
def lse_of_an_empty_row_is_zero(f: Mechanism, p: Problem) -> Any:
    """A query that sees no key has an lse of 0: when merged, its output of 0 counts like a real one."""
    out, lse = p.call(f)
    return out, np.where(np.isneginf(lse), 0.0, lse).astype(lse.dtype)


@twin("a_sink_is_a_gate", "lse_is_the_log_of_the_sum", row=ROW)
def lse_before_the_sink(f: Mechanism, p: Problem) -> Any:
    """The lse leaves out the sink, which the output takes into account."""
    return p.call(f)[0], p.but(sinks=None).call(f)[1]


@twin("a_sink_is_a_gate", row=ROW)
def sink_scaled(f: Mechanism, p: Problem) -> Any:
    """A sink is multiplied by the scale as if it were a score."""
    sinks = p.options.get("sinks")
    return (p if sinks is None else p.but(sinks=(sinks * 0.5 * p.q.shape[-1] ** -0.5).astype(sinks.dtype))).call(f)


@twin("parts_merge_to_the_whole", "a_key_twice_adds_log_two", row=ROW)
def lse_is_the_largest_score(f: Mechanism, p: Problem) -> Any:
    """The largest score of the row is returned, without the log of the sum."""
    out, lse = p.call(f)
    count = np.maximum(p.visible().sum(axis=-1), 1)
    return out, (lse - np.log(count)).astype(lse.dtype)
