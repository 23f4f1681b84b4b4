"""How caches are called: what is looked at is what a cache then holds and answers."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from door import Door
from samples_ops import of

from tinyattn import caches, definitions
from tinyattn.caches.growing import GrowingCache

MODULE = caches
RNG = np.random.default_rng
FOLDER = Path(tempfile.mkdtemp())
K, V = RNG(0).standard_normal((2, 2, 2, 4, 16))
Q = RNG(1).standard_normal((2, 4, 4, 16))
W = {"w_uk": RNG(2).standard_normal((4, 6, 6)), "w_uv": RNG(3).standard_normal((4, 6, 5))}
LATENT = {"k": RNG(4).standard_normal((2, 4, 6)), "v": RNG(5).standard_normal((2, 4, 2))}
READ = {"bias": RNG(6).standard_normal((4, 2, 6)), "scale": 0.3, "softcap": 5.0, "sinks": RNG(7).standard_normal(4)}
MASK = {"mask": RNG(8).random((4, 2, 6)) < 0.8, "window": (4, 0)}
FORGETS = {"weights": np.full((1, 2, 3, 5), 0.2), "mass": np.arange(10.0).reshape(1, 2, 5), "first": False}


def appended(cache: Any) -> Any:
    """Returns a cache with 6 tokens a row."""
    for k, v in ((K, V), (K[..., :2, :], V[..., :2, :])):
        cache.append(k, v)
    return cache


def one_row(cache: Any) -> Any:
    """Returns a cache with 6 tokens of one row."""
    cache.append(np.tile(K, (1, 1, 2, 1))[:1, :, :6], np.tile(V, (1, 1, 2, 1))[:1, :, :6])
    return cache


def stepped(cache: Any) -> Any:
    """Returns a cache with 6 tokens a row, for one whose tokens come with queries."""
    cache.step(Q, K, V)
    cache.step(Q[..., :2, :], K[..., :2, :], V[..., :2, :])
    return cache


def latent() -> Any:
    cache = caches.LatentCache()
    cache.append(**LATENT)
    cache.append(LATENT["k"][:, :2], LATENT["v"][:, :2])
    return cache


def decaying() -> Any:
    cache = caches.StateCache(definitions.retention_chunked, slack=4)
    cache.append(K, V, log_decay=np.array([-0.1, -0.2]))
    return cache


def shared() -> Any:
    return caches.SharedCache(appended(GrowingCache()))


def paged() -> Any:
    return caches.PagePool(16, 4).sequence()


def memory() -> Any:
    cache = caches.CrossCache()
    cache.append(K, V)
    return cache


def holds(cache: Any, result: Any) -> list[Any]:
    """Returns the result of a call, and the tokens that the cache holds after it."""
    return [None if result is cache else result, cache.length, cache.view() if hasattr(cache, "view") else None]


MAKE: dict[str, tuple[Callable[[], Any], Callable[[], Any], dict[str, Any]]] = {
    # an empty one, one that holds tokens, and the options of attend
    "BatchCache": (lambda: caches.BatchCache([4, 2]), lambda: appended(caches.BatchCache([4, 2])), {"scale": 0.3}),
    "CrossCache": (caches.CrossCache, memory, {"scale": 0.3}),
    "EvictingCache": (lambda: caches.EvictingCache(caches.HeavyHitters(heavy=4, recent=4)),
                      lambda: stepped(caches.EvictingCache(caches.HeavyHitters(heavy=4, recent=4))), {"scale": 0.3}),
    "FixedCache": (lambda: caches.FixedCache(16), lambda: appended(caches.FixedCache(16)), READ | MASK),
    "GrowingCache": (GrowingCache, lambda: appended(GrowingCache()), READ | MASK),
    "PagedCache": (paged, lambda: appended(paged()), READ | MASK),
    "QuantizedCache": (lambda: caches.QuantizedCache(group=2, residual=2), lambda: appended(caches.QuantizedCache(group=2, residual=2)), READ | MASK),
    "RingCache": (lambda: caches.RingCache(8, slack=4), lambda: appended(caches.RingCache(8, slack=4)), {"scale": 0.3, "softcap": 5.0}),
    "SharedCache": (shared, shared, READ | MASK),
    "StateCache": (caches.StateCache, lambda: appended(caches.StateCache(slack=4)), {"scale": 0.3}),
}
OPTIONS = ("bias", "mask", "window", "scale", "softcap", "sinks")
TOKENS = {"k": K, "v": V}


def saved(cache: Any, name: str) -> Path:
    cache.save(FOLDER / name)
    return FOLDER / name


def protocol(name: str) -> dict[str, Door]:
    """Returns how the methods of a cache are called."""
    empty, full, options = MAKE[name]
    doors = {
        "append": Door(of(**TOKENS), make=empty, after=holds),
        "attend": Door(of(q=Q[..., :2, :], **options), make=full, optional=OPTIONS),
        "fork": Door(make=full, after=lambda made, fork: holds(fork, None)),
        "positions": Door(of(count=2), make=full),
        "reorder": Door(of(indices=np.array([1, 0])), make=full, after=holds, below={"indices": 2}),
        "save": Door(lambda: {"path": FOLDER / f"{name}.new"}, make=full),
        "load": Door(lambda: {"path": saved(full(), name)}, after=lambda made, cache: holds(cache, None)),
        "step": Door(of(q=Q, **TOKENS), make=empty, after=holds),
        "truncate": Door(of(length=4), make=full, after=holds),
        "view": Door(make=full),
    }
    return {f"{name}.{method}": door for method, door in doors.items() if hasattr(getattr(caches, name), method)}


DOORS: dict[str, Door] = {}
for name in MAKE:
    DOORS |= protocol(name)
GATED = {"log_decay": np.array([-0.1, -0.2])}
DOORS |= {
    "BatchCache": Door(lambda: {"lengths": np.array([4, 2]), "make": GrowingCache, "padding": "right"}, after=lambda made, cache: holds(appended(cache), None),
                       optional=("lengths",)),
    "BatchCache.append": Door(of(**TOKENS, lengths=np.array([4, 2])), make=caches.BatchCache, after=holds, optional=("lengths",)),
    "BatchCache.free": Door(make=MAKE["BatchCache"][1]),
    "BatchCache.load": Door(lambda: {"path": saved(MAKE["BatchCache"][1](), "BatchCache"), "make": GrowingCache}, after=lambda made, cache: holds(cache, None)),
    "BatchCache.of": Door(lambda: {"rows": [GrowingCache(), GrowingCache()], "lengths": np.array([4, 2]), "padding": "right"}, optional=("lengths",)),
    "BatchCache.step": Door(of(q=Q, **TOKENS, lengths=np.array([4, 2])), make=caches.BatchCache, after=holds, optional=("lengths",)),
    "BatchCache.truncate": Door(of(length=np.array([2, 1])), make=MAKE["BatchCache"][1], after=holds),
    "CrossCache": Door(lambda: {"mechanism": definitions.attention}, optional=("mechanism",)),
    "CrossCache.step": Door(of(q=Q, **TOKENS), make=caches.CrossCache, after=holds, optional=("k", "v")),
    "CrossCache.truncate": Door(of(length=0), make=memory, after=lambda made, result: made.length),
    "EvictingCache": Door(lambda: {"policy": caches.SnapKV(budget=4, window=2)}),
    "EvictingCache.load": Door(lambda: {"path": saved(MAKE["EvictingCache"][1](), "EvictingCache"), "policy": caches.HeavyHitters(heavy=4, recent=4)},
                               after=lambda made, cache: holds(cache, None)),
    "EvictingCache.truncate": Door(of(length=0), make=MAKE["EvictingCache"][1], after=lambda made, result: made.length),
    "FixedCache": Door(lambda: {"capacity": 16, "mechanism": definitions.attention}, after=lambda made, cache: holds(appended(cache), None),
                       optional=("mechanism",)),
    "FixedCache.write": Door(of(positions=np.array([5, 1, 0, 9]), **TOKENS), make=MAKE["FixedCache"][1], after=holds, below={"positions": 16}),
    "GrowingCache": Door(lambda: {"mechanism": definitions.attention}, after=lambda made, cache: appended(cache).attend(Q[..., :2, :]),
                         optional=("mechanism",)),
    "HeavyHitters": Door(of(heavy=2, recent=2)),
    "HeavyHitters.held": Door(of(length=9), make=lambda: caches.HeavyHitters(heavy=2, recent=2)),
    "HeavyHitters.kept": Door(of(**FORGETS), make=lambda: caches.HeavyHitters(heavy=2, recent=2)),
    "HeavyHitters.piece": Door(of(held=4, count=3), make=lambda: caches.HeavyHitters(heavy=2, recent=2)),
    "LatentCache": Door(),
    "PagePool": Door(of(pages=16, page_size=4), after=lambda made, pool: holds(appended(pool.sequence()), None)),
    "PagePool.sequence": Door(lambda: {"tokens": np.arange(4), "scope": "mine"}, make=lambda: caches.PagePool(16, 4), optional=("tokens",)),
    "PagedCache": Door(lambda: {"pool": caches.PagePool(16, 4)}),
    "PagedCache.free": Door(make=lambda: appended(paged())),
    "PagedCache.load": Door(lambda: {"path": saved(appended(paged()), "PagedCache"), "pool": caches.PagePool(16, 4)}, after=lambda made, cache: holds(cache, None)),
    "PagedCache.publish": Door(lambda: {"tokens": np.arange(6), "scope": "mine"}, make=lambda: one_row(paged())),
    "QuantizedCache": Door(of(bits=8, group=2, residual=2), after=lambda made, cache: holds(appended(cache), None)),
    "RingCache": Door(lambda: {"window": 8, "keep_first": 1, "slack": 2, "rotate": lambda x, positions: x}, after=lambda made, cache: holds(appended(cache), None),
                      optional=("rotate",)),
    "SharedCache": Door(lambda: {"source": appended(GrowingCache())}),
    "SharedCache.step": Door(of(q=Q[..., :2, :]), make=shared, after=holds),
    "SharedCache.truncate": Door(of(length=6), make=shared, after=holds),
    "SnapKV": Door(of(budget=4, window=2, kernel=3)),
    "SnapKV.held": Door(of(length=9), make=lambda: caches.SnapKV(budget=4, window=2)),
    "SnapKV.kept": Door(of(**FORGETS), make=lambda: caches.SnapKV(budget=3, window=2)),
    "SnapKV.piece": Door(of(held=4, count=3), make=lambda: caches.SnapKV(budget=4, window=2)),
    "StateCache": Door(lambda: {"mechanism": definitions.linear_attention_chunked, "slack": 4}, after=lambda made, cache: appended(cache).attend(Q[..., :1, :]),
                       optional=("mechanism",)),
    "StateCache.append": Door(of(**TOKENS, **GATED), make=lambda: caches.StateCache(definitions.retention_chunked),
                              after=lambda made, result: made.attend(Q[..., :1, :]), optional=("log_decay",), also=("q",)),
    "StateCache.attend": Door(of(q=Q[..., :1, :], scale=0.3), make=decaying, optional=("scale",)),
    "StateCache.step": Door(of(q=Q, **TOKENS, **GATED), make=lambda: caches.StateCache(definitions.retention_chunked)),
}
for name in ("EvictingCache.append", "SharedCache.append", "SharedCache.reorder", "SharedCache.save"):
    DOORS[name] = replace(DOORS[name], refuses=True)
MAKE["LatentCache"] = (caches.LatentCache, latent, {})
DOORS |= {**protocol("LatentCache"), "LatentCache.append": Door(of(**LATENT), make=caches.LatentCache, after=holds),
          "LatentCache.attend": Door(of(q=RNG(9).standard_normal((2, 4, 2, 8)), scale=0.3, **W), make=latent, optional=("scale",)),
          "LatentCache.step": Door(of(q=RNG(9).standard_normal((2, 4, 4, 8)), **LATENT, **W), make=caches.LatentCache, after=holds)}
FACTORS = {"k": RNG(10).standard_normal((2, 2, 4, 2 + 6)), "v": RNG(11).standard_normal((2, 2, 4, 2 + 5))}
HEADS = {"heads": 4, "kv_heads": 2, "scale": 0.3}
INDEX = {"q_index": RNG(13).standard_normal((2, 3, 4, 5)), "weights": RNG(14).standard_normal((2, 3, 4)), "keep": 2}
TOLD = {"k_index": RNG(15).standard_normal((2, 4, 5))}


def factored() -> Any:
    cache = caches.FactorCache()
    cache.append(**FACTORS)
    return cache


def indexing() -> Any:
    return caches.TokenCache(definitions.deepseek_sparse_attention)


def indexed() -> Any:
    cache = indexing()
    cache.append(**TOKENS, **TOLD)
    return cache


MAKE["FactorCache"], MAKE["TokenCache"] = (caches.FactorCache, factored, {}), (indexing, indexed, {})
DOORS |= {**protocol("FactorCache"), "FactorCache": Door(), "FactorCache.append": Door(of(**FACTORS), make=caches.FactorCache, after=holds),
          "FactorCache.attend": Door(of(q=RNG(12).standard_normal((2, 3, 2, 4 + 6)), **HEADS), make=factored, optional=("scale",)),
          "FactorCache.step": Door(of(q=RNG(12).standard_normal((2, 3, 4, 4 + 6)), **FACTORS, **HEADS), make=caches.FactorCache, after=holds, optional=("scale",)),
          **protocol("TokenCache"), "TokenCache": Door(lambda: {"mechanism": definitions.forgetting_attention}),
          "TokenCache.append": Door(of(**TOKENS, **TOLD), make=indexing, after=holds),
          "TokenCache.attend": Door(of(q=Q, scale=0.3, **INDEX), make=indexed, optional=("scale",)),
          "TokenCache.load": Door(lambda: {"path": saved(indexed(), "TokenCache"), "mechanism": definitions.deepseek_sparse_attention},
                                  after=lambda made, cache: holds(cache, None)),
          "TokenCache.step": Door(of(q=Q, **TOKENS, **INDEX, **TOLD), make=indexing, after=holds)}
