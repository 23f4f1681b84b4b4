"""The steps of a training by kernels: each against its definition, forward, backward and differentiated twice."""

import math
import sys

import ml_dtypes
import numpy as np
import pytest

from tinyattn import kernels, ops
from tinyattn.engine import Tensor, grad, vjp
from tinyattn.kernels.steps import activation, embedding, loss, norm, optimise, product, rotary
from tinyattn.laws import budget
from tinyattn.laws.problem import Problem
from tinyattn.ops.activation import swiglu
from tinyattn.ops.positions.rotary import rotary_from

RNG = np.random.default_rng
threads = sys.modules["tinyattn.kernels.tiles.threads"]  # the package's attribute of this name is the function
TOKENS = RNG(0).integers(0, 37, (3, 11))


def in_numpy(x, *weights):
    return sum(np.sin(x @ weight).sum(axis=-1) for weight in weights)


def by_kernel(x, *weights):
    assert product.fits(x, *weights)
    return sum(np.sin(part).sum(axis=-1) for part in product.project(x, *weights))


# name: kernel, definition, shapes of the arrays that have a gradient. Widths are odd, but where pairs or micro tiles are needed.
STEPS = {
    "rms_norm": (norm.rms_norm, ops.rms_norm, [(3, 11, 37), (37,)]),
    "rms_norm without weight": (norm.rms_norm, ops.rms_norm, [(3, 11, 37)]),
    "layer_norm": (norm.layer_norm, ops.layer_norm, [(3, 11, 37), (37,), (37,)]),
    "layer_norm without bias": (norm.layer_norm, ops.layer_norm, [(70, 5), (5,)]),
    "swiglu": (activation.swiglu, swiglu, [(3, 11, 37), (3, 11, 37)]),
    "gelu": (activation.gelu, ops.gelu, [(3, 11, 37)]),
    "exact_gelu": (activation.exact_gelu, ops.exact_gelu, [(3, 11, 37)]),
    "rotary_from": (lambda x: rotary.rotary_from(x, 7), lambda x: rotary_from(x, 7), [(2, 3, 11, 6)]),
    "cross_entropy": (lambda x: loss.cross_entropy(x, TOKENS), lambda x: ops.cross_entropy(x, TOKENS), [(3, 11, 37)]),
    "embedding": (lambda x: embedding.embedding(x, TOKENS), lambda x: x[TOKENS], [(37, 70)]),
    "one product": (by_kernel, in_numpy, [(3, 24, 32), (32, 64)]),
    "two products": (by_kernel, in_numpy, [(72, 64), (64, 32), (64, 32)]),
    "three products": (by_kernel, in_numpy, [(16, 160), (160, 288), (160, 32), (160, 32)]),
}


def drawn(name, dtype=np.float64, lay=np.asarray):
    rng = RNG(len(name))
    return tuple(lay((3.0 * rng.standard_normal(shape)).astype(dtype)) for shape in STEPS[name][2])


def strided(x):
    """Returns the same numbers with gaps between them, and the first two axes exchanged in memory."""
    wide = np.zeros((*x.shape, 2), x.dtype)
    wide[..., 0] = x
    return wide[..., 0] if x.ndim < 2 else np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)


def with_slopes(f):
    """Returns the function from arrays to the result of f and its gradients, weighted by numbers that differ."""
    def both(*arrays):
        out, pull = vjp(lambda given: f(*given), arrays)
        return [out, *pull(np.cos(np.arange(np.size(out))).reshape(np.shape(out)).astype(np.asarray(out).dtype))]
    return both


def curved(f):
    """Returns the function from arrays to the gradient of the length of the first gradient of f's squares."""
    def length(given):
        slope = grad(lambda x: np.sum(f(x, *given[1:]) ** 2))(given[0])
        return np.sum(slope * slope)
    return lambda *arrays: list(grad(length)(arrays))


def spent(kernel, definition, arrays):
    """Returns the largest error of the kernel in units of what `tinyattn.laws.budget` allows on the same arrays."""
    one = np.ones((1, 1), arrays[0].dtype)  # k and v of a budget's problem, which only its floor of underflow reads
    problem = Problem(arrays[0], one, one, {"rest": tuple(arrays[1:])})
    got = kernel(*arrays)
    assert [out.dtype for out in got] == [arrays[0].dtype] * len(got)
    grown = budget.growing([lambda honest, p: tuple(honest(p.q, *p.options["rest"]))], definition, problem, RNG(0), reorder=False,
                           pool=budget.anywhere)
    return budget.sufficient(grown, got).spent(got)


NUMBERS = {"rate": 0.03, "decay": 0.2, "beta1": 0.8, "beta2": 0.9, "epsilon": 0.05}


