"""Cells of a grid in an order of the kernel's own: the result does not show it."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.spatial import neighborhood
from tinyattn.kernels.spatial.neighborhood import neighbourhood, seen_among, visited
from tinyattn.ops.neighbours import check_neighbourhood
from tinyattn.ops.windows import coordinates

SORTED = {"dilated": {"grid": (40, 45), "kernel": 3, "dilation": (4, 3)}, "wide": {"grid": (16, 160), "kernel": 5},
          "strided and causal": {"grid": (48, 36), "kernel": 4, "dilation": (4, 3), "stride": 2, "causal": (True, False)}}


def arrays(cells):
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, cells, 8)), *(rng.standard_normal((1, cells, 8)) for _ in range(2))


@pytest.mark.parametrize("name", SORTED)
def test_sorted_cells_are_attended_to_as_the_definition_says(name):
    options = SORTED[name]
    tree = arrays(np.prod(options["grid"]))
    axes = check_neighbourhood(tree[0], tree[1], *(options.get(x, y) for x, y in (
        ("grid", None), ("kernel", None), ("dilation", 1), ("stride", 1), ("causal", False))))
    order, back, seen = neighbourhood(*axes)
    assert 1.25 * visited(seen, len(order)) <= visited(seen_among(coordinates(options["grid"]), axes[1]), len(order))
    np.testing.assert_array_equal(order[back], np.arange(len(order)))
    (got, pull), (want, pull_want) = (vjp(lambda t, door=door: door.neighborhood_attention(*t, **options), tree)
                                      for door in (kernels, definitions))
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)
    for mine, theirs in zip(pull(np.cos(want)), pull_want(np.cos(want)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)


def test_no_tile_that_holds_a_visible_pair_is_left_out():
    for grid, options in (((9, 16), {"kernel": 3, "dilation": 2}), ((13, 11), {"kernel": 3}), ((150,), {"kernel": 5, "dilation": 7})):
        x = np.zeros((1, int(np.prod(grid)), 4))
        _, axes = check_neighbourhood(x, x, grid, options["kernel"], options.get("dilation", 1), 1, False)
        for place in (coordinates(grid), coordinates(grid)[np.random.default_rng(1).permutation(len(x[0]))]):
            seen = seen_among(place, axes)
            start = np.arange(0, len(place), 8)
            last = np.minimum(start + 8, len(place)) - 1
            some, _ = seen.corners(start[:, None], last[:, None], start, last)
            cells = np.arange(len(place))
            dense = seen.see(cells[:, None], cells)
            by_tile = np.array([[dense[a : b + 1, c : d + 1].any() for c, d in zip(start, last, strict=True)]
                                for a, b in zip(start, last, strict=True)])
            assert not (by_tile & ~some).any()


@pytest.mark.parametrize("together", [1, 30000])
def test_some_heads_are_sorted_at_a_time(monkeypatch, together):
    monkeypatch.setattr(neighborhood, "TOGETHER", together)
    rng = np.random.default_rng(0)
    tree = rng.standard_normal((2, 6, 1800, 8)), *(rng.standard_normal((2, 3, 1800, width)) for width in (8, 5))
    (got, pull), (want, pull_want) = (vjp(lambda t, door=door: door.neighborhood_attention(*t, **SORTED["dilated"]), tree)
                                      for door in (kernels, definitions))
    for mine, theirs in zip((got, *pull(np.cos(want))), (want, *pull_want(np.cos(want))), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(0)
    tree, found = tuple(rng.standard_normal((3, 1800, 32)).astype(np.float32) for _ in range(3)), []
    for count in (1, 2, 3):
        with kernels.threads(count):
            out, pull = vjp(lambda t: kernels.neighborhood_attention(*t, **SORTED["dilated"]), tree)
            found.append(b"".join(x.tobytes() for x in (out, *pull(out))))
    assert found[0] == found[1] == found[2]
