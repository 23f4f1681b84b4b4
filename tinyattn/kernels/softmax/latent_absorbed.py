"""Latent attention in which one head of latent vectors is the keys and values of all query heads."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.softmax.latent_expanded import of_all_heads
from tinyattn.kernels.softmax.some_heads import Form, long, options_of, some_heads
from tinyattn.kernels.steps.product import fits, project
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.ops.arguments import LATENT_AXES, LATENT_SHARED, check_latent_weights
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes(LATENT_AXES, shared=LATENT_SHARED)
def latent_attention_absorbed(q_nope: Array, q_rope: Array, latent: Array, k_rope: Array, *, w_uk: Array, w_uv: Array,
                              mask: Array | Pattern | None = None, causal: bool = False, window: Window | None = None,
                              scale: float | None = None) -> Array:
    """Returns `latent_attention_expanded` with the expansion moved to queries and outputs; compiled.

    Formula: out_h = attention([q_nope_h W_uk_h^T ; q_rope_h], [c ; k_rope], c) W_uv_h: one key head for all query heads.

    Shapes, options and errors are those of `tinyattn.definitions.latent_attention_absorbed`.

    Paper: DeepSeek-AI 2024, arXiv:2405.04434.

    >>> q, c = np.zeros((1, 1, 2)), np.array([[1.0], [3.0]])
    >>> latent_attention_absorbed(q, q, c, np.zeros((2, 2)), w_uk=np.ones((1, 1, 2)), w_uv=np.ones((1, 1, 1)))
    array([[[2.]]])
    """
    w_uk, w_uv, scale = check_latent_weights(q_nope, q_rope, latent, w_uk, w_uv, scale)
    arrays = q_nope, q_rope, latent, k_rope, w_uk, w_uv
    if long(q_nope.size, mask):
        full = (*q_nope.shape[:-1], latent.shape[-2])
        return some_heads(*arrays, ABSORBED, options_of(full, 0, mask, causal, window, scale), q_nope.size)
    read = attention(*absorbed(*arrays), mask=mask, causal=causal, window=window, scale=scale)
    return expanded_out(read, *arrays)


def absorbed(q_nope: Array, q_rope: Array, latent: Array, k_rope: Array, w_uk: Array, _w_uv: Array) -> tuple[Array, Array, Array]:
    """Returns the queries of the heads that the weights are of, and the one head of keys and values."""
    return np.concatenate((by_each_head(q_nope, w_uk.mT), q_rope), axis=-1), np.concatenate((latent, k_rope), axis=-1), latent


def by_each_head(x: Array, weights: Array) -> Array:
    """Returns x (..., heads, i, n) times the weights (heads, n, m) of its head; without NumPy's product, as `of_all_heads` says."""
    heads = len(weights)
    if not heads or not fits(x, weights[0]) or x.shape[-2] % ROWS:
        return x @ weights
    parts = [project(one, weight.reshape(weight.shape[1:]))[0]
             for one, weight in zip(np.split(x, heads, axis=-3), np.split(weights, heads), strict=True)]
    return np.concatenate(parts, axis=-3)


def expanded_out(read: Array, _q_nope: Array, _q_rope: Array, _latent: Array, _k_rope: Array, _w_uk: Array, w_uv: Array) -> Array:
    """Returns the results from what the heads read."""
    return by_each_head(read, w_uv)


def with_expanded_values(*arrays: Array) -> tuple[Array, Array, Array]:
    """Returns the same queries and keys, and the values of each head: the results are their means, as they are not of the latents.

    So what the heads read, twice the size of the results or more, is not kept.
    """
    queries, keys, latent = absorbed(*arrays)
    values, = of_all_heads(latent, arrays[-1])
    return queries, np.broadcast_to(keys, (*values.shape[:-1], keys.shape[-1])), values


ABSORBED = Form(absorbed, (-3, -3, None, None, -3, -3), with_expanded_values, expanded_out)
