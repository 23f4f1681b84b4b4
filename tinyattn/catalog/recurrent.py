"""Rows of states that fade or are corrected."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.caches.state import StateCache
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.budget import whole
from tinyattn.laws.cached import cached
from tinyattn.laws.forms import agrees, but, slopes_agree
from tinyattn.laws.general import long
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.recurrent import gated, laws, waits
from tinyattn.laws.score import plain
from tinyattn.layers.inputs import Input, log_sigmoid
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.norm import unit
from tinyattn.ops.types import Array

YANG = Paper("Yang et al.", 2023, "2312.06635")
DAO = Paper("Dao and Gu", 2024, "2405.21060")
SUN = Paper("Sun et al.", 2023, "2307.08621")
SCHLAG = Paper("Schlag et al.", 2021, "2102.11174")
DELTA = Paper("Yang et al.", 2024, "2406.06484")
GATED_DELTA = Paper("Yang et al.", 2024, "2412.06464")
SCALAR, CHANNELS, HEADS = gated("log_decay"), gated("log_decay", channels=True), gated("log_decay", heads=True)
BETA, BOTH = gated("beta"), gated("beta", "log_decay")
DECAY = Input("log_decay", "kv_heads", log_sigmoid, 4.0)
# Tokens a chunk in training: with 64 the delta rules take twice as long, gated linear attention five times.
CHUNK = 16
STRENGTH = Input("beta", "kv_heads", sigmoid, 0.0)


def state_bytes(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int) -> int:
    """Returns the bytes of the state, whatever the length."""
    return kv_heads * head_dim * value_dim * itemsize


def forms(name: str, draw: Draw) -> tuple[dict[str, Mechanism], tuple[Law, ...]]:
    """Returns a mechanism's other forms, and the laws that they give what it gives."""
    known = {form: getattr(definitions, f"{name}_{form}") for form in ("parallel", "recurrent", "chunked")
             if hasattr(definitions, f"{name}_{form}")}
    others = {form: f for form, f in known.items() if f is not getattr(definitions, name)}
    ruled = tuple(law(f"{name}_{form}", f, draw=draw) for form, f in others.items() for law in (agrees, slopes_agree))
    whole = tuple(agrees(f"{name}_{form}_with_its_state", partial(f, return_state=True), draw=but(draw, stated))
                  for form, f in others.items())
    return known, (*ruled, *whole)


def strong(name: str, draw: Draw) -> Law:
    """Returns the law that states may fade as fast as they like."""
    return Law("a_strong_decay_overflows_nowhere", "States that fade at once give what one token after the other gives.",
               but(draw, decay_of(lambda x: 300.0 * x)), plain, lambda f, p: plain(getattr(definitions, f"{name}_recurrent"), p),
               pool=whole)


def stated(p: Problem) -> Problem:
    """The problem with an initial state, and the last one asked for."""
    shape = (*p.k.shape[:-2], p.k.shape[-1], p.v.shape[-1])
    return p.but(initial_state=np.cos(np.arange(np.prod(shape))).reshape(shape).astype(p.q.dtype), return_state=True)


def linear(q: Array, k: Array, v: Array, **_gates: Any) -> Any:
    """Linear attention with features given ready, not normalised."""
    return definitions.linear_attention(q, k, v, feature_map=None, normalize=False, causal=True)


def simple(q: Array, k: Array, v: Array, *, log_decay: Array) -> Any:
    """The scalar decay that a decay of equal channels is."""
    return definitions.simple_gated_linear_attention(q, k, v, log_decay=log_decay[..., 0])


def every_token(q: Array, k: Array, v: Array, *, log_decay: Array) -> Any:
    """The same decay at every token."""
    return definitions.simple_gated_linear_attention(q, k, v, log_decay=log_decay[:, None] + np.zeros(k.shape[:-1], k.dtype))


