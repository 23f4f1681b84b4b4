"""The law of caches: decoding through one, in any pieces, is the whole computation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.ops.types import Array


def cached(make: Callable[..., Any], draw: Draw, *, name: str = "cached_is_full") -> Law:
    """Returns the law for a cache class, made around the mechanism's own form of reading."""
    def pieces(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        cache, outs, at = make(), [], 0
        for n in (1, 2, 0, 3, p.k.shape[-2]):
            s = slice(at, min(at + n, p.k.shape[-2]))
            outs.append(cache.step(p.q[..., s, :], p.k[..., s, :], p.v[..., s, :]))
            at = s.stop
        return (np.concatenate(outs, axis=-2),)

    def drawn(rng: np.random.Generator, sizes: Sizes) -> Problem:
        p = draw(rng, replace(sizes, q_len=sizes.kv_len))
        kept = {"normalize": True} if "normalize" in p.options else {}
        return Problem(p.q, p.k, p.v, {"causal": True, **kept})

    return Law(name, "Decoding through the cache, in any pieces, gives what one call over all tokens gives.", drawn,
               lambda f, p: (outputs(p.call(f))[0],), pieces)
