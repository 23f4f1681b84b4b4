"""Pictures of masks, weights, caches and measurements; matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array

__all__ = ["attention_heads", "attention_map", "growth", "losses", "mask", "occupancy", "page", "roofline"]


def losses(curves: Mapping[str, Sequence[float]], *, bar: float | None = None, unit: str = "byte") -> Any:
    """Returns a matplotlib Figure of training losses, given in nats and drawn in bits per unit; `bar` is the line of the bigram.

    >>> losses({"attention": [5.5, 4.0]}).axes[0].get_ylabel()
    'bits per byte'
    """
    figure = page(1)
    figure.set_size_inches(7.0, 4.2)
    axes = without_frame(figure.axes[0])
    for name, curve in curves.items():
        axes.plot(range(1, len(curve) + 1), [loss / math.log(2.0) for loss in curve], label=name, linewidth=1.2)
    if bar is not None:
        axes.axhline(bar, color="grey", linestyle="--", linewidth=1.0, label="bigram")
    axes.set(xlabel="step", ylabel=f"bits per {unit}", title="training loss")
    axes.legend(frameon=False)
    return figure


def page(panels: int) -> Any:
    """Returns a matplotlib Figure with this many panels side by side.

    >>> len(page(2).axes)
    2
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ImportError("tinyattn.plot needs matplotlib: pip install matplotlib") from None

    figure = Figure(figsize=(6.4 * panels, 4.6), layout="constrained")
    figure.subplots(1, panels)
    return figure


