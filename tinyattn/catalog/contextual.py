"""Rows of attention whose distances the tokens make: spans that queries choose, positions that gates count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.softmax import BAD, grown
from tinyattn.catalog.variants import at_most_keys, laws, ordinary, own, with_options
from tinyattn.laws.draw import at_least, softmax, without
from tinyattn.laws.forms import agrees, but, slopes_agree
from tinyattn.laws.gradient import sloped
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.layers.inputs import Input, Parameter, between
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array

ATTENTION = definitions.attention
FORMULA = "length kv_heads (head_dim + value_dim) itemsize"


def small(sizes: Sizes) -> Sizes:
    """Returns the sizes with few sequences and heads: these mechanisms compute each of them alone."""
    few = {name: min(getattr(sizes, name), 2) for name in ("kv_heads", "groups")}
    return replace(sizes, leading=tuple(min(n, 2) for n in sizes.leading[:1]), **few)


def one_of(*choices: Any) -> Callable[[np.random.Generator, Problem], Any]:
    """Returns how one of these is drawn."""
    return lambda rng, p: choices[int(rng.integers(len(choices)))]


def spans(rng: np.random.Generator, p: Problem) -> Array:
    """A span a head and query, some beyond the whole text, none a whole number."""
    return (rng.choice((2.0, 12.0)) * rng.random(p.q.shape[:-1])).astype(p.q.dtype)


def spanned(*options: str, fit: Callable[[Sizes], Sizes] = lambda sizes: sizes, **more: Any) -> Any:
    """Returns the drawing of problems with spans and a ramp."""
    return with_options(softmax(*options, fit=fit), span=spans, ramp=one_of(0.5, 1.0, 2.5), **more)


SPAN = spanned(*without(["causal"]), causal=one_of(True, True, False))
SPAN_CAUSAL = spanned("scale", "softcap", causal=one_of(True))
NO_SINKS = without(["sinks", "causal"])


def distances(q: Array, k: Array) -> Array:
    """How far key j is from query i."""
    return np.abs(np.arange(k.shape[-2] - q.shape[-2], k.shape[-2])[:, None] - np.arange(k.shape[-2])).astype(q.dtype)


def biased(q: Array, k: Array, v: Array, *, span: Array, ramp: float, bias: Any = None, **options: Any) -> Any:
    """Attention with a bias log m, -inf where m is 0, pair by pair."""
    log_m = np.full((*q.shape[:-1], k.shape[-2]), -np.inf, q.dtype)
    for i, j in np.ndindex(log_m.shape[-2:]):
        m = 1.0 + (span[..., i] - abs(i + k.shape[-2] - q.shape[-2] - j)) / ramp
        log_m[..., i, j] = np.where(m > 0, np.log(np.where(m > 0, np.minimum(m, 1.0), 1.0)), -np.inf)
    return ATTENTION(q, k, v, bias=log_m if bias is None else log_m + bias, **options)


def cut_afterwards(q: Array, k: Array, v: Array, *, span: Array, ramp: float, **options: Any) -> Any:
    """Softmax over all, then times m, then divided by what is left."""
    m = np.minimum(np.maximum((ramp + span[..., None] - distances(q, k)) / ramp, 0.0), 1.0)
    kept = definitions.attention_weights(q, k, **options) * m
    left = np.sum(kept, axis=-1, keepdims=True)
    return kept / np.where(left == 0, 1.0, left) @ np.repeat(v, q.shape[-3] // k.shape[-3], axis=-3)


def unspanned(q: Array, k: Array, v: Array, *, span: Array, ramp: float, **options: Any) -> Any:
    """Attention without spans."""
    return ATTENTION(q, k, v, **options)


def whole_spans(rng: np.random.Generator, p: Problem) -> Array:
    """A whole number for each head."""
    return (rng.integers(0, 6, (p.q.shape[-3], 1)) + np.zeros(p.q.shape[:-1])).astype(p.q.dtype)


def windows(q: Array, k: Array, v: Array, *, span: Array, ramp: float, **options: Any) -> Any:
    """A window of span + 1 keys for each head."""
    window = [int(span[(0,) * (span.ndim - 2)][h, 0]) + 1 for h in range(q.shape[-3])]
    return definitions.multi_head_local_attention(q, k, v, window=window, **options)


def even_rows(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Every second query's row."""
    return (outputs(p.call(f))[0][..., ::2, :],)


