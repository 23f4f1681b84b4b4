"""Every law of every cache holds, every cache has a row, and its bytes are its row's."""

import inspect
from zlib import crc32

import numpy as np
import pytest

from tinyattn import caches
from tinyattn.catalog.caches import ROWS, find
from tinyattn.laws import check
from tinyattn.layers.tensor_product import RANK

CASES = [(row, law) for row in ROWS for law in row.laws]


@pytest.mark.parametrize(("row", "law"), CASES, ids=[f"{row.name}-{law.name}" for row, law in CASES])
def test_a_law_holds(row, law):
    report = check(law, row.mechanism, honest=row.mechanism, rng=np.random.default_rng(crc32(law.name.encode())), examples=2)
    assert report.holds, report.failing


def test_every_cache_has_a_row():
    exported = {item for item in vars(caches).values() if inspect.isclass(item) and item.__name__.endswith("Cache")}
    assert exported - {caches.Cache} == {row.cache for row in ROWS}
    assert len({row.name for row in ROWS}) == len(ROWS)


# What the formulas of a row's bytes take beyond the sizes of keys and values.
MORE = {"TokenCache": {"heads": 4}, "TokenCache, keys of an indexer": {"index_dim": 5}}


def entered(row, n, dtype=np.float64, kv_heads=2, head_dim=4, value_dim=3, seed=0):
    """Returns q, k, v of n tokens as a row's cache takes them, without axes before the heads, and its options."""
    rng, options = np.random.default_rng(seed), {}
    shapes = (4, n, head_dim), (kv_heads, n, head_dim), (kv_heads, n, value_dim)
    if row.name == "LatentCache":
        options = {"w_uk": rng.standard_normal((4, head_dim, 2)), "w_uv": rng.standard_normal((4, head_dim, 5))}
        shapes = (4, n, 2 + value_dim), (n, head_dim), (n, value_dim)
    elif row.name == "FactorCache":
        options = {"heads": 4, "kv_heads": kv_heads}
        shapes = (6, n, 4 + head_dim), (RANK, n, kv_heads + head_dim), (RANK, n, kv_heads + value_dim)
    elif row.name == "TokenCache":
        options = {"log_forget": -rng.random((4, n))}
    elif row.name.startswith("TokenCache"):
        options = {"q_index": rng.standard_normal((3, n, 5)), "k_index": rng.standard_normal((n, 5)), "weights": rng.standard_normal((3, n)), "keep": 2}
    elif row.name == "BatchCache":
        shapes = [(1, *shape) for shape in shapes]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes], {
        name: option.astype(dtype) if isinstance(option, np.ndarray) else option for name, option in options.items()}


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_bytes_are_the_formula(row, dtype):
    cache = row.made()
    source = getattr(cache, "source", None)
    assert cache.nbytes == 0
    for n in range(1, 21):
        (q, k, v), options = entered(row, 1, dtype, seed=n)
        if source is not None:
            source.append(k, v)
        elif row.name in ("CrossCache", "EvictingCache, SnapKV"):  # all that is ever forgotten or kept is so in the first step
            cache = row.made()
            cache.step(*(np.repeat(x, n, axis=-2) for x in (q, k, v)))
        else:
            cache.step(q, k, v, **options)
        assert cache.length == n
        assert cache.nbytes == row.nbytes(n, 2, 4, 3, np.dtype(dtype).itemsize, **row.settings, **MORE.get(row.name, {})), n
        assert cache.allocated >= cache.nbytes
        assert cache.allocated <= 6 * cache.nbytes or row.name == "FixedCache"
    assert cache.exact is (row.kind != "approximate")


def test_a_cache_is_found_by_its_name():
    assert find("PagedCache").papers[0].arxiv == "2309.06180"
    with pytest.raises(ValueError, match="unknown cache 'RingCash'; known: RingCache"):
        find("RingCash")
