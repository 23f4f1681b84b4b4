"""What decoding remembers, each cache on one protocol; `tinyattn.catalog.caches` says what each holds and cannot do.

| | exact | holds a token | truncate | answers |
|---|---|---|---|---|
| GrowingCache | yes | kv_heads (head_dim + value_dim) numbers | to any length | from all keys |
| FixedCache | yes | the same, in room made once | to any length | from all keys |
| PagedCache | yes | the same, in pages that sequences share | to any length | from all keys, page by page |
| RingCache | yes, for a window | the last and the first tokens alone | by slack | from these |
| QuantizedCache | no, within a bound | 8 or 4 bits a number, and scales | by residual | while it unpacks |
| EvictingCache | no | what its policy keeps | to 0 or its length | from what is kept |
| LatentCache | yes | r + p numbers, for any number of heads | to any length | from all latents, absorbed |
| StateCache | yes | nothing: kv_heads features (value_dim + 1) numbers in all | by slack | from the state |
| CrossCache | yes | an encoder's memory | to 0 or its length | from all of it |
| SharedCache | as its source | nothing: its source does | with its source | from its source |
| BatchCache | as its rows | a cache a row | each row by itself | row by row |

Its files, in reading order:

    protocol.py             what every cache does, and the checks it shares
    reading.py              keys in parts, in pages, packed
    tape.py                 rows written behind rows
    asked.py                options and queries, checked
    files.py                what a file says besides its arrays
    base.py                 compute, then commit; threads, copies, files
    taped.py                caches of tapes
    growing.py              all keys and values
    fixed.py                room made once
    ring.py                 the last tokens, and the first
    quantized.py            older tokens in 8 or 4 bits
    pages.py                the book of a pool: who holds which page
    page_writing.py         tokens written into pages
    pool.py                 the pages and the book of a pool
    paged.py                many sequences in one pool of pages
    latent.py               latent vectors
    chunk.py                tokens with their gates
    state.py                the state alone
    cross.py                an encoder's memory
    shared.py               another layer's keys
    sharded.py              tokens spread over many ranks
    rows.py                 what each row of a batch gets
    batch.py                rows of different lengths
    room.py                 room for a text in all caches together
    policies.py             who is forgotten first
    evicting.py             a budget of tokens
"""

from tinyattn.caches.batch import BatchCache
from tinyattn.caches.cross import CrossCache
from tinyattn.caches.evicting import EvictingCache
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

__all__ = ["BatchCache", "Cache", "CapacityError", "CrossCache", "EvictingCache", "FixedCache", "GrowingCache", "HeavyHitters",
           "LatentCache", "PagePool", "PagedCache", "QuantizedCache", "RingCache", "SharedCache", "SnapKV", "StateCache"]
