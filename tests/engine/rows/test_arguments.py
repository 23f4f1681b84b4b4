"""Every row takes the arguments of NumPy's function, by position and by keyword, or refuses them by name."""

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest

import tinyattn.engine.call as rules
from tinyattn.engine import Tensor, grad
from tinyattn.engine.call import NEVER, name_of
from tinyattn.engine.row import Row
from tinyattn.engine.table import KINDS, ROWS

_spec = importlib.util.spec_from_file_location("compared", Path(__file__).with_name("compared.py"))
compared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(compared)

SIGNED = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 4)  # before, many functions have no signature
NUMPYS = sorted((f for f in KINDS if isinstance(f, np.ufunc) or (getattr(f, "__module__", None) or "").startswith("numpy")), key=name_of)
CALLS = {f: row.call for f, row in ROWS.items() if isinstance(row, Row)}
OPEN = inspect.Parameter.POSITIONAL_OR_KEYWORD


def by_name(function, used=None):
    """Returns the function, called with every argument by keyword that has a name."""
    signature = inspect.signature(function)

    def again(*args, **options):
        bound = signature.bind(*args, **options)
        if used is not None:
            used.update(bound.arguments)
        placed, named = [], {}
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.POSITIONAL_ONLY:
                placed.append(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                placed.extend(value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            else:
                named[name] = value
        return function(*placed, **named)
    return again


def by_place(function):
    """Returns the function, called with every argument by position that has one, where no default stands between."""
    parameters = inspect.signature(function).parameters

    def again(*args, **options):
        bound = inspect.signature(function).bind(*args, **options).arguments
        last = max((i for i, name in enumerate(parameters) if name in bound and parameters[name].kind is OPEN), default=-1)
        placed = [bound.get(p.name, p.default) for i, p in enumerate(parameters.values())
                  if (p.kind is OPEN and i <= last) or (p.kind is p.POSITIONAL_ONLY and p.name in bound)]
        if any(value is np._NoValue for value in placed) or any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
            return function(*args, **options)
        return function(*placed, **{n: a for n, a in options.items() if n not in parameters or parameters[n].kind is not OPEN})
    return again


def given(call, function, arrays):
    """Returns the arguments of the call that a case makes, as NumPy's function would see them."""
    seen = []

    def listen(*args, **options):
        seen.append((args, options))
        return function(*args, **options)

    compared.outcome(call, listen, arrays)
    return seen


def test_every_row_has_a_case():
    tried = {function for function, *_ in compared.CASES}
    missing = sorted(name_of(f) for f in NUMPYS if KINDS[f][0] != "refused" and f not in tried)
    assert not missing


@pytest.mark.skipif(not SIGNED, reason="NumPy before 2.4 lacks some parameters")
def test_every_parameter_is_tried_or_refused():
    used = {}
    for function, call, draw, sets in compared.CASES:
        if function in CALLS:
            arrays = compared.drawn("any", draw, sets[0])
            with compared.quiet(arrays, False):
                for args, options in given(call, function, arrays):
                    bound = CALLS[function].signature.bind(*args, **{n: a for n, a in options.items() if n != "dtype"}
                                                           if isinstance(function, np.ufunc) else options)
                    used.setdefault(function, set()).update(bound.arguments)
    untried = [(name_of(f), name) for f in NUMPYS if f in CALLS
               for name in CALLS[f].signature.parameters if name not in CALLS[f].never and name not in used.get(f, ())]
    assert not untried


@pytest.mark.skipif(not SIGNED, reason="NumPy before 2.4 does not tell the parameters of many functions")
@pytest.mark.parametrize("function", [f for f in NUMPYS if f in CALLS], ids=name_of)
def test_parameters_are_numpys(function):
    theirs, ours = inspect.signature(function).parameters, CALLS[function].signature.parameters
    if isinstance(function, np.ufunc):
        assert len([p for p in theirs.values() if p.kind is p.POSITIONAL_ONLY]) == len([n for n in ours if n != "axis"])
        assert set(theirs) - set(ours) - {"x", "x1", "x2"} <= set(rules.UFUNC)
        return
    assert [(p.name, p.kind) for p in ours.values()] == [(p.name, p.kind) for p in theirs.values()]
    for name, parameter in theirs.items():
        if parameter.default is not np._NoValue and name != "where":
            assert ours[name].default == parameter.default, name


@pytest.mark.skipif(not SIGNED, reason="NumPy before 2.4 does not tell the parameters of many functions")
@pytest.mark.parametrize(("name", "case"), list(zip(compared.NAMES, compared.CASES, strict=True)), ids=compared.NAMES)
def test_arguments_by_position_and_by_keyword_mean_the_same(name, case):
    function, call, draw, sets = case
    arrays = compared.drawn(name, draw, sets[0])
    with compared.quiet(arrays, False):
        for placed in (by_name(function), by_place(function)):
            want = compared.outcome(call, function, arrays)
            assert not isinstance(want, Exception)
            compared.assert_same(call(placed, *[Tensor(a) for a in arrays]), want)


REFUSED = [(f, name) for f in NUMPYS if f in CALLS for name in
           (sorted(NEVER) if isinstance(f, np.ufunc) else CALLS[f].signature.parameters) if name in CALLS[f].never
           and (not isinstance(f, np.ufunc) or name in rules.UFUNC)]


@pytest.mark.parametrize(("function", "argument"), REFUSED, ids=[f"{name_of(f)} {argument}" for f, argument in REFUSED])
def test_what_a_row_cannot_honour_is_refused_by_name(function, argument):
    cases = [(call, compared.drawn("any", draw, sets[0])) for f, call, draw, sets in compared.CASES if f is function]
    args, options = next(seen for call, arrays in cases for seen in given(call, function, arrays))
    args = tuple(Tensor(a) if isinstance(a, np.ndarray) and a.dtype == np.float64 else
                 [Tensor(part) for part in a] if isinstance(a, list) and isinstance(a[0], np.ndarray) else a for a in args)
    value = {"out": np.zeros(3), "where": np.array(False), "order": "F"}.get(argument, 7.5)
    with pytest.raises(TypeError, match=argument) as refusal:
        function(*args, **{**options, argument: value})
    assert function.__name__ in str(refusal.value)


@pytest.mark.parametrize("call", [
    lambda t: np.sum(t, 0, None, np.zeros(3)), lambda t: np.mean(t, 0, None, np.zeros(3)), lambda t: np.max(t, 0, np.zeros(3)),
    lambda t: np.sum(t, 0, None, None, False, 3.0), lambda t: np.sort(t, -1, None, "field"), lambda t: np.median(t, 0, None, True)])
def test_a_refusal_sees_positions_too(call):
    with pytest.raises(TypeError, match=r"(out|initial|order|overwrite_input)= is not honoured"):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize("call", [lambda t: np.sum(t, dtype=int), lambda t: np.prod(t, dtype=complex), lambda t: np.add(t, 1j),
                                  lambda t: np.multiply(t, np.longdouble(2)), lambda t: np.concatenate([t, np.ones(2, complex)]),
                                  lambda t: np.add(t, np.array([None, 1], object)), lambda t: np.linspace(t, 3.0, dtype=int)])
def test_a_result_that_no_tensor_can_hold_is_refused(call):
    with pytest.raises(TypeError, match=r"np\.\w+|unsupported operand"):
        call(Tensor(np.ones(2)))


@pytest.mark.parametrize("call", [
    lambda t: np.pad(t, 1, constant_values=t[0]), lambda t: np.nan_to_num(t, nan=t[0]), lambda t: np.repeat(t, t),
    lambda t: np.copysign(t, t), lambda t: np.where(t, t, 0.0), lambda t: np.roll(t, t[0]), lambda t: np.take(t, [t[0]])])
def test_a_tensor_where_there_is_no_gradient_is_refused(call):
    with pytest.raises(TypeError, match="no gradient with respect to its argument"):
        call(Tensor(np.ones(3)))


@pytest.mark.skipif("newshape" not in inspect.signature(np.reshape).parameters, reason="NumPy from 2.4 on has no such name")
def test_the_old_name_of_a_shape_is_known_as_long_as_numpy_knows_it():
    np.testing.assert_array_equal(grad(lambda t: np.reshape(t, newshape=(2, 3))[0, 2])(np.ones(6)), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
