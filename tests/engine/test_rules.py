"""Every rule agrees with central differences along random directions, in first and second derivatives."""

import zlib

import numpy as np
import pytest

import tinyattn.engine  # noqa: F401
from tinyattn.engine import grad, vjp
from tinyattn.engine.call import name_of
from tinyattn.engine.check import directional
from tinyattn.engine.table import KINDS
from tinyattn.engine.tree import map_tree

A, B, V, S = (3, 4), (2, 3, 3), (5,), ()
MASK = np.arange(12).reshape(3, 4) % 3 == 0
LINALG = np.eye(3) * 3.0


def normal(*shapes):
    return lambda rng: tuple(np.asarray(rng.standard_normal(shape)) for shape in shapes)


def positive(*shapes):
    return lambda rng: tuple(np.asarray(rng.uniform(0.3, 2.0, shape)) for shape in shapes)


def inside(*shapes):
    return lambda rng: tuple(np.asarray(rng.uniform(-0.9, 0.9, shape)) for shape in shapes)


UNARY = {
    normal: "positive negative square absolute fabs exp exp2 expm1 sin cos tan arctan sinh cosh tanh arcsinh deg2rad "
            "radians rad2deg degrees sinc nan_to_num real real_if_close copy",
    positive: "sqrt cbrt log log2 log10 log1p reciprocal",
    inside: "arcsin arccos arctanh",
}
CASES = [(f"{name} {shape}", lambda x, f=getattr(np, name): f(x), draw(shape))
         for draw, names in UNARY.items() for name in names.split() for shape in (A, (0, 2), S)]
CASES += [("arccosh", lambda x: np.arccosh(x + 1.0), positive(A))]
CASES += [(f"{name} {a} {b}", lambda x, y, f=getattr(np, name): f(x, y), positive(a, b))
          for name in "add subtract multiply divide power float_power arctan2 hypot logaddexp logaddexp2 maximum minimum "
                      "fmax fmin".split()
          for a, b in ((A, A), (A, (4,)), ((3, 1), (1, 4)), (S, A), ((2, 2), (2, 2)))]
