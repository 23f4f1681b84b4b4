"""Kernels that are wrong on purpose, each in a way of its own, and some that are right in another dialect."""

import ctypes

import numpy as np

from tinyattn.definitions import attention, retention


def scaled(factor):
    def kernel(q, k, v, causal=False, scale=None):
        return attention(q, k, v, causal=causal, scale=factor * (q.shape[-1] ** -0.5 if scale is None else scale))
    return kernel


def zeros(q, k, v, causal=False):
    return np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)


def last_block_dropped(q, k, v, causal=False):
    kept = k.shape[-2] // 64 * 64 if k.shape[-2] > 64 else k.shape[-2]
    positions = np.arange(q.shape[-2])[:, None] + k.shape[-2] - q.shape[-2]
    mask = (np.arange(k.shape[-2]) < kept) & ((np.arange(k.shape[-2]) <= positions) | (not causal))
    return attention(q, k, v, mask=mask)


def causal_one_late(q, k, v, causal=False):
    positions = np.arange(q.shape[-2])[:, None] + k.shape[-2] - q.shape[-2]
    return attention(q, k, v, mask=(np.arange(k.shape[-2]) <= positions + 1) if causal else None)


def window_one_long(q, k, v, window=None):
    return attention(q, k, v, window=None if window is None else tuple(w if w is None else w + 1 for w in window))


def tiled_heads(q, k, v, causal=False):
    order = np.arange(q.shape[-3]) % k.shape[-3]
    return attention(q, k[..., order, :, :], v[..., order, :, :], causal=causal)


def mask_inverted(q, k, v, mask=None):
    return attention(q, k, v, mask=None if mask is None else ~mask)


def sink_twice(q, k, v, sinks=None):
    return attention(q, k, v, sinks=None if sinks is None else sinks + np.log(2.0).astype(q.dtype))


def softmax_over_queries(q, k, v):
    scores = q @ np.repeat(k, q.shape[-3] // k.shape[-3], axis=-3).mT * q.shape[-1] ** -0.5
    exps = np.exp(scores - scores.max(axis=-2, keepdims=True))
    return exps / exps.sum(axis=-2, keepdims=True) @ np.repeat(v, q.shape[-3] // k.shape[-3], axis=-3)


def swallows_options(q, k, v, causal=False, **options):
    return attention(q, k, v, causal=causal)


def random_numbers(q, k, v, state=np.random.default_rng(0)):
    return attention(q, k, v) * np.float32(1.0 + 1e-3 * state.random())


def changes_its_keys(q, k, v):
    out = attention(q, k, v)
    k += 1.0
    return out


def top_left(q, k, v, causal=False):
    return attention(q, k, v, mask=np.tri(q.shape[-2], k.shape[-2], dtype=bool) if causal else None)


def length_first(q, k, v, causal=False):
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    return attention(q, k, v, causal=causal).swapaxes(1, 2)


def dies_when_causal(q, k, v, causal=False):
    if causal:
        ctypes.string_at(0)
    return attention(q, k, v)


def hot_retention(q, k, v, **options):
    return retention(q, k, v, **options) * np.float32(1.01)


def hangs(q, k, v):
    while True:
        pass


WRONG = {"base 2": scaled(float(np.log2(np.e))), "10 % too hot": scaled(1.1), "0.1 % too hot": scaled(1.001), "zeros": zeros,
         **{f.__name__: f for f in (last_block_dropped, causal_one_late, window_one_long, tiled_heads, mask_inverted, sink_twice,
                                    softmax_over_queries, swallows_options, random_numbers, changes_its_keys)}}
