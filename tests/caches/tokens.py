"""Queries, keys and values of random tokens, and caches that hold some."""

import numpy as np

RNG = np.random.default_rng(0)


def drawn(length, batch=2, heads=4, kv_heads=2, head_dim=4, value_dim=5):
    return (RNG.standard_normal((batch, heads, length, head_dim)), RNG.standard_normal((batch, kv_heads, length, head_dim)),
            RNG.standard_normal((batch, kv_heads, length, value_dim)))


def filled(cache, length=5):
    q, k, v = drawn(length)
    cache.append(k, v)
    return cache, (q, k, v)