CASES += [
    ("copysign", lambda x: np.copysign(x, -1.0), normal(A)),
    ("remainder", lambda x, y: np.remainder(x, y), lambda rng: (np.array([5.3, -1.2]), np.array([2.1, 0.7]))),
    ("fmod", lambda x, y: np.fmod(x, y), lambda rng: (np.array([5.3, -1.2]), np.array([2.1, 0.7]))),
    ("where", lambda x, y: np.where(MASK, x, y), normal(A, (4,))),
    ("clip", lambda x: np.clip(x, -0.5, 0.5), normal(A)),
    ("clip low", lambda x: np.clip(x, 0.1, None), normal(A)),
    ("clip array", lambda x, y: np.clip(x, y - 1.0, y + 0.5), normal(A, A)),
    ("interp", lambda x, y: np.interp(x, np.arange(5.0), y), lambda rng: (rng.uniform(-1, 5, (7,)),
                                                                          rng.standard_normal(5))),
    ("sinc near 0", np.sinc, lambda rng: (np.array([1e-6, -3e-5, 0.4]),)),
    ("solve", np.linalg.solve, lambda rng: (rng.standard_normal((2, 3, 3)) + LINALG, rng.standard_normal((2, 3, 2)))),
    ("solve vector", np.linalg.solve, lambda rng: (rng.standard_normal((3, 3)) + LINALG, rng.standard_normal(3))),
    ("inv", np.linalg.inv, lambda rng: (rng.standard_normal((2, 3, 3)) + LINALG,)),
    ("det", np.linalg.det, lambda rng: (rng.standard_normal((2, 3, 3)) + LINALG,)),
    ("concatenate", lambda x, y: np.concatenate((x, y), axis=1), normal(A, (3, 2))),
    ("concatenate flat", lambda x, y: np.concatenate((x, y), axis=None), normal(A, V)),
    ("concatenate constant", lambda x: np.concatenate((np.ones((1, 4)), x)), normal(A)),
    ("stack", lambda x, y: np.stack((x, y), axis=-1), normal(A, A)),
    ("vstack", lambda x, y: np.vstack((x, y)), normal(A, (4,))), ("hstack", lambda x, y: np.hstack((x, y)), normal(A, A)),
    ("dstack", lambda x, y: np.dstack((x, y)), normal(A, A)),
    ("column_stack", lambda x, y: np.column_stack((x, y)), normal(A, (3,))),
    ("append", lambda x, y: np.append(x, y), normal(A, V)),
    ("split", lambda x: np.split(x, 2, axis=1)[1], normal(A)),
    ("array_split", lambda x: np.array_split(x, 3)[0], normal(V)),
    ("split at", lambda x: np.split(x, [1, 4])[1], normal(V)),
    ("hsplit", lambda x: np.hsplit(x, 2)[0], normal(A)), ("vsplit", lambda x: np.vsplit(x, 3)[2], normal(A)),
    ("dsplit", lambda x: np.dsplit(x, 3)[1], normal(B)),
    ("broadcast_arrays", lambda x, y: np.broadcast_arrays(x, y)[1], normal(A, (4,))),
    ("repeat", lambda x: np.repeat(x, 3, axis=1), normal(A)), ("repeat each", lambda x: np.repeat(x, [0, 2, 1], 0), normal(A)),
    ("tile", lambda x: np.tile(x, (2, 3)), normal(A)), ("rollaxis", lambda x: np.rollaxis(x, 2), normal(B)),
    ("delete", lambda x: np.delete(x, 1, axis=0), normal(A)), ("resize", lambda x: np.resize(x, (4, 4)), normal(A)),
    ("pad", lambda x: np.pad(x, ((1, 2), (0, 1))), normal(A)),
    ("pad value", lambda x: np.pad(x, 1, constant_values=3.0), normal(A)),
    ("pad reflect", lambda x: np.pad(x, 2, mode="reflect"), normal(A)),
    ("einsum ij,jk", lambda x, y: np.einsum("ij,jk->ik", x, y), normal(A, (4, 2))),
    ("einsum implicit", lambda x, y: np.einsum("ij,jk", x, y), normal(A, (4, 2))),
    ("einsum ...", lambda x, y: np.einsum("...ij,...jk->...ik", x, y), normal(B, (3, 4))),
    ("einsum three", lambda x, y, z: np.einsum("ij,jk,k->i", x, y, z), normal(A, (4, 2), (2,))),
    ("einsum sum", lambda x: np.einsum("ij->j", x), normal(A)), ("einsum all", lambda x: np.einsum("ij->", x), normal(A)),
    ("einsum diagonal", lambda x: np.einsum("ii->i", x), normal((3, 3))),
    ("einsum trace", lambda x: np.einsum("ii", x), normal((3, 3))),
    ("einsum repeated", lambda x, y: np.einsum("iij,j->i", x, y), normal((2, 2, 3), (3,))),
    ("einsum folded", lambda x, y: np.einsum("ij,k->k", x, y), normal(A, V)),
    ("einsum stretched", lambda x, y: np.einsum("ij,ij->ij", x, y), normal((3, 1), A)),
    ("einsum optimize", lambda x, y, z: np.einsum("ij,jk,kl->il", x, y, z, optimize=True), normal(A, (4, 2), (2, 3))),
    ("tensordot", lambda x, y: np.tensordot(x, y, 1), normal(A, (4, 2))),
    ("tensordot axes", lambda x, y: np.tensordot(x, y, axes=([0, 1], [1, 0])), normal((3, 4, 2), (4, 3))),
    ("norm zero", lambda x: np.linalg.norm(x * np.array([[1.0], [0.0], [2.0]]), axis=1), normal(A)),
    ("prod zero", lambda x: np.prod(x * np.array([1.0, 0.0, 2.0, 1.0]), axis=1), normal(A)),
    ("prod two zeros", lambda x: np.prod(x * np.array([1.0, 0.0, 0.0, 1.0]), axis=1), normal(A)),
    ("take_along_axis", lambda x: np.take_along_axis(x, np.array([[0, 0], [3, 1], [2, 2]]), 1), normal(A)),
    ("take", lambda x: np.take(x, [0, 2, 2], axis=1), normal(A)), ("take flat", lambda x: np.take(x, [5, 5]), normal(A)),
    ("compress", lambda x: np.compress([True, False, True], x, axis=0), normal(A)),
    ("extract", lambda x: np.extract(MASK, x), normal(A)),
    ("diag", np.diag, normal(V)), ("diag of matrix", lambda x: np.diag(x, 1), normal(A)),
    ("index", lambda x: x[1], normal(A)), ("index slice", lambda x: x[::-1, 1:3], normal(A)),
    ("index new axis", lambda x: x[:, None, ..., 2], normal(A)),
    ("index repeated", lambda x: x[np.array([0, 0, 2, -1])], normal(A)),
    ("index large", lambda x: x[np.arange(600) % 3], normal((3, 10))),
    ("index pairs", lambda x: x[np.array([0, 0]), np.array([1, 1])], normal(A)),
    ("index boolean", lambda x: x[MASK], normal(A)),
    ("window view", lambda x: np.lib.stride_tricks.sliding_window_view(x, 3), normal(V)),
    ("astype", lambda x: x.astype(np.float64) * 2.0, normal(A)),
    ("reduce add", lambda x: np.add.reduce(x, axis=1), normal(A)), ("reduce max", lambda x: np.maximum.reduce(x), normal(A)),
    ("reduce multiply", lambda x: np.multiply.reduce(x), normal(A)), ("accumulate", lambda x: np.add.accumulate(x), normal(A)),
    ("linalg.diagonal", lambda x: np.linalg.diagonal(x), normal(B)), ("linalg.trace", lambda x: np.linalg.trace(x), normal(B)),
    ("linalg.outer", lambda x, y: np.linalg.outer(x, y), normal(V, V)),
    ("linalg.matmul", lambda x, y: np.linalg.matmul(x, y), normal(A, (4, 2))),
    ("linalg.vecdot", lambda x, y: np.linalg.vecdot(x, y), normal(A, A)),
    ("linalg.tensordot", lambda x, y: np.linalg.tensordot(x, y, axes=1), normal(A, (4, 2))),
    ("linalg.matrix_transpose", lambda x: np.linalg.matrix_transpose(x), normal(B)),
    ("linalg.vector_norm", lambda x: np.linalg.vector_norm(x, axis=0), normal(A)),
    ("average", lambda x, w: np.average(x, axis=1, weights=w), positive(A, (4,))),
    ("nanmean", lambda x: np.nanmean(np.where(MASK, np.nan, x), axis=0), normal(A)),
    ("conjugate", np.conjugate, normal(A)),
    ("diff", lambda x: np.diff(x, 2), normal(V)),
]
CASES += [(f"{name} {axis} {keep}", lambda x, f=getattr(np, name), a=axis, k=keep: f(x, axis=a, keepdims=k), normal(B))
          for name in "sum mean prod max min amax amin var std ptp nansum".split()
          for axis in (None, 0, -1, (0, 2)) for keep in (False, True)]
