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
