"""A row remembers, per kinds of arguments, how to treat a call; a call with other kinds of arguments is looked at anew."""

import numpy as np
import pytest

from tinyattn.engine import Tensor
from tinyattn.engine.call import KINDS_KEPT, Call, signature_of
from tinyattn.engine.table import ROWS


@pytest.fixture
def x():
    return Tensor(np.arange(6.0).reshape(2, 3))


def test_an_option_that_is_not_honoured_is_refused_after_calls_that_did_not_say_it(x):
    np.sum(x, 0, None, None, False)
    with pytest.raises(TypeError, match="initial"):
        np.sum(x, 0, None, None, False, 2.0)
    with pytest.raises(TypeError, match="where"):
        np.sum(x, where=np.zeros((2, 3), bool))


def test_a_tensor_where_none_belongs_is_refused_after_a_number_there(x):
    np.sum(x, axis=0)
    with pytest.raises(TypeError, match="np.sum has no gradient with respect to its argument 1"):
        np.sum(x, axis=Tensor(np.array(0.0)))
    np.transpose(x, (1, 0))
    with pytest.raises(TypeError, match="np.transpose has no gradient with respect to its argument"):
        np.transpose(x, (1, Tensor(np.array(0.0))))


def test_a_constant_array_that_its_owner_changes_changes_no_gradient(x):
    factor = np.ones((2, 3))
    for expected in (1.0, 7.0):
        out = np.multiply(x, factor)
        factor[:] = 7.0
        x.grad = None
        out.backward(np.ones((2, 3)))
        np.testing.assert_array_equal(x.grad, np.full((2, 3), expected))


def test_a_row_remembers_a_bounded_number_of_kinds():
    call = Call(np.add, signature_of(np.add, ()), "a b")
    for i in range(2 * KINDS_KEPT):
        call.places((1.0,) * i, {})
    assert len(call.known_places) == KINDS_KEPT
    assert ROWS[np.add].call.places((1.0, 2.0), {}) == ()
