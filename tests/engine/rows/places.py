"""Calls of functions that move, join, cut or choose elements."""

import inspect

import numpy as np

CASES = []


def call(*args, **options):
    """Returns a call of the function with the arrays in front and these arguments behind them."""
    return lambda f, *arrays: f(*arrays, *args, **options)


def joined(**options):
    """Returns a call of the function with the arrays as one list."""
    return lambda f, *arrays: f(list(arrays), **options)


ANY = [((2, 3, 4),), ((2, 0, 3),), ((1, 2, 1),)]
FLAT = [((5,),), ((1,),), ((0,),)]
MASK = np.array([[True, False, True], [False, False, True]])
CASES += [(f, call(), "real", [((2, 3),), ((5,),), ((),), ((0, 2),), ((2, 3, 4),)])
          for f in (np.ravel, np.transpose, np.copy, np.squeeze, np.atleast_1d, np.atleast_2d, np.atleast_3d, np.flip, np.broadcast_arrays)]
CASES += [
    *[(np.ravel, call(order), "real", [((2, 3),), ((2, 3, 4),), ((),)]) for order in "CFAK"],
    *[(np.ravel, lambda f, a, o=order: f(np.transpose(a, (2, 0, 1)), order=o), "real", [((2, 3, 4),)]) for order in "CFAK"],
    *[(np.reshape, call((4, 6), order), "real", [((2, 3, 4),)]) for order in "CFA"],
    *[(np.reshape, lambda f, a, o=order: f(a.T, (4, 6), order=o), "real", [((2, 3, 4),)]) for order in "CFA"],
    (np.reshape, call((-1, 2)), "real", [((2, 3),), ((0, 2),)]), (np.reshape, call(1), "real", [((),), ((1, 1),)]),
    (np.transpose, call((2, 0, 1)), "real", ANY), (np.transpose, call((-1, 0, 1)), "real", ANY), (np.transpose, call(axes=[-2, 0, -1]), "real", ANY),
    (np.transpose, call((-1, 0, 1)), "real", [((3, 3, 3),)]), (np.expand_dims, call(1), "real", ANY), (np.expand_dims, call(axis=(0, -1)), "real", ANY),
    (np.squeeze, call(0), "real", [((1, 3, 1),)]), (np.squeeze, call(axis=(0, -1)), "real", [((1, 3, 1),)]),
    (np.swapaxes, call(0, -1), "real", ANY), (np.matrix_transpose, call(), "real", ANY), (np.moveaxis, call(0, -1), "real", ANY),
    (np.moveaxis, call([0, -1], [-1, 0]), "real", ANY), (np.moveaxis, call((0, 1), (1, 2)), "real", [((3, 3, 3),)]),
    (np.broadcast_to, call((4, 2, 3)), "real", [((2, 3),), ((1, 3),), ((),), ((2, 1),)]), (np.flip, call(-1), "real", ANY), (np.flip, call(axis=(0, 2)), "real", ANY),
    (np.fliplr, call(), "real", [((2, 3),)]), (np.flipud, call(), "real", [((3,),)]), (np.rot90, call(), "real", [((2, 3),)]),
    (np.rot90, call(3, (2, 0)), "real", ANY), (np.roll, call(2), "real", [((2, 3),), ((0,),)]), (np.roll, call([1, -2], axis=(0, -1)), "real", ANY),
    (np.roll, call(np.array([1]), [0]), "real", ANY), (np.roll, call(1, -1), "real", ANY), (np.copy, call("F"), "real", ANY), (np.copy, call(order="C"), "real", ANY),
    (np.atleast_2d, call(), "real", [((3,), ()), ((2, 2), (1,))]), (np.broadcast_arrays, call(), "real", [((3, 1), (4,)), ((), (2,))]),
    (np.meshgrid, call(), "real", [((3,), (4,)), ((2,), (3,), (1,)), ((3,),), ((), (2,)), ((3,), (3,))]),
    (np.meshgrid, call(indexing="ij", sparse=True), "real", [((3,), (4,))]), (np.meshgrid, call(copy=False), "real", [((3,), (4,))]),
    (np.repeat, call(3), "real", [((2, 3),), ((0,),)]), (np.repeat, call([0, 2, 1], -1), "real", [((2, 3),)]), (np.tile, call(2), "real", FLAT),
    (np.tile, call((2, 3)), "real", [((2, 3),), ((3,),), ((),)]), (np.rollaxis, call(-1), "real", ANY), (np.rollaxis, call(0, 2), "real", ANY),
    (np.delete, call(1), "real", [((2, 3),)]), (np.delete, call([0, -1], -1), "real", [((2, 3),)]), (np.resize, call((4, 4)), "real", [((2, 3),), ((),), ((0,),)]),
    (np.pad, call(1), "real", [((2, 3),), ((0,),), ((1,),)]), (np.pad, call(((1, 2), (0, 1)), constant_values=3.0), "real", [((2, 3),)]),
    *[(np.pad, call(2, mode), "real", [((3, 4),), ((1,),)]) for mode in ("edge", "reflect", "symmetric", "wrap")],
    (np.linspace, call(5), "real", [((), ()), ((2, 3), (3,)), ((1,), (2, 1))]), (np.linspace, call(4, endpoint=False, axis=-1), "real", [((2,), (2,))]),
    (np.linspace, call(num=3, retstep=True), "real", [((2,), (2,))]), (np.linspace, call(dtype=np.float32), "real", [((), ())]),
    (np.linspace, call(1), "real", [((), ())]), (np.linspace, call(0), "real", [((), ())]), (np.linspace, lambda f, a: f(0, a, 3, device="cpu"), "real", [((),)]),
    (np.full_like, call(), "real", [((2, 3), ()), ((2, 3), (3,)), ((), ())]), (np.full_like, call(2.0), "real", [((2, 3),)]),
    (np.full_like, lambda f, a, b: f(a, b, np.float64, "F", False, (4, 2)), "real", [((3,), ())]), (np.full_like, call(1, device=None), "real", [((3,),)]),
]
for f in (np.concatenate, np.stack):
    CASES += [(f, joined(), "real", [((2, 3), (2, 3)), ((2, 0), (2, 0)), ((3,), (3,), (3,))]), (f, joined(axis=-1), "real", [((2, 3), (2, 3)), ((2, 1), (2, 1))]),
              (f, joined(axis=0, dtype=np.float64), "real", [((2,), (2,))]), (f, lambda f, a: f(a), "real", [((2, 3),)]), (f, lambda f, a: f((a, [[1.0, 2.0]])), "real", [((1, 2),)])]