CASES += [(f"{name} {axis}", lambda x, f=getattr(np, name), a=axis: f(x, axis=a), normal(B))
          for name in "cumsum cumprod sort flip".split() for axis in (None, 0, -1)]
CASES += [("var ddof", lambda x: np.var(x, axis=0, ddof=1), normal(A))]
CASES += [(f"norm {order} {axis}", lambda x, o=order, a=axis: np.linalg.norm(x, o, a), normal(A))
          for order, axis in ((None, None), ("fro", None), (None, 1), (1, 0), (2, 1), (3, 1), (np.inf, 1), (-np.inf, 0))]
CASES += [(f"{name} {a} {b}", lambda x, y, f=getattr(np, name): f(x, y), normal(a, b))
          for name in ("matmul", "dot") for a, b in ((A, (4, 2)), ((4,), (4,)), ((4,), (4, 2)), (A, (4,)), (B, (3, 2)))]
CASES += [(f"matmul {a} {b}", lambda x, y: x @ y, normal(a, b))
          for a, b in ((B, B), ((1, 3, 2), (4, 2, 3)), ((5, 1, 3, 2), (4, 2, 3)), ((2, 3, 3), (3,)), ((3,), (2, 3, 2)),
                       ((0, 3), (3, 2)), ((2, 0), (0, 3)))]
