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
Q, K, V = (np.random.default_rng(0).standard_normal((1, heads, TOKENS + 1, 8)) for heads in (4, 2, 2))
WEIGHTS = {name: np.random.default_rng(1).standard_normal((4, 8, 4)) for name in ("w_uk", "w_uv")}
ONE_MORE = slice(TOKENS, TOKENS + 1)
MAKES = {
    "GrowingCache": caches.GrowingCache,
    "FixedCache": partial(caches.FixedCache, 128),
    "PagedCache": lambda: caches.PagePool(64, 16).sequence(),
    "RingCache": partial(caches.RingCache, 16),
    "RingCache, full length": partial(caches.RingCache, 128),
    "RingCache, first kept": partial(caches.RingCache, 16, keep_first=2),
    "RingCache, re-based": partial(caches.RingCache, 16, keep_first=2, rotate=rotary),
    "QuantizedCache": partial(caches.QuantizedCache, group=16, residual=16),
    "QuantizedCache, 4 bits": partial(caches.QuantizedCache, bits=4, group=16, residual=16),
    "EvictingCache": partial(caches.EvictingCache, caches.HeavyHitters(8, 8)),
    "StateCache": caches.StateCache,
    "StateCache, slack": partial(caches.StateCache, slack=8),
    "BatchCache": caches.BatchCache,
    "LatentCache": caches.LatentCache,
    "CrossCache": caches.CrossCache,
    "SharedCache": lambda: caches.SharedCache(caches.GrowingCache()),
}


def walk(act):
    """Returns how many calls inside the package an act makes, and the files that the called functions stand in."""
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
    return len(calls), sorted({code.co_filename[len(PACKAGE) + 1:] for code in calls}), calls


def last_step(name, tokens=TOKENS):
    """Returns the step of one token through a cache that holds so many."""
    cache, options = MAKES[name](), {}
    q, k, v = Q, K, V
    if name == "LatentCache":
        k, v, options = K[:, 0], V[:, 0, :, :4], WEIGHTS
    early = [x[..., :tokens, :] for x in (q, k, v)]
    q, k, v = (x[..., tokens : tokens + 1, :] for x in (q, k, v))
    if name == "SharedCache":
        cache.source.append(*early[1:])
        return partial(cache.step, q)
    cache.step(*early, **options)
    if name == "CrossCache":
        return partial(cache.step, q)
    return partial(cache.step, q, k, v, **options)


if __name__ == "__main__":
    rows = [("the definition", partial(definitions.attention, Q[..., -1:, :], K, V, causal=True)), *((name, last_step(name)) for name in MAKES)]
    print(f"{'one token after ' + str(TOKENS):28}calls  files")
    for name, act in rows:
        calls, files, codes = walk(act)
        print(f"{name:28}{calls:5}{len(files):7}")
        if name in sys.argv:
            from collections import Counter
            for (file, function), n in Counter((c.co_filename[len(PACKAGE):], c.co_qualname) for c in codes).items():
                print("   ", n, file, function)
