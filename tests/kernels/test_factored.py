"""Sums of outer products and keys that an indexer chooses, against loops over positions in single numbers, and at their ends."""

import math

import numpy as np
import pytest

import tinyattn
from tinyattn import definitions, kernels
from tinyattn.caches.factored import FactorCache
from tinyattn.engine import Tensor, grad
from tinyattn.laws.oracles import factored

RNG = np.random.default_rng(3)


def pair(length, rank, heads, width):
    return RNG.standard_normal((2, length, rank, heads)), RNG.standard_normal((2, length, rank, width))


# 6 heads on 3, and a rank of its own for each: 4, 2 and 1.
TENSOR = pair(5, 4, 6, 3), pair(7, 2, 3, 3), pair(7, 1, 3, 2)
Q, K, V = (RNG.standard_normal(shape) for shape in ((2, 4, 5, 3), (2, 2, 7, 3), (2, 2, 7, 2)))
INDEX = {"q_index": RNG.standard_normal((2, 3, 5, 4)), "k_index": RNG.standard_normal((2, 7, 4)), "weights": RNG.standard_normal((2, 3, 5))}
DOORS = pytest.mark.parametrize("door", [definitions, kernels, tinyattn], ids=["definition", "kernel", "fastest"])


def attended(score, value, heads, causal, keys=lambda b, i: range(7)):
    """Returns softmax attention of 5 queries at the end of 7 keys, by score(b, h, i, j) and value(b, h, j)."""
    out = np.zeros((2, heads, 5, 2))
    for b, h, i in np.ndindex(2, heads, 5):
        seen = [j for j in keys(b, i) if not causal or j <= i + 2]
        mass = [math.exp(score(b, h, i, j)) for j in seen]
        out[b, h, i] = sum((w * value(b, h, j) for w, j in zip(mass, seen, strict=True)), np.zeros(2)) / sum(mass)
    return out


