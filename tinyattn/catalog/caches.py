"""One row per cache: what it keeps, in how many bytes, what it cannot do, and which laws it obeys."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tinyattn import caches, definitions, fastest
from tinyattn.catalog import cache_size as size
from tinyattn.catalog import calls
from tinyattn.catalog.cache_size import CacheSize
from tinyattn.catalog.row import Paper
from tinyattn.laws import cached, forgetful
from tinyattn.laws.draw import factored, weighting
from tinyattn.laws.draw.caches import CAUSAL, EVEN, ONE_BATCH, SCALED_BATCH
from tinyattn.laws.draw.linear import always
from tinyattn.laws.draw.options import given
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
    call over all tokens what the cache must give. `name` is the class's unless another is given.
    """

    cache: type[Any]
    says: str
    name: str = ""
    kind: str = "exact"
    size: CacheSize = size.KEYS_AND_VALUES
    cannot: tuple[str, ...] = ()
    mechanism: Mechanism = definitions.attention
    laws_of: Callable[[Make], tuple[Law, ...]] = cached.full_laws
    papers: tuple[Paper, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    make: Make | None = None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.cache.__name__)

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
NO_GATES = ("store some tokens with gates and others without",)
INDEXED = calls.indexed(definitions.deepseek_sparse_attention)
SNAP = forgetful.SnapSizes(budget=4, window=2, kernel=3, decoded=2)
ROWS: tuple[CacheRow, ...] = (
    CacheRow(cache=caches.GrowingCache, says="All keys and values, in buffers that double when they are full."),
    CacheRow(cache=caches.FixedCache, says="All keys and values, in a buffer of fixed capacity.",
             cannot=("append beyond its capacity",), settings={"capacity": 32}),
    CacheRow(cache=caches.PagedCache, says="Sequences in pages of one pool, which sequences with equal beginnings share.",
             cannot=("append when the pool has too few free pages", "use it after free"),
             papers=(Paper("Kwon et al.", 2023, "2309.06180"),), settings={"pages": 64, "page_size": 3}, make=paged),
    CacheRow(cache=caches.RingCache, says="The last tokens.", size=size.RING, cannot=NO_FORGOTTEN, mechanism=last_and_first(3),
             papers=(Paper("Beltagy et al.", 2020, "2004.05150"),), settings={"window": 3, "slack": 2}),
    CacheRow(cache=caches.RingCache, name="RingCache, first kept", size=size.RING, cannot=NO_FORGOTTEN,
             says="The first tokens and the last ones, at their positions in the text.",
             mechanism=last_and_first(3, 2), papers=STREAMING, settings={"window": 3, "keep_first": 2, "slack": 2}),
    CacheRow(cache=caches.RingCache, name="RingCache, re-based", size=size.RING, cannot=NO_FORGOTTEN,
             says="The first tokens and the last ones, at their positions in the cache.",
             mechanism=taking(definitions.streaming_llm_attention, "scale", first=2, window=3),
             laws_of=partial(cached.full_laws, draw=EVEN), papers=STREAMING,
             settings={"window": 3, "keep_first": 2, "slack": 2, "rotate": rotary}),
    CacheRow(cache=caches.QuantizedCache, says="Older tokens in 8 bits per number, the newest ones unchanged.",
             kind="approximate", size=size.CODES, cannot=NO_CODES, mechanism=in_codes(8, 4, 3), papers=KIVI,
             laws_of=partial(forgetful.rounding_laws, bits=8, group=4), settings={"bits": 8, "group": 4, "residual": 3}),
    CacheRow(cache=caches.QuantizedCache, name="QuantizedCache, 4 bits",
             says="Older tokens in 4 bits per number, the newest ones unchanged.",
             kind="approximate", size=size.CODES, cannot=NO_CODES, mechanism=in_codes(4, 3, 2), papers=KIVI,
             laws_of=partial(forgetful.rounding_laws, bits=4, group=3), settings={"bits": 4, "group": 3, "residual": 2}),
    CacheRow(cache=caches.EvictingCache, says="The tokens that received the most weight, and the newest ones.",
             kind="approximate", size=size.EVICTED, cannot=NO_CUT, mechanism=keeping(heaviest(2, 2)),
             laws_of=forgetful.weighed_laws, papers=(Paper("Zhang et al.", 2023, "2306.14048"),),
             settings={"policy": caches.HeavyHitters(2, 2)}),
    CacheRow(cache=caches.EvictingCache, name="EvictingCache, SnapKV",
             says="The tokens of a prompt to which its last queries attend most, and all tokens after the prompt.",
             kind="approximate", size=size.EVICTED, cannot=NO_CUT, mechanism=SNAP.mechanism, laws_of=SNAP.laws_of,
             papers=(Paper("Li et al.", 2024, "2404.14469"),),
             settings={"policy": caches.SnapKV(SNAP.budget, SNAP.window, SNAP.kernel)}),
    CacheRow(cache=caches.LatentCache, says="One latent vector and one rotated key per token, for all heads.", size=size.LATENTS,
             mechanism=calls.ABSORBED, laws_of=cached.latent_laws, papers=(Paper("DeepSeek-AI", 2024, "2405.04434"),)),
    CacheRow(cache=caches.FactorCache, says="The factors of the keys and values of tensor product attention.", size=size.FACTORS,
             mechanism=calls.of_factors(definitions.tensor_product_attention),
             laws_of=partial(cached.full_laws, draw=factored.CACHED, enter=factored.packed),
             papers=(Paper("Zhang et al.", 2025, "2501.06425"),)),
    CacheRow(cache=caches.TokenCache, says="All keys and values, each token with its gate.", size=size.KEYS_VALUES_AND_GATES,
             cannot=NO_GATES, mechanism=calls.always_causal(definitions.forgetting_attention),
             laws_of=partial(cached.full_laws, draw=given(weighting.FORGET, causal=True)),
             papers=(Paper("Lin et al.", 2025, "2503.02130"),), settings={"mechanism": fastest.forgetting_attention}),
    CacheRow(cache=caches.TokenCache, name="TokenCache, keys of an indexer", size=size.KEYS_VALUES_AND_INDEX, cannot=NO_GATES,
             says="All keys and values, each token with its key for a lightning indexer.", mechanism=INDEXED,
             laws_of=partial(cached.full_laws, draw=factored.INDEX_KEPT, enter=factored.without_index_heads),
             papers=(Paper("DeepSeek-AI", 2025, "2512.02556"),), settings={"mechanism": fastest.deepseek_sparse_attention}),
    CacheRow(cache=caches.StateCache, says="A state into which all keys and values are summed.", size=size.STATE_WITH_CHECKPOINTS,
             cannot=("truncate by more than slack", "attend with several queries"), mechanism=definitions.linear_attention,
             laws_of=partial(cached.full_laws, draw=always(causal=True, normalize=True)),
             papers=(Paper("Katharopoulos et al.", 2020, "2006.16236"),), settings={"slack": 2}),
    CacheRow(cache=caches.CrossCache, says="An encoder's keys and values, computed once.",
             cannot=("store a second memory", "truncate to anything but 0 or its length"),
             laws_of=lambda make: (cached.remembered(make, softmax("scale", "softcap", "sinks")),),
             papers=(Paper("Vaswani et al.", 2017, "1706.03762"),)),
    CacheRow(cache=caches.SharedCache, says="The keys and values of another layer.", kind="as its source",
             size=CacheSize("0", lambda *sizes: 0),
             cannot=("append, reorder or save, which its source does", "truncate to anything but its source's length"),
             laws_of=lambda make: (cached.read_by_others(make, caches.GrowingCache, CAUSAL),),
             papers=(Paper("Brandon et al.", 2024, "2405.12981"),), make=reader),
    CacheRow(cache=caches.BatchCache, says="Rows of different lengths, with one cache per row.", kind="as its rows",
             size=CacheSize("the sum over its rows", size.keys_and_values), cannot=("use mask or bias arrays",),
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
