"""The calls of every row, their inputs, and the comparison of a Tensor's result with NumPy's."""

import importlib.util
import warnings
import zlib
from pathlib import Path

import numpy as np

from tinyattn.engine import Tensor
from tinyattn.engine.call import name_of


def table(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


TABLES = ("elementwise", "folds", "products", "places")
CASES = [case for name in TABLES for case in table(Path(__file__).with_name(f"{name}.py"))]
NAMES = [f"{name_of(function)} {number}" for number, (function, *_) in enumerate(CASES)]
REFUSALS = (TypeError, ValueError, IndexError, ArithmeticError)
SPECIAL = [np.nan, 1.0, -0.0, np.inf, 0.0, 1.0, -1.0, -np.inf, 2.0, -0.0, 1e4]
# NumPy asks their first arguments alone whether they answer for themselves: a Tensor elsewhere is refused by NumPy.
UNSEEN = (np.interp, np.full_like, np.select)
DRAWS = {
    "real": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.uniform(0.3, 2.0, shape),
    "unit": lambda rng, shape: rng.uniform(-0.9, 0.9, shape),
    "above one": lambda rng, shape: rng.uniform(1.2, 3.0, shape),
    "sorted": lambda rng, shape: np.sort(rng.standard_normal(shape)),
    "matrix": lambda rng, shape: rng.standard_normal(shape),
}


def drawn(name, draw, shapes):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    arrays = [np.asarray(DRAWS[draw](rng, shape)) for shape in shapes]
    if draw == "matrix":  # positive definite, for the factor that needs it
        first = arrays[0]
        arrays[0] = first @ np.swapaxes(first, -1, -2) + 3.0 * np.eye(first.shape[-1])
    return arrays


def sprinkled(arrays):
    return [np.resize(np.roll(SPECIAL, -3 * i), a.shape) if a.size else a for i, a in enumerate(arrays)]


def tied(arrays):
    return [np.rint(a) for a in arrays]


def strided(a):
    """Returns the same numbers with steps of -2 along the last axis."""
    return np.repeat(a, 2, axis=-1)[..., ::-2][..., ::-1] if a.ndim else a


def outcome(call, function, arrays):
    try:
        return call(function, *arrays)
    except REFUSALS as error:
        return error


def plain(result):
    return result.value if isinstance(result, Tensor) else np.asarray(result)


def assert_same(got, want):
    if isinstance(want, (list, tuple)) and not isinstance(want, str):
        assert type(got) is type(want)
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            assert_same(g, w)
        return
    got, want = plain(got), np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if got.tobytes() == want.tobytes():  # nearly always, and a hundred times as fast as what says where numbers differ
        return
    np.testing.assert_array_equal(got, want)
    if want.dtype.kind == "f":
        number = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(want[number]))


def compare(call, function, arrays, given):
    want, got = outcome(call, function, arrays), outcome(call, function, given)
    if isinstance(want, Exception):
        assert isinstance(got, Exception), f"NumPy raises {want!r}, a Tensor gives {got!r}"
    elif isinstance(got, TypeError) and function in UNSEEN:
        assert "value" in str(got)
    elif isinstance(got, Exception):
        raise got
    else:
        assert_same(got, want)
    return want


def regimes(name, draw, shapes):
    arrays = drawn(name, draw, shapes)
    for dtype in (np.float64, np.float32, np.float16):
        for change in (list, tied, sprinkled):
            yield [np.asarray(a, dtype) for a in change(arrays)], change is list
    yield [strided(a) for a in arrays], True


def strided_tensor(a):
    """Returns a Tensor with the strides of the array, which copying would lose."""
    return Tensor.of(a, Tensor(a).node)


class quiet:
    """Silences NumPy's warnings for inputs that deserve them: special values, and means of empty arrays."""

    def __init__(self, arrays, smooth):
        self.silent = not smooth or not all(a.size for a in arrays) or arrays[0].dtype == np.float16
        self.stack = None

    def __enter__(self):
        self.stack = warnings.catch_warnings()
        self.stack.__enter__()
        warnings.simplefilter("ignore", DeprecationWarning)  # np.in1d, as long as it is there
        if self.silent:
            warnings.simplefilter("ignore", RuntimeWarning)

    def __exit__(self, *error):
        self.stack.__exit__(*error)
