"""Calls of reductions, and of functions that run along an axis."""

import numpy as np

B = [((2, 3, 4),)]
AXES = [((2, 3, 4),), ((2, 0, 3),), ((1, 1, 2),)]
CASES = []


def call(*args, **options):
    """Returns a call of the function with the arrays in front and these arguments behind them."""
    return lambda f, *arrays: f(*arrays, *args, **options)


for name in "sum mean prod max min amax amin var std ptp nansum nanmean median".split():
    f = getattr(np, name)
    CASES.append((f, call(), "real", [((2, 3),), ((),), ((1,),), ((0,),), ((5,),)]))
    for axis in (None, 0, -1, (0, -2), ()):
        if not (axis == () and name in ("median", "ptp")):
            CASES.append((f, call(axis=axis), "real", AXES))
            CASES.append((f, call(axis=axis, keepdims=True), "real", AXES))
for name in "sum prod mean var std nansum nanmean".split():
    CASES.append((getattr(np, name), call(1, np.float64), "real", AXES))
    CASES.append((getattr(np, name), call(dtype=np.float32), "real", [((2, 3),)]))
for f in (np.var, np.std):
    CASES += [(f, call(0, ddof=1), "real", AXES[:2]), (f, call(-1, correction=1), "real", AXES[:2]), (f, call(ddof=0.5), "real", [((6,),)])]
CASES += [
    (np.average, call(), "real", [((2, 3),), ((),), ((0,),)]), (np.average, call(axis=-1, keepdims=True), "real", B),
    (np.average, lambda f, a, w: f(a, -1, w), "positive", [((2, 4), (4,)), ((2, 3, 4), (4,)), ((2, 2), (2, 2))]),
    (np.average, lambda f, a, w: f(a, weights=w), "positive", [((4,), (4,)), ((2, 3), (2, 3))]),
    (np.average, lambda f, a, w: f(a, axis=(0, 2), weights=w), "positive", [((2, 3, 4), (2, 4))]),
    (np.average, lambda f, a: f(a, axis=0, weights=[1.0, 3.0], returned=True), "positive", B),
    (np.average, lambda f, a, w: f(a, axis=0, weights=w, returned=True, keepdims=True), "positive", [((3, 2), (3,))]),
    (np.average, lambda f, a: f(a, returned=True)[0], "positive", B),
    (np.sum, lambda f, a: np.add.reduce(a), "real", B), (np.sum, lambda f, a: np.add.reduce(a, (0, 2), keepdims=True), "real", B),
    (np.sum, lambda f, a: np.add.reduce(a, -1, np.float64, None, True), "real", B),
    (np.max, lambda f, a: np.maximum.reduce(a, -1, None, None, True), "real", B),
    (np.min, lambda f, a: np.minimum.reduce(a, axis=None), "real", B),
    (np.prod, lambda f, a: np.multiply.reduce(a, 1), "real", B),
    (np.cumsum, lambda f, a: np.add.accumulate(a), "real", B), (np.cumsum, lambda f, a: np.add.accumulate(a, -1), "real", B),
    (np.cumprod, lambda f, a: np.multiply.accumulate(a, 1), "real", B),
]
for f in (np.cumsum, np.cumprod):
    CASES += [(f, call(), "real", [((2, 3),), ((),), ((0,),), ((1,),)]), (f, call(axis=-1), "real", AXES),
              (f, call(0, np.float64), "real", AXES)]
CASES += [
    (np.diff, call(), "real", [((5,),), ((2, 3),), ((1,),), ((3, 0),)]), (np.diff, call(2, 0), "real", [((4, 3),), ((1, 2),)]),
    (np.diff, call(n=0), "real", B), (np.diff, call(axis=-2), "real", B), (np.diff, call(prepend=1.0, append=0.0), "real", B),
    (np.diff, lambda f, a, b: f(a, prepend=b, append=b, axis=0), "real", [((3, 2), (1, 2)), ((3,), (2,)), ((3,), ())]),
    (np.convolve, call(), "real", [((5,), (3,)), ((2,), (4,)), ((1,), (1,)), ((3,), ())]),
    *[(np.convolve, call(mode), "real", [((5,), (3,)), ((5,), (2,)), ((2,), (4,)), ((4,), (4,))]) for mode in ("same", "valid", "full")],
    (np.median, call(-1), "real", [((2, 5),), ((3, 4),), ((2, 1),)]),
]
if hasattr(np, "cumulative_sum"):
    for f in (np.cumulative_sum, np.cumulative_prod):
        CASES += [(f, call(), "real", [((4,),), ((),), ((0,),)]), (f, call(axis=-1, dtype=np.float64), "real", AXES),
                  (f, call(axis=0, include_initial=True), "real", AXES)]
