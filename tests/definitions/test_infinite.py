"""+inf in a bias and in sinks: judged where a query sees it, in every form."""

import numpy as np
import pytest

from tinyattn import caches, definitions, fastest
from tinyattn.engine.grad import grad
from tinyattn.ops import masks, relative

INF, NAN = np.inf, np.nan
K, V = np.zeros((1, 3, 1)), np.array([[[1.0], [2.0], [4.0]]])


def by_weights(q, k, v, **options):
    return definitions.attention_weights(q, k, **options) @ v


FORMS = {"attention": definitions.attention, "with lse": lambda *a, **o: definitions.attention_with_lse(*a, **o)[0], "weights": by_weights,
         "streaming": definitions.streaming_attention, "by one": lambda *a, **o: definitions.streaming_attention(*a, **o, block=1),
         "multi-head": definitions.multi_head_attention, "multi-query": definitions.multi_query_attention,
         "grouped": definitions.grouped_query_attention, "fastest": fastest.attention,
         "top k": lambda *a, **o: definitions.top_k_attention(*a, **o, keep=3),
         "far": lambda *a, **o: definitions.dynamic_contextual_attention(*a, **{"causal": False, **o}, span=9.0, ramp=1.0)}
HIDDEN = np.where(np.arange(3) > np.arange(3)[:, None], INF, 0.0)
CASES = [
    ("hidden by causal", {"bias": HIDDEN, "causal": True}, [1, 1.5, 7 / 3]),
    ("hidden by a window", {"bias": HIDDEN, "window": (None, 0)}, [1, 1.5, 7 / 3]),
    ("hidden by a pattern", {"bias": HIDDEN, "mask": masks.causal()}, [1, 1.5, 7 / 3]),
    ("seen by every row", {"bias": np.array([0.0, INF, 0.0])}, [2, 2, 2]),
    ("one seen, one hidden", {"bias": np.array([INF, 0.0, INF]), "mask": np.array([True, True, False])}, [1, 1, 1]),
    ("two seen", {"bias": np.array([INF, 0.0, INF])}, [NAN, NAN, NAN]),
    ("two, of which the first row sees one", {"bias": np.array([INF, INF, 0.0]), "causal": True}, [1, NAN, NAN]),
    ("one number for all keys", {"bias": np.array([[INF]])}, [NAN, NAN, NAN]),
    ("one number for all keys, of which the first row sees one", {"bias": np.array([[INF]]), "causal": True}, [1, NAN, NAN]),
    ("no axis at all", {"bias": np.array(INF)}, [NAN, NAN, NAN]),
    ("one row", {"bias": np.array([[0.0, 0, 0], [0, 0, INF], [0, 0, 0]])}, [7 / 3, 4, 7 / 3]),
    ("beside -inf", {"bias": np.array([INF, -INF, -INF])}, [1, 1, 1]),
    ("beside a sink, which gets nothing", {"bias": np.array([0.0, INF, 0.0]), "sinks": np.array([50.0])}, [2, 2, 2]),
    ("a hidden one beside a sink", {"bias": HIDDEN, "causal": True, "sinks": np.zeros(1)}, [0.5, 1, 7 / 4]),
    ("the distance 0 of a Bias", {"bias": relative(np.array([[INF], [0.0]]), lambda d: (d != 0).astype(int))}, [1, 2, 4]),
    ("later keys of a Bias", {"bias": relative(np.array([[INF], [0.0]]), lambda d: (d <= 0).astype(int)), "causal": True}, [1, 1.5, 7 / 3]),
    ("both sides of a Bias", {"bias": relative(np.array([[INF], [0.0]]), lambda d: (d == 0).astype(int))}, [NAN, NAN, NAN]),
]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("options", "want"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_only_what_a_query_sees_counts(name, options, want):
    for dtype in (np.float64, np.float32):
        k, v = K.astype(dtype), V.astype(dtype)
        np.testing.assert_allclose(FORMS[name](k, k, v, **options)[0, :, 0], want, rtol=4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("name", FORMS)
def test_what_is_infinite_only_after_the_cast(name):
    k, v = K.astype(np.float32), V.astype(np.float32)
    np.testing.assert_array_equal(FORMS[name](k, k, v, bias=np.array([0.0, 1e39, 0.0]))[0, :, 0], [2, 2, 2])
    np.testing.assert_array_equal(FORMS[name](k, k, v, bias=np.array([0.0, -1e39, -1e39]))[0, :, 0], [1, 1, 1])
    assert np.isnan(FORMS[name](k, k, v, bias=np.array([0.0, 1e39, 1e39]))).all()


@pytest.mark.parametrize("name", FORMS)
def test_gradients_beside_an_infinite_bias(name):
    bias = np.array([0.0, INF, 0.0])
    gradient = grad(lambda t: FORMS[name](t["k"], t["k"], t["v"], bias=bias).sum())({"k": K + 1.0, "v": V})
    np.testing.assert_array_equal(gradient["v"][0, :, 0], [0, 3, 0])
    np.testing.assert_array_equal(gradient["k"], np.zeros_like(K))
    learned = grad(lambda b: FORMS[name](K, K, V, bias=b).sum())(np.array([[0.0, INF, 0.0], [0.0, 0.0, -INF]])[[0, 1, 1]])
    np.testing.assert_allclose(learned, [[0, 0, 0], [-0.25, 0.25, 0], [-0.25, 0.25, 0]], rtol=0, atol=1e-15)


def test_a_row_with_an_infinite_bias_still_merges():
    from tinyattn.ops import merge
    bias = np.array([0.0, INF, 0.0])
    parts = [definitions.attention_with_lse(K, K[:, cut], V[:, cut], bias=bias[cut]) for cut in (slice(0, 2), slice(2, 3))]
    np.testing.assert_array_equal(merge(*parts)[0], definitions.attention(K, K, V, bias=bias))


def pages():
    return caches.PagePool(4, 2).sequence()


@pytest.mark.parametrize("make", [caches.GrowingCache, lambda: caches.RingCache(8), pages, lambda: caches.FixedCache(8)],
                         ids=["growing", "ring", "paged", "fixed"])
def test_a_cache_judges_what_its_queries_see(make):
    for bias, want in ((HIDDEN, [1, 1.5, 7 / 3]), (np.array([0.0, INF, 0.0]), [1, 2, 2]), (np.array([INF, 0.0, INF]), [1, 1, NAN])):
        cache = make()
        np.testing.assert_allclose(cache.step(K, K, V, bias=bias)[0, :, 0], want, rtol=1e-15)


@pytest.mark.parametrize("name", FORMS)
def test_sinks_that_are_infinite(name):
    np.testing.assert_allclose(FORMS[name](K, K, V, sinks=np.array([-INF]))[0, :, 0], [7 / 3] * 3, rtol=1e-15)
    with pytest.raises(ValueError, match=r"sinks: expected numbers below \+inf"):
        FORMS[name](K, K, V, sinks=np.array([INF]))
    single = K.astype(np.float32)
    with pytest.raises(ValueError, match="sinks"):
        FORMS[name](single, single, single, sinks=np.array([1e39]))
    assert np.isnan(FORMS[name](K, K, V, sinks=np.array([NAN]))).all()
