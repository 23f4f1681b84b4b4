"""Masks and rules while decoding: the kernels of pages and codes take them, a rule over plain keys runs in the kernel, NaN reaches nobody."""

from functools import partial

import numpy as np
import pytest

from tests.kernels.peak import peak_of
from tinyattn import caches, definitions, fastest, kernels, vjp
from tinyattn.caches import code_reading, page_reading, parts
from tinyattn.engine import Tensor
from tinyattn.kernels.exact import primitive
from tinyattn.kernels.softmax import dot_product
from tinyattn.ops import ScoreRule, alibi, masks
from tinyattn.ops.score_rule import with_parts

RNG = np.random.default_rng
LENGTH, HEADS, KV_HEADS, DIM = 1100, 4, 2, 32
K, V = (RNG(n).standard_normal((2, KV_HEADS, LENGTH, DIM)) for n in range(2))
Q = RNG(2).standard_normal((2, HEADS, 7, DIM))
SEEN = RNG(3).random((2, HEADS, 7, LENGTH)) < 0.7
SEEN[0, 1, 2] = False  # a query that sees nothing
MASKS = {
    "array": SEEN, "one for all heads": SEEN[:, :1], "keys": SEEN[0, 0, 0], "rows": SEEN[:, :1, :1], "queries": SEEN[0, 0, :, :1],
    "pattern": masks.strided(3), "pattern of heads": masks.per_head([masks.first(2), masks.strided(2)] * 2),
    "pattern of rows": masks.padding(np.array([900, 1100])), "nothing": np.zeros((), bool), "few": masks.first(1),
}
RULE = ScoreRule(lambda s, i, j, p: s * (i - j + 1.0) ** -0.5 - p * abs(i - j), np.linspace(0.0, 0.01, HEADS)[:, None, None])
EVEN = ScoreRule(lambda s, i, j, p: s * np.sqrt(p) - p * abs(i - j), np.linspace(0.1, 0.2, HEADS)[:, None, None])
OTHERS = {"alone": {}, "all": {"scale": 0.3, "softcap": 1.5, "sinks": np.linspace(-1.0, 1.0, HEADS), "window": (900, None),
                               "bias": alibi(np.linspace(0.001, 0.01, HEADS))}, "rule": {"score": RULE}}
