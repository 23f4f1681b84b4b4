"""Keys, values and gates per token: what every operation of a cache leaves is what one call over all tokens gives."""

from functools import partial

import numpy as np
import pytest

from tinyattn import definitions, fastest
from tinyattn.caches import BatchCache
from tinyattn.caches.tokens import TokenCache
from tinyattn.catalog.calls import always_causal
from tinyattn.laws.draw.relative import WITH_GATES
from tinyattn.laws.problem import Sizes

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
