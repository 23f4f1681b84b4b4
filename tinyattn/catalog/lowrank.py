"""Rows of attention through a shorter middle: projections of the keys, landmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.catalog.contextual import small
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.variants import ordinary
from tinyattn.laws import general
from tinyattn.laws.draw import at_least, both, softmax
from tinyattn.laws.forms import agrees, but, slopes_agree
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.ops.types import Array

SOME = at_least(q_len=1, kv_len=2)
BAD_SCALE = BadInput({"scale": float("nan")}, ValueError, ("scale", "nan"))


def mixtures(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A problem with random projections of one rank, for all heads or for each."""
    p = softmax("scale", fit=both(SOME, ordinary))(rng, sizes)
    heads = () if rng.random() < 0.5 else (p.k.shape[-3],)
    shape = (*heads, int(rng.integers(1, 5)), p.k.shape[-2])
    return p.but(project_k=rng.standard_normal(shape), project_v=rng.standard_normal(shape)).astype(sizes.dtype)


def shared(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """The same with one projection for all heads."""
    p = mixtures(rng, sizes)
    return p.but(**{name: p.options[name][-1] for name in ("project_k", "project_v") if p.options[name].ndim == 3})


def projected(make: Callable[[int], Array]) -> Callable[[Problem], Problem]:
    """Returns the change of a problem to one projection, of its length, for keys and values."""
    def change(p: Problem) -> Problem:
        e = make(p.k.shape[-2]).astype(p.q.dtype)
        return p.but(project_k=e, project_v=e)

    return change


def every_second(length: int) -> Array:
    """Rows of 0 and 1 that pick every second token."""
    return np.eye(length)[::2]


def on_tokens(q: Array, k: Array, v: Array, *, project_k: Array, project_v: Array, scale: float | None = None) -> Any:
    """The scores of all tokens mixed, their softmax spread over the tokens again."""
    groups = q.shape[-3] // k.shape[-3]
    e, f = (np.repeat(x, groups, axis=0) if x.ndim == 3 else x for x in (project_k, project_v))
    scores = (q @ np.repeat(k, groups, axis=-3).mT) @ np.swapaxes(e, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    exps = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return (exps / np.sum(exps, axis=-1, keepdims=True) @ f) @ np.repeat(v, groups, axis=-3)


def to_some(q: Array, k: Array, v: Array, *, project_k: Array, project_v: Array, scale: float | None = None) -> Any:
    """Attention to every second token."""
    return definitions.attention(q, k[..., ::2, :], v[..., ::2, :], scale=scale)


def to_all(q: Array, k: Array, v: Array, *, scale: float | None = None, **_middle: Any) -> Any:
    """Attention."""
    return definitions.attention(q, k, v, scale=scale)


def rows_backwards(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The mixtures in reverse order."""
    return plain(f, p.but(**{name: p.options[name][..., ::-1, :] for name in ("project_k", "project_v")}))


def segmented(*choices: int) -> Draw:
    """Returns the drawing of problems with landmarks, one of these, that divide both lengths."""
    def draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
        count = int(rng.choice(choices))
        q_len, kv_len = (count * int(n) for n in rng.integers(1, 4, 2))
        sizes = replace(ordinary(sizes), q_len=q_len, kv_len=kv_len, head_dim=max(sizes.head_dim, 4))
        return softmax("scale")(rng, sizes).but(landmarks=count)

    return draw


def apart(p: Problem) -> Problem:
    """Segments with a channel of their own, long in queries and keys: A is far from singular, and few iterations invert it."""
    def marked(x: Array) -> Array:
        segment = np.arange(x.shape[-2]) * p.options["landmarks"] // x.shape[-2]
        return (0.5 * x + 4.0 * np.eye(x.shape[-1])[segment]).astype(x.dtype)

    return p.but(q=marked(p.q), k=marked(p.k), scale=None, iterations=6)


def a_landmark_a_token(p: Problem) -> Problem:
    """As many tokens as landmarks."""
    few = slice(p.options["landmarks"])
    return apart(p.but(q=p.q[..., few, :], k=p.k[..., few, :], v=p.v[..., few, :]))


def means(x: Array, count: int) -> Array:
    """Means of neighbours, as a product."""
    return np.repeat(np.eye(count), x.shape[-2] // count, axis=1).astype(x.dtype) * (count / x.shape[-2]) @ x


def inverted(q: Array, k: Array, v: Array, *, landmarks: int, scale: float | None = None, **_iterations: Any) -> Any:
    """F A^-1 B v, the inverse by elimination."""
    keys, values = (np.repeat(x, q.shape[-3] // k.shape[-3], axis=-3) for x in (k, v))
    scale = q.shape[-1] ** -0.5 if scale is None else scale

    def weights(a: Array, b: Array) -> Array:
        exps = np.exp(a @ np.swapaxes(b, -1, -2) * scale)
        return exps / np.sum(exps, axis=-1, keepdims=True)

    few_q, few_k = means(q, landmarks), means(keys, landmarks)
    return weights(q, few_k) @ np.linalg.inv(weights(few_q, few_k)) @ (weights(few_q, keys) @ values)


def mean_query(q: Array, k: Array, v: Array, *, landmarks: int, scale: float | None = None) -> Any:
    """What the mean of all queries reads, for every query."""
    return definitions.attention(np.mean(q, axis=-2, keepdims=True) + np.zeros_like(q), k, v, scale=scale)


def keys_swapped(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Keys and values in reverse order within every segment."""
    count, length = p.options["landmarks"], p.k.shape[-2]
    order = np.arange(length).reshape(count, length // count)[:, ::-1].reshape(-1)
    return plain(f, p.but(k=p.k[..., order, :], v=p.v[..., order, :]))


LANDMARKS = segmented(1, 2, 3)
ROWS = (
    Row("linformer_attention", "Keys and values are projected to a fixed, smaller length.", definitions.linformer_attention,
        (Paper("Wang et al.", 2020, "2006.04768"),), "approximate", "heads i rank (d + e) + kv_heads j rank (d + e)", mixtures,
        (agrees("weights_on_tokens", on_tokens, draw=mixtures,
                says="Scores mixed, and weights spread over the tokens, give the same."),
         slopes_agree("weights_on_tokens", on_tokens, draw=mixtures),
         agrees("attention_to_all", to_all, draw=but(mixtures, projected(np.eye)), to="attention",
                says="Projections that change nothing are attention."),
         agrees("attention_to_some", to_some, draw=but(mixtures, projected(every_second)), to="attention",
                says="Projections that pick tokens are attention to those tokens."),
         Law("mixtures_have_no_order", "The rows of both projections in another order give the same.", mixtures, plain,
             rows_backwards),
         *general.laws(shared)),
        (BAD_SCALE, BadInput({"project_k": np.ones((2, 99))}, ValueError, ("project_k", "(2, 99)")),
         BadInput({"project_v": np.ones((99, 7))}, ValueError, ("project_v", "rank", "(99, 7)")),
         BadInput({"project_k": None}, TypeError, ("project_k", "NoneType")), BadInput({"causal": True}, TypeError, ("causal",))),
        aliases=("linformer", "low-rank attention"), fit=small),
    Row("nystrom_attention", "A few landmarks stand between queries and keys.", definitions.nystrom_attention,
        (Paper("Xiong et al.", 2021, "2102.03902"),), "approximate", "heads (i + j) landmarks (d + e) + heads iterations landmarks^3",
        LANDMARKS,
        (agrees("attention_to_all", to_all, draw=but(segmented(2, 3, 4), a_landmark_a_token), to="attention", kind="approximate",
                says="With a landmark a token, and enough iterations, it is attention."),
         agrees("inverse", inverted, draw=but(segmented(2, 3), apart), kind="approximate",
                says="After enough iterations it is the formula with the inverse in it."),
         slopes_agree("inverse", inverted, draw=but(segmented(2, 3), apart)),
         agrees("mean_query", mean_query, draw=segmented(1), to="attention",
                says="With one landmark it is what the mean query reads."),
         Law("within_a_segment_keys_have_no_order", "Keys and values in another order within their segments give the same.", LANDMARKS,
             plain, keys_swapped),
         *general.laws(LANDMARKS)),
        (BAD_SCALE, BadInput({"landmarks": 0}, ValueError, ("landmarks", "0")),
         BadInput({"landmarks": 99}, ValueError, ("landmarks", "99")), BadInput({"iterations": -1}, ValueError, ("iterations", "-1")),
         BadInput({"causal": True}, TypeError, ("causal",))),
        aliases=("nystromformer", "nystrom", "landmark attention"), fit=small),
)
