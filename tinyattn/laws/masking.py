"""Laws of who sees whom: alignment, windows, empty rows, poison, causality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyattn.laws.draw import at_least, both, softmax, square, without
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array

SOME = at_least(q_len=2, kv_len=2)


def always(name: str, **given: object) -> object:
    """Returns a drawing with these options always on and the other ones sometimes."""
    inner = softmax(*without([name, *given]), fit=SOME)
    return lambda rng, sizes: inner(rng, sizes).but(**given)


def explicit(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Causal, window and pattern spelled out as one boolean array, pair by pair."""
    return outputs(p.explicit().call(f))


def unseen_poisoned(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """NaN in every key and value that no query of its kv head sees, and in every query that sees nothing."""
    seen = p.visible()
    kv_heads = p.k.shape[-3]
    heads = seen.reshape(*seen.shape[:-3], kv_heads, -1, *seen.shape[-2:])
    hidden = ~np.expand_dims(heads.any(axis=(-3, -2)), -1)
    return outputs(p.but(q=np.where(np.expand_dims(seen.any(axis=-1), -1), p.q, np.nan).astype(p.q.dtype),
                         k=np.where(hidden, np.nan, p.k).astype(p.k.dtype),
                         v=np.where(hidden, np.inf, p.v).astype(p.v.dtype)).call(f))


def hidden_draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A problem in which some keys are seen by nobody and some queries see nothing."""
    sizes = replace(sizes, q_len=max(sizes.q_len, 2), kv_len=max(sizes.kv_len, 3))
    p = softmax("causal", "softcap", "scale", "sinks")(rng, sizes)
    mask = rng.random(p.full()) < 0.7
    mask[..., -1], mask[..., 0, :] = False, False
    return p.but(mask=mask)


def empty_rows(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The output of the queries that see nothing."""
    return (outputs(p.call(f))[0][~p.visible().any(axis=-1)],)


def zeros_there(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Zeros for them."""
    return (np.zeros((int((~p.visible().any(axis=-1)).sum()), p.v.shape[-1]), p.q.dtype),)


def changed_later(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The first half of the output when the later half of all tokens is another."""
    cut = p.k.shape[-2] // 2
    late = np.arange(p.k.shape[-2])[:, None] >= cut
    other = p.but(q=np.where(late, p.q[..., ::-1, :] + 1.0, p.q).astype(p.q.dtype),
                  k=np.where(late, -p.k, p.k), v=np.where(late, 3.0 * p.v, p.v))
    return (outputs(other.call(f))[0][..., :cut, :],)


def early(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The first half of the output."""
    return (outputs(p.call(f))[0][..., : p.k.shape[-2] // 2, :],)


def cut_off(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The output of the first half of the tokens alone."""
    cut = p.k.shape[-2] // 2
    return (outputs(p.but(q=p.q[..., :cut, :], k=p.k[..., :cut, :], v=p.v[..., :cut, :]).call(f))[0],)


def last_query(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The last query's row."""
    return (outputs(p.call(f))[0][..., -1:, :],)


def last_alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The last query alone, against all keys."""
    return (outputs(p.but(q=p.q[..., -1:, :]).call(f))[0],)


def own_value(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The value at each query's own position."""
    values = np.repeat(p.v, p.q.shape[-3] // p.k.shape[-3], axis=-3)
    return (values[..., p.k.shape[-2] - p.q.shape[-2] :, :],)


def fewer_queries(sizes: Sizes) -> Sizes:
    """Returns the sizes with at most as many queries as keys."""
    return replace(sizes, q_len=min(sizes.q_len, sizes.kv_len))


OWN = Pattern(lambda i, j: (i - j) % 3 != 1, text="own")
LAWS = (
    Law("causal_is_bottom_right", "Causal lets the last query see the last key: j <= i + kv_len - q_len.",
        always("mask", causal=True), plain, explicit),  # type: ignore[arg-type]
    Law("window_counts_the_others", "window=(left, right) is left keys before the query's own position and right after.",
        always("causal", window=(1, 2)), plain, explicit),  # type: ignore[arg-type]
    Law("window_zero_is_self", "window=(0, 0) reads the query's own value.",
        lambda rng, s: softmax("scale", "softcap", "bias", fit=both(SOME, fewer_queries))(rng, s).but(window=(0, 0)),
        plain, own_value),
    Law("a_wide_window_is_none", "A window as long as the text is none.", softmax(*without(["window"])), plain,
        lambda f, p: outputs(p.but(window=(p.full()[-1] + p.full()[-2],) * 2).call(f))),
    Law("a_mask_says_who_attends", "A mask's True attends: dropping the hidden keys by hand is the same.",
        lambda rng, s: softmax("scale", "sinks", fit=SOME)(rng, s).but(mask=np.arange(max(s.kv_len, 2)) % 2 == 0),
        plain, lambda f, p: outputs(p.but(k=p.k[..., ::2, :], v=p.v[..., ::2, :], mask=None).call(f))),
    Law("a_pattern_is_its_dense_array", "A Pattern gives what its boolean array gives.",
        always("mask", mask=OWN), plain, explicit),  # type: ignore[arg-type]
    Law("a_mask_broadcasts_from_the_right", "A mask of a head, or of a sequence, is the full one repeated.",
        lambda rng, s: softmax("causal", "scale")(rng, replace(s, leading=(s.heads,))).but(
            mask=rng.random((s.heads, 1, 1, s.kv_len)) < 0.6), plain, explicit),
    Law("nothing_seen_gives_zero", "A query that sees no key gives 0.", hidden_draw, empty_rows, zeros_there, exact=False),
    Law("the_unseen_may_hold_anything", "NaN or inf where nobody looks changes nothing.", hidden_draw, plain,
        unseen_poisoned),
    Law("later_tokens_change_nothing_earlier", "Under causal, other later tokens leave every earlier bit as it was.",
        lambda rng, s: softmax("scale", "softcap", "window", fit=both(at_least(kv_len=4), square))(rng, s).but(causal=True),
        early, changed_later, exact=True),
    Law("appended_tokens_change_nothing_earlier", "Under causal, the first tokens alone give what they give in a longer text.",
        lambda rng, s: softmax("scale", "softcap", "window", fit=both(at_least(kv_len=4), square))(rng, s).but(causal=True),
        early, cut_off),
    Law("the_last_query_alone", "The last query against all keys is the last row of all: decoding is the same function.",
        lambda rng, s: softmax("scale", "window", "softcap", fit=SOME)(rng, s).but(causal=True), last_query, last_alone),
)