def without_frame(ax: Any) -> Any:
    """Returns the Axes without the upper and the right line of their frame."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def roofline(points: Mapping[str, tuple[float, float]], product: float, reading: float, *, ax: Any = None) -> Any:
    """Returns Axes with points (FLOPs per byte, GFLOP/s) under the roof min(product, reading * FLOPs per byte).

    product is in GFLOP/s and reading in GB/s.

    >>> roofline({"decode": (0.5, 8.0)}, 300.0, 20.0).get_ylabel()
    'GFLOP/s'
    """
    ax = without_frame(ax or page(1).axes[0])
    low, high = 0.5, max([intensity for intensity, _ in points.values()] + [product / reading]) * 3
    ridge = product / reading
    ax.plot([low, ridge, high], [low * reading, product, product], color="grey", linewidth=1.2)
    for number, (name, (intensity, rate)) in enumerate(points.items(), 1):
        ax.plot(intensity, rate, "o", markersize=5, label=f"{number}  {name}")
        ax.annotate(str(number), (intensity, rate), textcoords="offset points", xytext=(4, 4), fontsize=8)
    ax.set(xscale="log", yscale="log", xlim=(low, high), xlabel="FLOPs per byte of q, k, v and out", ylabel="GFLOP/s",
           title="under the roof of this machine")
    ax.legend(frameon=False, fontsize=7, loc="lower right")
    return ax


def growth(curves: Mapping[str, Mapping[int, float]], *, ylabel: str, ax: Any = None) -> Any:
    """Returns Axes with one curve per name: its cost at each length. Both axes are logarithmic, so that a slope is a power.

    >>> growth({"causal": {256: 1.0, 512: 4.0}}, ylabel="ms").get_xlabel()
    'length'
    """
    ax = without_frame(ax or page(1).axes[0])
    for name, curve in curves.items():
        ax.plot(list(curve), list(curve.values()), marker="o", markersize=3, linewidth=1.2, label=name)
    lengths: list[int] = []
    for length in sorted({length for curve in curves.values() for length in curve}):
        if not lengths or length >= 1.4 * lengths[-1]:  # the labels of nearer ones would overlap
            lengths.append(length)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(lengths, [f"{length:,}" for length in lengths])
    ax.set(xlabel="length", ylabel=ylabel, title="growth with length")
    ax.legend(frameon=False, fontsize=8)
    return ax


def heads_of(weights: Array) -> Array:
    """Returns weights as (heads, queries, keys); ValueError for the weights of several sequences."""
    if weights.ndim < 2 or math.prod(weights.shape[:-3]) != 1:
        raise ValueError(f"weights: expected (queries, keys) or (heads, queries, keys), got shape {weights.shape}; pick one sequence")
    return weights.reshape(-1, *weights.shape[-2:])


def shade(cells: Array, ax: Any) -> Any:
    """Returns the image of a matrix with one cell per entry: blank where it is exactly 0, blue above 0 and orange below.

    A larger entry is more opaque, so that the picture reads the same on a light page and on a dark one.
    """
    from matplotlib.colors import LinearSegmentedColormap

    most = float(np.abs(cells).max(initial=0.0)) or 1.0
    signed = bool((cells < 0).any())
    blue, orange = (0.18, 0.48, 0.75), (0.88, 0.4, 0.1)
    stops = [(*orange, 1.0), (*orange, 0.22), (*blue, 0.22), (*blue, 1.0)] if signed else [(*blue, 0.22), (*blue, 1.0)]
    places = [0.0, 0.499, 0.501, 1.0] if signed else [0.0, 1.0]
    colours = LinearSegmentedColormap.from_list("weights", list(zip(places, stops, strict=True)))
    blank = colours.with_extremes(bad=(0.0, 0.0, 0.0, 0.0))
    return ax.imshow(np.ma.masked_equal(cells, 0.0), cmap=blank, vmin=-most if signed else 0.0, vmax=most, interpolation="nearest")


def attention_map(weights: Array, *, head: int = 0, tokens: Sequence[str] | None = None, ax: Any = None) -> Any:
    """Returns Axes with the weights of one head, one row per query; weights that are exactly 0 are blank.

    Shapes: weights (queries, keys) or (heads, queries, keys); `tokens` names the queries and the keys, if these are equally many.

    Raises:
        ValueError: weights of several sequences, or `tokens` that are not one per query and per key.
        IndexError: a head that does not exist.

    >>> attention_map(np.eye(3)).get_title()
    'head 0'
    """
    cells = heads_of(weights)[head]
    ax = ax or page(1).axes[0]
    ax.figure.colorbar(shade(cells, ax), ax=ax, shrink=0.8)
    ax.set(xlabel="key", ylabel="query", title=f"head {head}")
    if tokens is not None:
        if cells.shape != (len(tokens), len(tokens)):
            raise ValueError(f"tokens: expected one per query and per key, {cells.shape}, got {len(tokens)}")
        ax.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8)
        ax.set_yticks(range(len(tokens)), tokens, fontsize=8)
    return ax


def attention_heads(weights: Array, *, columns: int = 4, ax: Any = None) -> Any:
    """Returns Axes with the weights of all heads side by side on one scale, `columns` heads per row.

    Raises:
        TypeError, ValueError: weights of several sequences, columns that are not an int of 1 or more.

    >>> attention_heads(np.ones((3, 2, 2))).get_title()
    '3 heads'
    """
    columns = whole("columns", columns, 1)
    cells = heads_of(weights)
    heads, queries, keys = cells.shape
    columns = min(columns, heads)
    tiled = np.zeros((-(-heads // columns) * (queries + 1) - 1, columns * (keys + 1) - 1))
    ax = ax or page(1).axes[0]
    for h, one in enumerate(cells):
        top, left = h // columns * (queries + 1), h % columns * (keys + 1)
        tiled[top : top + queries, left : left + keys] = one
        ax.add_patch(frame(left, top, keys, queries))
        ax.text(left + keys - 1, top + 0.2, str(h), ha="right", va="top", fontsize=8)
    ax.figure.colorbar(shade(tiled, ax), ax=ax, shrink=0.8)
    ax.set_axis_off()
    ax.set_title(f"{heads} heads")
    return ax


def frame(left: int, top: int, width: int, height: int) -> Any:
    """Returns the outline of a rectangle of cells."""
    from matplotlib.patches import Rectangle

    return Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor="grey", linewidth=0.6)


def mask(pattern: Pattern | Array, q_len: int | None = None, kv_len: int | None = None, *, ax: Any = None) -> Any:
    """Returns Axes with the keys that each query sees, one row per query: of a Pattern at these lengths, or of a boolean matrix.

    Raises:
        TypeError: neither a Pattern nor a boolean array. ValueError: a Pattern without lengths, or one that differs between heads.

    >>> from tinyattn.ops import masks
    >>> mask(masks.causal(), 4, 4).get_title()
    'causal()'
    """
    if isinstance(pattern, Pattern):
        if q_len is None or kv_len is None:
            raise ValueError(f"q_len, kv_len: expected the lengths at which the Pattern is drawn, got {q_len} and {kv_len}")
        pattern, title = pattern.dense(q_len, kv_len), repr(pattern)
    else:
        title = "mask"
    if getattr(pattern, "dtype", None) != np.bool_:
        raise TypeError(f"pattern: expected a Pattern or a boolean array, got {getattr(pattern, 'dtype', type(pattern).__name__)}")
    if pattern.ndim != 2:
        raise ValueError(f"pattern: expected (queries, keys), got shape {pattern.shape}; pick one head")
    ax = ax or page(1).axes[0]
    shade(pattern.astype(float), ax)
    queries, keys = pattern.shape
    ax.add_patch(frame(0, 0, keys, queries))
    ax.set(xlabel="key", ylabel="query", title=title)
    return ax


def occupancy(caches: Mapping[str, Any], *, ax: Any = None) -> Any:
    """Returns Axes with one row per cache: a box for each position whose key it still holds, and its bytes, used and allocated.

    A cache without keys to view, such as that of a state, has no boxes.

    >>> from tinyattn.caches import GrowingCache
    >>> occupancy({"growing": GrowingCache()}).get_xlabel()
    'position'
    """
    ax = without_frame(ax or page(1).axes[0])
    for row, cache in enumerate(caches.values()):
        held = cache.view()[2].reshape(-1) if hasattr(cache, "view") and cache.length else np.arange(0)
        held = np.unique(held[held >= 0])
        ax.broken_barh([(int(position), 0.86) for position in held], (row - 0.3, 0.6), color="tab:blue")
        ax.annotate(f"{cache.nbytes:,} of {cache.allocated:,} bytes", (1.01, row), xycoords=("axes fraction", "data"),
                    va="center", fontsize=8)
    ax.set_yticks(range(len(caches)), list(caches))
    longest = max((cache.length for cache in caches.values()), default=0)
    ax.set(ylim=(len(caches) - 0.5, -0.5), xlim=(0, max(longest, 1)), xlabel="position", title="what each cache holds")
    return ax
