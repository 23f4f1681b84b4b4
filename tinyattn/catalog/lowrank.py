"""Rows of attention through fewer vectors than there are tokens: projections of the keys, landmarks."""

from __future__ import annotations

import numpy as np

from tinyattn import definitions
from tinyattn.catalog import refused
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.draw import lowrank as draw
from tinyattn.laws.draw.options import but
from tinyattn.laws.draw.sizes import few_heads
from tinyattn.laws.general import agrees, form_agrees, gradients_agree, mixing_laws
from tinyattn.laws.law import unchanged
from tinyattn.laws.oracles import lowrank as oracles
from tinyattn.laws.oracles.sparse import TO_ALL

ROWS = (
    Row(definition=definitions.linformer_attention, papers=(Paper("Wang et al.", 2020, "2006.04768"),), kind="approximate",
        cost="heads i rank (d + e) + kv_heads j rank (d + e)",
        says="Keys and values are projected to a fixed, shorter length.",
        aliases=("linformer", "low-rank attention"), sample=draw.projections, fit=few_heads,
        laws=(*form_agrees("weights_on_tokens", oracles.on_tokens, draw.projections,
                           "Projecting the scores, and spreading the weights over the tokens again, gives the same outputs.",
                           slopes=draw.projections),
              agrees("attention_to_all", TO_ALL, draw=but(draw.projections, draw.with_projection(np.eye)), to="attention",
                     says="With the identity matrix as both projections it is attention."),
              agrees("attention_to_some", oracles.to_every_second, to="attention",
                     draw=but(draw.projections, draw.with_projection(draw.every_second)),
                     says="With projections that pick tokens it is attention to those tokens."),
              unchanged("mixtures_have_no_order", "The rows of both projections in another order give the same "
                                                  "outputs.", draw.projections,
                        lambda p: p.but(**{name: p.options[name][..., ::-1, :] for name in ("project_k", "project_v")})),
              *mixing_laws(draw.shared_projections)),
        bad_inputs=(refused.SCALE, refused.shape("project_k", 2, 99), refused.kind("project_k", None), refused.CAUSAL,
                    BadInput({"project_v": np.ones((99, 7))}, ValueError, ("project_v", "rank", "(99, 7)")))),
    Row(definition=definitions.nystrom_attention, papers=(Paper("Xiong et al.", 2021, "2102.03902"),), kind="approximate",
        cost="heads (i + j) landmarks (d + e) + heads iterations landmarks^3",
        says="Queries attend to keys through a few landmarks, which are means of both.",
        aliases=("nystromformer", "nystrom", "landmark attention"), sample=draw.LANDMARKS, fit=few_heads,
        laws=(agrees("attention_to_all", TO_ALL, draw=but(draw.segmented(2, 3, 4), draw.one_landmark_per_token), to="attention",
                     kind="approximate", says="With one landmark per token, and enough iterations, it is attention."),
              agrees("inverse", oracles.inverted, draw=but(draw.segmented(2, 3), draw.separated), kind="approximate",
                     says="After enough iterations it is the formula with the exact inverse."),
              gradients_agree("inverse", oracles.inverted, draw=but(draw.segmented(2, 3), draw.separated),
                              says="Its gradients are those of the formula with the exact inverse."),
              agrees("mean_query", oracles.mean_query, draw=draw.segmented(1), to="attention",
                     says="With one landmark the output of every query is what the mean of all queries reads."),
              unchanged("within_a_segment_keys_have_no_order", "Keys and values in another order within their segments give the "
                                                               "same outputs.",
                        draw.LANDMARKS, draw.reversed_within_segments),
              *mixing_laws(draw.LANDMARKS)),
        bad_inputs=(refused.SCALE, refused.value("landmarks", 0), refused.value("landmarks", 99), refused.value("iterations", -1),
                    refused.CAUSAL)),
)
