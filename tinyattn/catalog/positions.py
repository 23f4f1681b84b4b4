"""Rows of attention with its own measure of distance: spans of queries, positions that gates count, positions below a bound."""

from __future__ import annotations

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.catalog import calls, refused
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import decoder_laws
from tinyattn.laws.draw import variants as draw
from tinyattn.laws.draw.options import but, given
from tinyattn.laws.draw.sizes import few_heads, ordinary
from tinyattn.laws.draw.softmax import ALL
from tinyattn.laws.general import agrees, form_agrees
from tinyattn.laws.law import Law, plain, unchanged
from tinyattn.laws.oracles import variants as oracles
from tinyattn.laws.oracles.calls import own_values, taking
from tinyattn.laws.oracles.sparse import CAUSAL
from tinyattn.layers.inputs import Input, Parameter, between
from tinyattn.ops.masks.pattern import Pattern

ATTENTION, MERGED = taking(definitions.attention, *ALL), definitions.dual_chunk_attention_merged
FAST = fastest.dual_chunk_attention_merged
# Up to 256 tokens, and 2 rather than 6 to begin with: with 6, all spans would cover a context of 256 and have no gradient.
SPANS = Input.of(definitions.dynamic_contextual_attention, "span", between(0.0, 256.0), 2.0)
ROWS = (
    Row(definition=definitions.dynamic_contextual_attention, papers=(Paper("Sukhbaatar et al.", 2019, "1905.07799"),),
        cost="heads i j (d + e), or heads i (span + ramp) (d + e)",
        says="Each token decides how far back it looks.",
        aliases=("dca", "dca-span", "dynamic contextual", "adaptive span", "adaptive attention span"), sample=draw.SPAN,
        fit=few_heads,
        laws=(agrees("attention_with_a_bias", oracles.log_ramp_as_bias, draw=draw.SPAN, to="attention",
                     says="It is attention with the log of the ramp as a bias."),
              *form_agrees("weights_cut_afterwards", oracles.cut_afterwards, draw.SPAN_ORDINARY,
                           "A softmax over all keys, multiplied by the ramp and divided by the sum of the products, gives the "
                           "same outputs.",
                           slopes=draw.SPAN_SLOPES),
              Law("a_wide_span_has_no_effect", "With spans as long as the text it is attention.",
                  but(draw.SPAN, lambda p: p.but(span=np.full_like(p.options["span"], 20.0))), plain,
                  lambda f, p: plain(ATTENTION, p), to="attention"),
              Law("a_wide_ramp_has_no_effect", "The wider the ramp, the nearer the result is to "
                                               "attention.", given(draw.SPAN, ramp=1e30),
                  plain, lambda f, p: plain(ATTENTION, p), to="attention", kind="approximate"),
              agrees("windows", oracles.windows, draw=draw.INTEGER_SPANS, to="multi_head_local_attention",
                     says="Spans that are whole numbers, with a ramp of at most 1, are windows of span + 1 keys."),
              agrees("own_values", own_values, draw=draw.SPANS_OF_ZERO,
                     says="With a span of 0 and a ramp of at most 1 every query reads the value at its own position."),
              Law("a_span_is_its_querys_own", "The spans of other queries have no effect on a query.", draw.SPAN,
                  lambda f, p: (plain(f, p)[0][..., ::2, :],),
                  lambda f, p: (plain(f, draw.other_spans_longer(p))[0][..., ::2, :],), exact=True),
              *decoder_laws(definitions.dynamic_contextual_attention, draw.SPAN_CAUSAL)),
        bad_inputs=(*refused.SOFTMAX, BadInput({"span": -np.ones(1)}, ValueError, ("span", "0 or more")),
                    BadInput({"span": np.full(1, np.nan)}, ValueError, ("span", "finite")), refused.shape("span", 99),
                    refused.value("ramp", 0.0), refused.kind("ramp", None)),
        inputs=(SPANS,), **calls.growing(fastest.dynamic_contextual_attention, ramp=32.0),
        pattern=Pattern(lambda i, j: (j <= i) & (i - j <= i * 7 % 11), text="token i looks back by 7 i % 11 tokens")),
    Row(definition=definitions.contextual_position_bias, called=calls.counting,
        papers=(Paper("Golovneva et al.", 2024, "2405.18719"),), cost="heads i (j (2 d + e) + positions d)",
        says="The distance to a key counts only the tokens that the query's gates select.",
        aliases=("cope", "contextual position encoding", "contextual positions"), sample=draw.COUNTS, fit=few_heads,
        laws=(*form_agrees("hats", calls.counting(oracles.hats), draw.COUNTS,
                           "Counting by a triangular matrix of ones, and weighing each embedding by 1 minus its distance from the "
                           "count, gives the same outputs.",
                           slopes=draw.COUNTS_SLOPES),
              agrees("embedded_distances", oracles.by_distance, to="attention",
                     draw=but(draw.COUNTS_CAUSAL, draw.saturated_gates(1.0), fit=ordinary),
                     says="With gates of 1, which count every token, it is attention with one learned vector per distance."),
              Law("gates_of_zero_count_nothing", "With gates of 0, which count no token, it is attention without positions.",
                  but(draw.COUNTS_CAUSAL, draw.saturated_gates(-1.0), fit=ordinary), plain, lambda f, p: plain(ATTENTION, p),
                  to="attention"),
              Law("embeddings_of_zero_have_no_effect", "With embeddings of 0 it is attention without positions.",
                  but(draw.COUNTS, lambda p: p.but(embedding=np.zeros_like(p.options["embedding"]))), plain,
                  lambda f, p: plain(ATTENTION, p), to="attention"),
              *decoder_laws(calls.COUNTED, draw.COUNTS_CAUSAL)),
        bad_inputs=(*refused.SOFTMAX, refused.shape("embedding", 3, 99), refused.kind("embedding", [[1.0]])),
        inputs=(Parameter("embedding", "64 head_dim", 0.0),), rotates=True, **calls.growing(calls.COUNTED)),
    Row(definition=definitions.contextual_position_attention, papers=(Paper("Golovneva et al.", 2024, "2405.18719"),),
        cost="heads i (j (2 d + e) + positions d)",
        says="Attention whose bias depends on how many tokens the query's gates select.",
        aliases=("cope attention",), sample=draw.COUNTS, fit=few_heads,
        laws=(*form_agrees("attention_with_the_bias", calls.COUNTED, draw.COUNTS,
                           "It is attention with the bias that contextual positions make.", slopes=draw.COUNTS_SLOPES,
                           to="contextual_position_bias"),
              Law("embeddings_of_zero_have_no_effect", "With embeddings of 0 it is attention without positions.",
                  but(draw.COUNTS, lambda p: p.but(embedding=np.zeros_like(p.options["embedding"]))), plain,
                  lambda f, p: plain(ATTENTION, p), to="attention"),
              *decoder_laws(definitions.contextual_position_attention, draw.COUNTS_CAUSAL)),
        bad_inputs=(*refused.SOFTMAX, refused.shape("embedding", 3, 99), refused.kind("embedding", [[1.0]])),
        inputs=(Parameter("embedding", "64 head_dim", 0.0),), rotates=True,
        **calls.growing(fastest.contextual_position_attention)),
    Row(definition=definitions.dual_chunk_attention, papers=(Paper("An et al.", 2024, "2402.17463"),), cost="heads i j (d + e)",
        says="Rotary positions never grow beyond those of training, because they are counted within chunks.",
        aliases=("dca-dual", "dual chunk", "chunkllama", "qwen2.5-1m"), sample=draw.DUAL, fit=few_heads,
        laws=(*form_agrees("three_merged", MERGED, draw.DUAL,
                           "Attention to each of the three parts, merged by their lse, is one softmax over all of them.",
                           slopes=draw.DUAL_SLOPES),
              Law("one_chunk_is_rotary_attention", "With a chunk as long as the text it is rotary attention.",
                  but(draw.IN_ORDER, lambda p: p.but(chunk=p.k.shape[-2])), plain, lambda f, p: plain(oracles.rotary_attention, p),
                  to="attention"),
              Law("two_chunks_in_reach_are_rotary_attention",
                  "With two chunks and a `local` as long as a chunk it is rotary attention.",
                  but(draw.IN_ORDER, draw.two_chunks), plain, lambda f, p: plain(oracles.rotary_attention, p), to="attention"),
              Law("where_nothing_turns_it_is_attention", "Where no channel is rotated it is causal attention.",
                  but(draw.IN_ORDER, draw.hardly_turning), plain, lambda f, p: plain(CAUSAL, p), to="attention"),
              unchanged("chunks_later_is_the_same", "Moving all tokens on by a few whole chunks changes nothing, bit for bit.",
                        draw.IN_ORDER, lambda p: p.but(positions=np.arange(p.k.shape[-2]) + 3 * p.options["chunk"]), exact=True),
              unchanged("code_reaches_one_token_further",
                        "With `local` less than a chunk, the authors' code equals the paper with `local` larger by one.",
                        but(draw.IN_ORDER, lambda p: p.but(clamp="code", chunk=p.options["local"] + 1)),
                        lambda p: p.but(clamp="paper", local=p.options["local"] + 1), exact=True),
              *decoder_laws(calls.always_causal(MERGED), draw.IN_ORDER)),
        bad_inputs=(refused.value("chunk", 0), refused.value("local", 0), refused.value("clamp", "papr", "code"),
                    refused.value("base", 0.5), refused.kind("positions", np.zeros(3))),
        forms={"merged": MERGED}, rotates=True, **calls.growing(calls.always_causal(FAST), chunk=64, local=16)),
)
