"""Rows of exact softmax attention."""

from __future__ import annotations

from typing import Any

from tinyattn import definitions, fastest
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog import refused
from tinyattn.catalog.cache_size import KEYS_AND_VALUES, KEYS_AND_VALUES_OF_ALL_HEADS, ONE_HEAD
from tinyattn.catalog.row import Paper, Row
from tinyattn.laws import GRADIENT_LAWS, LSE_LAWS, SOFTMAX_LAWS
from tinyattn.laws.cached import cached
from tinyattn.laws.draw.options import but
from tinyattn.laws.draw.sizes import one_kv_head, own_kv_heads
from tinyattn.laws.draw.softmax import ALL, softmax
from tinyattn.laws.forms import agrees, gradients_agree, invisible
from tinyattn.laws.oracles.variants import repeated_keys

SAMPLE = softmax(*ALL)
CAUSAL = but(softmax(), lambda p: p.but(causal=True))
VASWANI = Paper("Vaswani et al.", 2017, "1706.03762")
# Laws that change how many heads share a key do not apply to a form that fixes this number.
FIXED_HEADS = tuple(law for law in (*SOFTMAX_LAWS, *GRADIENT_LAWS)
                    if law.name not in ("a_head_reads_its_group", "d_k_is_the_sum_over_its_group", "a_mask_broadcasts_from_the_right"))


def fixed_heads(*, attends: str, groups: str, **fields: Any) -> Row:
    """Returns the row of a form that fixes how many heads share a key; two sentences say how it is a case of more general ones."""
    laws = (agrees("attention", definitions.attention, to="attention", says=attends),
            agrees("grouped_query_attention", definitions.grouped_query_attention, to="grouped_query_attention", says=groups),
            cached(GrowingCache, CAUSAL), *FIXED_HEADS)
    return Row(kind="exact", cost="heads i j (d + e)", sample=SAMPLE, laws=laws, bad_inputs=refused.SOFTMAX, cache=GrowingCache,
               **fields)


ROWS = (
    Row(name="attention",
        says="Every query averages the visible values, weighted by the softmax of its scores.",
        definition=definitions.attention,
        papers=(VASWANI,), kind="exact", cost="heads i j (d + e)",
        aliases=("sdpa", "softmax attention", "scaled dot-product attention"),
        sample=SAMPLE,
        laws=(agrees("streaming_attention", definitions.streaming_attention, to="streaming_attention",
                     says="Summing one block of keys at a time gives the same."),
              gradients_agree("streaming_attention", definitions.streaming_attention), cached(GrowingCache, CAUSAL),
              *SOFTMAX_LAWS, *GRADIENT_LAWS),
        bad_inputs=refused.SOFTMAX,
        forms={"streaming": definitions.streaming_attention, "with_lse": definitions.attention_with_lse},
        mixer=fastest.attention, cache=GrowingCache, cache_size=KEYS_AND_VALUES),
    Row(name="attention_with_lse",
        says="Attention, and for every query the log of the sum of its exponentials.",
        definition=definitions.attention_with_lse,
        papers=(Paper("Dao et al.", 2022, "2205.14135"),), kind="exact", cost="heads i j (d + e)", aliases=("lse",),
        sample=SAMPLE, laws=LSE_LAWS, bad_inputs=refused.SOFTMAX),
    Row(name="streaming_attention",
        says="Attention computed one block of keys at a time, with running sums.",
        definition=definitions.streaming_attention,
        papers=(Paper("Milakov and Gimelshein", 2018, "1805.02867"), Paper("Rabe and Staats", 2021, "2112.05682")),
        kind="exact", cost="heads i j (d + e), memory i block", aliases=("online softmax", "flash attention"),
        sample=SAMPLE,
        laws=(agrees("attention", definitions.attention, to="attention", says="All blocks together give attention."),
              gradients_agree("attention", definitions.attention),
              invisible("block", (1, 2, 3, 7), SAMPLE), *SOFTMAX_LAWS, *GRADIENT_LAWS),
        bad_inputs=refused.SOFTMAX),
    fixed_heads(
        name="multi_head_attention",
        says="Every query head has its own keys and values.",
        definition=definitions.multi_head_attention, papers=(VASWANI,), aliases=("mha",), fit=own_kv_heads,
        attends="It is attention whose heads share no keys or values.",
        groups="It is grouped-query attention with one group per head.",
        cache_size=KEYS_AND_VALUES_OF_ALL_HEADS),
    fixed_heads(
        name="multi_query_attention", aliases=("mqa",), papers=(Paper("Shazeer", 2019, "1911.02150"),),
        says="All query heads read the same single head of keys and values.",
        definition=definitions.multi_query_attention, fit=one_kv_head, cache_size=ONE_HEAD,
        attends="It is attention with one kv head.", groups="It is grouped-query attention with one group for all heads."),
    Row(name="grouped_query_attention",
        says="Groups of neighbouring query heads share a head of keys and values.",
        definition=definitions.grouped_query_attention,
        papers=(Paper("Ainslie et al.", 2023, "2305.13245"),), kind="exact", cost="heads i j (d + e)", aliases=("gqa",),
        sample=SAMPLE,
        laws=(agrees("attention", definitions.attention, to="attention", says="It is attention, written out group by group."),
              agrees("multi_head_attention", repeated_keys, to="multi_head_attention",
                     says="With keys and values repeated for every head of their group it is multi-head attention."),
              cached(GrowingCache, CAUSAL), *SOFTMAX_LAWS, *GRADIENT_LAWS),
        bad_inputs=refused.SOFTMAX, cache=GrowingCache, cache_size=KEYS_AND_VALUES),
)
