"""tinyattn picture EXPR: a mask drawn in text, or to an SVG file."""

from __future__ import annotations

import argparse

import numpy as np

from tinyattn.cli.terminal import positive
from tinyattn.ops.files.atomic import check_writable, replacing
from tinyattn.ops.masks import parse, picture

MOST = 256


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("expression", metavar="EXPR", help="such as 'causal & window(3, 0) | first(2)'")
    parser.add_argument("--q-len", type=positive, default=16, metavar="N", help="queries (default 16)")
    parser.add_argument("--kv-len", type=positive, default=16, metavar="N", help="keys (default 16)")
    parser.add_argument("--svg", metavar="FILE", help="write an SVG file instead")


def run(given: argparse.Namespace) -> int:
    """Draws the mask."""
    if max(given.q_len, given.kv_len) > MOST:
        raise ValueError(f"--q-len, --kv-len: a picture of at most {MOST} by {MOST} can be read, "
                         f"got {given.q_len} by {given.kv_len}")
    pattern = parse(given.expression)
    dense = pattern.dense(given.q_len, given.kv_len)
    grid: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = dense.reshape(-1, given.q_len, given.kv_len)[0]
    if given.svg:
        check_writable(given.svg)
        with replacing(given.svg, "w") as file:
            file.write(picture.svg(grid, title=repr(pattern)))
        print(f"{given.svg}: {pattern}, {given.q_len} queries by {given.kv_len} keys")
    else:
        print(f"{pattern}: {int(grid.sum())} of {grid.size} pairs; a row a query, ■ sees")
        print(picture.text(grid))
    return 0
