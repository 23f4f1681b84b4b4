"""The kernel of states of levels against loops over positions, and what it must keep at cuts, ends of decays and tokens not finite."""

import sys
from functools import partial

import numpy as np
import pytest

from tests.kernels.slopes import close, slopes
from tinyattn import definitions, kernels
from tinyattn.kernels.states import level_primitive
from tinyattn.ops.levels import levels_of

RNG = np.random.default_rng
LENGTHS = (1, 8, 9, 63, 64, 65, 127, 128, 129, 200)


def drawn(kv_len, q_len=None, seen=0, dims=(5, 3), dtype=np.float64, heads=4):
    """Arrays of a call by name, on two kv heads; with numbers in all levels of a state where tokens were seen."""
    rng = RNG(kv_len + 1000 * seen)
    shapes = {"q": (heads, kv_len if q_len is None else q_len, dims[0]), "k": (2, kv_len, dims[0]), "v": (2, kv_len, dims[1]),
              "log_decay": (2, kv_len), "level_scales": (2, kv_len, levels_of(seen + kv_len))}
    if seen:
        shapes["state"] = (2, levels_of(seen), *dims)
    p = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    p["log_decay"] = -abs(p["log_decay"]) / 2
    return {name: x.astype(dtype) for name, x in p.items()}


def by(door, seen=0, states=True):
    """The mechanism as a function of such arrays to (out, last states), or to (out,)."""
    def f(p):
        given = {name: x for name, x in p.items() if name != "state"}
        start = (p["state"], seen) if "state" in p else None
        found = door.log_linear_attention(**given, scale=0.7, initial_state=start, return_state=states)
        return (found[0], found[1][0]) if states else (found,)
    return f


def level_of_token(i, j):
    """The level of token j at token i: the first at which both stand in the same block of a power of two."""
    level = 0
    while i // 2 ** level != j // 2 ** level:
        level += 1
    return level


def level_of_state(level, seen, i):
    """The level at token i of what stood on a level after `seen` tokens."""
    for token in range(max(seen, 1), i + 1):
        closed = 1
        while token % 2 ** closed == 0:
            closed += 1
        level = max(level, closed)
    return level