CASES += [(f"{name}", lambda x, y, f=getattr(np, name): f(x, y), normal(V, V)) for name in ("inner", "vdot", "outer", "vecdot")]
CASES += [(f"kron {a} {b}", np.kron, normal(a, b)) for a, b in ((A, (2, 3)), (V, V), ((2,), (2, 2)))]
CASES += [(name, lambda x, f=getattr(np, name), o=options: f(x, **o), normal(B)) for name, options in (
    ("reshape", {"shape": (6, 3)} if int(np.__version__[0]) >= 2 and np.__version__ >= "2.1" else {"newshape": (6, 3)}),
    ("ravel", {}), ("expand_dims", {"axis": 1}), ("squeeze", {}), ("atleast_1d", {}), ("atleast_2d", {}),
    ("swapaxes", {"axis1": 0, "axis2": 2}), ("transpose", {"axes": (2, 0, 1)}), ("matrix_transpose", {}),
    ("moveaxis", {"source": 0, "destination": 2}), ("broadcast_to", {"shape": (4, 2, 3, 3)}), ("roll", {"shift": 2, "axis": 1}),
    ("rot90", {}), ("tril", {"k": -1}), ("triu", {"k": 1}), ("diagonal", {}), ("trace", {"offset": 1}), ("fliplr", {}),
    ("flipud", {})) if name not in ("reshape", "swapaxes", "atleast_1d", "atleast_2d")]
CASES += [("reshape", lambda x: np.reshape(x, (6, 3)), normal(B)), ("swapaxes", lambda x: np.swapaxes(x, 0, 2), normal(B)),
          ("atleast_1d", lambda x: np.atleast_1d(x), normal(S)), ("atleast_2d", lambda x: np.atleast_2d(x), normal(V)),
          ("atleast_3d", lambda x: np.atleast_3d(x), normal(A)), ("squeeze 1", lambda x: np.squeeze(x, 0), normal((1, 3)))]
CASES += [
    ("convolve", np.convolve, normal(V, (3,))), ("cross", np.cross, normal((4, 3), (3,))),
    ("linalg.cross", np.linalg.cross, normal((4, 3), (4, 3))), ("median", lambda x: np.median(x, axis=1), normal(A)),
    ("full_like", lambda x, y: np.full_like(x, y) * x, normal(A, S)), ("linspace", np.linspace, normal(S, S)),
    ("heaviside", lambda x, y: np.heaviside(x, y), normal(A, A)), ("nextafter", lambda x: np.nextafter(x, 9.0), normal(A)),
    ("meshgrid", lambda x, y: np.meshgrid(x, y)[0], normal(V, V)), ("slogdet", lambda x: np.linalg.slogdet(x)[1], normal((3, 3))),
    ("select", lambda x, y: np.select([MASK], [x], y), normal(A, A)),
    ("cholesky", lambda x: np.linalg.cholesky(x @ x.T + LINALG), normal((3, 3))),
]
if hasattr(np, "cumulative_sum"):
    CASES += [("cumulative_sum", lambda x: np.cumulative_sum(x, axis=0), normal(A)),
              ("cumulative_prod", lambda x: np.cumulative_prod(x, axis=0, include_initial=True), normal(A))]
if hasattr(np, "astype"):
    CASES += [("np.astype", lambda x: np.astype(x, np.float64), normal(A))]
if hasattr(np, "unstack"):
    CASES += [("unstack", lambda x: np.unstack(x)[1], normal(A))]
if hasattr(np, "matvec"):
    CASES += [("matvec", np.matvec, normal(A, (4,))), ("vecmat", np.vecmat, normal((3,), A))]
NAMES = [name for name, _, _ in CASES]


def close(analytic, numeric, *, order):
    # A central difference at step h errs by h^2 (truncation) and eps / h (rounding), of values a few tens large.
    allowed = {1: 3e-6, 2: 3e-5}[order] * max(1.0, abs(analytic), abs(numeric))
    assert abs(analytic - numeric) <= allowed, (analytic, numeric)


def drawn(name, draw):
    return draw(np.random.default_rng(zlib.crc32(name.encode())))


@pytest.mark.parametrize(("name", "f", "draw"), CASES, ids=NAMES)
def test_gradient_of_every_rule(name, f, draw):
    analytic, numeric = directional(lambda xs: f(*xs), drawn(name, draw), np.random.default_rng(1))
    close(analytic, numeric, order=1)


