"""Tensor: what NumPy does with it, and what it refuses because it would leave the graph without saying so."""

import copy

import numpy as np
import pytest

from tinyattn import engine
from tinyattn.engine import Tensor, grad, no_grad


def test_operators_and_methods_are_numpy():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3), 2, 6, np.float64, 2)
    for got, want in ((x.T, x.value.T), (x.mT, x.value.mT), (x.reshape(3, 2), x.value.reshape(3, 2)),
                      (x.reshape((6,)), x.value.reshape(6)), (x.transpose(1, 0), x.value.T),
                      (x.transpose((1, 0)), x.value.T), (x.transpose(), x.value.T), (x.swapaxes(0, 1), x.value.T),
                      (x.sum(axis=0), x.value.sum(axis=0)), (x.mean(), x.value.mean()), (x.max(1), x.value.max(1)),
                      (x.min(), x.value.min()), (2.0 - x, 2.0 - x.value), (x @ x.T, x.value @ x.value.T),
                      (x ** 2, x.value ** 2), (-x / 2.0, -x.value / 2.0), (abs(x), abs(x.value)),
                      (np.ones(3) * x, x.value), (x.astype(np.float32), x.value.astype(np.float32))):
        assert isinstance(got, Tensor)
        np.testing.assert_array_equal(got.value, want)
        assert got.dtype == np.asarray(want).dtype
    assert [row.shape for row in x] == [(3,), (3,)]
    assert x[1, 2].item() == 5.0
    assert isinstance(np.std(x), Tensor)
    assert repr(Tensor(np.ones(1))) == "Tensor(array([1.]))"
    assert len({x, x}) == 1


def test_comparisons_and_indices_are_plain_arrays():
    x = Tensor(np.array([1.0, 3.0]))
    for result in (x > 2.0, x == x, np.isfinite(x), np.argmax(x), np.argsort(x), np.sign(x), np.floor(x)):
        assert not isinstance(result, Tensor)


@pytest.mark.parametrize("leave", [np.asarray, np.array, float, int, bool, complex, lambda t: [1, 2][t],
                                   lambda t: np.copyto(np.zeros(()), t), lambda t: np.full_like(np.zeros(2), t)])
def test_leaving_the_graph_in_silence_is_refused(leave):
    with pytest.raises(TypeError, match=r"\.value"):
        leave(Tensor(np.array(1.0)))


def test_writing_is_refused():
    t, a = Tensor(np.ones(2)), np.ones(2)
    with pytest.raises(TypeError, match=r"\.value"):
        a += t
    with pytest.raises(TypeError, match=r"\.value"):
        t += 1.0
    with pytest.raises(TypeError, match=r"\.value"):
        t[0] = 1.0
    with pytest.raises(TypeError, match=r"\.value"):
        np.sum(t, out=np.zeros(()))
    with pytest.raises(TypeError, match=r"\.value"):
        np.add.at(a, [0], t)
    np.testing.assert_array_equal(a, [1.0, 1.0])


@pytest.mark.parametrize("array", [np.arange(3), np.ones(2, complex), np.ones(2, bool), np.array(["a"]),
                                   np.array([None]), np.ones(2, np.longdouble), [1, 2]])
def test_only_floating_arrays_are_differentiated(array):
    with pytest.raises(TypeError, match="float16, float32 or float64"):
        Tensor(array)


def test_masked_arrays_and_tensors_are_refused():
    with pytest.raises(TypeError, match="mask"):
        Tensor(np.ma.masked_array([1.0], [True]))
    with pytest.raises(TypeError, match=r"\.value"):
        Tensor(Tensor(np.ones(1)))


def test_big_endian_and_strided_come_in_native():
    x = np.arange(6, dtype=">f4")[::-2]
    assert Tensor(x).dtype == np.dtype(np.float32).newbyteorder("=")
    np.testing.assert_array_equal(Tensor(x).value, x)
    assert grad(lambda t: (t * t).sum())(x).dtype.isnative


def test_an_owner_who_writes_later_changes_no_gradient():
    owned, factor = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    alias = owned[:]
    x = Tensor(owned)
    y = (x * x * factor).sum()
    alias[0] = factor[0] = 100.0
    y.backward()
    np.testing.assert_array_equal(x.grad, [6.0, 20.0])


def test_an_index_that_is_written_later_changes_no_gradient():
    index = np.array([0, 0])
    x = Tensor(np.array([1.0, 2.0]))
    y = x[index].sum()
    index[:] = 1
    y.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 0.0])


def test_value_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        Tensor(np.ones(2)).value[0] = 2.0


def test_without_grad_nothing_is_recorded():
    x = Tensor(np.ones(2))
    with no_grad():
        y = x * 2.0
    assert y.node is None
    with pytest.raises(RuntimeError, match="no_grad"):
        y.sum().backward()
    assert (x * y).node is not None


def test_the_engine_names_the_function_not_the_file():
    import tinyattn.engine.grad
    assert engine.grad is grad
    assert not hasattr(copy.copy(engine.grad), "__path__")
    assert tinyattn.engine.primitive.__name__ == "primitive"
    assert callable(tinyattn.engine.primitive)


@pytest.mark.parametrize(("rows", "index"), [(256, np.arange(255, 155, -1).astype(np.uint8)), (200, np.full(100, -1, np.int8)),
                                             (300, np.tile(np.array([0, -128, 127], np.int8), 40))])
def test_an_index_of_a_small_dtype_finds_its_rows(rows, index):
    g = grad(lambda t: t[index].sum())(np.zeros((rows, 64)))
    want = np.zeros((rows, 64))
    np.add.at(want, index.astype(int), 1.0)
    np.testing.assert_array_equal(g, want)
