"""Sparse attention against loops over positions, which say pair by pair who is seen and how they score."""

import math

import numpy as np
import oracle
from hypothesis import given
from hypothesis import strategies as st
from oracle import CLOSE, drawn

from tinyattn import definitions

LENGTHS = [(4, 4), (1, 5), (3, 9), (9, 9), (12, 12), (0, 3)]


def seen_by(shape, kv_len, rule):
    """seen[b, h, i, j] = rule(b, h, p, j), p the position of query i."""
    seen = np.zeros((*shape, kv_len), bool)
    for b, h, i, j in np.ndindex(seen.shape):
        seen[b, h, i, j] = rule(b, h, i + kv_len - shape[-1], j)
    return seen


def dots(q, k, b, h, i, g):
    return [sum(float(x) * float(y) for x, y in zip(q[b, h, i], key, strict=True)) for key in k[b, g]]


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), q_block=st.sampled_from([1, 2, 5]), kv_block=st.sampled_from([1, 3]))
def test_block_sparse(seed, lengths, q_block, kv_block):
    q, k, v, rng = drawn(seed, *lengths)
    blocks = rng.random((4, -(-lengths[0] // q_block), -(-lengths[1] // kv_block))) < 0.5
    shift = lengths[1] - lengths[0]
    seen = seen_by(q.shape[:-1], lengths[1], lambda b, h, p, j: bool(blocks[h, (p - shift) // q_block, j // kv_block]))
    want, _, _ = oracle.attention(q, k, v, seen=seen)
    got = definitions.block_sparse_attention(q, k, v, blocks=blocks, q_block=q_block, kv_block=kv_block)
    np.testing.assert_allclose(got, want, **CLOSE)


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), tokens=st.sampled_from([[], [0], [0, 3], list(range(12))]),
       window=st.sampled_from([0, 1, 20]))
def test_longformer(seed, lengths, tokens, window):
    q, k, v, rng = drawn(seed, *lengths)
    g = [rng.standard_normal(x.shape) for x in (q, k, v)]
    local, _, _ = oracle.attention(q, k, v, seen=seen_by(q.shape[:-1], lengths[1], lambda b, h, p, j: abs(p - j) <= window or j in tokens))
    wide, _, _ = oracle.attention(*g)
    is_global = np.isin(np.arange(lengths[1] - lengths[0], lengths[1]), tokens)
    want = np.where(is_global[:, None], wide, local)
    got = definitions.longformer_attention(q, k, v, q_global=g[0], k_global=g[1], v_global=g[2], global_tokens=tokens, window=window)
    np.testing.assert_allclose(got, want, **CLOSE)


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), block=st.sampled_from([1, 2, 4]), random=st.sampled_from([0, 1, 3]),
       causal=st.booleans())
def test_bigbird(seed, lengths, block, random, causal):
    q, k, v, _ = drawn(seed, *lengths)
    last = (lengths[1] - 1) // block

    def rule(b, h, p, j):
        i_block, j_block = p // block, j // block
        chosen = np.random.default_rng([seed, i_block]).permutation(i_block + 1)[:random]
        if causal:
            return j <= p and (i_block - j_block <= 1 or j_block == 0 or j_block in chosen)
        return abs(i_block - j_block) <= 1 or {0, last} & {i_block, j_block} or j_block in chosen

    want, _, _ = oracle.attention(q, k, v, seen=seen_by(q.shape[:-1], lengths[1], lambda *a: bool(rule(*a))))
    got = definitions.bigbird_attention(q, k, v, block=block, random=random, seed=seed, causal=causal)
    np.testing.assert_allclose(got, want, **CLOSE)


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), keep=st.sampled_from([1, 2, 5, 20]), ties=st.booleans())
def test_top_k(seed, lengths, keep, ties):
    q, k, v, _ = drawn(seed, *lengths)
    if ties:
        q, k = np.round(q), np.round(k)
    seen = np.zeros((*q.shape[:-1], lengths[1]), bool)
    for b, h, i in np.ndindex(q.shape[:-1]):
        p = i + lengths[1] - lengths[0]
        scores = dots(q, k, b, h, i, h // 2)
        ranked = sorted(range(p + 1), key=lambda j: (-scores[j], j))
        seen[b, h, i, ranked[:keep]] = True
    want, _, _ = oracle.attention(q, k, v, seen=seen)
    np.testing.assert_allclose(definitions.top_k_attention(q, k, v, keep=keep, causal=True), want, **CLOSE)


@given(seed=st.integers(0, 99), length=st.sampled_from([0, 1, 5, 12]), chunk=st.sampled_from([1, 3, 4, 20]), hashes=st.sampled_from([1, 2]),
       causal=st.booleans())
def test_lsh(seed, length, chunk, hashes, causal):
    rng = np.random.default_rng(seed)
    qk, v = rng.standard_normal((2, 3, length, 4)), rng.standard_normal((2, 3, length, 5))
    rotations = definitions.lsh_rotations(rng, hashes, 4, 6)
    want = np.zeros_like(v)
    for b, h in np.ndindex(2, 3):
        mass, read = np.zeros(length), np.zeros((length, 5))
        for r in range(hashes):
            sides = [[sum(x[d] * rotations[r, d, c] for d in range(4)) for c in range(3)] for x in qk[b, h]]
            bucket = [int(np.argmax(s + [-x for x in s])) for s in sides]
            rank = {token: n for n, token in enumerate(sorted(range(length), key=lambda t: (bucket[t], t)))}
            for i in range(length):
                for j in range(length):
                    near = 0 <= rank[i] // chunk - rank[j] // chunk <= 1
                    if bucket[i] == bucket[j] and near and (j <= i or not causal):
                        s = float(qk[b, h, i] @ qk[b, h, j]) / math.sqrt(float(qk[b, h, j] @ qk[b, h, j])) / 2.0
                        w = math.exp(s) * (1e-200 if i == j else 1.0)  # 1e5 below anything else
                        mass[i] += w
                        read[i] += w * v[b, h, j]
        want[b, h] = read / np.where(mass == 0, 1, mass)[:, None]
    np.testing.assert_allclose(definitions.lsh_attention(qk, v, rotations=rotations, chunk=chunk, causal=causal), want, rtol=1e-13, atol=1e-13)


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), block=st.sampled_from([1, 2, 5]), selected=st.sampled_from([1, 2, 3, 9]),
       window=st.sampled_from([1, 4]))
