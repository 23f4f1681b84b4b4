"""Attention and linear attention as loops over positions, written from the formula; shares no code with the library."""

import math

import numpy as np

CLOSE = {"rtol": 1e-13, "atol": 1e-14}
LENGTHS = [(4, 4), (1, 5), (3, 9), (9, 9), (0, 3), (5, 2)]


def drawn(seed, q_len, kv_len, groups=2, d=4, e=3):
    """Returns q, k, v and the generator: two sequences, two heads of keys."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((2, 2 * groups, q_len, d)), rng.standard_normal((2, 2, kv_len, d)),
            rng.standard_normal((2, 2, kv_len, e)), rng)


def image(seed, grid, q_len=None):
    """Returns the same with one key per cell of a grid, and as many queries unless fewer are wanted."""
    length = math.prod(grid)
    return drawn(seed, q_len or length, length)


def attention(q, k, v, *, seen=None, bias=None, scale=None, softcap=None, sinks=None):
    """Returns (out, lse, weights); seen(i, j) of indices or an array (batch, heads, i, j)."""
    batch, heads, q_len, head_dim = q.shape
    kv_heads, kv_len = k.shape[1:3]
    out = np.zeros((batch, heads, q_len, v.shape[-1]))
    lse, weights = np.full((batch, heads, q_len), -np.inf), np.zeros((batch, heads, q_len, kv_len))
    scale = 1.0 / math.sqrt(head_dim) if scale is None else scale
    for b in range(batch):
        for h in range(heads):
            g = h // (heads // kv_heads)
            for i in range(q_len):
                scores = {}
                for j in range(kv_len):
                    if seen is not None and not seen[b, h, i, j]:
                        continue
                    s = scale * sum(float(q[b, h, i, d]) * float(k[b, g, j, d]) for d in range(head_dim))
                    if softcap is not None:
                        s = softcap * math.tanh(s / softcap)
                    scores[j] = s + (0.0 if bias is None else bias[b, h, i, j])
                logits = [*scores.values(), *([] if sinks is None else [sinks[h]])]
                if not logits:
                    continue
                top = max(logits)
                total = sum(math.exp(s - top) for s in logits)
                lse[b, h, i] = top + math.log(total)
                for j, s in scores.items():
                    weights[b, h, i, j] = math.exp(s - top) / total
                    out[b, h, i] += weights[b, h, i, j] * v[b, g, j]
    return out, lse, weights


def linear(q, k, v, feature, *, causal, normalize=True, scale=1.0):
    """Returns linear attention, one pair of positions at a time."""
    batch, heads, q_len, _ = q.shape
    kv_heads, kv_len = k.shape[1:3]
    out = np.zeros((batch, heads, q_len, v.shape[-1]))
    for b in range(batch):
        for h in range(heads):
            g = h // (heads // kv_heads)
            for i in range(q_len):
                total = 0.0
                for j in range(kv_len):
                    if causal and j > i + kv_len - q_len:
                        continue
                    w = scale * sum(feature(x) * feature(y) for x, y in zip(q[b, h, i], k[b, g, j], strict=True))
                    out[b, h, i] += w * v[b, g, j]
                    total += w
                if normalize and total:
                    out[b, h, i] /= total
    return out
