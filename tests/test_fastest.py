"""tinyattn.NAME is its definition: signature, errors, values and every derivative, whichever form runs."""

import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import ml_dtypes
import numpy as np
import pytest

import tinyattn
from tinyattn import definitions, fastest, grad, kernels, vjp
from tinyattn.kernels.exact import primitive as exact

RNG = np.random.default_rng
NAMES = ("attention", "attention_with_lse", "grouped_query_attention", "multi_head_attention", "multi_query_attention", "streaming_attention")


def drawn(length, heads, kv_heads, dtype=np.float64, leading=(2,)):
    rng = RNG(length)
    return [rng.standard_normal((*leading, h, length, 8)).astype(dtype) for h in (heads, kv_heads, kv_heads)]


def heads_of(name):
    return {"multi_head_attention": (4, 4), "multi_query_attention": (4, 1)}.get(name, (4, 2))


def first(out):
    return out[0] if isinstance(out, tuple) else out


@pytest.fixture
def ran(monkeypatch):
    """The kernels that were run."""
    names = []
    monkeypatch.setattr(exact, "run", lambda kernel, *rest, run=exact.run: (names.append(kernel.__name__), run(kernel, *rest)))
    return names


@pytest.mark.parametrize("name", NAMES)
def test_it_has_the_name_signature_and_text_of_its_definition(name):
    best, definition = getattr(tinyattn, name), getattr(definitions, name)
    assert best is getattr(fastest, name) is not definition
    assert (best.__name__, best.__doc__, best.signature) == (name, definition.__doc__, definition.signature)
    assert inspect.signature(best) == inspect.signature(definition)


@pytest.mark.parametrize("length", [5, 70])
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_the_kernel_where_that_is_faster(name, length, ran):
    q, k, v = drawn(length, *heads_of(name))
    options = {"causal": True, "softcap": 3.0, "sinks": np.zeros(4)}
    got, want = getattr(tinyattn, name)(q, k, v, **options), getattr(definitions, name)(q, k, v, **options)
    assert ran == (["forward"] if length == 70 else [])
    assert isinstance(got, tuple) == isinstance(want, tuple)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_arrays_of_one_head_and_arrays_by_name_run_the_kernel_too(ran):
    q, k, v = (x[0, 0] for x in drawn(70, 1, 1))
    want = definitions.attention(q, k, v, causal=True)
    np.testing.assert_allclose(tinyattn.attention(q, k=k, v=v, causal=True), want, rtol=1e-12)
    np.testing.assert_allclose(tinyattn.attention(v=v, k=k, q=q, causal=True), want, rtol=1e-12)
    assert ran == ["forward"] * 2


WRONG = {"an option that there is not": {"casual": True}, "a mask of integers": {"mask": np.ones((70, 70), int)}, "no v": {"v": None},
         "k as a list": {"k": [[1.0]]}, "a head_dim": {"k": np.ones((2, 2, 70, 7))}, "heads": {"k": np.ones((2, 3, 70, 8)), "v": np.ones((2, 3, 70, 8))},
         "integers": {"q": np.ones((2, 4, 70, 8), int)}, "a softcap of 0": {"softcap": 0.0}, "a window of floats": {"window": (1.0, 2)},
         "sinks of too many heads": {"sinks": np.ones(9)}, "a bias that does not fit": {"bias": np.ones((3, 70))}, "a dtype": {"v": np.ones((2, 2, 70, 8), np.float32)}}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("length", [5, 70])
@pytest.mark.parametrize("name", [*NAMES, "kernels.attention", "kernels.attention_with_lse"])
def test_errors_are_those_of_the_definition(name, length, wrong):
    module, _, name = name.rpartition(".")
    given = dict(zip("qkv", drawn(length, *heads_of(name)), strict=True)) | WRONG[wrong]
    if wrong == "no v":
        del given["v"]

    def error(f):
        with pytest.raises((TypeError, ValueError)) as caught:
            f(**given)
        return type(caught.value), str(caught.value)

    got = error(getattr(kernels if module else tinyattn, name))
    assert got == error(getattr(definitions, name))
    if wrong == "an option that there is not":
        assert name in got[1]
        assert "casual" in got[1]


