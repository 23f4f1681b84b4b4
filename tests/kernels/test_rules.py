"""Compiled score rules are the rules: every function, every kind of parameter, and what is refused."""


import numpy as np
import pytest

import tinyattn
from tests.kernels.peak import peak_of
from tinyattn import definitions, grad, kernels, vjp
from tinyattn.engine import Tensor
from tinyattn.kernels.rules.functions import STEPS
from tinyattn.kernels.rules.slopes import slopes
from tinyattn.kernels.rules.tracer import traced
from tinyattn.ops import ScoreRule, alibi, masks

RNG = np.random.default_rng
# Each group of functions is one rule: s plus the function of a number from the range named, scaled down.
UNARY = {
    "any": "positive negative square absolute fabs floor ceil trunc rint sign exp tanh sin cos arctan sinh cosh arcsinh exp2 expm1 "
           "cbrt sinc deg2rad radians rad2deg degrees nan_to_num",
    "positive": "sqrt log log2 log10 reciprocal", "inside": "arcsin arccos arctanh log1p tan", "above": "arccosh",
}
RANGES = {"any": lambda s: 1.5 * np.tanh(s), "positive": lambda s: 1.1 + np.tanh(s), "inside": lambda s: 0.9 * np.tanh(s),
          "above": lambda s: 2.5 + np.tanh(s)}
BINARY = "maximum minimum fmax fmin arctan2 hypot logaddexp remainder floor_divide fmod power subtract divide".split()
STANDS = {"one": (), "per head": (4, 1, 1), "per sequence": (2, 1, 1, 1), "per query": (70, 1), "per key": (90,), "per key and head": (4, 1, 90),
          "per pair": (2, 4, 70, 90)}


def chosen(s, i, j):
    near = (i - j < 3.0) & ~np.isnan(s) | (i == j) ^ np.equal(i, 2.0)
    bounded = np.clip(s, -0.5, None) + np.clip(s, None, 0.4) + np.clip(s, min=-0.2, max=0.1)
    return np.where(near, s * (i > j), bounded) + near * 0.5 + (np.isfinite(s) + (i >= 3.0)) * s + np.logical_not(near).astype(s.dtype) * s


def powers(s, i, j):
    x = 1.5 + np.tanh(s)
    return s + x ** 2 + x ** 3 + x ** -1 + x ** 0.5 + x ** -0.5 + x ** 0 + x ** 1.7 + 2.0 ** s + np.copysign(0.3, 1.0) * s


RULES = {"chosen": chosen, "powers": powers, "big": lambda s, i, j: s + np.log(np.exp(np.clip(s, -1.0, 1.0) * 600.0)) * 1e-3 + np.log1p(s * 1e-9) * 1e9}
for name, functions in UNARY.items():
    for n in range(0, len(functions.split()), 8):
        def of(s, i, j, some=tuple(functions.split()[n:n + 8]), to=RANGES[name]):
            return sum((getattr(np, f)(to(s)) for f in some), s) * 0.3
        RULES[f"{name} {n}"] = of
for n in range(0, len(BINARY), 7):
    def pairs(s, i, j, some=tuple(BINARY[n:n + 7])):
        x, y = 1.3 + np.tanh(s), 0.7 + 0.01 * j + 0.1 * np.tanh(2.0 * s)
        return sum((getattr(np, f)(x, y) for f in some), s) * 0.3
    RULES[f"two {n}"] = pairs


def drawn(q_len=70, kv_len=90, dtype="float64", width=16):
    rng = RNG(0)
    return [rng.standard_normal((2, heads, n, width)).astype(dtype) for heads, n in ((4, q_len), (2, kv_len), (2, kv_len))]


def both(function, parameters=(), arrays=None, **options):
    """Returns what the definition and the kernel give, and all slopes."""
    tree, found = [*(arrays or drawn()), *parameters], []
    for door in (definitions, kernels):
        out, pull = vjp(lambda t, door=door: door.attention_with_lse(*t[:3], score=ScoreRule(function, *t[3:]), **options), tree)
        d_out = tuple(RNG(n).standard_normal(x.shape).astype(x.dtype) for n, x in enumerate(out))
        found.append((*out, *pull((d_out[0], np.where(np.isfinite(out[1]), d_out[1], 0.0).astype(out[1].dtype)))))
    return found


def close(found, rtol=1e-10):
    for n, (want, got) in enumerate(zip(*found, strict=True)):
        size = np.abs(want[np.isfinite(want)]).max(initial=1e-300)
        np.testing.assert_allclose(got, want, rtol=0, atol=rtol * size, err_msg=str(n))


