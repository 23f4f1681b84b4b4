"""Sparse attention at its ends: what nobody sees, NaN that is seen, empty axes, arguments by name, costs, what is not causal."""

import inspect

import numpy as np
import oracle
import pytest
from oracle import CLOSE

from tinyattn import definitions
from tinyattn.engine.grad import vjp
from tinyattn.laws.oracles import gathered
from tinyattn.ops import masks
from tinyattn.ops.largest import largest


def of_lengths(q_len, kv_len, heads=4, kv_heads=2, d=4, e=3):
    """Returns q, k and v of two sequences, drawn from a seed that the lengths make."""
    rng = np.random.default_rng(q_len + 100 * kv_len)
    return rng.standard_normal((2, heads, q_len, d)), rng.standard_normal((2, kv_heads, kv_len, d)), rng.standard_normal((2, kv_heads, kv_len, e))


CALLS = {
    "block_sparse": lambda q, k, v: definitions.block_sparse_attention(
        q, k, v, blocks=np.arange(-(-k.shape[-2] // 3)) % 2 == np.zeros((-(-q.shape[-2] // 2), 1)), q_block=2, kv_block=3),
    "gathered": lambda q, k, v: definitions.gathered_attention(q, k, v, mask=masks.sliding_window(3), block=4),
    "longformer": lambda q, k, v: definitions.longformer_attention(q, k, v, q_global=q, k_global=k, v_global=v, global_tokens=[1], window=2),
    "bigbird": lambda q, k, v: definitions.bigbird_attention(q, k, v, block=2, random=1, seed=0),
    "bigbird causal": lambda q, k, v: definitions.bigbird_attention(q, k, v, block=2, random=0, seed=0, causal=True),
    "top_k": lambda q, k, v: definitions.top_k_attention(q, k, v, keep=2, window=(4, 0)),
    "native_sparse": lambda q, k, v: definitions.native_sparse_attention(
        q, k, v, gates=np.ones((*q.shape[:-1], 3)), block=2, selected=2, window=2),
    "block_mixture": lambda q, k, v: definitions.block_mixture_attention(q, k, v, block=2, keep=2),
    "streaming_llm": lambda q, k, v: definitions.streaming_llm_attention(q, k, v, first=1, window=3),
    "shifted_sparse": lambda q, k, v: definitions.shifted_sparse_attention(q, k, v, group=4),
    "lsh": lambda q, k, v: definitions.lsh_attention(k, v, rotations=np.ones((1, 4, 2)), chunk=2),
}
# Of 12 keys and one query, those that it does not see.
UNSEEN = {"block_sparse": [3, 4, 5, 9, 10, 11], "gathered": range(9), "longformer": [0, *range(2, 9)], "bigbird causal": range(2, 8),
          "top_k": range(7), "streaming_llm": range(1, 9), "shifted_sparse": range(8)}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_nobody_sees_may_hold_anything(name):
    q, k, v = of_lengths(1, 12)
    hidden = np.isin(np.arange(12), UNSEEN[name])[:, None]
    clean = CALLS[name](q, k, v)
    bad_k, bad_v = np.where(hidden, np.nan, k), np.where(hidden, np.inf, v)
    np.testing.assert_array_equal(CALLS[name](q, bad_k, bad_v), clean)
    slopes = []
    for keys, values in ((k, v), (bad_k, bad_v)):
        out, pullback = vjp(lambda t: CALLS[name](*t), (q, keys, values))
        slopes.append(pullback(np.cos(np.arange(out.size)).reshape(out.shape)))
    for a, b in zip(*slopes, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.any(slopes[1][1] * hidden)
    assert np.any(slopes[1][2])


def test_nan_that_is_seen_does_not_vanish():
    q, k, v = of_lengths(3, 12)
    k[..., 4, :] = np.nan
    assert np.isnan(definitions.top_k_attention(q, k, v, keep=1)).all()
    assert np.isnan(definitions.block_mixture_attention(q, k, v, block=2, keep=2)).all()
    assert not np.isnan(definitions.block_mixture_attention(q, k, v, block=2, keep=1)).any()
    assert np.isnan(definitions.native_sparse_attention(q, k, v, gates=np.ones((2, 4, 3, 3)), block=2, selected=1, window=1)).all()
    one = q.copy()
    one[..., 1, :] = np.nan
    for name in sorted(CALLS.keys() - {"lsh"}):
        out = CALLS[name](one, *of_lengths(3, 12)[1:])
        assert np.isnan(out[..., 1, :]).all()
        assert not np.isnan(out[..., [0, 2], :]).any()


@pytest.mark.parametrize("name", CALLS)
def test_axes_of_zero(name):
    for heads, kv_heads, q_len, kv_len in ((4, 2, 0, 5), (4, 2, 0, 0), (0, 0, 3, 5)):
        want = (2, kv_heads, kv_len, 3) if name == "lsh" else (2, heads, q_len, 3)
        assert CALLS[name](*of_lengths(q_len, kv_len, heads, kv_heads)).shape == want
    q, k, v = (x[0, 0] for x in of_lengths(4, 4))
    np.testing.assert_array_equal(CALLS[name](q, k, v), CALLS[name](q[None], k[None], v[None])[0])


def test_scores_far_below_zero_are_scores():
    x = np.full((1, 1), 1e40)
    np.testing.assert_array_equal(definitions.gathered_attention(x, -x, np.full((1, 1), 3.0), mask=masks.causal()), [[3.0]])


@pytest.mark.parametrize("name", [n for n in definitions.__all__ if n in {
    "block_sparse_attention", "gathered_attention", "longformer_attention", "bigbird_attention", "top_k_attention", "lsh_attention",
    "native_sparse_attention", "block_mixture_attention", "streaming_llm_attention", "shifted_sparse_attention"}])
def test_everything_after_the_arrays_is_given_by_name(name):
    mechanism = getattr(definitions, name)
    given = inspect.signature(mechanism).parameters.values()
    by_place = [p.name for p in given if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert by_place == (["qk", "v"] if name == "lsh_attention" else ["q", "k", "v"])
    with pytest.raises(TypeError, match=f"everything after {', '.join(by_place)} is given by name"):
        mechanism(*[np.ones((2, 2))] * 4)


def test_arguments_are_named_as_they_were_given():
    q, k, v = of_lengths(5, 7)
    g = {"q_global": q, "k_global": k, "v_global": v}
    for call, error, words in (
            (lambda: definitions.longformer_attention(q, k, v, **g, global_tokens=3, window=1), TypeError, "global_tokens.*int"),
            (lambda: definitions.longformer_attention(q, k, v, **g, global_tokens=np.array(3), window=1), ValueError, "global_tokens.*one axis"),
            (lambda: definitions.multi_head_local_attention(q, k, v, window=np.array(3)), TypeError, "window.*int.*ndarray"),
            (lambda: definitions.longformer_attention(q, k, v, **g, global_tokens=[0], window=None), TypeError, "window.*NoneType"),
            (lambda: definitions.longformer_attention(q, k, v, global_tokens=[0], window=1), TypeError, "q_global, k_global, v_global"),
            (lambda: definitions.bigbird_attention(q, k, v, block=2, random=-1, seed=0), ValueError, "random.*-1"),
            (lambda: definitions.streaming_llm_attention(q[..., :3], k[..., :3], v, first=1, window=1), ValueError, "q.*even.*5, 3"),
            (lambda: definitions.streaming_llm_attention(q, k[..., :3, :], v[..., :3, :], first=1, window=1), ValueError, "q_len <= kv_len"),
            (lambda: definitions.block_sparse_attention(q, k, v, blocks=np.ma.ones((3, 3), bool), q_block=2, kv_block=3), TypeError, "blocks"),
            (lambda: definitions.gathered_attention(q[:, :1], k[:, :1], v[:, :1], mask=masks.per_head([masks.causal()] * 2)), ValueError,
             r"mask.*\(2, 5, 7\)")):
        with pytest.raises(error, match=words):
            call()


def test_options_reach_top_k_and_tables():
    q, k, v = of_lengths(5, 7)
    rng = np.random.default_rng(0)
    mask, bias, sinks = rng.random((2, 4, 5, 7)) < 0.7, rng.standard_normal((4, 5, 7)), rng.standard_normal(4)
    _, _, weights = oracle.attention(q, k, v, seen=mask, bias=np.broadcast_to(bias, (2, 4, 5, 7)), softcap=1.5)
    seen = np.zeros_like(mask)
    for index in np.ndindex(weights.shape[:-1]):
        ranked = sorted(np.flatnonzero(mask[index]), key=lambda j: (-weights[index][j], j))
        seen[index][ranked[:2]] = True
    want, _, _ = oracle.attention(q, k, v, seen=seen, bias=np.broadcast_to(bias, (2, 4, 5, 7)), softcap=1.5, sinks=sinks)
    got = definitions.top_k_attention(q, k, v, keep=2, mask=mask, bias=bias, softcap=1.5, sinks=sinks)
    np.testing.assert_allclose(got, want, **CLOSE)
    blocks = rng.random((4, 3, 3)) < 0.6
    inside = mask & np.repeat(np.repeat(blocks, 2, axis=1)[:, :5], 3, axis=2)[..., :7]
    want, _, _ = oracle.attention(q, k, v, seen=inside)
    for given in (mask, masks.Pattern(lambda i, j: mask[:, :, i - 2, j])):
        got = definitions.block_sparse_attention(q, k, v, blocks=blocks, q_block=2, kv_block=3, mask=given)
        np.testing.assert_allclose(got, want, **CLOSE)


def test_forced_blocks_stand_before_one_that_all_heads_look_at():
    q, k = np.full((3, 1, 1), 9.0), np.zeros((1, 6, 1))
    k[0, 2] = 9.0
    for selected, read in ((1, [5]), (2, [0, 5]), (3, [0, 4, 5]), (4, [0, 2, 4, 5])):
        weights = definitions.native_sparse_attention(q, k, np.eye(6)[None], gates=np.eye(3)[1] * np.ones((3, 1, 1)), block=1,
                                                      selected=selected, window=1)
        assert all(np.flatnonzero(row).tolist() == read for row in weights[:, 0])


def test_of_three_heads_one_is_not_shifted():
    q, k, v = of_lengths(6, 6, heads=3, kv_heads=1)
    got = definitions.shifted_sparse_attention(q, k, v, group=4)
    p = np.arange(6)
    for h, shift in enumerate((0, 2, 2)):
        seen = ((p[:, None] + shift) // 4 == (p + shift) // 4) & (p <= p[:, None])
        np.testing.assert_allclose(got[:, h : h + 1], oracle.attention(q[:, h : h + 1], k, v, seen=np.broadcast_to(seen, (2, 1, 6, 6)))[0], **CLOSE)


def test_one_key_kept_leaves_nothing_to_learn():
    q, k, v = of_lengths(5, 7)
    out, pullback = vjp(lambda t: definitions.top_k_attention(*t, keep=1), (q, k, v))
    d_q, d_k, d_v = pullback(np.cos(np.arange(out.size)).reshape(out.shape))
    np.testing.assert_allclose(d_q, np.zeros_like(q), **CLOSE)
    np.testing.assert_allclose(d_k, np.zeros_like(k), **CLOSE)
    assert np.abs(d_v).max() > 0.5


def test_the_largest_of_equals_are_the_earlier():
    np.testing.assert_array_equal(largest(np.array([[2.0, 5.0, 5.0, 5.0], [1.0, np.nan, 3.0, 2.0]]), 2), [[0, 1, 1, 0], [0, 1, 1, 0]])
    assert largest(np.zeros((3, 4)), 9).all()
    assert not largest(np.array([[np.nan, 1.0]]), 0).any()
    assert largest(np.zeros((3, 0)), 2).shape == (3, 0)


LINEAR = {
    "longformer": lambda q: gathered.longformer(q, q, q, q_global=q, k_global=q, v_global=q, global_tokens=[0, 9], window=4),
    "bigbird": lambda q: gathered.bigbird(q, q, q, block=8, random=1, seed=0, causal=True),
    "shifted_sparse": lambda q: gathered.shifted_sparse(q, q, q, group=8),
    "streaming_llm": lambda q: gathered.streaming_llm(q, q, q, first=2, window=6),
    "block_mixture": lambda q: gathered.block_mixture(q, q, q, block=8, keep=2),
    "block_sparse": lambda q: gathered.block_sparse(
        q, q, q, blocks=np.abs(np.arange(q.shape[-2] // 8)[:, None] - np.arange(q.shape[-2] // 8)) < 2, q_block=8, kv_block=8),
    "lsh": lambda q: definitions.lsh_attention(q, q, rotations=np.eye(4)[None], chunk=8),
}


@pytest.mark.parametrize("name", LINEAR)
def test_gathered_forms_grow_linearly(name, monkeypatch):
    exp, counted = np.exp, []
    monkeypatch.setattr(np, "exp", lambda x, *rest, **options: (counted.append(np.size(x)), exp(x, *rest, **options))[1])

    def cost(length):
        counted.clear()
        LINEAR[name](np.random.default_rng(0).standard_normal((2, length, 4)))
        return sum(counted)  # exponentials, one a pair and a few a row

    assert cost(256) <= 2.1 * cost(128)
    assert cost(256) < 2 * 256 * 256 / 4


def test_shards_of_all_heads_cover_the_past():
    lower = np.tri(24, dtype=bool)
    for heads, size, local, stride in ((4, 2, 1, 4), (3, 1, 1, 3), (5, 2, 2, 4)):
        np.testing.assert_array_equal(masks.sharded(heads, size=size, local=local, stride=stride).dense(24, 24).any(axis=0), lower)
    # With heads half as many as the stride, each takes a step of two and they meet every second block alone.
    assert not np.array_equal(masks.sharded(2, size=1, local=1, stride=4).dense(24, 24).any(axis=0), lower)


@pytest.mark.parametrize("pattern", [masks.sharded(2, size=3, local=1, stride=3), masks.sharded(1, size=3, local=2, stride=4),
                                     masks.fixed(3, 1), masks.fixed(6, 2), masks.look_back(3)], ids=str)
def test_a_block_of_the_patterns_own_size_is_empty_where_nobody_sees(pattern):
    dense, kinds = pattern.dense(18, 18), pattern.blocks(18, 18, 3, 3)
    some = dense.reshape(*dense.shape[:-2], 6, 3, 6, 3).any(axis=(-3, -1))
    np.testing.assert_array_equal(kinds != masks.EMPTY, some)


def test_looking_back_one_block_holds_a_window():
    back = (masks.causal() & masks.look_back(4)).dense(20, 20)
    for width, inside in ((1, True), (5, True), (6, False)):
        assert bool((masks.sliding_window(width).dense(20, 20) <= back).all()) == inside


def test_layers_of_windows_reach_as_far_as_their_sum():
    x = np.eye(16)
    reach = masks.sliding_window(3).dense(16, 16).astype(float)
    for layers in (1, 2, 3):
        x = definitions.gathered_attention(np.zeros((16, 1)), np.zeros((16, 1)), x, mask=masks.sliding_window(3), block=5)
        np.testing.assert_array_equal(np.flatnonzero(x[12]), np.arange(12 - 2 * layers, 13))
    assert np.count_nonzero(np.linalg.matrix_power(reach, 3)[12]) == 7


def test_borders_of_chunks_move_with_later_tokens():
    # Sorted by bucket and cut into chunks: a later token in an earlier bucket moves who stands beside whom, causal or not.
    rng = np.random.default_rng(0)
    x, v, rotations = rng.standard_normal((24, 4)), rng.standard_normal((24, 3)), rng.standard_normal((1, 4, 1))
    moved = {2: 0.0, 24: 0.0}
    for _ in range(10):
        other = np.where(np.arange(24)[:, None] < 16, x, rng.standard_normal((24, 4)))
        for chunk in moved:
            a, b = (definitions.lsh_attention(y, v, rotations=rotations, chunk=chunk, causal=True)[:16] for y in (x, other))
            moved[chunk] = max(moved[chunk], np.abs(a - b).max())
    assert moved[2] > 0.01
    assert moved[24] < 1e-12
