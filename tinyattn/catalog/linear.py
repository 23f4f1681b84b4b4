"""Rows of linear attention."""

from __future__ import annotations

from tinyattn import definitions
from tinyattn.caches.state import StateCache
from tinyattn.catalog import refused
from tinyattn.catalog.cache_size import NORMALISED_STATE
from tinyattn.catalog.row import Paper, Row
from tinyattn.laws import LINEAR_LAWS
from tinyattn.laws.cached import cached
from tinyattn.laws.draw.linear import always, linear
from tinyattn.laws.forms import agrees, gradients_agree

RECURRENT, CHUNKED = definitions.linear_attention_recurrent, definitions.linear_attention_chunked
ROWS = (
    Row(name="linear_attention",
        says="Queries read a state to which every token adds the features of its key, multiplied by its value.",
        definition=definitions.linear_attention,
        papers=(Paper("Katharopoulos et al.", 2020, "2006.16236"),), kind="exact", cost="heads i d e",
        aliases=("kernel attention", "elu attention"), sample=linear,
        laws=(agrees("linear_attention_recurrent", RECURRENT, draw=linear), agrees("linear_attention_chunked", CHUNKED, draw=linear),
              gradients_agree("linear_attention_recurrent", RECURRENT, draw=linear),
              gradients_agree("linear_attention_chunked", CHUNKED, draw=linear),
              cached(StateCache, always(causal=True, normalize=True)), *LINEAR_LAWS),
        bad_inputs=(refused.SCALE, refused.STATE),
        forms={"recurrent": RECURRENT, "chunked": CHUNKED},
        mixer=definitions.linear_attention, cache=StateCache, cache_size=NORMALISED_STATE),
)
