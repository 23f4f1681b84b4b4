"""Counts what one decoding step runs: the calls of functions inside the package and the files that they stand in, per cache.

    python tests/caches/walks.py
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np

import tinyattn
from tinyattn import caches, definitions
from tinyattn.ops.positions.rotary import rotary

PACKAGE = str(Path(tinyattn.__file__).parent)
TOKENS = 70
WIDTHS = {"narrow": 8, "read by the kernels": 32}
MAKES = {
    "GrowingCache": caches.GrowingCache,
    "FixedCache": partial(caches.FixedCache, 128),
    "PagedCache": lambda: caches.PagePool(64, 16).sequence(),
    "RingCache": partial(caches.RingCache, 16),
    "RingCache, full length": partial(caches.RingCache, 128),
    "RingCache, first kept": partial(caches.RingCache, 16, keep_first=2),
    "RingCache, re-based": partial(caches.RingCache, 16, keep_first=2, rotate=rotary),
    "QuantizedCache": partial(caches.QuantizedCache, group=32, residual=16),
    "QuantizedCache, 4 bits": partial(caches.QuantizedCache, bits=4, group=32, residual=16),
    "EvictingCache": partial(caches.EvictingCache, caches.HeavyHitters(8, 8)),
    "StateCache": caches.StateCache,
    "StateCache, slack": partial(caches.StateCache, slack=8),
    "BatchCache": caches.BatchCache,
    "LatentCache": caches.LatentCache,
    "CrossCache": caches.CrossCache,
    "SharedCache": lambda: caches.SharedCache(caches.GrowingCache()),
}


def walk(act):
    """Returns the code of every function of the package that an act calls, once per call."""
    calls = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls.append(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
    return calls


def arrays(width):
    return [np.random.default_rng(0).standard_normal((1, heads, TOKENS + 1, width)) for heads in (4, 2, 2)]


def last_step(name, width):
    """Returns the step of one more token through a cache that holds 70."""
    cache, options, given = MAKES[name](), {}, arrays(width)
    if name == "LatentCache":
        given = [given[0], given[1][:, 0], given[2][:, 0, :, : width // 2]]
        options = {weight: np.ones((4, width, width // 2)) for weight in ("w_uk", "w_uv")}
    early, last = ([x[..., part, :] for x in given] for part in (slice(0, TOKENS), slice(TOKENS, None)))
    if name == "SharedCache":
        cache.source.append(*early[1:])
    else:
        cache.step(*early, **options)
    return partial(cache.step, *(last[:1] if name in ("SharedCache", "CrossCache") else last), **options)


def table():
    """Yields the name of each cache with its calls and files per width of the heads, the definition first."""
    for name in ("the definition", *MAKES):
        counts = []
        for width in WIDTHS.values():
            q, k, v = arrays(width)
            calls = walk(last_step(name, width) if name in MAKES else partial(definitions.attention, q[..., -1:, :], k, v, causal=True))
            counts += [len(calls), len({code.co_filename for code in calls})]
        yield name, *counts


if __name__ == "__main__":
    print(f"{'one token after ' + str(TOKENS):26}" + "".join(f"{words + ': calls':>28} files" for words in WIDTHS))
    for name, *counts in table():
        print(f"{name:26}" + "".join(f"{calls:28} {files:5}" for calls, files in zip(counts[::2], counts[1::2], strict=True)))
