"""tinyattn cost: computes the bytes that a cache holds and a decoding step reads, for a shape or for well-known models."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tinyattn.cli import cost_of_ranks
from tinyattn.cli.cache_names import formulas, named
from tinyattn.cli.names import every
from tinyattn.cli.outputs import check_outputs, check_picture, write_json, write_picture
from tinyattn.cli.presets import BYTES, PRESETS, Layers, Shape
from tinyattn.cli.terminal import paragraph, positive, table
from tinyattn.ops.checks import real

HEADER = ["model", "cache", "holds", "per token", "a step reads"]
SHAPES = ["model", "layers", "heads", "numbers per token"]
RING = "ring"
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
SHORTEST = 1024
LEGEND = ("Per layer, the cache holds kv_heads x (head_dim + value_dim) numbers of a token; in latent attention, one latent and one "
          "rotated key for all heads. A step reads the tokens that its query sees; a ring holds only those.")


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--model", metavar="A,B", help=f"well-known models, or 'all' (default without a shape): {', '.join(PRESETS)}")
    parser.add_argument("--heads", type=positive, metavar="H", help="query heads, for a shape of your own")
    parser.add_argument("--kv-heads", type=positive, metavar="G", help="heads of keys and values (default: as many as query heads)")
    parser.add_argument("--head-dim", type=positive, metavar="D", help="channels of a key")
    parser.add_argument("--value-dim", type=positive, metavar="E", help="channels of a value (default: as many as of a key)")
    parser.add_argument("--layers", type=positive, metavar="L", help="number of layers")
    parser.add_argument("--window", type=positive, metavar="W", help="number of last tokens that a layer sees (default: all)")
    parser.add_argument("--ranks", type=positive, metavar="P",
                        help="spread one sequence over P processes: the bytes and seconds of their messages")
    parser.add_argument("--flops", type=number, metavar="F", help="with --ranks: FLOP per second of a rank, such as 400e12")
    parser.add_argument("--bandwidth", type=number, metavar="B", help="with --ranks: bytes per second that a rank sends")
    parser.add_argument("--latency", type=number, metavar="L", help="with --ranks: seconds of a message")
    parser.add_argument("--measure", action="store_const", const=True,
                        help="with --ranks: measure what is not given, under mpiexec -n 2 python -m mpi4py -m tinyattn")
    parser.add_argument("--length", type=tokens, default=131072, metavar="N", help="tokens in the cache (default 131072)")
    parser.add_argument("--dtype", type=str.lower, choices=[*BYTES], default="float16",
                        help="of the cache (default float16)")
    parser.add_argument("--cache", default="growing,ring", metavar="A,B",
                        help=f"of {', '.join(known_caches())}, or 'all'; default: growing, and ring if there is a window")
    parser.add_argument("--json", metavar="FILE", help="write the table")
    parser.add_argument("--plot", metavar="FILE", help="draw the bytes held by length (png, svg, pdf)")


def run(given: argparse.Namespace) -> int:
    """Computes and prints the tables; nothing is allocated."""
    shapes, itemsize = shapes_of(given), BYTES[given.dtype]
    check_outputs(json=given.json, plot=given.plot)
    check_picture(given.plot)
    if given.ranks is not None:
        return cost_of_ranks.run(given, shapes, in_units)
    machine = [name for name in ("flops", "bandwidth", "latency", "measure") if getattr(given, name) is not None]
    if machine:
        raise ValueError(f"--{machine[0]}: only with --ranks, the number of ranks that share a sequence")
    caches = every(given.cache, known_caches(), "cache", "--cache")
    lines = lines_of(shapes, caches, given.length, itemsize)
    if not lines:
        raise ValueError("--cache ring: holds the tokens of a window, but no layer has one; give --window")
    table(HEADER, [[line["model"], line["cache"],
                    *(in_units(line[name]) for name in ("bytes", "bytes_per_token", "reads_per_token"))] for line in lines],
          title=f"one sequence of {given.length:,} tokens in {given.dtype}")
    print()
    table(SHAPES, [[name, shape.depth, str(shape.heads), shape.leaves] for name, shape in shapes.items()])
    print()
    paragraph(LEGEND)
    print()
    sources: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        sources.setdefault(shape.source, []).append(name)
    for source, names in sources.items():
        if source:
            paragraph(f"{', '.join(names)}: {source}", hanging="    ")
    if given.json is not None:
        write_json({"length": given.length, "dtype": given.dtype, "rows": lines}, given.json)
    if given.plot is not None:
        draw(shapes, caches, given.length, itemsize, given.plot)
    return 0


def tokens(text: str) -> int:
    """Returns a number of tokens, which may end in K or M, powers of 1024.

    >>> tokens("131072"), tokens("128K"), tokens("1m")
    (131072, 131072, 1048576)
    """
    powers = {"K": 10, "M": 20}
    ending = text[-1:].upper()
    return positive(text[:-1]) << powers[ending] if ending in powers else positive(text)


def number(text: str) -> float:
    """Returns a finite number above 0."""
    try:
        return real("number", float(text), above=0.0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a finite number above 0, got {text!r}") from None


def known_caches() -> list[str]:
    """Returns the names of the caches whose bytes follow from the shape."""
    return [*formulas(), RING]


def shapes_of(given: argparse.Namespace) -> dict[str, Shape]:
    """Returns the shapes that the options ask for, by name; ValueError for an incomplete shape."""
    own = {name: getattr(given, name) for name in ("heads", "kv_heads", "head_dim", "value_dim", "layers", "window")}
    if all(size is None for size in own.values()):
        return {name: PRESETS[name] for name in every(given.model or "all", PRESETS, "model", "--model")}
    if given.model:
        raise ValueError("--model: a model has its own shape; give a model or a shape, not both")
    missing = [f"--{name.replace('_', '-')}" for name in ("heads", "head_dim", "layers") if own[name] is None]
    if missing:
        raise ValueError(f"{', '.join(missing)}: missing; a shape needs --heads, --head-dim and --layers")
    kv_heads, dim = given.kv_heads or given.heads, given.head_dim
    if given.heads % kv_heads:
        raise ValueError(f"--kv-heads: expected a divisor of the {given.heads} heads, got {kv_heads}")
    return {"(yours)": Shape(given.heads, (Layers(given.layers, kv_heads, dim, given.value_dim or dim, given.window),))}


def lines_of(shapes: Mapping[str, Shape], caches: Sequence[str], length: int, itemsize: int) -> list[dict[str, Any]]:
    """Returns a row per shape and cache; a ring only for shapes with a window."""
    lines = []
    for name, shape in shapes.items():
        for cache in caches:
            held, read = bytes_of(shape, cache, length, itemsize)
            if cache != RING or any(part.window for part in shape.layers):
                lines.append({"model": name, "layers": shape.depth, "heads": shape.heads, "leaves": shape.leaves, "cache": cache,
                              "bytes": held, "bytes_per_token": held / length, "reads_per_token": read, "source": shape.source})
    return lines


def bytes_of(shape: Shape, cache: str, length: int, itemsize: int) -> tuple[int, int]:
    """Returns the bytes that all layers hold of one sequence, and the bytes that one decoding step reads."""
    formula = named(cache, {**formulas(), RING: formulas()["growing"]})
    held = read = 0
    for part in shape.layers:
        sizes = (part.kv_heads, part.head_dim, part.value_dim, itemsize)
        seen = min(length, part.window or length)
        held += part.count * formula(seen if cache == RING else length, *sizes)
        read += part.count * formula(seen, *sizes)
    return held, read


def in_units(size: float) -> str:
    """Returns a number of bytes in a suitable unit.

    >>> in_units(512), in_units(327680), in_units(40 * 2 ** 30)
    ('512 B', '320.0 KiB', '40.0 GiB')
    """
    if size < 1024:
        return f"{size:.0f} B"
    power = min(int(math.log2(size)) // 10, len(UNITS) - 1)
    return f"{size / 1024 ** power:,.1f} {UNITS[power]}"


def draw(shapes: Mapping[str, Shape], caches: Sequence[str], length: int, itemsize: int, path: str) -> None:
    """Draws the bytes that each shape and cache holds, at lengths up to this one."""
    from tinyattn import plot

    lengths = [n for n in (SHORTEST << k for k in range(length.bit_length())) if n < length] + [length]
    curves: dict[str, dict[int, float]] = {}
    for n in lengths:
        for line in lines_of(shapes, caches, n, itemsize):
            curves.setdefault(f"{line['model']}, {line['cache']}", {})[n] = line["bytes"] / 2 ** 30
    write_picture(plot.growth(curves, ylabel="GiB that one sequence holds").figure, path)