CASES += [(np.concatenate, joined(axis=None), "real", [((2, 3), (5,)), ((), (2,)), ((0,), (1, 1))]), (np.concatenate, joined(axis=1), "real", [((2, 3), (2, 1))])]
for f in (np.vstack, np.hstack, np.dstack, np.column_stack):
    CASES.append((f, joined(), "real", [((2, 3), (2, 3)), ((3,), (3,)), ((), ()), ((0,), (0,)), ((2, 2), (2, 2))]))
CASES += [(f, joined(dtype=np.float64), "real", [((2,), (2,))]) for f in (np.vstack, np.hstack)]
CASES += [(f, joined(dtype=np.float32, casting="same_kind"), "real", [((2,), (2,))]) for f in (np.concatenate, np.stack, np.vstack, np.hstack)]
CASES += [
    (np.append, call(), "real", [((2, 3), (2,)), ((3,), ())]), (np.append, call(axis=-1), "real", [((2, 3), (2, 1))]), (np.append, call(4.0), "real", FLAT),
    *[(f, call(cuts, axis), "real", [((6, 2),), ((6, 0),)]) for f in (np.split, np.array_split) for cuts in (2, [1, 4], [4, 1], [0, 9]) for axis in (0, -2)],
    (np.array_split, call(4), "real", [((6,),), ((3,),)]), (np.hsplit, call(2), "real", [((2, 4),), ((4,),)]), (np.hsplit, call([1]), "real", [((2, 3),)]),
    (np.vsplit, call(2), "real", [((4, 1),)]), (np.dsplit, call(3), "real", [((1, 2, 3),)]),
    (np.take_along_axis, call(np.array([[0, 0], [2, -1]]), 1), "real", [((2, 3),), ((1, 3),)]), (np.take_along_axis, call(np.array([1, 0]), None), "real", [((2, 3),)]),
    (np.take_along_axis, call(np.array([[-1, 0, 1]], np.int8), axis=-2), "real", [((2, 3),), ((4, 1),)]), (np.take, call([0, 2, -1], -1), "real", [((2, 3),), ((1, 2, 3),)]),
    (np.take, call([5, 5]), "real", [((2, 3),)]), (np.take, call(1, axis=0), "real", [((2, 3),)]), (np.take, call([-7, 9], 1, mode="wrap"), "real", [((2, 3),)]),
    (np.take, call([[-7, 9]], mode="clip"), "real", [((2, 3),)]), (np.take, call(np.array([[255, 0]], np.uint8), 0), "real", [((256, 2),)]),
    *[(np.sort, call(axis), "real", [((2, 3),), ((4,),), ((3, 1),)]) for axis in (None, 0, -1)], (np.sort, call(kind="stable"), "real", [((4,),), ((),)]), (np.sort, call(stable=True), "real", [((4,),)]),
    *([(np.sort, call(descending=True), "real", [((2, 3),), ((4,),)])] if "descending" in inspect.signature(np.sort).parameters else []),
    (np.compress, lambda f, a: f([True, False], a, axis=-1), "real", [((2, 3),)]), (np.compress, lambda f, a: f([False, True], a), "real", [((2, 3),)]),
    (np.extract, lambda f, a: f(MASK, a), "real", [((2, 3),)]), (np.select, lambda f, a, b: f([MASK, ~MASK], [a, b], 7.0), "real", [((2, 3), (3,))]),
    (np.select, lambda f, a, b: f([MASK], [a], default=b), "real", [((2, 3), ()), ((3,), (3,))]), (np.select, lambda f, a: f([MASK, MASK], [a, 1.0]), "real", [((2, 3),)]),
    (np.tril, call(), "real", [((2, 3),), ((3,),), ((2, 2, 2),)]), (np.tril, call(-1), "real", [((3, 3),)]), (np.triu, call(), "real", [((2, 3),), ((3,),)]), (np.triu, call(k=1), "real", [((3, 3),)]),
    *[(f, call(*args), "real", [((3, 4, 2),), ((2, 2, 2),)]) for f in (np.diagonal, np.trace) for args in ((), (1, 2, 0), (-1, -1, 0), (5,))],
    (np.diagonal, call(offset=1, axis1=1, axis2=0), "real", [((3, 4),)]), (np.trace, call(offset=1, axis1=1, axis2=0, dtype=np.float64), "real", [((3, 4),)]),
    (np.linalg.diagonal, call(), "real", [((2, 3, 4),)]), (np.linalg.diagonal, call(offset=-1), "real", [((2, 3, 4),)]), (np.linalg.trace, call(), "real", [((2, 3, 4),)]),
    (np.linalg.trace, call(offset=1, dtype=np.float64), "real", [((2, 3, 4),)]), (np.diag, call(), "real", [((3,),), ((2, 3),), ((0,),)]), (np.diag, call(-1), "real", [((3,),), ((2, 3),), ((0,),)]),
    (np.lib.stride_tricks.sliding_window_view, call(2), "real", [((5,),)]), (np.lib.stride_tricks.sliding_window_view, call(2, axis=-1), "real", [((2, 3),)]),
]
if hasattr(np, "unstack"):
    CASES += [(np.unstack, call(), "real", [((2, 3),)]), (np.unstack, call(axis=-1), "real", [((2, 3),), ((2, 0),)]), (np.reshape, call((3, 2), copy=True), "real", [((2, 3),)])]
if hasattr(np, "astype"):
    CASES += [(np.astype, call(np.float32), "real", [((2, 3),), ((),)]), (np.astype, call(np.float64, copy=False), "real", [((2, 3),)]), (np.astype, call(np.float64, device=None), "real", [((2,),)])]