def one_matrix(q: Array, k: Array, v: Array, *, log_decay: Array) -> Array:
    """Y = (L o Q K^T) V: the semiseparable matrix, each entry a product of decays."""
    length, q_len = k.shape[-2], q.shape[-2]
    entries = np.zeros((*k.shape[:-1], length), k.dtype)
    for i in range(length):
        for j in range(i + 1):
            entries[..., i, j] = np.prod(np.exp(log_decay[..., j + 1 : i + 1]), axis=-1)
    groups = q.shape[-3] // k.shape[-3]
    rows = np.repeat(entries, groups, axis=-3)[..., length - q_len :, :]
    out: Array = (rows * (q @ np.repeat(k, groups, axis=-3).mT)) @ np.repeat(v, groups, axis=-3)
    return out


def decay_of(value: Callable[[Array], Array]) -> Callable[[Problem], Problem]:
    """Returns the change of a problem's log_decay."""
    return lambda p: p.but(log_decay=value(p.options["log_decay"]))


def orthonormal(p: Problem) -> Problem:
    """Keys of length 1 at right angles: fewer tokens than channels."""
    size = min(p.k.shape[-2:])
    rows = np.broadcast_to(np.eye(size, p.k.shape[-1], dtype=p.k.dtype), (*p.k.shape[:-2], size, p.k.shape[-1]))
    cut = p.tokens(slice(-size, None))
    return cut.but(k=rows.copy(), q=cut.q[..., -size:, :])


def weighted(q: Array, k: Array, v: Array, *, beta: Array) -> Any:
    """Linear attention over values times beta."""
    return linear(q, k, v * beta[..., None])


def no_writing(q: Array, k: Array, v: Array, *, beta: Array) -> Array:
    """Nothing was written: 0."""
    return np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)


