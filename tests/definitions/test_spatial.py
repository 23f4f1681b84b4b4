"""Spatial attention against loops over cells, which say pair by pair who is seen and how they score."""

import itertools
import math

import numpy as np
import oracle
from hypothesis import given
from hypothesis import strategies as st
from oracle import CLOSE, image

from tinyattn import definitions
from tinyattn.ops import rotary_2d, windows

SEEDS = st.integers(0, 99)
# Grid and window; among them a grid of one cell, one cell wide, windows that are the grid or larger, and three axes.
TILED = [((1,), (1,)), ((12,), (4,)), ((6,), (3,)), ((5,), (9,)), ((4, 6), (2, 3)), ((6, 4), (6, 2)), ((4, 4), (4, 4)), ((3, 1), (1, 1)),
         ((2, 4, 2), (1, 2, 2))]


def cells_of(grid):
    return list(itertools.product(*map(range, grid)))


def seen_by(q, grid, rule):
    """seen[b, h, i, j] = rule(cell i, cell j)."""
    pairs = np.array([[bool(rule(a, b)) for b in cells_of(grid)] for a in cells_of(grid)])
    return np.broadcast_to(pairs, (*q.shape[:-1], len(pairs)))


@given(seed=SEEDS, tiled=st.sampled_from(TILED), shift=st.sampled_from([0, 1, 2, 5]), table=st.booleans())
def test_shifted_window(seed, tiled, shift, table):
    grid, window = tiled
    q, k, v, rng = image(seed, grid)
    sides = [min(w, n) for w, n in zip(window, grid, strict=True)]
    steps = [0 if w == n else shift for w, n in zip(sides, grid, strict=True)]

    def region(cell):  # cut at shift, shift + window, ...: ragged at both ends
        return [(x - s) // w for x, s, w in zip(cell, steps, sides, strict=True)]

    numbers = rng.standard_normal((math.prod(2 * w - 1 for w in sides), 4)) if table else None
    bias = np.zeros((2, 4, len(cells_of(grid)), len(cells_of(grid))))
    for (i, a), (j, b) in itertools.product(enumerate(cells_of(grid)), repeat=2):
        if table and region(a) == region(b):
            row = 0
            for x, y, w in zip(a, b, sides, strict=True):
                row = row * (2 * w - 1) + x - y + w - 1
            bias[:, :, i, j] = numbers[row]
    want, _, _ = oracle.attention(q, k, v, seen=seen_by(q, grid, lambda a, b: region(a) == region(b)), bias=bias)
    got = definitions.shifted_window_attention(q, k, v, grid=grid, window=window, shift=shift, bias_table=numbers)
    np.testing.assert_allclose(got, want, **CLOSE)


@given(seed=SEEDS, grid=st.sampled_from([(1,), (5,), (3, 4), (4, 4), (2, 3, 2), (4, 1)]), axis=st.integers(-3, 2), causal=st.booleans())
def test_axial(seed, grid, axis, causal):
    axis = max(min(axis, len(grid) - 1), -len(grid))
    q, k, v, _ = image(seed, grid)

    def rule(a, b):
        others = [n for n in range(len(grid)) if n != axis % len(grid)]
        return all(a[n] == b[n] for n in others) and (b[axis] <= a[axis] or not causal)

    want, _, _ = oracle.attention(q, k, v, seen=seen_by(q, grid, rule))
    np.testing.assert_allclose(definitions.axial_attention(q, k, v, grid=grid, axis=axis, causal=causal), want, **CLOSE)


def nearest(i, length, kernel, dilation, stride, causal):
    """The cells that cell i of an axis sees: the nearest of its residue, the left one where two are as near."""
    group = [j for j in range(length) if j % dilation == i % dilation]
    place = group.index(i)
    run = [p for p in range(len(group)) if p // stride == place // stride]
    if causal:
        return [group[p] for p in range(place + 1) if p > run[-1] - kernel]
    leader = min(place // stride * stride + stride // 2, len(group) - 1)
    return [group[p] for p in sorted(range(len(group)), key=lambda p: (abs(p - leader), p))[:kernel]]


@given(seed=SEEDS, data=st.data(), grid=st.sampled_from([(1,), (7,), (9,), (4, 5), (5, 5), (6, 1), (3, 2, 3)]))
def test_neighborhood(seed, data, grid):
    q, k, v, _ = image(seed, grid)
    kernel = tuple(data.draw(st.integers(1, n)) for n in grid)
    dilation = tuple(data.draw(st.integers(1, n // w)) for n, w in zip(grid, kernel, strict=True))
    stride = tuple(data.draw(st.integers(1, w)) for w in kernel)
    causal = tuple(data.draw(st.booleans()) for _ in grid)
    near = [[nearest(i, *sizes) for i in range(sizes[0])] for sizes in zip(grid, kernel, dilation, stride, causal, strict=True)]
    want, _, _ = oracle.attention(q, k, v, seen=seen_by(q, grid, lambda a, b: all(y in near[n][x] for n, (x, y) in
                                                                                  enumerate(zip(a, b, strict=True)))))
    got = definitions.neighborhood_attention(q, k, v, grid=grid, kernel=kernel, dilation=dilation, stride=stride, causal=causal)
    np.testing.assert_allclose(got, want, **CLOSE)


@given(seed=SEEDS, tiled=st.sampled_from(TILED))
def test_locally_grouped(seed, tiled):
    grid, window = tiled
    q, k, v, _ = image(seed, grid)
    seen = seen_by(q, grid, lambda a, b: all(x // w == y // w for x, y, w in zip(a, b, window, strict=True)))
    want, _, _ = oracle.attention(q, k, v, seen=seen)
    np.testing.assert_allclose(definitions.locally_grouped_attention(q, k, v, grid=grid, window=window), want, **CLOSE)


@given(seed=SEEDS, tiled=st.sampled_from(TILED), q_len=st.sampled_from([1, 7, 30]))
def test_global_subsampled(seed, tiled, q_len):
    grid, ratio = tiled
    q, k, v, _ = image(seed, grid, q_len)
    blocks = {}
    for j, cell in enumerate(cells_of(grid)):
        blocks.setdefault(tuple(x // r for x, r in zip(cell, ratio, strict=True)), []).append(j)
    means = [np.stack([sum(x[..., j, :] for j in members) / len(members) for members in blocks.values()], axis=-2) for x in (k, v)]
    want, _, _ = oracle.attention(q, *means)
    np.testing.assert_allclose(definitions.global_subsampled_attention(q, k, v, grid=grid, ratio=ratio), want, **CLOSE)


@given(seed=SEEDS, shape=st.sampled_from([(1, 1, 1), (3, 4, 5), (2, 5, 3, 3), (2, 1, 1, 2, 6)]), size=st.sampled_from([1, 3, 7]))
def test_spatial_gate(seed, shape, size):
    rng = np.random.default_rng(seed)
    x, kernel, bias = rng.standard_normal(shape), rng.standard_normal((2, size, size)), float(rng.standard_normal())
    want, edge = np.zeros(shape), size // 2
    for *lead, r, c in np.ndindex(*shape[:-3], *shape[-2:]):
        total = bias
        for dr, dc in itertools.product(range(-edge, edge + 1), repeat=2):
            if 0 <= r + dr < shape[-2] and 0 <= c + dc < shape[-1]:
                pixel = [float(number) for number in x[(*lead, slice(None), r + dr, c + dc)]]
                total += kernel[0, dr + edge, dc + edge] * sum(pixel) / len(pixel) + kernel[1, dr + edge, dc + edge] * max(pixel)
        want[(*lead, slice(None), r, c)] = x[(*lead, slice(None), r, c)] / (1 + math.exp(-total))
    np.testing.assert_allclose(definitions.spatial_gate(x, kernel=kernel, bias=bias), want, **CLOSE)


@given(seed=SEEDS, grid=st.sampled_from([(1, 1), (3, 1), (1, 4), (3, 5), (4, 4)]), interleaved=st.booleans())
def test_rotary_2d(seed, grid, interleaved):
    x = np.random.default_rng(seed).standard_normal((2, math.prod(grid), 8))
    want = np.zeros_like(x)
    for b, (i, cell) in itertools.product(range(2), enumerate(cells_of(grid))):
        for half, pair in itertools.product(range(2), range(2)):
            first, second = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + 2)
            z = complex(x[b, i, 4 * half + first], x[b, i, 4 * half + second])
            z *= complex(math.cos(cell[half] * 100.0 ** (-pair / 2)), math.sin(cell[half] * 100.0 ** (-pair / 2)))
            want[b, i, 4 * half + first], want[b, i, 4 * half + second] = z.real, z.imag
    np.testing.assert_allclose(rotary_2d(x, grid=grid, base=100.0, interleaved=interleaved), want, **CLOSE)


def rows_of(mechanism, length, **options):
    """Which cells each cell of a line sees: the weights of equal scores."""
    zeros = np.zeros((1, length, 1))
    weights = mechanism(zeros, zeros, np.eye(length)[None], grid=(length,), **options)[0]
    return [np.flatnonzero(row).tolist() for row in weights]


def test_golden_windows_and_neighbourhoods():
    seen = rows_of(definitions.shifted_window_attention, 12, window=4, shift=2)
    assert seen == [[0, 1]] * 2 + [[2, 3, 4, 5]] * 4 + [[6, 7, 8, 9]] * 4 + [[10, 11]] * 2
    turned = windows.roll_grid(np.arange(12.0)[:, None], (12,), (-2,))[:, 0]
    assert turned.tolist() == [*range(2, 12), 0, 1]
    assert definitions.relative_position_index(2).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert definitions.relative_position_index((3,)).tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]
    for kernel, starts in ((3, [0, 0, 1, 2, 3, 4, 4]), (4, [0, 0, 0, 1, 2, 3, 3])):
        seen = rows_of(definitions.neighborhood_attention, 7, kernel=kernel)
        assert seen == [list(range(start, start + kernel)) for start in starts]
    assert rows_of(definitions.neighborhood_attention, 5, kernel=3, stride=3, causal=True) == [[0], [0, 1], [0, 1, 2], [2, 3], [2, 3, 4]]


@given(tiled=st.sampled_from(TILED), lead=st.sampled_from([(), (2,), (2, 3)]))
def test_cutting_and_turning_are_undone(tiled, lead):
    grid, window = tiled
    window = windows.check_sides("window", window, grid)
    x = np.arange(math.prod(lead) * 2.0 * math.prod(grid)).reshape(*lead, 2, -1, 1)
    cut = windows.to_windows(x, grid, window)
    assert cut.shape == (*lead, math.prod(grid) // math.prod(window), 2, math.prod(window), 1)
    np.testing.assert_array_equal(windows.from_windows(cut, grid, window), x)
    back = windows.roll_grid(windows.roll_grid(x, grid, window), grid, tuple(-w for w in window))
    np.testing.assert_array_equal(back, x)


def test_two_layers_join_neighbouring_windows():
    reached = np.eye(16, dtype=bool)
    for shift in (0, 2):
        reached = reached @ np.array([[j in row for j in range(16)] for row in rows_of(definitions.shifted_window_attention, 16, window=4, shift=shift)])
    assert [np.flatnonzero(row).tolist() for row in reached[:4]] == [[*range(6)]] * 4
    assert np.flatnonzero(reached[5]).tolist() == [*range(2, 10)]
