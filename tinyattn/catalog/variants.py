"""Rows of attention with one thing changed: the denominator, the norm, a gate, a difference, windows."""

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
from tinyattn.laws import general
from tinyattn.laws.cached import cached
from tinyattn.laws.draw import softmax, without
from tinyattn.laws.dtype import laws as dtype_laws
from tinyattn.laws.forms import agrees, but, slopes_agree
from tinyattn.laws.gradient import sloped
from tinyattn.laws.heads import extra_key
from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.mean import mixed_outputs, mixed_values
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.layers.inputs import Input, identity
from tinyattn.ops.masks.constructors import sliding_window
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.norm import rms_norm, unit
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array

SOFTMAX, SLOPES = softmax(*without(["sinks"])), sloped(*without(["sinks"]))
OPEN = softmax("scale", "softcap", "causal")
CAUSAL = but(softmax("scale", "softcap"), lambda p: p.but(causal=True))


def with_options(draw: Draw, **make: Callable[[np.random.Generator, Problem], Any]) -> Draw:
    """Returns the drawing with options of their own, each made from the generator and the problem."""
    def drawn(rng: np.random.Generator, sizes: Sizes) -> Problem:
        p = draw(rng, sizes)
        return p.but(**{name: one(rng, p) for name, one in make.items()})

    return drawn


def laws(draw: Draw, mixer: Mechanism) -> tuple[Law, ...]:
    """Returns the laws of a mechanism that can be causal, on causal problems drawn so, with its cache."""
    return (cached(partial(GrowingCache, mixer), draw), general.causal(draw), *general.laws(draw))


