"""Mechanisms whose arrays are made for some heads at a time: the result does not show it, nor does a second derivative."""

import numpy as np
import pytest

import tinyattn
from tinyattn import definitions, grad, kernels, vjp
from tinyattn.kernels.softmax import dual_chunk
from tinyattn.laws.law import outputs


def draw(*shapes, dtype=np.float64):
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


CHUNKS = {"chunk": 32, "local": 8}
CALLS = {
    "dual_chunk_attention": (dual_chunk, CHUNKS, [(2, 4, 70, 8), (2, 2, 90, 8), (2, 2, 90, 5)]),
    "dual_chunk_attention, one chunk": (dual_chunk, {"chunk": 99, "local": 1}, [(2, 70, 8), (2, 90, 8), (2, 90, 5)]),
}


def results(door, name, arrays, options, d_out):
    """Returns the result and the gradients of one of the doors."""
    out, pull = vjp(lambda t: outputs(getattr(door, name.split(",")[0])(*t, **options))[0], arrays)
    return [out, *pull(d_out(out))]


@pytest.mark.parametrize("together", [1, 700])
@pytest.mark.parametrize("name", CALLS)
def test_some_heads_at_a_time_are_the_definition(monkeypatch, name, together):
    module, options, shapes = CALLS[name]
    monkeypatch.setattr(module, "TOGETHER", together)
    arrays = draw(*shapes)
    got, want = (results(door, name, arrays, options, lambda x: np.cos(np.arange(x.size)).reshape(x.shape))
                 for door in (kernels, definitions))
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_any_number_of_threads_gives_the_same_bits(monkeypatch, name):
    module, options, shapes = CALLS[name]
    monkeypatch.setattr(module, "TOGETHER", 1)
    arrays, found = draw(*((*shape[:-2], shape[-2] * 8, shape[-1]) if len(shape) > 2 else shape for shape in shapes), dtype=np.float32), []
    for count in (1, 2, 3):
        with kernels.threads(count):
            found.append(b"".join(x.tobytes() for x in results(kernels, name, arrays, options, np.cos)))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("name", "options"), [("dual_chunk_attention", CHUNKS), ("axial_attention", {"grid": (8, 16), "axis": 0}),
                                               ("neighborhood_attention", {"grid": (8, 16), "kernel": 3, "dilation": 4}),
                                               ("lsh_attention", {"chunk": 16, "rotations": np.eye(4)[None]})])
def test_their_second_derivatives_are_those_of_the_definitions(name, options):
    x, y = draw((2, 128, 4), (2, 128, 4))
    found = []
    for door in (tinyattn, definitions):
        def f(x, door=door):
            more = () if name == "lsh_attention" else (y,)
            return np.sum(np.sin(getattr(door, name)(x, *more, y, **options)))
        found.append(grad(lambda x, f=f: np.sum(np.cos(grad(f)(x))))(x))
    np.testing.assert_allclose(*found, rtol=1e-8, atol=1e-10)
