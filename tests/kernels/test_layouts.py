"""How arrays and gradients lie in memory changes no result of a kernel: in Fortran's order, backwards, with other strides, in another byte order."""

from inspect import signature

import numpy as np
import pytest

from tests.kernels.slopes import close
from tinyattn import kernels, vjp
from tinyattn.catalog import ROWS
from tinyattn.kernels.steps.rotary import rotary_from
from tinyattn.laws.problem import Sizes

RNG = np.random.default_rng
COMPILED = [row for row in ROWS if row.kernel is not None and row.name != "lightning_indexer"]  # which chooses, and has no gradient


def backwards(x):
    every = (slice(None, None, -1),) * x.ndim
    return x[every].copy()[every]


def strided(x):
    return np.repeat(x, 2, axis=-1)[..., ::2]


LAYOUTS = {"Fortran": np.asfortranarray, "backwards": backwards, "strided": strided,
           "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
           "rows across": lambda x: np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2) if x.ndim > 1 else x}


def each(tree, f):
    """Returns a tree of arguments or results with f applied to its arrays."""
    if isinstance(tree, dict):
        return {name: each(item, f) for name, item in tree.items()}
    if isinstance(tree, tuple) and any(isinstance(item, np.ndarray) for item in tree):
        return tuple(each(item, f) for item in tree)
    return f(tree) if isinstance(tree, np.ndarray) else tree


def arrays_in(tree):
    found = []
    each(tree, found.append)
    return found


def arguments(row, q_len, kv_len):
    """Returns arguments that a mechanism takes, by name."""
    made = {}

    def noted(*given, **options):
        made.update(signature(row.definition).bind(*given, **options).arguments)
        return row.definition(*given, **options)

    row.sample(RNG(3), row.fit(Sizes((2,), 2, 2, q_len, kv_len, 8, 5))).call(row.called(noted))
    return made


def results(f, given, laid):
    """Returns the output and all gradients, whose d_out has the layout too."""
    live = {name: x for name, x in given.items() if arrays_in(x) and all(a.dtype.kind == "f" and a.ndim for a in arrays_in(x))}
    out, pull = vjp(lambda t: f(**given | t), live)
    d_out = each(out, lambda x: laid(np.cos(np.arange(x.size)).reshape(x.shape)))
    return [*arrays_in(out if isinstance(out, tuple) else (out,)), *arrays_in(pull(d_out))]


def agree(got, want):
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
    close(got, want)


@pytest.mark.parametrize(("q_len", "kv_len"), [(33, 70), (1, 40)])
@pytest.mark.parametrize("row", COMPILED, ids=lambda row: row.name)
def test_no_layout_changes_a_result(row, q_len, kv_len):
    given, f = arguments(row, q_len, kv_len), getattr(kernels, row.name)
    want = results(f, given, np.ascontiguousarray)
    for laid in LAYOUTS.values():
        agree(results(f, each(given, laid), laid), want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rotary_positions_of_any_layout(layout):
    x, laid = RNG(0).standard_normal((3, 5, 8)), LAYOUTS[layout]
    agree(results(rotary_from, {"x": laid(x), "start": 2}, laid), results(rotary_from, {"x": x, "start": 2}, np.ascontiguousarray))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_streaming_llm_that_forgets_takes_any_layout(layout):
    rng, laid = RNG(1), LAYOUTS[layout]
    given = {name: rng.standard_normal((heads, length, 4)) for name, heads, length in (("q", 4, 33), ("k", 2, 70), ("v", 2, 70))}
    options = {"first": 2, "window": 5}
    want = results(kernels.streaming_llm_attention, given | options, np.ascontiguousarray)
    agree(results(kernels.streaming_llm_attention, each(given, laid) | options, laid), want)
