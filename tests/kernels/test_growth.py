"""The work of a mechanism with a band grows with the length, not with its square: what is counted is tiles, not seconds."""

import numpy as np
import pytest

from tinyattn import kernels
from tinyattn.kernels.exact import primitive
from tinyattn.ops import masks

HEADS, DIM, LENGTHS = 2, 32, (1024, 4096)
BANDED = {
    "attention": {"causal": True, "window": (32, 0)}, "multi_head_local_attention": {"window": 32},
    "gathered_attention": {"mask": masks.sliding_window(32) | masks.first(4)}, "shifted_sparse_attention": {"group": 64},
    "bigbird_attention": {"block": 64, "random": 1, "seed": 0, "causal": True},
    "streaming_llm_attention": {"first": 4, "window": 32}, "axial_attention": {"axis": 1}, "locally_grouped_attention": {"window": 8},
    "shifted_window_attention": {"window": 8, "shift": 4}}
ON_GRIDS = ("axial_attention", "locally_grouped_attention", "shifted_window_attention")


def visited(seen, sizes):
    """Returns how many pairs of queries and keys lie in the tiles that a call computes, as the loop of the kernel finds them."""
    total = 0
    for head in range(sizes.batch * sizes.heads):
        for number, start in enumerate(range(0, sizes.q_len, sizes.q_tile)):
            first = start + sizes.kv_len - sizes.q_len
            low, high = max(0, first - seen.left), min(sizes.kv_len, first + sizes.q_tile + seen.right)
            tiles = np.arange(-(-sizes.kv_len // sizes.kv_tile))
            if len(seen.tiles.heads):
                at = seen.tiles.heads[head] + number
                tiles = seen.tiles.entries[2 * seen.tiles.row[at] : 2 * seen.tiles.row[at + 1] : 2]
            total += np.count_nonzero((tiles * sizes.kv_tile < high) & ((tiles + 1) * sizes.kv_tile > low))
    return int(total) * sizes.q_tile * sizes.kv_tile


def counted(monkeypatch, name, length):
    """Returns how many pairs lie in all tiles that a mechanism computes on so many tokens; its backward visits the same tiles."""
    counts, solve = [], primitive.tiled

    def tiled(arrays, bias, distance, sinks, options, seen, full, sizes, *rest):
        counts.append(visited(seen, sizes))
        return solve(arrays, bias, distance, sinks, options, seen, full, sizes, *rest)

    monkeypatch.setattr(primitive, "tiled", tiled)
    x = np.random.default_rng(0).standard_normal((HEADS, length, DIM), np.float32)
    grid = {"grid": (length // 16, 16)} if name in ON_GRIDS else {}
    getattr(kernels, name)(x, x, x, **BANDED.get(name, {"causal": True}), **grid)
    monkeypatch.undo()
    return sum(counts)


@pytest.mark.parametrize("name", BANDED)
def test_four_times_the_tokens_visit_about_four_times_the_tiles(name, monkeypatch):
    short, long = (counted(monkeypatch, name, length) for length in LENGTHS)
    assert 0 < long <= 4.5 * short


def test_dense_attention_visits_tiles_by_the_square(monkeypatch):
    short, long = (counted(monkeypatch, "multi_head_attention", length) for length in LENGTHS)
    assert long > 8 * short
