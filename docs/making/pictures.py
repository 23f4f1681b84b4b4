"""Pictures for the pages, as SVG that takes its colour from the page, so that one picture serves light and dark mode."""

from __future__ import annotations

import io
import re
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from live import accepts, example, has_values, mixing, reads_tokens
from matplotlib import rc_context
from matplotlib.figure import Figure

from tinyattn import plot
from tinyattn.catalog import find
from tinyattn.catalog.row import Row
from tinyattn.laws.problem import Mechanism, Problem

WORDS = "the cat sat on the mat because the cat was tired".split()
INK = "#12ab34"  # stands for the page's own text colour until the SVG is written
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif", "text.color": INK, "axes.labelcolor": INK,
    "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.facecolor": "none", "figure.facecolor": "none",
    "legend.labelcolor": INK, "axes.titlesize": 10}
LENGTHS, PATIENCE = (64, 128, 256, 512, 1024), 0.05


def inline(figure: Figure, name: str, label: str) -> str:
    """Returns a figure as SVG for the middle of a page, its text in the page's colour."""
    buffer = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'<metadata>.*?</metadata>|<!--.*?-->| id="[a-z0-9]+(?:\.[a-z0-9]+)?_\d+"', "", svg, flags=re.S)
    svg = re.sub(r'width="([\d.]+)pt" height="[\d.]+pt"', r'style="width: \1pt"', svg, count=1)
    svg = re.sub(r"\n\s*", "\n", svg)
    return svg.replace("<svg", f'<svg class="figure" role="img" aria-label="{label}"', 1).strip()


def side_by_side(*svgs: str) -> str:
    """Returns pictures side by side, or below each other where the screen is narrow."""
    return f'<div class="figures">{"".join(svgs)}</div>'


def axes(width: float, height: float) -> Any:
    """Returns the Axes of a figure of its own."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


def gate(row: Row) -> tuple[str, str]:
    """Returns the picture and the description of the map by which a gate multiplies a flat image with a bright square."""
    image = np.ones((1, 12, 12))
    image[:, 3:8, 4:9] = 2.0
    kernel = np.zeros((2, 3, 3))
    kernel[1] = -0.5
    kernel[1, 1, 1] = 4.0  # as much as its eight neighbours take away
    drawn = row.definition(image, kernel=kernel) / image
    with rc_context(STYLE):
        ax = plot.attention_map(drawn, ax=axes(3.8, 3.2))
        ax.set(xlabel="x", ylabel="y", title="the map M")
        svg = inline(ax.figure, row.name, f"the map by which {row.name} multiplies an image")
    text = ("The kernel of this gate compares each place with its neighbours, and the image is flat with a brighter square in it: "
            "the gate finds the border of the square and of the image. The picture is the output of the definition.")
    return side_by_side(svg), text


def flow(row: Row) -> tuple[str, str]:
    """Returns the picture of the weights between the words of a sentence, per head, and its description."""
    if not reads_tokens(row):
        return gate(row)
    p, _ = example(row, WORDS)
    weights = mixing(row.mechanism, p)
    drawn = weights[: min(4, len(weights))]
    svgs = []
    with rc_context(STYLE):
        if row.pattern is not None:
            ax = plot.mask(row.pattern.dense(16, 16).reshape(-1, 16, 16)[0], ax=axes(3.2, 3.2))
            ax.set_title(textwrap.fill(str(row.pattern), 32))
            svgs.append(inline(ax.figure, f"mask-{row.name}", f"the visible pairs of {row.name}"))
        ax = plot.attention_heads(drawn, columns=2, ax=axes(4.4, 3.6))
        ax.set_title("")
        svgs.append(inline(ax.figure, row.name, f"the weights of {row.name}, per head"))
    what = ("the weight of each token's value in the output of query i" if has_values(p)
            else "how strongly the output of query i changes with each token's vector")
    causal = "" if "causal" not in accepts(row) else ", causal"
    text = (f"{len(drawn)} head{'s' * (len(drawn) != 1)} on {weights.shape[-1]} tokens{causal}: row i shows {what}. "
            f"Blank means exactly 0{', orange a negative weight' if (drawn < 0).any() else ''}. The definition computed the picture.")
    return side_by_side(*svgs), text


def seconds(call: Callable[[], Any]) -> float:
    """Returns the shorter of two timings of a call."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def repeated(p: Problem, times: int) -> Problem:
    """Returns a problem with its tokens repeated, below each other where they stand on a grid."""
    tall = {name: np.tile(getattr(p, name), (times, 1)) for name in "qkv"}
    grid, table = p.options.get("grid"), p.options.get("table_y")
    if table is not None:  # one row per vertical distance
        tall["table_y"] = np.resize(table, (2 * times * grid[0] - 1, *table.shape[1:]))
    return p.but(**tall) if grid is None else p.but(**tall, grid=(times * grid[0], *grid[1:]))


