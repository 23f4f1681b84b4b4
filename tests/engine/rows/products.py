"""Calls of products, solutions and norms."""

import numpy as np

CASES = []


def call(*args, **options):
    """Returns a call of the function with the arrays in front and these arguments behind them."""
    return lambda f, *arrays: f(*arrays, *args, **options)


MATMUL = [((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((2, 3, 3), (3, 2)), ((3,), (2, 3, 2)),
          ((2, 3, 3), (3,)), ((1, 3, 2), (4, 2, 3)), ((5, 1, 3, 2), (4, 2, 3)), ((0, 3), (3, 2)), ((2, 0), (0, 3)),
          ((1, 1), (1, 1)), ((3, 3), (3, 3)), ((1, 4), (2, 4, 1))]
PAIRS = [((3, 4), (3, 4)), ((4,), (4,)), ((2, 1, 4), (3, 4)), ((1,), (1,)), ((2, 0), (2, 0))]
CASES += [
    (np.matmul, call(), "real", MATMUL), (np.matmul, lambda f, a, b: a @ b, "real", MATMUL),
    (np.matmul, call(dtype=np.float64), "real", [((3, 4), (4, 2))]), (np.linalg.matmul, call(), "real", MATMUL),
    (np.vecdot, call(), "real", PAIRS), (np.vecdot, call(axis=0), "real", [((3, 4), (3, 4)), ((3, 1), (3, 4))]),
    (np.vecdot, call(dtype=np.float64), "real", [((3,), (3,))]),
    (np.linalg.vecdot, call(), "real", PAIRS), (np.linalg.vecdot, call(axis=0), "real", [((3, 4), (3, 4)), ((3, 1), (3, 4))]),
    (np.dot, call(), "real", [*MATMUL[:5], ((), (3, 2)), ((3,), ()), ((2, 3, 2), (4, 2, 3)), ((2, 0), (0, 3)), ((3, 3), (3, 3))]),
    (np.inner, call(), "real", [((4,), (4,)), ((3, 4), (2, 4)), ((), (3,)), ((2, 3, 2), (2,)), ((3, 3), (3, 3)), ((2, 0), (3, 0))]),
    (np.vdot, call(), "real", [((4,), (4,)), ((2, 3), (2, 3)), ((2, 3), (6,)), ((), ())]),
    (np.outer, call(), "real", [((3,), (4,)), ((2, 2), (3,)), ((), (3,)), ((0,), (2,))]),
    (np.linalg.outer, call(), "real", [((3,), (4,)), ((1,), (1,))]),
    (np.tensordot, call(), "real", [((2, 3, 4), (3, 4, 5))]), (np.tensordot, call(0), "real", [((2,), (3,)), ((), (2,))]),
    (np.tensordot, call(axes=([0, 1], [1, 0])), "real", [((3, 4, 2), (4, 3))]),
    (np.tensordot, call((-1, 0)), "real", [((2, 3), (3, 2)), ((2, 0), (0, 2))]),
    (np.linalg.tensordot, call(axes=1), "real", [((3, 4), (4, 2))]), (np.linalg.tensordot, call(), "real", [((2, 3), (2, 3))]),
    (np.linalg.matrix_transpose, call(), "real", [((3, 4),), ((2, 1, 3),)]),
    (np.kron, call(), "real", [((3, 4), (2, 3)), ((2,), (2, 2)), ((), (3,)), ((2, 1), (1, 2))]),
    (np.cross, call(), "real", [((3,), (3,)), ((4, 3), (3,)), ((4, 1, 3), (2, 3)), ((3, 3), (3, 3)), ((0, 3), (3,))]),
    (np.cross, call(axisa=0, axisb=-2, axisc=1), "real", [((3, 4), (3, 4))]), (np.cross, call(axis=0), "real", [((3, 4), (3, 4))]),
    (np.linalg.cross, call(), "real", [((4, 3), (4, 3))]), (np.linalg.cross, call(axis=0), "real", [((3, 2), (3, 2))]),
]
if hasattr(np, "matvec"):
    CASES += [(np.matvec, call(), "real", [((3, 4), (4,)), ((2, 3, 4), (1, 4))]), (np.matvec, call(dtype=np.float64), "real", [((3, 4), (4,))]),
              (np.vecmat, call(), "real", [((3,), (3, 4)), ((1, 3), (2, 3, 4))]), (np.vecmat, call(dtype=np.float64), "real", [((3,), (3, 4))])]


def einsum(subscripts, **options):
    """Returns the call of einsum by these subscripts."""
    return lambda f, *arrays: f(subscripts, *arrays, **options)


for subscripts, *shapes in (
        ("ij,jk->ik", (3, 4), (4, 2)), ("ij,jk", (3, 4), (4, 2)), ("...ij,...jk->...ik", (2, 3, 3), (3, 4)), ("ij->j", (3, 4)),
        ("ij->", (3, 4)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("iij,j->i", (2, 2, 3), (3,)), ("ij,k->k", (3, 4), (5,)),
        ("ij,ij->ij", (3, 1), (3, 4)), ("ji", (3, 4)), ("i,i", (0,), (0,)), (",i->i", (), (3,)), ("i...->...", (3, 2)),
        ("ij,jk,k->i", (3, 4), (4, 2), (2,)), ("...,...->...", (2, 1), (3,)), ("i j -> j i", (2, 3))):
    CASES.append((np.einsum, einsum(subscripts), "real", [tuple(shapes)]))
CASES += [
    (np.einsum, einsum("ij,jk,kl->il", optimize=True), "real", [((3, 4), (4, 2), (2, 3))]),
    (np.einsum, einsum("ij,j->i", dtype=np.float64, casting="safe"), "real", [((3, 4), (4,))]),
    (np.einsum, lambda f, a, b: f(a, [0, 1], b, [1, 2], [0, 2]), "real", [((3, 4), (4, 2))]),
    (np.einsum, lambda f, a, b: f(a, [0, 1], b, [1, 2]), "real", [((3, 4), (4, 2))]),
    (np.einsum, lambda f, a, b: f(a, [..., 0], b, [0, ...], [...]), "real", [((2, 3), (3,))]),
]
SQUARE = [((3, 3),), ((2, 3, 3),), ((1, 1),), ((0, 2, 2),), ((2, 0, 0),)]
CASES += [
    (np.linalg.inv, call(), "matrix", SQUARE), (np.linalg.det, call(), "matrix", SQUARE),
    (np.linalg.slogdet, call(), "matrix", SQUARE), (np.linalg.cholesky, call(), "matrix", SQUARE),
    (np.linalg.cholesky, call(upper=True), "matrix", SQUARE),
    (np.linalg.solve, call(), "matrix", [((3, 3), (3, 2)), ((2, 3, 3), (2, 3, 2)), ((3, 3), (3,)), ((2, 3, 3), (3,)),
                                         ((3, 3), (4, 3, 1)), ((0, 0), (0, 2))]),
]
for order in (None, 2, 1, 3, 0.5, np.inf, -np.inf, -1):
    CASES += [(np.linalg.norm, call(order), "real", [((4,),), ((1,),)]), (np.linalg.norm, call(order, -1), "real", [((3, 4),)]),
              (np.linalg.norm, call(ord=order, axis=0, keepdims=True), "real", [((3, 4),)]),
              (np.linalg.vector_norm, call(ord=2 if order is None else order, axis=(0, -1)), "real", [((3, 2, 4),)])]
for order in (None, "fro", 1, -1, np.inf, -np.inf):
    CASES += [(np.linalg.norm, call(order), "real", [((3, 4),), ((2, 2),)]), (np.linalg.norm, call(order, (-1, 0), True), "real", [((3, 2, 4),)])]
CASES += [(np.linalg.norm, call(), "real", [((3, 4),), ((2, 3, 2),), ((),), ((0,),)]), (np.linalg.vector_norm, call(), "real", [((2, 3),), ((),)]),
          (np.linalg.vector_norm, call(axis=1, keepdims=True, ord=3), "real", [((2, 3),)])]
