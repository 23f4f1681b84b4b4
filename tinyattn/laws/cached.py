"""The law of caches: decoding through one, in any pieces, is the whole computation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.ops.types import Array


def cached(make: Callable[..., Any], draw: Draw) -> Law:
    """Returns the law for a cache, made around the mechanism's own form of reading.

    `draw` gives causal problems; each step takes the options of its tokens, and not `causal`, which a cache always is.
    """
    def pieces(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        cache, outs, at = make(), [], 0
        for n in (1, 2, 0, 3, p.k.shape[-2]):
            some = p.tokens(slice(at, min(at + n, p.k.shape[-2])))
            options = {name: option for name, option in some.options.items() if name != "causal"}
            outs.append(cache.step(some.q, some.k, some.v, **options))
            at = min(at + n, p.k.shape[-2])
        return (np.concatenate(outs, axis=-2),)

    def drawn(rng: np.random.Generator, sizes: Sizes) -> Problem:
        return draw(rng, replace(sizes, q_len=sizes.kv_len))

    return Law("cached_is_full", "Decoding through the cache, in any pieces, gives what one call over all tokens gives.", drawn,
               lambda f, p: (outputs(p.call(f))[0],), pieces)
