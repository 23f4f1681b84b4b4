"""Rules on positions keep copies of what they are given, and do not care in which integers positions come."""

import numpy as np
import pytest

from tinyattn import definitions, ops
from tinyattn.ops import masks
from tinyattn.ops.options import check_window

FAR = lambda distance: (distance != 0).astype(int)
X = np.random.default_rng(0).standard_normal((2, 3, 4))
RULES = [
    ("documents", masks.documents, np.array([0, 0, 1])), ("documents of a batch", masks.documents, np.array([[0, 0, 1], [0, 1, 1]])),
    ("padding", masks.padding, np.array([1])), ("global tokens", masks.global_tokens, np.array([1, 2])),
    ("offsets", lambda offsets: masks.documents_from_offsets(offsets, 3), np.array([0, 2, 3])),
    ("alibi", ops.alibi, np.array([0.5])), ("alibi of halves", ops.alibi, np.array([0.5], np.float16)),
    ("relative", lambda table: ops.relative(table, FAR), np.array([[1.0], [2.0]])),
]


@pytest.mark.parametrize(("make", "array"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
def test_a_buffer_that_is_filled_again_changes_no_rule(make, array):
    buffer = array.copy()
    rule = make(buffer)
    before, text = rule.dense(3, 3).copy(), repr(rule)
    buffer[...] = 0
    np.testing.assert_array_equal(rule.dense(3, 3), before)
    assert repr(rule) == text


def test_a_list_of_patterns_and_frequencies_that_are_changed():
    patterns = [masks.causal(), masks.first(1)]
    stacked = masks.per_head(patterns)
    before = stacked.dense(3, 3)
    patterns[:] = [masks.first(3), masks.first(3)]
    np.testing.assert_array_equal(stacked.dense(3, 3), before)
    values = np.array([1.0, 0.5])
    frequencies = ops.Frequencies(values)
    values[:] = 9.0
    np.testing.assert_array_equal(frequencies.values, [1.0, 0.5])


PATTERNS = [masks.causal(), masks.window(1, 0), masks.sliding_window(2), masks.strided(2), masks.dilated(2, 2), masks.block_local(2), masks.look_back(2),
            masks.shifted_blocks(3, 100), masks.causal_top_left(3, 9), masks.documents(np.repeat(np.arange(5), 50)), masks.global_tokens([200]),
            masks.random_blocks(4, 2, 0), masks.fixed(3, 1), masks.padding(np.array([201])), ~masks.first(201)]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.uint64])
@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_positions_of_any_integers_are_the_same_positions(pattern, kind):
    q, k = np.arange(198, 205), np.arange(196, 205)
    want = pattern.visible(q, k)
    np.testing.assert_array_equal(pattern.visible(q.astype(kind), k.astype(kind)), want)


@pytest.mark.parametrize("kind", [np.uint8, np.uint64, np.int16])
def test_helpers_take_positions_of_any_integers(kind):
    positions = np.array([3, 200, 255])
    given = positions.astype(kind)
    x = X.astype(np.float64)
    np.testing.assert_array_equal(ops.rotary(x, given), ops.rotary(x, positions))
    np.testing.assert_array_equal(ops.sinusoidal(given, 4), ops.sinusoidal(positions, 4))
    np.testing.assert_array_equal(ops.cosformer_features(x, given, 300), ops.cosformer_features(x, positions, 300))
    np.testing.assert_array_equal(ops.t5_buckets(given, causal=False), ops.t5_buckets(positions, causal=False))
    np.testing.assert_array_equal(ops.alibi(np.ones(1)).tile(given, given), ops.alibi(np.ones(1)).tile(positions, positions))
    np.testing.assert_array_equal(masks.documents_from_offsets(np.array([0, 1, 3], kind), 3).dense(3, 3),
                                  masks.documents_from_offsets(np.array([0, 1, 3]), 3).dense(3, 3))
    chunks = {"chunk": 64, "local": 8, "base": 100.0}
    np.testing.assert_array_equal(definitions.dual_chunk_attention(x, x, x, **chunks, positions=given),
                                  definitions.dual_chunk_attention(x, x, x, **chunks, positions=positions))


def test_unsigned_offsets_that_decrease_are_refused():
    with pytest.raises(ValueError, match=r"offsets\[2\]: expected 2 or more, got 1"):
        masks.documents_from_offsets(np.array([0, 2, 1, 3], np.uint64), 3)
    with pytest.raises(ValueError, match="offsets: expected numbers of at most"):
        masks.documents_from_offsets(np.array([0, 2 ** 64 - 1], np.uint64), 3)


LARGEST = 1 << 62
WIDE = [(masks.window(LARGEST, 0), masks.causal()), (masks.window(LARGEST, LARGEST), masks.window(None, None)), (masks.sliding_window(LARGEST), masks.causal()),
        (masks.first(LARGEST), masks.window(None, None)), (masks.prefix(LARGEST), masks.window(None, None)),
        (masks.block_local(LARGEST), masks.window(None, None)), (masks.strided(LARGEST), masks.window(0, 0)), (masks.dilated(LARGEST, 1), masks.causal()),
        (masks.dilated(LARGEST, LARGEST), masks.window(0, 0)), (masks.look_back(LARGEST), masks.window(None, None)),
        (masks.fixed(LARGEST, 1), masks.causal()), (masks.shifted_blocks(LARGEST, LARGEST), masks.window(None, None)),
        (masks.sharded(1, size=LARGEST, local=LARGEST, stride=LARGEST), masks.causal()), (masks.random_blocks(LARGEST, 1, LARGEST), masks.window(None, None))]


@pytest.mark.parametrize(("wide", "same"), WIDE, ids=lambda pattern: repr(pattern))
def test_the_largest_counts_are_what_unbounded_ones_are(wide, same):
    np.testing.assert_array_equal(wide.dense(4, 6), np.broadcast_to(same.dense(4, 6), wide.dense(4, 6).shape))
    blocks, exact = wide.blocks(4, 6, 2, 3), same.dense(4, 6).reshape(2, 2, 2, 3).any(axis=(1, 3))
    assert ((blocks > 0) >= exact).all()
    assert check_window((LARGEST, 0)) == (None, 0)


def test_thresholds_of_buckets_are_whole_numbers_at_any_distance():
    from tinyattn.ops.positions.absolute import threshold
    for farthest in (128, 1 << 40, (1 << 60) + 12345, 1 << 62):
        for steps in (8, 16):
            for m in range(1, steps):
                n, goal = threshold(8, farthest, m, steps), 8 ** (steps - m) * farthest ** m
                assert (n - 1) ** steps < goal <= n ** steps
