"""Sigmoid attention in tiles: options, lengths, the gradient of the offset, weights near 0 and 1, and calls left to the exact kernel."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.rows import weighings
from tinyattn.ops import masks

RNG = np.random.default_rng


def arguments(q_len=150, kv_len=200, size=1.0):
    rng = RNG(q_len)
    return {name: rng.standard_normal((2, heads, length, width)) * factor
            for name, heads, length, width, factor in (("q", 4, q_len, 6, size), ("k", 2, kv_len, 6, size), ("v", 2, kv_len, 5, 1.0))}


def agree(arrays, **options):
    """Compares the outputs and the gradients by all arrays."""
    every = []
    for door in (kernels, definitions):
        out, pull = vjp(lambda t, door=door: door.sigmoid_attention(**t, **options), arrays)
        every.append([out, *pull(np.cos(np.arange(out.size)).reshape(out.shape)).values()])
    for a, b in zip(*every, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


MASK = RNG(0).random((2, 4, 150, 200)) < 0.6
MASK[:, :, 5] = False
OPTIONS = {"whole": {}, "causal": {"causal": True}, "window": {"window": (70, 3), "offset": -2.0}, "mask": {"mask": MASK},
           "bias": {"bias": RNG(1).standard_normal((4, 150, 200)), "causal": True, "mask": MASK[0, :1]}}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_reach_every_tile(option, monkeypatch):
    monkeypatch.setitem(kernels.sigmoid_attention.__wrapped__.__globals__, "by_logs", None)
    agree(arguments(), **OPTIONS[option])
    agree(arguments() | {"offset": RNG(2).standard_normal(4)}, **{name: x for name, x in OPTIONS[option].items() if name != "offset"})


@pytest.mark.parametrize(("q_len", "kv_len"), [(1, 1), (3, 64), (65, 7), (300, 513)])
@pytest.mark.parametrize("size", [0.01, 40.0])
def test_lengths_and_sizes(q_len, kv_len, size):
    agree(arguments(q_len, kv_len, size))


@pytest.mark.parametrize("odd", [np.inf, -np.inf])
def test_an_infinite_bias_opens_or_closes_a_gate(odd):
    bias = np.zeros((150, 200))
    bias[:, ::3] = odd
    got, want = (door.sigmoid_attention(**arguments(), bias=bias, offset=3.0) for door in (kernels, definitions))
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("offset", [1e4, -1e4, 1e30, -1e30])
def test_an_offset_of_any_size(offset):
    agree(arguments(70, 90), offset=offset)
    agree(arguments(70, 90) | {"offset": np.full(4, offset)}, causal=True)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_no_query_sees_reaches_nothing(odd):
    mask = MASK.copy()
    mask[..., 100] = False
    arrays, every = arguments(), []
    for far in (1.0, odd):
        given = {name: x.copy() for name, x in arrays.items()}
        given["q"][:, :, 5] = given["k"][:, :, 100] = given["v"][:, :, 100] = far
        out, pull = vjp(lambda t: kernels.sigmoid_attention(**t, mask=mask), given)
        every.append([out, *pull(np.ones_like(out)).values()])
    for a, b in zip(*every, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options", [{"mask": masks.strided(3)}, {"softcap": 1.5}, {}], ids=["pattern", "cap", "learned bias"])
def test_what_the_kernels_do_not_take_goes_to_the_exact_one(options, monkeypatch):
    monkeypatch.setattr(weighings, "run", None)
    agree(arguments() | ({} if options else {"bias": RNG(1).standard_normal((4, 150, 200))}), **options)
