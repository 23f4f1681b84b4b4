"""The keys with the largest scores of each row, found tile by tile; of equal scores the earlier key is picked."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.chosen.candidates import LANES, admit, begin, room_of, settled
from tinyattn.kernels.exact.primitive import Options, scoring
from tinyattn.kernels.exact.scores import cap, key_range, keys_of_tile, score, tile_at, tiles_of
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.product import product_set
from tinyattn.kernels.tiles.seen import seen_of
from tinyattn.kernels.tiles.storage import filled, sizes_of, work
from tinyattn.kernels.tiles.threads import next_task, run
from tinyattn.kernels.tiles.vector import transpose_rows
from tinyattn.ops.types import Array


def largest_keys(q: Array, k: Array, keep: int, bias: Array | None, distance: Array | None, options: Options) -> Array:
    """Returns the keys with the `keep` largest scores of each row, (..., i, keep) in order, -1 where fewer are not -inf.

    NaN counts as the largest number.
    """
    full = (*q.shape[:-1], k.shape[-2])
    picks, sizes = np.full((*full[:-1], keep), -1, np.int32), sizes_of(q, k, k)
    if picks.size and full[-1]:
        seen = seen_of(options.mask, options.left, options.right, full, sizes)
        padded_q, padded_k, _ = filled(q, k, k, sizes)
        run(pick, sizes.batch * sizes.heads * -(-sizes.q_len // sizes.q_tile), work(sizes) // 2, sizes,
            *scoring(options, seen, bias, distance, full, q.dtype), keep, room_of(keep, sizes), padded_q, padded_k, picks.reshape(-1))
    return picks


@compiled
def pick(counter, sizes, rules, heads, row_at, entries, bands, tiles, mask, mask_at, bias, bias_at, distance, keep, room,
         q, k, picks):
    """Fills picks [row][keep] with the keys of each row's largest scores; a task is one tile of queries."""
    width, micro = sizes.q_tile, sizes.micro_columns
    s, q_t = np.empty(sizes.kv_tile * width, q.dtype), np.empty(sizes.head_width * width, q.dtype)
    values, places = np.empty(width * room, q.dtype), np.empty(width * room, np.int32)
    bounds, found, spare = np.empty(width, q.dtype), np.empty(width, np.int64), np.empty(max(room, width, LANES), q.dtype)
    count = (sizes.q_len + width - 1) // width
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.heads * count:
            break
        head = task // count
        i0 = (count - 1 - task % count) * width  # with a causal mask the last tiles are the longest: they go first
        rows = min(width, sizes.q_len - i0)
        kv_at = head // (sizes.heads // sizes.kv_heads) * sizes.kv_rows
        transpose_rows(q_t, width, q, (head * sizes.q_len + i0) * sizes.head_width, sizes.head_width, rows,
                       q.dtype.type(rules.factor), sizes.lanes, micro)
        begin(rows, width, bounds, found)
        low, high = key_range(i0, rows, sizes, rules)
        start, stop = tiles_of(head, i0, low, high, heads, row_at, sizes, rules)
        for n in range(start, stop):
            j0, kind, below, above = tile_at(n, i0, entries, bands, sizes, rules)
            if j0 >= high or j0 + sizes.kv_tile <= low:
                continue
            keys = keys_of_tile(j0, high, sizes)
            product_set(s, 0, width, micro, k, (kv_at + j0) * sizes.head_width, sizes.head_width, 1, q_t, sizes.head_width * micro,
                        keys, width, sizes.head_dim, micro, -above, -below)
            if rules.cap:
                cap(s, keys, sizes, rules, spare)
            score(s, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance)
            admit(s, keys, j0, width, keep, room, values, places, found, bounds, spare)
        for i in range(rows):
            taken = (head * sizes.q_len + i0 + i) * keep
            for n in range(settled(i, keep, room, values, places, found, bounds, spare)):
                picks[taken + n] = places[i * room + n]
