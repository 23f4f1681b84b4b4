"""Score rules in every cache, with each other option that attention takes: the definition's result, or a refusal that says why."""

import re
from functools import partial

import numpy as np
import pytest

from tinyattn import caches, definitions, fastest
from tinyattn.caches import code_reading
from tinyattn.caches.factored import FactorCache
from tinyattn.caches.latent import LatentCache
from tinyattn.caches.sharded import ShardedCache
from tinyattn.catalog import find
from tinyattn.ops import ScoreRule, alibi, masks
from tinyattn.parallel import threads

RNG = np.random.default_rng
LENGTH, WINDOW, CHUNKS = 11, 4, ((0, 4), (4, 5), (5, 11))


def rule(s, i, j, p):
    """Infinite or NaN where the key is later than the query, and other at every position."""
    return s * (i - j + 1.0) ** -0.5 + 0.1 * np.tanh(s * p) * i - abs(i - j) * p


SCORE = ScoreRule(rule, np.linspace(0.1, 0.4, 4)[:, None, None])
Q, K, V = (RNG(n).standard_normal((2, heads, LENGTH, width)) for n, (heads, width) in enumerate(((4, 32), (2, 32), (2, 16))))
MASK, BIAS = RNG(3).random((2, 4, LENGTH, LENGTH)) < 0.7, RNG(4).standard_normal((2, 4, LENGTH, LENGTH))
BIAS[..., 2] = -np.inf
SINKS = np.linspace(-1.0, 1.0, 4)
OPTIONS = {
    "nothing": {}, "scale": {"scale": 0.3}, "softcap": {"softcap": 1.5}, "sinks": {"sinks": SINKS}, "window": {"window": (3, None)},
    "mask": {"mask": MASK}, "mask of keys": {"mask": MASK[0, 0, :1]}, "pattern": {"mask": masks.strided(3)},
    "pattern of heads": {"mask": masks.per_head([masks.first(2), masks.strided(2)] * 2)}, "bias": {"bias": BIAS},
    "bias of heads": {"bias": BIAS[0, :, :1, :1]}, "ALiBi": {"bias": alibi(np.linspace(0.1, 0.8, 4))},
    "numbers": {"scale": 0.3, "softcap": 1.5, "sinks": SINKS},
    "all": {"mask": MASK, "scale": 0.3, "softcap": 1.5, "sinks": SINKS, "window": (3, None), "bias": BIAS},
}
CACHES = {
    "growing": caches.GrowingCache, "fixed": partial(caches.FixedCache, 16), "tokens": partial(caches.TokenCache, fastest.attention),
    "ring": partial(caches.RingCache, WINDOW, slack=LENGTH), "first and last": partial(caches.RingCache, WINDOW, keep_first=2, slack=LENGTH),
    "paged": lambda: caches.PagePool(16, 4).sequence(), "batch": caches.BatchCache,
    "batch of pages": lambda: caches.BatchCache(make=caches.PagePool(16, 4).sequence),
    "heavy hitters": partial(caches.EvictingCache, caches.HeavyHitters(LENGTH, LENGTH)),
    "SnapKV": partial(caches.EvictingCache, caches.SnapKV(2 * LENGTH, window=3)),
    "in codes": partial(caches.QuantizedCache, group=8, residual=2),
}
# What each cache refuses of the options, and in which words.
OWN = (r"window: this ring's own is 4 tokens, got (3, None)", ("window", "all"))
SQUARES = ("rows of different lengths share no array; give a Pattern or Bias", ("mask", "mask of keys", "bias", "bias of heads", "all"))
WEIGHED = ("an evicting cache takes scale, softcap, sinks, score",
           ("window", "mask", "mask of keys", "pattern", "pattern of heads", "bias", "bias of heads", "ALiBi", "all"))
REFUSED = {"ring": OWN, "first and last": OWN, "batch": SQUARES, "batch of pages": SQUARES, "heavy hitters": WEIGHED, "SnapKV": WEIGHED}
PAIRS = [(name, option) for name in CACHES for option in OPTIONS]
ALLOWED = [(name, option) for name, option in PAIRS if option not in REFUSED.get(name, ("", ()))[1]]


