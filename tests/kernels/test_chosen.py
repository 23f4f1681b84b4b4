"""The kernel of chosen blocks beside the definitions of its two mechanisms: edges of blocks, ties, numbers that are not finite."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.chosen.backward import backward
from tinyattn.kernels.chosen.forward import forward

OPTIONS = {"block_mixture_attention": {"block": 16, "keep": 3}, "native_sparse_attention": {"block": 16, "selected": 4, "window": 20}}


def drawn(name, q_len, kv_len, dtype=np.float64, heads=4, seed=0):
    """Arrays of 2 kv heads and the options of a mechanism."""
    rng = np.random.default_rng(seed)
    given = {"q": rng.standard_normal((2, heads, q_len, 6)), "k": rng.standard_normal((2, 2, kv_len, 6)),
             "v": rng.standard_normal((2, 2, kv_len, 5))}
    if name == "native_sparse_attention":
        given["gates"] = rng.random((2, heads, q_len, 3))
    return {key: x.astype(dtype) for key, x in given.items()}


def slopes(form, name, given):
    """The output of a form of a mechanism and its gradients."""
    out, pull = vjp(lambda t: getattr(form, name)(**t, **OPTIONS[name]), given)
    return {"out": out, **pull(np.cos(np.arange(out.size, dtype=out.dtype)).reshape(out.shape))}


def check(name, given, dtype):
    """Raises AssertionError unless the kernel's output and gradients are the definition's."""
    near = 1e-11 if dtype == np.float64 else 2e-4
    got, want = slopes(kernels, name, given), slopes(definitions, name, given)
    for key in want:
        np.testing.assert_allclose(got[key], want[key], rtol=near, atol=near, err_msg=key)


def check_all(dtype):
    """Raises AssertionError unless both mechanisms are right; called in processes with other settings of Numba."""
    for name in OPTIONS:
        check(name, drawn(name, 70, 83, dtype), dtype)


@pytest.mark.parametrize(("q_len", "kv_len"), [(0, 0), (0, 3), (1, 1), (1, 16), (1, 65), (16, 16), (17, 33), (2, 80), (70, 83)])
@pytest.mark.parametrize("name", OPTIONS)
def test_outputs_and_gradients_around_the_edges_of_blocks(name, q_len, kv_len):
    check(name, drawn(name, q_len, kv_len), np.float64)


@pytest.mark.parametrize("name", OPTIONS)
def test_of_blocks_that_score_alike_the_definitions_are_chosen(name):
    given = drawn(name, 90, 90)
    check(name, {**given, "k": np.ones_like(given["k"])}, np.float64)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["q", "k", "v"])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_number_that_is_not_finite_shows_in_its_row_and_reaches_no_other_head(name, where, bad):
    given = drawn(name, 70, 70)
    x = given[where].copy()
    x[0, 1, 37, 2] = bad
    got, before = (getattr(kernels, name)(**{**given, where: y}, **OPTIONS[name]) for y in (x, given[where]))
    np.testing.assert_array_equal(got[1], before[1])
    readers = [1] if where == "q" else [2, 3]
    assert not np.isfinite(got[0, readers, 37]).all(axis=-1).any()
    others = [head for head in range(4) if head not in readers]
    np.testing.assert_array_equal(got[0, others], before[0, others])


@pytest.mark.parametrize("name", OPTIONS)
def test_any_number_of_threads_gives_the_same_bits(name):
    given = drawn(name, 200, 200, np.float32)
    found = []
    for threads in (1, 3):
        with kernels.threads(threads):
            found.append(slopes(kernels, name, given))
    for key in found[0]:
        np.testing.assert_array_equal(found[0][key], found[1][key], err_msg=key)


def test_the_means_of_blocks_are_read_by_what_is_compiled_for_chosen_blocks():
    given = {key: x[:1, :1] for key, x in drawn("native_sparse_attention", 40, 40).items()}
    slopes(kernels, "native_sparse_attention", given)
    for kernel, place in ((forward, 4), (backward, 5)):
        assert {str(kinds[place]) for kinds in kernel.signatures} == {"array(int32, 1d, C)"}
