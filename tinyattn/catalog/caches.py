"""One row per cache: what it keeps, in how many bytes, what it cannot do, and which laws it obeys."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tinyattn import caches, definitions
from tinyattn.catalog import cache_size as size
from tinyattn.catalog.cache_size import CacheSize
from tinyattn.catalog.calls import ABSORBED
from tinyattn.catalog.row import Paper
from tinyattn.laws import cached, forgetful
from tinyattn.laws.draw.caches import CAUSAL, EVEN, ONE_BATCH, SCALED_BATCH
from tinyattn.laws.draw.linear import always
from tinyattn.laws.draw.softmax import softmax
from tinyattn.laws.law import Law
from tinyattn.laws.oracles.caches import heaviest, in_codes, keeping, last_and_first
from tinyattn.laws.oracles.calls import taking
from tinyattn.laws.problem import Mechanism, Sizes
from tinyattn.ops.positions.rotary import rotary

Make = Callable[..., Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class CacheRow:
    """One cache: its class, how it is made, and the computation over all tokens that it must equal.

    `kind` is exact, approximate (within a bound, or for the tokens that are kept), or that of the cache it stands on.
    `size` gives its bytes for one sequence, as a formula and as a function that also takes `settings`. `cannot` lists the
    operations that raise an error. `laws_of(make)` are the laws of a cache made by `make`, and `mechanism` gives in one
    call over all tokens what the cache must give.
    """

    name: str
    says: str
    cache: type[Any]
    kind: str
    size: CacheSize
    cannot: tuple[str, ...]
    mechanism: Mechanism
    laws_of: Callable[[Make], tuple[Law, ...]]
    papers: tuple[Paper, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    make: Make | None = None

    def made(self, *arguments: Any, **settings: Any) -> Any:
        """Returns an empty cache with the row's settings, of which some may be replaced."""
        return (self.make or self.cache)(*arguments, **{**self.settings, **settings})

    @property
    def formula(self) -> str:
        """The formula of its bytes in words."""
        return self.size.formula

    @property
    def nbytes(self) -> Callable[..., int]:
        """The function (length, kv_heads, head_dim, value_dim, itemsize, **settings) -> bytes."""
        return self.size.nbytes

    @property
    def laws(self) -> tuple[Law, ...]:
        """The laws of the cache itself."""
        return self.laws_of(self.made)

    def fit(self, sizes: Sizes) -> Sizes:
        """Returns the sizes unchanged: a cache takes all sizes."""
        return sizes


def paged(pages: int, page_size: int) -> Any:
    """Returns a sequence in a pool of its own."""
    return caches.PagePool(pages, page_size).sequence()


def reader(source: Any = None) -> Any:
    """Returns a reader of a source, or of an empty source of its own."""
    return caches.SharedCache(caches.GrowingCache() if source is None else source)