@pytest.fixture(params=["NumPy", "kernels"])
def door(request, monkeypatch):
    """Calls that are far too small for a kernel, and the same calls given to it."""
    if request.param == "kernels":
        monkeypatch.setattr(fastest, "KERNEL_SCORES", 0)
        monkeypatch.setattr(fastest, "DECODE_QUERIES", 0)
        monkeypatch.setattr(code_reading, "FEW", 0)


def cut(options, start, stop):
    """Returns the options of the queries from start to stop, at the time of `stop` tokens."""
    def of(x):
        rows = slice(start, stop) if x.shape[-2] > 1 else slice(None)
        return x[..., rows, :stop] if x.shape[-1] > 1 else x[..., rows, :]

    return {name: of(x) if name in ("mask", "bias") and isinstance(x, np.ndarray) else x for name, x in options.items()}


def wanted(name, option, k=K, v=V):
    """Returns what the definition gives for the tokens that the cache shows."""
    options = OPTIONS[option]
    if name in ("ring", "first and last"):
        shown = masks.sliding_window(WINDOW) | masks.first(2 if name == "first and last" else 0)
        given = options.get("mask", masks.window(None, None))
        options = options | {"mask": shown.dense(LENGTH, LENGTH) & (given if isinstance(given, np.ndarray) else given.dense(LENGTH, LENGTH))}
    return definitions.attention(Q, k, v, causal=True, score=SCORE, **options)


@pytest.mark.parametrize(("name", "option"), ALLOWED)
def test_a_rule_with_each_option_is_the_definition(name, option, door):
    cache, outs = CACHES[name](), []
    for start, stop in CHUNKS:
        outs.append(cache.step(*(x[..., start:stop, :] for x in (Q, K, V)), score=SCORE, **cut(OPTIONS[option], start, stop)))
    asked = cache.attend(Q[..., -2:, :], score=SCORE, **cut(OPTIONS[option], LENGTH - 2, LENGTH))
    if name == "in codes":  # earlier queries saw other codes
        want, outs, asked = wanted(name, option, *cache.view()[:2])[..., -1:, :], [outs[-1][..., -1:, :]], asked[..., -1:, :]
    else:
        want = wanted(name, option)
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), want, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(asked, want[..., -asked.shape[-2] :, :], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("name", "option"), [pair for pair in PAIRS if pair not in ALLOWED])
def test_what_a_cache_does_not_take_beside_a_rule_is_refused(name, option):
    words, options = REFUSED[name][0], OPTIONS[option]
    first = next(name for name in options if name in ("window", "mask", "bias")) + ": " if ": " not in words else ""
    cache = CACHES[name]()
    with pytest.raises(ValueError, match=f"^{re.escape(first + words)}$"):
        cache.step(Q, K, V, score=SCORE, **options)
    assert cache.length == 0


@pytest.mark.parametrize("option", OPTIONS)
def test_readers_of_other_tokens(option, door):
    source, memory, options = caches.GrowingCache(), caches.CrossCache(), OPTIONS[option]
    source.append(K, V)
    np.testing.assert_allclose(caches.SharedCache(source).step(Q, score=SCORE, **options), wanted("growing", option), rtol=1e-10, atol=1e-11)

    def even(s, i, j, p):
        return s * p - 0.1 * (i - j)

    both = definitions.attention(Q, K, V, score=ScoreRule(even, *SCORE.parameters), **options)
    read = memory.step(Q, K, V, score=ScoreRule(even, *SCORE.parameters), **options)
    np.testing.assert_allclose(read, both, rtol=1e-10, atol=1e-11)


