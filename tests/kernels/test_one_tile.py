"""Heads that are one tile: the definition's results and gradients at every edge, each head alone, and all of it in that kernel."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.exact import one_tile_calls
from tinyattn.kernels.exact.one_tile import backward_one_tile, forward_one_tile
from tinyattn.kernels.tiles.lanes import columns
from tinyattn.laws.problem import Sizes, arrays
from tinyattn.ops import masks
from tinyattn.testing import assert_gradients_within_budget, assert_within_budget

RNG = np.random.default_rng
EDGES = (16, 17, 31, 49, 63, 64)
OPTIONS = ["plain", "causal", "window", "scale", "mask", "row of a mask", "shared bias", "own bias", "row of a bias", "column of a bias",
           "one bias", "sinks", "all"]


@pytest.fixture
def ran(monkeypatch):
    called = []
    monkeypatch.setattr(one_tile_calls, "run", lambda kernel, *rest, run=one_tile_calls.run: (called.append(kernel), run(kernel, *rest)))
    return called


def made(name, rng, q_len, kv_len, heads=3, batch=8):
    seen = rng.random((batch, 1, q_len, kv_len)) < 0.5
    bias = rng.standard_normal((heads, q_len, kv_len))
    return {"plain": {}, "causal": {"causal": True}, "window": {"window": (7, 5)}, "scale": {"scale": -0.3}, "mask": {"mask": seen},
            "row of a mask": {"mask": seen[..., :1, :]}, "shared bias": {"bias": bias}, "one bias": {"bias": bias[0]},
            "own bias": {"bias": rng.standard_normal((batch, heads, q_len, kv_len))}, "row of a bias": {"bias": bias[:, :1]},
            "column of a bias": {"bias": bias[:, :, :1]}, "sinks": {"sinks": rng.standard_normal(heads)},
            "all": {"mask": seen, "bias": bias, "sinks": rng.standard_normal(heads), "causal": True, "window": (40, None)}}[name]


def slopes(f, tree, options, d_out, d_lse):
    out, pull = vjp(lambda t: f(t["q"], t["k"], t["v"], **options, **{n: x for n, x in t.items() if n not in "qkv"}), tree)
    return out, pull((d_out, np.where(np.isfinite(out[1]), d_lse, 0)))


def compared(options, q_len, kv_len, widths, rng, heads=3, batch=8):
    tree = {n: rng.standard_normal((batch, heads, length, width)) for n, length, width in
            (("q", q_len, widths[0]), ("k", kv_len, widths[0]), ("v", kv_len, widths[1]))}
    tree |= {n: options.pop(n) for n in ("bias", "sinks") if n in options}
    d_out, d_lse = rng.standard_normal((batch, heads, q_len, widths[1])), rng.standard_normal((batch, heads, q_len))
    want, d_want = slopes(definitions.attention_with_lse, tree, options, d_out, d_lse)
    got, d_got = slopes(kernels.attention_with_lse, tree, options, d_out, d_lse)
    for a, b in zip((*want, *d_want.values()), (*got, *d_got.values()), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_the_definitions(name, ran):
    width = columns(8)
    compared(made(name, RNG(0), 49, 41), 49, 41, (width, 2 * width), RNG(1))
    assert ran == [forward_one_tile, backward_one_tile]


@pytest.mark.parametrize("q_len", EDGES)
@pytest.mark.parametrize("kv_len", EDGES)
def test_tile_edges(q_len, kv_len, ran):
    compared({"bias": RNG(0).standard_normal((q_len, kv_len))}, q_len, kv_len, 2 * (columns(8),), RNG(2), heads=1, batch=20)
    assert ran == [forward_one_tile, backward_one_tile]


@pytest.mark.parametrize(("q_len", "kv_len", "options"), [(15, 49, {}), (49, 15, {}), (65, 49, {}), (49, 65, {}), (49, 49, {"softcap": 2.0}),
                                                         (49, 49, {"mask": masks.causal()})])
def test_other_heads_are_left_to_the_other_kernels(q_len, kv_len, options, ran):
    compared(dict(options), q_len, kv_len, 2 * (columns(8),), RNG(3), heads=1, batch=2)
    assert not ran


def windows(dtype=np.float32, batch=30):
    """Arrays of 3 heads of 49 tokens, more heads than a task has."""
    rng, width = RNG(4), columns(np.dtype(dtype).itemsize)
    arrays = {n: rng.standard_normal((batch, 3, 49, width)).astype(dtype) for n in "qkv"}
    return arrays | {"bias": rng.standard_normal((3, 49, 49)).astype(dtype)}, rng.standard_normal((batch, 3, 49, width)).astype(dtype)


def both(tree, d_out):
    out, pull = vjp(lambda t: kernels.attention(t["q"], t["k"], t["v"], bias=t["bias"]), tree)
    return out, *pull(d_out).values()


def test_within_the_budget_of_float32(ran):
    width = columns(4)
    p = arrays(RNG(5), Sizes((9,), 2, 1, 49, 41, width, width, dtype="float32"))
    assert_within_budget(kernels.attention, p, honest=definitions.attention, rng=RNG(0))

    def backward(problem, d_out):
        return vjp(lambda t: problem.but(**t).call(kernels.attention), {"q": problem.q, "k": problem.k, "v": problem.v})[1](d_out)

    d_out = RNG(6).standard_normal(p.q.shape).astype(np.float32)
    assert_gradients_within_budget(backward, p, d_out, honest=definitions.attention, rng=RNG(0))
    assert {forward_one_tile, backward_one_tile} == set(ran)


def test_any_number_of_threads_gives_the_same_bits():
    tree, d_out = windows(batch=300)
    with kernels.threads(1):
        one = both(tree, d_out)
    with kernels.threads(3):
        three = both(tree, d_out)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_head_of_nan_reaches_no_other():
    tree, d_out = windows()
    want = both(tree, d_out)
    poisoned = {n: x.copy() for n, x in tree.items()}
    for n in "qkv":
        poisoned[n][7, 1] = np.nan
    got = both(poisoned, d_out)
    others = np.ones((30, 3), bool)
    others[7, 1] = False
    for a, b in zip(want[:-1], got[:-1], strict=True):
        assert np.isnan(b[7, 1]).all()
        np.testing.assert_array_equal(a[others], b[others])
    np.testing.assert_array_equal(want[-1][[0, 2]], got[-1][[0, 2]])


def test_hidden_nan_reaches_nobody():
    tree, d_out = windows()
    hidden = np.zeros((30, 1, 1, 49), bool)
    hidden[..., 20:] = True

    def call(tree):
        out, pull = vjp(lambda t: kernels.attention(t["q"], t["k"], t["v"], bias=t["bias"], mask=~hidden), tree)
        return out, *pull(d_out).values()

    poisoned = tree | {n: np.where(hidden.mT, np.float32(np.nan), tree[n]) for n in "kv"}
    for a, b in zip(call(tree), call(poisoned), strict=True):
        np.testing.assert_array_equal(a, b)


UNCOMPILED = """
import numpy as np
from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.tiles.lanes import columns
rng = np.random.default_rng(0)
tree = [rng.standard_normal((2, 1, 17, columns(8))) for _ in range(3)] + [rng.standard_normal((17, 17)), rng.standard_normal(1)]
results = []
for module in (definitions, kernels):
    out, pull = vjp(lambda t: module.attention(*t[:3], bias=t[3], sinks=t[4], causal=True), tree)
    results.append([out, *pull(np.cos(out))])
for a, b in zip(*results, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)
"""


def test_without_the_compiler():
    done = subprocess.run([sys.executable, "-W", "error", "-c", UNCOMPILED], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