@pytest.mark.parametrize(("name", "f", "draw"), CASES, ids=NAMES)
def test_second_derivative_of_every_rule(name, f, draw):
    def slope(xs):
        gradient = grad(lambda ys: (np.sin(f(*ys)) * 1.3).sum())(xs)
        return sum((g * (i + 1.0)).sum() for i, g in enumerate(gradient))

    analytic, numeric = directional(slope, drawn(name, draw), np.random.default_rng(2))
    close(analytic, numeric, order=2)


@pytest.mark.parametrize(("name", "f", "draw"), CASES, ids=NAMES)
def test_float32_in_gives_float32_gradients(name, f, draw):
    xs = map_tree(lambda a: np.asarray(a, np.float32), drawn(name, draw))
    if "astype" in name:
        return
    for gradient, x in zip(grad(lambda ys: f(*ys).sum())(xs), xs, strict=True):
        assert gradient.dtype == np.float32
        assert gradient.shape == x.shape


def test_every_differentiable_row_is_tried():
    tried = set()

    class Recorder(dict):
        def get(self, key, default=None):
            tried.add(key)
            return dict.get(self, key, default)

    from tinyattn.engine import dispatch
    rows, dispatch.ROWS = dispatch.ROWS, Recorder(dispatch.ROWS)
    try:
        for name, f, draw in CASES:
            grad(lambda ys, f=f: f(*ys).sum())(drawn(name, draw))
    finally:
        dispatch.ROWS = rows
    untried = {name_of(f) for f, (kind, _) in KINDS.items() if (kind == "differentiable" and f not in tried
               and getattr(f, "__module__", "").startswith("numpy")) or (isinstance(f, np.ufunc)
               and kind == "differentiable" and f not in tried)}
    assert not untried


@pytest.mark.parametrize(("f", "x", "want"), [
    (lambda x: (x ** 0).sum(), [0.0, 2.0], [0.0, 0.0]),
    (lambda x: (x ** 2).sum(), [0.0, 3.0], [0.0, 6.0]),
    (lambda x: np.prod(x), [0.0, 2.0, 3.0], [6.0, 0.0, 0.0]),
    (lambda x: np.prod(x), [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]),
    (lambda x: np.linalg.norm(x), [0.0, 0.0], [0.0, 0.0]),
    (lambda x: grad(np.linalg.norm)(x).sum(), [0.0, 2.0], [0.5, 0.0]),
    (lambda x: np.clip(x, 2.0, 1.0).sum(), [0.0, 3.0], [0.0, 0.0]),
    (lambda x: np.clip(0.0, x[0], x[1]), [2.0, 1.0], [0.0, 1.0]),
    (lambda x: np.hypot(x[0], x[1]), [0.0, 0.0], [0.0, 0.0]),
    (lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0).sum(), [0.0, 2.0], [0.0, 0.5]),
    (lambda x: np.max(x), [1.0, 3.0, 3.0], [0.0, 0.5, 0.5]),
    (lambda x: np.maximum(x, 1.0).sum(), [1.0, 2.0, 0.0], [0.5, 1.0, 0.0]),
    (lambda x: np.logaddexp(x, -np.inf).sum(), [-np.inf, 1.0], [0.0, 1.0]),
    (lambda x: np.std(x), [2.0, 2.0], [0.0, 0.0]),
    (lambda x: np.abs(x).sum(), [0.0, -1.0], [0.0, -1.0]),
])
def test_documented_values_where_the_derivative_is_in_doubt(f, x, want):
    np.testing.assert_array_equal(grad(f)(np.array(x)), want)


def test_a_line_of_two_numbers_is_its_ends():
    weights = np.array([2.0, 5.0])
    d_start, d_stop = vjp(lambda ends: np.linspace(ends[0], ends[1], 2), (np.array(1.0), np.array(4.0)))[1](weights)
    assert (d_start, d_stop) == (2.0, 5.0)


def test_gradients_of_arrays_joined_in_depth_are_their_own_slices():
    a, b = np.ones((2, 3, 2)), np.ones((2, 3, 1))
    weights = np.arange(18.0).reshape(2, 3, 3)
    d_a, d_b = vjp(lambda t: np.dstack(t), [a, b])[1](weights)
    np.testing.assert_array_equal(d_a, weights[..., :2])
    np.testing.assert_array_equal(d_b, weights[..., 2:])
