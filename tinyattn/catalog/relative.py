"""Rows of attention whose scores depend on how tokens relate: cosines, mixtures of heads, tables of distances, reflections."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.tokens import TokenCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog import relative_calls as own
from tinyattn.catalog.cache_size import KEYS_VALUES_AND_DIRECTIONS
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import decoder_laws
from tinyattn.laws.draw import relative as draw
from tinyattn.laws.draw.options import but, plain_values
from tinyattn.laws.draw.softmax import ALL
from tinyattn.laws.general import agrees, form_agrees, gradients_agree, mixing_laws
from tinyattn.laws.law import unchanged
from tinyattn.laws.oracles import relative as oracles
from tinyattn.laws.oracles.calls import taking
from tinyattn.layers.inputs import Input, Parameter, between, identity

COST, ATTENTION = "heads i j (d + e)", taking(definitions.attention, *ALL)
CAUSAL = taking(definitions.attention, "scale", causal=True)
PATH = calls.always_causal(own.path)
UNSCALED = (refused.MASK, refused.WINDOW, refused.SOFTCAP, refused.shape("sinks", 99))

ROWS = (
    Row(definition=definitions.cosine_attention, papers=(Paper("Liu et al.", 2022, "2111.09883"),), cost=COST,
        says="Scores are the cosines of queries and keys, times a learned scale per head.",
        aliases=("swin v2 attention", "scaled cosine attention"), sample=draw.COSINE,
        laws=(gradients_agree("the_definition", definitions.cosine_attention, draw=draw.COSINE_SLOPES),
              *form_agrees("angles", oracles.angles, draw.COSINE,
                           "Dividing the product of each query and key by the lengths of both gives the same outputs.",
                           slopes=draw.COSINE_SLOPES),
              agrees("qk_norm_attention", oracles.normalised_by_rms, draw=draw.COSINE_LONG, to="qk_norm_attention",
                     says="With one scale for all heads it is QK-norm attention with this scale divided by head_dim."),
              unchanged("vectors_have_no_length", "The length of queries and keys has no effect.", draw.COSINE,
                        lambda p: p.but(q=3.0 * p.q, k=0.5 * p.k)),
              unchanged("a_scale_stops_at_100", "A scale above 100 has the same effect as 100.", draw.COSINE,
                        lambda p: p.but(log_scale=np.where(p.options["log_scale"] > 5.0, 9.0, p.options["log_scale"]).astype(
                            p.q.dtype))),
              *decoder_laws(definitions.cosine_attention, draw.COSINE_CAUSAL, heads=False)),
        bad_inputs=(*UNSCALED, refused.shape("log_scale", 99), refused.kind("log_scale", None),
                    BadInput({"log_scale": np.full(4, np.nan)}, ValueError, ("log_scale", "finite"))),
        inputs=(Parameter("log_scale", "heads", 2.0),), **calls.growing(fastest.cosine_attention)),
    Row(definition=definitions.talking_heads_attention, papers=(Paper("Shazeer et al.", 2020, "2003.02436"),),
        cost="heads i j (d + e + 2 heads)",
        says="Learned matrices mix the heads before the softmax and after it.",
        aliases=("talking heads",), sample=draw.TALKING,
        laws=(gradients_agree("the_definition", definitions.talking_heads_attention, draw=draw.TALKING_SLOPES),
              *form_agrees("heads_one_by_one", oracles.heads_one_by_one, draw.TALKING,
                           "Computing each new head as a weighted sum of the scores, and then of the weights, of all heads gives the "
                           "same.",
                           slopes=draw.TALKING_SLOPES),
              agrees("attention", ATTENTION, draw=but(draw.TALKING, draw.unmixed), to="attention",
                     says="With two identity matrices it is attention."),
              agrees("attention_of_moved_heads", ATTENTION, draw=but(draw.ALIKE, draw.moved_and_back), to="attention",
                     says="Matrices that move every head on by one before the softmax, and back after it, give attention."),
              *decoder_laws(definitions.talking_heads_attention, draw.TALKING_CAUSAL, heads=False)),
        bad_inputs=(*refused.SOFTMAX, refused.shape("before", 4), refused.shape("after", 4, 3), refused.kind("before", None)),
        inputs=(Parameter("before", "heads heads", 0.0), Parameter("after", "heads heads", 0.0)), **calls.growing(own.talking)),
    Row(definition=definitions.relative_position_attention,
        papers=(Paper("Dai et al.", 2019, "1901.02860"), Paper("Yang et al.", 2019, "1906.08237")), cost="heads i j (2 d + e)",
        says="A score is the product of a query and a key, plus the product of the query and a learned vector of their distance.",
        aliases=("transformer-xl", "xlnet", "relative attention"), sample=draw.RELATIVE,
        laws=(*form_agrees("distances_one_by_one", oracles.distances_one_by_one, draw.RELATIVE,
                           "Looking up the row for the distance of each pair by itself gives the same "
                           "outputs.", slopes=draw.RELATIVE_SLOPES),
              agrees("attention", ATTENTION, draw=but(draw.RELATIVE, draw.without_distances), to="attention",
                     says="With a table of zeros, and nothing added to the queries, it is attention."),
              unchanged("a_causal_table_ends_at_distance_0", "The rows of later keys have no effect on a causal call.",
                        draw.RELATIVE_WHOLE, lambda p: p.but(relative=p.options["relative"][:, : p.k.shape[-2]])),
              *decoder_laws(own.with_nearest_rows(definitions.relative_position_attention), draw.RELATIVE_CAUSAL, heads=False)),
        bad_inputs=(*refused.SOFTMAX, refused.shape("relative", 4, 3, 4), refused.shape("u", 99), refused.shape("w", 4, 99),
                    refused.kind("relative", None)),
        inputs=(Parameter("projection", "heads head_dim head_dim", 0.0), Parameter("u", "heads head_dim", 0.0),
                Parameter("w", "heads head_dim", 0.0)), rotates=True, **calls.growing(own.transformer_xl)),
    Row(definition=definitions.disentangled_attention, papers=(Paper("He et al.", 2020, "2006.03654"),),
        cost="heads i j (d + e) + heads (i + j) rows d",
        says="A score is the product of a query and a key, plus the products of both with learned vectors of their distance.",
        aliases=("deberta",), sample=draw.DISENTANGLED,
        laws=(*form_agrees("tables_pair_by_pair", oracles.tables_pair_by_pair, draw.DISENTANGLED,
                           "Looking up the rows of both tables for each pair by itself gives the same outputs.",
                           slopes=draw.DISENTANGLED_SLOPES),
              agrees("attention", oracles.of_three_terms, draw=but(draw.BOTH_TABLES, draw.without_tables), to="attention",
                     says="With two tables of zeros it is attention with the scale (3 d)^-1/2."),
              agrees("relative_position_attention", oracles.rows_by_distance, draw=draw.ONE_TABLE, to="relative_position_attention",
                     says="With the table for queries alone it is relative-position attention without u and w."),
              *decoder_laws(own.with_distances_so_far(definitions.disentangled_attention), draw.DISENTANGLED_CAUSAL, heads=False)),
        bad_inputs=(*refused.SOFTMAX, refused.shape("q_relative", 3, 99), refused.shape("k_relative", 4, 2, 99),
                    refused.kind("distance", np.zeros((5, 7))),
                    BadInput({"distance": np.full((5, 7), 99)}, ValueError, ("distance", "99")),
                    BadInput({"distance": np.zeros((1, 1), int)}, ValueError, ("distance", "(1, 1)"))),
        inputs=(Parameter("q_relative", "heads 64 head_dim", 0.0), Parameter("k_relative", "heads 64 head_dim", 0.0)), rotates=True,
        **calls.growing(own.deberta)),
    Row(definition=definitions.decomposed_position_bias, called=own.with_bias_of_cells,
        papers=(Paper("Li et al.", 2021, "2112.01526"), Paper("Kirillov et al.", 2023, "2304.02643")),
        cost="heads i (rows + columns) d",
        says="A bias on a grid: the query's product with a vector of the vertical distance, plus that with one of the horizontal "
             "distance.",
        aliases=("decomposed relative positions", "mvit positions", "sam positions"), sample=draw.cells,
        laws=(*form_agrees("cells_one_by_one", oracles.cells_one_by_one, draw.cells,
                           "Looking up the rows of both tables for each pair of cells by itself gives the same outputs.",
                           slopes=draw.unlike_sides),
              agrees("attention", taking(definitions.attention, "scale"), draw=but(draw.cells, draw.plain_cells), to="attention",
                     says="With tables of zeros it is attention."),
              agrees("relative_position_attention", oracles.rows_of_a_line, draw=plain_values(draw.line_of_cells),
                     to="relative_position_attention",
                     says="On a line it is relative-position attention whose table is divided by the scale."),
              *mixing_laws(draw.cells)),
        bad_inputs=(refused.GRID, refused.shape("table_y", 2, 99), refused.shape("table_x", 99), refused.kind("table_y", None))),
    Row(definition=definitions.path_attention, papers=(Paper("Yang et al.", 2025, "2505.16381"),), cost="heads i j (3 d + e)",
        says="Every token between a key and a query reflects the query, by a direction and a strength of its own.",
        aliases=("path", "householder positions"), sample=draw.PATH, rounded_as=(oracles.reflections_at_once,),
        laws=(*form_agrees("reflections_one_by_one", oracles.reflections_one_by_one, draw.PATH,
                           "Starting anew for each key, and reflecting the query by each token after the key, gives the same outputs.",
                           slopes=draw.PATH_SLOPES),
              *form_agrees("reflections_at_once", oracles.reflections_at_once, draw.PATH,
                           "Inverting one triangle, for all tokens at once, gives the same.", slopes=draw.PATH_SLOPES),
              agrees("attention", CAUSAL, draw=but(draw.WITHOUT_GATES, draw.not_reflected), to="attention",
                     says="With a beta of 0 at every token it is causal attention."),
              agrees("forgetting_attention", taking(definitions.forgetting_attention, "log_forget", "scale"),
                     draw=but(draw.WITH_GATES, draw.not_reflected), to="forgetting_attention",
                     says="With a beta of 0 at every token, and with forget gates, it is forgetting attention."),
              *decoder_laws(calls.always_causal(definitions.path_attention), draw.PATH, cache=TokenCache, heads=False)),
        bad_inputs=(refused.SCALE, refused.FEWER_KEYS, refused.BETA, refused.shape("w", 1, 1), refused.kind("w", None),
                    BadInput({"log_forget": np.ones((1, 4, 7))}, ValueError, ("log_forget", "at most 0")),
                    refused.shape("log_forget", 9)),
        inputs=(Input.of(definitions.path_attention, "w", identity, 0.0),
                Input.of(definitions.path_attention, "beta", between(0.0, 2.0), 0.0)), rotates=True,
        mixer=PATH, cache=partial(TokenCache, PATH), cache_size=KEYS_VALUES_AND_DIRECTIONS),
)
