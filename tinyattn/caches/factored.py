"""FactorCache: for tensor product attention, the factors of the keys and values of each token, and no product of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches.checks import check_beside
from tinyattn.caches.growing import GrowingCache
from tinyattn.ops.checks import whole
from tinyattn.ops.factors import Factors
from tinyattn.ops.types import Array


def packed(q: Array, k: Array, v: Array, *, heads: int, kv_heads: int, causal: bool = True, **options: Any) -> Array:
    """Returns tensor product attention of arrays (..., rank, length, heads + d), each the head factors before the channel factors.

    Options and errors are those of `tensor_product_attention`.

    >>> packed(*[np.ones((2, 3, 4 + 8))] * 3, heads=4, kv_heads=4).shape
    (4, 3, 8)
    """
    heads, kv_heads = whole("heads", heads, 1), whole("kv_heads", kv_heads, 1)

    def factors(x: Array, count: int) -> Factors:
        return np.swapaxes(x[..., :count], -2, -3), np.swapaxes(x[..., count:], -2, -3)

    return fastest.tensor_product_attention(factors(q, heads), factors(k, kv_heads), factors(v, kv_heads), causal=causal, **options)


packed.per_token = {}  # type: ignore[attr-defined]  # as `@shapes` declares it: no option has one entry per token


class FactorCache(GrowingCache):
    """Keeps k (..., rank, n, kv_heads + d) and v (..., rank, n, kv_heads + e) of every token, head factors first; exact.

    nbytes = length rank (2 kv_heads + d + e) itemsize, times the leading axes. It does not depend on the number of query heads.
    Queries are (..., q_rank, n, heads + d); the numbers of `heads` and `kv_heads` are given with them.

    >>> cache = FactorCache()
    >>> q, k = np.ones((6, 1, 4 + 8)), np.ones((2, 1, 2 + 8))
    >>> cache.step(q, k, k, heads=4, kv_heads=2).shape, cache.nbytes
    ((4, 1, 8), 320)
    """

    def __init__(self) -> None:
        super().__init__(packed)
        self._names = self._names._replace(needed=frozenset({"heads", "kv_heads"}))

    def _fitting(self, q: Array, k: Array) -> Any:
        return check_beside(q, k, "factors")
