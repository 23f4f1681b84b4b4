"""Oracles, which laws compare mechanisms with, against loops over single pairs."""

import math

import numpy as np
import pytest

from tinyattn.definitions import attention, attention_with_lse
from tinyattn.laws import lse
from tinyattn.laws.oracles import calls, gathered, grid, linear, variants
from tinyattn.laws.problem import Problem

RNG = np.random.default_rng(0)
Q, K, V = RNG.standard_normal((2, 4, 3, 5)), RNG.standard_normal((2, 2, 6, 5)), RNG.standard_normal((2, 2, 6, 4))


def by_pairs(weight, *, causal=False, normalize=True):
    """Returns sum_j weight(q_i, k_j, distance) v_j of each query, in single numbers, with two query heads per kv head."""
    out = np.zeros((2, 4, 3, 4))
    for b, h, i in np.ndindex(out.shape[:-1]):
        seen = [j for j in range(6) if not causal or j <= i + 3]
        row = [weight(Q[b, h, i], K[b, h // 2, j], i + 3 - j) for j in seen]
        total = sum(row) if normalize else 1.0
        out[b, h, i] = sum(w * V[b, h // 2, j] for w, j in zip(row, seen, strict=True)) / total
    return out


def softmax_weight(q, k, distance):
    return math.exp(float(q @ k) * 0.5)


def test_a_softmax_written_out_is_a_loop_over_pairs():
    np.testing.assert_allclose(calls.written_out(Q, K, V, 0.5), by_pairs(softmax_weight), rtol=1e-12)
    np.testing.assert_allclose(calls.written_out(Q, K, V), calls.written_out(Q, K, V, 5 ** -0.5), rtol=1e-14)
    np.testing.assert_array_equal(calls.own_values(Q, K, V)[:, 2], V[:, 1, 3:])


def test_rows_of_a_softmax_may_be_as_far_apart_as_numbers_go():
    scores = np.array([[[-1e4, -1e4, -1e4]], [[1e4, 1e4, 0.0]]])
    np.testing.assert_array_equal(calls.softmax_of(scores), [[[1 / 3, 1 / 3, 1 / 3]], [[0.5, 0.5, 0.0]]])
    values = np.eye(3)[None, :, :]
    out = calls.written_out(np.array([[[-1e4], [1e4]]]), np.array([[[1.0], [1.0], [0.0]]]), values, 1.0)
    np.testing.assert_array_equal(out, [[[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]])


def test_weights_of_linear_attention_are_loops_over_pairs():
    def cosine(q, k, distance):
        return float(np.maximum(q, 0) @ np.maximum(k, 0)) * math.cos(math.pi / 2 * distance / 16)

    def polynomial(q, k, distance):
        s = float(q @ k) * 5 ** -0.5
        return 1 + s + s * s / 2

    directions = RNG.standard_normal((7, 5))

    def kernel(q, k, distance):
        a, b = q * 5 ** -0.25, k * 5 ** -0.25
        return sum(math.exp(float(w @ (a + b)) - float(a @ a + b @ b) / 2) for w in directions) / 7

    for got, own, weight in ((linear.cosine_of_distance, {"max_length": 16, "start": 5}, cosine), (linear.polynomial, {}, polynomial),
                             (linear.positive_kernel, {"projection": directions}, kernel)):
        for causal, normalize in ((True, False), (False, True), (True, True)):
            np.testing.assert_allclose(linear.by_weights(got)(Q, K, V, causal=causal, normalize=normalize, **own),
                                       by_pairs(weight, causal=causal, normalize=normalize), rtol=1e-12)


def test_one_matrix_of_decays_is_a_product_per_pair():
    log_decay = -RNG.random((2, 2, 6))
    want = np.zeros((2, 4, 3, 4))
    for b, h, i in np.ndindex(want.shape[:-1]):
        for j in range(i + 4):
            decay = math.prod(math.exp(log_decay[b, h // 2, t]) for t in range(j + 1, i + 4))
            want[b, h, i] += decay * float(Q[b, h, i] @ K[b, h // 2, j]) * V[b, h // 2, j]
    np.testing.assert_allclose(linear.one_matrix(Q, K, V, log_decay=log_decay), want, rtol=1e-12)


def test_keys_that_are_listed_are_all_that_a_query_reads():
    rows = {0: [], 1: [2], 2: [0, 5]}
    table = gathered.listed((3,), lambda i: rows[i])
    np.testing.assert_array_equal(table, [[-1, -1], [2, -1], [0, 5]])
    assert gathered.listed((0,), lambda i: []).shape == (0, 0)
    out, lse = gathered.part(Q, K, V, table, 0.5)
    for b, h, i in np.ndindex(2, 4, 3):
        mass = [softmax_weight(Q[b, h, i], K[b, h // 2, j], 0) for j in rows[i]]
        want = sum((w * V[b, h // 2, j] for w, j in zip(mass, rows[i], strict=True)), np.zeros(4)) / (sum(mass) or 1.0)
        np.testing.assert_allclose(out[b, h, i], want, rtol=1e-12)
        np.testing.assert_allclose(lse[b, h, i], math.log(sum(mass)) if mass else -np.inf, rtol=1e-13)


def test_the_best_keys_are_those_with_the_highest_scores():
    got = gathered.top_k(Q, K, V, keep=2, causal=True)
    for b, h, i in np.ndindex(2, 4, 3):
        scores = [float(Q[b, h, i] @ K[b, h // 2, j]) * 5 ** -0.5 for j in range(i + 4)]
        best = sorted(range(i + 4), key=lambda j: -scores[j])[:2]
        mass = [math.exp(scores[j]) for j in best]
        want = sum(w * V[b, h // 2, j] for w, j in zip(mass, best, strict=True)) / sum(mass)
        np.testing.assert_allclose(got[b, h, i], want, rtol=1e-12)


def test_buckets_of_one_hash_are_read_in_sorted_chunks():
    qk, v = RNG.standard_normal((1, 2, 9, 4)), RNG.standard_normal((1, 2, 9, 3))
    qk[0, :, 4] *= 100.0  # keys are unit vectors, whatever their length was
    got = gathered.lsh(qk, v, rotations=np.eye(4)[None, :, :2], chunk=2, causal=True, scale=1.0)
    for h in range(2):
        side = qk[0, h, :, :2]
        bucket = np.argmax(np.concatenate((side, -side), axis=-1), axis=-1)
        place = {int(t): n // 2 for n, t in enumerate(np.argsort(bucket, kind="stable"))}
        for i in range(9):
            seen = [j for j in range(i + 1) if bucket[i] == bucket[j] and 0 <= place[i] - place[j] <= 1]
            scores = np.array([float(qk[0, h, i] @ qk[0, h, j]) / np.linalg.norm(qk[0, h, j]) - (1e5 if i == j else 0.0) for j in seen])
            mass = np.exp(scores - scores.max())
            np.testing.assert_allclose(got[0, h, i], mass @ v[0, h, seen] / mass.sum(), rtol=1e-13)


def test_the_log_of_a_sum_counts_the_sink_of_its_head():
    sinks = np.array([0.0, -1.0, 2.0, 0.5])
    got, = lse.summed(attention_with_lse, Problem(Q, K, V, {"sinks": sinks, "scale": 0.5, "causal": True}))
    for b, h, i in np.ndindex(2, 4, 3):
        mass = sum(softmax_weight(Q[b, h, i], K[b, h // 2, j], 0) for j in range(i + 4))
        np.testing.assert_allclose(got[b, h, i], math.log(mass + math.exp(sinks[h])), rtol=1e-12)


def test_listed_keys_are_read_behind_any_number_of_axes():
    table = gathered.listed((3,), lambda i: range(i + 1))
    one, _ = gathered.part(Q, K, V, table, 0.5)
    for shape in ((1, 2), (2, 1), (1, 2, 1)):
        out, _ = gathered.part(*(x.reshape(*shape, *x.shape[1:]) for x in (Q, K, V)), table, 0.5)
        np.testing.assert_array_equal(out.reshape(one.shape), one)


@pytest.mark.parametrize(("mode", "near"), [("block", lambda i, j: i // 2 == j // 2), ("look_back", lambda i, j: i // 2 - j // 2 in (0, 1)),
                                            ("sliding", lambda i, j: abs(i - j) < 2)])
def test_local_pairs_are_those_of_their_mode(mode, near):
    seen = np.array([[near(i, j) for j in range(6)] for i in range(3, 6)])
    np.testing.assert_allclose(variants.pairs_one_by_one(Q, K, V, window=2, mode=mode, causal=False),
                               attention(Q, K, V, mask=seen), rtol=1e-12)


def test_a_query_reads_the_blocks_whose_means_it_matches_most():
    keys = np.zeros((1, 8, 2))
    keys[0, 2:4, 0], keys[0, 4:6, 0] = 5.0, 1.0  # of the blocks 0 to 2 the last query matches block 1 most
    query, values = np.array([[[1.0, 0.0]]]), np.arange(8.0)[None, :, None]
    seen = np.array([False, False, True, True, False, False, True, True])
    np.testing.assert_allclose(gathered.block_mixture(query, keys, values, block=2, keep=2, scale=1.0),
                               attention(query, keys, values, mask=seen, scale=1.0), rtol=1e-12)


def test_the_shifted_heads_of_a_text_take_its_scale():
    q, k, v = RNG.standard_normal((3, 2, 8, 4))
    given = {"grid": (8,), "window": (4,), "shift": (2,)}
    np.testing.assert_allclose(grid.shifted_heads(q, k, v, scale=0.3, **given), grid.shifted_heads(0.6 * q, k, v, **given), rtol=1e-12)


def test_the_gate_of_an_image_is_a_mean_and_a_maximum_over_channels():
    image, kernel = RNG.standard_normal((4, 3, 5)), np.array([[[2.0]], [[3.0]]])
    gate = 1.0 / (1.0 + np.exp(-(2.0 * image.mean(axis=0) + 3.0 * image.max(axis=0) + 0.5)))
    np.testing.assert_allclose(grid.moved_and_added(image, image, image, kernel=kernel, bias=np.array(0.5)), image * gate, rtol=1e-12)
