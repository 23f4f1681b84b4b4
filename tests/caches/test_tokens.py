"""Keys, values and gates per token: what every operation of a cache leaves is what one call over all tokens gives."""

from functools import partial

import numpy as np
import pytest

from tinyattn import definitions, fastest
from tinyattn.caches import BatchCache
from tinyattn.caches.tokens import TokenCache
from tinyattn.catalog.caches import find
from tinyattn.catalog.calls import always_causal
from tinyattn.laws.draw.relative import WITH_GATES
from tinyattn.laws.problem import Sizes
from tinyattn.ops.files import safetensors

PATH = always_causal(definitions.path_attention)
SIZES = Sizes((3,), 2, 2, 8, 8, head_dim=1, value_dim=1)  # a direction has as many numbers as a strength


@pytest.fixture
def problem():
    return WITH_GATES(np.random.default_rng(0), SIZES)


def whole(p):
    return p.call(definitions.path_attention)


def step(cache, p):
    return p.call(cache.step)


def test_drafts_are_removed_and_rows_are_moved_with_their_gates(problem):
    cache, first, second = TokenCache(PATH), problem.tokens(slice(0, 5)), problem.tokens(slice(5, None))
    step(cache, first)
    step(cache, second.but(beta=0.5 * second.options["beta"]))
    cache.truncate(5)
    child = cache.fork()
    np.testing.assert_allclose(step(cache, second), whole(problem)[..., 5:, :], rtol=1e-12)
    rows = np.array([2, 0, 0])
    child.reorder(rows)
    moved = problem.but(q=problem.q[rows], k=problem.k[rows], v=problem.v[rows], **{name: problem.options[name][rows] for name in ("w", "beta", "log_forget")})
    np.testing.assert_allclose(step(child, moved.tokens(slice(5, None))), whole(moved)[..., 5:, :], rtol=1e-12)


def test_a_file_holds_the_gates(problem, tmp_path):
    cache = TokenCache(PATH)
    step(cache, problem.tokens(slice(0, 7)))
    cache.save(tmp_path / "c")
    loaded = TokenCache.load(tmp_path / "c", mechanism=PATH)
    assert loaded.nbytes == cache.nbytes == 7 * 3 * (2 * (1 + 1 + 1 + 1) + 4) * 8
    np.testing.assert_array_equal(step(loaded, problem.tokens(slice(7, 8))), step(cache, problem.tokens(slice(7, 8))))


def test_rows_of_a_batch_are_alone(problem):
    lengths = [8, 3, 5]
    out = problem.call(BatchCache(lengths, partial(TokenCache, PATH)).step)
    for row, n in enumerate(lengths):
        one = problem.but(q=problem.q[row], k=problem.k[row], v=problem.v[row], **{name: problem.options[name][row] for name in ("w", "beta", "log_forget")})
        np.testing.assert_allclose(out[row, :, :n], whole(one.tokens(slice(n))), rtol=1e-12)
        assert not out[row, :, n:].any()


def test_a_query_reads_again_what_was_appended(problem):
    cache = TokenCache(PATH)
    gates = {name: problem.options[name] for name in ("w", "beta", "log_forget")}
    cache.append(problem.k, problem.v, **gates)
    scale = {} if problem.options.get("scale") is None else {"scale": problem.options["scale"]}
    np.testing.assert_allclose(cache.attend(problem.q[..., -2:, :], **scale), whole(problem)[..., -2:, :], rtol=1e-12)


@pytest.mark.parametrize(("change", "words"), [
    ({"beta": None}, "beta"), ({"beta": np.ones((3, 2, 5))}, "beta: expected one entry"), ({"log_forget": None}, "log_forget: expected with every token"),
    ({"w": np.ones((3, 1, 2, 1))}, "w: expected the shape"), ({"beta": np.ones((3, 2, 2), np.float32)}, "beta: expected the shape and dtype"),
    ({"beta": np.ones(2)}, "beta: expected one entry")])
def test_other_gates_than_before_are_refused_and_nothing_is_stored(problem, change, words):
    cache, some, more = TokenCache(PATH), problem.tokens(slice(0, 4)), problem.tokens(slice(4, 6))
    step(cache, some)
    with pytest.raises((ValueError, TypeError), match=words):
        step(cache, more.but(**change))
    assert cache.length == 4
    np.testing.assert_allclose(step(cache, more), whole(problem.tokens(slice(0, 6)))[..., 4:, :], rtol=1e-12)


