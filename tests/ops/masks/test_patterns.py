"""Patterns: pair by pair as their sentences say, in blocks as in pairs, composed as sets are."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn.ops import masks
from tinyattn.ops.masks import EMPTY, FULL, PARTIAL, Pattern

LENGTHS = st.integers(0, 13)
IDS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4])
CASES = {
    "causal": (masks.causal(), lambda i, j: j <= i),
    "window": (masks.window(2, 1), lambda i, j: i - 2 <= j <= i + 1),
    "window diagonal": (masks.window(0, 0), lambda i, j: j == i),
    "window unbounded": (masks.window(None, None), lambda i, j: True),
    "window left": (masks.window(2, None), lambda i, j: j >= i - 2),
    "window right": (masks.window(None, 0), lambda i, j: j <= i),
    "sliding": (masks.sliding_window(3), lambda i, j: 0 <= i - j < 3),
    "first": (masks.first(3), lambda i, j: j < 3),
    "prefix": (masks.prefix(2), lambda i, j: j <= i or j < 2),
    "strided": (masks.strided(3), lambda i, j: i >= j and (i - j) % 3 == 0),
    "strided 1": (masks.strided(1), lambda i, j: i >= j),
    "dilated": (masks.dilated(2, 3), lambda i, j: i - j in (0, 3)),
    "block_local": (masks.block_local(4), lambda i, j: i // 4 == j // 4),
    "global": (masks.global_tokens([0, 5, 6]), lambda i, j: i in (0, 5, 6) or j in (0, 5, 6)),
    "global none": (masks.global_tokens([]), lambda i, j: False),
    "documents": (masks.documents(IDS), lambda i, j: i >= 0 and IDS[i] == IDS[j]),
    "own": (Pattern(lambda i, j: (i + j) % 2 == 0), lambda i, j: (i + j) % 2 == 0),
    "composed": (masks.causal() & (masks.window(1, 0) | masks.first(2)), lambda i, j: j <= i and (j >= i - 1 or j < 2)),
    "not": (~masks.block_local(3), lambda i, j: i // 3 != j // 3),
}
EXACT = {"causal", "window", "window left", "window right", "sliding", "first", "block_local"}


@pytest.mark.parametrize("name", CASES)
@given(q_len=LENGTHS, kv_len=LENGTHS)
def test_dense_is_the_sentence_pair_by_pair(name, q_len, kv_len):
    pattern, says = CASES[name]
    dense = pattern.dense(q_len, kv_len)
    assert dense.shape == (q_len, kv_len)
    want = [[bool(says(i + kv_len - q_len, j)) for j in range(kv_len)] for i in range(q_len)]
    np.testing.assert_array_equal(dense, np.array(want, bool).reshape(q_len, kv_len))


@pytest.mark.parametrize("name", CASES)
@given(q_len=LENGTHS, kv_len=LENGTHS, q_block=st.integers(1, 6), kv_block=st.integers(1, 6))
def test_blocks_tell_the_truth_about_the_dense_array(name, q_len, kv_len, q_block, kv_block):
    pattern, _ = CASES[name]
    dense, blocks = pattern.dense(q_len, kv_len), pattern.blocks(q_len, kv_len, q_block, kv_block)
    assert blocks.dtype == np.uint8
    assert blocks.shape == (-(-q_len // q_block), -(-kv_len // kv_block))
    for (a, b), said in np.ndenumerate(blocks):
        tile = dense[a * q_block : (a + 1) * q_block, b * kv_block : (b + 1) * kv_block]
        truth = FULL if tile.all() else PARTIAL if tile.any() else EMPTY
        assert said == truth or (said == PARTIAL and name not in EXACT)


def test_blocks_of_an_own_predicate_have_its_leading_axes():
    heads = Pattern(lambda i, j: (i - j) % np.array([1, 2, 3])[:, None, None] == 0)
    for pattern in (heads, ~heads, heads & masks.causal(), masks.first(1) | heads):
        assert pattern.blocks(5, 7, 2, 3).shape == (3, 3, 3)


@given(q_len=LENGTHS, kv_len=LENGTHS, a=st.sampled_from(sorted(CASES)), b=st.sampled_from(sorted(CASES)))
def test_patterns_are_sets(q_len, kv_len, a, b):
    p, r = CASES[a][0], CASES[b][0]
    x, y = p.dense(q_len, kv_len), r.dense(q_len, kv_len)
    np.testing.assert_array_equal((p & r).dense(q_len, kv_len), x & y)
    np.testing.assert_array_equal((p | r).dense(q_len, kv_len), x | y)
    np.testing.assert_array_equal((~(p & r)).dense(q_len, kv_len), (~p | ~r).dense(q_len, kv_len))
    np.testing.assert_array_equal((~~p).dense(q_len, kv_len), x)


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=3), q_len=LENGTHS, kv_len=LENGTHS,
       block=st.integers(1, 5))
def test_padding_is_a_batch_before_the_heads(lengths, q_len, kv_len, block):
    dense = masks.padding(np.array(lengths)).dense(q_len, kv_len)
    assert dense.shape == (len(lengths), 1, q_len, kv_len)
    for b, length in enumerate(lengths):
        np.testing.assert_array_equal(dense[b, 0], np.broadcast_to(np.arange(kv_len) < length, (q_len, kv_len)))
    blocks = masks.padding(np.array(lengths)).blocks(q_len, kv_len, block, block)
    for b in range(len(lengths)):
        for (i, j), said in np.ndenumerate(blocks[b, 0]):
            tile = dense[b, 0, i * block : (i + 1) * block, j * block : (j + 1) * block]
            assert said == (FULL if tile.all() else PARTIAL if tile.any() else EMPTY)


def test_documents_of_a_batch_stand_before_the_heads():
    ids = np.array([[0, 0, 1], [0, 1, 1]])
    pattern = masks.causal() & masks.documents(ids)
    assert pattern.dense(3, 3).shape == (2, 1, 3, 3)
    np.testing.assert_array_equal(pattern.dense(3, 3)[1, 0], [[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    np.testing.assert_array_equal(masks.documents(ids).blocks(3, 3, 2, 2)[0, 0], [[FULL, EMPTY], [EMPTY, FULL]])
    with pytest.raises(ValueError, match=r"ids.*4 positions.*\(2, 3\)"):
        pattern.dense(4, 4)


def test_per_head_stacks_over_heads():
    pattern = masks.per_head([masks.causal(), masks.first(1), ~masks.causal()])
    dense = pattern.dense(3, 4)
    assert dense.shape == (3, 3, 4)
    np.testing.assert_array_equal(dense[2], ~dense[0])
    assert pattern.blocks(3, 4, 2, 2).shape == (3, 2, 2)
    mixed = masks.per_head([masks.causal(), masks.padding(np.array([1, 2]))])
    assert mixed.dense(3, 4).shape == (2, 2, 3, 4)


@given(size=st.integers(1, 4), count=st.integers(0, 4), seed=st.integers(0, 5), length=st.integers(1, 14))
def test_random_blocks_depend_on_seed_and_block_alone(size, count, seed, length):
    pattern = masks.random_blocks(size, count, seed)
    dense = pattern.dense(length, length)
    longer = pattern.dense(length + size, length + size)
    np.testing.assert_array_equal(longer[:length, :length], dense)
    for i in range(length):
        seen = {j // size for j in np.flatnonzero(longer[i])}
        assert len(seen) == min(count, i // size + 1)
        assert all(block <= i // size for block in seen)
    np.testing.assert_array_equal(pattern.visible(np.array([length - 1]), np.arange(length)), dense[-1:])


@pytest.mark.parametrize("pattern", [masks.first(1), masks.padding(np.array([1, 2])), Pattern(lambda i, j: j < 1)])
def test_a_dense_array_belongs_to_its_caller(pattern):
    dense = pattern.dense(2, 3)
    dense[..., 0, 0] = False
    assert dense[..., 1, 0].all()


def test_top_left_is_the_other_alignment():
    np.testing.assert_array_equal(masks.causal_top_left(2, 4).dense(2, 4), np.tri(2, 4, dtype=bool))
    np.testing.assert_array_equal(masks.causal_top_left(4, 2).dense(4, 2), np.tri(4, 2, dtype=bool))
    np.testing.assert_array_equal(masks.causal_top_left(4, 4).dense(4, 4), masks.causal().dense(4, 4))


def test_a_million_squared_takes_less_than_a_megabyte():
    pattern = masks.causal() & masks.window(1000, 0) | masks.first(4) | masks.global_tokens([7]) & ~masks.strided(9)
    tracemalloc.start()
    blocks = pattern.blocks(2 ** 20, 2 ** 20, 2 ** 13, 2 ** 13)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert blocks.shape == (128, 128)
    assert peak < 1_000_000


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: masks.window(-1, 0), ValueError, "left: expected 0 or more, got -1"),
    (lambda: masks.window(0, 1.5), TypeError, "right: expected an int, got float"),
    (lambda: masks.window(True, 0), TypeError, "left: expected an int, got bool"),
    (lambda: masks.sliding_window(0), ValueError, "width: expected 1 or more"),
    (lambda: masks.first(-1), ValueError, "n: expected 0 or more"),
    (lambda: masks.strided(0), ValueError, "n: expected 1 or more"),
    (lambda: masks.dilated(2, 0), ValueError, "rate"), (lambda: masks.block_local(0), ValueError, "size"),
    (lambda: masks.random_blocks(2, -1, 0), ValueError, "count"),
    (lambda: masks.global_tokens([-3]), ValueError, "indices.*-3"),
    (lambda: masks.global_tokens([0.5]), TypeError, "indices"),
    (lambda: masks.padding(np.array([-1])), ValueError, "lengths.*-1"),
    (lambda: masks.padding(np.array([0.5])), TypeError, "lengths"), (lambda: masks.padding(3), ValueError, "lengths"),
    (lambda: masks.documents(np.array([0.5])), TypeError, "ids"),
    (lambda: masks.per_head([]), ValueError, "patterns"), (lambda: masks.per_head([1]), TypeError, "patterns.*int"),
    (lambda: Pattern(3), TypeError, "see.*int"),
    (lambda: Pattern(lambda i, j: i - j).dense(2, 2), TypeError, "boolean.*int64"),
    (lambda: masks.causal() & np.ones((2, 2), bool), TypeError, "&.*ndarray"),
    (lambda: np.ones((2, 2), bool) | masks.causal(), TypeError, r"\|"),
    (lambda: masks.causal().blocks(4, 4, 0, 1), ValueError, "q_block"),
    (lambda: masks.causal().visible(np.array([0.5]), np.arange(2)), TypeError, "q_positions.*float64"),
    (lambda: masks.causal().visible(np.arange(2), np.ones((2, 2), int)), ValueError, "kv_positions"),
    (lambda: masks.documents_from_offsets(np.array([1, 2]), 2), ValueError, r"offsets\[0\]: expected 0"),
    (lambda: masks.documents_from_offsets(np.array([0, 3, 2, 4]), 4), ValueError, r"offsets\[2\]: expected 3"),
    (lambda: masks.documents_from_offsets(np.array([0, 3]), 4), ValueError, r"offsets\[1\]: expected the length 4"),
])
def test_what_cannot_be_a_pattern_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(("text", "want"), [
    ("causal & window(3,0) | first(2)", masks.causal() & masks.window(3, 0) | masks.first(2)),
    ("causal & (window(3,0) | first(2))", masks.causal() & (masks.window(3, 0) | masks.first(2))),
    ("~causal()", ~masks.causal()), (" window(None, right=1) ", masks.window(None, 1)),
    ("global_tokens([0, 5])", masks.global_tokens([0, 5])), ("prefix(2) & ~block_local(4)", masks.prefix(2) & ~masks.block_local(4)),
    ("random_blocks(2, 1, seed=3)", masks.random_blocks(2, 1, 3)),
])
def test_expressions_bind_as_python_does(text, want):
    np.testing.assert_array_equal(masks.parse(text).dense(9, 9), want.dense(9, 9))
    np.testing.assert_array_equal(masks.parse(repr(want)).dense(9, 9), want.dense(9, 9))


@pytest.mark.parametrize(("text", "words"), [
    ("casual", "unknown name 'casual'; did you mean causal"), ("", "cannot read"), ("causal &", "cannot read"),
    ("__import__('os')", "expected an int"), ("causal.see", "is not a pattern"), ("window(3)", "window"),
    ("window(-1, 0)", "left: expected 0 or more, got -1"), ("window(1.5, 0)", "expected an int"),
    ("causal + causal", "is not a pattern"), ("window(*[1, 2])", "expected an int"), ("(" * 400 + "causal" + ")" * 400, "pattern:"),
    ("a" * 2000, "at most 1000 characters, got 2000"), ("3", "is not a pattern"),
    ("window(**{})", "is not a pattern"), ("first(10**9)", "expected an int"),
])
def test_expressions_that_are_not_understood_are_named(text, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        masks.parse(text)


def test_an_expression_may_be_negated_hundreds_of_times():
    np.testing.assert_array_equal(masks.parse("~" * 900 + "causal").dense(2, 2), masks.causal().dense(2, 2))
    np.testing.assert_array_equal(masks.parse("~" * 901 + "causal").dense(2, 2), ~masks.causal().dense(2, 2))


def test_pictures():
    assert masks.causal()._repr_html_().startswith("<svg")
    page = Pattern(lambda i, j: j <= i, text="<b>")._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert len(masks.strided(2)._repr_html_()) < 8000