@pytest.mark.parametrize("name", RULES)
def test_every_function_and_its_slope(name):
    close(both(RULES[name], arrays=drawn(20, 24, width=4)), 1e-9)


def test_every_step_is_tried():
    tried = set()
    for function in (*RULES.values(), lambda s, i, j: s / (i + 1.0)):
        root = traced(ScoreRule(function), np.float64).root
        from tinyattn.kernels.rules.expression import ordered
        leaf = next(node for node in ordered([root]) if node.op == "s")
        tried |= {node.op for node in ordered([root, *slopes(root, [leaf], np.float64)])}
    rare = {"isnan", "isinf", "isposinf", "isneginf", "signbit", "not_equal", "less_equal", "logical_xor", "fix", "add", "copysign",
            "logical_or", "logical_and", "logical_not", "fabs", "greater_equal"}
    assert set(STEPS) - rare <= tried


def test_tests_of_a_number():
    def rule(s, i, j):
        x = np.where(j < 1.0, np.inf, np.where(j < 2.0, -np.inf, np.where(j < 3.0, np.nan, s)))
        out = s
        for n, f in enumerate((np.isnan, np.isinf, np.isposinf, np.isneginf, np.signbit, np.isfinite)):
            out = out + np.where(f(x), 0.1 * 2.0 ** n, 0.0)
        return out + np.where((i != j) & (i <= j), 0.3, 0.0) + np.fix(s) * 0.1 + np.logical_xor(i > 3.0, j > 4.0) * np.where(s > 0, 1.0, 2.0)

    close(both(rule, arrays=drawn(20, 24, width=4)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stand", STANDS)
def test_parameters_of_every_stand(stand, dtype):
    def rule(s, i, j, p, other):
        return s * p - abs(i - j) * p * p * 0.01 + np.tanh(other * s)

    parameters = [RNG(1).standard_normal(STANDS[stand]).astype(dtype), np.array(0.7, dtype)]
    found = both(rule, parameters, drawn(dtype=dtype), causal=True, softcap=2.0)
    assert found[1][-2].shape == STANDS[stand]
    close(found, 1e-11 if dtype == "float64" else 3e-5)


def hidden():
    mask = RNG(2).random((2, 4, 70, 90)) < 0.6
    mask[1, 2, 3] = False
    return {"causal": {"causal": True}, "window": {"window": (9, 0)}, "one side": {"window": (None, 0)}, "mask": {"mask": mask, "causal": True},
            "pattern": {"mask": masks.strided(3) & masks.causal()}, "bias": {"bias": RNG(3).standard_normal((4, 70, 90)), "causal": True},
            "sinks": {"sinks": RNG(4).standard_normal(4), "causal": True}, "alibi": {"bias": alibi(np.linspace(0.1, 0.4, 4)), "causal": True},
            "none": {"mask": masks.first(0)}}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", hidden())
def test_hidden_pairs_have_no_effect_whatever_the_rule_gives(kind):
    close(both(lambda s, i, j, p: s * (i - j + 1.0) ** -p, [np.array(0.7)], **hidden()[kind]))


def test_a_rule_may_hide_and_nan_shows():
    q, k, v = drawn()
    got = kernels.attention(q, k, v, score=lambda s, i, j: np.where(i - j < 5.0, s, -np.inf))
    np.testing.assert_allclose(got, definitions.attention(q, k, v, window=(4, None)), rtol=1e-11, atol=1e-12)
    assert np.isnan(kernels.attention(q, k, v, score=lambda s, i, j: np.where(i == 25.0, np.nan, s))[..., 5, :]).all()
    np.testing.assert_array_equal(kernels.attention(q, k, v, score=lambda s, i, j: s - np.inf), np.zeros_like(q))


def test_one_query_lengths_of_zero_and_half_width():
    def rule(s, i, j, p):
        return s * p + 0.1 * i

    close(both(rule, [np.linspace(0.5, 1.0, 4)[:, None, None]], drawn(1, 300)))
    for q_len, kv_len in ((0, 5), (5, 0)):
        assert kernels.attention(*drawn(q_len, kv_len), score=ScoreRule(rule, np.ones(1))).shape == (2, 4, q_len, 16)
    x = [a.astype(np.float16) for a in drawn()]
    slope = grad(lambda p: kernels.attention(*x, score=ScoreRule(rule, p)).sum())(np.array(0.5, np.float16))
    assert slope.dtype == np.float16


def test_the_bits_do_not_depend_on_the_threads():
    parameters, found = [np.linspace(0.5, 1.0, 4)[:, None, None], np.linspace(0.5, 1.0, 700)], []
    for count in (1, 3):
        with kernels.threads(count):
            _, pull = vjp(lambda t: kernels.attention(*t[:3], score=ScoreRule(lambda s, i, j, a, b: s * a * b, *t[3:])), [*drawn(700, 700), *parameters])
            found.append([x.tobytes() for x in pull(np.ones((2, 4, 700, 16)))])
    assert found[0] == found[1]


def test_small_numbers_are_flushed_inside_the_kernel_only():
    kernels.attention(*drawn(dtype="float32"))
    assert np.float32(1e-38) * np.float32(0.1) > 0


def test_second_derivatives_walk_the_definition():
    q, k, v = drawn()
    def loss(p, door):
        given = ScoreRule(lambda s, i, j, p: s * p - abs(i - j) * p * p, p)
        return np.sum(grad(lambda q: np.sum(door.attention(q, k, v, score=given) ** 2))(q) * q)

    want, got = (grad(loss)(np.array(0.3), door) for door in (definitions, tinyattn))
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_no_square_array():
    q, k, v = (RNG(n).standard_normal((1, 1, 4096, 16)).astype(np.float32) for n in range(3))
    parameters = [np.array([0.5], np.float32), np.linspace(0.5, 1.0, 4096, dtype=np.float32)[:, None]]

    def run():
        out, pull = vjp(lambda t: kernels.attention(q, k, v, score=ScoreRule(lambda s, i, j, a, b: s * a * b, *t)), parameters)
        return pull(out)

    run()
    assert peak_of(run)[0] < 4096 * 4096  # a byte per pair


OUTSIDE, TENSOR = np.ones((4, 1, 1)), Tensor(np.array(2.0))


def branches(s, i, j):
    return s if s.sum() > 0 else -s


def asks(s, i, j):
    return s if i > j else -s


def writes(s, i, j):
    s += 1.0
    return s


REFUSED = {
    "branch": (asks, "branches on data"), "sum": (branches, "uses .sum"), "in place": (writes, "writes into an array"),
    "array": (lambda s, i, j: s * OUTSIDE, r"reads an array of shape \(4, 1, 1\) from outside"),
    "tensor": (lambda s, i, j: s * TENSOR, "outside; give it as a parameter"), "tensor first": (lambda s, i, j: TENSOR * s, "Tensor from outside"),
    "index": (lambda s, i, j: s[..., :1], "takes or sets elements"), "cumsum": (lambda s, i, j: np.cumsum(s, axis=-1), "np.cumsum, which is not elementwise"),
    "sorted": (lambda s, i, j: np.sort(s), "np.sort, which is not elementwise"), "reduce": (lambda s, i, j: np.add.reduce(s), "np.add.reduce"),
    "float": (lambda s, i, j: s * float(i), "makes a Python number"), "unknown": (lambda s, i, j: np.frexp(s)[0], "np.frexp, which has no derivative"),
    "ufunc": (lambda s, i, j: np.gcd(s, i), "np.gcd, which has no derivative"), "constant": (lambda s, i, j: 1.0, "returns float"),
    "bool": (lambda s, i, j: s > 0, "returns a bool"), "option": (lambda s, i, j: np.exp(s, where=True), "np.exp with where"),
    "shape": (lambda s, i, j: s * s.shape[0], "uses .shape"), "matmul": (lambda s, i, j: s @ s, "np.matmul"), "int": (lambda s, i, j: s.astype(int), "converts to int64"),
    "array of": (lambda s, i, j: np.asarray(s), "makes an array"), "list": (lambda s, i, j: np.add(s, [1.0]), "np.add with list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_expression_is_refused_by_name_at_every_size(name):
    rule, words = REFUSED[name]
    for arrays in (drawn(), drawn(4, 4)):
        for door in (kernels, tinyattn):
            with pytest.raises(TypeError, match=rf"^score: the rule .*{words}.*; the definition, tinyattn.definitions.attention") as refusal:
                door.attention(*arrays, score=rule)
            assert "\n" not in str(refusal.value)


def test_another_dtype_is_refused_as_by_the_definition():
    x = drawn(dtype="float32")
    for rule in (lambda s, i, j: s * np.float64(2.0), lambda s, i, j: s.astype(np.float64), lambda s, i, j: s * np.int64(2)):
        for door in (definitions, kernels, tinyattn):
            with pytest.raises(TypeError, match="score: expected the rule to return the dtype of s, float32, got float64"):
                door.attention(*x, score=rule)
    assert kernels.attention(*x, score=lambda s, i, j: s * np.float32(2.0)).dtype == np.float32
