"""tinyattn.NAME is differentiated as often as its definition, at every size; a kernel alone refuses by name."""

from dataclasses import replace
from importlib import import_module
from pkgutil import walk_packages

import numpy as np
import pytest

import tinyattn
from tinyattn import definitions, grad, kernels
from tinyattn.engine.primitive import Primitive
from tinyattn.engine.tree import map_tree
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.tiles.once import refuse
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, loss
from tinyattn.ops import alibi, masks, relative
from tinyattn.twice import walked

RNG = np.random.default_rng
TABLE = RNG(0).standard_normal((3, 4))


def drawn(length, heads, kv_heads):
    rng = RNG(length)
    return [rng.standard_normal((h, length, 8)) for h in (heads, kv_heads, kv_heads)]


@pytest.fixture
def ran(monkeypatch):
    """The kernels that were run."""
    names = []
    monkeypatch.setattr(exact, "run", lambda kernel, *rest, run=exact.run: (names.append(kernel.__name__), run(kernel, *rest)))
    return names


def twice(f, tree, seed, **options):
    """Returns the product of the second derivative with a random tree, and the first derivative."""
    weights = {name: RNG(seed).standard_normal(x.shape) for name, x in tree.items()}

    def lossy(t):
        out = f(t["q"], t["k"], t["v"], **{name: made(t) if callable(made) else made for name, made in options.items()})
        return sum(np.sum(np.sin(part * 2.0)) for part in (out if isinstance(out, tuple) else (out,)))

    slopes = grad(lossy)(tree)
    return grad(lambda t: sum(np.sum(g * weights[name]) for name, g in grad(lossy)(t).items()))(tree), slopes


OPTIONS = {"plain": {}, "causal": {"causal": True}, "window": {"window": (9, 3)}, "mask": {"mask": lambda t: RNG(3).random((t["q"].shape[-2],) * 2) < 0.7},
           "pattern": {"mask": masks.strided(3) | masks.first(2), "causal": True}, "all": {"causal": True, "softcap": 2.0, "scale": 0.7, "window": (30, 0),
           "bias": lambda t: t["bias"], "sinks": lambda t: t["sinks"]}, "alibi": {"bias": lambda t: alibi(t["sinks"])},
           "relative": {"bias": lambda t: relative(t["table"], lambda d: np.clip(d, -1, 1) + 1)}}


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize(("length", "options"), [(40, "all"), *((70, options) for options in OPTIONS), (300, "causal")])
@pytest.mark.parametrize("name", ["attention", "attention_with_lse"])
def test_second_derivatives_are_the_definitions(name, length, options, kv_heads, ran):
    q, k, v = drawn(length, 4, kv_heads)
    extra = {"bias": RNG(1).standard_normal((4, length, 1)), "sinks": RNG(2).standard_normal(4), "table": TABLE}
    tree = {"q": q, "k": k, "v": v, **{n: x for n, x in extra.items() if options in {"bias": ("all",), "sinks": ("all", "alibi"), "table": ("relative",)}[n]}}
    (got, slopes), (want, want_slopes) = (twice(getattr(side, name), tree, 4, **OPTIONS[options]) for side in (tinyattn, definitions))
    assert "forward" in ran
    for n in tree:
        np.testing.assert_allclose(slopes[n], want_slopes[n], rtol=1e-9, atol=1e-11, err_msg=n)
        np.testing.assert_allclose(got[n], want[n], rtol=1e-9, atol=1e-10, err_msg=n)


def test_each_primitive_of_a_kernel_that_refuses_a_second_derivative_has_a_form_for_it():
    modules = [import_module(found.name) for found in walk_packages(kernels.__path__, "tinyattn.kernels.")]
    refusing = {x for module in modules for x in vars(module).values() if isinstance(x, Primitive) and x.definition is refuse}
    assert exact.attention_with_lse in refusing
    assert refusing <= walked().keys(), [x.name for x in refusing - walked().keys()]


@pytest.mark.parametrize(("name", "kv_heads"), [("grouped_query_attention", 2), ("multi_head_attention", 4), ("multi_query_attention", 1),
                                                ("streaming_attention", 2)])
def test_second_derivatives_of_the_other_names(name, kv_heads):
    tree = dict(zip("qkv", drawn(70, 4, kv_heads), strict=True))
    (got, _), (want, _) = (twice(getattr(side, name), tree, 4, causal=True) for side in (tinyattn, definitions))
    for n in tree:
        np.testing.assert_allclose(got[n], want[n], rtol=1e-9, atol=1e-11, err_msg=n)


def test_a_third_derivative_and_one_of_a_decoding_step(ran):
    q, k, v = (RNG(5).standard_normal((h, n, 16)) for h, n in ((32, 1), (2, 2100), (2, 2100)))

    def third(f):
        def g(t):
            return np.sum(f(t, k, v, causal=True) ** 3)
        return grad(lambda t: np.sum(grad(lambda u: np.sum(grad(g)(u) * q))(t) * q))(q)

    np.testing.assert_allclose(third(tinyattn.attention), third(definitions.attention), rtol=1e-8, atol=1e-10)
    assert "decode" in ran


@pytest.mark.parametrize("name", ["attention", "attention_with_lse"])
def test_a_kernel_alone_refuses_a_second_derivative_by_name(name):
    q, k, v = drawn(20, 2, 2)
    kernel = getattr(kernels, name)

    def total(out):
        return np.sum(out[0] if isinstance(out, tuple) else out)

    assert np.isfinite(grad(lambda t: total(kernel(t, k, v)))(q)).all()
    with pytest.raises(TypeError, match="tinyattn.kernels has a first derivative only; .*same name in tinyattn"):
        grad(lambda t: grad(lambda u: total(kernel(u, k, v)))(t).sum())(q)


def test_a_model_is_differentiated_twice_at_a_size_of_the_kernel(ran):
    small = Decoder.create(DecoderConfig(vocab=7, width=16, layers=2, heads=4, kv_heads=2, hidden=16), RNG(0)).astype(np.float64)
    decoder = map_tree(lambda leaf: leaf * 20 if isinstance(leaf, np.ndarray) and leaf.ndim == 2 else leaf, small)
    tokens = RNG(1).integers(0, 7, (1, 71))

    def along(model, size):
        """The model moved along one direction in its first layer's queries."""
        block = model.blocks[0]
        moved = replace(block, attention=replace(block.attention, q=block.attention.q * (1 + size)))
        return replace(model, blocks=(moved, *model.blocks[1:]))

    def slope(size):
        return grad(lambda s: loss(along(decoder, s), tokens[:, :-1], tokens[:, 1:]))(size)

    second = grad(slope)(0.1)
    assert "forward" in ran
    step = 1e-4
    central = (slope(0.1 + step) - slope(0.1 - step)) / (2 * step)
    assert abs(central) > 1e-3
    assert abs(second - central) < 1e-5 * abs(central)
