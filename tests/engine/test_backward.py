"""The walk back visits each node once, needs no recursion, frees the graph as it goes, and changes all gradients or none."""

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

from tinyattn.engine import Tensor, grad, no_grad, primitive
from tinyattn.engine.graph import ancestry


def test_a_second_walk_is_refused():
    y = (Tensor(np.ones(2)) * 2.0).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="walked before"):
        y.backward()


def test_gradients_add_up_over_walks():
    x = Tensor(np.ones(2))
    (x * 2.0).sum().backward()
    (x * 3.0).sum().backward()
    np.testing.assert_array_equal(x.grad, [5.0, 5.0])
    x.grad = None
    assert x.grad is None


def test_what_the_gradient_of_a_result_must_be():
    y = Tensor(np.ones((2, 3))) * 2.0
    with pytest.raises(ValueError, match=r"d_out.*\(2, 3\)"):
        y.backward()
    with pytest.raises(ValueError, match=r"d_out: expected shape \(2, 3\), got \(3,\)"):
        y.backward(np.ones(3))
    with pytest.raises(TypeError, match="d_out: expected dtype float64, got float32"):
        y.backward(np.ones((2, 3), np.float32))
    y.backward(np.ones((2, 3)))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_the_walk_changes_no_gradient(error):
    @primitive
    def fails(x):
        return x * 1.0, None

    @fails.backward
    def _(d_out, saved):
        raise error("on purpose")

    x, z = Tensor(np.ones(2)), Tensor(np.ones(2))
    (x * 5.0).sum().backward()
    before = x.grad.copy()
    y = (fails(x * 2.0) + z).sum()
    with pytest.raises(error):
        y.backward()
    np.testing.assert_array_equal(x.grad, before)
    assert z.grad is None
    with pytest.raises(RuntimeError, match="walked before"):
        y.backward()
    assert grad(lambda t: (t * t).sum())(np.ones(1)) == 2.0


def test_twelve_thousand_operations_neither_recurse_nor_stay():
    x = Tensor(np.ones(10))
    tracemalloc.start()
    y = x
    for _ in range(4_000):  # three operations each, far beyond Python's limit of calls inside one another
        y = np.exp(y * 0.5) * 0.5
    y.sum().backward()
    del y
    left = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert np.isfinite(x.grad).all()
    assert left < 20 * 12_000  # CPython keeps some empty tuples; each result alone would be 192 bytes and more


def test_a_long_graph_dropped_unwalked_is_freed():
    x = Tensor(np.ones(1))
    y = x
    for _ in range(60_000):
        y = y + 1.0
    node = weakref.ref(y.node)
    del y
    assert node() is None


def test_a_diamond_of_thirty_levels_is_linear():
    calls = []

    @primitive
    def double(a, b):
        return a + b, None

    @double.backward
    def _(d_out, saved):
        calls.append(1)
        return {"a": d_out, "b": d_out}

    x = Tensor(np.array(1.0))
    y = x
    for _ in range(30):
        y = double(y, y * 1.0)
    y.backward()
    assert x.grad == 2.0 ** 30
    assert len(calls) == 30


def test_a_thousand_steps_leave_nothing_without_the_collector():
    w = np.ones((20, 20))

    def step():
        return grad(lambda t: np.tanh(np.exp(t @ t * 0.01).sum(axis=0)).sum())(w)

    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        for _ in range(2000):  # until CPython's own lists of free tuples are full
            step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            step()
        left = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    finally:
        gc.enable()
    assert left < 1000  # one byte a step


def test_the_walk_frees_as_it_goes():
    alive, when = [], []

    @primitive
    def watch(x):
        big = np.ones(1000)
        alive.append(weakref.ref(big))
        return x + big[0], big

    @watch.backward
    def _(d_out, saved):
        when.append(sum(ref() is not None for ref in alive))
        return {"x": d_out}

    x = Tensor(np.ones(3))
    y = x
    for _ in range(5):
        y = watch(y)
    y.sum().backward()
    assert when == [5, 4, 3, 2, 1]


def test_an_intermediate_that_no_rule_needs_dies_at_once():
    x = Tensor(np.ones(1000))
    middle = x + 1.0
    ref = weakref.ref(middle)
    y = middle + 2.0
    del middle
    assert ref() is None
    y.sum().backward()


def test_a_gradient_has_the_shape_of_its_input_after_broadcasting():
    for shape in ((), (1,), (1, 1), (3, 1), (1, 4), (4,), (3, 4)):
        g = grad(lambda x: (x * np.ones((2, 3, 4))).sum())(np.ones(shape))
        assert np.shape(g) == shape
        assert np.sum(g) == 24.0


def test_no_grad_ends_with_an_exception_and_holds_for_one_thread():
    x = Tensor(np.ones(2))
    with pytest.raises(ValueError, match="inside"), no_grad(), no_grad():
        raise ValueError("inside")
    assert (x * 2.0).node is not None
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2.0).node))
        thread.start()
        thread.join()
    assert seen[0] is not None


def test_gradients_survive_seterr_raise():
    with np.errstate(all="raise"):
        g = grad(lambda x: np.exp(x).sum())(np.array([0.0, -700.0]))
    assert g[0] == 1.0


def test_ancestry_puts_parents_first():
    x = Tensor(np.ones(1))
    y = x * 2.0
    order = ancestry([(y + x).node])
    assert order.index(x.node) < order.index(y.node)
