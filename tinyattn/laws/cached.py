"""Laws of caches: decoding through a cache, in any pieces and after any operation on it, equals one call over all tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinyattn.caches.growing import GrowingCache
from tinyattn.laws.draw.caches import CAUSAL
from tinyattn.laws.draw.options import but, long, on
from tinyattn.laws.draw.sizes import at_least
from tinyattn.laws.draw.variants import latent, with_joined_queries
from tinyattn.laws.general import mixing_laws
from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.masking import causal
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array

Make = Callable[..., Any]
Enter = Callable[[Problem], Problem]
PIECES = (1, 2, 0, 3)
DRAFTS, ROWS = 2, np.array([2, 0, 0])


def full(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns what one call over all tokens gives."""
    return (outputs(p.call(f))[0],)


def same(p: Problem) -> Problem:
    """Returns the problem unchanged: the cache takes its arrays as the mechanism does."""
    return p


def steps(cache: Any, p: Problem, sizes: Sequence[int] = PIECES) -> Array:
    """Returns what a cache gives for all tokens of a problem, in chunks of these sizes and a last one with the rest.

    Each step gets the options of its own tokens, without `causal`, which a cache always is.
    """
    outs, at = [], 0
    for n in (*sizes, p.k.shape[-2]):
        outs.append(p.tokens(slice(at, at + n)).without("causal").call(cache.step))
        at += n
    return np.concatenate(outs, axis=-2)


def halves(p: Problem) -> tuple[Problem, Problem]:
    """Returns the first half of the tokens and the second."""
    cut = p.k.shape[-2] // 2
    return p.tokens(slice(0, cut)), p.tokens(slice(cut, None))


def cached(make: Make, draw: Draw, enter: Enter = same, least: int = 1) -> Law:
    """Returns the law that decoding through a cache equals the mechanism; `draw` gives causal problems."""
    return Law("cached_is_full", "Decoding through the cache, in chunks of any size, gives the same as one call over all tokens.",
               long(draw, least), full, lambda f, p: (steps(make(), enter(p)),))


def decoder_laws(mechanism: Mechanism, draw: Draw, mixed: Draw | None = None, *, cache: Make = GrowingCache,
                 heads: bool = True) -> tuple[Law, ...]:
    """Returns the laws of a causal mixer of tokens: decoded through its cache, causal, and those of every mixer (on `mixed`)."""
    return cached(partial(cache, mechanism), draw), causal(draw), *mixing_laws(draw if mixed is None else mixed, heads=heads)


