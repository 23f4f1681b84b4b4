"""Every row of the rule table agrees with NumPy's function in value, dtype and shape, and has the right gradient."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tinyattn.engine import Tensor, grad
from tinyattn.engine.check import directional
from tinyattn.engine.table import KINDS
from tinyattn.engine.tree import leaves

_spec = importlib.util.spec_from_file_location("compared", Path(__file__).with_name("compared.py"))
compared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(compared)


@pytest.mark.parametrize(("name", "case"), list(zip(compared.NAMES, compared.CASES, strict=True)), ids=compared.NAMES)
def test_value_dtype_and_shape_are_numpys(name, case):
    function, call, draw, sets = case
    for shapes in sets:
        for arrays, smooth in compared.regimes(name, draw, shapes):
            with np.errstate(all="warn" if smooth and all(a.size for a in arrays) else "ignore"), compared.quiet(arrays, smooth):
                want = compared.compare(call, function, arrays, [compared.strided_tensor(a) for a in arrays])
                for i in range(len(arrays)):
                    compared.compare(call, function, arrays, [compared.strided_tensor(a) if i == j else a for j, a in enumerate(arrays)])
                if KINDS[function][0] == "differentiable" and not isinstance(want, Exception):
                    check_gradient(call, function, arrays)


def total(result):
    parts = [part for part in leaves(result) if isinstance(part, Tensor)]
    return sum(part.sum() for part in parts) if parts else 0.0


def check_gradient(call, function, arrays):
    for i, a in enumerate(arrays if function not in compared.UNSEEN else ()):
        g = grad(lambda x, i=i: total(call(function, *[x if i == j else other for j, other in enumerate(arrays)])))(a)
        assert (g.dtype, g.shape) == (a.dtype, a.shape)
    for g, a in zip(grad(lambda xs: total(call(function, *xs)))(tuple(arrays)), arrays, strict=True):
        assert (g.dtype, g.shape) == (a.dtype, a.shape)


SMOOTH = [(name, case) for name, case in zip(compared.NAMES, compared.CASES, strict=True) if KINDS[case[0]][0] == "differentiable"]


def flat(result):
    parts = [part.reshape(-1) for part in leaves(result) if hasattr(part, "reshape") and part.dtype == np.float64]
    return np.concatenate([np.zeros(1), *parts])


@pytest.mark.parametrize(("name", "case"), SMOOTH, ids=[name for name, _ in SMOOTH])
def test_gradient_is_the_slope_along_a_random_direction(name, case):
    function, call, draw, sets = case
    for shapes in sets:
        arrays = tuple(compared.drawn(name, draw, shapes))
        with compared.quiet(arrays, all(a.size for a in arrays)):
            if isinstance(compared.outcome(call, function, arrays), Exception):
                continue
            for view in (lambda a: a, compared.strided):
                analytic, numeric = directional(lambda xs, view=view: flat(call(function, *[view(x) for x in xs])), arrays,
                                                np.random.default_rng(1))
                # A central difference at step 1e-6 errs by 1e-12 times the third derivative and eps / 1e-6 of the values.
                assert abs(analytic - numeric) <= 3e-6 * max(1.0, abs(analytic), abs(numeric)) or np.isnan(numeric)


@pytest.mark.parametrize(("name", "case"), SMOOTH, ids=[name for name, _ in SMOOTH])
def test_lists_and_scalars_beside_a_tensor_are_coerced(name, case):
    function, call, draw, sets = case
    for shapes in sets:
        arrays = compared.drawn(name, draw, shapes)
        lists = [a.tolist() for a in arrays]
        for i, a in enumerate(arrays[: len(arrays) if len(arrays) > 1 else 0]):
            with compared.quiet(arrays, all(a.size for a in arrays)):
                compared.compare(call, function, [a if i == j else other for j, other in enumerate(lists)],
                        [Tensor(a) if i == j else other for j, other in enumerate(lists)])
