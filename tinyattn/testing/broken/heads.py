"""Faults in heads, sequences and sinks."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.testing.broken.twin import twin


@twin("a_head_reads_its_group", "d_k_is_the_sum_over_its_group")
def kv_heads_tiled(f: Mechanism, p: Problem) -> Any:
    """Query head h reads kv head h % kv_heads: heads are tiled instead of interleaved."""
    order = np.arange(p.q.shape[-3]) % max(p.k.shape[-3], 1)
    return p.but(k=p.k[..., order, :, :], v=p.v[..., order, :, :]).call(f)


@twin("a_head_reads_its_group")
def values_of_the_first_head(f: Mechanism, p: Problem) -> Any:
    """All heads read the values of the first kv head, because one stride is 0."""
    first = np.zeros(p.k.shape[-3], int)
    return p.but(v=p.v[..., first, :, :]).call(f)


@twin("a_sequence_alone")
def keys_of_the_next_sequence(f: Mechanism, p: Problem) -> Any:
    """Each sequence reads the keys of the one before it."""
    return (p.but(k=np.roll(p.k, 1, axis=0)) if p.q.ndim > 3 else p).call(f)


@twin("queries_do_not_see_each_other")
def scale_from_the_first_query(f: Mechanism, p: Problem) -> Any:
    """The largest score of the first query is used for all rows of a tile and distorts the others."""
    if not p.q.size:
        return p.call(f)
    return p.call(f) + 1e-3 * p.q[..., :1, :1] * p.q[..., :, :1]


@twin("a_sink_of_zero_is_a_key_of_zero")
def sink_ignored(f: Mechanism, p: Problem) -> Any:
    """Sinks are accepted and not used."""
    return p.but(sinks=None).call(f)


@twin("a_sink_of_zero_is_a_key_of_zero")
def sink_counted_twice(f: Mechanism, p: Problem) -> Any:
    """Each of two splits adds the sink to its sum."""
    sinks = p.options.get("sinks")
    return (p if sinks is None else p.but(sinks=sinks + np.log(2.0).astype(p.q.dtype))).call(f)


@twin("a_weak_sink_has_no_effect")
def sink_clipped(f: Mechanism, p: Problem) -> Any:
    """Sinks are clipped at -5, so that no sink can be switched off."""
    sinks = p.options.get("sinks")
    return (p if sinks is None else p.but(sinks=np.maximum(sinks, -5.0))).call(f)
