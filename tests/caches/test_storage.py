"""float16 and bfloat16 are storage in every cache: kept as they came, computed in float32, answered as they came."""

import ml_dtypes
import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import BatchCache, GrowingCache, LatentCache, PagePool, QuantizedCache, SharedCache, StateCache
from tinyattn.catalog.caches import ROWS

HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
EPS = {dtype.name: float(ml_dtypes.finfo(dtype).eps) for dtype in HALVES}
NAMES = [dtype.name for dtype in HALVES]
WRITERS = [row for row in ROWS if row.name != "SharedCache"]


def made(row):
    return BatchCache([7, 7]) if row.name == "BatchCache" else row.made()


def drawn(row, n, dtype, seed=0, value_dim=16):
    """q, k, v and options of two rows, every number one that the dtype can hold, in this dtype and in float32."""
    rng, options = np.random.default_rng(seed), {}
    sizes = (2, 4, n, 16), (2, 2, n, 16), (2, 2, n, value_dim)
    if row.name == "LatentCache":
        sizes = (2, 4, n, 6), (2, n, 8), (2, n, 2)
        options = {"w_uk": rng.standard_normal((4, 8, 4)), "w_uv": rng.standard_normal((4, 8, 5))}
    elif row.name == "FactorCache":
        sizes, options = ((2, 3, n, 4 + 16), (2, 2, n, 2 + 16), (2, 2, n, 2 + value_dim)), {"heads": 4, "kv_heads": 2}
    elif row.name == "TokenCache":
        options = {"log_forget": -rng.random((2, 4, n))}
    elif row.name.startswith("TokenCache"):
        options = {"q_index": rng.standard_normal((2, 3, n, 5)), "k_index": rng.standard_normal((2, n, 5)), "weights": rng.standard_normal((2, 3, n)),
                   "keep": 3}
    halves = [rng.standard_normal(size).astype(dtype) for size in sizes]

    def each(kind):
        return {name: option.astype(dtype).astype(kind) if isinstance(option, np.ndarray) else option for name, option in options.items()}

    return (halves, each(dtype)), ([x.astype(np.float32) for x in halves], each(np.float32))


@pytest.mark.parametrize("dtype", HALVES, ids=NAMES)
@pytest.mark.parametrize("row", WRITERS, ids=[row.name for row in WRITERS])
def test_a_cache_of_halves_is_that_of_their_float32_numbers(row, dtype, tmp_path):
    (halves, options), (singles, wide) = drawn(row, 7, dtype)
    mine, other = made(row), made(row)
    more, fine = drawn(row, 2, dtype, seed=1)
    pairs = [(mine.step(*halves, **options), other.step(*singles, **wide))]
    pairs.append(tuple(cache.step(arrays[0]) if row.name == "CrossCache" else cache.step(*arrays, **given)
                       for cache, (arrays, given) in ((mine, more), (other, fine))))
    for (out, want), q in zip(pairs, (singles[0], fine[0][0]), strict=True):
        assert out.dtype == dtype
        bound = 0.0
        if row.name == "RingCache, re-based":  # its keys are turned before they are stored, and rounded again with half an eps
            wrong = 0.25 * np.abs(q).sum(axis=-1).max() * np.abs(singles[1]).max() * 1.5 * EPS[dtype.name]
            bound = (np.exp(2 * wrong) - 1) * np.abs(singles[2]).max() + EPS[dtype.name]
        np.testing.assert_allclose(out.astype(float), want.astype(dtype).astype(float), rtol=0, atol=bound)
    assert mine.nbytes < other.nbytes or row.name == "StateCache"


@pytest.mark.parametrize("dtype", HALVES, ids=NAMES)
@pytest.mark.parametrize("row", [row for row in WRITERS if row.name not in ("StateCache", "BatchCache")], ids=lambda row: row.name)
def test_what_is_shown_is_what_came(row, dtype):
    (halves, options), _ = drawn(row, 7, dtype)
    cache = made(row)
    cache.step(*halves, **options)
    keys, values, positions = cache.view()
    assert (keys.dtype, values.dtype) == (dtype, dtype)
    if row.kind == "exact" and not row.name.startswith(("Ring", "Latent")):
        np.testing.assert_array_equal(keys, halves[1])
        np.testing.assert_array_equal(values, halves[2])
    assert positions.shape[-1] == keys.shape[-2]


