"""Patterns of one mechanism each, pair by pair; and blocks of every shape, which are exact wherever that can be promised."""

import ast
import itertools

import numpy as np
import pytest

from tinyattn.ops import masks
from tinyattn.ops.masks import EMPTY, FULL, PARTIAL, Pattern
from tinyattn.ops.masks.published import near_blocks

LENGTHS = ((9, 9), (5, 13), (13, 5), (14, 14), (1, 9), (9, 1), (0, 4), (4, 0))
IDS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4])


def fixed(size, last):
    return masks.fixed(size, last), lambda h, i, j: j <= i and (i // size == j // size or j % size >= size - last)


def sharded(heads, size, local, stride):
    step = max(1, stride // heads)
    return masks.sharded(heads, size=size, local=local, stride=stride), lambda h, i, j: j <= i and (
        i // size - j // size < local or (j // size + h * step + 1) % stride == 0)


PUBLISHED = {
    "look_back(1)": (masks.look_back(1), lambda h, i, j: i - j in (0, 1)),
    "look_back(3)": (masks.look_back(3), lambda h, i, j: i // 3 - j // 3 in (0, 1)),
    "fixed(4, 2)": fixed(4, 2), "fixed(3, 1)": fixed(3, 1), "fixed(3, 3)": fixed(3, 3), "fixed(1, 1)": fixed(1, 1),
    "shifted_blocks(4, 1)": (masks.shifted_blocks(4, 1), lambda h, i, j: (i + 1) // 4 == (j + 1) // 4),
    "shifted_blocks(3, 0)": (masks.shifted_blocks(3, 0), lambda h, i, j: i // 3 == j // 3),
    "shifted_blocks(2, 5)": (masks.shifted_blocks(2, 5), lambda h, i, j: (i + 5) // 2 == (j + 5) // 2),
    "sharded(2, 2, 1, 3)": sharded(2, 2, 1, 3), "sharded(3, 1, 2, 5)": sharded(3, 1, 2, 5), "sharded(2, 3, 3, 6)": sharded(2, 3, 3, 6),
    "sharded(4, 1, 1, 2)": sharded(4, 1, 1, 2), "sharded(1, 2, 1, 1)": sharded(1, 2, 1, 1),
}
EXACT = [masks.causal(), masks.window(2, 1), masks.window(2, None), masks.window(None, 0), masks.window(0, 0), masks.sliding_window(3),
         masks.first(3), masks.first(0), masks.prefix(2), masks.prefix(5), masks.strided(3), masks.strided(2), masks.strided(1),
         masks.dilated(2, 3), masks.dilated(3, 1), masks.dilated(1, 4), masks.block_local(4), masks.block_local(1), masks.global_tokens([0, 5, 6]),
         masks.global_tokens([]), masks.documents(IDS), ~masks.block_local(3), ~masks.causal(), masks.causal() & masks.window(1, 0),
         masks.look_back(1), masks.look_back(3), masks.shifted_blocks(4, 1), masks.shifted_blocks(3, 0), masks.shifted_blocks(2, 5)]
# Between the keys' own blocks these say PARTIAL of a block that is full; within one block they are exact.
CAUTIOUS = [(masks.fixed(4, 2), 4), (masks.fixed(3, 1), 3), (masks.fixed(1, 1), 1), (masks.sharded(2, size=2, local=1, stride=3), 2),
            (masks.sharded(3, size=1, local=2, stride=5), 1), (masks.sharded(2, size=3, local=3, stride=6), 3)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_pattern_is_its_sentence_pair_by_pair(name: str) -> None:
    pattern, says = PUBLISHED[name]
    for q_len, kv_len in LENGTHS:
        dense = pattern.dense(q_len, kv_len)
        heads = dense.shape[0] if dense.ndim == 3 else 1
        assert dense.shape[-2:] == (q_len, kv_len)
        want = [[[says(h, i + kv_len - q_len, j) for j in range(kv_len)] for i in range(q_len)] for h in range(heads)]
        np.testing.assert_array_equal(dense.reshape(heads, q_len, kv_len), np.array(want, bool).reshape(heads, q_len, kv_len))


def tiles(pattern: Pattern):
    """Yields (said, true, keys) for every block in lengths and block shapes of all kinds; keys are its first and last key."""
    for (q_len, kv_len), (q_block, kv_block) in itertools.product(LENGTHS, itertools.product((1, 2, 3, 5, 7), repeat=2)):
        dense, blocks = pattern.dense(q_len, kv_len), pattern.blocks(q_len, kv_len, q_block, kv_block)
        assert blocks.shape[-2:] == (-(-q_len // q_block), -(-kv_len // kv_block))
        for index in np.ndindex(blocks.shape):
            *lead, a, b = index
            tile = dense[(*lead, slice(a * q_block, (a + 1) * q_block), slice(b * kv_block, (b + 1) * kv_block))]
            keys = b * kv_block, b * kv_block + tile.shape[-1] - 1
            yield blocks[index], FULL if tile.all() else PARTIAL if tile.any() else EMPTY, keys


@pytest.mark.parametrize("pattern", EXACT, ids=repr)
def test_blocks_are_exact(pattern: Pattern) -> None:
    assert all(said == true for said, true, _ in tiles(pattern))


@pytest.mark.parametrize(("pattern", "size"), CAUTIOUS, ids=repr)
def test_blocks_are_exact_within_one_block_of_keys_and_never_wrong(pattern: Pattern, size: int) -> None:
    for said, true, (first, last) in tiles(pattern):
        assert said == true or (said == PARTIAL and true == FULL and first // size != last // size)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: masks.look_back(0), "size: expected 1 or more, got 0"), (lambda: masks.fixed(0, 1), "size: expected 1 or more, got 0"),
    (lambda: masks.fixed(2, 0), "last: expected 1 or more, got 0"), (lambda: masks.fixed(2, 3), "last: expected at most the size 2, got 3"),
    (lambda: masks.shifted_blocks(0, 1), "size: expected 1 or more"), (lambda: masks.shifted_blocks(2, -1), "shift: expected 0 or more, got -1"),
    (lambda: masks.sharded(0, size=1, local=1, stride=1), "heads: expected 1 or more"),
    (lambda: masks.sharded(1, size=0, local=1, stride=1), "size: expected 1 or more"),
    (lambda: masks.sharded(1, size=1, local=0, stride=1), "local: expected 1 or more"),
    (lambda: masks.sharded(1, size=1, local=1, stride=0), "stride: expected 1 or more"),
])
def test_sizes_that_make_no_pattern_are_named(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


READ = ["causal()", "causal_top_left(3, 5)", "window(2, 1)", "window(None, 0)", "window(2, None)", "sliding_window(3)", "first(2)", "prefix(2)", "strided(3)",
        "dilated(2, 3)", "block_local(4)", "global_tokens([0, 5])", "random_blocks(2, 1, 3)", "look_back(3)", "fixed(4, 2)", "shifted_blocks(4, 1)",
        "sharded(2, size=3, local=4, stride=5)", "padding([2, 0])", "documents([0, 0, 1])", "per_head([causal(), first(1)])"]


@pytest.mark.parametrize("text", READ)
def test_a_pattern_reads_as_it_was_made(text: str) -> None:
    call = ast.parse(text, mode="eval").body
    values = [ast.literal_eval(value) if call.func.id != "per_head" else [masks.causal(), masks.first(1)] for value in call.args]
    arrays = [np.array(value) if call.func.id in ("padding", "documents") else value for value in values]
    pattern = getattr(masks, call.func.id)(*arrays, **{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords})
    assert repr(pattern) == text


def test_near_blocks_tells_blocks_that_are_far_apart_without_looking_inside():
    near = near_blocks(2)
    tiles = near.blocks(12, 12, 2, 2)
    assert [tiles[i, j] != EMPTY for i in range(6) for j in range(6)] == [abs(i - j) <= 1 for i in range(6) for j in range(6)]
