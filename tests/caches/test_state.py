"""A cache of the state alone: asked without keys, cut at check-points, with gates or without."""

import importlib.util
import inspect
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import StateCache

_spec = importlib.util.spec_from_file_location("tokens", Path(__file__).with_name("tokens.py"))
tokens = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tokens)
RNG, drawn, filled = tokens.RNG, tokens.drawn, tokens.filled
CLOSE = dict(rtol=1e-13, atol=1e-14)


def test_a_state_is_asked_without_its_keys():
    asked = []

    def spy(q, k, v, **options):
        asked.append(k.shape[-2])
        return definitions.linear_attention_chunked(q, k, v, **options)

    spy.__signature__ = inspect.signature(definitions.linear_attention_chunked)
    cache, (q, _, _) = filled(StateCache(spy), 5)
    size = cache.nbytes
    cache.append(*drawn(100)[1:])
    assert cache.nbytes == size == 2 * 2 * 4 * (5 + 1) * 8
    asked.clear()
    cache.attend(q[..., :1, :])
    assert asked == [0]
    with pytest.raises(ValueError, match=r"q_len 2.*step"):
        cache.attend(q[..., :2, :])


GATED = partial(definitions.gated_delta_rule_chunked, chunk=4)


def gated(length):
    q, k, v = drawn(length)
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    return q, k, v, {"log_decay": -RNG.random((2, 2, length)), "beta": RNG.random((2, 2, length))}


def test_a_state_with_gates_is_cut_reordered_saved_and_forked(tmp_path):
    q, k, v, gates = gated(20)

    def part(cache, start, stop):
        return cache.step(*(x[..., start:stop, :] for x in (q, k, v)), **{name: gate[..., start:stop] for name, gate in gates.items()})

    full = GATED(q, k, v, **gates)
    cache = StateCache(GATED, slack=4)
    part(cache, 0, 15)
    for cut in (15, 12, 11, 9):  # check-points at 8 and 12
        cache.truncate(cut)
        np.testing.assert_allclose(part(cache.fork(), cut, 20), full[..., cut:, :], **CLOSE)
    cache.save(tmp_path / "state")
    cache = StateCache.load(tmp_path / "state", mechanism=GATED)
    cache.truncate(8)
    cache.reorder([1, 1])
    out = part(cache.fork(), 8, 9)
    cache.append(k[..., 8:9, :], v[..., 8:9, :], **{name: gate[..., 8:9] for name, gate in gates.items()})
    np.testing.assert_allclose(cache.attend(q[..., 8:9, :]), out, **CLOSE)
    np.testing.assert_allclose(out[1], full[1, :, 8:9], **CLOSE)
    with pytest.raises(ValueError, match="lengths from 8 on, got 7; slack=4"):
        cache.truncate(7)


def test_gates_where_there_are_none_are_refused():
    cache, (_, k, v) = filled(StateCache())
    with pytest.raises(ValueError, match="beta: linear_attention takes no such gate"):
        cache.append(k, v, beta=np.ones((2, 2, 5)))


def test_options_that_a_file_would_lose_are_not_saved(tmp_path):
    q, k, v = drawn(3)
    cache = StateCache(slack=2)
    cache.step(q, k, v, normalize=False)
    with pytest.raises(ValueError, match="save: normalize: was given to step and would be lost"):
        cache.save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def token():
    q, k, v, gates = gated(1)
    return {"q": q, "k": k, "v": v, **gates}


WRONG = {
    "a dtype": lambda given: {**given, "k": given["k"].astype(np.float32), "v": given["v"].astype(np.float32)},
    "queries of a dtype": lambda given: {**given, "q": given["q"].astype(np.float32)},
    "wider values of another batch": lambda given: {**given, "v": given["v"][:1]},
    "channels": lambda given: {**given, "q": given["q"][..., :-1]},
    "more queries than tokens": lambda given: {**given, "q": np.repeat(given["q"], 2, axis=-2)},
    "a list": lambda given: {**given, "k": given["k"].tolist()},
    "a masked array": lambda given: {**given, "v": np.ma.masked_array(given["v"])},
    "a gate of two tokens": lambda given: {**given, "beta": np.repeat(given["beta"], 2, axis=-1)},
    "a gate of a batch": lambda given: {**given, "beta": given["beta"][:1]},
    "a gate of integers": lambda given: {**given, "beta": given["beta"].astype(np.int64)},
    "a missing gate": lambda given: {name: x for name, x in given.items() if name != "beta"},
    "an option that there is not": lambda given: {**given, "decay": given["beta"]},
    "an option of the cache's own": lambda given: {**given, "return_state": True},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_token_unlike_the_one_before_it_is_checked_as_the_first_is(name):
    anew, cache = StateCache(GATED), StateCache(GATED)
    for each in (anew, cache, cache, cache):
        each.step(**token())
    anew._held = anew._held._replace(kinds=None)
    errors = []
    for each in (anew, cache):
        with pytest.raises((TypeError, ValueError)) as error:
            each.step(**WRONG[name](token()))
        errors.append((error.type, str(error.value)))
    assert errors[0] == errors[1]
    assert cache.length == 3


def test_what_fitted_before_a_reorder_is_checked_after_it():
    cache = StateCache(GATED)
    for _ in range(3):
        cache.step(**token())
    cache.reorder([0])
    with pytest.raises(ValueError, match=r"k: this cache holds \(1, 2, n, 4\)"):
        cache.step(**token())


def test_a_mechanism_gets_plain_numbers_however_often_they_come_in_another_byte_order():
    seen = []

    def spy(q, k, v, **options):
        seen.extend((type(x), x.dtype.isnative) for x in (q, k, v))
        return definitions.linear_attention_chunked(q, k, v, **options)

    spy.__signature__ = inspect.signature(definitions.linear_attention_chunked)
    cache = StateCache(spy)
    for _ in range(3):
        cache.step(*(x.astype(x.dtype.newbyteorder()) for x in drawn(1)))
    assert set(seen) == {(np.ndarray, True)}
