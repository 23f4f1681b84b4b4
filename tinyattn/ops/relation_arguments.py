"""The arguments of mechanisms that score how tokens relate, checked: scales and mixtures of heads, tables of distances, directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import index_array
from tinyattn.ops.gates import check_gate, check_log_share, shaped
from tinyattn.ops.options import Window, check_causal, check_window
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_grid


def check_log_scale(log_scale: Any, q: Array) -> Array:
    """Returns the logs of the scales of all heads, (heads,), in the dtype of q."""
    return check_gate("log_scale", log_scale, q.shape[-3:-2], q.dtype)


def check_mixture(name: str, mixture: Any, q: Array) -> Array:
    """Returns a matrix (heads, heads) that mixes heads, one row per new head, in the dtype of q."""
    return shaped(name, mixture, (q.shape[-3], q.shape[-3]), q.dtype)


def check_relative(relative: Any, u: Any, w: Any, q: Array, kv_len: int, causal: bool,
                   window: Window | None) -> tuple[Array, Array, Array]:
    """Returns the table of distances (heads, rows, d) and the two vectors per head (heads, d), all in the dtype of q.

    The table has q_len + kv_len - 1 rows. Where no query sees a later key, only the first kv_len of them are read, and a table
    may end there.
    """
    heads, q_len, dim = q.shape[-3:]
    relative, needed = floating("relative", relative), max(0, q_len + kv_len - 1)
    allowed = (kv_len, needed) if check_causal(causal) or check_window(window)[1] == 0 else (needed,)
    if relative.ndim != 3 or relative.shape[0] != heads or relative.shape[1] not in allowed or relative.shape[2] != dim:
        rows = " or ".join(str(count) for count in dict.fromkeys(allowed))
        raise ValueError(f"relative: expected shape ({heads}, {rows}, {dim}), one row per distance from kv_len - 1 down, "
                         f"got shape {relative.shape}")
    u, w = (shaped(name, x, (heads, dim), q.dtype) for name, x in (("u", u), ("w", w)))
    return shaped("relative", relative, relative.shape, q.dtype), u, w


def check_distance(distance: Any, tables: dict[str, Any], q: Array, kv_len: int) -> tuple[Array, dict[str, Array]]:
    """Returns the row number of every pair, (q_len, kv_len), and the tables that are there, (heads, rows, d), in the dtype of q."""
    rows = index_array("distance", distance)
    if rows.shape != (q.shape[-2], kv_len):
        raise ValueError(f"distance: expected shape {(q.shape[-2], kv_len)}, one row number per query and key, got shape {rows.shape}")
    given = {name: floating(name, table) for name, table in tables.items() if table is not None}
    for name, table in given.items():
        if table.ndim != 3 or table.shape[0] != q.shape[-3] or table.shape[-1] != q.shape[-1]:
            raise ValueError(f"{name}: expected shape ({q.shape[-3]}, rows, {q.shape[-1]}), got shape {table.shape}")
        if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < table.shape[-2]:
            raise ValueError(f"distance: expected row numbers of {name} {table.shape}, from 0 to {table.shape[-2] - 1}, "
                             f"got {int(rows.min())} to {int(rows.max())}")
    return rows, {name: shaped(name, table, table.shape, q.dtype) for name, table in given.items()}


def narrowed(rows: Array) -> Array:
    """Returns row numbers in the narrowest dtype that holds them, because a gradient keeps a copy of them."""
    return rows.astype(np.min_scalar_type(int(rows.max(initial=0))))


def mixed_heads(mixture: Array, x: Array) -> Array:
    """Returns sum_h mixture_gh x_h: mixture (heads, heads), x (..., heads, i, j) -> (..., heads, i, j).

    >>> mixed_heads(np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([[[1.0]], [[3.0]]]))[:, 0, 0]
    array([3., 2.])
    """
    *lead, heads, rows, width = x.shape
    mixed: Array = (mixture @ x.reshape(*lead, heads, rows * width)).reshape(x.shape)
    return mixed


def rows_of_distances(q_len: int, kv_len: int, rows: int) -> Array:
    """Returns which row of a table of distances belongs to each pair, (q_len, kv_len); row n is the distance kv_len - 1 - n.

    Pairs whose row a shorter table lacks, which are those of later keys, get its last row.

    >>> rows_of_distances(2, 3, 4)
    array([[1, 2, 3],
           [0, 1, 2]])
    """
    return np.minimum(np.arange(kv_len) + np.arange(q_len - 1, -1, -1)[:, None], max(rows - 1, 0))


def at_rows(products: Array, rows: Array) -> Array:
    """Returns for each pair (i, j) the number in row i and column rows[i, j]: products (..., i, n), rows (i, j) -> (..., i, j)."""
    return np.take_along_axis(products, np.broadcast_to(rows, (*products.shape[:-1], rows.shape[-1])), axis=-1)


def check_grid_tables(grid: Any, table_y: Any, table_x: Any, q: Array) -> tuple[Grid, Array, Array]:
    """Returns a grid of rows and columns that q fills, and its tables (2 side - 1, d), in the dtype of q."""
    grid = check_grid(grid, q)
    if len(grid) != 2:
        raise ValueError(f"grid: expected (rows, columns), got {grid}")
    given = (("table_y", table_y, grid[0]), ("table_x", table_x, grid[1]))
    return grid, *(shaped(name, table, (2 * side - 1, q.shape[-1]), q.dtype) for name, table, side in given)


def check_reflections(w: Any, beta: Any, log_forget: Any, q: Array, k: Array) -> tuple[Array, Array, Array | None]:
    """Returns the directions (..., kv_heads, j, d) and strengths (..., kv_heads, j) in the dtype of k, the log gates in float64.

    Directions and strengths are finite: a token turns the queries of all later tokens, and of no earlier one.
    """
    checked = check_gate("w", w, k.shape, k.dtype), check_gate("beta", beta, k.shape[:-1], k.dtype)
    if log_forget is None:
        return *checked, None
    return *checked, check_log_share("log_forget", log_forget, (*q.shape[:-2], k.shape[-2]), np.float64)