@DOORS
@pytest.mark.parametrize("causal", [False, True])
def test_every_head_is_a_sum_over_the_rank(door, causal):
    (qa, qb), (ka, kb), (va, vb) = TENSOR

    def vector(heads, channels, b, t, h):
        return sum(heads[b, t, r, h] * channels[b, t, r] for r in range(heads.shape[2]))

    want = attended(lambda b, h, i, j: vector(qa, qb, b, i, h) @ vector(ka, kb, b, j, h // 2) / math.sqrt(3),
                    lambda b, h, j: vector(va, vb, b, j, h // 2), 6, causal)
    np.testing.assert_allclose(door.tensor_product_attention(*TENSOR, causal=causal), want, rtol=1e-11)


@DOORS
@pytest.mark.parametrize(("change", "error", "words"), [
    (lambda t: (t[0][0], t[1], t[2]), TypeError, "q_factors: expected the pair of a head factor and a channel factor, got ndarray"),
    (lambda t: (t[0], (*t[1], t[1][0]), t[2]), TypeError, "k_factors: expected the pair .*, got a tuple of 3"),
    (lambda t: (t[0], t[1], (t[2][0], t[2][1].tolist())), TypeError, r"v_factors \(channels\): expected"),
    (lambda t: (t[0], (t[1][0][:, :, :1], t[1][1]), t[2]), ValueError, r"k_factors: expected .*\(2, 7, 1, 3\) and \(2, 7, 2, 3\)"),
    (lambda t: (t[0], t[1], (t[2][0], t[2][1].astype(np.float32))), TypeError, r"v_factors \(channels\): expected the dtype of q_factors \(heads\)"),
    (lambda t: (t[0], (t[1][0], t[1][1][..., :2]), t[2]), ValueError, "k: expected d = 3 as in q"),
    (lambda t: (t[0], t[1], tuple(x[:, :6] for x in t[2])), ValueError, "v: expected j = 7 as in k"),
    (lambda t: (t[0], (t[1][0][..., :2], t[1][1]), t[2]), ValueError, "v: expected the kv_heads of k"),
    (lambda t: (t[0],), TypeError, "k_factors, v_factors: missing; tensor_product_attention takes three pairs"),
    (lambda t: (*t, t[2]), TypeError, "everything after q_factors, k_factors, v_factors is given by name")])
def test_factors_are_refused_by_name(door, change, error, words):
    with pytest.raises(error, match=words):
        door.tensor_product_attention(*change(TENSOR))


@DOORS
def test_factors_of_half_precision_are_multiplied_in_single(door):
    """65,504 is the largest float16: a product of 300 and 300 is beyond it, and the two products cancel."""
    heads, channels = np.full((1, 2, 1), 300, np.float16), np.array([[[300.0], [-300.0]]], np.float16)
    value = np.ones((1, 1, 1), np.float16), np.full((1, 1, 2), 7, np.float16)
    out = door.tensor_product_attention((heads, channels), (heads, channels), value)
    assert out.dtype == np.float16
    np.testing.assert_array_equal(out, np.full((1, 1, 2), 7))


@DOORS
def test_no_rank_is_a_table_of_zeros_and_no_token_is_a_result(door):
    (qa, qb), keys, values = TENSOR
    np.testing.assert_allclose(door.tensor_product_attention((qa[:, :, :0], qb[:, :, :0]), keys, values),
                               door.tensor_product_attention((0 * qa, qb), keys, values), rtol=1e-14)
    assert door.tensor_product_attention((qa[:, :0], qb[:, :0]), keys, values).shape == (2, 6, 0, 2)


def test_the_cache_holds_the_factors_and_no_product():
    joined = [np.swapaxes(np.concatenate(factors, axis=-1), -2, -3) for factors in (pair(7, 4, 6, 8), pair(7, 2, 3, 8), pair(7, 2, 3, 5))]
    cache, outs = FactorCache(), []
    for n in (slice(0, 1), slice(1, 6), slice(6, 7)):
        outs.append(cache.step(*(x[..., n, :] for x in joined), heads=6, kv_heads=3))
    whole = [tuple(np.swapaxes(part, -2, -3) for part in np.split(x, [count], axis=-1)) for x, count in zip(joined, (6, 3, 3), strict=True)]
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), definitions.tensor_product_attention(*whole, causal=True), rtol=1e-11)
    assert cache.nbytes == 2 * 7 * 2 * (3 + 8 + 3 + 5) * 8
    with pytest.raises(ValueError, match=r"q: expected the leading axes of the factors"):
        cache.step(*(x[0, ..., :1, :] if n == 0 else x[..., :1, :] for n, x in enumerate(joined)), heads=6, kv_heads=3)


def best(b, i, keep, causal):
    score = {j: sum(INDEX["weights"][b, n, i] * max(0.0, INDEX["q_index"][b, n, i] @ INDEX["k_index"][b, j]) for n in range(3))
             for j in range(i + 3 if causal else 7)}
    return sorted(score, key=lambda j: -score[j])[:keep]


@DOORS
@pytest.mark.parametrize(("keep", "causal"), [(1, True), (3, True), (3, False), (7, True)])
def test_all_heads_read_the_keys_of_the_largest_sums(door, keep, causal):
    mask = door.lightning_indexer(INDEX["q_index"], INDEX["k_index"], weights=INDEX["weights"], keep=keep, causal=causal)
    assert (mask.shape, mask.dtype) == ((2, 1, 5, 7), np.bool_)
    for b, i in np.ndindex(2, 5):
        assert np.flatnonzero(mask[b, 0, i]).tolist() == sorted(best(b, i, keep, causal))
    want = attended(lambda b, h, i, j: Q[b, h, i] @ K[b, h // 2, j] * 0.4, lambda b, h, j: V[b, h // 2, j], 4, causal,
                    lambda b, i: best(b, i, keep, causal))
    got = door.deepseek_sparse_attention(Q, K, V, keep=keep, causal=causal, scale=0.4, **INDEX)
    np.testing.assert_allclose(got, want, rtol=1e-11)
    problem = {**INDEX, "k_index": INDEX["k_index"][:, None], "keep": keep, "causal": causal}
    np.testing.assert_allclose(factored.row_by_row(Q, K, V, scale=0.4, **problem), want, rtol=1e-11)


@DOORS
def test_the_choice_in_a_long_text_is_that_of_each_query_alone(door):
    """Longer than a block of the kernel, and with ties in every row: whole numbers, of which relu makes half zeros."""
    q, k, weights = (RNG.integers(-1, 2, shape).astype(np.float32) for shape in ((2, 300, 2), (310, 2), (2, 300)))
    whole = door.lightning_indexer(q, k, weights=weights, keep=40)
    for i in (0, 1, 29, 30, 31, 127, 128, 255, 256, 299):
        alone = door.lightning_indexer(q[:, i : i + 1], k[: i + 11], weights=weights[:, i : i + 1], keep=40)
        np.testing.assert_array_equal(whole[0, i, : i + 11], alone[0, 0])
        assert whole[0, i].sum() == min(40, i + 11)
        assert not whole[0, i, i + 11 :].any()


@DOORS
def test_a_choice_has_no_gradient_and_takes_tensors(door):
    mask = door.lightning_indexer(Tensor(INDEX["q_index"]), Tensor(INDEX["k_index"]), weights=Tensor(INDEX["weights"]), keep=2)
    np.testing.assert_array_equal(mask, door.lightning_indexer(INDEX["q_index"], INDEX["k_index"], weights=INDEX["weights"], keep=2))
    slopes = grad(lambda t: door.deepseek_sparse_attention(t["q"], K, V, keep=2, **{n: t[n] for n in INDEX}).sum())({"q": Q, **INDEX})
    assert np.any(slopes["q"])
    assert not any(np.any(slopes[name]) for name in INDEX)


@DOORS
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_indexer_of_any_dtype_gives_booleans_and_no_token_a_result(door, dtype):
    small = {name: x.astype(dtype) for name, x in INDEX.items()}
    mask = door.lightning_indexer(small["q_index"], small["k_index"], weights=small["weights"], keep=2)
    assert mask.dtype == np.bool_
    assert door.deepseek_sparse_attention(*(x.astype(dtype) for x in (Q, K, V)), keep=2, **small).dtype == dtype
    empty = door.lightning_indexer(small["q_index"][..., :0, :], small["k_index"], weights=small["weights"][..., :0], keep=2)
    assert empty.shape == (2, 1, 0, 7)
    more = door.lightning_indexer(small["q_index"], small["k_index"][:, :2], weights=small["weights"], keep=2)
    np.testing.assert_array_equal(more[0, 0], np.tri(5, 2, -3, dtype=bool))


@DOORS
@pytest.mark.parametrize(("change", "error", "words"), [
    ({"keep": 0}, ValueError, "keep: expected 1 or more, got 0"), ({"keep": 2.0}, TypeError, "keep: expected an int, got float"),
    ({"weights": INDEX["weights"][:, :2]}, ValueError, r"weights: expected shape \(2, 3, 5\), got \(2, 2, 5\)"),
    ({"weights": np.full((2, 3, 5), np.inf)}, ValueError, "weights: expected finite numbers"),
    ({"q_index": INDEX["q_index"][:, 0]}, ValueError, r"q_index: expected shape \(2, index heads, 5, c\)"),
    ({"k_index": INDEX["k_index"][..., :3]}, ValueError, r"k_index: expected shape \(2, 7, 4\)"),
    ({"k_index": INDEX["k_index"].astype(np.float32)}, TypeError, "k_index: expected the dtype of q_index, float64, got float32"),
    ({"q_index": None}, TypeError, "q_index: expected"), ({"causal": 1}, TypeError, "causal")])
def test_an_indexer_is_refused_by_name(door, change, error, words):
    with pytest.raises(error, match=words):
        door.deepseek_sparse_attention(Q, K, V, **{**INDEX, "keep": 2, **change})
