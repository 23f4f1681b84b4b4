"""What a cache is asked with and cannot take is refused by the name of the argument, and leaves every byte as it was."""

from functools import partial

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import (
    BatchCache,
    CrossCache,
    EvictingCache,
    FixedCache,
    GrowingCache,
    HeavyHitters,
    LatentCache,
    PagePool,
    QuantizedCache,
    RingCache,
    SharedCache,
    SnapKV,
    StateCache,
)
from tinyattn.engine import Tensor
from tinyattn.ops.files import safetensors

RNG = np.random.default_rng
Q, K, V = (RNG(i).standard_normal(shape) for i, shape in enumerate(((2, 4, 5, 4), (2, 2, 5, 4), (2, 2, 5, 3))))
WEIGHTS = {"w_uk": RNG(3).standard_normal((4, 4, 2)), "w_uv": RNG(4).standard_normal((4, 4, 3))}
MAKES = {
    "growing": GrowingCache, "fixed": partial(FixedCache, 16), "ring": partial(RingCache, 8, slack=2),
    "first and last": partial(RingCache, 3, keep_first=1), "in codes": partial(QuantizedCache, group=2, residual=1),
    "paged": lambda: PagePool(32, 2).sequence(), "evicting": partial(EvictingCache, HeavyHitters(4, 8)), "state": StateCache,
    "batch": BatchCache, "cross": CrossCache, "shared": lambda: SharedCache(GrowingCache()), "latent": LatentCache,
}


def filled(name):
    """A cache of five tokens, the arrays of the next step, and the options that it needs."""
    cache, options = MAKES[name](), {}
    arrays = [Q, K, V]
    if name == "latent":
        arrays, options = [RNG(5).standard_normal((2, 4, 5, 2 + 3)), K[:, 0], V[:, 0]], WEIGHTS
    if name == "shared":
        cache.source.append(K, V)
        return cache, [Q], {}
    cache.step(*arrays, **options)
    return cache, [x[..., :2, :] for x in (arrays[:1] if name == "cross" else arrays)], options


def digest(cache):
    held = cache.source if isinstance(cache, SharedCache) else cache
    return held.length, {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in held._saved().items()}


UNKNOWN = [({"causal": True}, "causal is set by the cache itself"), ({"casual": True}, "unexpected option 'casual'"),
           ({"windows": (1, 0)}, "unexpected option 'windows'"), ({"initial_state": None}, "initial_state"), ({"dropout": 0.1}, "'dropout'")]


@pytest.mark.parametrize(("given", "words"), UNKNOWN, ids=[next(iter(given)) for given, _ in UNKNOWN])
@pytest.mark.parametrize("method", ["step", "attend"])
@pytest.mark.parametrize("name", MAKES)
def test_an_option_that_there_is_not_is_refused_by_the_public_name(name, method, given, words):
    cache, arrays, options = filled(name)
    before = digest(cache)
    if "causal" in given and name == "cross":
        words = "unexpected option 'causal'|causal is set"
    with pytest.raises(TypeError, match=f"^{method}: .*({words})"):
        getattr(cache, method)(*(arrays if method == "step" else [arrays[0][..., :1, :]]), **options, **given)
    assert digest(cache) == before


def test_a_name_that_is_near_is_suggested_and_otherwise_all_are_listed():
    cache = GrowingCache()
    with pytest.raises(TypeError, match="^step: unexpected option 'softcaps'; did you mean softcap?"):
        cache.step(Q, K, V, softcaps=1.0)
    with pytest.raises(TypeError, match="this cache takes bias, mask, scale, "):
        cache.step(Q, K, V, zzz=1.0)


@pytest.mark.parametrize(("name", "missing"), [("latent", "w_uk, w_uv"), ("gated", "beta, log_decay")])
def test_what_a_mechanism_needs_is_named_when_it_is_missing(name, missing):
    cache = LatentCache() if name == "latent" else StateCache(definitions.gated_delta_rule_chunked)
    arrays = (Q, K[:, 0], V[:, 0]) if name == "latent" else (Q, K, V)
    with pytest.raises(TypeError, match=f"^step: {missing}: missing"):
        cache.step(*arrays)
    assert cache.length == 0


