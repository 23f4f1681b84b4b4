"""Faults of kernels that read keys block by block, and of their exponentials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import raw_scores
from tinyattn.testing.broken.twin import twin


def in_blocks(p: Problem, block: int) -> list[Problem]:
    """Returns the problem of each block of keys, of the same queries."""
    seen, kv_len = p.visible(), p.k.shape[-2]
    return [p.but(mask=seen & (np.arange(kv_len) // block == b), causal=False, window=None) for b in range(-(-kv_len // block))]


def unrescaled(f: Mechanism, p: Problem, block: int) -> Any:
    """Returns the result of a stream that never rescales: the sums of a block are weighted by exp of minus the maximum so far."""
    kv_len = p.k.shape[-2]
    if kv_len <= block:
        return p.call(f)
    scores = np.where(p.visible(), raw_scores(p) + p.options.get("bias", 0.0), -np.inf)
    ends = np.minimum(np.arange(kv_len) // block * block + block, kv_len) - 1
    top = np.maximum.accumulate(scores, axis=-1)[..., ends]
    top = np.where(np.isfinite(top), top, 0.0)
    exps = np.exp(scores - top)
    total, sinks = exps.sum(axis=-1, keepdims=True), p.options.get("sinks")
    if sinks is not None:
        total = total + np.exp(sinks[:, None, None] - top[..., -1:])
    return (exps @ p.repeated().v / np.where(total > 0.0, total, 1.0)).astype(p.q.dtype)


@twin("block_is_invisible", row="streaming_attention")
def sums_not_rescaled(f: Mechanism, p: Problem) -> Any:
    """The sums of earlier blocks are not rescaled when a later block has a larger maximum."""
    return unrescaled(f, p, int(p.options.get("block", 128)))


@twin("block_is_invisible", row="streaming_attention")
def blocks_averaged(f: Mechanism, p: Problem) -> Any:
    """Every block of keys is normalised by itself, and the blocks are averaged."""
    parts = [part.call(f) for part in in_blocks(p, int(p.options.get("block", 128)))]
    return p.call(f) if len(parts) < 2 else sum(parts[1:], parts[0]) / len(parts)


@twin("keys_have_no_order")
def stream_of_4_not_rescaled(f: Mechanism, p: Problem) -> Any:
    """A stream of blocks of 4 keys does not rescale its sums when the largest score grows."""
    return unrescaled(f, p, 4)


@twin("keys_have_no_order")
def blocks_of_64_dropped(f: Mechanism, p: Problem) -> Any:
    """Keys are read in blocks of 64, or of 4 where there are fewer, and an incomplete last block is skipped."""
    kv_len = p.k.shape[-2]
    block = 64 if kv_len > 64 else 4
    if kv_len <= block or kv_len % block == 0:
        return p.call(f)
    return p.but(mask=p.visible() & (np.arange(kv_len) < kv_len // block * block), causal=False, window=None).call(f)


@twin("scores_are_scale_cap_bias_in_that_order")
def exp2_without_log2_e(f: Mechanism, p: Problem) -> Any:
    """exp2 is used in place of exp, and the scores are not multiplied by log2(e)."""
    if p.options.get("softcap") is not None or p.options.get("bias") is not None or p.options.get("sinks") is not None:
        return p.call(f)
    return p.but(scale=p.scale * math.log(2.0)).call(f)


@twin("the_last_query_alone")
def softmax_over_queries(f: Mechanism, p: Problem) -> Any:
    """The softmax runs over the queries, the wrong axis of the scores: the weights of a key sum to 1."""
    scores = np.where(p.visible(), raw_scores(p) + p.options.get("bias", 0.0), -np.inf)
    top = scores.max(axis=-2, keepdims=True, initial=-np.inf)
    exps = np.exp(scores - np.where(np.isfinite(top), top, 0.0))
    total = exps.sum(axis=-2, keepdims=True)
    return (exps / np.where(total > 0.0, total, 1.0) @ p.repeated().v).astype(p.q.dtype)


@twin("gradients_equal_attention", "equals_attention", row="streaming_attention")
def temperature_drifts(f: Mechanism, p: Problem) -> Any:
    """exp2 is used with log2(e) rounded to three decimals."""
    return p.but(scale=p.scale * 1.443 / 1.4426950408889634).call(f)