@pytest.mark.parametrize("f", [definitions.attention, kernels.attention, tinyattn.attention], ids=["definition", "kernel", "tinyattn"])
def test_a_mask_that_its_owner_fills_again_changes_no_gradient(f):
    q, k, v = (x[0] for x in drawn(70, 2, 2))
    mask = np.tri(70, dtype=bool)
    _, pull = vjp(lambda t: f(t, k, v, mask=mask), q)
    before = pull(np.ones_like(q))
    mask[:] = True
    np.testing.assert_array_equal(pull(np.ones_like(q)), before)


def together(tasks):
    """Returns the results of tasks that begin at once, each in a thread of its own, several times over."""
    start = Barrier(len(tasks))

    def run(task):
        start.wait()
        return [task() for _ in range(5)]

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


@pytest.mark.parametrize(("length", "order"), [(20, 1), (300, 1), (70, 2)])
def test_threads_that_differentiate_at_once_give_what_one_gives(length, order):
    trees = [dict(zip("qkv", (x[0] * (1 + n) for x in drawn(length, 4, 2)), strict=True)) for n in range(3)]

    def slopes(tree):
        def f(t):
            return np.sum(np.sin(tinyattn.attention(t["q"], t["k"], t["v"], causal=True)))
        return (grad(f) if order == 1 else grad(lambda t: sum(np.sum(np.cos(g)) for g in grad(f)(t).values())))(tree)

    alone = [slopes(tree) for tree in trees]
    for want, runs in zip(alone, together([partial(slopes, tree) for tree in trees]), strict=True):
        for got in runs:
            for name, slope in want.items():
                np.testing.assert_allclose(got[name], slope, rtol=1e-12, atol=1e-13)


def test_no_grad_in_one_thread_and_kernels_threads_in_another_change_nothing_in_a_third():
    x = RNG(0).standard_normal((4, 300, 8))

    def slope():
        return grad(lambda t: np.sum(tinyattn.attention(t, x, x, causal=True) ** 2))(x)

    def unrecorded():
        with tinyattn.no_grad():
            out = tinyattn.attention(tinyattn.Tensor(x), x, x, causal=True)
            assert out.node is None
        return slope()

    def with_threads():
        with kernels.threads(3):
            return slope()

    want = slope()
    for runs in together([slope, unrecorded, with_threads]):
        for got in runs:
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("length", [5, 70])
@pytest.mark.parametrize("name", [*NAMES, "kernels.attention", "kernels.attention_with_lse"])
def test_half_width_is_storage(name, length, half):
    module, _, name = name.rpartition(".")
    f = getattr(kernels if module else tinyattn, name)
    arrays = [x.astype(HALVES[half]) for x in drawn(length, *heads_of(name))]
    bias = RNG(0).standard_normal((length, length)).astype(HALVES[half])
    wide = [x.astype(np.float32) for x in arrays]
    out, want = f(*arrays, bias=bias, causal=True), f(*wide, bias=bias.astype(np.float32), causal=True)
    if isinstance(out, tuple):
        assert out[1].dtype == np.float32  # a log-sum-exp goes on to be added to
        np.testing.assert_array_equal(out[1], want[1])
    assert first(out).dtype == HALVES[half]
    np.testing.assert_array_equal(first(out), first(want).astype(HALVES[half]))
    slopes, right = (grad(lambda t, given=given: np.sum(first(f(t, *given[1:], causal=True)).astype(np.float32)))(given[0])
                     for given in (arrays, wide))
    assert slopes.dtype == HALVES[half]
    # The output is rounded to half width before the sum, and the slope after it: half a unit of the largest each.
    unit = float(ml_dtypes.finfo(HALVES[half]).eps)
    np.testing.assert_allclose(slopes.astype(np.float32), right, rtol=2 * unit, atol=2 * unit * np.abs(right).max())


def test_everything_but_the_kernels_is_there_without_numba():
    code = """
import contextlib, io, sys
sys.modules["numba"] = sys.modules["llvmlite"] = None
from tinyattn import *
import tinyattn
shown = io.StringIO()
with contextlib.redirect_stdout(shown):
    help(tinyattn)
assert "multi_query_attention" in shown.getvalue()
assert attention is tinyattn.attention and "kernels" not in globals()
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
