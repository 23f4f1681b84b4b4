"""A decoding step through each cache behind a long text, beside the decoding kernel alone on the same keys."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.catalog import caches
from tinyattn.cli.cache_names import CODES
from tinyattn.cli.outputs import Line
from tinyattn.cli.timing.measure import interleaved, ratio
from tinyattn.cli.timing.table import Table

HEADS, KV_HEADS, LENGTH, HEAD_DIM = 32, 8, 8192, 128
BARE = "no cache"
# The largest ratios that are accepted, and the time that each is a ratio to.
PAGES = "1.15 of no cache, 1.25 of fixed"
ASKED = {"fixed": "1.15 of no cache", "pages of 64": PAGES, "pages of 16": PAGES, "int8": "0.67 of fixed", "int4": "1 of int8"}
BESIDE = (BARE, "fixed", "int8")


def made(room: int) -> dict[str, Any]:
    """Returns an empty cache of each kind, with room for so many tokens."""
    settings = {"fixed": ("FixedCache", {"capacity": room}),
                **{f"pages of {size}": ("PagedCache", {"pages": -(-room // size), "page_size": size}) for size in (64, 16)},
                "int8": ("QuantizedCache", CODES["int8"]), "int4": ("QuantizedCache, 4 bits", CODES["int4"])}
    return {name: caches.find(known).made(**given) for name, (known, given) in settings.items()}


def time_caches(rounds: int) -> list[Line]:
    """Returns a row per cache: milliseconds of a step, tokens per second, megabytes, and the ratios to other caches."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, heads, LENGTH, HEAD_DIM), np.float32) for heads in (HEADS, KV_HEADS, KV_HEADS))
    token = tuple(x[..., -1:, :] for x in (q, k, v))
    held = made(LENGTH + rounds + 3)
    steps: dict[str, Callable[[], Any]] = {BARE: lambda: fastest.attention(token[0], k, v)}
    for name, cache in held.items():
        cache.append(k[..., :-1, :], v[..., :-1, :])
        steps[name] = partial(cache.step, *token)
    print(f"float32, {HEADS} heads, {KV_HEADS} of keys, head_dim {HEAD_DIM}, {LENGTH} tokens, one more per step", flush=True)
    taken = interleaved(steps, rounds)
    lines: list[Line] = []
    for name, seconds in taken.items():
        spent = statistics.median(seconds)
        size = f"{held[name].nbytes / 1e6:.1f}" if name in held else ""
        lines.append({"cache": name, "ms": f"{1e3 * spent:.2f}", "tokens/s": f"{1 / spent:,.0f}", "MB": size,
                      **{f"of {other}": f"{ratio(seconds, taken[other]):.2f}" for other in BESIDE},
                      "asked, at most": ASKED.get(name, "")})
    return lines


TABLE = Table("a decoding step through each cache behind a long text, beside the kernel alone", time_caches)
