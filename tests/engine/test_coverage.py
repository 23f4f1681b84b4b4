"""Every public NumPy function that could be given a Tensor is listed: differentiable, constant or refused, and why."""

import numpy as np
import pytest

from tinyattn.engine import Tensor
from tinyattn.engine.table import KINDS

PUBLIC = [(f"{module.__name__}.{name}", getattr(module, name))
          for module in (np, np.linalg) for name in sorted(dir(module))
          if not name.startswith("_") and (isinstance(getattr(module, name), np.ufunc)
                                           or hasattr(getattr(module, name), "_implementation"))]


@pytest.mark.parametrize(("name", "function"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_a_numpy_function_is_differentiable_constant_or_refused(name, function):
    kind, reason = KINDS[function]
    assert kind in ("differentiable", "constant", "refused")
    assert reason


REFUSED = [(name, f) for name, f in PUBLIC if KINDS.get(f, ("",))[0] == "refused"]


@pytest.mark.parametrize(("name", "function"), REFUSED, ids=[name for name, _ in REFUSED])
def test_a_refusal_names_the_function_and_the_reason(name, function):
    from tinyattn.engine.dispatch import apply
    with pytest.raises(TypeError) as refusal:
        apply(function, (Tensor(np.eye(2)),), {})
    assert function.__name__ in str(refusal.value)
    assert KINDS[function][1] in str(refusal.value)


def test_an_argument_without_a_gradient_is_named():
    with pytest.raises(TypeError, match=r"np\.copysign has no gradient with respect to its argument 1"):
        np.copysign(np.ones(2), Tensor(np.ones(2)))
    with pytest.raises(TypeError, match=r"np\.sum: initial= is not honoured"):
        np.sum(Tensor(np.ones(2)), initial=3.0)
    with pytest.raises(TypeError, match=r"np\.subtract\.reduce has no gradient"):
        np.subtract.reduce(Tensor(np.ones(2)))
    with pytest.raises(TypeError, match=r"np\.add: where="):
        np.add(Tensor(np.ones(2)), 1.0, where=np.array([True, False]))


def test_keywords_find_their_place():
    x = Tensor(np.array([1.0, 4.0]))
    np.sum(a=np.concatenate((x, x))).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 2.0])
    y = Tensor(np.array([1.0, 4.0]))
    np.sum(np.clip(y, a_min=2.0, a_max=None)).backward()
    np.testing.assert_array_equal(y.grad, [0.0, 1.0])
