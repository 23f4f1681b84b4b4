"""The part of tinyattn cost that is about many ranks: bytes, messages, balance and seconds of each scheme, on a given machine."""

from __future__ import annotations

import argparse
import math
import timeit
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn.cli.outputs import write_json, write_picture
from tinyattn.cli.presets import BYTES, Layers, Shape
from tinyattn.cli.ranks import world
from tinyattn.cli.terminal import paragraph, table
from tinyattn.fastest import attention
from tinyattn.parallel import Layout, contiguous, zigzag
from tinyattn.parallel import simulate as sim

HEADER = ["scheme", "sends", "messages", "balance", "seconds", "unhidden", "memory"]
STATES = {"states gathered": sim.states_programs, "states in turn": sim.turns_programs}
NUMBERS = ("flops", "bandwidth", "latency")
LEGEND = ("All layers of one sequence, forward and backward: bytes that the busiest rank sends, mean over largest work, seconds if "
          "messages are hidden behind the computation and if they are unhidden, and the bytes that a rank needs for one layer's "
          "tokens, messages under way and gradients. The ring can hide its messages from this many tokens per rank on:")


def machine_of(given: argparse.Namespace) -> sim.Machine:
    """Returns the three numbers of the machine, given or measured; ValueError where one is missing."""
    measured = measure() if given.measure else {}
    found = measured | {name: number for name in NUMBERS if (number := getattr(given, name)) is not None}
    missing = [f"--{name}" for name in NUMBERS if name not in found]
    if missing:
        raise ValueError(f"{', '.join(missing)}: missing; the cost over ranks depends on FLOP per second of a rank, bytes per second "
                         f"and seconds of a message; give them, or --measure under mpiexec")
    return sim.Machine(*(found[name] for name in NUMBERS))


def measure() -> dict[str, float]:
    """Returns the three numbers of this machine: of attention on one rank, and of messages between two."""
    comm = world("--measure")
    if comm.Get_size() < 2:
        raise ValueError("--measure: needs two ranks or more; start it as mpiexec -n 2 python -m mpi4py -m tinyattn cost ...")
    x = np.random.default_rng(0).standard_normal((1, 4, 1024, 64)).astype(np.float32)

    def fastest_of(step: Callable[[], Any]) -> float:
        step()
        return min(timeit.repeat(step, number=1, repeat=5))

    flops = 4 * 1024 * 1024 * 2 * 128 / fastest_of(lambda: attention(x, x, x))

    def there_and_back(size: int) -> float:
        rank, buffer = comm.Get_rank(), np.zeros(size, np.uint8)

        def step() -> None:
            for sender in (0, 1):
                if rank == sender:
                    comm.Isend(buffer, dest=1 - sender, tag=1).Wait()
                elif rank == 1 - sender:
                    comm.Irecv(buffer, source=sender, tag=1).Wait()

        return fastest_of(step) / 2

    latency, size = there_and_back(1), 1 << 24
    bandwidth = size / max(there_and_back(size) - latency, 1e-9)
    numbers: dict[str, float] = comm.allgather(dict(zip(NUMBERS, (flops, bandwidth, latency), strict=True)))[0]
    return numbers


def lines_of(shapes: Mapping[str, Shape], length: int, ranks: int, itemsize: int, machine: sim.Machine) -> list[dict[str, Any]]:
    """Returns a row per model and scheme, and the rows of decoding and of states."""
    lines = []
    for name, shape in shapes.items():
        even = contiguous(length, ranks)
        layouts = {"ring contiguous": even, "ring zigzag": zigzag(length, ranks), "heads": even}
        rows = [line_of(shape, scheme, layout, itemsize, machine) for scheme, layout in layouts.items()]
        best = min(rows, key=lambda row: row["seconds"])
        for row in rows:
            row["best"] = row is best
        rows += [line_of(shape, scheme, contiguous(length, ranks), itemsize, machine) for scheme in ("decoding a token", *STATES)]
        lines += [{"model": name, **row} for row in rows]
    return lines


def line_of(shape: Shape, scheme: str, layout: Layout, itemsize: int, machine: sim.Machine) -> dict[str, Any]:
    """Returns the row of one scheme, summed over the layers."""
    found: dict[str, Any] = {"scheme": scheme, "sends": 0, "messages": 0, "balance": 1.0, "seconds": 0.0, "no_overlap": 0.0,
                             "memory": 0, "hidden_from": 0}
    for part in shape.layers:
        passes = programs_of(shape, part, scheme, layout, itemsize)
        for programs in passes:
            found["sends"] += part.count * max(map(sim.sent, programs))
            found["messages"] += part.count * max(map(sim.messages, programs))
            found["seconds"] += part.count * max(sim.seconds(programs, machine))
            found["no_overlap"] += part.count * max(sim.seconds(programs, machine, overlap=False))
        found["balance"] = min(found["balance"], sim.balance(passes[0]))
        found["memory"] = max(found["memory"], memory_of(shape, part, scheme, layout, itemsize))
        if scheme.startswith("ring"):
            factor = 2 if "zigzag" in scheme else 1
            enough = factor * itemsize * part.kv_heads * machine.flops / (2 * shape.heads * machine.bandwidth)
            found["hidden_from"] = max(found["hidden_from"], math.ceil(enough))
    return found


