"""Latent attention over the expanded keys and values of every head."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.softmax.some_heads import Form, long, options_of, some_heads
from tinyattn.kernels.steps.product import fits, project
from tinyattn.ops.arguments import LATENT_AXES, LATENT_SHARED, check_latent_weights
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes(LATENT_AXES, shared=LATENT_SHARED)
def latent_attention_expanded(q_nope: Array, q_rope: Array, latent: Array, k_rope: Array, *, w_uk: Array, w_uv: Array,
                              mask: Array | Pattern | None = None, causal: bool = False, window: Window | None = None,
                              scale: float | None = None) -> Array:
    """Returns attention over keys and values that are expanded, head by head, from one latent vector per token; compiled.

    Formula: k_h = [c W_uk_h ; k_rope], v_h = c W_uv_h, q_h = [q_nope_h ; q_rope_h], out_h = attention(q_h, k_h, v_h).

    Shapes, options and errors are those of `tinyattn.definitions.latent_attention_expanded`.

    Paper: DeepSeek-AI 2024, arXiv:2405.04434.

    >>> q, c = np.zeros((1, 1, 2)), np.array([[1.0], [3.0]])
    >>> latent_attention_expanded(q, q, c, np.zeros((2, 2)), w_uk=np.ones((1, 1, 2)), w_uv=np.ones((1, 1, 1)))
    array([[[2.]]])
    """
    w_uk, w_uv, scale = check_latent_weights(q_nope, q_rope, latent, w_uk, w_uv, scale)
    arrays = q_nope, q_rope, latent, k_rope, w_uk, w_uv
    if long(q_nope.size, mask):
        full = (*q_nope.shape[:-1], latent.shape[-2])
        return some_heads(*arrays, EXPANDED, options_of(full, 0, mask, causal, window, scale), q_nope.size)
    return attention(*expanded(*arrays), mask=mask, causal=causal, window=window, scale=scale)


def expanded(q_nope: Array, q_rope: Array, latent: Array, k_rope: Array, w_uk: Array, w_uv: Array) -> tuple[Array, Array, Array]:
    """Returns queries, keys and values of the heads that the queries and weights are of."""
    k_nope, v = of_all_heads(latent, w_uk, w_uv)
    shared = np.broadcast_to(k_rope, (*k_nope.shape[:-1], k_rope.shape[-1]))
    return np.concatenate((q_nope, q_rope), axis=-1), np.concatenate((k_nope, shared), axis=-1), v


EXPANDED = Form(expanded, (-3, -3, None, None, -3, -3), expanded, lambda read, *_: read)


def of_all_heads(latent: Array, *weights: Array) -> list[Array]:
    """Returns latent (..., 1, j, r) times weights (heads, r, n), each as one product with the weights of all heads side by side.

    >>> of_all_heads(np.ones((1, 4, 2)), np.ones((3, 2, 5)))[0].shape
    (3, 4, 5)
    """
    wide = [weight.swapaxes(0, 1).reshape(weight.shape[1], weight.shape[0] * weight.shape[2]) for weight in weights]
    # After a product of NumPy the threads of its BLAS wait for the next one and take the cores from the kernel: measured at 2,048
    # tokens on two busy cores, the whole call took 650 ms with NumPy's products and 270 ms with these.
    made = project(latent, *wide) if fits(latent, *wide) else [latent @ weight for weight in wide]
    return [x.reshape(*x.shape[:-3], x.shape[-2], weight.shape[0], weight.shape[2]).swapaxes(-3, -2)
            for x, weight in zip(made, weights, strict=True)]
