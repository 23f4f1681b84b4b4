"""The methods of ndarray on a Tensor, and every use that would leave the graph without saying so."""

import copy
import inspect
import math
import pickle

import numpy as np
import pytest

from tinyattn.engine import Tensor, grad
from tinyattn.engine.methods import Methods

SIGNED = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 4)
X = np.random.default_rng(0).standard_normal((2, 3))
CALLS = {
    "astype": lambda t: t.astype(np.float32), "reshape": lambda t: t.reshape(3, -1, order="F"), "transpose": lambda t: t.transpose(-1, 0),
    "swapaxes": lambda t: t.swapaxes(0, -1), "squeeze": lambda t: t[:1].squeeze(0), "flatten": lambda t: t.flatten("F"),
    "ravel": lambda t: t.T.ravel("K"), "copy": lambda t: t.copy("F"), "clip": lambda t: t.clip(-0.1, max=0.5),
    "dot": lambda t: t.dot([1.0, 2.0, 3.0]), "sum": lambda t: t.sum(-1, np.float32, keepdims=True), "prod": lambda t: t.prod(0, np.float32),
    "mean": lambda t: t.mean((0, 1), keepdims=True), "var": lambda t: t.var(1, None, None, 1), "std": lambda t: t.std(axis=0, ddof=1, keepdims=True),
    "max": lambda t: t.max(-1, keepdims=True), "min": lambda t: t.min(axis=0), "cumsum": lambda t: t.cumsum(1, np.float32),
    "argmax": lambda t: t.argmax(1, keepdims=True), "any": lambda t: t.any(0), "all": lambda t: t.all(1, keepdims=True),
    "T": lambda t: t.T, "mT": lambda t: t.mT,
}
NAMES = [name for name in vars(Methods) if not name.startswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_a_method_gives_what_ndarrays_gives(name):
    got, want = CALLS[name](Tensor(X)), CALLS[name](X)
    value = got.value if isinstance(got, Tensor) else got
    assert isinstance(got, Tensor) == (np.asarray(want).dtype.kind == "f")
    assert (value.dtype, value.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(value, want)


@pytest.mark.skipif(not SIGNED, reason="NumPy before 2.4 does not tell the parameters of ndarray's methods")
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("T", "mT")])
def test_a_method_takes_what_ndarrays_takes(name):
    theirs, ours = (inspect.signature(getattr(kind, name)).parameters for kind in (np.ndarray, Tensor))
    if name in FOLDS:  # its signature hides keepdims among the keywords, and yet it may stand behind the others
        ours = {n: p for n, p in ours.items() if n != "keepdims"}
    positional = [n for n, p in theirs.items() if p.kind is not p.KEYWORD_ONLY]
    assert [n for n in ours if n in theirs] == [n for n in theirs if n in ours]
    assert set(ours) == set(theirs), positional
    for parameter in ours:
        if parameter != "self":
            assert ours[parameter].default == theirs[parameter].default


FOLDS = {"sum": (0, None, None, True), "prod": (-1, None, None, True), "mean": (1, np.float32, None, True), "max": (0, None, True),
         "min": (None, None, True), "var": (1, None, None, 1, True), "std": (0, None, None, 0.5, True)}


@pytest.mark.parametrize("name", FOLDS)
def test_keepdims_may_stand_behind_the_others(name):
    got, want = getattr(Tensor(X), name)(*FOLDS[name]), getattr(X, name)(*FOLDS[name])
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(got.value, want)


@pytest.mark.parametrize("call", [lambda t: t.sum(out=np.zeros(3)), lambda t: t.mean(where=X > 0), lambda t: t.var(mean=0.0),
                                  lambda t: t.max(initial=0.0), lambda t: t.clip(0.0, 1.0, np.zeros((2, 3))), lambda t: t.dot(X.T, np.zeros((2, 2))),
                                  lambda t: t.astype(np.float32, order="F"), lambda t: t.cumsum(0, None, X.copy())])
def test_a_method_refuses_by_name(call):
    with pytest.raises(TypeError, match=r"(sum|mean|var|max|clip|dot|astype|cumsum): ?\w*=? ?"):
        call(Tensor(X))


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, np.copy, lambda t: t.copy(), lambda t: copy.deepcopy([t])[0],
                                  lambda t: np.stack(list(t)), lambda t: np.stack([*t]), lambda t: np.concatenate([r[None] for r in t])])
def test_a_copy_stays_on_the_graph(twin):
    np.testing.assert_array_equal(grad(lambda t: (twin(t * 2.0) ** 2).sum())(np.array([1.0, 2.0])), [8.0, 16.0])


@pytest.mark.parametrize("leave", [
    pickle.dumps, lambda t: copy.copy(t).__reduce__(), memoryview, bytes, np.frombuffer, lambda t: np.array([t, t]), lambda t: np.array(t, copy=True),
    lambda t: np.array(t, np.float64), lambda t: np.asarray([t[0], t[1]]), lambda t: np.fromiter(t, float), lambda t: np.full_like(X, t[0]),
    lambda t: np.full((2,), t[0]), lambda t: X.__setitem__((0, 0), t[0]), lambda t: X[:1].fill(t[0]), lambda t: math.sqrt(t[0]), lambda t: float(t[0]),
    lambda t: int(t[0]), lambda t: bool(t[0]), lambda t: "%.3f" % t[0], lambda t: round(t[0]), lambda t: np.nditer(t), lambda t: np.vectorize(abs)(t),  # noqa: UP031
    lambda t: np.ma.array(t), lambda t: X.dot([t, t]), lambda t: np.random.default_rng(0).permutation(t), lambda t: np.fft.fft(t),
    lambda t: np.histogram(t, weights=t), lambda t: np.copyto(X, t), lambda t: f"{t:.3f}", lambda t: np.ndarray.sum(t), lambda t: X.astype(float).put(0, t[0])])
def test_every_other_way_out_is_refused(leave):
    before = X.copy()
    with pytest.raises((TypeError, ValueError, AttributeError)):
        leave(Tensor(np.array([1.0, 2.0])))
    np.testing.assert_array_equal(X, before)


def test_a_list_of_tensors_beside_a_tensor_is_stacked_and_not_cut():
    x = np.array([1.0, 2.0])
    for f in (lambda t: (t * [t[0], t[1]]).sum(), lambda t: np.dot(t, [t[0], t[1]]), lambda t: np.add([t, t], t * 0.0)[0] @ t,
              lambda t: np.clip(t, [t[0] * 0.0, 0.0], None) @ t):
        np.testing.assert_array_equal(grad(f)(x), 2.0 * x)


def test_numbers_are_formatted_and_arrays_are_not():
    assert f"{Tensor(np.array(1.23456)):.3f} {Tensor(np.array(2.0))}" == "1.235 Tensor(array(2.))"
    assert f"{Tensor(np.float32(0.5)):8.2e}" == "5.00e-01"
    with pytest.raises(TypeError, match=r"shape \(2,\) has no format '.3f'"):
        format(Tensor(np.ones(2)), ".3f")
    with pytest.raises(TypeError, match="no subclasses"):
        type("Mine", (Tensor,), {})