def test_a_window_reads_no_page_before_it_and_later_parts_are_others(door):
    paged, coded = caches.PagePool(16, 4).sequence(), caches.QuantizedCache(group=8, residual=2)
    k = K.copy()
    k[..., :4, :] = np.inf
    paged.append(k, np.where(np.isinf(k[..., :16]), np.nan, V))
    coded.append(K, V)
    want = wanted("growing", "window")[..., -4:, :]
    np.testing.assert_allclose(paged.attend(Q[..., -4:, :], score=SCORE, window=(3, None)), want, rtol=1e-10, atol=1e-11)
    for options in ({}, {"score": lambda s, i, j: np.where(j == 3.0, np.inf, s)}, {"score": lambda s, i, j: s - np.inf}):
        got = coded.attend(Q[..., -2:, :], **{"score": SCORE, **options})
        keys, values, _ = coded.view()
        np.testing.assert_allclose(got, definitions.attention(Q[..., -2:, :], keys, values, causal=True, **{"score": SCORE, **options}),
                                   rtol=1e-10, atol=1e-11)


def test_a_rule_gets_the_positions_that_a_ring_rotates_to():
    cache, first = caches.RingCache(WINDOW, keep_first=2, rotate=lambda x, positions: x), np.arange(LENGTH) < 2

    def turned(s, i, j, p):
        return rule(s, np.where(j < 2.0, np.minimum(i, 5.0), i), j, p)

    want = definitions.attention(Q, K, V, causal=True, score=ScoreRule(turned, *SCORE.parameters),
                                 mask=masks.sliding_window(WINDOW).dense(LENGTH, LENGTH) | first)
    outs = [cache.step(*(x[..., start:stop, :] for x in (Q, K, V)), score=SCORE) for start, stop in CHUNKS]
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("policy", [caches.HeavyHitters(3, 2), caches.SnapKV(5, window=2)])
def test_a_rule_gets_the_positions_of_the_tokens_that_were_kept(policy):
    cache = caches.EvictingCache(policy)
    cache.step(*(x[..., :9, :] for x in (Q, K, V)), score=SCORE)
    held = np.repeat(cache.view()[2], 2, axis=1)
    assert held.shape[-1] < 9 and (held != held[:, :1]).any()
    token = slice(9, 10)
    got = cache.step(*(x[..., token, :] for x in (Q, K, V)), score=SCORE, sinks=SINKS)
    shown = (np.arange(10) == held[..., None]).any(axis=-2) | (np.arange(10) == 9)
    want = definitions.attention(Q[..., token, :], K[..., :10, :], V[..., :10, :], mask=shown[..., None, :], score=SCORE, sinks=SINKS)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-11)


ONLY = "only attention, its grouped forms and streaming_attention take a rule"
OPTION = f"step: unexpected option 'score'; {ONLY}"
WEIGHTS = {"w_uk": np.ones((4, 30, 2)), "w_uv": np.ones((4, 30, 5))}
FACTORS = np.ones((2, 3, LENGTH, 4 + 8))
WITHOUT = {
    "state": (OPTION, lambda: caches.StateCache().step(Q, K, V, score=SCORE)),
    "states of rows": (OPTION, lambda: caches.BatchCache(make=caches.StateCache).step(Q, K, V, score=SCORE)),
    "another mechanism": (OPTION, lambda: caches.GrowingCache(fastest.sigmoid_attention).step(Q, K, V, score=SCORE)),
    "latents": (OPTION, lambda: LatentCache().step(Q, K[:, 0, :, :30], K[:, 0, :, :2], score=SCORE, **WEIGHTS)),
    "gates": (f"forgetting_attention: unexpected keyword 'score'; {ONLY}",
              lambda: find("forgetting attention").cache().step(Q, K, V, log_forget=np.zeros((2, 4, LENGTH)), score=SCORE)),
    "factors": (f"tensor_product_attention: unexpected keyword 'score'; {ONLY}",
                lambda: FactorCache().step(FACTORS, FACTORS, FACTORS, heads=4, kv_heads=4, score=SCORE)),
    "ranks": ("tree_attention: unexpected option 'score'; over several ranks it takes mask (a Pattern), causal, window, scale, "
              "softcap and sinks", lambda: threads.run(1, lambda comm: ShardedCache(comm).step(Q, K, V, score=SCORE))),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_caches_without_rules_say_so(name):
    words, call = WITHOUT[name]
    with pytest.raises(TypeError, match=f"^{re.escape(words)}$"):
        call()
