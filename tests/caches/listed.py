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
# The options of each token, in the order in which they are drawn, and those of them that are appended with its key.
PER_TOKEN = {"TokenCache": ("log_forget",), "TokenCache, keys of an indexer": ("q_index", "k_index", "weights")}
STORED = {"log_forget", "k_index"}
ASKED = {"LatentCache": WEIGHTS, "FactorCache": {"heads": HEADS, "kv_heads": KV_HEADS}, "TokenCache, keys of an indexer": {"keep": 2}}
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
        """q, k and v of n tokens, and whatever else each of them has, all with the tokens on the last axis but one."""
        rng, name = np.random.default_rng(seed), self.row.name
        shapes = (rows, HEADS, n, HEAD_DIM), (rows, KV_HEADS, n, HEAD_DIM), (rows, KV_HEADS, n, VALUE_DIM)
        if name == "LatentCache":
            shapes = (rows, HEADS, n, NOPE + VALUE_DIM), (rows, n, HEAD_DIM), (rows, n, VALUE_DIM)
        elif name == "FactorCache":
            shapes = (rows, 3, n, HEADS + HEAD_DIM), (rows, 2, n, KV_HEADS + HEAD_DIM), (rows, 2, n, KV_HEADS + VALUE_DIM)
        q, k, v = (rng.standard_normal(shape) for shape in shapes)
        if rng.random() < 0.2:
            k, v = k * 0, v * 0
        if name == "TokenCache":
            return q, k, v, -rng.random((rows, HEADS, n, 1))
        if name in PER_TOKEN:  # halves, whose sums are exact and often equal
            return q, k, v, *(np.round(2 * rng.standard_normal(shape)) / 2 for shape in ((rows, 3, n, 5), (rows, n, 5), (rows, 3, n, 1)))
        return q, k, v

    def options(self, more):
        """The options of drawn tokens by name."""
        return {name: x if name.endswith("index") else x[..., 0] for name, x in zip(PER_TOKEN.get(self.row.name, ()), more, strict=True)}

    def stored(self, more):
        """The options that are appended with keys and values."""
        return {name: x for name, x in self.options(more).items() if name in STORED}

    def asked(self, more):
        """The options that are given with queries alone."""
        own = {name: x for name, x in self.options(more).items() if name not in STORED}
        return own | ASKED.get(self.row.name, {})

    def put(self, sequence, k, v, *more):
        getattr(sequence.cache, "source", sequence.cache).append(k, v, **self.stored(more))

    def stepped(self, sequence, q, k, v, *more):
        if self.row.name == "SharedCache":
            self.put(sequence, k, v)
            return sequence.cache.step(q)
        if self.row.name == "CrossCache" and sequence.tokens:
            return sequence.cache.step(q)
        return sequence.cache.step(q, k, v, **self.stored(more), **self.asked(more))

    def told(self, sequence, q, k, v, *more):
        n = k.shape[-2]
        if self.row.name == "CrossCache" and sequence.tokens:
            return
        sequence.tokens += [tuple(x[..., i, :] for x in (q, k, v, *more)) for i in range(n)]
        sequence.longest = max(sequence.longest, len(sequence.tokens))
        if sequence.first is None and n:
            sequence.first = n
        if self.row.name.startswith("QuantizedCache"):
            group, residual = self.row.settings["group"], self.row.settings["residual"]
            sequence.coded = max(sequence.coded, (len(sequence.tokens) - residual) // group * group)

    def check(self, sequence, out, q, coded):
        """The last queries of all tokens, in one full forward, are what came out, within the budget of that forward."""
        n = q.shape[-2]
        *tokens, = (np.stack(parts, axis=-2) for parts in zip(*sequence.tokens, strict=True))
        problem, mechanism = Problem(*tokens[:3], {"causal": True, **self.options(tokens[3:])}), self.row.mechanism
        honest = mechanism
        if self.row.name == "LatentCache":
            problem, honest = Problem(tokens[0][..., :NOPE], *tokens[1:], {"causal": True, "q_rope": tokens[0][..., NOPE:], **WEIGHTS}), ABSORBED
        elif self.row.name == "FactorCache":
            pairs = [np.split(x, [count], axis=-1) for x, count in zip(tokens, (HEADS, KV_HEADS, KV_HEADS), strict=True)]
            factors = dict(zip(("q_factors", "k_factors", "v_factors"), (pair[0] for pair in pairs), strict=True))
            problem = Problem(*(pair[1] for pair in pairs), {"causal": True, **factors})
        elif self.row.name in PER_TOKEN and "k_index" in problem.options:
            problem = problem.but(k_index=problem.options["k_index"][:, None], keep=2)
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