STREAMING = (Paper("Xiao et al.", 2023, "2309.17453"),)
KIVI = (Paper("Liu et al.", 2024, "2402.02750"),)
NO_FORGOTTEN = ("truncate by more than slack", "attend with a query that sees a forgotten token")
NO_CODES = ("truncate into a quantised group", "store NaN or inf")
NO_CUT = ("append", "attend after a token was forgotten", "truncate to anything but 0 or its length", "use mask, bias or window")
SNAP = forgetful.SnapSizes(budget=4, window=2, kernel=3, decoded=2)
ROWS: tuple[CacheRow, ...] = (
    CacheRow(name="GrowingCache", says="All keys and values, in buffers that double when they are full.",
             cache=caches.GrowingCache, kind="exact", size=size.KEYS_AND_VALUES, cannot=(),
             mechanism=definitions.attention, laws_of=cached.full_laws),
    CacheRow(name="FixedCache", says="All keys and values, in a buffer of fixed capacity.",
             cache=caches.FixedCache, kind="exact", size=size.KEYS_AND_VALUES, cannot=("append beyond its capacity",),
             mechanism=definitions.attention, laws_of=cached.full_laws, settings={"capacity": 32}),
    CacheRow(name="PagedCache", says="Sequences in pages of one pool, which sequences with equal beginnings share.",
             cache=caches.PagedCache, kind="exact", size=size.KEYS_AND_VALUES,
             cannot=("append when the pool has too few free pages", "do anything after free"),
             mechanism=definitions.attention, laws_of=cached.full_laws, papers=(Paper("Kwon et al.", 2023, "2309.06180"),),
             settings={"pages": 64, "page_size": 3}, make=paged),
    CacheRow(name="RingCache", says="The last tokens.", cache=caches.RingCache, kind="exact", size=size.RING, cannot=NO_FORGOTTEN,
             mechanism=last_and_first(3), laws_of=cached.full_laws, papers=(Paper("Beltagy et al.", 2020, "2004.05150"),),
             settings={"window": 3, "slack": 2}),
    CacheRow(name="RingCache, first kept", says="The first tokens and the last ones, at their positions in the text.",
             cache=caches.RingCache, kind="exact", size=size.RING, cannot=NO_FORGOTTEN, mechanism=last_and_first(3, 2),
             laws_of=cached.full_laws, papers=STREAMING, settings={"window": 3, "keep_first": 2, "slack": 2}),
    CacheRow(name="RingCache, re-based", says="The first tokens and the last ones, at their positions in the cache.",
             cache=caches.RingCache, kind="exact", size=size.RING, cannot=NO_FORGOTTEN,
             mechanism=taking(definitions.streaming_llm_attention, "scale", first=2, window=3),
             laws_of=partial(cached.full_laws, draw=EVEN), papers=STREAMING,
             settings={"window": 3, "keep_first": 2, "slack": 2, "rotate": rotary}),
    CacheRow(name="QuantizedCache", says="Older tokens in 8 bits per number, the newest ones unchanged.",
             cache=caches.QuantizedCache, kind="approximate", size=size.CODES, cannot=NO_CODES, mechanism=in_codes(8, 4, 3),
             laws_of=partial(forgetful.rounding_laws, bits=8, group=4), papers=KIVI, settings={"bits": 8, "group": 4, "residual": 3}),
    CacheRow(name="QuantizedCache, 4 bits", says="Older tokens in 4 bits per number, the newest ones unchanged.",
             cache=caches.QuantizedCache, kind="approximate", size=size.CODES, cannot=NO_CODES, mechanism=in_codes(4, 3, 2),
             laws_of=partial(forgetful.rounding_laws, bits=4, group=3), papers=KIVI, settings={"bits": 4, "group": 3, "residual": 2}),
    CacheRow(name="EvictingCache", says="The tokens that received the most weight, and the newest ones.",
             cache=caches.EvictingCache, kind="approximate", size=size.EVICTED, cannot=NO_CUT, mechanism=keeping(heaviest(2, 2)),
             laws_of=forgetful.weighed_laws, papers=(Paper("Zhang et al.", 2023, "2306.14048"),),
             settings={"policy": caches.HeavyHitters(2, 2)}),
    CacheRow(name="EvictingCache, SnapKV",
             says="The tokens of a prompt to which its last queries attend most, and all tokens after the prompt.",
             cache=caches.EvictingCache, kind="approximate", size=size.EVICTED, cannot=NO_CUT, mechanism=SNAP.mechanism,
             laws_of=SNAP.laws, papers=(Paper("Li et al.", 2024, "2404.14469"),),
             settings={"policy": caches.SnapKV(SNAP.budget, SNAP.window, SNAP.kernel)}),
    CacheRow(name="LatentCache", says="One latent vector and one rotated key per token, for all heads.",
             cache=caches.LatentCache, kind="exact", size=size.LATENTS, cannot=(), mechanism=ABSORBED,
             laws_of=cached.latent_laws, papers=(Paper("DeepSeek-AI", 2024, "2405.04434"),)),
    CacheRow(name="StateCache", says="A state into which all keys and values are summed.",
             cache=caches.StateCache, kind="exact", size=size.STATE_WITH_CHECKPOINTS,
             cannot=("truncate by more than slack", "attend with several queries"), mechanism=definitions.linear_attention,
             laws_of=partial(cached.full_laws, draw=always(causal=True, normalize=True)),
             papers=(Paper("Katharopoulos et al.", 2020, "2006.16236"),), settings={"slack": 2}),
    CacheRow(name="CrossCache", says="An encoder's keys and values, computed once.",
             cache=caches.CrossCache, kind="exact", size=size.KEYS_AND_VALUES,
             cannot=("store a second memory", "truncate to anything but 0 or its length"), mechanism=definitions.attention,
             laws_of=lambda make: (cached.remembered(make, softmax("scale", "softcap", "sinks")),),
             papers=(Paper("Vaswani et al.", 2017, "1706.03762"),)),
    CacheRow(name="SharedCache", says="The keys and values of another layer.",
             cache=caches.SharedCache, kind="as its source", size=CacheSize("0", lambda *sizes: 0),
             cannot=("append, reorder or save, which its source does", "truncate to anything but its source's length"),
             mechanism=definitions.attention,
             laws_of=lambda make: (cached.read_by_others(make, caches.GrowingCache, CAUSAL),),
             papers=(Paper("Brandon et al.", 2024, "2405.12981"),), make=reader),
    CacheRow(name="BatchCache", says="Rows of different lengths, with one cache per row.",
             cache=caches.BatchCache, kind="as its rows", size=CacheSize("the sum over its rows", size.keys_and_values),
             cannot=("use mask or bias arrays",), mechanism=definitions.attention,
             laws_of=lambda make: (*cached.cache_laws(make, ONE_BATCH), cached.truncated(make, SCALED_BATCH),
                                   cached.reordered(make, CAUSAL), cached.ragged(make, CAUSAL))),
)


def find(name: str) -> CacheRow:
    """Returns the row of a cache by its name.

    Raises:
        ValueError: an unknown name, with the names that come nearest.

    >>> find("RingCache").kind
    'exact'
    """
    for row in ROWS:
        if row.name == name:
            return row
    names = [row.name for row in ROWS]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
    raise ValueError(f"unknown cache {name!r}; known: {', '.join(near)}")
