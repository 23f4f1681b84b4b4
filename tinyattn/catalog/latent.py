"""The row of latent attention."""

from __future__ import annotations

import numpy as np

from tinyattn import definitions
from tinyattn.caches.latent import LatentCache
from tinyattn.catalog.cache_size import LATENT
from tinyattn.catalog.calls import ABSORBED, as_latent
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import cached
from tinyattn.laws.draw.variants import latent, selecting, with_joined_queries
from tinyattn.laws.dtype import array_laws
from tinyattn.laws.forms import agrees, gradients_agree
from tinyattn.laws.general import causal
from tinyattn.laws.oracles.variants import keys_in_latents
from tinyattn.layers.latent import LatentAttention

ROWS = (
    Row(name="latent_attention_expanded",
        says="The keys and values of all heads are computed from one small vector per token.",
        definition=definitions.latent_attention_expanded, called=as_latent,
        papers=(Paper("DeepSeek-AI", 2024, "2405.04434"),), kind="exact", cost="heads i j (n + p + e) + heads j r (n + e)",
        aliases=("mla", "latent attention", "multi-head latent attention", "deepseek attention"),
        sample=latent,
        laws=(agrees("latent_attention_absorbed", as_latent(definitions.latent_attention_absorbed), draw=latent,
                     says="With the projections absorbed into the queries and outputs, the latent may be the only key and value."),
              gradients_agree("latent_attention_absorbed", as_latent(definitions.latent_attention_absorbed), draw=latent),
              agrees("grouped_query_attention", keys_in_latents, draw=selecting, to="grouped_query_attention",
                     says="With projections that pick channels it is grouped-query attention on what the latents hold."),
              cached(LatentCache, latent, with_joined_queries, least=4), causal(latent), *array_laws(latent)),
        bad_inputs=(BadInput({"w_uk": np.ones((1, 1, 1))}, ValueError, ("w_uk", "(1, 1, 1)")),
                    BadInput({"w_uv": np.ones(3)}, ValueError, ("w_uv", "(3,)"))),
        forms={"absorbed": definitions.latent_attention_absorbed}, layer=LatentAttention.create,
        mixer=ABSORBED, cache=LatentCache, cache_size=LATENT),
)