def cache_laws(make: Make, draw: Draw, enter: Enter = same) -> tuple[Law, ...]:
    """Returns the laws of every cache to which tokens are appended."""
    def one_by_one(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        return (steps(make(), enter(p), (1,) * p.k.shape[-2]),)

    def forked(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        parent, (first, ours), (_, theirs) = make(), halves(enter(p)), halves(enter(changed(p)))
        start = steps(parent, first)
        child = parent.fork()
        outs = [(steps(parent, ours.tokens(at), ()), steps(child, theirs.tokens(at), ()))
                for at in (slice(i, i + 1) for i in range(ours.k.shape[-2]))]
        return tuple(np.concatenate((start, *side), axis=-2) for side in zip(*outs, strict=True))

    def both(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        return *full(f, p), *full(f, changed(p))

    def blank(p: Problem) -> Problem:
        zero = (np.arange(p.k.shape[-2]) % 3 != 1)[:, None].astype(p.k.dtype)
        return p.but(k=p.k * zero, v=p.v * zero)

    return (cached(make, draw, enter, 8),
            Law("cached_one_by_one", "Decoding one token at a time gives the same as one call over all tokens.", long(draw, 8), full,
                one_by_one),
            Law("tokens_of_zeros_count", "Tokens whose keys and values are 0 are stored like all others.",
                but(long(draw, 8), blank), full, lambda f, p: (steps(make(), enter(p)),)),
            Law("a_fork_goes_its_own_way",
                "A fork that goes on with another text changes nothing for its parent, nor the parent for the fork.",
                long(draw, 8), both, forked))


def full_laws(make: Make, draw: Draw = CAUSAL, enter: Enter = same) -> tuple[Law, ...]:
    """Returns the laws of a cache that supports every operation."""
    return (*cache_laws(make, draw, enter), truncated(make, draw, enter), reordered(make, draw, enter))


def latent_laws(make: Make) -> tuple[Law, ...]:
    """Returns the laws of a cache of latent vectors."""
    return full_laws(make, latent, with_joined_queries)


def changed(p: Problem) -> Problem:
    """Returns the problem with the second half of its tokens changed."""
    late = (np.arange(p.k.shape[-2]) >= p.k.shape[-2] // 2)[:, None]
    return p.but(k=np.where(late, -p.k, p.k), v=np.where(late, p.v + p.v.dtype.type(1), p.v))


def truncated(make: Make, draw: Draw, enter: Enter = same) -> Law:
    """Returns the law of truncation, on which speculative decoding depends: two draft tokens at a time."""
    def drafted(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        cache, outs = make(), []
        for some in halves(enter(p)):
            outs.append(steps(cache, some, (1,)))
            length, draft = cache.length, some.tokens(slice(0, DRAFTS))
            steps(cache, draft.but(k=-2 * draft.k, v=draft.v - draft.v.dtype.type(3)), ())
            cache.truncate(length)
        return (np.concatenate(outs, axis=-2),)

    return Law("drafts_leave_no_trace", "Tokens that are removed again by truncation leave no trace.", long(draw, 8), full, drafted)


def reordered(make: Make, draw: Draw, enter: Enter = same) -> Law:
    """Returns the law of beam search, in which rows are moved and copied in the middle of a text."""
    def moved(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        cache, (first, second) = make(), halves(enter(p))
        start = steps(cache, first)
        cache.reorder(ROWS)
        return (np.concatenate((start[ROWS], steps(cache, second, (1,))), axis=-2),)

    def moved_from_the_start(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        cut = p.k.shape[-2] // 2

        def pick(x: Array, axis: int) -> Array:
            first, second = np.split(x, [cut], axis=axis)
            return np.concatenate((first[ROWS], second), axis=axis)

        options = {name: pick(p.options[name], axis) for name, axis in p.per_token().items()}
        return full(f, p.but(q=pick(p.q, -2), k=pick(p.k, -2), v=pick(p.v, -2), **options))

    return Law("rows_go_where_they_are_told", "Rows that are moved or copied continue as if they had always been in their new place.",
               long(draw, 8, leading=(3,)), moved_from_the_start, moved)


def to_the_left(x: Array, lengths: Array) -> Array:
    """Returns rows (rows, ..., length, width) that are padded on the right with their padding moved to the left."""
    return np.stack([np.roll(row, x.shape[-2] - own, axis=-2) for own, row in zip(lengths, x, strict=True)])


def ragged(make: Make, draw: Draw) -> Law:
    """Returns the law of rows of different lengths, padded on the right or left; the cache is `make(lengths, padding=...)`."""
    def lengths(p: Problem) -> Array:
        return 1 + np.arange(3) * 5 % p.k.shape[-2]

    def alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        right, n = [], p.k.shape[-2]
        for b, own in enumerate(lengths(p)):
            out = full(f, p.but(q=p.q[b, None], k=p.k[b, None], v=p.v[b, None]).tokens(slice(own)))[0]
            right.append(np.pad(out, [(0, 0)] * (out.ndim - 2) + [(0, n - own), (0, 0)]))
        return np.concatenate(right), to_the_left(np.concatenate(right), lengths(p))

    def together(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        given, right = lengths(p), p.without("causal")
        left = right.but(**{name: to_the_left(getattr(p, name), given) for name in "qkv"})
        return right.call(make(given, padding="right").step), left.call(make(given, padding="left").step)

    return Law("rows_are_alone", "In a padded batch every row gives the same as alone, on whichever side the padding is.",
               long(draw, 4, leading=(3,)), alone, together)


def remembered(make: Make, draw: Draw) -> Law:
    """Returns the law of an encoder's memory, all of which every query sees at every step."""
    def through(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        cache, outs = make(), []
        for i in range(p.q.shape[-2]):
            memory = (p.k, p.v) if i == 0 else ()
            outs.append(cache.step(p.q[..., i : i + 1, :], *memory, **p.options))
            cache = cache.fork()
        return (np.concatenate(outs, axis=-2),)

    return Law("a_memory_is_read_whole", "Decoding that reads a memory step by step gives the same as all queries reading it at once.",
               on(draw, at_least(q_len=2)), full, through)


def read_by_others(make: Make, make_source: Make, draw: Draw) -> Law:
    """Returns the law of layers that read another layer's cache, the source; `make(source)` makes the reader."""
    def through(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        source, outs = make_source(), []
        reader = make(source)
        for part in halves(p):
            token = part.without("causal")
            outs.append((token.call(source.step), reader.step(token.q, **token.options)))
        mine, theirs = zip(*outs, strict=True)
        return np.concatenate(mine, axis=-2), np.concatenate(theirs, axis=-2)

    return Law("readers_read_what_is_kept", "A layer that reads another layer's cache gives the same as with those keys of its own.",
               long(draw), lambda f, p: full(f, p) * 2, through)
