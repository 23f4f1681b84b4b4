"""Caches: what decoding keeps of the tokens it has seen. All follow one protocol; `tinyattn.catalog.caches` has one row per cache.

| cache | exact | memory per token | truncate | attends to |
|---|---|---|---|---|
| GrowingCache | yes | kv_heads (head_dim + value_dim) numbers | to any length | all keys |
| FixedCache | yes | the same, in a buffer made once | to any length | all keys |
| PagedCache | yes | the same, in pages that sequences share | to any length | all keys, page by page |
| RingCache | yes, for a window | the last and the first tokens only | by slack | these tokens |
| QuantizedCache | no, within a bound | 8 or 4 bits per number, and scales | by residual | all keys, unpacked a part at a time |
| EvictingCache | no | the tokens that its policy keeps | to 0 or its length | the tokens kept |
| LatentCache | yes | r + p numbers, for any number of heads | to any length | all latents, absorbed |
| FactorCache | yes | rank (2 kv_heads + head_dim + value_dim) numbers | to any length | all factors |
| TokenCache | yes | kv_heads (head_dim + value_dim) numbers, and its gates | to any length | all keys |
| StateCache | yes | none: kv_heads features (value_dim + 1) numbers in total | by slack | the state |
| CrossCache | yes | an encoder's memory | to 0 or its length | all of the memory |
| SharedCache | as its source | none: its source has them | with its source | its source |
| BatchCache | as its rows | one cache per row | each row by itself | each row's own tokens |

Its files, in reading order:

    protocol.py             what every cache does
    checks.py               arrays that a cache is given, checked
    options.py              options of a cache's mechanism
    turns.py                one thread at a time
    files.py                metadata of a cache's file
    base.py                 compute first, then store; copies and files
    tape.py                 rows written behind rows
    parts.py                attention over keys in several parts
    growing.py              all keys and values
    fixed.py                a buffer of fixed capacity
    ring.py                 the last tokens, and the first
    code_reading.py         attention over tokens that are stored as codes
    quantized.py            older tokens in 8 or 4 bits
    pages.py                which sequence holds which pages
    page_reading.py         attention over tokens in pages
    page_writing.py         tokens written into pages
    pool.py                 a pool of pages and its book
    paged.py                many sequences in one pool of pages
    latent.py               latent vectors
    factored.py             factors of keys and values
    chunk.py                tokens with their gates
    tokens.py               keys and values with gates per token
    folded.py               a state with check-points
    overwriting.py          when a state may be written over
    state.py                only the state of a recurrence
    cross.py                an encoder's memory
    shared.py               the keys of another layer
    sharded.py              tokens spread over many ranks
    rows.py                 each row's part of a batch's arguments
    batch.py                rows of different lengths
    room.py                 room for a text in all caches together
    policies.py             which tokens are evicted first
    evicting.py             a budget of tokens
"""

from tinyattn.caches.batch import BatchCache
from tinyattn.caches.cross import CrossCache
from tinyattn.caches.evicting import EvictingCache
from tinyattn.caches.factored import FactorCache
from tinyattn.caches.fixed import FixedCache
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.latent import LatentCache
from tinyattn.caches.paged import PagedCache, PagePool
from tinyattn.caches.policies import HeavyHitters, SnapKV
from tinyattn.caches.protocol import Cache, CapacityError
from tinyattn.caches.quantized import QuantizedCache
from tinyattn.caches.ring import RingCache
from tinyattn.caches.shared import SharedCache
from tinyattn.caches.state import StateCache
from tinyattn.caches.tokens import TokenCache

__all__ = ["BatchCache", "Cache", "CapacityError", "CrossCache", "EvictingCache", "FactorCache", "FixedCache", "GrowingCache",
           "HeavyHitters", "LatentCache", "PagePool", "PagedCache", "QuantizedCache", "RingCache", "SharedCache", "SnapKV",
           "StateCache", "TokenCache"]