CACHES = {"pages": lambda: caches.PagePool(2 * -(-LENGTH // 8), 8).sequence(), "8 bits": caches.QuantizedCache, "4 bits": partial(caches.QuantizedCache, bits=4)}


def refuse(*_, **__):
    raise AssertionError("the kernel was not asked")


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", CACHES)
def test_a_mask_is_read_by_the_kernel(name, mask, others, monkeypatch):
    cache, options = CACHES[name](), {"mask": MASKS[mask], **OTHERS[others]}
    cache.append(K, V)
    keys, values, _ = cache.view()
    want = definitions.attention(Q, keys, values, causal=True, **options)
    for module in (code_reading, page_reading):
        monkeypatch.setattr(module, "attend_parts", refuse)
    monkeypatch.setattr(code_reading, "dequantize", refuse)
    np.testing.assert_allclose(cache.attend(Q, **options), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["pages", "8 bits"])
def test_a_mask_of_another_shape_is_refused(name):
    cache = CACHES[name]()
    cache.append(K, V)
    for mask in (SEEN[..., 1:], SEEN[:, :3], masks.per_head([masks.first(2)] * 3)):
        with pytest.raises(ValueError, match="^mask: "):
            cache.attend(Q, mask=mask)
    with pytest.raises(TypeError, match="^mask: expected a boolean array"):
        cache.attend(Q, mask=SEEN.astype(float))


@pytest.mark.parametrize("bits", [8, 4])
def test_a_mask_on_codes_takes_no_memory_for_their_numbers(bits):
    cache, x = caches.QuantizedCache(bits=bits), RNG(0).standard_normal((1, 4, 8192, 64)).astype(np.float32)
    cache.append(x, x)
    q, mask = x[..., -1:, :], np.arange(8192) % 5 > 0

    def peak(**options):
        cache.attend(q, **options)
        return peak_of(lambda: cache.attend(q, **options))[0]

    assert peak(mask=mask) < peak() + x.nbytes / 16
    assert peak(mask=masks.strided(5)) < x.nbytes / 16


HIDING = {"array": SEEN & (RNG(6).random(LENGTH) < 0.7), "keys": SEEN[0, 0, 0], "pattern": masks.first(1050), "sequences": SEEN[:, :1, :1]}


@pytest.mark.parametrize("mask", HIDING)
def test_what_a_mask_hides_in_pages_reaches_nobody(mask):
    seen = HIDING[mask].dense(7, LENGTH) if mask == "pattern" else HIDING[mask]
    seen = np.broadcast_to(seen, (2, HEADS, 7, LENGTH)) & np.tri(7, LENGTH, LENGTH - 7, dtype=bool)
    used = seen.reshape(2, KV_HEADS, 2, 7, LENGTH).any(axis=(2, 3))
    assert not used.all()
    found = []
    for hidden in (0.0, np.nan, np.inf):
        cache = CACHES["pages"]()
        cache.append(np.where(used[..., None], K, hidden), np.where(used[..., None], V, -hidden))
        found.append([cache.attend(Q, mask=HIDING[mask], **options) for options in ({}, {"window": (700, None)}, {"score": RULE})])
    for zero, nan, inf in zip(*found, strict=True):
        assert zero.tobytes() == nan.tobytes() == inf.tobytes() and np.isfinite(zero).all()


def test_a_pattern_over_rows_of_other_lengths_is_one_of_positions():
    pages = [RNG(n).standard_normal((8, KV_HEADS, 128, DIM)) for n in range(2)]
    tables, lengths = np.arange(8).reshape(2, 4), np.array([300, 500])
    for mask in (masks.strided(3), SEEN[..., :500], SEEN[0, 0, 0, :500]):
        got = page_reading.paged_attention(Q, *pages, tables, lengths, mask=mask)
        for row, length in enumerate(lengths):
            k, v = (x[tables[row]].swapaxes(0, 1).reshape(KV_HEADS, 512, DIM)[:, :length] for x in pages)
            own = mask if isinstance(mask, masks.Pattern) else (mask[row] if mask.ndim > 1 else mask)[..., :length]
            np.testing.assert_allclose(got[row], definitions.attention(Q[row], k, v, mask=own, causal=True), rtol=0, atol=1e-12)


PLAIN = {
    "growing": caches.GrowingCache, "fixed": partial(caches.FixedCache, LENGTH), "ring": partial(caches.RingCache, LENGTH),
    "first and last": partial(caches.RingCache, LENGTH - 50, keep_first=2, slack=LENGTH),
    "rotated": partial(caches.RingCache, LENGTH, rotate=lambda x, positions: x), "batch": caches.BatchCache,
}
MORE = {"alone": {}, "mask": {"mask": masks.strided(3)}, "bias": {"bias": alibi(np.linspace(0.001, 0.01, HEADS)), "softcap": 2.0},
        "sinks": {"sinks": np.linspace(-1.0, 1.0, HEADS), "scale": 0.3}}


@pytest.mark.parametrize("options", MORE)
@pytest.mark.parametrize("name", PLAIN)
def test_a_rule_over_plain_keys_runs_in_the_kernel_of_decoding(name, options, monkeypatch):
    monkeypatch.setattr(fastest, "DECODE_SCORES", 0)
    monkeypatch.setattr(dot_product, "by_lines", refuse)
    cache, queries = PLAIN[name](), Q[..., :2, :]
    cache.append(K, V)
    shown = masks.window(None, None) if name != "first and last" else masks.sliding_window(LENGTH - 50) | masks.first(2)
    given = MORE[options]
    want = definitions.attention(queries, K, V, causal=True, score=RULE, **{**given, "mask": shown & given.get("mask", masks.window(None, None))})
    np.testing.assert_allclose(cache.attend(queries, score=RULE, **given), want, rtol=0, atol=1e-12)


CALLS = {"nothing": {}, "causal": {"causal": True}, "window": {"window": (140, 3)}, "left": {"window": (40, 0), "causal": True},
         "mask": {"mask": SEEN[:, :, :2]}, "bias": {"bias": RNG(5).standard_normal((2, 1, 2, LENGTH)), "window": (90, None)},
         "distance": {"bias": alibi(np.linspace(0.001, 0.01, HEADS)), "window": (None, 0)}, "sinks": {"sinks": np.linspace(-1.0, 1.0, HEADS)},
         "pattern": {"mask": masks.per_head([masks.first(2), masks.first(900)] * 2), "causal": True}}


@pytest.mark.parametrize("name", CALLS)
def test_few_queries_with_a_rule_are_the_definition_and_their_gradients_those_of_it(name, monkeypatch):
    options, queries = CALLS[name], Q[..., :2, :]
    want = definitions.attention_with_lse(queries, K, V, score=EVEN, **options)
    outs = []
    for door in (definitions, kernels):
        out, pull = vjp(lambda q, door=door: door.attention(q, K, V, score=EVEN, **options), queries)
        outs.append(pull(np.cos(out)))
    np.testing.assert_allclose(outs[1], outs[0], rtol=0, atol=1e-12)
    monkeypatch.setattr(dot_product, "by_lines", refuse)
    for wanted, got in zip(want, kernels.attention_with_lse(queries, K, V, score=EVEN, **options), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["mask", "left", "pattern"])
def test_hidden_nan_changes_no_bit_of_a_few_queries_with_a_rule(name):
    options, queries = CALLS[name], Q[..., :2, :]
    seen = definitions.attention_weights(queries, K, **options).reshape(2, KV_HEADS, 4, LENGTH).any(axis=2)[..., None]
    assert not seen.all()
    found = [kernels.attention(queries, np.where(seen, K, x), np.where(seen, V, x), score=EVEN, **options) for x in (0.0, np.nan, np.inf)]
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes() and np.isfinite(found[0]).all()


@pytest.mark.parametrize("name", ["mask", "pattern"])
def test_a_mask_over_plain_keys_is_no_pass_over_them_and_gives_the_bits_of_the_call_with_gradients(name, monkeypatch):
    options, queries = CALLS[name], Q[..., :2, :]
    want = kernels.attention_with_lse(Tensor(queries), K, V, **options)
    monkeypatch.setattr(primitive, "all_finite", refuse)
    got = kernels.attention_with_lse(queries, K, V, **options)
    assert all(x.value.tobytes() == y.tobytes() for x, y in zip(want, got, strict=True))
    seen = definitions.attention_weights(queries, K, **options).reshape(2, KV_HEADS, 4, LENGTH).any(axis=2)[..., None]
    for x in (np.nan, np.inf):
        assert kernels.attention(queries, np.where(seen, K, x), np.where(seen, V, x), **options).tobytes() == got[0].tobytes()


def test_parts_at_their_own_positions_are_read_where_they_stand(monkeypatch):
    monkeypatch.setattr(fastest, "DECODE_SCORES", 0)
    got = parts.attend_parts(Q, [(K[..., n::2, :], V[..., n::2, :], np.arange(n, LENGTH, 2)) for n in (0, 1)], LENGTH, score=RULE)
    np.testing.assert_allclose(got, definitions.attention(Q, K, V, causal=True, score=RULE), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("queries", "keys", "want"), [([5], [2, 3, 4, 5], 2), ([4, 5], [2, 3, 4, 5], 2), ([5], [2, 4, 3, 5], None), ([4], [2, 3, 4, 5], None),
                                                       ([5], [1, 3, 4, 5], None)])
def test_keys_are_counted_only_where_they_follow_each_other_up_to_the_last_query(queries, keys, want):
    rule = with_parts(RULE, lambda x: x, (np.array(queries), np.array(keys)))
    assert dot_product.origin_of(rule, len(queries), len(keys)) == want
