"""The state of a cache written over by a kernel: the same bits as anew, and never where a fork, a check-point or a walk has it too."""

from functools import partial

import numpy as np
import pytest

from tests.interrupts import interrupted
from tinyattn import kernels, vjp
from tinyattn.caches import StateCache
from tinyattn.ops.donated import Donated

LENGTH = 9
RNG = np.random.default_rng(0)
Q, K, V = (RNG.standard_normal((2, heads, LENGTH, d)) for heads, d in ((4, 5), (2, 5), (2, 19)))
K /= np.linalg.norm(K, axis=-1, keepdims=True)
DECAY, BETA = -RNG.random((2, 2, LENGTH)), RNG.random((2, 2, LENGTH))
CASES = {
    "linear_attention": (kernels.linear_attention, {}),
    "unnormalised": (partial(kernels.linear_attention, normalize=False), {}),
    "retention": (partial(kernels.retention, log_decay=np.log([0.5, 0.9])), {}),
    "simple_gated_linear_attention": (kernels.simple_gated_linear_attention, {"log_decay": DECAY}),
    "gated_linear_attention": (kernels.gated_linear_attention, {"log_decay": -RNG.random((2, 2, LENGTH, 5))}),
    "delta_rule": (kernels.delta_rule, {"beta": BETA}),
    "gated_delta_rule": (kernels.gated_delta_rule, {"beta": BETA, "log_decay": DECAY}),
    "cosformer": (partial(kernels.cosformer, max_length=32), {}),
    "one decay for all channels": (kernels.gated_linear_attention, {"log_decay": -RNG.random((2, 2, LENGTH, 1))}),
}


def token(gates, at, count=1):
    """Arguments of a step that takes some tokens."""
    part = slice(at, at + count)
    return (Q[:, :, part], K[:, :, part], V[:, :, part]), {name: gate[:, :, part] for name, gate in gates.items()}


def stepped(cache, gates, start, stop):
    outs = []
    for at in range(start, stop):
        arrays, options = token(gates, at)
        outs.append(cache.step(*arrays, **options))
    return np.concatenate(outs, axis=-2)


def anew(mechanism, gates):
    """The outputs and states of steps whose states are all kept."""
    cache, outs, states = StateCache(mechanism), [], []
    cache._over = False
    for at in range(LENGTH):
        arrays, options = token(gates, at)
        outs.append(cache.step(*arrays, **options))
        states.append(cache._held.state)
    return np.concatenate(outs, axis=-2), states


def places(cache):
    return [array.__array_interface__["data"][0] for array in cache._held.state]


def same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CASES)
def test_a_state_written_over_has_the_bits_of_one_written_anew_and_a_fork_keeps_its_own(name):
    mechanism, gates = CASES[name]
    outs, states = anew(mechanism, gates)
    cache = StateCache(mechanism)
    np.testing.assert_array_equal(stepped(cache, gates, 0, 2), outs[:, :, :2])
    where = places(cache)
    np.testing.assert_array_equal(stepped(cache, gates, 2, 4), outs[:, :, 2:4])
    assert places(cache) == where
    fork = cache.fork()
    np.testing.assert_array_equal(stepped(cache, gates, 4, LENGTH), outs[:, :, 4:])
    assert places(cache) != where
    same(fork._held.state, states[3])
    np.testing.assert_array_equal(stepped(fork, gates, 4, LENGTH), outs[:, :, 4:])
    same(fork._held.state, cache._held.state)
    same(fork._held.state, states[-1])


@pytest.mark.parametrize("name", CASES)
def test_check_points_keep_their_states(name):
    mechanism, gates = CASES[name]
    outs, states = anew(mechanism, gates)
    cache = StateCache(mechanism, slack=3)
    stepped(cache, gates, 0, 8)
    for at, state in cache._held.marks:
        same(state, states[at - 1])
    cache.truncate(5)
    same(cache._held.state, states[4])
    np.testing.assert_array_equal(stepped(cache, gates, 5, LENGTH), outs[:, :, 5:])


def test_several_tokens_are_written_over_the_state_too():
    mechanism, gates = CASES["gated_delta_rule"]
    outs, states = anew(mechanism, gates)
    cache = StateCache(mechanism)
    stepped(cache, gates, 0, 2)
    where = places(cache)
    arrays, options = token(gates, 2, 4)
    np.testing.assert_array_equal(cache.step(*arrays, **options), outs[:, :, 2:6])
    arrays, options = token(gates, 6, 3)
    cache.append(*arrays[1:], **options)
    assert places(cache) == where
    same(cache._held.state, states[-1])


def test_a_walk_back_through_a_gate_reads_the_state_before_it():
    mechanism, gates = CASES["simple_gated_linear_attention"]

    def third(log_decay, write):
        cache = StateCache(mechanism)
        for at in (0, 1):
            arrays, options = token(gates, at)
            cache.step(*arrays, **options)
        arrays, _ = token(gates, 2)
        out = cache.step(*arrays, log_decay=log_decay)
        if write:
            stepped(cache, gates, 3, 5)
        return out

    pairs = [vjp(lambda x, write=write: third(x, write), DECAY[:, :, 2:3]) for write in (False, True)]
    before = third(DECAY[:, :, 2:3] - 1e-6, False), third(DECAY[:, :, 2:3] + 1e-6, False)
    slopes = [pull(np.ones_like(out)) for out, pull in pairs]
    np.testing.assert_array_equal(slopes[0], slopes[1])
    np.testing.assert_allclose(np.sum(slopes[0]), np.sum(before[1] - before[0]) / 2e-6, rtol=1e-6)


def test_a_function_of_the_callers_own_gets_plain_states_that_stay_as_they_are():
    mechanism, gates = CASES["retention"]
    seen = []

    def own(q, k, v, *, initial_state=None, return_state=True):
        seen.append((initial_state, None if initial_state is None else initial_state.copy()))
        return mechanism(q, k, v, initial_state=initial_state, return_state=return_state)

    stepped(StateCache(own), gates, 0, 4)
    for given, copy in seen[1:]:
        assert not isinstance(given, Donated)
        np.testing.assert_array_equal(given, copy)


@pytest.mark.parametrize(("name", "steps", "lines"), [(name, steps, lines) for name in ("linear_attention", "gated_delta_rule")
                                                      for steps, lines in ((1, 60), (2, 15))], ids=str)
def test_a_step_over_the_state_that_is_stopped_anywhere_has_happened_or_not(name, steps, lines):
    """KeyboardInterrupt at every line of the caches and kernels that a step runs through; after two it is one that was prepared."""
    mechanism, gates = CASES[name]
    start = StateCache(mechanism)
    stepped(start, gates, 0, 3)
    before, lengths, nth, done = [x.copy() for x in start._held.state], set(), 0, False
    end = start.fork()
    stepped(end, gates, 3, 4)

    while not done:
        nth, cache = nth + 1, start.fork()
        stepped(cache, gates, 3, 3 + steps)
        cache._held = cache._held._replace(length=3)
        for array, value in zip(cache._held.state, before, strict=True):
            array[...] = value
        try:
            with interrupted(nth, ("/tinyattn/caches/", "/tinyattn/kernels/")):
                stepped(cache, gates, 3, 4)
            done = True
        except KeyboardInterrupt:
            lengths.add(cache.length)
            same(cache._held.state, end._held.state if cache.length == 4 else before)
    assert lengths == {3, 4}
    assert nth > lines
