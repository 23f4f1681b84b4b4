"""Rows of attention whose distances depend on the tokens: spans that queries choose, positions that gates count."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinyattn import definitions
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import KEYS_AND_VALUES
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import decoded
from tinyattn.laws.draw import variants as draw
from tinyattn.laws.draw.options import but
from tinyattn.laws.draw.sizes import few_heads, ordinary
from tinyattn.laws.draw.softmax import ALL
from tinyattn.laws.forms import agrees, gradients_agree
from tinyattn.laws.general import mixing_laws
from tinyattn.laws.law import Law
from tinyattn.laws.oracles import variants as oracles
from tinyattn.laws.oracles.calls import own_values, taking
from tinyattn.laws.score import plain
from tinyattn.layers.inputs import Input, Parameter, between
from tinyattn.ops.masks.pattern import Pattern

ATTENTION = taking(definitions.attention, *ALL)
# Up to 256 tokens, and 2 rather than 6 to begin with: with 6, all spans would cover a context of 256 and have no gradient.
SPANS = Input.of(definitions.dynamic_contextual_attention, "span", between(0.0, 256.0), 2.0)
HATS = calls.counting(oracles.hats)
ROWS = (
    Row(name="dynamic_contextual_attention",
        says="Each token decides how far back it looks.",
        definition=definitions.dynamic_contextual_attention,
        papers=(Paper("Sukhbaatar et al.", 2019, "1905.07799"),), kind="exact",
        cost="heads i j (d + e), or heads i (span + ramp) (d + e)",
        aliases=("dca", "dca-span", "dynamic contextual", "adaptive span", "adaptive attention span"),
        sample=draw.SPAN, fit=few_heads,
        laws=(agrees("attention_with_a_bias", oracles.log_ramp_as_bias, draw=draw.SPAN, to="attention",
                     says="It is attention with the log of the ramp as a bias."),
              agrees("weights_cut_afterwards", oracles.cut_afterwards, draw=draw.SPAN_ORDINARY,
                     says="A softmax over all keys, multiplied by the ramp and divided by what is left, gives the same."),
              gradients_agree("weights_cut_afterwards", oracles.cut_afterwards, draw=draw.SPAN_SLOPES),
              Law("a_wide_span_is_none", "With spans as long as the text it is attention, bit for bit.",
                  but(draw.SPAN, lambda p: p.but(span=np.full_like(p.options["span"], 20.0))), plain,
                  lambda f, p: plain(ATTENTION, p), exact=True, to="attention"),
              Law("a_wide_ramp_is_none", "The wider the ramp, the nearer the result is to attention.",
                  but(draw.SPAN, lambda p: p.but(ramp=1e30)), plain, lambda f, p: plain(ATTENTION, p), to="attention",
                  kind="approximate"),
              agrees("windows", oracles.windows, draw=draw.WHOLE_SPANS, to="multi_head_local_attention",
                     says="Spans that are whole numbers, with a ramp of at most 1, are windows of span + 1 keys."),
              agrees("own_values", own_values, draw=draw.SPANS_OF_ZERO,
                     says="With a span of 0 and a ramp of at most 1 every query reads the value at its own position."),
              Law("a_span_is_its_querys_own", "The spans of other queries have no effect on a query.", draw.SPAN,
                  lambda f, p: (plain(f, p)[0][..., ::2, :],),
                  lambda f, p: (plain(f, draw.other_spans_longer(p))[0][..., ::2, :],), exact=True),
              *decoded(partial(GrowingCache, definitions.dynamic_contextual_attention), draw.SPAN_CAUSAL),
              *mixing_laws(draw.SPAN_CAUSAL)),
        bad_inputs=(*refused.SOFTMAX, BadInput({"span": -np.ones(1)}, ValueError, ("span", "0 or more")),
                    BadInput({"span": np.full(1, np.nan)}, ValueError, ("span", "finite")),
                    BadInput({"span": np.ones(99)}, ValueError, ("span", "(99,)")),
                    BadInput({"ramp": 0.0}, ValueError, ("ramp", "0.0")), BadInput({"ramp": None}, TypeError, ("ramp", "NoneType"))),
        inputs=(SPANS,), mixer=calls.DYNAMIC, cache=partial(GrowingCache, calls.DYNAMIC), cache_size=KEYS_AND_VALUES,
        pattern=Pattern(lambda i, j: (j <= i) & (i - j <= i * 7 % 11), text="each token as far back as it says: token i by 7 i % 11")),
    Row(name="contextual_position_bias",
        says="The distance to a key counts only the tokens that the query's gates select.",
        definition=definitions.contextual_position_bias, called=calls.counting,
        papers=(Paper("Golovneva et al.", 2024, "2405.18719"),), kind="exact", cost="heads i (j (2 d + e) + positions d)",
        aliases=("cope", "contextual position encoding", "contextual positions"), sample=draw.COUNTS, fit=few_heads,
        laws=(agrees("hats", HATS, draw=draw.COUNTS,
                     says="Counting with a triangle of ones and weighing every embedding by a hat function gives the same."),
              gradients_agree("hats", HATS, draw=draw.COUNTS_SLOPES),
              agrees("embedded_distances", oracles.by_distance, to="attention",
                     draw=but(draw.COUNTS_CAUSAL, draw.saturated_gates(1.0), fit=ordinary),
                     says="With gates of 1, which count every token, it is attention with embedded distances."),
              Law("gates_of_zero_count_nothing", "With gates of 0, which count no token, it is attention without positions.",
                  but(draw.COUNTS_CAUSAL, draw.saturated_gates(-1.0), fit=ordinary), plain, lambda f, p: plain(ATTENTION, p),
                  to="attention"),
              Law("embeddings_of_zero_are_none", "With embeddings of 0 it is attention without positions.",
                  but(draw.COUNTS, lambda p: p.but(embedding=np.zeros_like(p.options["embedding"]))), plain,
                  lambda f, p: plain(ATTENTION, p), to="attention"),
              *decoded(partial(GrowingCache, calls.COUNTED), draw.COUNTS_CAUSAL), *mixing_laws(draw.COUNTS_CAUSAL)),
        bad_inputs=(*refused.SOFTMAX, BadInput({"embedding": np.ones((3, 99))}, ValueError, ("embedding", "(3, 99)")),
                    BadInput({"embedding": [[1.0]]}, TypeError, ("embedding", "list"))),
        inputs=(Parameter("embedding", "64 head_dim", 0.0),), rotates=True, mixer=calls.COUNTED,
        cache=partial(GrowingCache, calls.COUNTED), cache_size=KEYS_AND_VALUES),
)
