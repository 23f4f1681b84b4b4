"""Kernels by rows of queries: blocks of rows are invisible, nothing grows with the length squared, and what an owner changes has no effect."""

import sys

import numpy as np
import pytest

from tests.kernels.peak import peak_of
from tinyattn import definitions, kernels, vjp
from tinyattn.ops import masks

BLOCKS = sys.modules["tinyattn.kernels.softmax.row_blocks"]
RNG = np.random.default_rng


def arguments(name, length, dim=8, heads=2, dtype=np.float64):
    """Arrays and options of a causal call."""
    rng = RNG(length)
    drawn = lambda *shape: rng.standard_normal(shape).astype(dtype)
    arrays = {name: drawn(heads, length, dim) for name in "qkv"}
    behind = np.arange(length)[:, None] - np.arange(length)
    own = {"talking_heads_attention": {"before": drawn(heads, heads), "after": drawn(heads, heads)},
           "relative_position_attention": {"relative": drawn(heads, length, dim), "u": drawn(heads, dim), "w": drawn(heads, dim)},
           "disentangled_attention": {"q_relative": drawn(heads, 6, dim), "k_relative": drawn(heads, 6, dim)},
           "path_attention": {"w": drawn(heads, length, dim) / dim, "beta": drawn(heads, length), "log_forget": -abs(drawn(heads, length))}}
    options = {} if name == "path_attention" else {"causal": True}
    if name == "disentangled_attention":
        options["distance"] = np.clip(behind + 3, 0, 5)
    return arrays | own[name], options


NAMES = ("talking_heads_attention", "relative_position_attention", "disentangled_attention", "path_attention")


def slopes(f, arrays, options):
    out, pull = vjp(lambda t: f(**t, **options), arrays)
    return [out, *pull(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype)).values()]


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_few_rows_give_the_same(name, monkeypatch):
    arrays, options = arguments(name, 45)
    want = slopes(getattr(definitions, name), arrays, options)
    monkeypatch.setattr(BLOCKS, "PART_BYTES", 1)
    monkeypatch.setattr(BLOCKS, "LEAST", 7)
    if name == "path_attention":
        monkeypatch.setattr(sys.modules["tinyattn.kernels.softmax.path"], "CHUNK", 4)
    for a, b in zip(slopes(getattr(kernels, name), arrays, options), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("tables", [("q_relative",), ("k_relative",), ("q_relative", "k_relative")], ids=" ".join)
@pytest.mark.parametrize("q_len", [1, 13, 29])
def test_distances_of_any_kind_are_read(q_len, tables, monkeypatch):
    arrays, options = arguments("disentangled_attention", 29)
    arrays = {n: x[:, -q_len:] if n == "q" else x for n, x in arrays.items() if n in ("q", "k", "v", *tables)}
    alike = options["distance"][-q_len:]
    apart = alike.copy()
    apart[-1, 20] = 0  # one pair that its diagonal does not tell
    for distance in (alike, apart, RNG(0).integers(0, 6, alike.shape)):
        given = options | {"distance": distance, "window": (9, 0)}
        want = slopes(definitions.disentangled_attention, arrays, given)
        with monkeypatch.context() as few:
            few.setattr(BLOCKS, "PART_BYTES", 1)
            few.setattr(BLOCKS, "LEAST", 5)
            got = slopes(kernels.disentangled_attention, arrays, given)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("options", [{"window": (5, 2)}, {"window": (4, 0)}, {"mask": masks.strided(3) | masks.first(2)}, {"sinks": np.array([0.5, -np.inf])},
                                     {"bias": RNG(1).standard_normal((45, 45)), "softcap": 2.0}, {"bias": np.where(np.arange(45) == 3, np.inf, 0.0)},
                                     {"mask": RNG(2).random((2, 1, 45)) < 0.5, "bias": RNG(3).standard_normal((2, 1, 1))}], ids=lambda o: "-".join(o))
@pytest.mark.parametrize("name", NAMES[:3])
def test_options_reach_every_block(name, options, monkeypatch):
    arrays, given = arguments(name, 45)
    if name == "relative_position_attention":
        arrays["relative"] = RNG(4).standard_normal((2, 89, 8))
    options = given | {"causal": False} | options
    arrays |= {n: options.pop(n) for n in ("sinks", "bias") if n in options and np.isfinite(options[n]).all()}
    want = slopes(getattr(definitions, name), arrays, options)
    monkeypatch.setattr(BLOCKS, "PART_BYTES", 1)
    for a, b in zip(slopes(getattr(kernels, name), arrays, options), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_linear_in_the_length(name):
    arrays, options = arguments(name, 2048, dim=16, heads=1, dtype=np.float32)
    slopes(getattr(kernels, name), *arguments(name, 70, dim=16, heads=1, dtype=np.float32))  # what compiles takes memory too
    peak, _ = peak_of(lambda: slopes(getattr(kernels, name), arrays, options))
    assert peak < 2048 * 2048 * 4, f"{peak / 2 ** 20:.1f} MiB, where the scores of all pairs take 16"


def test_distances_and_masks_that_their_owner_fills_again_change_no_gradient():
    arrays, options = arguments("disentangled_attention", 30)
    options |= {"mask": np.tri(30, dtype=bool)}
    out, pull = vjp(lambda t: kernels.disentangled_attention(**t, **options), arrays)
    before = pull(np.ones_like(out))
    options["distance"][:], options["mask"][:] = 0, True
    for name, gradient in pull(np.ones_like(out)).items():
        np.testing.assert_array_equal(gradient, before[name])


@pytest.mark.parametrize("name", ["cosine_attention", *NAMES[:3]])
@pytest.mark.parametrize("door", [definitions, kernels], ids=["definition", "kernel"])
def test_what_nobody_sees_may_hold_anything(name, door):
    arrays, options = ({n: RNG(0).standard_normal((2, 30, 8)) for n in "qkv"} | {"log_scale": np.ones(2)}, {}) if name == "cosine_attention" else arguments(name, 30)
    options = options | {"mask": (np.arange(30) != 4) & (np.arange(30) != 5)[:, None]}
    hidden = {n: np.where((np.arange(30) == (5 if n == "q" else 4))[:, None], np.nan, x) if n in "qkv" else x for n, x in arrays.items()}
    for a, b in zip(slopes(getattr(door, name), hidden, options), slopes(getattr(door, name), arrays, options), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mechanism", [definitions.path_attention, kernels.path_attention], ids=["definition", "kernel"])
@pytest.mark.parametrize("name", ["w", "beta"])
def test_a_reflection_that_is_not_finite_is_refused(name, mechanism):
    arrays, _ = arguments("path_attention", 5)
    arrays[name][:, -1] = np.nan
    with pytest.raises(ValueError, match=f"{name}: expected finite numbers"):
        mechanism(**arrays)