def others_further(p: Problem) -> Problem:
    """The spans of the other queries one token longer."""
    return p.but(span=(p.options["span"] + np.arange(p.q.shape[-2]) % 2).astype(p.q.dtype))


# 256 in all, and 2 rather than 6 to begin with: at 6 a context of 256 would be seen whole, and no span had a slope.
SPANS = Input("span", "heads", between(0.0, 256.0), 2.0)
DYNAMIC = partial(definitions.dynamic_contextual_attention, ramp=32.0)


def counting(f: Mechanism) -> Mechanism:
    """Returns attention with the bias that f(q, k, embedding=...) counts."""
    def mechanism(q: Array, k: Array, v: Array, *, embedding: Array, causal: bool = True, mask: Any = None, window: Any = None,
                  scale: float | None = None, **options: Any) -> Any:
        same: dict[str, Any] = {"causal": causal, "mask": mask, "window": window, "scale": scale}
        return ATTENTION(q, k, v, bias=f(q, k, embedding=embedding, **same), **same, **options)

    return mechanism


def table(rng: np.random.Generator, p: Problem) -> Array:
    """Embeddings of few positions, or of more than there are."""
    return rng.standard_normal((int(rng.choice((2, 3, 16))), p.q.shape[-1])).astype(p.q.dtype)


COUNTS = with_options(softmax("scale", "softcap", "mask", "window", "sinks"), embedding=table, causal=one_of(True, True, False))
COUNTS_CAUSAL = with_options(softmax("scale", "softcap"), embedding=table, causal=one_of(True))
COUNTED = counting(definitions.contextual_position_bias)


