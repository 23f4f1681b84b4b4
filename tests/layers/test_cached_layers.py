"""Layers that read another layer's keys, or an encoder's memory: decoding through caches is the full computation."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from tinyattn import definitions, fastest
from tinyattn.caches import BatchCache, CrossCache, FixedCache, GrowingCache, LatentCache, PagePool, RingCache, SharedCache
from tinyattn.engine import value_and_grad
from tinyattn.layers import CrossAttention, LatentAttention, RMSNorm, SelfAttention, SwiGLU
from tinyattn.layers.block import Block

RNG = np.random.default_rng
CLOSE = {"rtol": 1e-13, "atol": 1e-14}  # the largest difference measured is 5e-15
WIDTH, HEADS, KV_HEADS = 16, 4, 2


def doubled(layer):
    """A layer in float64, its weights ten times as large."""
    arrays = {name: getattr(layer, name) for name in ("q", "k", "v", "out", "gate", "up", "down") if hasattr(layer, name)}
    return type(layer)(**{**layer.__dict__, **{name: a.astype(np.float64) * 10 for name, a in arrays.items() if a is not None}})


def attention(rng, make=SelfAttention.create, mechanism=fastest.attention, **settings):
    return doubled(make(rng, WIDTH, HEADS, KV_HEADS, mechanism=mechanism, **settings))


def wide(layer):
    """A layer with all of its arrays in float64."""
    return type(layer)(**{name: x.astype(np.float64) if isinstance(x, np.ndarray) else x for name, x in layer.__dict__.items()})


LATENT = wide(LatentAttention.create(RNG(0), WIDTH, HEADS, KV_HEADS, deviation=0.5))


@dataclass(frozen=True)
class Shared:
    """A decoder in which every second layer reads the keys and values of the layer before it (arXiv:2405.12981)."""

    blocks: tuple

    @classmethod
    def create(cls, seed=0, **settings):
        rng = RNG(seed)
        makes = (SelfAttention.create, SelfAttention.create_reader) * 2
        return cls(tuple(Block(RMSNorm.create(WIDTH), attention(rng, make, **settings), RMSNorm.create(WIDTH),
                               doubled(SwiGLU.create(rng, WIDTH, 24))) for make in makes))

    def __call__(self, x, *, caches=None, positions=None, **options):
        keys = None
        for i, block in enumerate(self.blocks):
            if caches is not None:
                x = block(x, cache=caches[i], positions=positions, **options)
            elif block.attention.k is None:
                x = block(x, keys=keys, causal=True, **options)
            else:
                keys = block.attention.keys_of(block.attention_norm(x))
                x = block(x, causal=True, **options)
        return x

    def caches(self, make):
        sources = [make(), make()]
        return [sources[0], SharedCache(sources[0]), sources[1], SharedCache(sources[1])]


@pytest.mark.parametrize("make", [GrowingCache, partial(FixedCache, 9), PagePool(16, 4).sequence, partial(RingCache, 9),
                                  partial(GrowingCache, partial(fastest.attention, window=(2, 0)))],
                         ids=["growing", "fixed", "paged", "ring", "window"])
@pytest.mark.parametrize("cuts", [(4,), (1, 2, 3, 8), (0, 0, 9)], ids=str)
def test_a_model_that_shares_keys_decodes_what_it_computes(make, cuts):
    window = getattr(getattr(make, "args", [None])[0], "keywords", {})
    model, x = Shared.create(), RNG(1).standard_normal((2, 9, WIDTH))
    caches = model.caches(make)
    outs = [model(part, caches=caches) for part in np.split(x, cuts, axis=1)]
    want = model(x, **window)
    np.testing.assert_allclose(np.concatenate(outs, axis=1), want, **CLOSE)
    assert [cache.length for cache in caches] == [9] * 4
    assert sum(cache.nbytes for cache in caches) == 2 * 2 * 9 * KV_HEADS * (4 + 4) * 8  # two layers' keys for four layers


def test_the_keys_of_the_other_layer_are_what_is_read():
    model, x = Shared.create(), RNG(1).standard_normal((2, 9, WIDTH))
    first, reader = model.blocks[0].attention, model.blocks[1].attention
    own = SelfAttention(reader.q, first.k, first.v, reader.out, HEADS, KV_HEADS, reader.base, reader.mechanism)
    np.testing.assert_allclose(reader(x, keys=first.keys_of(x), causal=True), own(x, causal=True), **CLOSE)
    far = RNG(2).integers(0, 50, (2, 9))
    np.testing.assert_allclose(reader(x, keys=first.keys_of(x, positions=far), positions=far, causal=True),
                               own(x, positions=far, causal=True), **CLOSE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_of_different_lengths_share_keys_as_if_each_were_alone(side):
    model, x, lengths = Shared.create(), RNG(1).standard_normal((3, 8, WIDTH)), (6, 2, 4)
    caches = model.caches(lambda: BatchCache(lengths, padding=side))
    padded = np.zeros((3, 6, WIDTH))
    places = [slice(6 - n, 6) if side == "left" else slice(0, n) for n in lengths]
    for b, (n, place) in enumerate(zip(lengths, places, strict=True)):
        padded[b, place] = x[b, :n]
    first = model(padded, caches=caches, positions=caches[0].positions(6))
    rest = model(np.stack([x[b, n : n + 2] for b, n in enumerate(lengths)]), caches=caches, positions=np.array(lengths)[:, None] + [0, 1])
    for b, (n, place) in enumerate(zip(lengths, places, strict=True)):
        np.testing.assert_allclose(np.concatenate((first[b, place], rest[b])), model(x[b : b + 1, : n + 2])[0], **CLOSE)


def test_a_layer_that_reads_another_is_learned():
    reader, source = (attention(RNG(i), make) for i, make in enumerate((SelfAttention.create_reader, SelfAttention.create)))
    x = RNG(1).standard_normal((1, 5, WIDTH))

    def loss(layers):
        first, second = layers
        return (second(x, keys=first.keys_of(x), causal=True) ** 2).sum()

    _, (d_source, d_reader) = value_and_grad(loss)((source, reader))
    assert d_reader.k is None
    assert all(np.abs(d).max() > 0 for d in (d_source.k, d_source.v, d_reader.q, d_reader.out))
    assert not d_source.q.any()
    step = 1e-6 * RNG(3).standard_normal(source.k.shape)
    moved = [SelfAttention(**{**source.__dict__, "k": source.k + sign * step}) for sign in (1, -1)]
    slope = (loss((moved[0], reader)) - loss((moved[1], reader))) / 2
    np.testing.assert_allclose(slope, (d_source.k * step).sum(), rtol=1e-8)  # of which differences have 2e-10


@dataclass(frozen=True)
class Translator:
    """A decoder beside a memory: layers of self-attention and of attention to the memory (arXiv:1706.03762)."""

    layers: tuple

    @classmethod
    def create(cls, seed=0):
        rng = RNG(seed)
        return cls(tuple((attention(rng), attention(rng, CrossAttention.create, memory_width=6)) for _ in range(2)))

    def __call__(self, x, memory=None, *, caches=None):
        norm = RMSNorm.create(WIDTH)
        for i, (own, cross) in enumerate(self.layers):
            if caches is None:
                x = x + own(norm(x), causal=True)
                x = x + cross(norm(x), memory)
            else:
                x = x + own(norm(x), cache=caches[i][0])
                x = x + cross(norm(x), memory, cache=caches[i][1])
        return x


@pytest.mark.parametrize("cuts", [(1, 2, 3, 4, 5, 6), (4,), (0, 5)], ids=str)
def test_a_model_beside_a_memory_decodes_what_it_computes(cuts):
    model, x, memory = Translator.create(), RNG(1).standard_normal((2, 7, WIDTH)), RNG(2).standard_normal((2, 5, 6))
    caches, outs = [(GrowingCache(), CrossCache()) for _ in model.layers], []
    for part in np.split(x, cuts, axis=1):
        outs.append(model(part, None if outs else memory, caches=caches))
    np.testing.assert_allclose(np.concatenate(outs, axis=1), model(x, memory), **CLOSE)
    assert [(own.length, cross.length) for own, cross in caches] == [(7, 5)] * 2
    caches = [tuple(cache.fork() for cache in pair) for pair in caches]
    for pair in caches:
        for cache in pair:
            cache.reorder([1, 1])
    more = RNG(3).standard_normal((2, 1, WIDTH))
    np.testing.assert_allclose(model(more, caches=caches), model(np.concatenate((x[[1, 1]], more), axis=1), memory[[1, 1]])[:, -1:], **CLOSE)


def test_what_a_layer_cannot_read_is_refused_by_name():
    own, reader, cross = attention(RNG(0)), attention(RNG(0), SelfAttention.create_reader), attention(RNG(0), CrossAttention.create)
    x, full = RNG(1).standard_normal((1, 3, WIDTH)), CrossCache()
    keys = own.keys_of(x)
    cross(x, x, cache=full)
    source = GrowingCache()
    own(x, cache=source)
    for act, words in ((lambda: own(x, keys=keys), "keys: this layer has keys of its own"), (lambda: reader(x), "keys: this layer has none"),
                       (lambda: reader(x, keys=keys, cache=SharedCache(source)), "a SharedCache instead"),
                       (lambda: reader.keys_of(x), "keys_of: this layer has no keys"), (lambda: cross(x), "memory: expected an array"),
                       (lambda: cross(x, x, cache=full), "k: this cache already holds a memory of 3 tokens"), (lambda: cross(x, cache=CrossCache()), "is empty"),
                       (lambda: own(x, cache=source, causal=False), "causal: a layer with a cache is always causal, got False")):
        with pytest.raises(ValueError, match=words):
            act()
    assert (source.length, full.length) == (3, 3)


@pytest.mark.parametrize("made", [GrowingCache, partial(FixedCache, 9), partial(RingCache, 9), PagePool(16, 4).sequence, BatchCache,
                                  lambda: SharedCache(GrowingCache())])
def test_a_memory_is_not_read_through_a_causal_cache(made):
    cross, x = attention(RNG(0), CrossAttention.create), RNG(1).standard_normal((1, 3, WIDTH))
    with pytest.raises(TypeError, match=r"cache: expected a CrossCache, .* a \w+Cache is causal"):
        cross(x, x, cache=made())
    memory = CrossCache()
    first = cross(x, x, cache=memory)
    np.testing.assert_array_equal(cross(x, cache=SharedCache(memory)), first)


@pytest.mark.parametrize("kind", ["self", "cross", "latent"])
def test_what_is_no_cache_is_refused_by_type(kind):
    layer = {"self": attention(RNG(0)), "cross": attention(RNG(0), CrossAttention.create), "latent": LATENT}[kind]
    for thing, name in ((3, "int"), ({}, "dict"), (GrowingCache, "the class GrowingCache"), ([GrowingCache()], "list")):
        with pytest.raises(TypeError, match=f"cache: expected a cache, got {name}"):
            layer(RNG(1).standard_normal((1, 3, WIDTH)), cache=thing)


def test_a_shared_ring_needs_the_slack_of_a_chunk():
    own, reader = attention(RNG(0)), attention(RNG(2), SelfAttention.create_reader)
    x = RNG(1).standard_normal((1, 9, WIDTH))
    options = {"causal": True, "window": (3, 0)}
    want = reader(own(x, **options), keys=own.keys_of(x), **options)
    source, tight = RingCache(4, slack=2), RingCache(4, slack=1)
    outs = [reader(own(part, cache=source), cache=SharedCache(source)) for part in np.split(x, 3, axis=1)]
    np.testing.assert_allclose(np.concatenate(outs, axis=1), want, **CLOSE)
    for part in np.split(x, 3, axis=1)[:2]:
        out = own(part, cache=tight)
    with pytest.raises(ValueError, match=r"q: position 0 is seen and no longer held, .* a ring with more slack holds more"):
        reader(out, cache=SharedCache(tight))


@pytest.mark.parametrize(("layer", "cache"), [(attention(RNG(0), mechanism=definitions.attention), GrowingCache), (LATENT, LatentCache)])
def test_options_of_a_layer_reach_its_cache(layer, cache):
    cache, x = cache(), RNG(1).standard_normal((1, 6, WIDTH))
    outs = [layer(part, cache=cache, window=(1, 0), causal=True) for part in np.split(x, 3, axis=1)]
    want = layer(x, window=(1, 0), causal=True)
    np.testing.assert_allclose(np.concatenate(outs, axis=1), want, **CLOSE)
    assert np.abs(layer(x, causal=True) - want).max() > 1e-6


@pytest.mark.parametrize("layer", [LATENT, attention(RNG(0))], ids=["latent", "own keys"])
def test_positions_place_queries_and_keys_alike(layer):
    x, near = RNG(1).standard_normal((2, 5, WIDTH)), {"rtol": 1e-13, "atol": 1e-14}
    plain = layer(x, causal=True)
    np.testing.assert_allclose(layer(x, causal=True, positions=np.arange(5) + 70), plain, **near)
    assert np.abs(layer(x, causal=True, positions=3 * np.arange(5)) - plain).max() > 1e-3
