"""A batch of rows of different lengths: every row gives what it gives alone, whatever the mechanism, the padding and the pool."""

from functools import partial

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import BatchCache, EvictingCache, GrowingCache, HeavyHitters, PagePool, RingCache, SharedCache, StateCache
from tinyattn.catalog import ROWS
from tinyattn.engine.tree import map_tree
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.ops import masks
from tinyattn.ops.bias import alibi

RNG = np.random.default_rng
MIXERS = [row for row in ROWS if row.mixer is not None]
LENGTHS, LATER = (5, 2, 7), (1, 0, 2)


def model(row):
    """A float64 decoder of one mechanism, its weights large enough that what it says depends on what it read."""
    config = DecoderConfig(vocab=64, width=16, layers=2, heads=4, kv_heads=2, hidden=16, context=64)
    decoder = Decoder.create(config, RNG(0), **row.mixing).astype(np.float64)
    return map_tree(lambda a: a * 12.0 if isinstance(a, np.ndarray) and a.ndim > 1 else a, decoder)


def padded(texts, side):
    """Texts side by side in one array, and where in it each of them is."""
    n = max(len(text) for text in texts)
    places = [slice(n - len(text), n) if side == "left" else slice(0, len(text)) for text in texts]
    out = np.zeros((len(texts), n), np.int64)
    for row, text, place in zip(out, texts, places, strict=True):
        row[place] = text
    return out, places


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("row", MIXERS, ids=[row.name for row in MIXERS])
def test_a_row_of_any_mechanism_is_read_as_if_it_were_alone(row, side):
    decoder = model(row)
    texts = [RNG(n).integers(0, 64, n + more) for n, more in zip(LENGTHS, LATER, strict=True)]
    held = [BatchCache(LENGTHS, row.cache, padding=side) for _ in decoder.blocks]
    chunks = [padded([text[:n] for text, n in zip(texts, LENGTHS, strict=True)], side),
              padded([text[n:] for text, n in zip(texts, LENGTHS, strict=True)], side)]
    found = []
    for chunk, places in chunks:
        positions = held[0].positions(chunk.shape[1])
        if found:  # the lengths of a later chunk are told to the caches, as a layer does not know them
            held = [BatchCache.of(cache.rows, LATER, padding=side) for cache in held]
            positions = held[0].positions(chunk.shape[1])
        logits = decoder(chunk, caches=held, positions=positions)
        found.append([logits[b, place] for b, place in enumerate(places)])
    for b, text in enumerate(texts):
        alone = [row.cache() for _ in decoder.blocks]
        want = np.concatenate([decoder(text[None, :LENGTHS[b]], caches=alone)[0], decoder(text[None, LENGTHS[b]:], caches=alone)[0]])
        np.testing.assert_allclose(np.concatenate([part[b] for part in found]), want, rtol=1e-12, atol=1e-13)
    assert [cache.lengths.tolist() for cache in held] == [[6, 2, 9]] * 2


def drawn(n=6, rows=3, seed=0):
    return [RNG(seed + i).standard_normal(shape) for i, shape in enumerate(((rows, 4, n, 4), (rows, 2, n, 4), (rows, 2, n, 3)))]