def hats(q: Array, k: Array, *, embedding: Array, scale: float | None, **options: Any) -> Array:
    """Counts by a triangle of ones; each position's vector weighs 1 - its distance from the count."""
    seen = Problem(q, k, k, options).visible()
    products = q @ np.repeat(k, q.shape[-3] // k.shape[-3], axis=-3).mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    counted = seen / (1.0 + np.exp(np.minimum(-products, 80.0))) @ np.tril(np.ones((k.shape[-2],) * 2, q.dtype))
    place = np.minimum(counted, embedding.shape[0] - 1.0)[..., None]
    weights = np.maximum(1.0 - np.abs(place - np.arange(embedding.shape[0])), 0.0)
    bias: Array = np.sum(weights * (q @ embedding.T)[..., None, :], axis=-1)
    return bias.astype(q.dtype)


def gates_of(sign: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem to gates of 1, or of 0: one channel in which queries and keys are long."""
    def change(p: Problem) -> Problem:
        scale = p.options.get("scale") or p.q.shape[-1] ** -0.5
        root = np.sqrt(100.0 / scale)
        first = np.arange(p.q.shape[-1]) == 0
        return p.but(q=np.where(first, root, p.q), k=np.where(first, sign * root, p.k)).astype(p.q.dtype)

    return change


def by_distance(q: Array, k: Array, v: Array, *, embedding: Array, **options: Any) -> Any:
    """Attention with q_i . e[i - j + 1], the last vector for all that is further."""
    at = np.clip(np.arange(k.shape[-2] - q.shape[-2], k.shape[-2])[:, None] - np.arange(k.shape[-2]) + 1, 0, len(embedding) - 1)
    return ATTENTION(q, k, v, bias=np.sum(q[..., None, :] * embedding[at], axis=-1), **options)


def uncounted(q: Array, k: Array, v: Array, *, embedding: Array, **options: Any) -> Any:
    """Attention without a bias."""
    return ATTENTION(q, k, v, **options)


ROWS = (
    Row("dynamic_contextual_attention", "Each token says how far back it looks.", definitions.dynamic_contextual_attention,
        (Paper("Sukhbaatar et al.", 2019, "1905.07799"),), "exact", "heads i j (d + e), or heads i (span + ramp) (d + e)", SPAN,
        (agrees("attention_with_a_bias", biased, draw=SPAN, to="attention", says="It is attention with a bias: the log of the ramp."),
         agrees("weights_cut_afterwards", cut_afterwards, draw=spanned(*NO_SINKS, fit=ordinary, causal=one_of(True, False)),
                says="Softmax over all, cut by the ramp and divided by what is left, gives the same."),
         slopes_agree("weights_cut_afterwards", cut_afterwards,
                      draw=with_options(sloped(*NO_SINKS), span=spans, ramp=one_of(0.5, 1.0, 2.5), causal=one_of(True, False))),
         Law("a_wide_span_is_none", "Spans as long as the text are attention, bit for bit.",
             but(SPAN, lambda p: p.but(span=np.full_like(p.options["span"], 20.0))), plain, lambda f, p: plain(unspanned, p),
             exact=True, to="attention"),
         Law("a_wide_ramp_is_none", "The wider the ramp, the nearer it is to attention.", but(SPAN, lambda p: p.but(ramp=1e30)), plain,
             lambda f, p: plain(unspanned, p), to="attention", kind="approximate"),
         agrees("windows", windows, draw=with_options(softmax("scale", "softcap", "sinks", fit=at_least(q_len=1)), span=whole_spans,
                                                      ramp=one_of(0.5, 1.0), causal=one_of(True, False)),
                to="multi_head_local_attention", says="Whole spans and a ramp of at most 1 are windows of span + 1 keys."),
         agrees("own_values", own, says="A span of 0 and a ramp of at most 1 read the query's own value.",
                draw=but(spanned("scale", "softcap", fit=at_most_keys, causal=one_of(True, False)),
                         lambda p: p.but(span=np.zeros_like(p.options["span"]), ramp=1.0))),
         Law("a_span_is_its_querys_own", "Other spans of the other queries change nothing for this one.", SPAN, even_rows,
             lambda f, p: even_rows(f, others_further(p)), exact=True),
         *laws(SPAN_CAUSAL, definitions.dynamic_contextual_attention)),
        (*BAD, BadInput({"span": -np.ones(1)}, ValueError, ("span", "0 or more")),
         BadInput({"span": np.full(1, np.nan)}, ValueError, ("span", "finite")),
         BadInput({"span": np.ones(99)}, ValueError, ("span", "(99,)")), BadInput({"ramp": 0.0}, ValueError, ("ramp", "0.0")),
         BadInput({"ramp": None}, TypeError, ("ramp", "NoneType"))),
        aliases=("dca", "dca-span", "dynamic contextual", "adaptive span", "adaptive attention span"), inputs=(SPANS,), mixer=DYNAMIC,
        cache=partial(GrowingCache, DYNAMIC), fit=small, cache_bytes=grown, cache_formula=FORMULA,
        pattern=Pattern(lambda i, j: (j <= i) & (i - j <= i * 7 % 11), text="each token as far back as it says: token i by 7 i % 11")),
    Row("contextual_position_bias", "How far a key is counts only the tokens that the query finds worth counting.",
        definitions.contextual_position_bias, (Paper("Golovneva et al.", 2024, "2405.18719"),), "exact",
        "heads i (j (2 d + e) + positions d)", COUNTS,
        (agrees("hats", counting(hats), draw=COUNTS, says="Counts by a triangle of ones, and vectors weighed by hats, give the same."),
         slopes_agree("hats", counting(hats), draw=but(with_options(sloped("scale", "softcap", "mask", "window"), embedding=table,
                                                                    causal=one_of(True, False)), lambda p: p, fit=ordinary)),
         agrees("embedded_distances", by_distance, draw=but(COUNTS_CAUSAL, gates_of(1.0), fit=ordinary), to="attention",
                says="Gates of 1 count every token: it is attention with embedded distances."),
         Law("gates_of_zero_count_nothing", "Gates of 0 count nothing: it is attention without positions.",
             but(COUNTS_CAUSAL, gates_of(-1.0), fit=ordinary), plain, lambda f, p: plain(uncounted, p), to="attention"),
         Law("embeddings_of_zero_are_none", "Embeddings of 0 are attention without positions.",
             but(COUNTS, lambda p: p.but(embedding=np.zeros_like(p.options["embedding"]))), plain, lambda f, p: plain(uncounted, p),
             to="attention"),
         *laws(COUNTS_CAUSAL, COUNTED)),
        (*BAD, BadInput({"embedding": np.ones((3, 99))}, ValueError, ("embedding", "(3, 99)")),
         BadInput({"embedding": [[1.0]]}, TypeError, ("embedding", "list"))),
        aliases=("cope", "contextual position encoding", "contextual positions"), called=counting,
        inputs=(Parameter("embedding", "64 head_dim", 0.0),), rotates=True, mixer=COUNTED, cache=partial(GrowingCache, COUNTED),
        fit=small, cache_bytes=grown, cache_formula=FORMULA),
)
