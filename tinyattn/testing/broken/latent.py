"""Faults in latent attention: its scale, its rotated part, its two up-projections."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.positions.rotary import rotary
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

ROW = "latent_attention_expanded"


def spread(p: Problem) -> tuple[Any, Any, Any, Any]:
    """Returns every head's keys without positions, its rotated keys, its values, and the default scale."""
    w_uk, w_uv = p.options["w_uk"], p.options["w_uv"]
    keys, values = (p.k[..., None, :, :] @ w for w in (w_uk, w_uv))
    turned = np.broadcast_to(p.v[..., None, :, :], (*keys.shape[:-1], p.v.shape[-1]))
    return keys, turned, values, p.options.get("scale") or (w_uk.shape[-1] + p.v.shape[-1]) ** -0.5


@twin("equals_latent_attention_absorbed", "equals_grouped_query_attention", row=ROW)
def scale_of_the_latent(f: Mechanism, p: Problem) -> Any:
    """The default scale uses the width of absorbed keys, r + p, instead of a head's own, n + p."""
    return (p if p.options.get("scale") else p.but(scale=(p.k.shape[-1] + p.v.shape[-1]) ** -0.5)).call(f)


@twin("equals_latent_attention_absorbed", "cached_is_full", row=ROW)
def content_rotated(f: Mechanism, p: Problem) -> Any:
    """Keys and queries are rotated whole: a rotation between the projections cannot be absorbed."""
    keys, turned, values, scale = spread(p)
    keys, q_nope = (rotary(x, np.arange(p.k.shape[-2] - x.shape[-2], p.k.shape[-2]), dims=x.shape[-1] // 2 * 2) for x in (keys, p.q))
    queries = np.concatenate((q_nope, p.options["q_rope"]), axis=-1)
    return attention(queries, np.concatenate((keys, turned), axis=-1), values, causal=True, scale=scale)


@twin("equals_latent_attention_absorbed", row=ROW)
def parts_in_another_order(f: Mechanism, p: Problem) -> Any:
    """Queries are [content ; rotated] and keys are [rotated ; content]: the widths fit and the scores are wrong."""
    keys, turned, values, scale = spread(p)
    queries = np.concatenate((p.q, p.options["q_rope"]), axis=-1)
    return attention(queries, np.concatenate((turned, keys), axis=-1), values, causal=True, scale=scale)


@twin("equals_grouped_query_attention", "equals_latent_attention_absorbed", row=ROW)
def heads_up_projected_by_another(f: Mechanism, p: Problem) -> Any:
    """Values are stored by head and read by channel: every head uses the next head's projection."""
    return p.but(w_uv=np.roll(p.options["w_uv"], 1, axis=0)).call(f)


@twin("gradients_equal_latent_attention_absorbed", row=ROW)
def absorbed_once_and_for_all(f: Mechanism, p: Problem) -> Any:
    """Both up-projections are multiplied once at loading: training never reaches that of the keys."""
    return p.but(w_uk=stopped(p.options["w_uk"])).call(f)
