"""Mechanisms whose arrays are made for some heads at a time: the result does not show it, nor does a second derivative."""

import numpy as np
import pytest

import tinyattn
from tinyattn import definitions, grad, kernels, vjp
from tinyattn.kernels.softmax import dual_chunk, some_heads
from tinyattn.ops import masks


def draw(*shapes, dtype=np.float64):
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


# Four heads; the keys and values of tensor product attention have two.
LATENTS = [(2, 4, 70, 8), (2, 4, 70, 4), (2, 90, 6), (2, 90, 4), (4, 6, 8), (4, 6, 5)]
FACTORS = [(2, 70, 3, 4), (2, 70, 3, 8), (2, 90, 2, 2), (2, 90, 2, 8), (2, 90, 1, 2), (2, 90, 1, 5)]
MASK = np.random.default_rng(1).random((4, 70, 90)) < 0.5
SEVERAL = masks.Pattern(lambda i, j: (i - j) % np.arange(1, 5)[:, None, None] == 0)
CHUNKS = {"chunk": 32, "local": 8}
CALLS = {
    "dual_chunk_attention": (dual_chunk, CHUNKS, [(2, 4, 70, 8), (2, 2, 90, 8), (2, 2, 90, 5)]),
    "dual_chunk_attention, one chunk": (dual_chunk, {"chunk": 99, "local": 1}, [(2, 70, 8), (2, 90, 8), (2, 90, 5)]),
    "latent_attention_expanded": (some_heads, {"causal": True}, LATENTS),
    "latent_attention_absorbed": (some_heads, {"causal": True}, LATENTS),
    "latent_attention_expanded, a mask of each head": (some_heads, {"mask": MASK}, LATENTS),
    "latent_attention_absorbed, a mask of each head": (some_heads, {"mask": MASK}, LATENTS),
    "latent_attention_absorbed, a pattern": (some_heads, {"mask": masks.window(20, 5)}, LATENTS),
    "latent_attention_absorbed, a pattern of several heads": (some_heads, {"mask": SEVERAL}, LATENTS),
    "tensor_product_attention": (some_heads, {"window": (20, 5), "softcap": 2.0}, FACTORS),
    "tensor_product_attention, a mask of each head": (some_heads, {"mask": MASK}, FACTORS),
}


def given(name, arrays):
    """Returns the arguments of a mechanism by position, and those by name, that have gradients."""
    if name.startswith("latent"):
        return arrays[:4], dict(zip(("w_uk", "w_uv"), arrays[4:], strict=True))
    return (tuple(zip(arrays[::2], arrays[1::2], strict=True)) if name.startswith("tensor") else arrays), {}


def results(door, name, arrays, options, d_out):
    """Returns the result and the gradients of one of the doors."""
    def f(tree):
        by_place, by_name = given(name, tree)
        return getattr(door, name.split(",")[0])(*by_place, **by_name, **options)

    out, pull = vjp(f, arrays)
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
    arrays, found = draw(*shapes, dtype=np.float32), []
    for count in (1, 2, 3):
        with kernels.threads(count):
            found.append(b"".join(x.tobytes() for x in results(kernels, name, arrays, options, np.cos)))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("name", "options"), [("dual_chunk_attention", CHUNKS), ("axial_attention", {"grid": (8, 16), "axis": 0}),
                                               ("neighborhood_attention", {"grid": (8, 16), "kernel": 3, "dilation": 2}),
                                               ("latent_attention_absorbed", {"causal": True}),
                                               ("lsh_attention", {"chunk": 16, "rotations": np.eye(4)[None]})])
def test_their_second_derivatives_are_those_of_the_definitions(monkeypatch, name, options):
    monkeypatch.setattr(some_heads, "TOGETHER", 1)
    x, y = draw((2, 128, 4), (2, 128, 4))
    arrays = {"lsh_attention": (y,), "latent_attention_absorbed": (y[..., :2], y[0], y[1, :, :2])}.get(name, (y, y))
    weights = {"w_uk": np.ones((2, 4, 4)) + np.eye(4), "w_uv": np.eye(4)[None] + np.ones((2, 4, 4))} if name.startswith("latent") else {}
    found = []
    for door in (tinyattn, definitions):
        def f(x, door=door):
            return np.sum(np.sin(getattr(door, name)(x, *arrays, **weights, **options)))
        found.append(grad(lambda x, f=f: np.sum(np.cos(grad(f)(x))))(x))
    np.testing.assert_allclose(*found, rtol=1e-8, atol=1e-10)
