"""Laws of caches: decoding through a cache, in any pieces and after any operation on it, equals one call over all tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.draw.caches import CAUSAL
from tinyattn.laws.draw.sizes import at_least
from tinyattn.laws.draw.variants import latent, with_joined_queries
from tinyattn.laws.general import causal
from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
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
        some = p.tokens(slice(at, min(at + n, p.k.shape[-2])))
        options = {name: option for name, option in some.options.items() if name != "causal"}
        outs.append(cache.step(some.q, some.k, some.v, **options))
        at = min(at + n, p.k.shape[-2])
    return np.concatenate(outs, axis=-2)


def halves(p: Problem) -> tuple[Problem, Problem]:
    """Returns the first half of the tokens and the second."""
    cut = p.k.shape[-2] // 2
    return p.tokens(slice(0, cut)), p.tokens(slice(cut, None))


def square(draw: Draw, least: int = 1, **fixed: Any) -> Draw:
    """Returns the drawing with as many queries as keys, at least `least` of each."""
    def drawn(rng: np.random.Generator, sizes: Sizes) -> Problem:
        sizes = replace(at_least(kv_len=least)(sizes), **fixed)
        return draw(rng, replace(sizes, q_len=sizes.kv_len))

    return drawn


def cached(make: Make, draw: Draw, enter: Enter = same, least: int = 1) -> Law:
    """Returns the law that decoding through a cache equals the mechanism; `draw` gives causal problems."""
    return Law("cached_is_full", "Decoding through the cache, in chunks of any size, gives the same as one call over all tokens.",
               square(draw, least), full, lambda f, p: (steps(make(), enter(p)),))


def decoded(make: Make, draw: Draw) -> tuple[Law, Law]:
    """Returns the laws of a causal mechanism: its cache gives the same, and later tokens change no earlier output."""
    return cached(make, draw), causal(draw)


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

    def blank(rng: np.random.Generator, sizes: Sizes) -> Problem:
        p = square(draw, 8)(rng, sizes)
        zero = (np.arange(p.k.shape[-2]) % 3 != 1)[:, None].astype(p.k.dtype)
        return p.but(k=p.k * zero, v=p.v * zero)

    return (cached(make, draw, enter, 8),
            Law("cached_one_by_one", "Decoding one token at a time gives the same as one call over all tokens.", square(draw, 8), full,
                one_by_one),
            Law("tokens_of_zeros_count", "Tokens whose keys and values are 0 are stored like all others.", blank, full,
                lambda f, p: (steps(make(), enter(p)),)),
            Law("a_fork_goes_its_own_way",
                "A fork that goes on with another text changes nothing for its parent, nor the parent for the fork.",
                square(draw, 8), both, forked))


def full_laws(make: Make, draw: Draw = CAUSAL) -> tuple[Law, ...]:
    """Returns the laws of a cache that supports every operation."""
    return (*cache_laws(make, draw), truncated(make, draw), reordered(make, draw))


def latent_laws(make: Make) -> tuple[Law, ...]:
    """Returns the laws of a cache of latent vectors."""
    enter = with_joined_queries
    return (*cache_laws(make, latent, enter), truncated(make, latent, enter), reordered(make, latent, enter))


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

    return Law("drafts_leave_no_trace", "Tokens that are removed again by truncation leave no trace.", square(draw, 8), full, drafted)


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
               square(draw, 8, leading=(3,)), moved_from_the_start, moved)


def ragged(make: Make, draw: Draw) -> Law:
    """Returns the law of rows of different lengths, padded on the right or left; the cache is `make(lengths, padding=...)`."""
    def lengths(p: Problem) -> Array:
        return 1 + np.arange(3) * 5 % p.k.shape[-2]

    def alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        outs, n = [], p.k.shape[-2]
        for b, own in enumerate(lengths(p)):
            row = replace(p, q=p.q[b : b + 1, ..., :own, :], k=p.k[b : b + 1, ..., :own, :], v=p.v[b : b + 1, ..., :own, :])
            out = full(f, row)[0]
            outs.append(np.pad(out, [(0, 0)] * (out.ndim - 2) + [(0, n - own), (0, 0)]))
        left = [np.roll(out, n - own, axis=-2) for own, out in zip(lengths(p), outs, strict=True)]
        return np.concatenate(outs), np.concatenate(left)

    def together(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        given, n = lengths(p), p.k.shape[-2]
        left = [np.stack([np.roll(row, n - own, axis=-2) for own, row in zip(given, x, strict=True)]) for x in (p.q, p.k, p.v)]
        options = {name: option for name, option in p.options.items() if name != "causal"}
        return (make(given, padding="right").step(p.q, p.k, p.v, **options), make(given, padding="left").step(*left, **options))

    return Law("rows_are_alone", "In a padded batch every row gives the same as alone, on whichever side the padding is.",
               square(draw, 4, leading=(3,)), alone, together)


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
               lambda rng, sizes: draw(rng, at_least(q_len=2)(sizes)), full, through)


def read_by_others(make: Make, make_source: Make, draw: Draw) -> Law:
    """Returns the law of layers that read another layer's cache, the source; `make(source)` makes the reader."""
    def through(f: Mechanism, p: Problem) -> tuple[Array, ...]:
        source, outs = make_source(), []
        reader = make(source)
        for part in halves(p):
            options = {name: option for name, option in part.options.items() if name != "causal"}
            own = source.step(part.q, part.k, part.v, **options)
            outs.append((own, reader.step(part.q, **options)))
        mine, theirs = zip(*outs, strict=True)
        return np.concatenate(mine, axis=-2), np.concatenate(theirs, axis=-2)

    return Law("readers_read_what_is_kept", "A layer that reads another layer's cache gives the same as with those keys of its own.",
               square(draw, 4), lambda f, p: full(f, p) * 2, through)
