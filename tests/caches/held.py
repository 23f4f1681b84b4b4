"""The caches of the catalog, filled with drawn tokens, and every byte that one holds."""

import numpy as np

from tinyattn.caches.paged import PagedCache
from tinyattn.catalog.caches import ROWS

# The options that belong to keys, and are stored with them; all others belong to queries.
STORED = {"log_forget", "k_index"}
WRITERS = [row for row in ROWS if row.name != "SharedCache"]
NAMES = [row.name for row in WRITERS]


def arrays(row, n, seed=0, dtype=np.float64):
    """Returns q, k, v of two rows and n tokens as a row's cache takes them, and its options."""
    rng = np.random.default_rng(seed)
    if row.name == "LatentCache":
        weights = {"w_uk": rng.standard_normal((4, 6, 2)), "w_uv": rng.standard_normal((4, 6, 5))}
        return [rng.standard_normal(shape).astype(dtype) for shape in ((2, 4, n, 4), (2, n, 6), (2, n, 2))], weights
    if row.name == "FactorCache":  # ranks of 3 and 2, and head factors before channels
        return [rng.standard_normal(shape).astype(dtype) for shape in ((2, 3, n, 4 + 4), (2, 2, n, 2 + 4), (2, 2, n, 2 + 3))], {"heads": 4, "kv_heads": 2}
    drawn = [rng.standard_normal(shape).astype(dtype) for shape in ((2, 4, n, 4), (2, 2, n, 4), (2, 2, n, 3))]
    if row.name == "TokenCache":
        return drawn, {"log_forget": -rng.random((2, 4, n)).astype(dtype)}
    if row.name.startswith("TokenCache"):
        index = {"q_index": (2, 3, n, 5), "k_index": (2, n, 5), "weights": (2, 3, n)}
        return drawn, {name: rng.standard_normal(shape).astype(dtype) for name, shape in index.items()} | {"keep": 3}
    return drawn, {}


def stored(options):
    """Returns the options that are appended with keys and values."""
    return {name: option for name, option in options.items() if name in STORED}


def asked(options):
    """Returns the options that are given with a query alone."""
    return {name: option for name, option in options.items() if name not in STORED}


def filled(row, n=7):
    (q, k, v), options = arrays(row, n)
    cache = row.made()
    if row.name != "CrossCache":
        cache.step(q, k, v, **options)
    return cache


def digest(cache):
    """Returns every byte that a cache holds, and for one of a pool the books of the pool."""
    held = [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in cache._saved().items()]
    if isinstance(cache, PagedCache):
        book = cache.pool._book
        assert sorted(book.free) == np.flatnonzero(book.references == 0).tolist()
        held.append((book.references.tobytes(), book.free.tobytes()))
    return cache.length, held


def write(row, cache, n=3, seed=1):
    """Adds n tokens by the act that a cache has for it."""
    (q, k, v), options = arrays(row, n, seed)
    if row.name.startswith("EvictingCache"):
        cache.step(q, k, v, **options)
    else:
        cache.append(k, v, **stored(options))
