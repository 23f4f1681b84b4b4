"""What decoding remembers, each cache on one protocol.

| | exact | holds a token | truncate | answers |
|---|---|---|---|---|
| GrowingCache | yes | kv_heads (head_dim + value_dim) numbers | to any length | from all keys |
| LatentCache | yes | r + p numbers, for any number of heads | to any length | from all latents, absorbed |
| StateCache | yes | nothing: kv_heads features (value_dim + 1) numbers in all | to 0 or its length | from the state |
"""

from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.latent import LatentCache
from tinyattn.caches.protocol import Cache
from tinyattn.caches.state import StateCache

__all__ = ["Cache", "GrowingCache", "LatentCache", "StateCache"]
