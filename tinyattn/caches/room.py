"""Room for a text, checked for all caches of a model together, since some take their pages from one pool."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinyattn.caches.paged import PagedCache, PagePool


def check_room(wanted: Iterable[tuple[Any, int]], *, beams: int = 1, shared: int = 0) -> None:
    """Raises ValueError unless every cache has room for its total number of tokens, and every pool for all its sequences.

    `wanted` gives each cache with the number of tokens that it will hold, in `beams` rows whose first `shared` tokens are the same.

    >>> pool = PagePool(4, 2)
    >>> check_room([(pool.sequence(), 4), (pool.sequence(), 4)])
    >>> check_room([(pool.sequence(), 4), (pool.sequence(), 6)])
    Traceback (most recent call last):
        ...
    ValueError: tokens: the text and what follows need 5 more pages of a pool in all its caches, got 4 free ones of 4
    """
    pools: dict[int, tuple[PagePool, int]] = {}
    for cache, length in wanted:
        if cache.capacity is not None and length > cache.capacity:
            raise ValueError(f"tokens: the text and what follows need room for {length}, got a {type(cache).__name__} of "
                             f"{cache.capacity}")
        if isinstance(cache, PagedCache):
            size = cache.pool.page_size
            pages = cache._wanted(length) + (beams - 1) * max(0, -(-length // size) - shared // size)
            pools[id(cache.pool)] = cache.pool, pages + pools.get(id(cache.pool), (cache.pool, 0))[1]
    for pool, pages in pools.values():
        if pages > pool.free_pages:
            raise ValueError(f"tokens: the text and what follows need {pages} more pages of a pool in all its caches, got "
                             f"{pool.free_pages} free ones of {pool.pages}")