def zero_sinks(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Attention with a sink of 0 for every head."""
    return definitions.attention(q, k, v, sinks=np.zeros(q.shape[-3], q.dtype), **options)


def long_vectors(p: Problem) -> Problem:
    """Queries and keys so long that the norm's epsilon is nothing beside them."""
    return p.but(q=p.q * 2.0 ** 30, k=p.k * 2.0 ** 30, softcap=None, scale=None)


def ordinary(sizes: Sizes) -> Sizes:
    """Returns the sizes with numbers that are neither tiny nor huge."""
    return replace(sizes, regime="plain", head_dim=max(sizes.head_dim, 2))


def cosines(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Attention on cosines, sqrt(head_dim) times as large."""
    return definitions.attention(unit(q), unit(k), v, **{**options, "scale": q.shape[-1] ** 0.5})


def even(sizes: Sizes) -> Sizes:
    """Returns the sizes with an even head_dim."""
    return replace(sizes, head_dim=2 * ((sizes.head_dim + 1) // 2))


def turn(x: Array) -> Array:
    """Rotary positions from 0."""
    return rotary(x, np.arange(x.shape[-2]))


def a_number_a_channel(rng: np.random.Generator, p: Problem) -> Array:
    """Weights of a norm."""
    return (0.5 + rng.random(p.q.shape[-1])).astype(p.q.dtype)


QK = with_options(softmax(*without(["sinks"])), q_weight=a_number_a_channel, k_weight=a_number_a_channel)
QK_CAUSAL = with_options(CAUSAL, q_weight=a_number_a_channel, k_weight=a_number_a_channel)


def turned_norms(q: Array, k: Array, v: Array, *, q_weight: Array, k_weight: Array, rotate: Any, **options: Any) -> Any:
    """Attention on queries and keys that are normalised, weighed and then turned."""
    return definitions.attention(rotate(rms_norm(q, q_weight)), rotate(rms_norm(k, k_weight)), v, **options)


def like(name: str) -> Callable[[np.random.Generator, Problem], Array]:
    """Returns how a second array like q or k is drawn."""
    return lambda rng, p: rng.standard_normal(getattr(p, name).shape).astype(p.q.dtype)


def second_maps(f: Mechanism) -> Mechanism:
    """Returns differential attention as f(q, k, v, q2=, k2=, lambda_=)."""
    return lambda q, k, v, *, q2, k2, **options: f(q, k, q2, k2, v, **options)


def a_number_a_head(rng: np.random.Generator, p: Problem) -> Array:
    """One number a head."""
    return rng.random(p.q.shape[-3]).astype(p.q.dtype)


DIFFERENTIAL = with_options(SOFTMAX, q2=like("q"), k2=like("k"), lambda_=a_number_a_head)


def two_weights(q: Array, k: Array, v: Array, *, q2: Array, k2: Array, lambda_: Array, **options: Any) -> Array:
    """The weights of both, subtracted, then the values."""
    groups = q.shape[-3] // k.shape[-3]
    first = definitions.attention_weights(q, k, **options)
    second = definitions.attention_weights(q2, k2, **options)
    difference: Array = first - lambda_[:, None, None] * second
    return difference @ np.repeat(v, groups, axis=-3)


def first_map(q: Array, k: Array, v: Array, *, q2: Array, k2: Array, lambda_: Array, **options: Any) -> Any:
    """The first attention alone."""
    return definitions.attention(q, k, v, **options)


def less(q: Array, k: Array, v: Array, *, q2: Array, k2: Array, lambda_: Array, **options: Any) -> Any:
    """1 - lambda of the attention."""
    return (1 - lambda_)[:, None, None] * definitions.attention(q, k, v, **options)


DIFFERENCE = second_maps(definitions.differential_attention)


def halves(q: Array, k: Array, v: Array, *, lambda_: float = 0.2, mechanism: Mechanism = DIFFERENCE,
           **options: Any) -> Array:
    """Differential attention of a layer: half of a head's channels for each map, and a norm a head."""
    d = q.shape[-1] // 2
    return rms_norm(mechanism(q[..., :d], k[..., :d], v, q2=q[..., d:], k2=k[..., d:], lambda_=lambda_, **options)) * (1 - lambda_)


GATED = with_options(SOFTMAX, gate=lambda rng, p: rng.standard_normal(p.q.shape[:-1]).astype(p.q.dtype))
GATED_CAUSAL = with_options(CAUSAL, gate=lambda rng, p: rng.standard_normal(p.q.shape[:-1]).astype(p.q.dtype))


def ungated(factor: float) -> Mechanism:
    """Returns attention, times a number."""
    return lambda q, k, v, *, gate, **options: factor * definitions.attention(q, k, v, **options)


def gate_of(value: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem's gates to one number."""
    return lambda p: p.but(gate=np.full_like(p.options["gate"], value))


def gate_in_the_weights(q: Array, k: Array, v: Array, *, gate: Array, **options: Any) -> Array:
    """The weights times the gate, then the values."""
    weights = definitions.attention_weights(q, k, **options) / (1.0 + np.exp(-gate))[..., None]
    out: Array = weights @ np.repeat(v, q.shape[-3] // k.shape[-3], axis=-3)
    return out


LOCAL = with_options(but(softmax("scale", "softcap", "sinks"), lambda p: p.but(causal=True)),
                     window=lambda rng, p: [int(w) for w in rng.integers(1, 6, p.q.shape[-3])],
                     mode=lambda rng, p: str(rng.choice(["sliding", "block", "look_back"])))


def spelled(q: Array, k: Array, v: Array, *, window: Any, mode: str, causal: bool, **options: Any) -> Any:
    """Each head's visible pairs, one by one."""
    q_len, kv_len = q.shape[-2], k.shape[-2]
    seen = np.zeros((q.shape[-3], q_len, kv_len), bool)
    for h in range(q.shape[-3]):
        w = window if isinstance(window, int) else window[h]
        for i in range(kv_len - q_len, kv_len):
            for j in range(kv_len):
                near = {"sliding": abs(i - j) < w, "block": i // w == j // w, "look_back": 0 <= i // w - j // w <= 1}[mode]
                if i >= 0:
                    seen[h, i - kv_len + q_len, j] = near and (j <= i or not causal)
    return definitions.attention(q, k, v, mask=seen, **options)


def of_one(width: Callable[[Problem], int]) -> Callable[[Problem], Problem]:
    """Returns the change of a problem to one window for all heads."""
    return lambda p: p.but(window=width(p))


def unlimited(q: Array, k: Array, v: Array, *, window: Any, mode: str, **options: Any) -> Any:
    """Attention without windows."""
    return definitions.attention(q, k, v, **options)


def own(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Every query's own value."""
    return np.repeat(v, q.shape[-3] // k.shape[-3], axis=-3)[..., k.shape[-2] - q.shape[-2]:, :]


def at_most_keys(sizes: Sizes) -> Sizes:
    """Returns the sizes with at most as many queries as keys."""
    return replace(sizes, q_len=min(sizes.q_len, sizes.kv_len))


def head_windows(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Each head's window for all heads, and of each result its own head."""
    outs = [outputs(p.but(window=w).call(f))[0][..., h : h + 1, :, :] for h, w in enumerate(p.options["window"])]
    return (np.concatenate(outs, axis=-3),)


WINDOW = partial(definitions.multi_head_local_attention, window=64)
ROWS = (
    Row("softmax_off_by_one_attention", "A head may say nothing: there is a 1 in the denominator.",
        definitions.softmax_off_by_one_attention, (Paper("Agarwal et al.", 2025, "2508.10925"),), "exact", "heads i j (d + e)",
        SOFTMAX,
        (agrees("attention_with_sinks_of_0", zero_sinks, draw=SOFTMAX, to="attention", says="It is attention with sinks of 0."),
         slopes_agree("attention_with_sinks_of_0", zero_sinks, draw=SLOPES),
         Law("one_more_key_of_0", "It is attention with one more key and value of 0 that all see.", SOFTMAX, plain,
             lambda f, p: extra_key(definitions.attention, p), to="attention"),
         *laws(CAUSAL, definitions.softmax_off_by_one_attention)), (*BAD[:4], BadInput({"sinks": np.ones(4)}, TypeError, ("sinks",))),
        aliases=("quiet attention", "softmax1"), mixer=definitions.softmax_off_by_one_attention,
        cache=partial(GrowingCache, definitions.softmax_off_by_one_attention), cache_bytes=grown,
        cache_formula="length kv_heads (head_dim + value_dim) itemsize"),
    Row("qk_norm_attention", "Queries and keys are normalised, so that no score can grow without bound.",
        definitions.qk_norm_attention, (Paper("Henry et al.", 2020, "2010.04245"),), "exact", "heads i j (d + e)", QK,
        (agrees("attention_on_cosines", cosines, draw=but(SOFTMAX, long_vectors, fit=ordinary), to="attention",
                says="Without weights it is attention on cosines, sqrt(head_dim) times as large."),
         Law("vectors_have_no_length", "Three times the queries and half the keys give the same.",
             but(SOFTMAX, long_vectors, fit=ordinary), plain,
             lambda f, p: plain(f, p.but(q=3.0 * p.q, k=0.5 * p.k))),
         Law("a_norm_and_a_turn_commute", "Without weights, rotating before the norm is rotating after it.",
             softmax("causal", fit=even), lambda f, p: plain(f, p.but(rotate=turn)), lambda f,
             p: plain(f, p.but(q=turn(p.q), k=turn(p.k)))),
         agrees("attention_on_turned_norms", turned_norms, draw=but(QK, lambda p: p.but(rotate=turn), fit=even), to="attention",
                says="Norm, weight, turn: in that order it is attention on what comes out."),
         *laws(QK_CAUSAL, definitions.qk_norm_attention)),
        (*BAD[:4], BadInput({"q_weight": np.ones(99)}, ValueError, ("weight", "(99,)"))), aliases=("query-key norm",),
        mixer=definitions.qk_norm_attention, cache=partial(GrowingCache, definitions.qk_norm_attention), cache_bytes=grown,
        cache_formula="length kv_heads (head_dim + value_dim) itemsize"),
    Row("differential_attention", "One attention minus another over the same values: what they share cancels.",
        definitions.differential_attention, (Paper("Ye et al.", 2024, "2410.05258"),), "exact", "2 heads i j (d + e)", DIFFERENTIAL,
        (agrees("two_weights", two_weights, draw=DIFFERENTIAL, says="It is the difference of two maps of weights, then the values."),
         slopes_agree("two_weights", two_weights, draw=with_options(SLOPES, q2=like("q"), k2=like("k"), lambda_=a_number_a_head)),
         agrees("attention", first_map, draw=but(DIFFERENTIAL, lambda p: p.but(lambda_=0.0)), to="attention",
                says="With lambda 0 it is attention."),
         agrees("less_attention", less, draw=but(DIFFERENTIAL, lambda p: p.but(q2=p.q, k2=p.k)), to="attention",
                says="Two equal maps leave 1 - lambda of the attention."),
         replace(cached(partial(GrowingCache, halves), but(CAUSAL, lambda p: p.but(lambda_=0.3), fit=even)),
                 left=lambda f, p: plain(partial(halves, mechanism=f), p)),
         general.causal(with_options(CAUSAL, q2=like("q"), k2=like("k"), lambda_=a_number_a_head)),
         Law("linear_in_the_values", "f(2 v - 3 w) is 2 f(v) - 3 f(w).", DIFFERENTIAL, mixed_values, mixed_outputs),
         *dtype_laws(DIFFERENTIAL)),
        (*BAD[:4], BadInput({"lambda_": np.ones(99)}, ValueError, ("lambda_", "(99,)")),
         BadInput({"lambda_": float("nan")}, ValueError, ("lambda_", "nan"))), aliases=("diff transformer",), called=second_maps,
        mixer=halves, cache=partial(GrowingCache, halves), cache_bytes=grown,
        cache_formula="length kv_heads (head_dim + value_dim) itemsize"),
    Row("gated_attention", "Each query says how much of what it read goes on.", definitions.gated_attention,
        (Paper("Qiu et al.", 2025, "2505.06708"),), "exact", "heads i j (d + e)", GATED,
        (agrees("gate_in_the_weights", gate_in_the_weights, draw=GATED, says="A gate on the output is a gate on the weights."),
         agrees("half_of_attention", ungated(0.5), draw=but(GATED, gate_of(0.0)), to="attention", says="Gates of 0 leave one half."),
         agrees("attention", ungated(1.0), draw=but(GATED, gate_of(60.0)), to="attention", says="Wide open it is attention."),
         *laws(GATED_CAUSAL, definitions.gated_attention)),
        (*BAD[:4], BadInput({"gate": np.ones(3)}, ValueError, ("gate", "(3,)"))), aliases=("output gate",),
        inputs=(Input("gate", "heads", identity, 1.0),), mixer=definitions.gated_attention,
        cache=partial(GrowingCache, definitions.gated_attention), cache_bytes=grown,
        cache_formula="length kv_heads (head_dim + value_dim) itemsize"),
    Row("multi_head_local_attention", "Every head has a window of its own.", definitions.multi_head_local_attention,
        (Paper("Luong et al.", 2015, "1508.04025"),), "exact", "heads i window (d + e)", LOCAL,
        (agrees("pairs_one_by_one", spelled, draw=LOCAL, says="Its windows, spelled out pair by pair, give the same."),
         agrees("attention", unlimited, draw=but(LOCAL, of_one(lambda p: p.k.shape[-2] + 1)), to="attention",
                says="A window as long as the text is causal attention."),
         agrees("own_values", own, draw=but(LOCAL, lambda p: p.but(window=1, mode="block", sinks=None), fit=at_most_keys),
                says="A window of 1 reads the query's own value."),
         Law("windows_are_heads_own", "Different windows give each head what it gets when all have its window.", LOCAL, plain,
             head_windows),
         *laws(but(LOCAL, lambda p: p.but(window=3, sinks=None)), definitions.multi_head_local_attention)),
        (BadInput({"window": 0}, ValueError, ("window", "0")), BadInput({"window": [1]}, ValueError, ("window", "1")),
         BadInput({"mode": "wide"}, ValueError, ("mode", "wide", "sliding")),
         BadInput({"mask": Pattern(lambda i, j: i == j)}, TypeError, ("mask",))),
        aliases=("mhla", "local attention", "sliding window attention"), mixer=WINDOW, cache=partial(GrowingCache, WINDOW),
        cache_bytes=grown,
        cache_formula="length kv_heads (head_dim + value_dim) itemsize", pattern=sliding_window(4)),
)
