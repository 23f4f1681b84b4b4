"""The row of latent attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.caches.latent import LatentCache
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws import general
from tinyattn.laws.dtype import laws as dtype_laws
from tinyattn.laws.forms import agrees, slopes_agree
from tinyattn.laws.general import long
from tinyattn.laws.law import Law
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.layers.latent import LatentAttention
from tinyattn.ops.types import Array


def latent(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A problem of latent attention: q_nope, latent and k_rope as q, k and v."""
    heads, rank, rope, value = sizes.heads, sizes.head_dim + 1, int(rng.integers(0, 3)) * 2, sizes.value_dim
    lead = sizes.leading
    options: dict[str, Any] = {"q_rope": rng.standard_normal((*lead, heads, sizes.q_len, rope)),
                               "w_uk": rng.standard_normal((heads, rank, sizes.head_dim)),
                               "w_uv": rng.standard_normal((heads, rank, value)), "causal": True}
    if rng.random() < 0.5:
        options["scale"] = 0.5
    return Problem(rng.standard_normal((*lead, heads, sizes.q_len, sizes.head_dim)), rng.standard_normal((*lead, sizes.kv_len, rank)),
                   rng.standard_normal((*lead, sizes.kv_len, rope)), options).astype(sizes.dtype)


def as_latent(f: Mechanism) -> Mechanism:
    """Returns latent attention as f(q_nope, latent, k_rope, q_rope=, ...)."""
    return lambda q, k, v, *, q_rope, **options: f(q, q_rope, k, v, **options)


def selecting(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Latents that hold the keys and values of kv heads, weights of 0 and 1 that pick each head's, and no rotated part."""
    p = latent(rng, sizes)
    groups, d, e = sizes.kv_heads, sizes.head_dim, sizes.value_dim
    c = rng.standard_normal((*sizes.leading, sizes.kv_len, groups * (d + e))).astype(sizes.dtype)
    w_uk, w_uv = (np.zeros((sizes.heads, groups * (d + e), n), sizes.dtype) for n in (d, e))
    for h in range(sizes.heads):
        at = h // sizes.groups * (d + e)
        w_uk[h, at : at + d], w_uv[h, at + d : at + d + e] = np.eye(d), np.eye(e)
    return p.but(k=c, v=p.v[..., :0], q_rope=p.options["q_rope"][..., :0], w_uk=w_uk, w_uv=w_uv)


def picked(q: Array, k: Array, v: Array, *, q_rope: Array, w_uk: Array, w_uv: Array, **options: Any) -> Any:
    """Grouped-query attention on the keys and values that stand in the latents."""
    d, e = w_uk.shape[-1], w_uv.shape[-1]
    parts = np.moveaxis(k.reshape(*k.shape[:-1], -1, d + e), -2, -3)
    return definitions.grouped_query_attention(q, parts[..., :d], parts[..., d:], **options)


def through_the_cache(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """All tokens in pieces, through a LatentCache."""
    cache, outs, at = LatentCache(), [], 0
    for n in (1, 2, 0, 3, p.k.shape[-2]):
        some = p.tokens(slice(at, min(at + n, p.k.shape[-2])))
        options = {name: x for name, x in some.options.items() if name not in ("causal", "q_rope")}
        outs.append(cache.step(np.concatenate((some.q, some.options["q_rope"]), axis=-1), some.k, some.v, **options))
        at = min(at + n, p.k.shape[-2])
    return (np.concatenate(outs, axis=-2),)


def latent_bytes(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int) -> int:
    """Returns the bytes of latents as wide as kv_heads heads' keys and values, and of half a head's rotated channels."""
    return length * (kv_heads * (head_dim + value_dim) + head_dim // 2) * itemsize


ABSORBED = as_latent(definitions.latent_attention_absorbed)
ROWS = (
    Row("latent_attention_expanded", "All heads' keys and values are read out of one small vector a token.",
        definitions.latent_attention_expanded, (Paper("DeepSeek-AI", 2024, "2405.04434"),), "exact",
        "heads i j (n + p + e) + heads j r (n + e)",
        latent,
        (agrees("latent_attention_absorbed", ABSORBED, draw=latent,
                says="Absorbed is expanded: the latent may be the only key and value."),
         slopes_agree("latent_attention_absorbed", ABSORBED, draw=latent),
         agrees("grouped_query_attention", picked, draw=selecting, to="grouped_query_attention",
                says="Weights that pick make it grouped-query attention on what stands in the latents."),
         Law("cached_is_full", "Decoding through the cache, in any pieces, gives what one call over all tokens gives.", long(latent),
             plain,
             through_the_cache),
         general.causal(latent), *dtype_laws(latent)),
        (BadInput({"w_uk": np.ones((1, 1, 1))}, ValueError, ("w_uk", "(1, 1, 1)")),
         BadInput({"w_uv": np.ones(3)}, ValueError, ("w_uv", "(3,)"))),
        aliases=("mla", "latent attention", "multi-head latent attention", "deepseek attention"), called=as_latent,
        forms={"absorbed": definitions.latent_attention_absorbed}, layer=LatentAttention.create,
        mixer=ABSORBED, cache=LatentCache, cache_bytes=latent_bytes, cache_formula="length (r + p) itemsize"),
)