@pytest.mark.parametrize(("wrong", "error", "words"), [
    (lambda q: q.tolist(), TypeError, "q: expected an array"), (lambda q: Tensor(q), TypeError, "q: expected an array|q: "),
    (lambda q: q.astype(np.float32), TypeError, "q: expected the dtype of the"), (lambda q: q.astype(int), TypeError, "q: expected a float"),
    (lambda q: q.astype(complex), TypeError, "q: expected a float"), (lambda q: q[..., :-1], ValueError, "q: expected|w_uk, v: expected"),
    (lambda q: q[:1], ValueError, "q: expected"), (lambda q: q[0], ValueError, "q: expected"), (lambda q: q[None], ValueError, "q: expected"),
    (lambda q: q[:, :3], ValueError, "q: expected|w_uk: expected"), (lambda q: np.ma.array(q), TypeError, "q: expected a plain array"),
    (lambda q: None, TypeError, "q: expected an array"), (lambda q: q[0, 0, 0], TypeError, "q: expected an array"),
])
@pytest.mark.parametrize("method", ["step", "attend"])
@pytest.mark.parametrize("name", MAKES)
def test_queries_that_do_not_fit_are_refused_by_name(name, method, wrong, error, words):
    cache, arrays, options = filled(name)
    before = digest(cache)
    q = wrong(arrays[0] if method == "step" else arrays[0][..., :1, :])
    with pytest.raises(error, match=f"^({words})"):
        getattr(cache, method)(q, *(arrays[1:] if method == "step" else []), **options)
    assert digest(cache) == before


@pytest.mark.parametrize(("count", "error"), [(-1, ValueError), (1.0, TypeError), (True, TypeError), ("2", TypeError), (None, TypeError), (2 ** 63, ValueError)])
@pytest.mark.parametrize("name", [name for name in MAKES if name != "shared"])
def test_counts_are_checked(name, count, error):
    cache, _, _ = filled(name)
    before = digest(cache)
    with pytest.raises(error, match="^count: "):
        cache.positions(count)
    with pytest.raises(error, match="^length: "):
        cache.truncate(count)
    assert digest(cache) == before


