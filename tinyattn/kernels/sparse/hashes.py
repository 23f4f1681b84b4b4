"""What LSH attention sorts by: for each hash the tokens in the order of their buckets, and where each bucket begins and ends."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tinyattn.kernels.steps.product import fits, project
from tinyattn.kernels.tiles.lanes import ROWS, columns
from tinyattn.kernels.tiles.rows import each_part
from tinyattn.kernels.tiles.storage import rounded_up
from tinyattn.ops.types import Array

# Products of a hash that are made at once: with as many directions as the text has chunks, those of all tokens take several times the
# memory of the tokens.
PRODUCTS = 1 << 18


class Hash(NamedTuple):
    """The rows of all heads in the order of one hash, (heads, length), and the first and the last place of their buckets (2, ...)."""

    order: Array
    edges: Array


def sorted_by_buckets(x: Array, rotations: Array) -> list[Hash]:
    """Returns the hashes of x (heads, length, width), one for each of the rotations (hashes, width, directions).

    Sorted by bucket, then by position, the tokens of a bucket stand next to each other, the earlier ones first: what a token
    sees is a range of places, and with causality no later place.
    """
    heads, length, _ = x.shape
    hashes = [Hash(np.empty((heads, length), np.int64), np.empty((2, heads, length), x.dtype)) for _ in rotations]
    cuts = [*range(0, length // ROWS * ROWS, max(ROWS, PRODUCTS // rotations.shape[-1] // ROWS * ROWS)), length // ROWS * ROWS, length]

    def task(n: int) -> None:
        head, (order, edges), rotation = n % heads, hashes[n // heads], rotations[n // heads]
        bucket = np.concatenate([buckets_of(product(x[head, start:stop], rotation)) for start, stop in pairwise(cuts)])
        order[head] = np.argsort(bucket, kind="stable")
        edges[:, head] = ends_of_runs(bucket[order[head]])
        order[head] += head * length

    each_part(task, range(heads * len(rotations)), x.size)
    return hashes


def product(rows: Array, rotation: Array) -> Array:
    """Returns the products of some tokens with the directions of a hash.

    After a product of NumPy the threads of its BLAS wait for the next one and take the cores from the kernel. Few directions are
    therefore filled up with zeros to whole registers.
    """
    inputs, count = rotation.shape
    wide = np.zeros((inputs, rounded_up(count, columns(rows.itemsize))), rows.dtype)
    wide[:, :count] = rotation
    return project(rows, wide)[0][:, :count] if fits(rows, wide) else rows @ rotation


def buckets_of(sides: Array) -> Array:
    """Returns the bucket of each token, argmax [x R ; -x R], from its products (length, directions) with those of a hash."""
    rows, count = np.arange(len(sides)), sides.shape[-1]
    high, low = np.argmax(sides, axis=-1), np.argmin(sides, axis=-1)
    bucket = np.where(-sides[rows, low] > sides[rows, high], low + count, high)
    # NumPy sorts 16 bits by counting, five times as fast as it compares numbers of 64 bits.
    return bucket.astype(np.uint16) if 2 * count <= 1 << 16 else bucket


def ends_of_runs(x: Array) -> list[Array]:
    """Returns for each entry of a sorted array (length,) the first and the last place of those that are equal to it."""
    edges = np.concatenate(([0], np.flatnonzero(x[1:] != x[:-1]) + 1, [len(x)]))
    return [np.repeat(ends, np.diff(edges)) for ends in (edges[:-1], edges[1:] - 1)]
