"""Problems of attention whose distances depend on the tokens, and of dual chunk attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import but, on, one_of, with_options
from tinyattn.laws.draw.sizes import Fit, at_least, at_most_keys, both, even, ordinary
from tinyattn.laws.draw.softmax import sloped, softmax, without
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem
from tinyattn.ops.types import Array


def spans(rng: np.random.Generator, p: Problem) -> Array:
    """Draws one span per head and query: some exceed the whole text, none is a whole number."""
    return (rng.choice((2.0, 12.0)) * rng.random(p.q.shape[:-1])).astype(p.q.dtype)


def spanned(*options: str, fit: Fit = lambda sizes: sizes, **more: Any) -> Draw:
    """Returns the drawing of problems with spans and the width of their ramp."""
    return with_options(softmax(*options, fit=fit), span=spans, ramp=one_of(0.5, 1.0, 2.5), **more)


def whole_spans(rng: np.random.Generator, p: Problem) -> Array:
    """Draws one whole number per head, the same for all queries."""
    return (rng.integers(0, 6, (p.q.shape[-3], 1)) + np.zeros(p.q.shape[:-1])).astype(p.q.dtype)


NO_SINKS = without(["sinks", "causal"])
SPAN = spanned(*without(["causal"]), causal=one_of(True, True, False))
SPAN_CAUSAL = spanned("scale", "softcap", causal=one_of(True))
SPAN_ORDINARY = spanned(*NO_SINKS, fit=ordinary, causal=one_of(True, False))
SPAN_SLOPES = with_options(sloped(*NO_SINKS), span=spans, ramp=one_of(0.5, 1.0, 2.5), causal=one_of(True, False))
WHOLE_SPANS = with_options(softmax("scale", "softcap", "sinks", fit=at_least(q_len=1)), span=whole_spans, ramp=one_of(0.5, 1.0),
                           causal=one_of(True, False))
SPANS_OF_ZERO = but(spanned("scale", "softcap", fit=at_most_keys, causal=one_of(True, False)),
                    lambda p: p.but(span=np.zeros_like(p.options["span"]), ramp=1.0))


def other_spans_longer(p: Problem) -> Problem:
    """Returns the problem with the span of every second query one token longer."""
    return p.but(span=(p.options["span"] + np.arange(p.q.shape[-2]) % 2).astype(p.q.dtype))


def table(rng: np.random.Generator, p: Problem) -> Array:
    """Draws the embeddings of fewer positions than there are tokens, or of more."""
    return rng.standard_normal((int(rng.choice((2, 3, 16))), p.q.shape[-1])).astype(p.q.dtype)


COUNTS = with_options(softmax("scale", "softcap", "mask", "window", "sinks"), embedding=table, causal=one_of(True, True, False))
COUNTS_CAUSAL = with_options(softmax("scale", "softcap"), embedding=table, causal=one_of(True))
COUNTS_SLOPES = on(with_options(sloped("scale", "softcap", "mask", "window"), embedding=table, causal=one_of(True, False)), ordinary)


def saturated_gates(sign: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem whose gates become 1 (or 0, for sign -1): one channel in which queries and keys are long."""
    def change(p: Problem) -> Problem:
        scale = p.options.get("scale") or p.q.shape[-1] ** -0.5
        root = np.sqrt(100.0 / scale)
        first = np.arange(p.q.shape[-1]) == 0
        return p.but(q=np.where(first, root, p.q), k=np.where(first, sign * root, p.k)).astype(p.q.dtype)

    return change


def gaps(rng: np.random.Generator, p: Problem) -> Array | None:
    """Draws positions with gaps between them, or None half of the time."""
    return np.cumsum(rng.integers(1, 4, p.k.shape[-2])) if rng.random() < 0.5 else None


FITS = both(at_most_keys, even)
CHUNKS: dict[str, Any] = {"chunk": one_of(1, 2, 3, 5), "local": one_of(1, 2, 3), "clamp": one_of("paper", "code"),
                          "interleaved": one_of(False, True), "base": one_of(10.0, 10000.0)}
DUAL = with_options(softmax("scale", fit=FITS), **CHUNKS, positions=gaps)
DUAL_SLOPES = on(with_options(sloped("scale"), **CHUNKS), FITS)
IN_ORDER = with_options(softmax("scale", fit=FITS), **CHUNKS)


def hardly_turning(p: Problem) -> Problem:
    """Returns the problem with frequencies of nearly 0, and zeros in the one pair of channels that always turns."""
    still = np.arange(p.q.shape[-1]) % (p.q.shape[-1] // 2) > 0
    return p.but(q=p.q * still, k=p.k * still, base=1e300, interleaved=False).astype(p.q.dtype)


def two_chunks(p: Problem) -> Problem:
    """Returns the problem with at most two chunks and a `local` that reaches over both."""
    chunk = -(-p.k.shape[-2] // 2)
    return p.but(chunk=chunk, local=chunk)