def test_native_sparse(seed, lengths, block, selected, window):
    q, k, v, rng = drawn(seed, *lengths)
    gates = rng.random((*q.shape[:-1], 3))
    want = np.zeros((*q.shape[:-1], 3))
    for b, g, i in np.ndindex(2, 2, lengths[0]):
        t = i + lengths[1] - lengths[0]
        means = [(k[b, g, c * block : (c + 1) * block].mean(axis=0), v[b, g, c * block : (c + 1) * block].mean(axis=0))
                 for c in range((t + 1) // block)]
        importance = np.zeros(t // block + 1)
        compressed = {}
        for h in (2 * g, 2 * g + 1):
            exps = [math.exp(float(q[b, h, i] @ mean) / 2) for mean, _ in means]
            compressed[h] = sum((w * value for w, (_, value) in zip(exps, means, strict=True)), np.zeros(3)) / (sum(exps) or 1)
            importance[: len(means)] += [w / sum(exps) for w in exps]
        own = t // block
        first = [*dict.fromkeys([own, 0, own - 1])]
        first = [c for c in first if c >= 0]
        rest = sorted((c for c in range(own) if c not in first), key=lambda c: (-importance[c], c))
        chosen = (first + rest)[:selected]
        for h in (2 * g, 2 * g + 1):
            parts = [compressed[h]]
            for rule in (lambda j: j // block in chosen, lambda j: t - j < window):
                keys = [j for j in range(t + 1) if rule(j)]
                exps = [math.exp(float(q[b, h, i] @ k[b, g, j]) / 2) for j in keys]
                parts.append(sum(w * v[b, g, j] for w, j in zip(exps, keys, strict=True)) / sum(exps))
            want[b, h, i] = sum(gates[b, h, i, n] * part for n, part in enumerate(parts))
    got = definitions.native_sparse_attention(q, k, v, gates=gates, block=block, selected=selected, window=window)
    np.testing.assert_allclose(got, want, **CLOSE)


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), block=st.sampled_from([1, 2, 5]), keep=st.sampled_from([1, 2, 9]))
def test_block_mixture(seed, lengths, block, keep):
    q, k, v, _ = drawn(seed, *lengths)
    seen = np.zeros((*q.shape[:-1], lengths[1]), bool)
    for b, h, i in np.ndindex(q.shape[:-1]):
        t = i + lengths[1] - lengths[0]
        gate = {c: float(q[b, h, i] @ k[b, h // 2, c * block : (c + 1) * block].mean(axis=0)) for c in range(t // block)}
        chosen = {t // block, *sorted(gate, key=lambda c: (-gate[c], c))[: keep - 1]}
        for j in range(t + 1):
            seen[b, h, i, j] = j // block in chosen
    want, _, _ = oracle.attention(q, k, v, seen=seen)
    np.testing.assert_allclose(definitions.block_mixture_attention(q, k, v, block=block, keep=keep), want, **CLOSE)


def turned(x, position, base=10000.0):
    half = len(x) // 2
    out = np.zeros_like(x)
    for n in range(half):
        angle = position * base ** (-n / half)
        out[n], out[n + half] = (x[n] * math.cos(angle) - x[n + half] * math.sin(angle), x[n + half] * math.cos(angle) + x[n] * math.sin(angle))
    return out


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), first=st.sampled_from([0, 1, 3]), window=st.sampled_from([1, 2, 20]))
def test_streaming_llm(seed, lengths, first, window):
    q, k, v, _ = drawn(seed, *lengths)
    want = np.zeros((*q.shape[:-1], 3))
    for b, h, i in np.ndindex(q.shape[:-1]):
        t = i + lengths[1] - lengths[0]
        kept = [j for j in range(t + 1) if j < first or t - j < window]  # what a cache of first + window holds, in its order
        query = turned(q[b, h, i], len(kept) - 1)
        exps = [math.exp(float(query @ turned(k[b, h // 2, j], place)) / 2) for place, j in enumerate(kept)]
        want[b, h, i] = sum(w * v[b, h // 2, j] for w, j in zip(exps, kept, strict=True)) / sum(exps)
    np.testing.assert_allclose(definitions.streaming_llm_attention(q, k, v, first=first, window=window), want, **CLOSE)


@given(seed=st.integers(0, 99), lengths=st.sampled_from([(4, 4), (1, 5), (3, 9), (10, 10)]), group=st.sampled_from([2, 4, 20]), causal=st.booleans())
def test_shifted_sparse(seed, lengths, group, causal):
    q, k, v, _ = drawn(seed, *lengths)

    def rule(b, h, p, j):
        shift = 0 if h < 2 else group // 2
        return (p + shift) // group == (j + shift) // group and (j <= p or not causal)

    want, _, _ = oracle.attention(q, k, v, seen=seen_by(q.shape[:-1], lengths[1], rule))
    np.testing.assert_allclose(definitions.shifted_sparse_attention(q, k, v, group=group, causal=causal), want, **CLOSE)


def test_rolling_leaks_the_future_and_shifting_does_not():
    q, k, v, _ = drawn(0, 8, 8)
    other = v.copy()
    other[..., 6:, :] += 1.0
    for variant, leaks in (("safe", False), ("roll", True)):
        a, b = (definitions.shifted_sparse_attention(q, k, x, group=4, variant=variant)[..., :4, :] for x in (v, other))
        assert np.any(a[:, 2:] != b[:, 2:]) == leaks
        assert not np.any(a[:, :2] != b[:, :2])
    ones = np.eye(8)[None] * np.ones((2, 1, 1))
    weights = definitions.shifted_sparse_attention(np.zeros((2, 8, 1)), np.zeros((2, 8, 1)), ones, group=4, variant="roll")[1]
    assert {(i, int(j)) for i in range(2) for j in np.flatnonzero(weights[i]) if j > i} == {(0, 6), (0, 7), (1, 6), (1, 7)}
