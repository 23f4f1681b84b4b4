"""The fastest form of each mechanism beside its definition, dense exact attention, the machine's own product, and other libraries."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.cli.outputs import Line, write_picture
from tinyattn.cli.timing.linear_peers import linear_peers
from tinyattn.cli.timing.measure import REST, interleaved, limits, ratio
from tinyattn.cli.timing.mechanism_cases import CASES, DIM, HEADS, LONG, Call, call, drawn, work
from tinyattn.cli.timing.mechanism_peers import absent, peers_of
from tinyattn.cli.timing.table import Table

# The length at which a mechanism is compared with its definition, whose scores are square, and with other libraries.
LENGTH = 2048
# Seconds of one comparison after which no further round begins.
PATIENCE = 10.0


def time_mechanisms(rounds: int) -> list[Line]:
    """Returns a row per mechanism and pass: milliseconds, and how they compare."""
    product, _ = limits()
    print(f"float32, (1, {HEADS}, {LENGTH}, {DIM}), causal where it can be; a product gives {product:.0f} GFLOP/s\n"
          "times: the definition's time over the fast form's, and so the peer's\n"
          "of dense: the fast form's time over that of exact attention\n"
          f"growth: the time of {LONG} tokens over that of {LENGTH}\n"
          f"share: of the product, in the tiles of {LONG} tokens that hold a visible pair", flush=True)
    if missing := absent():
        print(f"not installed, left out: {', '.join(missing)}", flush=True)
    lines: list[Line] = []
    for case in CASES:
        fast: Call = getattr(fastest, case.name)
        for backward in (False, True):
            now = partial(call, case, fast, backward=backward)
            dense = call(CASES[0], fastest.attention, LENGTH, backward=backward)
            taken = interleaved({"fast": now(LENGTH), "dense": dense, "definition": call(case, getattr(definitions, case.name), LENGTH,
                                 backward=backward)}, rounds, warm_up=1, rest=REST, seconds=PATIENCE)
            grown = interleaved({"short": now(LENGTH), "long": now(LONG)}, rounds, warm_up=1, rest=REST, seconds=PATIENCE)
            rate = work(case, LONG, backward=backward) / statistics.median(grown["long"]) / 1e9
            lines.append({"mechanism": case.label or case.name, "pass": "with backward" if backward else "forward",
                          "ms": 1e3 * statistics.median(taken["fast"]), "times definition": ratio(taken["definition"], taken["fast"]),
                          "of dense": ratio(taken["fast"], taken["dense"]), "growth": ratio(grown["long"], grown["short"]),
                          "GFLOP/s": rate, "of the product": rate / product,
                          "times peers": beside_peers(case, now(LENGTH), rounds, backward=backward),
                          "served by": "definition" if fastest.kernel() is None else "kernel"})
    return lines


def beside_peers(case: Any, mine: Call, rounds: int, *, backward: bool) -> dict[str, float]:
    """Returns how many times as long each library takes, each measured in turns with ours alone."""
    times = {}
    arrays = {name: x for name, x in case.arguments(*drawn(LENGTH)).items() if isinstance(x, np.ndarray)}
    others = peers_of(case, LENGTH, backward=backward) | linear_peers(case.name, arrays, backward=backward)
    for name, theirs in others.items():
        taken = interleaved({"ours": mine, "theirs": theirs}, rounds, warm_up=1, rest=REST, seconds=PATIENCE)
        times[name] = ratio(taken["theirs"], taken["ours"])
    return times


def shown(line: Line) -> dict[str, str]:
    """Returns a row as text, in 80 columns; of several libraries the fastest."""
    peer = min(line["times peers"].items(), key=lambda item: item[1], default=None)
    return {"mechanism": line["mechanism"].replace("_attention", ""), "pass": "both" if line["pass"] == "with backward" else "fwd",
            "ms": f"{line['ms']:,.1f}", "times": f"{line['times definition']:.1f}", "of dense": f"{line['of dense']:.2f}",
            "growth": f"{line['growth']:.1f}", "share": f"{line['of the product']:.0%}",
            "peer": "" if peer is None else f"{peer[1]:.1f} {peer[0]}"}


def draw(path: str, lines: list[Line], _rounds: int) -> None:
    """Writes a picture of the share of the machine's product and of the times of the definition, a bar per mechanism and pass."""
    from tinyattn import plot

    figure = plot.page(2)
    names = list(dict.fromkeys(line["mechanism"] for line in lines))
    figure.set_figheight(max(4.6, 0.3 * len(names) + 1.2))
    panels = (("of the product", "share of the machine's product"), ("times definition", "times as fast as the definition"))
    for ax, (column, says) in zip(figure.axes, panels, strict=True):
        for offset, which in enumerate(("forward", "with backward")):
            values = [line[column] for line in lines if line["pass"] == which]
            ax.barh([place + 0.4 * offset for place in range(len(names))], values, height=0.38, label=which)
        ax.set_yticks([place + 0.2 for place in range(len(names))], [name.removesuffix("_attention") for name in names])
        ax.invert_yaxis()
        ax.set_xlabel(says)
        ax.set_xscale("linear" if column == "of the product" else "log")
        plot.without_frame(ax)
    figure.axes[0].legend(frameon=False)
    write_picture(figure, path)


TABLE = Table("every mechanism beside its definition, dense attention and other libraries", time_mechanisms, shown, draw)
