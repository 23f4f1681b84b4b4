"""Sparse patterns: what they show by hand, what their cost grows with, and their gradients."""

import numpy as np
import pytest
from oracle import drawn

from tinyattn import definitions
from tinyattn.engine.check import directional
from tinyattn.ops import masks


def test_golden_patterns():
    sharded = masks.sharded(2, size=1, local=1, stride=4).dense(6, 6).astype(int)
    assert ["".join(map(str, row[: i + 1])) for i, row in enumerate(sharded[0])] == ["1", "01", "001", "0001", "00011", "000101"]
    assert ["".join(map(str, row[: i + 1])) for i, row in enumerate(sharded[1])] == ["1", "01", "011", "0101", "01001", "010001"]
    shifted = masks.shifted_blocks(4, 2).dense(8, 8)
    assert [int(np.flatnonzero(row)[0]) for row in shifted] == [0, 0, 2, 2, 2, 2, 6, 6]


def test_a_sparse_transformer_reaches_everything_in_two_layers():
    for near, far in ((masks.sliding_window(4), masks.strided(4)), (masks.causal() & masks.block_local(4), masks.fixed(4, 1))):
        both = near.dense(30, 30).astype(int) @ far.dense(30, 30).astype(int) > 0
        reached = both | (far.dense(30, 30).astype(int) @ near.dense(30, 30).astype(int) > 0)
        np.testing.assert_array_equal(reached | near.dense(30, 30), np.tril(np.ones((30, 30), bool)))


@pytest.mark.parametrize("pattern", [masks.sliding_window(16), masks.causal() & masks.block_local(16), masks.causal() & masks.look_back(16),
                                     masks.causal() & (masks.sliding_window(16) | masks.first(4))], ids=str)
def test_the_gathered_form_grows_linearly(pattern):
    seen = []

    def cost(length):
        q = np.random.default_rng(0).standard_normal((1, length, 8))
        seen.clear()
        inner = masks.Pattern(lambda i, j: (seen.append(i.size * j.size), pattern.see(i, j))[1], corners=pattern.corners)
        definitions.gathered_attention(q, q, q, mask=inner)
        return sum(seen)  # pairs looked at, which are the scores computed

    assert cost(1024) <= 2.1 * cost(512)
    assert cost(1024) < 1024 * 1024 / 8


@pytest.mark.parametrize("name", ["block_sparse", "longformer", "top_k", "lsh", "native_sparse", "block_mixture", "streaming_llm", "gathered"])
def test_gradients(name):
    q, k, v, rng = drawn(0, 6, 6)
    rotations, gates = definitions.lsh_rotations(rng, 2, 4, 4), rng.random((*q.shape[:-1], 3))
    others = {f"{name}_global": rng.standard_normal(x.shape) for name, x in zip("qkv", (q, k, v), strict=True)}
    blocks = rng.random((3, 3)) < 0.7
    calls = {
        "block_sparse": lambda t: definitions.block_sparse_attention(t["q"], t["k"], t["v"], blocks=blocks, q_block=2, kv_block=2),
        "longformer": lambda t: definitions.longformer_attention(t["q"], t["k"], t["v"], **t["others"], global_tokens=[1], window=1),
        "top_k": lambda t: definitions.top_k_attention(t["q"], t["k"], t["v"], keep=2, causal=True),
        "lsh": lambda t: definitions.lsh_attention(t["q"], np.concatenate((t["v"], t["v"]), axis=1), rotations=rotations, chunk=2),
        "native_sparse": lambda t: definitions.native_sparse_attention(t["q"], t["k"], t["v"], gates=t["gates"], block=2, selected=1, window=2),
        "block_mixture": lambda t: definitions.block_mixture_attention(t["q"], t["k"], t["v"], block=2, keep=2),
        "streaming_llm": lambda t: definitions.streaming_llm_attention(t["q"], t["k"], t["v"], first=1, window=2),
        "gathered": lambda t: definitions.gathered_attention(t["q"], t["k"], t["v"], mask=masks.sliding_window(2), block=2),
    }
    a, b = directional(calls[name], {"q": q, "k": k, "v": v, "others": others, "gates": gates}, rng)
    assert abs(a - b) < 1e-6


def test_a_text_of_no_tokens_may_have_any_number_of_axes_in_front():
    for lead in ((), (2,), (1, 2), (1, 3, 2)):
        qk, v = np.zeros((*lead, 0, 4)), np.zeros((*lead, 0, 3))
        assert definitions.lsh_attention(qk, v, rotations=np.ones((2, 4, 2)), chunk=2).shape == (*lead, 0, 3)
