"""Sticks broken from the right: the share of each key in what nearer keys leave, until nothing is left."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from tinyattn.kernels.rows.scan import products_right, sums_left
from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.vector import column_exp
from tinyattn.ops.types import Array

# Keys taken together: where something is left of all sticks, 64 took almost twice as long.
PART = 256


@compiled
def break_sticks(scores, width, count, most, least, skip, left, weights, rest):
    """Writes each key's share over its score, fills what it leaves, its weight and the rest; returns the first key with a weight.

    By products and not by sums of logs, which take longer. The exponential of a score of `most` is still a number, and the share is 1
    from there on. What is left after some keys counts as nothing below `least`. With `skip` no key is read from which on nothing is
    left, and what is returned holds for all rows; keys before it are not filled.
    """
    control, kind = flush_small(), scores.dtype.type
    odds, kept, none, spare = (np.empty(PART, scores.dtype), np.empty(PART, scores.dtype), np.zeros(count, scores.dtype),
                               np.zeros(count, scores.dtype))
    ends = np.empty(rest.size, np.int64)
    low = width if skip else 0
    for row in range(rest.size):
        carry, end = kind(1), width
        while end > 0 and not (skip and carry == 0):
            first = max(end - PART, 0)
            there, at = end - first, row * width + first
            for c in range(there, PART):
                odds[c] = -np.inf
            for c in range(there):
                score = scores[at + c]
                odds[c] = most if score > most else score
            column_exp(odds, PART // count, count, none, spare)
            for c in range(PART):
                kept[c] = kind(1) / (odds[c] + kind(1))
                odds[c] *= kept[c]
            for c in range(there):
                scores[at + c], left[at + c] = odds[c], kept[c]
            carry = products_right(kept, carry)
            if carry < least:
                carry = kind(0)
            for c in range(there):
                weights[at + c] = kind(0) if kept[c] < least else odds[c] * kept[c]
            end = first
        rest[row], ends[row] = carry, end
        low = min(low, end)
    for row in range(rest.size):
        for x in range(row * width + low, row * width + ends[row]):
            scores[x] = left[x] = weights[x] = 0
    restore(control)
    return low


@compiled
def pull_sticks(shares, left, weights, width, low, rest, d_weights):
    """Writes the gradient of the scores over d_weights, which has the keys from `low` on; rest holds its own gradient times it.

    A score moves its own weight, and against it those of all farther keys.
    """
    control = flush_small()
    farther = np.empty(PART, d_weights.dtype)
    for row in range(rest.size):
        carry = rest[row]
        for first in range(low, width, PART):
            there, at = min(PART, width - first), row * width + first
            d_at = row * (width - low) + first - low
            for c in range(there):
                d_weights[d_at + c] *= weights[at + c]
                farther[c] = d_weights[d_at + c]
            for c in range(there, PART):
                farther[c] = 0
            carry = sums_left(farther, carry)
            for c in range(there):
                d_weights[d_at + c] = d_weights[d_at + c] * left[at + c] - farther[c] * shares[at + c]
    restore(control)


def broken_sticks(scores: Array, skip: bool) -> tuple[Array, Array, Array, int]:
    """Returns what each key leaves, the weights, the rest, and the first key that has a weight; writes the shares over the scores."""
    left, weights, rest = np.empty_like(scores), np.empty_like(scores), np.empty(scores.shape[:-1], scores.dtype)
    kind, finest = scores.dtype.type, np.finfo(scores.dtype)
    # Weights near the least normal number, times values, would be too small for one: products of NumPy took four times as long.
    most, least = kind(0.9 * math.log(finest.max)), kind(finest.tiny / finest.eps)
    low = break_sticks(scores.reshape(-1), scores.shape[-1], lanes.lanes(scores.itemsize), most, least, skip, left.reshape(-1),
                       weights.reshape(-1), rest.reshape(-1))
    return left, weights, rest, low


def pulled_sticks(shares: Array, left: Array, weights: Array, low: int, rest: Array, d_weights: Array) -> Array:
    """Returns the gradient of the scores of the keys from `low` on, written over d_weights; rest holds its own gradient times it."""
    pull_sticks(shares.reshape(-1), left.reshape(-1), weights.reshape(-1), shares.shape[-1], low, rest.reshape(-1),
                d_weights.reshape(-1))
    return d_weights
