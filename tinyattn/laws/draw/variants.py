"""Problems of attention with one thing changed: norms, two maps, gates, windows, latents, spans, counts, chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import but, given, like, normal, on, one_of, uniform, with_options
from tinyattn.laws.draw.sizes import Fit, at_least, at_most_keys, both, even, ordinary
from tinyattn.laws.draw.softmax import sloped, softmax, without
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.ops.types import Array

SOFTMAX, SLOPES = softmax(*without(["sinks"])), sloped(*without(["sinks"]))
CAUSAL = given(softmax("scale", "softcap"), causal=True)
FACTORS = uniform(lambda p: p.q.shape[-1:], 0.5)
QK, QK_CAUSAL = (with_options(draw, q_weight=FACTORS, k_weight=FACTORS) for draw in (SOFTMAX, CAUSAL))
DIFFERENTIAL, DIFFERENTIAL_SLOPES, DIFFERENTIAL_CAUSAL = (
    with_options(draw, q2=like("q"), k2=like("k"), lambda_=uniform(lambda p: p.q.shape[-3:-2])) for draw in (SOFTMAX, SLOPES, CAUSAL))
GATED, GATED_CAUSAL = (with_options(draw, gate=normal(lambda p: p.q.shape[:-1])) for draw in (SOFTMAX, CAUSAL))
LOCAL = with_options(given(softmax("scale", "softcap", "sinks"), causal=True),
                     window=lambda rng, p: [int(w) for w in rng.integers(1, 6, p.q.shape[-3])],
                     mode=lambda rng, p: str(rng.choice(["sliding", "block", "look_back"])))


def long_vectors(p: Problem) -> Problem:
    """Returns the problem with queries and keys so long that the norm's epsilon is negligible."""
    return p.but(q=p.q * 2.0 ** 30, k=p.k * 2.0 ** 30, softcap=None, scale=None)


def gates_of(value: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that sets all gates to one number."""
    return lambda p: p.but(gate=np.full_like(p.options["gate"], value))


def latent(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a problem of latent attention: q_nope, latent and k_rope stand for q, k and v."""
    heads, rank, rope, value = sizes.heads, sizes.head_dim + 1, int(rng.integers(0, 3)) * 2, sizes.value_dim
    lead = sizes.leading
    options: dict[str, Any] = {"q_rope": rng.standard_normal((*lead, heads, sizes.q_len, rope)),
                               "w_uk": rng.standard_normal((heads, rank, sizes.head_dim)),
                               "w_uv": rng.standard_normal((heads, rank, value)), "causal": True}
    if rng.random() < 0.5:
        options["scale"] = 0.5
    return Problem(rng.standard_normal((*lead, heads, sizes.q_len, sizes.head_dim)), rng.standard_normal((*lead, sizes.kv_len, rank)),
                   rng.standard_normal((*lead, sizes.kv_len, rope)), options).astype(sizes.dtype)


def selecting(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws latents that hold the keys and values of all kv heads, and projections of 0 and 1 that pick each head's own."""
    p = latent(rng, sizes)
    groups, d, e = sizes.kv_heads, sizes.head_dim, sizes.value_dim
    c = rng.standard_normal((*sizes.leading, sizes.kv_len, groups * (d + e))).astype(sizes.dtype)
    w_uk, w_uv = (np.zeros((sizes.heads, groups * (d + e), n), sizes.dtype) for n in (d, e))
    for h in range(sizes.heads):
        at = h // sizes.groups * (d + e)
        w_uk[h, at : at + d], w_uv[h, at + d : at + d + e] = np.eye(d), np.eye(e)
    return p.but(k=c, v=p.v[..., :0], q_rope=p.options["q_rope"][..., :0], w_uk=w_uk, w_uv=w_uv)


def with_joined_queries(p: Problem) -> Problem:
    """Returns a problem of latent attention with both parts of the queries in one array, as a LatentCache takes them."""
    return p.without("q_rope").but(q=np.concatenate((p.q, p.options["q_rope"]), axis=-1))


def spans(rng: np.random.Generator, p: Problem) -> Array:
    """Draws one span per head and query: some exceed the whole text, none is a whole number."""
    return (rng.choice((2.0, 12.0)) * rng.random(p.q.shape[:-1])).astype(p.q.dtype)


def spanned(*options: str, fit: Fit = lambda sizes: sizes, **more: Any) -> Draw:
    """Returns the drawing of problems with spans and the width of their ramp."""
    return with_options(softmax(*options, fit=fit), span=spans, ramp=one_of(0.5, 1.0, 2.5), **more)


def integer_spans(rng: np.random.Generator, p: Problem) -> Array:
    """Draws one whole number per head, the same for all queries."""
    return (rng.integers(0, 6, (p.q.shape[-3], 1)) + np.zeros(p.q.shape[:-1])).astype(p.q.dtype)


NO_SINKS = without(["sinks", "causal"])
SPAN = spanned(*without(["causal"]), causal=one_of(True, True, False))
SPAN_CAUSAL = spanned("scale", "softcap", causal=one_of(True))
SPAN_ORDINARY = spanned(*NO_SINKS, fit=ordinary, causal=one_of(True, False))
SPAN_SLOPES = with_options(sloped(*NO_SINKS), span=spans, ramp=one_of(0.5, 1.0, 2.5), causal=one_of(True, False))
INTEGER_SPANS = with_options(softmax("scale", "softcap", "sinks", fit=at_least(q_len=1)), span=integer_spans, ramp=one_of(0.5, 1.0),
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
        root, first = np.sqrt(100.0 / p.scale), np.arange(p.q.shape[-1]) == 0
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
