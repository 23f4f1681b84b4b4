"""Latent attention for decoding: the projections are applied to queries and outputs, not to every key."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.arguments import LATENT_AXES, LATENT_SHARED, check_latent_weights
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes(LATENT_AXES, shared=LATENT_SHARED)
def latent_attention_absorbed(q_nope: Array, q_rope: Array, latent: Array, k_rope: Array, *, w_uk: Array, w_uv: Array,
                              mask: Array | Pattern | None = None, causal: bool = False, window: Window | None = None,
                              scale: float | None = None) -> Array:
    """Returns `latent_attention_expanded`, with its projections applied to queries and outputs instead of keys and values.

    Formula: s_h = scale ((q_nope_h W_uk_h^T) c^T + q_rope_h k_rope^T), out_h = (softmax(s_h) c) W_uv_h: multi-query
    attention with keys [c ; k_rope] and values c. The keys and values of single heads are never computed.

    Shapes: as `latent_attention_expanded`.

    Raises:
        TypeError, ValueError: as `latent_attention_expanded`.

    Paper: DeepSeek-AI 2024, arXiv:2405.04434.

    >>> q, c = np.zeros((1, 1, 2)), np.array([[1.0], [3.0]])
    >>> latent_attention_absorbed(q, q, c, np.zeros((2, 2)), w_uk=np.ones((1, 1, 2)), w_uv=np.ones((1, 1, 1)))
    array([[[2.]]])
    """
    w_uk, w_uv, scale = check_latent_weights(q_nope, q_rope, latent, w_uk, w_uv, scale)
    queries = np.concatenate((q_nope @ w_uk.mT, q_rope), axis=-1)
    read = attention(queries, np.concatenate((latent, k_rope), axis=-1), latent, mask=mask, causal=causal, window=window,
                     scale=scale)
    return read @ w_uv