@pytest.mark.parametrize("mechanism", [definitions.path_attention, fastest.path_attention, partial(definitions.path_attention, scale=None)])
def test_a_definition_that_is_causal_by_its_formula_is_taken_as_it_is(problem, mechanism):
    np.testing.assert_allclose(step(TokenCache(mechanism), problem), whole(problem), rtol=1e-12)
    with pytest.raises(TypeError, match="causal is set by the cache itself"):
        step(TokenCache(mechanism), problem.but(causal=True))


RNG = np.random.default_rng(1)
Q, K, V = (RNG.standard_normal((3, heads, 6, dim)) for heads, dim in ((4, 4), (2, 4), (2, 5)))
INDEX = {"q_index": RNG.standard_normal((3, 3, 6, 6)), "k_index": RNG.standard_normal((3, 6, 6)), "weights": RNG.standard_normal((3, 3, 6))}


def part(a, b):
    """Tokens a to b of all arrays; the keys of the indexer have as many channels as there are tokens, and no heads axis."""
    q, k, v = (x[..., a:b, :] for x in (Q, K, V))
    return q, k, v, {"q_index": INDEX["q_index"][..., a:b, :], "k_index": INDEX["k_index"][:, a:b], "weights": INDEX["weights"][..., a:b]}


@pytest.mark.parametrize("mechanism", [definitions.deepseek_sparse_attention, fastest.deepseek_sparse_attention])
def test_the_keys_of_an_indexer_are_kept_beside_the_keys(mechanism):
    want, cache = definitions.deepseek_sparse_attention(Q, K, V, keep=2, **INDEX), TokenCache(mechanism)
    for a, b in ((0, 1), (1, 3)):
        q, k, v, index = part(a, b)
        np.testing.assert_allclose(cache.step(q, k, v, keep=2, **index), want[..., a:b, :], rtol=1e-13)
    assert cache.nbytes == 3 * find("TokenCache, keys of an indexer").nbytes(3, 2, 4, 5, 8, index_dim=6) == 3 * 3 * (2 * 9 + 6) * 8
    q, k, v, index = part(3, 6)
    cache.append(k, v, k_index=index.pop("k_index"))
    np.testing.assert_allclose(cache.attend(q, keep=2, **index), want[..., 3:, :], rtol=1e-13)
    with pytest.raises(TypeError, match="append: k_index: missing"):
        cache.append(k, v)
    with pytest.raises(ValueError, match=r"k_index: expected one entry for each of the chunk's 3 tokens, got \(3, 2, 6\)"):
        cache.append(k, v, k_index=INDEX["k_index"][:, :2])
    with pytest.raises(TypeError, match="append: unexpected option 'weights'; this cache takes k_index"):
        cache.append(k, v, weights=index["weights"], k_index=INDEX["k_index"][:, :3])
    assert cache.length == 6


def test_each_row_of_a_batch_keeps_its_own_keys_of_an_indexer():
    out = BatchCache([6, 2, 4], partial(TokenCache, fastest.deepseek_sparse_attention)).step(Q, K, V, keep=2, **INDEX)
    for row, n in enumerate((6, 2, 4)):
        q, k, v, index = part(0, n)
        alone = definitions.deepseek_sparse_attention(q[row], k[row], v[row], keep=2, **{name: x[row] for name, x in index.items()})
        np.testing.assert_allclose(out[row, :, :n], alone, rtol=1e-13)


def test_a_file_without_a_gate_that_the_mechanism_needs_is_refused(tmp_path):
    cache = TokenCache(definitions.deepseek_sparse_attention)
    cache.append(K, V, k_index=INDEX["k_index"])
    cache.save(tmp_path / "c")
    held, metadata = safetensors.load_with_metadata(tmp_path / "c")
    short = {**held, "channels.k_index": held["channels.k_index"][:, :5]}
    for arrays, words in ((short, "it has 5 of 6 tokens"), ({name: x for name, x in held.items() if "index" not in name}, "found no k_index")):
        safetensors.save(tmp_path / "other", arrays, metadata=metadata)
        with pytest.raises(ValueError, match=words):
            TokenCache.load(tmp_path / "other", mechanism=definitions.deepseek_sparse_attention)