def adamw_by_kernel(p, m, r, g, steps):
    return [x for leaf in optimise.moved([(p, m, np.abs(r), g, True)], 0.5, steps=steps, **NUMBERS) for x in leaf]


def adamw_in_numpy(p, m, r, g, steps):
    """Returns the parameter, the mean and the root of the mean square after a step, as the paper of AdamW writes them."""
    rate, decay, beta1, beta2, epsilon = NUMBERS.values()
    mean, square = beta1 * m + (1 - beta1) * 0.5 * g, beta2 * r * r + (1 - beta2) * 0.25 * g * g
    fair_mean, fair_square = mean / (1 - beta1 ** steps), square / (1 - beta2 ** steps)
    return [p - rate * (fair_mean / (np.sqrt(fair_square) + epsilon) + decay * p), mean, np.sqrt(square)]


def check_all(dtype):
    """Raises AssertionError unless all steps, their gradients and AdamW are right; called in processes with other settings of Numba."""
    for name, (kernel, definition, _) in STEPS.items():
        assert spent(with_slopes(kernel), with_slopes(definition), drawn(name, dtype)) <= 1.0, name
    for steps in (1, 9):
        test_a_step_of_adamw_is_the_papers(steps)


@pytest.mark.parametrize("steps", [1, 2, 1000])
def test_a_step_of_adamw_is_the_papers(steps):
    arrays = [x.astype(np.float32) for x in RNG(steps).standard_normal((4, 3, 37))]
    assert spent(lambda *given: adamw_by_kernel(*given, steps), lambda *given: adamw_in_numpy(*given, steps), arrays) <= 1.0


@pytest.mark.parametrize("lay", [np.asarray, strided])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_and_its_gradients_are_the_definitions(name, dtype, lay):
    kernel, definition, _ = STEPS[name]
    assert spent(with_slopes(kernel), with_slopes(definition), drawn(name, dtype, lay)) <= 1.0


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_differentiated_twice(name):
    kernel, definition, _ = STEPS[name]
    assert spent(curved(kernel), curved(definition), drawn(name)) <= 1.0


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (1, 4), (3, 0)])
@pytest.mark.parametrize("name", ["rms_norm without weight", "swiglu", "gelu", "exact_gelu", "rotary_from"])
def test_no_rows_and_single_numbers(name, shape):
    if name == "rotary_from":
        shape = (*shape[:1], 2 * shape[1])
    kernel, definition, shapes = STEPS[name]
    arrays = [RNG(1).standard_normal(shape) for _ in shapes]
    assert spent(with_slopes(kernel), with_slopes(definition), arrays) <= 1.0


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-300])
@pytest.mark.parametrize("name", ["rms_norm", "layer_norm", "swiglu", "gelu", "exact_gelu", "cross_entropy"])
def test_numbers_that_are_not_finite_or_whose_squares_are_not(name, odd):
    kernel, definition, _ = STEPS[name]
    arrays = drawn(name)
    arrays[0][1, 2, 3] = odd
    with np.errstate(all="ignore"):
        got, want = kernel(*arrays), definition(*arrays)
    eps = float(np.finfo(np.float64).eps)
    assert np.array_equal(np.isfinite(got), np.isfinite(want))
    np.testing.assert_allclose(got, want, rtol=64 * eps, atol=64 * eps)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", ["rms_norm", "layer_norm", "swiglu", "gelu", "exact_gelu", "rotary_from", "cross_entropy"])
def test_halves_are_computed_in_float32(name, dtype):
    kernel, definition, _ = STEPS[name]
    arrays = drawn(name, dtype)
    got, want = kernel(*arrays), definition(*arrays)
    assert got.dtype == want.dtype == dtype
    # One unit of the half, where the two results are rounded apart; and of float32, for 1 + tanh in the tail of a GELU.
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=float(ml_dtypes.finfo(dtype).eps),
                               atol=2.0 * float(np.finfo(np.float32).eps * np.abs(arrays[0].astype(np.float32)).max()))


BAD = {
    "rms_norm": [(np.ones((2, 3)), np.ones(4)), (np.ones((2, 3), int), None), (np.float64(1.0), None), ([1.0], None)],
    "layer_norm": [(np.ones((2, 3)), np.ones(4)), (np.ones((2, 3)), None, np.ones((1, 3))), (None,)],
    "swiglu": [([1.0], np.ones(1)), (np.ones(1), "up"), (np.ones(3), np.ones(2))],
    "gelu": [(np.ones(3, int),), (None,)],
    "exact_gelu": [(np.ones(3, complex),)],
    "cross_entropy": [(np.ones((2, 3)), np.array([0, 3])), (np.ones((2, 3)), np.array([0])), (np.ones((2, 3)), np.ones(2)),
                      (np.ones((0, 3)), np.ones(0, int)), (np.ones((2, 3), int), np.array([0, 1])), ([1.0], np.array([0]))],
}
DOORS = {"rms_norm": (norm.rms_norm, ops.rms_norm), "layer_norm": (norm.layer_norm, ops.layer_norm),
         "swiglu": (activation.swiglu, swiglu), "gelu": (activation.gelu, ops.gelu),
         "exact_gelu": (activation.exact_gelu, ops.exact_gelu), "cross_entropy": (loss.cross_entropy, ops.cross_entropy)}