@pytest.mark.parametrize("dtype", HALVES, ids=NAMES)
@pytest.mark.parametrize("row", [row for row in WRITERS if row.name != "PagedCache"], ids=lambda row: row.name)
def test_a_file_keeps_the_dtype(row, dtype, tmp_path):
    (halves, options), _ = drawn(row, 7, dtype)
    cache = made(row)
    cache.step(*halves, **options)
    cache.save(tmp_path / "cache.safetensors")
    given = {name: row.settings[name] for name in ("policy", "rotate", "mechanism") if name in row.settings}
    again = type(cache).load(tmp_path / "cache.safetensors", **given)
    mine, theirs = cache._saved(), again._saved()
    assert {name: (x.dtype, x.tobytes()) for name, x in mine.items()} == {name: (x.dtype, x.tobytes()) for name, x in theirs.items()}
    (more, options), _ = drawn(row, 2, dtype, seed=1)
    steps = [held.step(more[0]) if row.name == "CrossCache" else held.step(*more, **options) for held in (cache, again)]
    np.testing.assert_array_equal(*steps)


@pytest.mark.parametrize("dtype", HALVES, ids=NAMES)
def test_a_sequence_of_halves_is_read_back_from_a_file(dtype, tmp_path):
    (halves, _), _ = drawn(WRITERS[0], 7, dtype)
    cache = PagePool(8, 4).sequence()
    cache.step(*halves)
    cache.save(tmp_path / "cache.safetensors")
    again = type(cache).load(tmp_path / "cache.safetensors", pool=PagePool(8, 4))
    np.testing.assert_array_equal(again.view()[0], halves[1])
    assert again.view()[1].dtype == dtype


@pytest.mark.parametrize("dtype", HALVES, ids=NAMES)
@pytest.mark.parametrize("make", [GrowingCache, lambda: PagePool(64, 4).sequence(), lambda: QuantizedCache(residual=64)])
def test_sums_of_many_halves_are_added_up_in_float32(make, dtype):
    """The mean of 150 values near 300: the sum of them is beyond float16 and loses every digit in bfloat16."""
    x = np.zeros((1, 1, 150, 16), dtype)
    v = (300 + np.arange(150) % 2 * 32).reshape(1, 1, 150, 1).astype(dtype) + np.zeros((1, 1, 150, 16), dtype)
    out = make().step(x[:, :, -1:], x, v)
    np.testing.assert_array_equal(out.astype(float), np.full(out.shape, 316.0))


@pytest.mark.parametrize("dtype", HALVES, ids=NAMES)
@pytest.mark.parametrize("other", [np.float32, *HALVES])
def test_another_dtype_is_refused_by_name_and_changes_nothing(dtype, other):
    (halves, _), _ = drawn(WRITERS[0], 4, dtype)
    wrong = [x.astype(other) for x in halves]
    for cache in (GrowingCache(), PagePool(8, 4).sequence(), StateCache()):
        cache.step(*halves)
        before = {name: x.tobytes() for name, x in cache._saved().items()}
        acts = [lambda c=cache: c.append(*wrong[1:]), lambda c=cache: c.step(wrong[0], *halves[1:]), lambda c=cache: c.attend(wrong[0][..., :1, :])]
        for act, name in zip(acts, ("k: this cache holds", "q: expected the dtype of the keys,", "q: expected the dtype of the keys,"), strict=True):
            if other != dtype:
                with pytest.raises(TypeError, match=f"{name} {dtype.name}, got {np.dtype(other).name}"):
                    act()
        assert {name: x.tobytes() for name, x in cache._saved().items()} == before


@pytest.mark.parametrize("dtype", HALVES, ids=NAMES)
def test_readers_and_masks_read_halves(dtype):
    (halves, _), (singles, _) = drawn(WRITERS[0], 6, dtype)
    mask, bias = np.random.default_rng(1).random((6, 6)) < 0.7, np.random.default_rng(2).standard_normal((4, 6, 6)).astype(dtype)
    sinks = np.array([0.5, -1.0, 2.0, 0.0]).astype(dtype)
    want = definitions.attention(*singles, causal=True, mask=mask, bias=bias.astype(np.float32), sinks=sinks.astype(np.float32)).astype(dtype)
    for cache in (GrowingCache(), PagePool(8, 4).sequence(), QuantizedCache(residual=64)):
        out = cache.step(*halves, mask=mask, bias=bias, sinks=sinks)
        np.testing.assert_allclose(out.astype(float), want.astype(float), rtol=float(ml_dtypes.finfo(dtype).eps))
        np.testing.assert_array_equal(SharedCache(cache).step(halves[0], mask=mask, bias=bias, sinks=sinks), out)


def test_latents_of_halves_are_as_small_as_they_came():
    for dtype in HALVES:
        cache = LatentCache()
        cache.append(np.zeros((1, 3, 8), dtype), np.zeros((1, 3, 2), dtype))
        assert cache.nbytes == 3 * 10 * 2
