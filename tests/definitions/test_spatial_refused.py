"""What spatial attention refuses, by name."""

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.ops import rotary_2d

X = np.ones((2, 4, 16, 4))
IMAGE = {"grid": (4, 4)}
REFUSED = [
    ("shifted_window_attention", {"window": 3}, ValueError, ("window", r"\(4, 4\)", "3")),
    ("shifted_window_attention", {"window": 0}, ValueError, ("window", "0")),
    ("shifted_window_attention", {"window": 2.0}, TypeError, ("window", "float")),
    ("shifted_window_attention", {"window": True}, TypeError, ("window", "bool")),
    ("shifted_window_attention", {"window": [2, 2]}, TypeError, ("window",)),
    ("shifted_window_attention", {"window": (2, 2, 2)}, ValueError, ("window", r"\(2, 2, 2\)")),
    ("shifted_window_attention", {"window": 2, "shift": -1}, ValueError, ("shift", "-1")),
    ("shifted_window_attention", {"window": 2, "shift": 0.5}, TypeError, ("shift", "float")),
    ("shifted_window_attention", {"window": 2, "grid": (4, 5)}, ValueError, ("grid", r"q \(2, 4, 16, 4\)", r"\(4, 5\)")),
    ("shifted_window_attention", {"window": 2, "grid": [4, 4]}, TypeError, ("grid", "list")),
    ("shifted_window_attention", {"window": 2, "grid": 16}, TypeError, ("grid", "int")),
    ("shifted_window_attention", {"window": 2, "grid": ()}, TypeError, ("grid",)),
    ("shifted_window_attention", {"window": 2, "grid": (4.0, 4.0)}, TypeError, ("grid", "float")),
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
    ("neighborhood_attention", {"kernel": "3"}, TypeError, ("kernel", "str")),
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
