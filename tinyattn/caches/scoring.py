"""Decoding steps whose scores are computed part by part in NumPy: a kernel of a cache takes them as a bias, and weighs the values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinyattn.caches.parts import bias_part, seen_part, settled_bias
from tinyattn.ops.bias import Bias
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_mask, check_window
from tinyattn.ops.quantize import Packed, code_numbers
from tinyattn.ops.score_rule import Score, check_score, of_keys
from tinyattn.ops.scores import scores_from
from tinyattn.ops.types import Array

# Numbers of keys that are unpacked or gathered at a time, about: with what is computed from them they stay in the second cache.
PART_NUMBERS = 1 << 17
# Keys of one product with a few queries.
BLOCK = 64
# The width of the keys of zeros beside such scores: whole registers of codes of 4 bits in every dtype.
WIDTH = 32


def few(q: Array, kv_heads: int, most: int) -> bool:
    """Returns whether each key head is read by at most `most` rows of queries: those of all heads of its group.

    >>> few(np.zeros((8, 1, 4)), 2, 4), few(np.zeros((8, 2, 4)), 2, 4)
    (True, False)
    """
    return q.shape[-2] * q.shape[-3] <= most * kv_heads


def part_tokens(keys_per_token: int, step: int) -> int:
    """Returns of how many tokens a part of the keys is, a multiple of `step`.

    >>> part_tokens(1 << 14, 3)
    6
    """
    return step * max(1, PART_NUMBERS // max(1, keys_per_token) // step)


def products(q: Array, keys: Array) -> Array:
    """Returns q k^T for a few queries (..., heads, i, d) and keys (..., kv_heads, n, d), which are read a block at a time.

    Measured with 4 rows of queries on 8192 keys of 128: OpenBLAS takes a sixth of the time for blocks that it need not pack.

    >>> products(np.ones((2, 1, 3)), np.ones((1, 130, 3))).shape
    (2, 1, 130)
    """
    folded, (*lead, count, dim) = fold_group(q, keys.shape[-3]), keys.shape
    whole = count // BLOCK * BLOCK
    blocks = side_by_side(folded[..., None, :, :] @ keys[..., :whole, :].reshape(*lead, whole // BLOCK, BLOCK, dim).mT)
    return unfold_group(np.concatenate((blocks, folded @ keys[..., whole:, :].mT), axis=-1), q.shape[-3])


def products_with_codes(q: Array, packed: Packed) -> Array:
    """Returns q k^T for keys in groups of tokens, without the numbers that their codes stand for.

    Formula: q_i . k_j = (q_i scale) . code_j + q_i . zero, scale and zero being those of the group of j.

    >>> from tinyattn.ops.quantize import quantize
    >>> products_with_codes(np.ones((1, 1, 2)), quantize(np.arange(8.0).reshape(1, 4, 2), bits=8, group=2, axis=-2)).round(9)
    array([[[ 1.,  5.,  9., 13.]]])
    """
    folded, codes = fold_group(q, packed.codes.shape[-3]), code_numbers(packed)
    *lead, count, dim = codes.shape
    grouped = codes.reshape(*lead, count // packed.group, packed.group, dim)
    made = (folded[..., None, :, :] * packed.scale[..., None, :]) @ grouped.mT
    made += (packed.zero @ folded.mT)[..., None]
    return unfold_group(side_by_side(made), q.shape[-3])


def side_by_side(blocks: Array) -> Array:
    """Returns (..., blocks, rows, n) as (..., rows, blocks * n)."""
    *lead, count, rows, width = blocks.shape
    return blocks.swapaxes(-2, -3).reshape(*lead, rows, count * width)


def scores_by_parts(parts: Iterable[tuple[Array, int]], full: tuple[int, ...], dtype: Any, *, mask: Array | Pattern | None = None,
                    bias: Array | Bias | None = None, window: Window | None = None, softcap: float | None = None,
                    score: Score | None = None) -> Array:
    """Returns the scores (..., heads, i, length) of causal queries at the last positions; -inf where a query does not see a key.

    Each part is the scaled products (..., heads, i, n) with some keys, and the position of the first of them; -inf is left where no
    part is. A +inf that the rule gives becomes NaN, as the row does: as a bias it would take all the weight.

    >>> x = np.ones((1, 2, 1))
    >>> scores_by_parts([(x, 0), (3.0 * x, 1)], (1, 2, 2), x.dtype, score=lambda s, i, j: s + j)
    array([[[  1., -inf],
            [  1.,   4.]]])
    """
    at = np.arange(full[-1] - full[-2], full[-1])
    mask, (left, _) = check_mask(mask, full), check_window(window)
    bias = settled_bias(bias, full, dtype, lambda: seen_part(mask, left, at, np.arange(full[-1])))
    rule, made = check_score(score, full, dtype), np.full(full, -np.inf, dtype)
    for some, start in parts:
        positions = np.arange(start, start + some.shape[-1])
        seen = seen_part(mask, left, at, positions)
        if seen is None or seen.any():
            own: Any = None if rule is None else of_keys(rule, positions, at)
            scores = scores_from(some, softcap, own, bias_part(bias, at, positions), seen)
            made[..., start : start + len(positions)] = scores if seen is None else np.where(seen, scores, -np.inf)
    made[np.isposinf(made)] = np.nan
    return made
