"""What a cache should know, as a Python list of all tokens, and what one full forward over the list reads."""

import numpy as np

from tinyattn import definitions
from tinyattn.caches.paged import PagedCache
from tinyattn.caches.tape import NEVER
from tinyattn.catalog.caches import ROWS
from tinyattn.catalog.calls import ABSORBED
from tinyattn.laws.budget import Budget, growing, sufficient
from tinyattn.laws.law import plain
from tinyattn.laws.oracles.caches import in_codes, keeping, voted
from tinyattn.laws.problem import Problem

HEADS, KV_HEADS, HEAD_DIM, VALUE_DIM, NOPE = 4, 2, 4, 3, 2
WEIGHTS = {"w_uk": np.random.default_rng(1).standard_normal((HEADS, HEAD_DIM, NOPE)),
           "w_uv": np.random.default_rng(2).standard_normal((HEADS, HEAD_DIM, 5))}
FORGETS = ("EvictingCache", "EvictingCache, SnapKV")


class Sequence:
    """A cache, and the list of all tokens that it should know of: queries, keys and values (rows, ..., dim) of each."""

    def __init__(self, cache):
        self.cache, self.tokens, self.longest, self.first, self.coded, self.rows = cache, [], 0, None, 0, 2

    def __repr__(self):
        return f"{self.cache!r} of {len(self.tokens)}"

    def twin(self, cache):
        other = Sequence(cache)
        other.__dict__ |= {**self.__dict__, "cache": cache, "tokens": list(self.tokens)}
        return other


def digest(cache):
    if hasattr(cache, "source"):
        return digest(cache.source)
    return cache.length, [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in cache._saved().items()]


def poison(cache):
    """Fills what nobody has written with NaN: it may hold anything."""
    held = cache._held
    for tape in getattr(held, "tapes", {}).values():
        if tape.free != NEVER and tape.buffer.dtype.kind == "f":
            tape.buffer[..., max(tape.stop, tape.free) :, :] = np.nan
    if isinstance(cache, PagedCache) and held is not None:
        book, page_size = held.book, cache.pool.page_size
        unused = [page for page in book.free if page not in book.names]
        book.keys[unused] = book.values[unused] = np.nan
        for page in held.table.pages[:, -1:].ravel():
            if book.references[page] == 1 and held.length % page_size:
                book.keys[page, :, held.length % page_size :] = np.nan
                book.values[page, :, held.length % page_size :] = np.nan


class Listing:
    """The tokens that a row's caches are given, as they are drawn, told and checked."""

    row = ROWS[0]

    def drawn(self, seed, n, rows):
        rng, latent = np.random.default_rng(seed), self.row.name == "LatentCache"
        shapes = ((rows, HEADS, n, NOPE + VALUE_DIM), (rows, n, HEAD_DIM), (rows, n, VALUE_DIM)) if latent else (
            (rows, HEADS, n, HEAD_DIM), (rows, KV_HEADS, n, HEAD_DIM), (rows, KV_HEADS, n, VALUE_DIM))
        q, k, v = (rng.standard_normal(shape) for shape in shapes)
        if rng.random() < 0.2:
            k, v = k * 0, v * 0
        return q, k, v

    def put(self, sequence, k, v):
        getattr(sequence.cache, "source", sequence.cache).append(k, v)

    def stepped(self, sequence, q, k, v):
        options = WEIGHTS if self.row.name == "LatentCache" else {}
        if self.row.name == "SharedCache":
            self.put(sequence, k, v)
            return sequence.cache.step(q)
        if self.row.name == "CrossCache" and sequence.tokens:
            return sequence.cache.step(q)
        return sequence.cache.step(q, k, v, **options)

    def told(self, sequence, q, k, v):
        n = k.shape[-2]
        if self.row.name == "CrossCache" and sequence.tokens:
            return
        sequence.tokens += [tuple(x[..., i, :] for x in (q, k, v)) for i in range(n)]
        sequence.longest = max(sequence.longest, len(sequence.tokens))
        if sequence.first is None and n:
            sequence.first = n
        if self.row.name.startswith("QuantizedCache"):
            group, residual = self.row.settings["group"], self.row.settings["residual"]
            sequence.coded = max(sequence.coded, (len(sequence.tokens) - residual) // group * group)

    def check(self, sequence, out, q, coded):
        """The last queries of all tokens, in one full forward, are what came out, within the budget of that forward."""
        n = q.shape[-2]
        tokens = [np.stack([token[i] for token in sequence.tokens], axis=-2) for i in range(3)]
        problem, mechanism = Problem(*tokens, {"causal": True}), self.row.mechanism
        honest = mechanism
        if self.row.name == "LatentCache":
            problem, honest = Problem(tokens[0][..., :NOPE], *tokens[1:], {"causal": True, "q_rope": tokens[0][..., NOPE:], **WEIGHTS}), ABSORBED
        elif self.row.name == "CrossCache":
            problem = Problem(q, *tokens[1:])
        elif self.row.name == "StateCache":
            problem = problem.but(normalize=True)
        elif self.row.name.startswith("QuantizedCache"):
            mechanism, honest = in_codes(**self.row.settings, coded=coded), definitions.attention
        elif self.row.name in FORGETS:
            honest = definitions.attention
            if self.row.name == FORGETS[1]:
                policy = self.row.settings["policy"]
                mechanism = keeping(voted(sequence.first, policy.budget, policy.window, policy.kernel))
        expected = problem.call(mechanism)[..., problem.q.shape[-2] - n :, :]
        budgets = growing((plain,), honest, problem, np.random.default_rng(0), reorder=False)
        of_the_last = (Budget((expected,), tuple(x[..., x.shape[-2] - n :, :] for x in budget.allowed)) for budget in budgets)
        assert sufficient(of_the_last, (out,)).spent((out,)) <= 1.0