def by_positions(p, seen=0):
    """The same from the formula: a weight for each pair of positions, and one for each position and level of the state."""
    q, k, v, scales = (np.repeat(p[name], len(p["q"]) // 2, axis=0) if name != "q" else p[name] for name in ("q", "k", "v", "level_scales"))
    length, levels = p["k"].shape[1], p["level_scales"].shape[-1]
    sums = np.cumsum(p["log_decay"], axis=-1)
    pairs, of_state = np.zeros((length, length, levels)), np.zeros((length, levels, levels))
    for i in range(length):
        for j in range(i + 1):
            pairs[i, j, level_of_token(seen + i, seen + j)] = 1
        for level in range(p["state"].shape[1] if "state" in p else 0):
            of_state[i, level, level_of_state(level, seen, seen + i)] = 1
    later = np.where(np.tril(np.ones((length, length))) > 0, sums[:, :, None] - sums[:, None, :], -np.inf)
    asked = length - p["q"].shape[1]
    weights = (scales[:, :, None, :] * pairs).sum(-1) * np.repeat(np.exp(later), len(p["q"]) // 2, axis=0)
    out = ((q @ k.mT) * weights[:, asked:]) @ v
    last = np.stack([(p["k"] * (np.exp(later[:, -1]) * pairs[-1, :, level])[..., None]).mT @ p["v"] for level in range(levels)], axis=1)
    if "state" in p:
        since, state = np.exp(sums), np.repeat(p["state"], len(p["q"]) // 2, axis=0)
        for level in range(p["state"].shape[1]):
            share = (scales * of_state[:, level]).sum(-1) * np.repeat(since, len(p["q"]) // 2, axis=0)
            out = out + (q * share[:, asked:, None]) @ state[:, level]
        last = last + np.stack([(p["state"] * of_state[-1, : p["state"].shape[1], level][:, None, None]).sum(1)
                                for level in range(levels)], axis=1) * since[:, -1, None, None, None]
    return 0.7 * out, last


@pytest.mark.parametrize("kv_len", LENGTHS)
@pytest.mark.parametrize("seen", [0, 1, 5, 64, 100])
def test_results_and_gradients_are_those_of_loops_over_positions(seen, kv_len):
    for q_len, dims in ((kv_len, (5, 3)), (kv_len // 2, (33, 40))):
        p = drawn(kv_len, q_len, seen, dims)
        close(slopes(by(kernels, seen), p), slopes(partial(by_positions, seen=seen), p))
        close(slopes(by(kernels, seen, states=False), p), slopes(lambda x: by_positions(x, seen)[:1], p))


@pytest.mark.parametrize("seen", [0, 37])
def test_in_float32_the_errors_are_those_of_float32(seen):
    p = drawn(200, 150, seen, (16, 48), np.float32)
    close(slopes(by(kernels, seen), p), slopes(partial(by_positions, seen=seen), {n: x.astype(np.float64) for n, x in p.items()}), np.float32)


def part(p, start, stop, state):
    """Some of the tokens, after a state."""
    cut = {name: x[:, start:stop] for name, x in p.items() if name != "state"}
    return cut if state is None else {**cut, "state": state}


@pytest.mark.parametrize("cut", [0, 1, 9, 64, 100, 130])
def test_states_can_be_handed_over_at_any_cut(cut):
    p = drawn(130)
    whole = by(kernels)(p)
    first, states = by(kernels)(part(p, 0, cut, None))
    second, last = by(kernels, cut)(part(p, cut, 130, states))
    close((np.concatenate((first, second), axis=-2), last), whole)


def test_step_after_step_is_the_chunk():
    p, states, outs = drawn(70), None, []
    for t in range(70):
        out, states = by(kernels, t)(part(p, t, t + 1, states))
        outs.append(out)
    close((np.concatenate(outs, axis=-2), states), by(kernels)(p))


@pytest.mark.parametrize("clears", [-np.inf, -1e30, -1000.0])
@pytest.mark.parametrize("at", [0, 64, 70])
def test_a_decay_of_0_begins_anew_and_has_no_slope(clears, at):
    p = drawn(130, seen=64)
    p["log_decay"][:, at] = clears
    got = slopes(by(kernels, 64), p)
    close(got, slopes(by(definitions, 64), p))
    np.testing.assert_array_equal(got[2 + list(p).index("log_decay")][:, at], 0)


def test_strong_decays_and_resets_in_float32():
    p = drawn(512, dtype=np.float32)
    p["log_decay"] *= 10
    p["log_decay"][:, ::33] = -1000
    truth = slopes(by(definitions), {name: x.astype(np.float64) for name, x in p.items()})
    for a, b in zip(slopes(by(kernels), p), truth, strict=True):
        assert np.abs(a - b).max() <= 1e-6 * np.abs(b).max()


@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("at", [69, 129])
def test_what_is_not_finite_changes_no_earlier_row(bad, name, at):
    p = drawn(130)
    out, _ = by(kernels)(p)
    p[name][:, at] = bad
    poisoned, last = by(kernels)(p)
    close((poisoned[:, :at], by(kernels, states=False)(p)[0][:, :at]), (out[:, :at], out[:, :at]))
    assert not np.isfinite(poisoned[:, at]).any()
    assert np.isfinite(last).all() == (name == "q")


def test_bits_are_the_same_for_any_number_of_threads_and_with_or_without_the_states(monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.tiles.threads"], "LEAST_WORK", 1)  # the package's attribute is the function
    p = drawn(200, 150, 5, dtype=np.float32, heads=6)

    def bits(number):
        with kernels.threads(number):
            return [x.tobytes() for x in slopes(by(kernels, 5), p)]

    assert bits(1) == bits(2) == bits(5)
    np.testing.assert_array_equal(by(kernels, 5)(p)[0], by(kernels, 5, states=False)(p)[0])


@pytest.mark.parametrize("kv_len", [3, 70])
def test_scales_of_levels_that_no_token_has_are_not_read(kv_len):
    p = drawn(kv_len)
    more = {**p, "level_scales": np.concatenate((p["level_scales"], np.full((2, kv_len, 3), 7.0)), axis=-1)}
    got, want = slopes(by(kernels, states=False), more), slopes(by(kernels, states=False), p)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[-1][..., -3:], 0)


def test_few_tokens_run_one_by_one_and_many_in_chunks(monkeypatch):
    ran, run = [], level_primitive.run
    monkeypatch.setattr(level_primitive, "run", lambda kernel, *rest: (ran.append(kernel), run(kernel, *rest)))
    for length in (8, 9):
        by(kernels)(drawn(length))
    assert ran == [level_primitive.level_step, level_primitive.level_forward]
