"""Ridge regressions of all tokens by Cholesky factors, one per lane: of any sizes, and what has no factor is solved otherwise."""

import sys

import numpy as np
import pytest

from tests.kernels.slopes import close, slopes
from tinyattn import definitions, kernels
from tinyattn.kernels.tiles.lanes import lanes
from tinyattn.laws.budget import growing, per_row, sufficient
from tinyattn.laws.law import plain
from tinyattn.laws.problem import Problem
from tinyattn.testing.compare import explain

MESA = sys.modules["tinyattn.kernels.linear.mesa"]
RNG = np.random.default_rng
MANY = lanes(8)


def drawn(batch=1, heads=2, kv_heads=2, q_len=9, kv_len=9, dim=5, value_dim=3, dtype=np.float64, ridge=0.5):
    """Arrays of a call by name, with a state in the middle of a text."""
    rng = RNG(q_len + 100 * dim)
    normal = lambda *shape: rng.standard_normal(shape).astype(dtype)
    before = normal(batch, kv_heads, 7, dim)
    return {"q": normal(batch, heads, q_len, dim), "k": normal(batch, kv_heads, kv_len, dim), "v": normal(batch, kv_heads, kv_len, value_dim),
            "log_decay": -abs(normal(batch, kv_heads, kv_len)) / 5, "beta": abs(normal(batch, kv_heads, kv_len)),
            "ridge": ridge + abs(normal(kv_heads, dim)), "state": (normal(batch, kv_heads, dim, value_dim), before.mT @ before)}


def by(door):
    """Mesa as a function of such arrays to the output and the parts of the last state."""
    def f(p):
        given = {name: x for name, x in p.items() if name != "state"}
        out, last = door.mesa(**given, initial_state=p["state"], return_state=True)
        return (out, *last)
    return f


def flat(results):
    return [part for x in results for part in (x if isinstance(x, tuple) else (x,))]


def none_by_chunks(monkeypatch):
    monkeypatch.setattr(MESA, "by_chunks", lambda *_: pytest.fail("solved by chunks"))


@pytest.mark.parametrize("sizes", [
    {"q_len": 0, "kv_len": 5}, {"q_len": 1, "kv_len": 40}, {"batch": 3, "heads": 6, "kv_heads": 6, "q_len": 1, "kv_len": 1},
    {"batch": 2, "heads": 6, "kv_heads": 3, "q_len": MANY - 1, "kv_len": MANY + 1}, {"q_len": MANY + 1, "kv_len": MANY + 1, "dim": 1},
    {"heads": 4, "kv_heads": 1, "q_len": 70, "kv_len": 75, "dim": 20}, {"q_len": 2 * MANY, "kv_len": 2 * MANY, "dim": 70},
    {"heads": 0, "kv_heads": 0}, {"batch": 0}], ids=str)
def test_any_sizes_give_the_definition_and_its_slopes(sizes, monkeypatch):
    none_by_chunks(monkeypatch)
    p = drawn(**sizes)
    close(flat(slopes(by(kernels), p)), flat(slopes(by(definitions), p)))


def test_the_last_sum_of_keys_is_symmetric_and_one_that_differs_by_rounding_counts_as_symmetric(monkeypatch):
    none_by_chunks(monkeypatch)
    p = drawn(q_len=50, kv_len=50, dtype=np.float32)
    _, values, keys = by(kernels)(p)
    np.testing.assert_array_equal(keys, keys.mT)
    _, values, other = by(definitions)(p)
    assert (other != other.mT).any()
    p["state"] = (values, other)
    close(by(kernels)(p)[:1], by(definitions)(p)[:1], np.float32)


@pytest.mark.parametrize("change", [lambda h: h - 40 * np.eye(5), lambda h: h + 0.5 * np.eye(5, k=1), lambda h: h + 1e-9 * np.eye(5, k=1)],
                         ids=["indefinite", "not symmetric", "hardly symmetric"])
def test_a_sum_of_keys_without_a_factor_is_solved_otherwise(change):
    p = drawn()
    p["state"] = (p["state"][0], change(p["state"][1]))
    for a, b in zip(flat(slopes(by(kernels), p)), flat(slopes(by(definitions), p)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * np.abs(b).max())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_reaches_later_tokens_of_its_own_head_alone(bad):
    p = drawn(batch=2, q_len=3 * MANY + 2, kv_len=3 * MANY + 2)
    want = kernels.mesa(**{name: x for name, x in p.items() if name != "state"})
    p["k"][1, 0, 11, 2] = bad
    got = kernels.mesa(**{name: x for name, x in p.items() if name != "state"})
    reached = np.zeros(got.shape, bool)
    reached[1, 0, 11:] = True
    assert np.isnan(got[reached]).all()
    np.testing.assert_allclose(got[~reached], want[~reached], rtol=1e-11)


@pytest.mark.parametrize("ridge", [1.0, 1e-3])
def test_factors_in_float32_are_within_the_measured_budget(ridge, monkeypatch):
    none_by_chunks(monkeypatch)
    p = drawn(heads=1, kv_heads=1, q_len=150, kv_len=150, dim=64, value_dim=8, dtype=np.float32, ridge=ridge)
    p["ridge"] = np.full_like(p["ridge"], ridge)
    problem = Problem(p["q"], p["k"], p["v"], {name: p[name] for name in ("log_decay", "beta", "ridge")})
    got = plain(kernels.mesa, problem)
    explain(sufficient(growing((plain,), definitions.mesa, problem, RNG(1), reorder=False, pool=per_row), got), got, ("out",))
