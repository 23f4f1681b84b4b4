"""Laws of visibility: alignment, windows, queries that see no key, NaN in hidden places, causality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyattn.laws.draw.options import given, long
from tinyattn.laws.draw.sizes import at_least, at_most_keys, both
from tinyattn.laws.draw.softmax import softmax, without
from tinyattn.laws.law import Draw, Law, outputs, plain, unchanged
from tinyattn.laws.oracles.calls import own_values
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array

SOME = at_least(q_len=2, kv_len=2)


def always(name: str, **options: object) -> Draw:
    """Returns the drawing with these options always given and all others, except `name`, sometimes."""
    return given(softmax(*without([name, *options]), fit=SOME), **options)


def unseen_poisoned(p: Problem) -> Problem:
    """Returns the problem with NaN or inf in keys and values that no query of their kv head sees, and in queries that see no key."""
    seen = p.visible()
    heads = seen.reshape(*seen.shape[:-3], p.k.shape[-3], -1, *seen.shape[-2:])
    hidden = ~np.expand_dims(heads.any(axis=(-3, -2)), -1)
    return p.but(q=np.where(np.expand_dims(seen.any(axis=-1), -1), p.q, np.nan).astype(p.q.dtype),
                 k=np.where(hidden, np.nan, p.k).astype(p.k.dtype), v=np.where(hidden, np.inf, p.v).astype(p.v.dtype))


def hidden_draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a problem in which no query sees the last key, and the first query sees no key."""
    p = softmax("causal", "softcap", "scale", "sinks", fit=at_least(q_len=2, kv_len=3))(rng, sizes)
    mask = rng.random(p.full()) < 0.7
    mask[..., -1], mask[..., 0, :] = False, False
    return p.but(mask=mask)


def empty_rows(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs of the queries that see no key."""
    return (outputs(p.call(f))[0][~p.visible().any(axis=-1)],)


def zeros_there(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns zeros for the queries that see no key."""
    return (np.zeros((int((~p.visible().any(axis=-1)).sum()), p.v.shape[-1]), p.q.dtype),)


def early(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the first half of the output."""
    return (outputs(p.call(f))[0][..., : p.k.shape[-2] // 2, :],)


def changed_later(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the first half of the output when the later half of all tokens is changed."""
    late = np.arange(p.k.shape[-2])[:, None] >= p.k.shape[-2] // 2
    return early(f, p.but(q=np.where(late, p.q[..., ::-1, :] + 1.0, p.q).astype(p.q.dtype),
                          k=np.where(late, -p.k, p.k), v=np.where(late, 3.0 * p.v, p.v)))


def causal(draw: Draw) -> Law:
    """Returns the law that a mechanism is causal, bit for bit."""
    return Law("later_tokens_change_nothing_earlier", "With causality, changing later tokens changes no bit of an earlier output.",
               long(draw), early, changed_later, exact=True)


def last_query(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the last query's row of the output."""
    return (outputs(p.call(f))[0][..., -1:, :],)


OWN = Pattern(lambda i, j: (i - j) % 3 != 1, text="own")
CAUSAL = long(given(softmax("scale", "softcap", "window"), causal=True))
LAWS = (
    unchanged("causal_is_bottom_right",
              "With causality, query i sees key j where j <= i + kv_len - q_len: the last query sees the last key.",
              always("mask", causal=True), Problem.explicit),
    unchanged("window_counts_the_others",
              "window=(left, right) shows left keys before the query's own position and right keys after it.",
              always("causal", window=(1, 2)), Problem.explicit),
    Law("window_zero_is_self", "With window=(0, 0) a query reads the value at its own position.",
        given(softmax("scale", "softcap", "bias", fit=both(SOME, at_most_keys)), window=(0, 0)), plain,
        lambda f, p: (own_values(p.q, p.k, p.v),)),
    unchanged("a_wide_window_has_no_effect", "A window as long as the text has no effect.", softmax(*without(["window"])),
              lambda p: p.but(window=(p.full()[-1] + p.full()[-2],) * 2)),
    unchanged("a_mask_says_who_attends", "True in a mask means that the key is read: removing the hidden keys by hand gives the "
                                         "same outputs.",
              lambda rng, s: softmax("scale", "sinks", fit=SOME)(rng, s).but(mask=np.arange(max(s.kv_len, 2)) % 2 == 0),
              lambda p: p.but(k=p.k[..., ::2, :], v=p.v[..., ::2, :], mask=None)),
    unchanged("a_pattern_is_its_dense_array", "A Pattern gives the same as its boolean array.", always("mask", mask=OWN),
              Problem.explicit),
    unchanged("a_mask_broadcasts_from_the_right", "A mask given per head or per sequence is repeated along the axes that it lacks.",
              lambda rng, s: softmax("causal", "scale")(rng, replace(s, leading=(s.heads,))).but(
                  mask=rng.random((s.heads, 1, 1, s.kv_len)) < 0.6), Problem.explicit),
    Law("nothing_seen_gives_zero", "A query that sees no key gives 0.", hidden_draw, empty_rows, zeros_there),
    unchanged("the_unseen_may_hold_anything", "NaN or inf in places that no query sees changes nothing.", hidden_draw,
              unseen_poisoned),
    causal(CAUSAL),
    Law("appended_tokens_change_nothing_earlier", "With causality, the first tokens alone give the same as in a longer text.",
        CAUSAL, early, lambda f, p: plain(f, p.tokens(slice(p.k.shape[-2] // 2)))),
    Law("the_last_query_alone",
        "The last query alone against all keys gives the last row of the whole output: decoding is the same function.",
        given(softmax("scale", "window", "softcap", fit=SOME), causal=True), last_query,
        lambda f, p: plain(f, p.but(q=p.q[..., -1:, :]))),
)