@pytest.mark.parametrize(("name", "arguments"), [(name, given) for name, calls in BAD.items() for given in calls])
def test_errors_are_the_definitions_word_for_word(name, arguments):
    kernel, definition = DOORS[name]
    with pytest.raises((TypeError, ValueError, IndexError)) as want:
        definition(*arguments)
    with pytest.raises(want.type) as got:
        kernel(*arguments)
    assert str(got.value) == str(want.value)


def test_an_epsilon_below_zero_is_refused():
    for kernel in (norm.rms_norm, norm.layer_norm):
        with pytest.raises(ValueError, match="epsilon: expected"):
            kernel(np.ones((2, 3)), epsilon=-1.0)


KERNELS = {"rows_by_matrices", "gradients", "norm_rows", "norm_rows_back", "swiglu_forward", "swiglu_backward", "gelu_forward", "gelu_backward",
           "exact_gelu_forward", "exact_gelu_backward", "turn_rows", "row_losses", "logit_slopes", "add_rows", "some"}


def test_the_same_bits_for_any_number_of_threads(monkeypatch):
    rng, shared = RNG(0), set()
    x, a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((512, 128), (128, 384), (128, 384)))
    tokens = rng.integers(0, 128, 512)
    monkeypatch.setattr(threads, "LEAST_WORK", 1)
    monkeypatch.setattr(threads, "LEAST_SIZE", 1)
    monkeypatch.setattr(threads.POOL, "submit", lambda f, *rest, submit=threads.POOL.submit: (shared.add(f.__name__), submit(f, *rest))[1])

    def step(given):
        x, a, b = given
        gate, up = product.project(norm.rms_norm(x), a, b)
        mixed = activation.exact_gelu(activation.gelu(norm.layer_norm(activation.swiglu(gate, up)))).reshape(2, 256, 384)
        return loss.cross_entropy(rotary.rotary_from(mixed, 3).reshape(512, 384) + embedding.embedding(b, tokens), tokens)

    found = []
    for number in (1, 2, 5):
        with kernels.threads(number):
            value, pull = vjp(step, (x, a, b))
            slopes = pull(np.ones((), np.float32))
            moved = optimise.moved([(w, w, np.abs(w), d, True) for w, d in zip((x, a, b), slopes, strict=True)], 1.0, steps=1, **NUMBERS)
            found.append([value, *slopes, optimise.norm_of(list(slopes)), *(part for leaf in moved for part in leaf)])
        assert shared == (set() if number == 1 else KERNELS)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_rows_from_the_end_of_a_table_are_numpys():
    table, tokens = RNG(0).standard_normal((5, 3)), np.array([[-1, 0], [-1, 2]])
    np.testing.assert_array_equal(embedding.embedding(table, tokens), table[tokens])
    slope = grad(lambda t: np.sum(embedding.embedding(t, tokens) ** 2))(table)
    np.testing.assert_array_equal(slope[4], 4 * table[4])
    with pytest.raises(IndexError):
        embedding.embedding(table, np.array([5]))


def test_an_ignored_target_and_one_class():
    logits, targets = RNG(0).standard_normal((4, 3)), np.array([0, -1, 2, -1])
    assert loss.cross_entropy(logits, targets, ignore=-1) == ops.cross_entropy(logits, targets, ignore=-1)
    assert loss.cross_entropy(logits[:, :1], np.zeros(4, int)) == 0.0


def test_a_gradient_of_one_product_among_several_and_of_x_alone():
    rng = RNG(0)
    x, a, b = rng.standard_normal((16, 32)), rng.standard_normal((32, 32)), rng.standard_normal((32, 64))
    slopes = grad(lambda given: np.sum(product.project(given[0], a, given[1])[1] * 2.0))((x, b))
    np.testing.assert_allclose(slopes[0], 2.0 * np.ones((16, 64)) @ b.T, rtol=0, atol=1e-12 * math.sqrt(64))
    np.testing.assert_allclose(slopes[1], 2.0 * x.T @ np.ones((16, 64)), rtol=0, atol=1e-12 * math.sqrt(16))
    assert isinstance(product.project(Tensor(x), a)[0], Tensor)
