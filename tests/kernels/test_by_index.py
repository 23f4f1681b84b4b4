"""Attention to an indexer's choice, its queries taken in parts: the same values and gradients, and no mask of all pairs."""


import numpy as np
import pytest

import tinyattn
from tests.kernels.peak import peak_of
from tinyattn import definitions, kernels
from tinyattn.engine import grad, vjp
from tinyattn.kernels.sparse import deepseek_sparse

NAMES = ("q", "k", "v")


def problem(q_len, kv_len, dtype=np.float64, batch=2, heads=4, width=4):
    rng = np.random.default_rng(q_len + kv_len)
    shapes = {"q": (batch, heads, q_len, 8), "k": (batch, 2, kv_len, 8), "v": (batch, 2, kv_len, 6),
              "q_index": (batch, 3, q_len, width), "k_index": (batch, kv_len, width), "weights": (batch, 3, q_len)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


@pytest.fixture
def in_parts(monkeypatch):
    """Every call is taken in parts of 64 queries."""
    monkeypatch.setattr(deepseek_sparse, "MOST_BYTES", 0)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize(("q_len", "kv_len"), [(1, 1), (1, 90), (64, 64), (65, 65), (129, 200), (200, 129), (200, 100)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("keep", [1, 20])
def test_parts_give_what_the_definition_gives(q_len, kv_len, causal, keep):
    p, options = problem(q_len, kv_len), {"keep": keep, "causal": causal, "scale": 0.7}
    pairs = [vjp(lambda tree, door=door: door.deepseek_sparse_attention(**tree, **options), p) for door in (kernels, definitions)]
    (out, pull), (want, pull_of_definition) = pairs
    np.testing.assert_allclose(out, want, rtol=1e-12, atol=1e-13)
    d_out = np.random.default_rng(0).standard_normal(out.shape)
    slopes, wanted = pull(d_out), pull_of_definition(d_out)
    for name, slope in slopes.items():
        np.testing.assert_allclose(slope, wanted[name], rtol=1e-11, atol=1e-12, err_msg=name)
        assert name in NAMES or not slope.any(), name


def test_numbers_that_are_not_finite_reach_no_further_in_parts(monkeypatch):
    p = problem(130, 130)
    p["k"][0, 0, 100:], p["v"][0, 1, 100:], p["k_index"][1, 70:] = np.nan, np.inf, np.nan
    whole = kernels.deepseek_sparse_attention(**p, keep=5)
    monkeypatch.setattr(deepseek_sparse, "MOST_BYTES", 0)
    finite = np.isfinite(whole)
    np.testing.assert_array_equal(kernels.deepseek_sparse_attention(**p, keep=5)[finite], whole[finite])
    assert 0 < np.count_nonzero(finite) < finite.size


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_dtype_stays(dtype):
    p = problem(70, 70, dtype)
    out = kernels.deepseek_sparse_attention(**p, keep=5)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, definitions.deepseek_sparse_attention(**p, keep=5), rtol=0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.usefixtures("in_parts")
def test_parts_are_differentiated_twice():
    p = problem(70, 70, batch=1, heads=2)
    rest = {name: x for name, x in p.items() if name != "q"}

    def slope(door, q):
        first = grad(lambda x: (door.deepseek_sparse_attention(x, **rest, keep=5) ** 2).sum())
        return grad(lambda x: (first(x) ** 2).sum())(q)

    np.testing.assert_allclose(slope(tinyattn, p["q"]), slope(definitions, p["q"]), rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize(("name", "value", "words"), [
    ("weights", np.zeros((2, 3, 7)), r"weights: expected shape \(2, 3, 70\), got \(2, 3, 7\)"),
    ("weights", np.full((2, 3, 70), np.inf), "weights: expected finite numbers"), ("keep", 0, "keep: expected 1 or more, got 0"),
    ("k_index", np.zeros((2, 7, 4)), r"k_index: expected shape \(2, 70, 4\)"), ("causal", 1, "causal"), ("scale", np.nan, "scale")])
def test_errors_of_parts_are_those_of_the_whole(name, value, words):
    said = []
    for door in (kernels, definitions):
        with pytest.raises((TypeError, ValueError), match=words) as caught:
            door.deepseek_sparse_attention(**{**problem(70, 70), "keep": 5, name: value})
        said.append((caught.type, str(caught.value)))
    assert said[0] == said[1]


def test_no_mask_of_all_pairs_is_kept(monkeypatch):
    """A forward and a backward take less than one byte per pair, 16 MiB; their arrays take 1 MiB or less."""
    monkeypatch.setattr(deepseek_sparse, "MOST_BYTES", 1 << 20)
    p = problem(4096, 4096, np.float32, batch=1, heads=2)

    def slopes():
        out, pull = vjp(lambda tree: kernels.deepseek_sparse_attention(**tree, keep=8), p)
        pull(out)

    slopes()
    assert peak_of(slopes)[0] < 4096 ** 2
