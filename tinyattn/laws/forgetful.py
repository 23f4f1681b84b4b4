"""Laws of caches that round numbers or forget tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws import cached
from tinyattn.laws.draw.caches import CAUSAL, UNTIED
from tinyattn.laws.draw.options import long
from tinyattn.laws.law import Law
from tinyattn.laws.oracles.caches import keeping, rounding_bound, voted
from tinyattn.laws.problem import Problem
from tinyattn.ops.types import Array


def rounding_laws(make: cached.Make, *, bits: int, group: int) -> tuple[Law, ...]:
    """Returns the laws of a cache that rounds: what it computes, and how far that may be from attention."""
    def clipped(p: Problem) -> tuple[Array, Array]:
        out, truth = cached.steps(make(), p), np.asarray(p.call(definitions.attention))
        bound = rounding_bound(p, bits, group)
        return out, np.clip(out, truth - bound, truth + bound).astype(out.dtype)

    return (*cached.full_laws(make),
            Law("within_the_bound",
                "No output is farther from that of attention than rounding keys and values by half a scale can explain.",
                long(CAUSAL, 8), lambda f, p: (clipped(p)[0],), lambda f, p: (clipped(p)[1],)))


def weighed_laws(make: cached.Make) -> tuple[Law, ...]:
    """Returns the laws of a cache that forgets by weight, and therefore cannot truncate."""
    return (*(law for law in cached.cache_laws(make, UNTIED) if law.name != "tokens_of_zeros_count"),
            cached.reordered(make, UNTIED))


@dataclass(frozen=True)
class SnapSizes:
    """The sizes of SnapKV on which its law is tried: all but the last `decoded` tokens are the prompt."""

    budget: int
    window: int
    kernel: int
    decoded: int

    def mechanism(self, q: Array, k: Array, v: Array, **options: Any) -> Any:
        """Returns attention in which SnapKV's rule chooses after the prompt which tokens stay."""
        return keeping(voted(k.shape[-2] - self.decoded, self.budget, self.window, self.kernel))(q, k, v, **options)

    def laws_of(self, make: cached.Make) -> tuple[Law, ...]:
        """Returns the law of a cache that forgets once."""
        return (Law("a_prompt_is_voted_on",
                    "Decoding reads the tokens to which the prompt's last queries attended most, and all later ones.",
                    long(UNTIED, 9), cached.full,
                    lambda f, p: (cached.steps(make(), p, (p.k.shape[-2] - self.decoded, 1)),)),)
