"""Pictures; matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def losses(curves: Mapping[str, Sequence[float]], *, bar: float | None = None) -> Any:
    """Returns a matplotlib Figure of training losses, given in nats and drawn in bits a byte; `bar` is a line to beat."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(range(1, len(curve) + 1), [loss / math.log(2.0) for loss in curve], label=name, linewidth=1.2)
    if bar is not None:
        axes.axhline(bar, color="grey", linestyle="--", linewidth=1.0, label="bigram")
    axes.set(xlabel="step", ylabel="bits a byte", title="training loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def page(panels: int) -> Any:
    """Returns a matplotlib Figure with so many panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4 * panels, 4.6), layout="constrained")
    figure.subplots(1, panels)
    return figure


def roofline(points: Mapping[str, tuple[float, float]], product: float, reading: float, *, ax: Any = None) -> Any:
    """Returns Axes with points (FLOPs a byte, GFLOP/s) under the roof min(product, reading * intensity).

    product is in GFLOP/s and reading in GB/s.
    """
    ax = ax or page(1).axes[0]
    low, high = 0.5, max([intensity for intensity, _ in points.values()] + [product / reading]) * 3
    ridge = product / reading
    ax.plot([low, ridge, high], [low * reading, product, product], color="grey", linewidth=1.2)
    for number, (name, (intensity, rate)) in enumerate(points.items(), 1):
        ax.plot(intensity, rate, "o", markersize=5, label=f"{number}  {name}")
        ax.annotate(str(number), (intensity, rate), textcoords="offset points", xytext=(4, 4), fontsize=8)
    ax.set(xscale="log", yscale="log", xlim=(low, high), xlabel="FLOPs a byte of q, k, v and out", ylabel="GFLOP/s",
           title="under the roof of this machine")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=7, loc="lower right")
    return ax


def growth(curves: Mapping[str, Mapping[int, float]], *, ylabel: str, ax: Any = None) -> Any:
    """Returns Axes with what each thing costs at each length, both axes logarithmic, so that a slope is a power."""
    ax = ax or page(1).axes[0]
    for name, curve in curves.items():
        ax.plot(list(curve), list(curve.values()), marker="o", markersize=3, linewidth=1.2, label=name)
    lengths = sorted({length for curve in curves.values() for length in curve})
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(lengths, [f"{length:,}" for length in lengths])
    ax.set(xlabel="length", ylabel=ylabel, title="growth with length")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return ax