@pytest.mark.parametrize("pattern", [masks.padding(np.array([2, 6, 4])), masks.documents(np.arange(18).reshape(3, 6) // 2),
                                     masks.sliding_window(2)], ids=["padding", "documents", "the same for all"])
def test_a_pattern_of_each_sequence_is_that_of_its_row(pattern):
    q, k, v = drawn()
    out = BatchCache([6, 3, 5]).step(q, k, v, mask=pattern, bias=alibi(np.array([0.1, 0.2, 0.3, 0.4])))
    want = definitions.attention(q, k, v, mask=pattern, causal=True, bias=alibi(np.array([0.1, 0.2, 0.3, 0.4])))
    for b, n in enumerate((6, 3, 5)):
        np.testing.assert_allclose(out[b, :, :n], want[b, :, :n], rtol=1e-13, atol=1e-14)
        assert not out[b, :, n:].any()


def test_a_pattern_of_other_sequences_is_refused():
    q, k, v = drawn()
    with pytest.raises(ValueError, match=r"mask: expected a pattern of 3 sequences, got one of 2"):
        BatchCache().step(q, k, v, mask=masks.padding(np.array([2, 6])))


@pytest.mark.parametrize(("gate", "words"), [(np.zeros((2, 4, 6)), "3 rows and 6 tokens"), (np.zeros((3, 4, 5)), r"got shape \(3, 4, 5\)"),
                                             (np.zeros((3, 4, 6, 1, 1)), "3 rows")])
def test_gates_that_do_not_fit_the_rows_are_refused_and_nothing_is_stored(gate, words):
    q, k, v = drawn()
    cache = BatchCache(make=partial(GrowingCache, lambda q, k, v, *, causal, gate: v))
    with pytest.raises(ValueError, match=f"gate: expected.*{words}"):
        cache.step(q, k, v, gate=gate)
    assert cache.length == 0


def test_gates_that_are_the_same_for_all_rows_or_tokens_are_given_to_each():
    q, k, v = drawn()
    decays = -RNG(5).random((3, 2, 6))
    mechanism = definitions.simple_gated_linear_attention_chunked
    for given, full in ((decays, decays), (decays[:1], np.repeat(decays[:1], 3, axis=0))):
        out = BatchCache([6, 2, 4], partial(StateCache, mechanism)).step(q, k, v, log_decay=given)
        for b, n in enumerate((6, 2, 4)):
            want = mechanism(*(x[b : b + 1, :, :n] for x in (q, k, v)), log_decay=full[b : b + 1, :, :n])
            np.testing.assert_allclose(out[b : b + 1, :, :n], want, rtol=1e-13, atol=1e-14)


def test_rows_that_are_there_already_go_on_from_what_they_hold():
    q, k, v = drawn(8)
    rows = [GrowingCache() for _ in range(3)]
    for b, (row, n) in enumerate(zip(rows, (0, 3, 5), strict=True)):
        row.append(k[b : b + 1, :, :n], v[b : b + 1, :, :n])
    batch = BatchCache.of(rows, [3, 2, 1])
    np.testing.assert_array_equal(batch.positions(3), [[0, 1, 2], [3, 4, 5], [5, 6, 7]])
    starts = np.array([0, 3, 5])
    chunk = [np.stack([x[b, :, start : start + 3] for b, start in enumerate(starts)]) for x in (q, k, v)]
    out = batch.step(*chunk)
    want = definitions.attention(q, k, v, causal=True)
    for b, (start, n) in enumerate(zip(starts, (3, 2, 1), strict=True)):
        np.testing.assert_allclose(out[b, :, :n], want[b, :, start : start + n], rtol=1e-13, atol=1e-14)
    assert batch.lengths.tolist() == [3, 5, 6]
    assert [row.length for row in rows] == [0, 3, 5]


@pytest.mark.parametrize("rows", [[], None])
def test_rows_that_are_none_or_twice_the_same_are_refused(rows):
    with pytest.raises(ValueError, match="rows: expected at least one cache and each only once"):
        BatchCache.of([GrowingCache()] * 2 if rows is None else rows)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_layer_that_reads_a_batch_reads_behind_its_own_tokens(side):
    q, k, v = drawn(3)
    source = BatchCache([3, 1, 2], padding=side)
    reader = SharedCache(source)
    first = source.step(q, k, v)
    np.testing.assert_array_equal(reader.step(q), first)
    again = source.step(q, k, v, lengths=[1, 3, 0])
    np.testing.assert_array_equal(reader.step(q), again)
    assert source.lengths.tolist() == [4, 4, 2]


def test_a_batch_in_a_pool_takes_no_page_that_its_rows_would_not_take_alone():
    q, k, v = drawn(10)
    pool = PagePool(9, 4)  # three rows of ten tokens fill it to the last page
    batch = BatchCache(make=pool.sequence)
    outs = [batch.step(*(x[:, :, t : t + 1] for x in (q, k, v))) for t in range(10)]
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), definitions.attention(q, k, v, causal=True), rtol=1e-13, atol=1e-14)
    assert pool.free_pages == 0
    del batch
    assert pool.free_pages == 9


def test_a_step_that_fails_in_a_later_row_leaves_the_pages_of_the_earlier_ones():
    q, k, v = drawn(9)
    pool = PagePool(5, 4)
    batch = BatchCache(make=pool.sequence)
    batch.step(*(x[:, :, :4] for x in (q, k, v)))
    before = [row.view()[0].tobytes() for row in batch.rows]
    kept = batch.rows  # somebody else may still read the rows
    with pytest.raises(ValueError, match="1 pages are needed, 0 of 5 are free"):
        batch.step(*(x[:, :, 4:6] for x in (q, k, v)))
    assert (batch.lengths.tolist(), pool.free_pages) == ([4, 4, 4], 2)
    batch.step(*(x[:, :, 4:6] for x in (q, k, v)), lengths=[2, 2, 0])
    batch.truncate(4)
    batch.step(*(x[:, :, 6:7] for x in (q, k, v)), lengths=[1, 1, 0])
    assert [row.view()[0].tobytes() for row in kept] == before


def test_a_row_that_somebody_kept_is_not_written_over_by_the_batch():
    _, k, v = drawn(8)
    pool = PagePool(12, 4)
    batch = BatchCache(make=pool.sequence)
    batch.append(k[:, :, :3], v[:, :, :3])
    kept = batch.rows
    before = [row.view()[0].tobytes() for row in kept]
    batch.append(k[:, :, 3:4], v[:, :, 3:4])  # behind the kept rows' tokens, into their page
    assert pool.used_pages == 3
    batch.truncate(1)
    batch.append(k[:, :, 4:6], v[:, :, 4:6])  # now over them: into a copy
    assert [row.view()[0].tobytes() for row in kept] == before
    np.testing.assert_array_equal(batch.rows[0].view()[0], np.concatenate((k[:1, :, :1], k[:1, :, 4:6]), axis=2))
    kept = batch.rows
    before = [row.view()[0].tobytes() for row in kept]
    batch.truncate(1)
    batch.rows[0].append(k[:1, :, 6:7], v[:1, :, 6:7])  # a row by itself, over the tokens of the one whose place it took
    assert [row.view()[0].tobytes() for row in kept] == before


@pytest.mark.parametrize("make", [partial(RingCache, 2, keep_first=1), partial(EvictingCache, HeavyHitters(1, 1))])
def test_caches_that_forget_do_so_in_each_row_by_itself(make):
    q, k, v = drawn()
    out = BatchCache([6, 3, 5], make).step(q, k, v)
    for b, n in enumerate((6, 3, 5)):
        np.testing.assert_array_equal(out[b : b + 1, :, :n], make().step(*(x[b : b + 1, :, :n] for x in (q, k, v))))
