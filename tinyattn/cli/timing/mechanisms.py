"""The fastest form of each mechanism beside its definition, dense exact attention, the machine's own product, and other libraries."""

from __future__ import annotations

import datetime
import os
import statistics
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.cli.outputs import Line, write_picture
from tinyattn.cli.terminal import progress
from tinyattn.cli.timing.linear_peers import linear_peers
from tinyattn.cli.timing.measure import REST, interleaved, limits, ratio
from tinyattn.cli.timing.mechanism_case import DEFINED, DIM, HEADS, LONG, Call, Case, call, drawn, work
from tinyattn.cli.timing.mechanism_cases import CASES
from tinyattn.cli.timing.mechanism_peers import absent, peers_of
from tinyattn.cli.timing.table import Table

# The length at which a mechanism is compared with dense attention and with other libraries.
LENGTH = 2048
# Seconds after which no further round begins: of the fast form, of the definition, and of a library.
PATIENCE, PATIENCE_DEFINITION, PATIENCE_PEER = 1.5, 1.0, 10.0


def time_mechanisms(rounds: int, names: Collection[str] = ()) -> Iterator[Line]:
    """Yields a row per mechanism and pass, of these mechanisms or of all: milliseconds, and how they compare."""
    product, _ = limits()
    print(f"float32, (1, {HEADS}, {LENGTH}, {DIM}), causal where it can be; a product gives {product:.0f} GFLOP/s\n"
          f"times: the definition's time over the fast form's, of {DEFINED} tokens or fewer\n"
          "of dense: the fast form's time over that of exact attention\n"
          f"growth: the time of {LONG} tokens over that of {LENGTH}\n"
          f"share: of the product, in the tiles of {LONG} tokens that hold a visible pair\n"
          "peer: the time of another library over the fast form's", flush=True)
    if missing := absent():
        print(f"not installed, left out: {', '.join(missing)}", flush=True)
    cases = [case for case in CASES if not names or case.name in names]
    here = {"date": f"{datetime.date.today()}", **machine()}
    with progress("mechanisms", len(cases)) as bar:
        for done, case in enumerate(cases):
            bar.step(done, case.label)
            for backward in case.passes:
                yield {"mechanism": case.name, "variant": case.variant, "pass": "with backward" if backward else "forward",
                       **measured(case, rounds, product, backward=backward), **here}


def machine() -> dict[str, Any]:
    """Returns what says how fast a machine can be, without its name: its cores, and the bits of a register, None without Numba."""
    register = fastest.kernel("tiles.lanes.VECTOR_BYTES")
    return {"cores": os.cpu_count(), "vector bits": None if register is None else 8 * register}


def measured(case: Case, rounds: int, product: float, *, backward: bool) -> Line:
    """Returns the columns of a row that are measured; `product` is the machine's own GFLOP/s."""
    now = partial(call, case, getattr(fastest, case.name), backward=backward)
    short, long, dense = now(LENGTH), now(LONG), call(CASES[0], fastest.attention, LENGTH, backward=backward)
    short(), dense(), long(), now(case.defined)()  # the first call of a kernel compiles it, and writes to new pages of memory
    taken = interleaved({"fast": short, "dense": dense, "long": long}, rounds, warm_up=0, rest=REST, seconds=PATIENCE, least=1)
    defined = call(case, getattr(definitions, case.name), case.defined, backward=backward)
    beside = interleaved({"fast": now(case.defined), "definition": defined}, rounds, warm_up=0, rest=REST,
                         seconds=PATIENCE_DEFINITION, least=1)
    rate = work(case, LONG, backward=backward) / statistics.median(taken["long"]) / 1e9
    return {"ms": 1e3 * statistics.median(taken["fast"]), "tokens": LENGTH, "GFLOP/s": rate, "of the product": rate / product,
            "times definition": ratio(beside["definition"], beside["fast"]), "tokens of definition": case.defined,
            "of dense": ratio(taken["fast"], taken["dense"]), "growth": ratio(taken["long"], taken["fast"]), "long": LONG,
            "times peers": beside_peers(case, short, rounds, backward=backward),
            "served by": "definition" if fastest.kernel() is None else "kernel"}


def beside_peers(case: Case, mine: Call, rounds: int, *, backward: bool) -> dict[str, float]:
    """Returns how many times as long each library takes, each measured in turns with ours alone."""
    times = {}
    arrays = {name: x for name, x in case.arguments(*drawn(LENGTH)).items() if isinstance(x, np.ndarray)}
    others = peers_of(case, LENGTH, backward=backward) | linear_peers(case.name, arrays, backward=backward)
    for name, theirs in others.items():
        taken = interleaved({"ours": mine, "theirs": theirs}, rounds, warm_up=1, rest=REST, seconds=PATIENCE_PEER)
        times[name] = ratio(taken["theirs"], taken["ours"])
    return times


def shown(line: Line) -> dict[str, str]:
    """Returns a row as text, in 80 columns; of several libraries the fastest."""
    peer = min(line["times peers"].items(), key=lambda item: item[1], default=None)
    return {"mechanism": named(line), "pass": "both" if line["pass"] == "with backward" else "fwd",
            "ms": f"{line['ms']:,.1f}", "times": f"{line['times definition']:.1f}", "of dense": f"{line['of dense']:.2f}",
            "growth": f"{line['growth']:.1f}", "share": f"{line['of the product']:.0%}",
            "peer": "" if peer is None else f"{peer[1]:.1f} {peer[0]}"}


def named(line: Line) -> str:
    """Returns what a row is called, in few letters."""
    return ", ".join(filter(None, (line["mechanism"].replace("_attention", ""), line["variant"])))


def draw(path: str, lines: list[Line], _rounds: int) -> None:
    """Writes a picture of the share of the machine's product and of the times of the definition, a bar per mechanism and pass."""
    from tinyattn import plot

    figure = plot.page(2)
    names = list(dict.fromkeys(map(named, lines)))
    figure.set_figheight(max(4.6, 0.3 * len(names) + 1.2))
    panels = (("of the product", "share of the machine's product"), ("times definition", "times as fast as the definition"))
    for ax, (column, says) in zip(figure.axes, panels, strict=True):
        for offset, which in enumerate(("forward", "with backward")):
            of = {named(line): line[column] for line in lines if line["pass"] == which}
            ax.barh([names.index(name) + 0.4 * offset for name in of], list(of.values()), height=0.38, label=which)
        ax.set_yticks([place + 0.2 for place in range(len(names))], names)
        ax.invert_yaxis()
        ax.set_xlabel(says)
        ax.set_xscale("linear" if column == "of the product" else "log")
        plot.without_frame(ax)
    figure.axes[0].legend(frameon=False)
    write_picture(figure, path)


TABLE = Table("every mechanism beside its definition, dense attention and other libraries", time_mechanisms, shown, draw, rounds=7,
              names=tuple(dict.fromkeys(case.name for case in CASES)), key=("mechanism", "variant", "pass"))
