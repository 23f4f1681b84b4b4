"""Rows of linear attention."""

from __future__ import annotations

import numpy as np

from tinyattn import definitions
from tinyattn.caches.state import StateCache
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws import LINEAR_LAWS
from tinyattn.laws.cached import cached
from tinyattn.laws.forms import agrees, slopes_agree
from tinyattn.laws.linear import always, draw


def state_bytes(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int) -> int:
    """Returns the bytes of the state and its normaliser, whatever the length."""
    return kv_heads * head_dim * (value_dim + 1) * itemsize


ROWS = (
    Row("linear_attention", "Queries read a state into which the features of all keys are folded.",
        definitions.linear_attention, (Paper("Katharopoulos et al.", 2020, "2006.16236"),), "exact", "heads i d e", draw,
        (agrees("linear_attention_recurrent", definitions.linear_attention_recurrent, draw=draw),
         agrees("linear_attention_chunked", definitions.linear_attention_chunked, draw=draw),
         slopes_agree("linear_attention_recurrent", definitions.linear_attention_recurrent, draw=draw),
         slopes_agree("linear_attention_chunked", definitions.linear_attention_chunked, draw=draw),
         cached(StateCache, always(causal=True, normalize=True)), *LINEAR_LAWS),
        (BadInput({"scale": float("nan")}, ValueError, ("scale", "nan")),
         BadInput({"initial_state": np.ones(1), "normalize": True}, TypeError, ("initial_state", "pair"))),
        aliases=("kernel attention", "elu attention"),
        forms={"recurrent": definitions.linear_attention_recurrent, "chunked": definitions.linear_attention_chunked},
        mixer=definitions.linear_attention, cache=StateCache, cache_bytes=state_bytes,
        cache_formula="kv_heads features (value_dim + 1) itemsize"),
)