@pytest.mark.parametrize(("gate", "error", "words"), [
    ([0.0], TypeError, "expected a float"), (np.zeros((2, 2, 2), int), TypeError, "expected a float"), (np.zeros((2, 2, 3)), ValueError, "2 tokens"),
    (np.zeros((2, 2, 2, 1, 1)), ValueError, "2 tokens"), (np.full((2, 2, 2), np.nan), ValueError, "NaN"), (np.ones((2, 2, 2)), ValueError, "at most 0"),
])
@pytest.mark.parametrize("method", ["step", "append"])
def test_gates_that_do_not_fit_are_refused_by_name(method, gate, error, words):
    cache = StateCache(definitions.simple_gated_linear_attention_chunked, slack=3)
    cache.append(K, V, log_decay=np.zeros((2, 2, 5)))
    before, arrays = digest(cache), [x[..., :2, :] for x in (Q, K, V)]
    with pytest.raises(error, match=f"^log_decay: .*{words}"):
        getattr(cache, method)(*arrays[method == "append" :], log_decay=gate)
    assert digest(cache) == before


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda n: FixedCache(n), None, "capacity"), (lambda n: RingCache(n), None, "window"), (lambda n: RingCache(4, keep_first=n), None, "keep_first"),
    (lambda n: RingCache(4, slack=n), None, "slack"), (lambda n: QuantizedCache(group=n), None, "group"), (lambda n: QuantizedCache(residual=n), None, "residual"),
    (lambda n: PagePool(n, 2), None, "pages"), (lambda n: PagePool(2, n), None, "page_size"), (lambda n: StateCache(slack=n), None, "slack"),
    (lambda n: HeavyHitters(n, 1), None, "heavy"), (lambda n: HeavyHitters(1, n), None, "recent"), (lambda n: SnapKV(n, 1), None, "budget"),
    (lambda n: SnapKV(9, n), None, "window"), (lambda n: SnapKV(9, 1, n), None, "kernel"), (lambda n: QuantizedCache(bits=n), ValueError, "bits"),
])
@pytest.mark.parametrize("number", [True, 2.0, float("nan"), -1, 2 ** 62 + 1, "3", None])
def test_numbers_that_a_cache_is_made_with_are_checked(make, error, words, number):
    kind = error or (ValueError if type(number) is int else TypeError)
    with pytest.raises(kind, match=rf"^{words}"):
        make(number)


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: GrowingCache(5), TypeError, "mechanism: expected a function"), (lambda: StateCache("linear"), TypeError, "mechanism: expected a function"),
    (lambda: GrowingCache(definitions.delta_rule), TypeError, "mechanism: expected a function with the option causal, which a GrowingCache sets; delta_rule_recurrent has"),
    (lambda: StateCache(definitions.attention), TypeError, "mechanism: expected a function with the options initial_state and return_state, which a StateCache"),
    (lambda: RingCache(2, rotate=1.0), TypeError, "rotate: expected a function"), (lambda: EvictingCache(None), TypeError, "policy: expected a policy"),
    (lambda: BatchCache(make=GrowingCache()), TypeError, "make: expected a function"), (lambda: BatchCache([1.0]), TypeError, "lengths: expected integers"),
    (lambda: BatchCache([-1]), ValueError, "lengths: expected 0 or more"), (lambda: BatchCache([[1]]), ValueError, "lengths: expected as many"),
    (lambda: BatchCache(np.array(3)), ValueError, "lengths: expected"), (lambda: SharedCache(None), TypeError, "source: expected the cache"),
    (lambda: SharedCache(GrowingCache), TypeError, "source: expected the cache of another layer, got the class GrowingCache"),
    (lambda: GrowingCache().attend(np.ones((1, 1, 1))), ValueError, "attend: this cache is empty"),
    (lambda: BatchCache.of([GrowingCache()], [1, 2]), ValueError, "lengths: expected 1"), (lambda: BatchCache.of(3), TypeError, "rows: expected a list"),
    (lambda: PagePool(2, 2).sequence([1], scope=None), TypeError, "scope: expected a str"), (lambda: PagePool(2, 2).sequence([0.5]), TypeError, "tokens: expected"),
    (lambda: type(PagePool(2, 2).sequence())(None), TypeError, "pool: expected a PagePool"),
    (lambda: GrowingCache.load(None), TypeError, "path: expected"), (lambda: GrowingCache().save(3), TypeError, "path: expected"),
])
def test_what_a_cache_is_made_with_is_checked(make, error, words):
    with pytest.raises(error, match=f"^{words}"):
        make()


@pytest.mark.parametrize(("extra", "words"), [({"colour": "3"}, "colour: a FixedCache has no such setting"), ({"capacity": "0"}, "capacity: expected 1 or more"),
                                              ({"bfloat16": "nothing"}, "expected an array nothing"), ({"capacity": "many"}, "expected a whole number")])
def test_settings_in_a_file_that_there_are_not_are_refused(tmp_path, extra, words):
    cache = FixedCache(8)
    cache.append(K, V)
    safetensors.save(tmp_path / "x", cache._saved(), metadata={"cache": "FixedCache", "capacity": "8"} | extra)
    with pytest.raises(ValueError, match=words):
        FixedCache.load(tmp_path / "x")


def test_a_bound_decay_does_not_fade_what_is_asked():
    decay = np.log([0.9, 0.5])

    def closed(q, k, v, **options):
        return definitions.retention_chunked(q, k, v, log_decay=decay, **options)

    want = StateCache(definitions.retention_chunked)
    last = want.step(Q, K, V, log_decay=decay)[..., -1:, :]
    for mechanism in (partial(definitions.retention_chunked, log_decay=decay), closed):
        cache = StateCache(mechanism)
        np.testing.assert_allclose(cache.step(Q, K, V)[..., -1:, :], last, rtol=1e-12)
        before = digest(cache)
        np.testing.assert_allclose(cache.attend(Q[..., -1:, :]), last, rtol=1e-12)
        assert digest(cache) == before
    gone = StateCache(partial(definitions.retention_chunked, log_decay=np.full(2, -1000.0)))
    gone.step(Q, K, V)
    with pytest.raises(ValueError, match="attend: the mechanism itself clears the state"):
        gone.attend(Q[..., -1:, :])