def recall(p: Problem) -> Problem:
    """Queries that ask for the key just written, of length 1, with strength 1."""
    k = p.k / np.linalg.norm(p.k, axis=-1, keepdims=True)
    return p.but(k=k, q=np.repeat(k, p.q.shape[-3] // k.shape[-3], axis=-3), beta=np.ones_like(p.options["beta"]))


def own_value(q: Array, k: Array, v: Array, **_gates: Any) -> Array:
    """The value just written."""
    return np.repeat(v, q.shape[-3] // k.shape[-3], axis=-3)


def mixing(chunked: Mechanism) -> Mechanism:
    """Returns a mechanism that is causal by itself as a decoder calls it: with `causal`."""
    def mixer(q: Array, k: Array, v: Array, *, causal: bool, **gates: Any) -> Any:
        if not causal:
            raise ValueError("causal: this mechanism is causal by itself, got False")
        return chunked(q, k, v, **gates)

    return mixer


def row(name: str, says: str, draw: Draw, papers: tuple[Paper, ...], cost: str, *limits: Law, bad: tuple[BadInput, ...],
        aliases: tuple[str, ...], inputs: tuple[Input, ...], mixer: Mechanism | None = None) -> Row:
    """Returns the row of a recurrence: its forms, its limits, a state as its cache."""
    known, ruled = forms(name, draw)
    chunked = known["chunked"]
    return Row(name, says, getattr(definitions, name), papers, "exact", cost, draw,
               (*ruled, agrees(f"{name}_chunked_by_three", partial(chunked, chunk=3), draw=draw),
                cached(partial(StateCache, chunked), long(draw)), *limits, *laws(draw)),
               bad, aliases=aliases, forms=known, inputs=inputs, mixer=mixing(mixer or chunked),
               cache=partial(StateCache, mixer or chunked),
               cache_bytes=state_bytes, cache_formula="kv_heads head_dim value_dim itemsize")


GROWS = BadInput({"log_decay": np.array(1.0)}, ValueError, ("log_decay",))
NAN = BadInput({"scale": float("nan")}, ValueError, ("scale", "nan"))
WRONG = BadInput({"beta": np.ones((1, 1))}, ValueError, ("beta", "(1, 1)"))


def retnet_decay(kv_heads: int) -> Array:
    """Returns RetNet's log decays, log(1 - 2^(-5 - h)) of head h."""
    return np.log1p(-(2.0 ** (-5.0 - np.arange(kv_heads))))


def retnet(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Returns retention with RetNet's decays."""
    return definitions.retention_chunked(q, k, v, log_decay=retnet_decay(k.shape[-3]).astype(k.dtype), scale=k.shape[-1] ** -0.5,
                                         **options)


def unit_keys(chunked: Mechanism) -> Mechanism:
    """Returns a delta rule on queries and keys of length 1, as its papers train it."""
    return lambda q, k, v, **options: chunked(unit(q), unit(k), v, chunk=CHUNK, **options)


ROWS = (
    row("gated_linear_attention", "Queries read a state whose channels fade, each by a number a token.", CHANNELS, (YANG,),
        "heads i d e",
        agrees("simple_gated_linear_attention", simple, to="simple_gated_linear_attention",
               says="With the same decay in every channel it is the scalar one.",
               draw=but(CHANNELS, decay_of(lambda x: x[..., :1] + np.zeros_like(x)))),
        strong("gated_linear_attention", CHANNELS), waits(CHANNELS),
        bad=(GROWS, NAN), aliases=("gla",), inputs=(Input("log_decay", "kv_heads head_dim", log_sigmoid, 4.0),),
        mixer=partial(definitions.gated_linear_attention_chunked, chunk=CHUNK)),
    row("simple_gated_linear_attention", "Queries read a state that fades as a whole, by a number a token.", SCALAR, (DAO,),
        "heads i d e",
        agrees("linear_attention", linear, to="linear_attention", says="Where nothing fades it is linear attention.",
               draw=but(SCALAR, decay_of(np.zeros_like))),
        agrees("one_matrix", one_matrix, draw=SCALAR, says="It is one matrix whose entries are products of decays."),
        strong("simple_gated_linear_attention", SCALAR), waits(SCALAR),
        bad=(GROWS, NAN), aliases=("ssd", "mamba-2", "mamba2", "simple gla"), inputs=(DECAY,)),
    row("retention", "A key's weight fades by a fixed factor a token.", HEADS, (SUN,), "heads i d e",
        agrees("simple_gated_linear_attention", every_token, to="simple_gated_linear_attention", draw=HEADS,
               says="It is the scalar decay, the same at every token."),
        strong("retention", HEADS),
        bad=(GROWS, NAN), aliases=("retnet", "lightning attention"), inputs=(), mixer=retnet),
    row("delta_rule", "A token writes what the state does not yet say of its key.", BETA, (SCHLAG, DELTA), "heads i d e",
        agrees("linear_attention", weighted, to="linear_attention", draw=but(BETA, orthonormal),
               says="Keys at right angles correct nothing: it is linear attention over beta v."),
        agrees("zero", no_writing, draw=but(BETA, lambda p: p.but(beta=np.zeros_like(p.options["beta"]))),
               says="With beta 0 nothing is written."),
        agrees("the_value_just_written", own_value, draw=but(long(BETA), recall),
               says="With beta 1 and keys of length 1 the last value is recalled."),
        waits(BETA),
        bad=(WRONG, NAN), aliases=("deltanet", "fast weights"), inputs=(STRENGTH,),
        mixer=unit_keys(definitions.delta_rule_chunked)),
    row("gated_delta_rule", "A token corrects a state that has faded first.", BOTH, (GATED_DELTA,), "heads i d e",
        agrees("delta_rule", lambda q, k, v, *, beta, log_decay: definitions.delta_rule(q, k, v, beta=beta), to="delta_rule",
               says="Where nothing fades it is the delta rule.", draw=but(BOTH, decay_of(np.zeros_like))),
        waits(BOTH),
        bad=(WRONG, GROWS, NAN), aliases=("gated deltanet", "qwen3-next"), inputs=(STRENGTH, DECAY),
        mixer=unit_keys(definitions.gated_delta_rule_chunked)),
)
