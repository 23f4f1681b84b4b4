"""Calls of functions that act on each element alone."""

import numpy as np

ONE = [((3, 4),), ((0, 2),), ((),), ((1,),)]
TWO = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 1, 3), (1, 3)), ((2, 2), (2, 2)),
       ((0, 3), (1, 3)), ((1,), ())]
CASES = []


def call(*args, **options):
    """Returns a call of the function with the arrays in front and these arguments behind them."""
    return lambda f, *arrays: f(*arrays, *args, **options)


UNARY = {
    "real": "positive negative square absolute fabs exp exp2 expm1 sin cos tan arctan sinh cosh tanh arcsinh deg2rad "
            "radians rad2deg degrees conjugate",
    "positive": "sqrt cbrt log log2 log10 log1p reciprocal",
    "unit": "arcsin arccos arctanh",
    "above one": "arccosh",
}
BINARY = ("add subtract multiply divide power float_power arctan2 hypot logaddexp logaddexp2 maximum minimum fmax fmin "
          "remainder fmod")
for draw, names in UNARY.items():
    for name in names.split():
        CASES.append((getattr(np, name), call(), draw, ONE))
        CASES.append((getattr(np, name), call(dtype=np.float64), draw, [((2, 3),)]))
for name in BINARY.split():
    CASES.append((getattr(np, name), call(), "positive", TWO))
    CASES.append((getattr(np, name), call(0.75), "positive", ONE))
    CASES.append((getattr(np, name), call(dtype=np.float64), "positive", [((2, 3), (3,))]))
    CASES.append((getattr(np, name), lambda f, a: f(2, a), "positive", [((2, 3),)]))

CASES += [
    (np.copysign, call(-1.0), "positive", ONE),
    (np.copysign, call(np.array([-0.0, 2.0])), "real", [((3, 2),)]),
    (np.copysign, call(-1.0, dtype=np.float64), "positive", [((2, 3),)]),
    (np.heaviside, call(), "real", TWO), (np.heaviside, call(0.5, dtype=np.float64), "real", [((3,),)]),
    (np.nextafter, call(9.0), "real", ONE), (np.nextafter, call(9.0, dtype=np.float64), "real", [((3,),)]),
    (np.where, lambda f, a, b: f(np.array([True, False, True]), a, b), "real", [((2, 3), (3,)), ((), (3,)), ((3,), (2, 1))]),
    (np.where, lambda f, a: f([[True], [False]], a, 0.0), "real", [((3,),), ((),), ((0,),)]),
    (np.where, lambda f, a: f(a), "real", [((3,),), ((2, 3),)]),
    (np.nan_to_num, call(), "real", ONE), (np.nan_to_num, call(nan=1.0, posinf=2.0, neginf=-2.0), "real", ONE),
    (np.real_if_close, call(), "real", ONE), (np.real_if_close, call(tol=10), "real", ONE), (np.real, call(), "real", ONE),
    (np.clip, call(-0.5, 0.5), "real", ONE), (np.clip, call(0.1, None), "real", ONE), (np.clip, call(None, 0.1), "real", ONE),
    (np.clip, call(1.0, -1.0), "real", ONE), (np.clip, call(a_min=0.0, a_max=np.array([1.0, 2.0])), "real", [((3, 2),)]),
    (np.clip, call(min=0.0, max=1.0), "real", ONE), (np.clip, call(-0.5, 0.5, dtype=np.float64), "real", [((3,),)]),
    (np.clip, lambda f, a, b: f(a, b, b + 1.0), "real", [((3, 4), (4,)), ((2, 2), (2, 2)), ((), (3,))]),
    (np.clip, lambda f, a, b: f(a, max=b), "real", [((3, 4), (4,))]),
    (np.sinc, call(), "real", ONE), (np.sinc, lambda f, a: f(a * 1e-5), "real", ONE),
    (np.interp, call([-1.0, 0.5, 9.0], [1.0, 2.0, -3.0]), "real", ONE), (np.interp, call([0.0], [2.0]), "real", ONE),
    (np.interp, call([-0.2, 0.2], [1.0, 2.0], left=7.0, right=8.0), "real", ONE),
    (np.interp, lambda f, x, y: f(x, np.arange(5.0), y), "positive", [((7,), (5,)), ((2, 2), (5,))]),
    (np.interp, lambda f, x, left: f(x, [0.0, 1.0], [1.0, 2.0], left, left), "real", [((7,), ())]),
    (np.interp, lambda f, x, xp: f(x, np.cumsum(xp), [1.0, 5.0, 2.0]), "positive", [((4,), (3,))]),
]

CONSTANT = "floor ceil rint trunc sign fix spacing isfinite isnan isinf isposinf isneginf signbit isreal iscomplex " \
           "isrealobj iscomplexobj logical_not shape ndim size zeros_like ones_like array_repr array_str array2string " \
           "any all count_nonzero argmax argmin argsort nonzero flatnonzero argwhere min_scalar_type common_type".split()
CASES += [(getattr(np, name), call(), "real", [((3, 4),), ((2,),)]) for name in CONSTANT]
CASES += [(getattr(np, name), call(), "positive", TWO) for name in
          "floor_divide equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor "
          "isclose".split()]
CASES += [(f, call(), "real", [((3, 4), (3, 4)), ((2,), (2,))]) for f in (np.allclose, np.array_equal, np.array_equiv)]
CASES += [
    (np.round, call(1), "real", ONE), (np.round, call(decimals=2), "real", ONE), (np.around, call(1), "real", ONE),
    (np.nanargmax, call(axis=0), "real", [((3, 4),)]), (np.nanargmin, call(axis=0), "real", [((3, 4),)]),
    (np.argpartition, call(1), "real", [((3, 4),)]), (np.searchsorted, call(0.2), "sorted", [((5,),)]),
    (np.digitize, call([0.0, 1.0]), "real", ONE), (np.lexsort, lambda f, a: f((a,)), "real", [((4,),)]),
    (np.isin, call([0.0, 1.0]), "real", [((3, 4),)]), (np.histogram_bin_edges, call(3), "positive", [((5,),)]),
    (np.empty_like, lambda f, a: f(a).shape, "real", [((3, 4),)]), (np.can_cast, lambda f, a: f(a.dtype, float), "real", [((3,),)]),
    (np.result_type, call(), "real", [((3,), (2,))]), (np.shares_memory, lambda f, a: f(a, np.ones(2)), "real", [((3,),)]),
    (np.may_share_memory, lambda f, a: f(a, np.ones(2)), "real", [((3,),)]),
]
CASES += [(getattr(np, name), call([0.0, 1.0]), "real", [((3, 4),)]) for name in ("in1d",) if hasattr(np, name)]  # gone from 2.4 on
