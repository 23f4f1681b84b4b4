"""Any act on any of several sequences: the rules by which a history of a cache is drawn."""

import gc
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from tinyattn.caches import CapacityError, PagePool

_spec = importlib.util.spec_from_file_location("listed", Path(__file__).with_name("listed.py"))
listed = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(listed)
FORGETS, HEAD_DIM, KV_HEADS, VALUE_DIM = listed.FORGETS, listed.HEAD_DIM, listed.KV_HEADS, listed.VALUE_DIM
digest = listed.digest
SEEDS, SIZES = st.integers(0, 2 ** 32), st.sampled_from([0, 1, 1, 2, 3, 5, 9])


class CacheMachine(listed.Listing, RuleBasedStateMachine):
    sequences = Bundle("sequences")

    @initialize()
    def made(self):
        self.pool = PagePool(40, 3)
        self.live = []

    @rule(target=sequences)
    def begin(self):
        self.live.append(listed.Sequence(self.make(self.pool)))
        return self.live[-1]

    @rule(sequence=sequences, n=SIZES, seed=SEEDS)
    def append(self, sequence, n, seed):
        q, k, v, *more = self.drawn(seed, n, sequence.rows)
        before = digest(sequence.cache)
        refused = self.row.name in FORGETS or (self.row.name == "CrossCache" and before[1])
        try:
            self.put(sequence, k, v, *more)
        except CapacityError:
            assert digest(sequence.cache) == before
            return
        except ValueError:
            assert refused
            assert digest(sequence.cache) == before
            return
        assert not refused
        self.told(sequence, q, k, v, *more)

    @rule(sequence=sequences, n=SIZES, seed=SEEDS)
    def step(self, sequence, n, seed):
        q, k, v, *more = self.drawn(seed, n, sequence.rows)
        before, coded = digest(sequence.cache), sequence.coded
        if self.row.name == "CrossCache" and before[1] and not sequence.tokens:
            return  # a memory of no tokens
        try:
            out = self.stepped(sequence, q, k, v, *more)
        except CapacityError:
            assert digest(sequence.cache) == before
            return
        self.told(sequence, q, k, v, *more)
        if sequence.tokens:
            self.check(sequence, out, q, coded)
        else:
            assert out.shape[-2] == 0

    @rule(sequence=sequences, seed=SEEDS)
    def decode(self, sequence, seed):
        self.step(sequence, 1, seed)

    @rule(sequence=sequences, seed=SEEDS)
    def attend(self, sequence, seed):
        if not sequence.tokens:
            return
        drawn = self.drawn(seed, 1, sequence.rows)
        q, options = drawn[0], self.asked(drawn[3:])
        if self.row.name != "CrossCache":
            names = ("q", "k", "v", *listed.PER_TOKEN.get(self.row.name, ()))
            asks = [name not in {"k", "v"} | listed.STORED for name in names]
            sequence.tokens[-1] = tuple(x[..., 0, :] if new else old for x, old, new in zip(drawn, sequence.tokens[-1], asks, strict=True))
        try:
            out = sequence.cache.attend(q, **options)
        except ValueError:
            assert self.row.name in FORGETS
            assert sequence.cache.view()[0].shape[-2] < len(sequence.tokens)
            return
        np.testing.assert_array_equal(sequence.cache.attend(q, **options), out)
        if self.row.name not in FORGETS:
            self.check(sequence, out, q, sequence.coded)

    @rule(sequence=sequences, back=st.integers(0, 6), all=st.integers(0, 5))
    def truncate(self, sequence, back, all):
        cache = getattr(sequence.cache, "source", sequence.cache)
        length = max(0, len(sequence.tokens) - back) if all else 0
        before = digest(cache)
        slack = self.row.settings.get("slack", self.row.settings.get("residual", 0))
        bound = self.row.name in (*FORGETS, "CrossCache") or any(name in self.row.settings for name in ("slack", "residual"))
        try:
            cache.truncate(length)
        except ValueError:
            assert bound
            assert 0 < length < sequence.longest - slack or slack == 0
            assert digest(cache) == before
            return
        del sequence.tokens[length:]
        if length == 0:
            sequence.longest, sequence.first, sequence.coded = 0, None, 0
        sequence.coded = min(sequence.coded, length)

    @rule(target=sequences, sequence=sequences)
    def fork(self, sequence):
        self.live.append(sequence.twin(sequence.cache.fork()))
        return self.live[-1]

    @rule(target=sequences, sequence=sequences, seed=SEEDS)
    def fork_and_write_to_both(self, sequence, seed):
        child = self.fork(sequence)
        for i, one in enumerate((child, sequence, sequence, child)):
            self.step(one, 1, seed + i)
        return child

    @rule(sequence=sequences, indices=st.lists(st.integers(0, 1), min_size=1, max_size=3))
    def reorder(self, sequence, indices):
        if not sequence.tokens:
            return
        cache = getattr(sequence.cache, "source", sequence.cache)
        rows = [min(i, sequence.rows - 1) for i in indices]
        cache.reorder(rows)
        sequence.rows = len(rows)
        sequence.tokens = [tuple(x[rows] for x in token) for token in sequence.tokens]
        if self.row.name == "CrossCache":
            return
        assert len(cache._held.like[0] if self.row.name != "BatchCache" else cache.rows) == len(rows)

    @rule(sequence=sequences)
    def view(self, sequence):
        if not sequence.tokens or not hasattr(sequence.cache, "view"):
            return
        keys, values, positions = sequence.cache.view()
        assert not keys.flags.writeable
        if self.row.name in FORGETS or self.row.name.startswith(("Quantized", "RingCache, re-based")):
            assert positions.max() == len(sequence.tokens) - 1
            return
        for got, i in ((keys, 1), (values, 2)):
            want = np.stack([sequence.tokens[p][i] for p in positions], axis=-2)
            np.testing.assert_array_equal(got, want[:, None] if self.row.name == "LatentCache" else want)

    @rule(sequence=sequences)
    def save_and_load(self, sequence):
        cache = getattr(sequence.cache, "source", sequence.cache)
        if not sequence.tokens or self.row.name == "SharedCache":
            return
        given = {name: x for name, x in self.row.settings.items() if callable(x) or name == "policy"}
        if self.row.name == "PagedCache":
            given = {"pool": self.pool}
        before = digest(cache)
        cache.save(self.path)
        try:
            loaded = type(cache).load(self.path, **given)
        except CapacityError:
            return
        assert digest(loaded) == before
        if self.row.name == "PagedCache":
            cache.free()
        sequence.cache = loaded

    @rule(sequence=sequences, what=st.sampled_from(["heads", "dim", "rows", "dtype", "values", "kind", "queries"]))
    def fail_on_purpose(self, sequence, what):
        if not sequence.tokens:
            return
        q, k, v, *more = self.drawn(0, 2, sequence.rows)
        wrong = {"heads": (np.repeat(k, 2, axis=-3), np.repeat(v, 2, axis=-3)), "dim": (k[..., 1:], v),
                 "rows": (k[:, :, 1:] if k.ndim == 3 else np.repeat(k, 3, axis=0), np.repeat(v, 3, axis=0)),
                 "dtype": (k.astype(np.float32), v.astype(np.float32)), "values": (k, v[..., 1:, :]), "kind": (k.tolist(), v),
                 "queries": (k[..., :1, :], v[..., :1, :])}[what]
        before = digest(sequence.cache)
        with pytest.raises((ValueError, TypeError)):
            sequence.cache.step(q, *wrong, **self.stored(more), **self.asked(more))
        if what != "queries":
            with pytest.raises((ValueError, TypeError)):
                sequence.cache.append(*wrong, **self.stored(more))
        assert digest(sequence.cache) == before

    @rule(sequence=sequences)
    def poison(self, sequence):
        for cache in getattr(sequence.cache, "rows", None) or (getattr(sequence.cache, "source", sequence.cache),):
            listed.poison(cache)

    @rule(sequence=consumes(sequences))
    def free(self, sequence):
        self.live.remove(sequence)
        if self.row.name == "PagedCache":
            sequence.cache.free()
            for act in (sequence.cache.view, sequence.cache.free, lambda: sequence.cache.length, sequence.cache.fork):
                with pytest.raises(ValueError, match="it was freed"):
                    act()

    @rule(target=sequences, sequence=sequences)
    def publish_and_begin_alike(self, sequence):
        if self.row.name != "PagedCache":
            return self.begin()
        ids = [hash(token[1].tobytes() + token[2].tobytes()) % 2 ** 31 for token in sequence.tokens]
        if sequence.rows == 1 and ids:
            sequence.cache.publish(ids)
        other = sequence.twin(self.pool.sequence(ids))
        assert sequence.rows > 1 or not ids or other.cache.length == len(ids) // 3 * 3
        del other.tokens[other.cache.length :]
        self.live.append(other)
        return other

    @invariant()
    def lengths_are_those_of_the_lists(self):
        for sequence in getattr(self, "live", []):
            if self.row.name != "CrossCache":
                assert sequence.cache.length == len(sequence.tokens)
            assert sequence.cache.nbytes <= sequence.cache.allocated or self.row.name == "PagedCache"

    @invariant()
    def every_page_is_used_or_free(self):
        if self.row.name != "PagedCache" or not hasattr(self, "live"):
            return
        book = self.pool._book
        tables = [sequence.cache._held.table.pages.ravel() for sequence in self.live if sequence.cache._held is not None]
        counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *tables]), minlength=self.pool.pages)
        np.testing.assert_array_equal(book.references, counts)
        assert self.pool.used_pages + self.pool.free_pages == self.pool.pages
        assert sorted(book.free) == np.flatnonzero(counts == 0).tolist()
        for sequence in self.live:
            if sequence.cache._held is not None:
                assert sequence.cache._held.table.pages.shape[1] == -(-sequence.cache.length // 3)
                assert sequence.cache.allocated <= (sequence.cache.length + 2) * sequence.rows * KV_HEADS * (HEAD_DIM + VALUE_DIM) * 8

    def teardown(self):
        for sequence in getattr(self, "live", []):
            if self.row.name == "PagedCache":
                sequence.cache.free()
        if hasattr(self, "pool"):
            assert self.pool.free_pages == self.pool.pages
            assert not self.pool.references.any()
        gc.collect(0)