def longer(row: Row) -> Iterator[Problem]:
    """Yields problems of growing length; where a row draws its own sizes, a short problem with its tokens repeated."""
    short, long = (example(row, [str(i) for i in range(length)])[0] for length in LENGTHS[:2])
    for length in LENGTHS:
        yield (repeated(short, length // 16) if short.q.shape == long.q.shape
               else example(row, [str(i) for i in range(length)])[0])


def curve(row: Row, f: Mechanism) -> dict[int, float]:
    """Returns the milliseconds per call by length, up to the first length at which a call takes a twentieth of a second."""
    measured: dict[int, float] = {}
    for p in longer(row):
        length = p.q.shape[-2] if reads_tokens(row) else p.q[0].size
        measured[length] = 1000 * seconds(lambda p=p: p.call(f))  # type: ignore[misc]
        if measured[length] > 1000 * PATIENCE:
            break
    return measured


def takes(f: Mechanism, p: Problem) -> bool:
    """Returns whether a form takes the options of a problem."""
    try:
        p.call(f)
    except TypeError:
        return False
    return True


@cache
def reference() -> dict[int, float]:
    """Returns the times of attention by length, which every picture shows for comparison."""
    row = find("attention")
    return curve(row, row.mechanism)


def growth(row: Row) -> tuple[str, str]:
    """Returns the picture of a mechanism's time and cache by length, measured now, and its description."""
    p, sizes = example(row, WORDS)
    curves = {row.name: curve(row, row.mechanism)}
    for name, form in row.forms.items():
        if form is not row.definition and takes(row.called(form), p):
            curves[name] = curve(row, row.called(form))
    if row.name != "attention":
        curves = {"attention": reference(), **curves}
    svgs = []
    with rc_context(STYLE):
        drawings = []
        drawings.append((plot.growth(curves, ylabel="milliseconds", ax=axes(3.7, 3.0)), "one call", "time"))
        if row.cache_bytes is not None:
            drawn = {one.name: example(one, WORDS)[1] for one in (find("attention"), row)}
            sized = {one.name: {n: one.cache_bytes(n, drawn[one.name].kv_heads, 8, 8, 4, heads=drawn[one.name].heads) for n in LENGTHS}
                     for one in (find("attention"), row) if one.cache_bytes is not None}
            drawings.append((plot.growth(sized, ylabel="bytes", ax=axes(3.7, 3.0)), "its cache", "cache bytes"))
        for ax, title, what in drawings:
            ax.set_title(title)
            ax.minorticks_off()
            ax.tick_params(axis="x", labelsize=7)
            svgs.append(inline(ax.figure, f"{what}-{row.name}", f"{what} of {row.name} by length"))
    what = f"{sizes.heads} heads of width {p.q.shape[-1]}" if reads_tokens(row) else f"{len(p.q)} channels"
    unit = "tokens" if reads_tokens(row) else "places"
    text = (f"Timed once when this page was built, on {what} in float64, for texts from {min(curves[row.name])} to "
            f"{max(curves[row.name])} {unit} long. Read the shape of the curves; the numbers depend on the machine.")
    return side_by_side(*svgs), text
