"""+inf in a bias through every cache that takes one is what the definition makes of it, in chunks of any length."""

from functools import partial

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import BatchCache, CrossCache, FixedCache, GrowingCache, PagePool, QuantizedCache, RingCache, SharedCache
from tinyattn.ops import bias as rules
from tinyattn.ops import masks

N = 9
CACHES = {
    "growing": GrowingCache, "fixed": partial(FixedCache, N), "paged": lambda: PagePool(32, 2).sequence(),
    "ring": partial(RingCache, N), "window": partial(RingCache, 4), "first and last": partial(RingCache, 3, keep_first=2),
    "in codes": partial(QuantizedCache, group=2, residual=3),
}
SEEN = {"window": masks.sliding_window(4), "first and last": masks.sliding_window(3) | masks.first(2)}


def drawn(dtype=np.float64):
    # Whole numbers from -1 to 1 in groups that hold both ends are exact in codes of 8 bits up to rounding.
    rng = np.random.default_rng(0)
    return [rng.integers(-1, 2, (1, heads, N, 16)).astype(dtype) for heads in (4, 2, 2)]


def biases():
    rng = np.random.default_rng(1)
    scattered = np.where(rng.random((1, 4, N, N)) < 0.12, np.inf, rng.standard_normal((1, 4, N, N)))
    hidden = np.where(np.arange(N) > np.arange(N)[:, None], np.inf, 0.0)
    column = np.where(np.arange(N) == 2, np.inf, 0.0)
    return {"scattered": scattered, "hidden by causality": hidden, "one key": column, "one key and -inf": column - np.where(np.arange(N) == 5, np.inf, 0.0),
            "two keys": np.where(np.arange(N) % 5 == 0, np.inf, 0.0), "every key": np.full((1, 1), np.inf)}


BIASES = biases()


def steps(cache, q, k, v, bias, cuts, **options):
    """What a cache answers chunk by chunk; a bias array of all queries is cut to the queries and keys that there are."""
    outs = []
    for start, stop in zip((0, *cuts), (*cuts, N), strict=True):
        some = bias
        if isinstance(bias, np.ndarray):
            some = bias[..., start:stop, :] if bias.ndim > 1 and bias.shape[-2] > 1 else bias
            some = some[..., :stop] if some.shape[-1] > 1 else some
        outs.append(cache.step(*(x[..., start:stop, :] for x in (q, k, v)), bias=some, **options))
    return np.concatenate(outs, axis=-2)


@pytest.mark.parametrize("cuts", [(), (4, 5), tuple(range(1, N))], ids=["at once", "in chunks", "one by one"])
@pytest.mark.parametrize("kind", BIASES)
@pytest.mark.parametrize("name", CACHES)
def test_an_infinite_bias_is_that_of_the_definition(name, kind, cuts):
    q, k, v = drawn()
    want = definitions.attention(q, k, v, bias=BIASES[kind], causal=True, mask=SEEN.get(name))
    close = {"rtol": 0.02, "atol": 0.03} if name == "in codes" else {"rtol": 1e-13, "atol": 1e-14}
    np.testing.assert_allclose(steps(CACHES[name](), q, k, v, BIASES[kind], cuts), want, **close)


@pytest.mark.parametrize("name", CACHES)
def test_a_mask_decides_whether_an_infinite_bias_counts(name):
    q, k, v = drawn()
    pattern, bias = masks.Pattern(lambda i, j: (i + j) % 3 != 0), BIASES["two keys"]
    seen = pattern if name not in SEEN else SEEN[name] & pattern
    want = definitions.attention(q, k, v, bias=bias, causal=True, mask=seen)
    close = {"rtol": 0.02, "atol": 0.03} if name == "in codes" else {"rtol": 1e-13, "atol": 1e-14}
    np.testing.assert_allclose(steps(CACHES[name](), q, k, v, bias, (2, 3), mask=pattern), want, **close)


@pytest.mark.parametrize("name", CACHES)
def test_a_rule_with_an_infinite_bias_is_its_array(name):
    q, k, v = drawn()
    rule = rules.relative(np.array([[np.inf] * 4, [0.0] * 4, [1.0] * 4]), lambda distance: np.where(distance == -2, 0, 1 + (distance == 0)))
    want = definitions.attention(q, k, v, bias=rule.dense(N, N), causal=True, mask=SEEN.get(name))
    close = {"rtol": 0.02, "atol": 0.03} if name == "in codes" else {"rtol": 1e-13, "atol": 1e-14}
    np.testing.assert_allclose(steps(CACHES[name](), q, k, v, rule, (4, 5)), want, **close)


def test_readers_memories_and_rows_take_an_infinite_bias_too():
    q, k, v = drawn()
    source = GrowingCache()
    bias = BIASES["scattered"]
    want = definitions.attention(q, k, v, bias=bias, causal=True)
    source.append(k, v)
    np.testing.assert_allclose(SharedCache(source).step(q, bias=bias), want, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(CrossCache().step(q, k, v, bias=bias), definitions.attention(q, k, v, bias=bias), rtol=1e-13, atol=1e-14)
    rule = rules.relative(np.array([[np.inf] * 4, [0.0] * 4]), lambda distance: (distance != -1).astype(int))
    rows = [np.concatenate((x, -x)) for x in (q, k, v)]
    np.testing.assert_allclose(BatchCache().step(*rows, bias=rule), definitions.attention(*rows, bias=rule, causal=True), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("big", [1e39, -1e39])
def test_a_bias_beyond_float32_is_an_infinity_without_a_warning(name, big):
    q, k, v = drawn(np.float32)
    bias = np.where(np.arange(N) == 0, big, 0.0)
    want = definitions.attention(q, k, v, bias=np.where(np.arange(N) == 0, np.sign(big) * np.inf, 0.0), causal=True, mask=SEEN.get(name))
    close = {"rtol": 0.02, "atol": 0.03} if name == "in codes" else {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(steps(CACHES[name](), q, k, v, bias, (4,)), want, **close)


@pytest.mark.parametrize("make", [lambda: PagePool(400, 2).sequence(), lambda: QuantizedCache(group=2, residual=2)])
@pytest.mark.parametrize("at", [[3], [599], [3, 599]])
def test_infinities_in_parts_that_are_read_one_after_the_other_are_judged_together(make, at):
    rng = np.random.default_rng(0)
    q, k, v = (rng.integers(-1, 2, (1, heads, 600, 6)).astype(float) for heads in (2, 1, 1))
    bias = np.zeros(600)
    bias[at] = np.inf
    cache = make()
    cache.append(k, v)
    want = np.full((1, 2, 1, 6), np.nan) if len(at) > 1 else np.repeat(v[:, :, at], 2, axis=1)
    np.testing.assert_allclose(cache.attend(q[:, :, -1:], bias=bias), want, rtol=1e-12, atol=1e-12)
