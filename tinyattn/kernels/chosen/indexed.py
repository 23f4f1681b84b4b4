"""The keys that a lightning indexer chooses: scores of its heads added tile by tile, and a mask that shows the largest."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.chosen.candidates import LANES, admit, begin, room_of, settled
from tinyattn.kernels.exact.primitive import Options, scoring
from tinyattn.kernels.exact.scores import hide_far, is_cut, key_range, keys_of_tile
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_set
from tinyattn.kernels.tiles.seen import UNBOUNDED, seen_of
from tinyattn.kernels.tiles.storage import filled, sizes_of, work
from tinyattn.kernels.tiles.threads import next_task, run
from tinyattn.kernels.tiles.vector import transpose_rows
from tinyattn.ops.types import Array


def indexed_keys(q: Array, k: Array, weights: Array, keep: int, causal: bool) -> Array:
    """Returns a mask (..., 1, i, j) of the `keep` keys with the largest scores of each query; k is (..., 1, j, c).

    The score of a pair is the sum of the products of all heads that are positive, weighed by (..., heads, i). The mask stands in
    memory with the queries of a key in a row, as the tiles of the exact kernel do, which then read it without turning it.
    """
    (*lead, _, q_len, _), kv_len = q.shape, k.shape[-2]
    mask = np.zeros((*lead, 1, kv_len, q_len), np.bool_)
    if mask.size:
        sizes, keep, full = sizes_of(q, k, k), min(keep, kv_len), (*q.shape[:-1], kv_len)
        options = Options(None, None, 0 if causal else None, 1.0, None, learned=False)
        rules = scoring(options, seen_of(None, None, options.right, full, sizes), None, None, full, q.dtype)[0]
        padded_q, padded_k, _ = filled(q, k, k, sizes)
        run(pick_indexed, sizes.batch * -(-q_len // sizes.q_tile), work(sizes) // 2, sizes, rules, keep, room_of(keep, sizes),
            np.require(weights, requirements=["C", "W"]).reshape(-1), padded_q, padded_k, np.finfo(q.dtype).min,
            mask.view(np.uint8).reshape(-1))
    return mask.mT


@inlined
def add_positive(s, products, weights, at, keys, rows, width):
    """Adds to a tile of scores the products that are positive, or NaN, weighed by weights[at] and those that follow, per row."""
    nothing, first = s.dtype.type(0), np.uint64(at)
    for j in range(keys):
        begin_at = np.uint64(j * width)
        for i in range(np.uint64(rows)):
            x = products[begin_at + i]
            s[begin_at + i] += weights[first + i] * (nothing if x < nothing else x)


@compiled
def pick_indexed(counter, sizes, rules, keep, room, weights, q, k, least, mask):
    """Sets mask [batch][key][query] to 1 for the keys of each query's largest scores; a task is one tile of queries.

    Queries that see no more than `keep` keys are given all of them, and of a tile of such queries no score is computed. A score
    below `least`, the lowest finite one, is taken for that, because -inf stands for hidden.
    """
    width, micro, dtype = sizes.q_tile, sizes.micro_columns, q.dtype
    size, count = sizes.head_width * width, (sizes.q_len + width - 1) // width
    s, products, q_t = np.empty(sizes.kv_tile * width, dtype), np.empty(sizes.kv_tile * width, dtype), np.empty(size, dtype)
    turned = np.empty(sizes.heads * size, dtype)
    values, places, spare = np.empty(width * room, dtype), np.empty(width * room, np.int32), np.empty(max(room, LANES), dtype)
    bounds, found = np.empty(width, dtype), np.empty(width, np.int64)
    while True:
        task = next_task(counter)
        if task >= sizes.batch * count:
            break
        batch = task // count
        i0 = (count - 1 - task % count) * width  # with a causal mask the last tiles are the longest: they go first
        rows, at = min(width, sizes.q_len - i0), batch * sizes.kv_len * sizes.q_len + i0
        _, high = key_range(i0, rows, sizes, rules)
        if high <= keep:
            first = i0 + sizes.kv_len - sizes.q_len
            for j in range(high):
                for i in range(max(0, j - rules.right - first), rows):
                    mask[at + j * sizes.q_len + i] = 1
            continue
        for h in range(sizes.heads):
            transpose_rows(q_t, width, q, ((batch * sizes.heads + h) * sizes.q_len + i0) * sizes.head_width, sizes.head_width, rows,
                           dtype.type(1), sizes.lanes, micro)
            for x in range(np.uint64(size)):
                turned[np.uint64(h * size) + x] = q_t[x]
        begin(rows, width, bounds, found)
        for j0 in range(0, high, sizes.kv_tile):
            keys = keys_of_tile(j0, high, sizes)
            for x in range(np.uint64(keys * width)):
                s[x] = 0
            for h in range(sizes.heads):
                product_set(products, 0, width, micro, k, (batch * sizes.kv_rows + j0) * sizes.head_width, sizes.head_width, 1,
                            turned[h * size :], sizes.head_width * micro, keys, width, sizes.head_dim, micro, -UNBOUNDED, UNBOUNDED)
                add_positive(s, products, weights, (batch * sizes.heads + h) * sizes.q_len + i0, keys, rows, width)
            for x in range(np.uint64(keys * width)):
                s[x] = least if s[x] < least else s[x]
            if is_cut(i0, j0, rows, keys, sizes, rules):
                hide_far(s, i0, j0, rows, keys, sizes, rules)
            admit(s, keys, j0, width, keep, room, values, places, found, bounds, spare)
        for i in range(rows):
            for n in range(settled(i, keep, room, values, places, found, bounds, spare)):
                mask[at + places[i * room + n] * sizes.q_len + i] = 1
