"""Rows of exact softmax attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws import GRADIENT_LAWS, LSE_LAWS, SOFTMAX_LAWS
from tinyattn.laws.cached import cached
from tinyattn.laws.draw import ALL, softmax
from tinyattn.laws.forms import agrees, invisible, slopes_agree
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.ops.types import Array

SAMPLE = softmax(*ALL)
VASWANI = Paper("Vaswani et al.", 2017, "1706.03762")
BAD = (
    BadInput({"mask": np.ones((3, 3), np.int64)}, TypeError, ("mask", "int64")),
    BadInput({"window": (-1, 0)}, ValueError, ("window", "(-1, 0)")),
    BadInput({"scale": float("nan")}, ValueError, ("scale", "nan")),
    BadInput({"softcap": 0.0}, ValueError, ("softcap", "0.0")),
    BadInput({"sinks": np.ones(99)}, ValueError, ("sinks", "(99,)")),
)


def grown(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int) -> int:
    """Returns the bytes of all keys and values."""
    return length * kv_heads * (head_dim + value_dim) * itemsize


def causal(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A causal problem without other options."""
    return softmax()(rng, sizes).but(causal=True)


def one_group(sizes: Sizes) -> Sizes:
    """Returns the sizes with as many kv heads as heads."""
    return replace(sizes, groups=1)


def repeated(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Multi-head attention over keys and values that are repeated for every head of their group."""
    groups = q.shape[-3] // k.shape[-3]
    return definitions.multi_head_attention(q, np.repeat(k, groups, axis=-3), np.repeat(v, groups, axis=-3), **options)


def one_kv_head(sizes: Sizes) -> Sizes:
    """Returns the sizes with one kv head."""
    return replace(sizes, kv_heads=1)


# Laws that change how many heads share a key cannot be asked of a form that fixes it.
FIXED = tuple(law for law in (*SOFTMAX_LAWS, *GRADIENT_LAWS)
              if law.name not in ("a_head_reads_its_group", "d_k_is_the_sum_over_its_group", "a_mask_broadcasts_from_the_right"))
ROWS = (
    Row("attention", "Every query averages the visible values, weighted by the softmax of its scores.",
        definitions.attention, (VASWANI,), "exact", "heads i j (d + e)", SAMPLE,
        (agrees("streaming_attention", definitions.streaming_attention, to="streaming_attention",
                says="One block of keys at a time gives the same sums."),
         slopes_agree("streaming_attention", definitions.streaming_attention), cached(GrowingCache, causal),
         *SOFTMAX_LAWS, *GRADIENT_LAWS), BAD, aliases=("sdpa", "softmax attention", "scaled dot-product attention"),
        forms={"streaming": definitions.streaming_attention, "with_lse": definitions.attention_with_lse},
        kernel="attention", mixer=fastest.attention, cache=GrowingCache, cache_bytes=grown,
        cache_formula="length kv_heads (head_dim + value_dim) itemsize"),
    Row("attention_with_lse", "Attention, and the log of each row's sum of exponentials.",
        definitions.attention_with_lse, (Paper("Dao et al.", 2022, "2205.14135"),), "exact", "heads i j (d + e)", SAMPLE,
        LSE_LAWS, BAD, aliases=("lse",), kernel="attention_with_lse"),
    Row("streaming_attention", "The same sums, one block of keys at a time.", definitions.streaming_attention,
        (Paper("Milakov and Gimelshein", 2018, "1805.02867"), Paper("Rabe and Staats", 2021, "2112.05682")), "exact",
        "heads i j (d + e), memory i block", SAMPLE,
        (agrees("attention", definitions.attention, to="attention", says="All blocks together are attention."),
         slopes_agree("attention", definitions.attention),
         invisible("block", (1, 2, 3, 7), SAMPLE), *SOFTMAX_LAWS, *GRADIENT_LAWS), BAD,
        aliases=("online softmax", "flash attention")),
    Row("multi_head_attention", "Every query head has keys and values of its own.", definitions.multi_head_attention,
        (VASWANI,), "exact", "heads i j (d + e)", SAMPLE,
        (agrees("attention", definitions.attention, to="attention", says="It is attention whose heads share nothing."),
         agrees("grouped_query_attention", definitions.grouped_query_attention, to="grouped_query_attention",
                says="It is grouped-query attention with a group for every head."), cached(GrowingCache, causal), *FIXED), BAD,
        aliases=("mha",), fit=one_group, cache=GrowingCache, cache_bytes=grown,
        cache_formula="length heads (head_dim + value_dim) itemsize"),
    Row("multi_query_attention", "All query heads read one head of keys and values.", definitions.multi_query_attention,
        (Paper("Shazeer", 2019, "1911.02150"),), "exact", "heads i j (d + e)", SAMPLE,
        (agrees("attention", definitions.attention, to="attention", says="It is attention with one kv head."),
         agrees("grouped_query_attention", definitions.grouped_query_attention, to="grouped_query_attention",
                says="It is grouped-query attention with one group."), cached(GrowingCache, causal), *FIXED), BAD,
        aliases=("mqa",), fit=one_kv_head, cache=GrowingCache, cache_bytes=grown,
        cache_formula="length (head_dim + value_dim) itemsize"),
    Row("grouped_query_attention", "Neighbouring query heads share a head of keys and values.",
        definitions.grouped_query_attention, (Paper("Ainslie et al.", 2023, "2305.13245"),), "exact", "heads i j (d + e)",
        SAMPLE, (agrees("attention", definitions.attention, to="attention", says="It is attention, written out group by group."),
                 agrees("multi_head_attention", repeated, to="multi_head_attention",
                        says="Keys and values repeated for their group make it multi-head attention."),
                 cached(GrowingCache, causal), *SOFTMAX_LAWS, *GRADIENT_LAWS), BAD, aliases=("gqa",), cache=GrowingCache,
        cache_bytes=grown, cache_formula="length kv_heads (head_dim + value_dim) itemsize"),
)
