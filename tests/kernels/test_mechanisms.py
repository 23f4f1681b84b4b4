"""Every mechanism that has a kernel: it is its definition, in its numbers, its slopes and its errors, through all three doors."""

import inspect
import sys

import numpy as np
import pytest

import tinyattn
from tinyattn import definitions, grad, kernels, vjp
from tinyattn.catalog import ROWS
from tinyattn.laws.budget import anywhere, growing, per_row, sufficient
from tinyattn.laws.law import outputs, plain
from tinyattn.laws.problem import Sizes
from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.compare import explain
from tinyattn.testing.matrix import killed, laws_on

RNG = np.random.default_rng
NAMES = sorted(set(kernels.__all__) & set(definitions.__all__))
OWN = {form: row for row in ROWS for form in (*row.forms.values(), row.definition)}
DOORS = (definitions, kernels, tinyattn)
SMALL, EDGE, LARGE = Sizes(), Sizes((1,), 2, 2, 63, 65, 16, 8), Sizes((2,), 2, 2, 130, 130, 16, 16, dtype="float32")
TURNED = Sizes((2,), 4, 2, 21, 33, 8, 8)


def row_of(name):
    return OWN[getattr(definitions, name)]


def called(name, door):
    """Returns a mechanism from one of the doors as f(q, k, v, **options)."""
    return row_of(name).called(getattr(door, name))


def problem(name, sizes, seed=0):
    row = row_of(name)
    return row.sample(RNG(seed), row.fit(sizes))


def slopes(f, p):
    """Returns the gradients of q, k, v and of all floating options, for a fixed d_out."""
    tree = {"q": p.q, "k": p.k, "v": p.v, **{n: x for n, x in p.options.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f"}}
    out, pull = vjp(lambda t: outputs(p.but(**t).call(f))[0], tree)
    return tuple(pull(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype)).values())


def outcome(f, p):
    """Returns the outputs and the slopes, or what is said of lengths that the mechanism does not take."""
    try:
        return (*plain(f, p), *slopes(f, p))
    except ValueError as refusal:
        return str(refusal)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_the_signature_and_the_axes_of_its_definition(name):
    kernel, definition = getattr(kernels, name), getattr(definitions, name)
    assert inspect.signature(kernel) == inspect.signature(definition)
    assert [[getattr(f, declared, None) for declared in ("signature", "per_token")] for f in (kernel, definition)] == 2 * [
        [getattr(definition, declared, None) for declared in ("signature", "per_token")]]
    assert getattr(tinyattn, name) is getattr(tinyattn.fastest, name)


def turned(x):
    """Returns the same array with the heads of a token side by side in memory, as a layer that splits its heads gives it."""
    many = isinstance(x, np.ndarray) and x.ndim > 2
    return np.ascontiguousarray(x.swapaxes(-3, -2)).swapaxes(-3, -2) if many else x


@pytest.mark.parametrize(("sizes", "laid"), [(EDGE, np.asarray), (LARGE, np.asarray), (TURNED, turned)], ids=["edge", "large", "turned"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_its_definition_within_the_measured_budget(name, sizes, laid):
    p, definition, kernel = problem(name, sizes), called(name, definitions), called(name, kernels)
    p = p.but(**{name: laid(getattr(p, name)) for name in "qkv"})
    for side, pool in ((plain, per_row), (slopes, anywhere)):
        got = tuple(np.asarray(x) for x in side(kernel, p))
        explain(sufficient(growing((side,), definition, p, RNG(1), reorder=False, pool=pool), got), got, tuple("abcdefghijkl"))


@pytest.mark.parametrize("kv_len", [0, 1, 64, 129])
@pytest.mark.parametrize("name", NAMES)
def test_ends_and_edges(name, kv_len):
    for seed, q_len in enumerate((0, 1, kv_len)):
        p = problem(name, Sizes((1,), 2, 2, min(q_len, kv_len), kv_len, 4, 4), seed)
        got, want = (outcome(called(name, door), p) for door in (kernels, definitions))
        if isinstance(want, str):
            assert got == want
        else:
            for a, b in zip(got, want, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


BAD = [(name, n) for name in NAMES for n in range(len(row_of(name).bad_inputs))]


@pytest.mark.parametrize(("name", "number"), BAD, ids=[f"{name}-{n}" for name, n in BAD])
@pytest.mark.parametrize("sizes", [SMALL, EDGE], ids=["small", "large"])
def test_an_error_is_the_definitions_from_every_door(name, number, sizes):
    p, said = problem(name, sizes), []
    for door in DOORS:
        with pytest.raises((TypeError, ValueError)) as refusal:
            p.but(**row_of(name).bad_inputs[number].changes).call(called(name, door))
        said.append((refusal.type, str(refusal.value)))
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize("name", NAMES)
def test_bits_are_the_same_for_any_number_of_threads(name, monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.tiles.threads"], "LEAST_WORK", 1)  # the package's attribute is the function
    p, f = problem(name, LARGE), called(name, kernels)

    def bits(number):
        with kernels.threads(number):
            return [x.tobytes() for x in (*outputs(p.call(f)), *slopes(f, p))]

    assert bits(1) == bits(2) == bits(5)


# Kernels of NumPy's functions alone, which have all derivatives, or none as a choice has.
PRODUCTS = {"causal_convolution", "entmax_attention", "lightning_indexer", "sparsemax_attention", "stick_breaking_attention",
            "stick_breaking_attention_with_rest"}


def second(name, door):
    """Returns a second derivative of a mechanism from one of the doors, at a size for which `tinyattn.NAME` calls the kernel."""
    folded = getattr(kernels, name).__module__.startswith("tinyattn.kernels.linear")
    length, dim = (136, 16) if folded or name == "streaming_llm_attention" else (70, 4)
    p, f = problem(name, Sizes((), 2, 2, length, length, dim, dim)), called(name, door)

    def slope(q):
        return grad(lambda x: np.sum(np.sin(outputs(p.but(q=x).call(f))[0])))(q)

    return grad(lambda q: np.sum(np.cos(slope(q))))(p.q)


@pytest.mark.parametrize("name", NAMES)
def test_its_second_derivative_is_the_definitions(name):
    np.testing.assert_allclose(second(name, tinyattn), second(name, definitions), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PRODUCTS])
def test_a_compiled_kernel_refuses_a_second_derivative(name):
    with pytest.raises(TypeError, match=r"tinyattn\.kernels has a first derivative only"):
        second(name, kernels)


TWINS = [twin for twin in MUSEUM if twin.cache is None and twin.row in NAMES and twin.row != "attention"]


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_a_twin_is_killed_when_the_kernel_stands_under_it(twin):
    laws = {law.name: law for law in laws_on(twin)}
    assert any(killed(twin, laws[name], mechanism=called(twin.row, kernels)) for name in twin.killed_by)
