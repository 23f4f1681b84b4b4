"""Probes: small calls that tell the words of a dialect apart. They only find a kernel's words: the user has to declare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyattn.definitions import attention, attention_with_lse
from tinyattn.laws.law import outputs
from tinyattn.laws.problem import Problem
from tinyattn.testing.conform.dialect import QUESTIONS, spoken
from tinyattn.testing.conform.failures import Misshaped, Raised
from tinyattn.testing.conform.stranger import Stranger

# Answers to a probe differ by more than a tenth, and 16-bit arithmetic errs by less than a hundredth.
NEAR = 0.03
# A head_dim whose root, and its root in turn, float32 cannot hold: with 16, a float64 path that is float32 inside would stay
# hidden. It is large enough for a unit vector per key, and values are as wide as keys, because many kernels need that.
DIM = 32
# Values where each weight is a fifth: a result 10 % off is farther from them than NEAR.
LOUD = 8.0


@dataclass(frozen=True)
class Probe:
    """One question, the options that its calls use, and the calls: shapes and options that tell its words apart."""

    question: str
    needs: tuple[str, ...]
    problems: tuple[Problem, ...]


def made(heads: int, kv_heads: int, q_len: int, kv_len: int, *, spread: float = 1.5, seed: int = 0, **options: Any) -> Problem:
    """Returns a problem of unit vectors as values, so that the outputs are weights; queries of 0 give equal weights."""
    rng = np.random.default_rng(seed)
    q = spread * rng.standard_normal((1, heads, q_len, DIM))
    k = rng.standard_normal((1, kv_heads, kv_len, DIM))
    v = np.broadcast_to(np.eye(kv_len, DIM), (1, kv_heads, kv_len, DIM)) + np.arange(kv_heads)[:, None, None]
    return Problem(q, k, v, options).astype(np.float32).astype(np.float64)


def probes(heads: bool, lengths: bool = True) -> Iterator[Probe]:
    """Yields the probes in the order in which they build on each other.

    `heads` says that kernels take several, `lengths` that there may be more keys than queries.
    """
    n, rng, rows = 2 if heads else 1, np.random.default_rng(1), 3 if lengths else 5
    fixed = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 0, 1], [1, 0, 1, 1, 1], [1, 1, 0, 0, 1], [0, 0, 1, 1, 0]], bool)[:rows]
    flat: dict[str, Any] = {"spread": 0.0}

    def pairs(sizes: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        return [(q_len, kv_len) for q_len, kv_len in sizes if lengths or q_len == kv_len]

    yield Probe("scale", (), (made(n, n, rows, 5, spread=0.7),))
    if heads:
        yield Probe("groups", (), (made(4, 2, rows, 5, **flat), made(6, 3, rows, 5, **flat)))
    yield Probe("scale_option", ("scale",), (made(n, n, rows, 5, scale=0.7),))
    yield Probe("causal", ("causal",), tuple(made(n, n, *sizes, **flat, causal=True) for sizes in pairs(((4, 4), (3, 5), (1, 4)))))
    yield Probe("mask", ("mask",), (made(n, n, rows, 5, **flat, mask=fixed),))
    yield Probe("combined", ("mask", "causal"), (made(n, n, rows, 5, **flat, mask=fixed, causal=True),))
    yield Probe("bias", ("bias",), (made(n, n, rows, 5, bias=1.5 * rng.standard_normal((rows, 5))),))
    added = 1.5 * rng.standard_normal((rows, 5))
    yield Probe("combined_bias", ("bias", "causal"), (made(n, n, rows, 5, causal=True, bias=added),))
    nothing = fixed.copy()
    nothing[1] = False
    yield Probe("empty", ("mask",), (made(n, n, rows, 5, **flat, mask=nothing),))
    sided = [made(n, n, *sizes, **flat, window=sides) for sizes in pairs(((13, 13), (3, 6), (1, 6)))
             for sides in ((2, 1), (2, 0), (1, 0))]
    yield Probe("window", ("window",), tuple(sided))
    yield Probe("window", ("window", "causal"), (made(n, n, 13, 13, **flat, window=(2, 0), causal=True),))
    yield Probe("softcap", ("softcap",), (made(n, n, rows, 5, spread=3.0, softcap=1.0),))
    added = 2.0 * rng.standard_normal((rows, 5))
    yield Probe("softcap", ("softcap", "bias"), (made(n, n, rows, 5, spread=3.0, softcap=1.0, bias=added),))
    # Scores of -6, beside which a sink of -12 is nothing unless it is clipped.
    weak = made(n, n, rows, 5, sinks=np.full(n, -12.0))
    weak = weak.but(q=np.ones_like(weak.q), k=np.full_like(weak.k, -6.0 * DIM ** -0.5))
    yield Probe("sinks", ("sinks",), (made(n, n, rows, 5, sinks=np.linspace(1.0, 2.0, n)), weak))


def layout_of(stranger: Stranger) -> tuple[str | None, bool, Raised | Misshaped | None]:
    """Returns the first layout in which the kernel averages values where all queries are 0, and what it said otherwise.

    The second is False where it does so only with as many queries as keys.
    """
    said: dict[str, Raised | Misshaped] = {}
    answered = False
    for lengths in (True, False):
        for layout in QUESTIONS["layout"]:
            heads = 1 if layout == "TD" else 2
            p, trial = made(heads, heads, 3 if lengths else 5, 5, spread=0.0), replace(stranger, layout=layout)
            p = p.but(v=LOUD * p.v)
            try:
                out = trial.call(p)[0]
            except (Raised, Misshaped) as error:
                said.setdefault(layout, error)
                continue
            answered = True
            if near(out, np.asarray(p.call(attention))):
                return layout, lengths, said.get(layout)
    return None, True, None if answered else next(iter(said.values()))


def near(got: Any, want: Any) -> bool:
    """Returns whether two answers are the same but for 16-bit rounding; NaN is equal to NaN."""
    with np.errstate(all="ignore"):
        same = (got == want) | (np.isnan(got) & np.isnan(want)) if got.shape == want.shape else False
        return bool(np.all(same | (np.abs(got - want) <= NEAR * np.maximum(1.0, np.abs(want))))) if got.shape == want.shape else False


def word_of(probe: Probe, dialect: Mapping[str, str], answers: list[Any], core: Any = attention, at: int = 0) -> str | None:
    """Returns the first word in which the definition gives these answers, tried from the word that is declared; None if none does."""
    words = sorted(QUESTIONS[probe.question], key=lambda word: word != dialect[probe.question])
    for word in words:
        fluent = spoken({**dialect, probe.question: word}, core)
        wanted = [np.asarray(outputs(p.call(fluent))[at]) for p in probe.problems]
        if all(map(near, answers, wanted)):
            return word
    return None


def base_of(p: Problem, dialect: Mapping[str, str], lse: Any) -> str | None:
    """Returns the base of the kernel's log-sum-exp."""
    return word_of(Probe("lse", (), (p,)), dialect, [lse], core=attention_with_lse, at=1)
