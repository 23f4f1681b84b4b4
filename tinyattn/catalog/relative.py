"""Rows of attention that scores how tokens relate: cosines, mixtures of heads, tables of distances, directions between tokens."""

from __future__ import annotations

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.catalog import calls, refused
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import decoder_laws
from tinyattn.laws.draw import relative as draw
from tinyattn.laws.general import agrees, form_agrees
from tinyattn.laws.law import unchanged
from tinyattn.laws.oracles import relative as oracles
from tinyattn.layers.inputs import Parameter

COST = "heads i j (d + e)"
UNSCALED = (refused.MASK, refused.WINDOW, refused.SOFTCAP, refused.shape("sinks", 99))

ROWS = (
    Row(definition=definitions.cosine_attention, papers=(Paper("Liu et al.", 2022, "2111.09883"),), cost=COST,
        says="Scores are the cosines of queries and keys, times a learned scale per head.",
        aliases=("swin v2 attention", "scaled cosine attention"), sample=draw.COSINE,
        laws=(*form_agrees("angles", oracles.angles, draw.COSINE, "Dividing each product by both lengths gives the same.",
                           slopes=draw.COSINE_SLOPES),
              agrees("qk_norm_attention", oracles.normalised_by_rms, draw=draw.COSINE_LONG, to="qk_norm_attention",
                     says="With one scale for all heads it is QK-norm attention with this scale divided by head_dim."),
              unchanged("vectors_have_no_length", "The length of queries and keys has no effect.", draw.COSINE,
                        lambda p: p.but(q=3.0 * p.q, k=0.5 * p.k)),
              unchanged("a_scale_stops_at_100", "A scale above 100 is 100.", draw.COSINE,
                        lambda p: p.but(log_scale=np.where(p.options["log_scale"] > 5.0, 9.0, p.options["log_scale"]).astype(
                            p.q.dtype))),
              *decoder_laws(definitions.cosine_attention, draw.COSINE_CAUSAL, heads=False)),
        bad_inputs=(*UNSCALED, refused.shape("log_scale", 99), refused.kind("log_scale", None),
                    BadInput({"log_scale": np.full(4, np.nan)}, ValueError, ("log_scale", "finite"))),
        inputs=(Parameter("log_scale", "heads", 2.0),), **calls.growing(fastest.cosine_attention)),
)
