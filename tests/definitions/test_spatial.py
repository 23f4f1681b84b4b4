"""Spatial attention against loops over cells, which say pair by pair who is seen and how they score."""

import importlib.util
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn import definitions
from tinyattn.engine import Tensor
from tinyattn.engine.check import directional
from tinyattn.engine.graph import ancestry
from tinyattn.ops import rotary_2d, windows

_spec = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)
CLOSE = {"rtol": 1e-11, "atol": 1e-12}
SEEDS = st.integers(0, 99)
# Grid and window; among them a grid of one cell, one cell wide, windows that are the grid or larger, and three axes.
TILED = [((1,), (1,)), ((12,), (4,)), ((6,), (3,)), ((5,), (9,)), ((4, 6), (2, 3)), ((6, 4), (6, 2)), ((4, 4), (4, 4)), ((3, 1), (1, 1)),
         ((2, 4, 2), (1, 2, 2))]


def drawn(seed, grid, q_len=None, groups=2, d=4, e=3):
    rng, length = np.random.default_rng(seed), math.prod(grid)
    return (rng.standard_normal((2, 2 * groups, q_len or length, d)), rng.standard_normal((2, 2, length, d)),
            rng.standard_normal((2, 2, length, e)), rng)


def cells_of(grid):
    return list(itertools.product(*map(range, grid)))


def seen_by(q, grid, rule):
    """seen[b, h, i, j] = rule(cell i, cell j)."""
    pairs = np.array([[bool(rule(a, b)) for b in cells_of(grid)] for a in cells_of(grid)])
    return np.broadcast_to(pairs, (*q.shape[:-1], len(pairs)))


