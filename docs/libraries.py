"""Stand-ins: what each library's attention means, in NumPy, so that a conversion can be run without the library."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def mean(scores: Array, v: Array) -> tuple[Array, Array]:
    """Returns the softmax mean of v and the log-sum-exp; a row of -inf alone gives 0 and -inf."""
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    exps = np.exp(scores - np.where(np.isfinite(top), top, 0.0))
    total = exps.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return exps @ v / np.where(total == 0, 1.0, total), (np.log(total) + np.where(np.isfinite(top), top, 0.0))[..., 0]


def scores_of(q: Array, k: Array) -> Array:
    """Returns the scaled scores of (..., heads, length, head_dim), key heads repeated next to each other."""
    return q @ np.repeat(k, q.shape[-3] // k.shape[-3], axis=-3).mT * q.shape[-1] ** -0.5


def torch_sdpa(query: Array, key: Array, value: Array, attn_mask: Array | None = None, is_causal: bool = False) -> Array:
    """torch.nn.functional.scaled_dot_product_attention: True takes part, causal from the top left, empty rows 0."""
    scores = scores_of(query, key)
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf)
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    return mean(scores, np.repeat(value, query.shape[-3] // value.shape[-3], axis=-3))[0]


def torch_multihead(query: Array, key: Array, value: Array, attn_mask: Array) -> Array:
    """The core of torch.nn.MultiheadAttention: True is NOT allowed to take part."""
    return torch_sdpa(query, key, value, ~attn_mask)


def jax_attention(query: Array, key: Array, value: Array, *, mask: Array | None = None, is_causal: bool = False,
                  local_window_size: tuple[int, int] | None = None) -> Array:
    """jax.nn.dot_product_attention: (batch, length, heads, width), causal from the top left, hidden is a large negative number."""
    q, k, v = (np.swapaxes(x, -3, -2) for x in (query, key, value))
    scores = scores_of(q, k)
    i, j = np.ogrid[: scores.shape[-2], : scores.shape[-1]]
    seen = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape)
    if is_causal:
        seen = seen & (j <= i)
    if local_window_size is not None:
        seen = seen & (j >= i - local_window_size[0]) & (j <= i + local_window_size[1])
    scores = np.where(seen, scores, -0.7 * np.finfo(scores.dtype).max)
    return np.swapaxes(mean(scores, np.repeat(v, q.shape[-3] // v.shape[-3], axis=-3))[0], -3, -2)


def flash_attn(q: Array, k: Array, v: Array, causal: bool = False, window_size: tuple[int, int] = (-1, -1)) -> tuple[Array, Array]:
    """flash_attn_func: (batch, length, heads, width), from the bottom right, -1 unbounded; an empty row is 0, its lse +inf."""
    q, k, v = (np.swapaxes(x, -3, -2) for x in (q, k, v))
    scores = scores_of(q, k)
    i, j = np.ogrid[: scores.shape[-2], : scores.shape[-1]]
    i = i + scores.shape[-1] - scores.shape[-2]
    left, right = window_size if not causal else (window_size[0], 0)
    seen = ((left < 0) | (j >= i - left)) & ((right < 0) | (j <= i + right))
    out, lse = mean(np.where(seen, scores, -np.inf), np.repeat(v, q.shape[-3] // v.shape[-3], axis=-3))
    return np.swapaxes(out, -3, -2), np.where(np.isinf(lse), np.inf, lse)


def onnx_attention(q: Array, k: Array, v: Array, attn_mask: Array | None = None, is_causal: int = 0, past: int = 0) -> Array:
    """The ONNX operator Attention on keys with `past` cached ones in front: causal is offset by them, else from the top left."""
    scores = scores_of(q, k)
    i, j = np.ogrid[: scores.shape[-2], : scores.shape[-1]]
    seen = np.ones(scores.shape, bool) if attn_mask is None else np.broadcast_to(attn_mask, scores.shape)
    if is_causal:
        seen = seen & (j <= i + past)
    return mean(np.where(seen, scores, -np.inf), np.repeat(v, q.shape[-3] // v.shape[-3], axis=-3))[0]


def mlx_attention(q: Array, k: Array, v: Array, *, scale: float, mask: str | Array | None = None) -> Array:
    """mx.fast.scaled_dot_product_attention: scale has no default, mask="causal" is from the bottom right, True attends."""
    scores = scores_of(q, k) * scale * q.shape[-1] ** 0.5
    if isinstance(mask, str):
        mask = np.tri(*scores.shape[-2:], scores.shape[-1] - scores.shape[-2], dtype=bool)
    return mean(scores if mask is None else np.where(mask, scores, -np.inf), np.repeat(v, q.shape[-3] // v.shape[-3], axis=-3))[0]


def mlx_window(n: int, offset: int, window_size: int) -> Array:
    """mlx_lm's create_causal_mask: window_size keys in all, the query's own among them."""
    queries, keys = np.arange(offset, offset + n)[:, None], np.arange(offset + n)
    return (queries >= keys) & (queries < keys + window_size)


def xformers_attention(query: Array, key: Array, value: Array, attn_bias: Array | None = None) -> Array:
    """The xformers op memory_efficient_attention: (batch, length, groups, heads of a group, width); masks are biases of -inf."""
    q, k, v = (np.moveaxis(x, -4, -2) for x in (query, key, value))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return np.moveaxis(mean(scores if attn_bias is None else scores + attn_bias, v)[0], -2, -4)


def xformers_local(q_len: int, kv_len: int, window_left: int, window_right: int) -> Array:
    """LocalAttentionFromBottomRightMask as a bias: window_left neighbours before, window_right after."""
    i, j = np.ogrid[kv_len - q_len : kv_len, :kv_len]
    return np.where((j >= i - window_left) & (j <= i + window_right), 0.0, -np.inf)


def transformers_eager(query: Array, key: Array, value: Array, attention_mask: Array) -> Array:
    """The eager attention of transformers attention: a float mask of 0 and the most negative number is added."""
    value = np.repeat(value, query.shape[-3] // value.shape[-3], axis=-3)
    return mean(scores_of(query, key) + attention_mask, value)[0]


def transformers_window(q_len: int, kv_len: int, sliding_window: int) -> Array:
    """The causal mask of transformers with sliding_window, as it is added: sliding_window keys in all."""
    i, j = np.ogrid[kv_len - q_len : kv_len, :kv_len]
    return np.where((j <= i) & (j > i - sliding_window), 0.0, np.finfo(np.float64).min)


def flashinfer_lse(q: Array, k: Array) -> Array:
    """FlashInfer's log-sum-exp: in base 2."""
    return mean(scores_of(q, k), np.repeat(k, q.shape[-3] // k.shape[-3], axis=-3))[1] / np.log(2.0)


def rotate_half(x: Array, positions: Array, base: float = 10000.0) -> Array:
    """Llama in transformers, flash-attn, ONNX and MLX by default: channel c turns with channel c + d / 2."""
    angles = positions[:, None] * base ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    cos, sin = np.tile(np.cos(angles), 2), np.tile(np.sin(angles), 2)
    a, b = np.split(x, 2, axis=-1)
    return x * cos + np.concatenate((-b, a), axis=-1) * sin


def rotate_pairs(x: Array, positions: Array, base: float = 10000.0) -> Array:
    """GPT-J, Cohere, DeepSeek, torchtune, MLX with traditional=True: channel 2 c turns with channel 2 c + 1."""
    angles = positions[:, None] * base ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
    return np.stack((turned.real, turned.imag), axis=-1).reshape(x.shape)
