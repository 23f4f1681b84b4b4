"""tinyattn picture EXPR: draws a mask as text or as an SVG file."""

from __future__ import annotations

import argparse

from tinyattn.cli.outputs import check_outputs
from tinyattn.cli.terminal import positive
from tinyattn.ops.files.atomic import replacing
from tinyattn.ops.masks import parse, picture

# The most queries and keys of a picture.
MOST = 256


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("expression", metavar="EXPR", help="such as 'causal & (window(3, 0) | first(2))'; & binds before |")
    parser.add_argument("--q-len", type=positive, default=16, metavar="N", help="queries (default 16)")
    parser.add_argument("--kv-len", type=positive, default=16, metavar="N", help="keys (default 16)")
    parser.add_argument("--svg", metavar="FILE", help="write an SVG file instead")


def run(given: argparse.Namespace) -> int:
    """Draws the mask."""
    if max(given.q_len, given.kv_len) > MOST:
        raise ValueError(f"--q-len, --kv-len: expected at most {MOST} by {MOST}, which can still be read, "
                         f"got {given.q_len} by {given.kv_len}")
    check_outputs(svg=given.svg)
    pattern = parse(given.expression)
    grid = pattern.dense(given.q_len, given.kv_len).reshape(-1, given.q_len, given.kv_len)[0]
    if given.svg is not None:
        with replacing(given.svg, "w") as file:
            file.write(picture.svg(grid, title=repr(pattern)))
        print(f"{given.svg}: {pattern}, {given.q_len} queries by {given.kv_len} keys")
    else:
        print(f"{pattern}: {int(grid.sum())} of {grid.size} pairs; one row per query, ■ sees")
    later = picture.later_keys(grid)
    if later:
        hint = "; & binds before |, so write a & (b | c)" if "&" in given.expression and "|" in given.expression else ""
        print(f"not causal: {later} of these pairs show a query a key that comes after it{hint}")
    if given.svg is None:
        print(picture.text(grid))
    return 0
