"""Any history of any cache, against a Python list of all tokens and one full forward over it."""

import gc

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule, run_state_machine_as_test

from tinyattn import definitions
from tinyattn.caches import CapacityError, PagePool
from tinyattn.caches.tape import NEVER
from tinyattn.catalog.caches import ROWS, find
from tinyattn.catalog.latent import ABSORBED
from tinyattn.laws.budget import measure
from tinyattn.laws.oracles.caches import in_codes, keeping, voted
from tinyattn.laws.problem import Problem
from tinyattn.laws.score import plain
from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.broken.cache_stored import Sharing

HEADS, KV_HEADS, HEAD_DIM, VALUE_DIM, NOPE = 4, 2, 4, 3, 2
WEIGHTS = {"w_uk": np.random.default_rng(1).standard_normal((HEADS, HEAD_DIM, NOPE)),
           "w_uv": np.random.default_rng(2).standard_normal((HEADS, HEAD_DIM, 5))}
SEEDS, SIZES = st.integers(0, 2 ** 32), st.sampled_from([0, 1, 1, 2, 3, 5, 9])
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
    return cache.length, [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in cache._arrays().items()]


class CacheMachine(RuleBasedStateMachine):
    row = ROWS[0]
    sequences = Bundle("sequences")

    @initialize()
    def made(self):
        self.pool = PagePool(40, 3)
        self.live = []

    def drawn(self, seed, n, rows):
        rng, latent = np.random.default_rng(seed), self.row.name == "LatentCache"
        shapes = ((rows, HEADS, n, NOPE + VALUE_DIM), (rows, n, HEAD_DIM), (rows, n, VALUE_DIM)) if latent else (
            (rows, HEADS, n, HEAD_DIM), (rows, KV_HEADS, n, HEAD_DIM), (rows, KV_HEADS, n, VALUE_DIM))
        q, k, v = (rng.standard_normal(shape) for shape in shapes)
        if rng.random() < 0.2:
            k, v = k * 0, v * 0
        return q, k, v

    def put(self, sequence, k, v):
        getattr(sequence.cache, "source", sequence.cache).append(k, v)

    def stepped(self, sequence, q, k, v):
        options = WEIGHTS if self.row.name == "LatentCache" else {}
        if self.row.name == "SharedCache":
            self.put(sequence, k, v)
            return sequence.cache.step(q)
        if self.row.name == "CrossCache" and sequence.tokens:
            return sequence.cache.step(q)
        return sequence.cache.step(q, k, v, **options)

    def told(self, sequence, q, k, v):
        n = k.shape[-2]
        if self.row.name == "CrossCache" and sequence.tokens:
            return
        sequence.tokens += [tuple(x[..., i, :] for x in (q, k, v)) for i in range(n)]
        sequence.longest = max(sequence.longest, len(sequence.tokens))
        if sequence.first is None and n:
            sequence.first = n
        if self.row.name.startswith("QuantizedCache"):
            group, residual = self.row.settings["group"], self.row.settings["residual"]
            sequence.coded = max(sequence.coded, (len(sequence.tokens) - residual) // group * group)

    def check(self, sequence, out, q, coded):
        """The last queries of all tokens, in one full forward, are what came out, within the budget of that forward."""
        n = q.shape[-2]
        tokens = [np.stack([token[i] for token in sequence.tokens], axis=-2) for i in range(3)]
        problem, mechanism = Problem(*tokens, {"causal": True}), self.row.mechanism
        honest = mechanism
        if self.row.name == "LatentCache":
            problem, honest = Problem(tokens[0][..., :NOPE], *tokens[1:], {"causal": True, "q_rope": tokens[0][..., NOPE:], **WEIGHTS}), ABSORBED
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
        budget = measure((plain,), honest, problem, np.random.default_rng(0), reorder=False)
        truth = budget.truth if mechanism is honest else (problem.call(mechanism),)
        allowed = type(budget)(tuple(x[..., x.shape[-2] - n :, :] for x in truth), tuple(x[..., x.shape[-2] - n :, :] for x in budget.allowed))
        assert allowed.spent((out,)) <= 1.0

    @rule(target=sequences)
    def begin(self):
        self.live.append(Sequence(self.make(self.pool)))
        return self.live[-1]

    @rule(sequence=sequences, n=SIZES, seed=SEEDS)
    def append(self, sequence, n, seed):
        q, k, v = self.drawn(seed, n, sequence.rows)
        before = digest(sequence.cache)
        refused = self.row.name in FORGETS or (self.row.name == "CrossCache" and before[1])
        try:
            self.put(sequence, k, v)
        except CapacityError:
            assert digest(sequence.cache) == before
            return
        except ValueError:
            assert refused
            assert digest(sequence.cache) == before
            return
        assert not refused
        self.told(sequence, q, k, v)

    @rule(sequence=sequences, n=SIZES, seed=SEEDS)
    def step(self, sequence, n, seed):
        q, k, v = self.drawn(seed, n, sequence.rows)
        before, coded = digest(sequence.cache), sequence.coded
        if self.row.name == "CrossCache" and before[1] and not sequence.tokens:
            return  # a memory of no tokens
        try:
            out = self.stepped(sequence, q, k, v)
        except CapacityError:
            assert digest(sequence.cache) == before
            return
        self.told(sequence, q, k, v)
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
        q, _, _ = self.drawn(seed, 1, sequence.rows)
        if self.row.name != "CrossCache":
            sequence.tokens[-1] = (q[..., 0, :], *sequence.tokens[-1][1:])
        options = WEIGHTS if self.row.name == "LatentCache" else {}
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
        assert len(cache._kept()[0] if hasattr(cache, "_kept") and self.row.name != "BatchCache" else cache.rows) == len(rows)

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
        q, k, v = self.drawn(0, 2, sequence.rows)
        wrong = {"heads": (np.repeat(k, 2, axis=-3), np.repeat(v, 2, axis=-3)), "dim": (k[..., 1:], v),
                 "rows": (k[:, :, 1:] if k.ndim == 3 else np.repeat(k, 3, axis=0), np.repeat(v, 3, axis=0)),
                 "dtype": (k.astype(np.float32), v.astype(np.float32)), "values": (k, v[..., 1:, :]), "kind": (k.tolist(), v),
                 "queries": (k[..., :1, :], v[..., :1, :])}[what]
        before = digest(sequence.cache)
        with pytest.raises((ValueError, TypeError)):
            self.stepped_wrongly(sequence, q, *wrong)
        if what != "queries":
            with pytest.raises((ValueError, TypeError)):
                sequence.cache.append(*wrong)
        assert digest(sequence.cache) == before

    def stepped_wrongly(self, sequence, q, k, v):
        sequence.cache.step(q, k, v, **(WEIGHTS if self.row.name == "LatentCache" else {}))

    @rule(sequence=sequences)
    def poison(self, sequence):
        """What nobody has written may hold anything."""
        for cache in getattr(sequence.cache, "rows", None) or (getattr(sequence.cache, "source", sequence.cache),):
            held = cache._held
            for tape in getattr(held, "tapes", {}).values():
                if tape.free != NEVER and tape.buffer.dtype.kind == "f":
                    tape.buffer[..., max(tape.stop, tape.free) :, :] = np.nan
            if self.row.name == "PagedCache" and held is not None:
                unused = [page for page in held.book.free if page not in held.book.names]
                held.book.keys[unused] = held.book.values[unused] = np.nan
                for page in held.table.pages[:, -1:].ravel():
                    if held.book.references[page] == 1 and held.length % self.pool.page_size:
                        held.book.keys[page, :, held.length % self.pool.page_size :] = np.nan
                        held.book.values[page, :, held.length % self.pool.page_size :] = np.nan

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


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_any_history_is_that_of_a_list(row, tmp_path):
    def make(pool):
        return pool.sequence() if row.name == "PagedCache" else row.made()

    run(row, make, tmp_path, max_examples=settings.default.max_examples // 2)


WRONG = [twin for twin in MUSEUM if twin.name in ("fork_writes_on", "ring_counts_the_others", "shared_page_written", "scales_of_the_next_group")]


@pytest.mark.parametrize("twin", WRONG, ids=[twin.name for twin in WRONG])
def test_a_wrong_cache_is_found_out(twin, tmp_path):
    def make(pool):
        return Sharing(pool) if twin.row == "PagedCache" else twin.cache()

    with pytest.raises(BaseException) as found:
        run(find(twin.row), make, tmp_path, max_examples=60, phases=[Phase.generate])
    assert "spent" in str(found.getrepr(style="short"))


def run(row, make, tmp_path, **given):
    machine = type("Machine", (CacheMachine,), {"row": row, "make": staticmethod(make), "path": tmp_path / "cache"})
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=25, **given))