def programs_of(shape: Shape, part: Layers, scheme: str, layout: Layout, itemsize: int) -> list[list[sim.Program]]:
    """Returns the programs of the forward and, where the scheme trains, of the backward."""
    sizes = sim.Shape(1, shape.heads, part.kv_heads, part.head_dim, part.value_dim, itemsize)
    if scheme == "decoding a token":
        return [sim.tree_programs(layout, sizes)]
    if scheme in STATES:
        return [STATES[scheme](layout, sizes)]
    make = sim.heads_programs if scheme == "heads" else sim.ring_programs
    left = None if part.window is None else part.window - 1
    return [make(layout, sizes, left=left, right=0, backward=backward) for backward in (False, True)]


def memory_of(shape: Shape, part: Layers, scheme: str, layout: Layout, itemsize: int) -> int:
    """Returns the bytes that a rank needs for one layer's tokens, what is on its way, and gradients."""
    tokens = max(map(layout.count, range(layout.ranks)))
    keys, rows = part.kv_heads * (part.head_dim + part.value_dim), shape.heads * (part.head_dim + part.value_dim)
    wide = max(itemsize, 4)
    if scheme == "decoding a token":
        return tokens * keys * itemsize
    if scheme in STATES:
        maps = part.kv_heads * part.head_dim * (part.head_dim + part.value_dim) * wide * layout.ranks
        state = part.kv_heads * part.head_dim * part.value_dim * wide
        return tokens * (keys + rows) * itemsize + (maps if scheme == "states gathered" else state)
    own = tokens * (keys + rows) * itemsize
    if scheme == "heads":  # the same numbers once more, as all tokens of some heads; a rank has at least one key head
        share = -(-shape.heads // layout.ranks)
        held = layout.length * (share * (part.head_dim + part.value_dim) + -(-share * part.kv_heads // shape.heads)
                                * (part.head_dim + part.value_dim))
        return own + held * (itemsize + wide) + own // itemsize * wide
    return own + 2 * tokens * keys * itemsize + tokens * (2 * keys + shape.heads * part.head_dim) * wide


def run(given: argparse.Namespace, shapes: Mapping[str, Shape], in_units: Callable[[float], str]) -> int:
    """Computes and prints the table of the schemes over ranks."""
    machine, itemsize = machine_of(given), BYTES[given.dtype]
    if given.measure and world("--measure").Get_rank():
        return 0
    lines = lines_of(shapes, given.length, given.ranks, itemsize, machine)
    paragraph(f"{given.length:,} tokens over {given.ranks} ranks in {given.dtype}: {machine.flops:.3g} FLOP/s, "
              f"{machine.bandwidth:.3g} bytes/s, {machine.latency:.3g} s per message")
    for model in dict.fromkeys(line["model"] for line in lines):
        table(HEADER, [[line["scheme"] + (" (best)" if line.get("best") else ""), in_units(line["sends"]), f"{line['messages']:,}",
                        f"{line['balance']:.2f}", f"{line['seconds']:.3g}", f"{line['no_overlap']:.3g}", in_units(line["memory"])]
                       for line in lines if line["model"] == model], title=model)
        print()
    here = given.length // given.ranks
    hidden = [f"{line['model']}, {line['scheme']} {line['hidden_from']:,} (here {here:,})" for line in lines if line["hidden_from"]]
    paragraph(f"{LEGEND} {'; '.join(hidden)}.")
    if given.json is not None:
        settings = {"length": given.length, "ranks": given.ranks, "dtype": given.dtype, **machine._asdict()}
        write_json({**settings, "rows": lines}, given.json)
    if given.plot is not None:
        from tinyattn import plot

        curves: dict[str, dict[int, float]] = {}
        for ranks in sorted({*(1 << n for n in range(given.ranks.bit_length())), given.ranks}):
            for line in lines_of(shapes, given.length, ranks, itemsize, machine):
                if "best" in line:
                    curves.setdefault(f"{line['model']}, {line['scheme']}", {})[ranks] = line["seconds"]
        write_picture(plot.growth(curves, ylabel="seconds of all layers, over ranks").figure, given.plot)
    return 0
