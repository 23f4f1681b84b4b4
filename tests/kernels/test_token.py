"""A token that is folded in without the checks that the one before it passed: the same bits, and the errors of the full path."""

from functools import partial

import numpy as np
import pytest

from tests.kernels.test_donated import CASES, LENGTH, places, stepped, token
from tinyattn import kernels
from tinyattn.caches import StateCache
from tinyattn.kernels.states.token import LINE
from tinyattn.kernels.tiles.jit import DISABLED

PREPARED = [name for name in CASES if name != "cosformer"]


def prepared(mechanism, gates, stop=3):
    """A cache whose next token is prepared."""
    cache = StateCache(mechanism)
    stepped(cache, gates, 0, stop)
    return cache


@pytest.mark.parametrize("name", CASES)
def test_the_third_token_of_these_mechanisms_is_prepared(name):
    assert (prepared(*CASES[name])._held.token is not None) == (name in PREPARED)


@pytest.mark.parametrize("name", PREPARED)
def test_a_state_that_is_written_over_begins_with_a_line_of_the_cache(name):
    assert all(place % LINE == 0 for place in places(prepared(*CASES[name])))


def test_what_is_folded_in_anew_is_not_prepared():
    mechanism, gates = CASES["delta_rule"]
    cache = prepared(mechanism, gates)
    assert cache.fork()._held.token is None
    assert cache._held.token is None
    assert StateCache(mechanism, slack=3)._held is None
    slack = StateCache(mechanism, slack=3)
    stepped(slack, gates, 0, 5)
    assert slack._held.token is None
    (q, k, v), options = token(gates, 5)
    cache.step(q, k, v, scale=2.0, **options)
    assert cache._held.token is None


BAD = {
    "a decay above 1": ("log_decay", 1e-9),
    "a decay that is no number": ("log_decay", np.nan),
    "an infinite decay": ("log_decay", np.inf),
    "a strength that is no number": ("beta", np.nan),
    "an infinite strength": ("beta", -np.inf),
}


@pytest.mark.parametrize("name", BAD)
def test_a_gate_out_of_its_range_raises_what_it_raises_at_first_and_nothing_is_folded_in(name):
    mechanism, gates = CASES["gated_delta_rule"]
    cache, other = prepared(mechanism, gates), prepared(mechanism, gates)
    gate, value = BAD[name]
    (q, k, v), options = token(gates, 3)
    wrong = options[gate].copy()
    wrong[-1, -1] = value
    errors = []
    for each in (StateCache(mechanism), cache):
        with pytest.raises(ValueError, match=gate) as error:
            each.step(q, k, v, **(options | {gate: wrong}))
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert cache.length == 3
    np.testing.assert_array_equal(stepped(cache, gates, 3, LENGTH), stepped(other, gates, 3, LENGTH))


@pytest.mark.parametrize("name", PREPARED)
def test_arrays_that_are_read_only_or_not_contiguous_give_the_same_bits(name):
    mechanism, gates = CASES[name]
    cache, other = prepared(mechanism, gates), prepared(mechanism, gates)
    for at in range(3, LENGTH):
        arrays, options = token(gates, at)
        wanted = cache.step(*(np.ascontiguousarray(x) for x in arrays), **{gate: x.copy() for gate, x in options.items()})
        turned = [np.asfortranarray(x) for x in arrays]
        gated = {gate: np.asfortranarray(x) for gate, x in options.items()}
        for x in (*turned, *gated.values()):
            x.flags.writeable = False
        np.testing.assert_array_equal(other.step(*turned, **gated), wanted)


@pytest.mark.skipif(DISABLED, reason="products of the kernel itself then underflow in NumPy")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decays_to_nothing_pass_in_silence_whatever_numpy_is_told(dtype):
    mechanism, gates = CASES["simple_gated_linear_attention"]
    cache, anew = StateCache(mechanism), StateCache(mechanism)
    anew._over = False
    for at in range(6):
        arrays, options = token(gates, at)
        q, k, v = (x.astype(dtype) for x in arrays)
        decay = np.full(options["log_decay"].shape, [-1.0, -1.0, -1.0, -90.0, -740.0, -np.inf][at], dtype)
        with np.errstate(all="raise"):
            outs = [each.step(q, k, v, log_decay=decay) for each in (cache, anew)]
        np.testing.assert_array_equal(*outs)
    assert cache._held.token is not None


def test_a_bound_gate_is_read_anew_at_every_token_and_a_given_one_stands_before_it():
    decay = np.log([0.5, 0.9])
    cache, other = (prepared(partial(kernels.retention, log_decay=decay), {}) for _ in range(2))
    (q, k, v), _ = token({}, 3)
    later = np.log([0.25, 0.125])
    decay[:] = later
    wanted = cache.step(q, k, v)
    decay[:] = 0
    np.testing.assert_array_equal(other.step(q, k, v, log_decay=later), wanted)


def test_a_scale_is_bound():
    plain, scaled = (prepared(partial(kernels.delta_rule, **bound), CASES["delta_rule"][1]) for bound in ({}, {"scale": 0.5}))
    (q, k, v), options = token(CASES["delta_rule"][1], 3)
    np.testing.assert_array_equal(scaled.step(q, k, v, **options), 0.5 * plain.step(q, k, v, **options))
    assert scaled._held.token is not None