@given(seed=SEEDS, tiled=st.sampled_from(TILED), shift=st.sampled_from([0, 1, 2, 5]), table=st.booleans())
def test_shifted_window(seed, tiled, shift, table):
    grid, window = tiled
    q, k, v, rng = drawn(seed, grid)
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
    q, k, v, _ = drawn(seed, grid)

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
    q, k, v, _ = drawn(seed, grid)
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
    q, k, v, _ = drawn(seed, grid)
    seen = seen_by(q, grid, lambda a, b: all(x // w == y // w for x, y, w in zip(a, b, window, strict=True)))
    want, _, _ = oracle.attention(q, k, v, seen=seen)
    np.testing.assert_allclose(definitions.locally_grouped_attention(q, k, v, grid=grid, window=window), want, **CLOSE)


@given(seed=SEEDS, tiled=st.sampled_from(TILED), q_len=st.sampled_from([1, 7, 30]))
def test_global_subsampled(seed, tiled, q_len):
    grid, ratio = tiled
    q, k, v, _ = drawn(seed, grid, q_len)
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


CALLS = {
    "shifted_window": lambda t: definitions.shifted_window_attention(t["q"], t["k"], t["v"], grid=(4, 4), window=2, shift=1,
                                                                     bias_table=t["table"]),
    "axial": lambda t: definitions.axial_attention(t["q"], t["k"], t["v"], grid=(2, 8), axis=0),
    "neighborhood": lambda t: definitions.neighborhood_attention(t["q"], t["k"], t["v"], grid=(4, 4), kernel=(3, 2), stride=(1, 2),
                                                                 causal=(True, False)),
    "locally_grouped": lambda t: definitions.locally_grouped_attention(t["q"], t["k"], t["v"], grid=(4, 4), window=2),
    "global_subsampled": lambda t: definitions.global_subsampled_attention(t["q"], t["k"], t["v"], grid=(4, 4), ratio=2),
    "spatial_gate": lambda t: definitions.spatial_gate(t["q"], kernel=t["kernel"], bias=t["bias"]),
    "rotary_2d": lambda t: rotary_2d(t["q"], grid=(4, 4)),
}


@pytest.mark.parametrize("name", CALLS)
def test_gradients_of_every_argument(name):
    q, k, v, rng = drawn(0, (4, 4))
    tree = {"q": q, "k": k, "v": v, "table": rng.standard_normal((9, 4)), "kernel": rng.standard_normal((2, 3, 3)),
            "bias": rng.standard_normal(())}
    a, b = directional(CALLS[name], tree, rng)
    assert abs(a - b) < 1e-6


LINES = {
    "shifted_window": lambda q, n: definitions.shifted_window_attention(q, q, q, grid=(n,), window=16, shift=8),
    "shifted_window_2d": lambda q, n: definitions.shifted_window_attention(q, q, q, grid=(n // 8, 8), window=4, shift=2),
    "axial": lambda q, n: definitions.axial_attention(q, q, q, grid=(n // 8, 8), axis=1),
    "neighborhood": lambda q, n: definitions.neighborhood_attention(q, q, q, grid=(n,), kernel=7, dilation=2),
    "neighborhood_2d": lambda q, n: definitions.neighborhood_attention(q, q, q, grid=(n // 8, 8), kernel=3),
    "locally_grouped": lambda q, n: definitions.locally_grouped_attention(q, q, q, grid=(n // 8, 8), window=4),
}


@pytest.mark.parametrize("name", LINES)
def test_what_is_computed_grows_with_the_cells(name):
    def computed(length):
        out = LINES[name](Tensor(np.ones((1, length, 8))), length)
        return sum(math.prod(node.shape) for node in ancestry(out.node))

    assert computed(1024) <= 2.01 * computed(512)
    assert computed(1024) < 1024 * 1024 / 2  # the square of all pairs stands in several arrays of the full form


@pytest.mark.parametrize("name", ["shifted_window", "axial", "neighborhood", "locally_grouped", "global_subsampled"])
def test_half_precision_is_computed_in_single_and_leading_axes_are_free(name):
    q, k, v, rng = drawn(0, (4, 4))
    tree = {"q": q, "k": k, "v": v, "table": rng.standard_normal((9, 4))}
    half = {key: x.astype(np.float16) for key, x in tree.items()}
    out = CALLS[name](half)
    assert out.dtype == np.float16
    np.testing.assert_array_equal(out, CALLS[name]({key: x.astype(np.float32) for key, x in half.items()}).astype(np.float16))
    more = CALLS[name]({key: x if key == "table" else x[:, None] * np.ones((3, 1, 1, 1)) for key, x in tree.items()})
    np.testing.assert_allclose(more[:, 1], CALLS[name](tree), **CLOSE)
    one = {key: x[0, 0] for key, x in tree.items()} | {"table": tree["table"][:, :1]}
    np.testing.assert_allclose(CALLS[name](one), CALLS[name]({key: x if key == "table" else x[None] for key, x in one.items()})[0], **CLOSE)


def test_the_gate_keeps_its_dtype_and_sums_halves_in_single():
    x = np.full((3, 4, 4), 300.0, np.float16)
    kernel = np.full((2, 3, 3), 20.0, np.float16)  # 9 * 2 * 300 * 20 is more than float16 holds
    np.testing.assert_array_equal(definitions.spatial_gate(x, kernel=-kernel, bias=0.0), np.zeros_like(x))
    for kind in (np.float32, np.float64):
        for bias in (1, 0.5, np.float64(0.5), np.float32(0.5), np.full((), 0.5), np.full((), 0.5, np.float16)):
            assert definitions.spatial_gate(x.astype(kind), kernel=kernel, bias=bias).dtype == kind


def test_nan_reaches_those_who_see_it_and_no_others():
    q, k, v, _ = drawn(0, (7,))
    for x in (k, v):
        x[..., 6, :] = np.nan
    out = definitions.neighborhood_attention(q, k, v, grid=(7,), kernel=3)
    assert np.flatnonzero(np.isnan(out).all(axis=(0, 1, 3))).tolist() == [5, 6]
    out = definitions.neighborhood_attention(q, k, v, grid=(7,), kernel=4, stride=4, causal=True)
    assert np.flatnonzero(np.isnan(out).any(axis=(0, 1, 3))).tolist() == [6]
    q[..., 0, :] = np.inf  # a row without an answer gives no warning
    out = definitions.neighborhood_attention(q, k, v, grid=(7,), kernel=3)
    assert np.isfinite(out[..., 1:5, :]).all()


X = np.ones((2, 4, 16, 4))
IMAGE = {"grid": (4, 4)}
REFUSED = [
    ("shifted_window_attention", {"window": 3}, ValueError, ("window", r"\(4, 4\)", "3")),
    ("shifted_window_attention", {"window": 0}, ValueError, ("window", "0")),
    ("shifted_window_attention", {"window": 2.0}, TypeError, ("window", "2.0")),
    ("shifted_window_attention", {"window": True}, TypeError, ("window", "True")),
    ("shifted_window_attention", {"window": [2, 2]}, TypeError, ("window",)),
    ("shifted_window_attention", {"window": (2, 2, 2)}, ValueError, ("window", r"\(2, 2, 2\)")),
    ("shifted_window_attention", {"window": 2, "shift": -1}, ValueError, ("shift", "-1")),
    ("shifted_window_attention", {"window": 2, "shift": 0.5}, TypeError, ("shift", "0.5")),
    ("shifted_window_attention", {"window": 2, "grid": (4, 5)}, ValueError, ("grid", r"q \(2, 4, 16, 4\)", r"\(4, 5\)")),
    ("shifted_window_attention", {"window": 2, "grid": [4, 4]}, TypeError, ("grid", "list")),
    ("shifted_window_attention", {"window": 2, "grid": 16}, TypeError, ("grid", "int")),
    ("shifted_window_attention", {"window": 2, "grid": ()}, TypeError, ("grid",)),
    ("shifted_window_attention", {"window": 2, "grid": (4.0, 4.0)}, TypeError, ("grid", "4.0")),
    ("shifted_window_attention", {"window": 2, "grid": (-4, -4)}, ValueError, ("grid", "-4")),
    ("shifted_window_attention", {"window": 2, "bias_table": np.ones((9, 3))}, ValueError, ("bias_table", r"\(9, 4\)", r"\(9, 3\)")),
    ("shifted_window_attention", {"window": 2, "bias_table": np.ones((3, 4))}, ValueError, ("bias_table", r"\(9, 4\)", r"\(3, 4\)")),
    ("shifted_window_attention", {"window": 2, "bias_table": [1.0]}, TypeError, ("bias_table", "list")),
    ("shifted_window_attention", {"window": 2, "bias_table": np.ones((9, 4), int)}, TypeError, ("bias_table", "int64")),
    ("shifted_window_attention", {"window": 2, "scale": np.nan}, ValueError, ("scale", "nan")),
    ("shifted_window_attention", {"window": 2, "k": X[..., :15, :], "v": X[..., :15, :]}, ValueError, ("grid", "k ", r"\(2, 4, 15, 4\)")),
    ("shifted_window_attention", {"window": 2, "q": X.astype(int)}, TypeError, ("q", "int64")),
    ("axial_attention", {"axis": 2}, ValueError, ("axis", r"\(4, 4\)", "2")),
    ("axial_attention", {"axis": -3}, ValueError, ("axis", "-3")),
    ("axial_attention", {"axis": 0.0}, TypeError, ("axis", "float")),
    ("axial_attention", {"axis": True}, TypeError, ("axis", "bool")),
    ("axial_attention", {"axis": 0, "grid": (8, 4)}, ValueError, ("grid", r"\(8, 4\)")),
    ("axial_attention", {"axis": 0, "k": X[..., :8, :], "v": X[..., :8, :]}, ValueError, ("grid", "k ")),
    ("axial_attention", {"axis": 0, "window": (-1, 0)}, ValueError, ("window",)),
    ("neighborhood_attention", {"kernel": 5}, ValueError, ("kernel", "axis 4", "5")),
    ("neighborhood_attention", {"kernel": 2, "dilation": 3}, ValueError, ("kernel times dilation", "3")),
    ("neighborhood_attention", {"kernel": 2, "stride": 3}, ValueError, ("stride", "kernel 2", "3")),
    ("neighborhood_attention", {"kernel": 0}, ValueError, ("kernel", "0")),
    ("neighborhood_attention", {"kernel": 3, "dilation": 0}, ValueError, ("dilation", "0")),
    ("neighborhood_attention", {"kernel": "3"}, TypeError, ("kernel", "3")),
    ("neighborhood_attention", {"kernel": 3, "causal": 1}, TypeError, ("causal", "int")),
    ("neighborhood_attention", {"kernel": 3, "causal": (True,)}, ValueError, ("causal", r"\(True,\)")),
    ("neighborhood_attention", {"kernel": 3, "grid": (16, 2)}, ValueError, ("grid", r"\(16, 2\)")),
    ("neighborhood_attention", {"kernel": 3, "k": X[..., :8, :], "v": X[..., :8, :]}, ValueError, ("grid", "k ")),
    ("neighborhood_attention", {"kernel": 3, "scale": "1"}, TypeError, ("scale", "str")),
    ("neighborhood_attention", {"kernel": 3, "k": X[:, :3], "v": X[:, :3]}, ValueError, ("kv_heads", r"\(2, 3, 16, 4\)")),
    ("locally_grouped_attention", {"window": 3}, ValueError, ("window", "3")),
    ("locally_grouped_attention", {"window": 2, "grid": (2, 4)}, ValueError, ("grid", r"\(2, 4\)")),
    ("locally_grouped_attention", {"window": 2, "k": X[..., :8, :], "v": X[..., :8, :]}, ValueError, ("grid", "k ")),
    ("global_subsampled_attention", {"ratio": 3}, ValueError, ("ratio", "3")),
    ("global_subsampled_attention", {"ratio": 0}, ValueError, ("ratio", "0")),
    ("global_subsampled_attention", {"ratio": 2, "grid": (2, 4)}, ValueError, ("grid", "k ", r"\(2, 4\)")),
]


@pytest.mark.parametrize(("name", "changes", "error", "words"), REFUSED)
def test_a_bad_input_is_named(name, changes, error, words):
    options = {"q": X, "k": X, "v": X, **IMAGE, **changes}
    with pytest.raises(error, match=".*".join(words)):
        getattr(definitions, name)(options.pop("q"), options.pop("k"), options.pop("v"), **options)


@pytest.mark.parametrize(("given", "error", "words"), [
    ({"x": np.ones((4, 4))}, ValueError, r"x: expected \(..., channels, y, x\).*\(4, 4\)"), ({"x": np.ones((0, 4, 4))}, ValueError, r"x: .*\(0, 4, 4\)"),
    ({"x": np.ones((2, 4, 0))}, ValueError, r"x: .*\(2, 4, 0\)"), ({"x": np.ones((2, 4, 4), int)}, TypeError, "x: .*int64"),
    ({"kernel": np.ones((2, 4, 4))}, ValueError, r"kernel: .*odd.*\(2, 4, 4\)"), ({"kernel": np.ones((1, 3, 3))}, ValueError, "kernel"),
    ({"kernel": np.ones((2, 3, 5))}, ValueError, "kernel"), ({"kernel": np.ones((3, 3))}, ValueError, "kernel"),
    ({"kernel": [1.0]}, TypeError, "kernel: .*list"), ({"bias": True}, TypeError, "bias: .*bool"), ({"bias": "0"}, TypeError, "bias: .*str"),
    ({"bias": np.ones(1)}, ValueError, r"bias: .*\(1,\)"), ({"bias": None}, TypeError, "bias: .*NoneType"),
])
def test_a_bad_gate_is_named(given, error, words):
    call = {"x": np.ones((2, 4, 4)), "kernel": np.ones((2, 3, 3)), **given}
    with pytest.raises(error, match=words):
        definitions.spatial_gate(**call)


@pytest.mark.parametrize(("x", "grid", "error", "words"), [
    (np.ones((6, 4)), (2, 2), ValueError, r"grid: .*x \(6, 4\).*\(2, 2\)"), (np.ones((6, 4)), (-2, -3), ValueError, "grid: .*-2"),
    (np.ones((6, 4)), (6,), ValueError, r"grid: expected \(rows, columns\)"), (np.ones((6, 4)), [2, 3], TypeError, "grid: .*list"),
    (np.ones((6, 6)), (2, 3), ValueError, r"x: .*multiple of 4.*\(6, 6\)"), (np.ones(4), (1, 1), ValueError, r"x: .*\(4,\)"),
    ([[1.0] * 4], (1, 1), TypeError, "x: .*list"), (np.ones((1, 4), int), (1, 1), TypeError, "x: .*int64"),
])
def test_a_bad_turn_is_named(x, grid, error, words):
    with pytest.raises(error, match=words):
        rotary_2d(x, grid=grid)


def test_windows_of_no_size_are_refused():
    for window, error in ((0, ValueError), ((2, 0), ValueError), (2.5, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="window"):
            definitions.relative_position_index(window)
