"""The kernel of top-k attention beside its definition: which keys are picked, ties, numbers that are not finite, options."""

import numpy as np
import pytest

from tinyattn import alibi, definitions, grad, kernels, relative, top_k_attention, vjp
from tinyattn.kernels.chosen.largest import largest_keys
from tinyattn.kernels.exact.primitive import Options
from tinyattn.kernels.sparse import picked as picked_keys
from tinyattn.kernels.sparse import top_k
from tinyattn.ops import masks
from tinyattn.ops.largest import largest as largest_in_numpy

RNG = np.random.default_rng


def picked(scores, keep, sides=(None, None)):
    """Which scores the kernel picks, as a boolean array: they are given as the bias of products that are 0."""
    q, k = np.zeros((*scores.shape[:-1], 1), scores.dtype), np.zeros((*scores.shape[:-2], scores.shape[-1], 1), scores.dtype)
    picks = largest_keys(q, k, keep, scores, None, Options(None, *sides, 1.0, None, learned=False))
    found = np.zeros(scores.shape, bool)
    for place in np.ndindex(*picks.shape[:-1]):
        kept = picks[place][picks[place] >= 0]
        assert (np.diff(kept) > 0).all()
        found[place][kept] = True
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("keys", "keep"), [(1, 1), (5, 5), (15, 3), (256, 1), (257, 16), (300, 40), (1000, 16), (1100, 64), (1100, 1100)])
def test_the_picks_are_the_largest_and_of_equal_ones_the_earliest(keys, keep, dtype):
    rng = RNG(keys)
    few = rng.integers(0, 5, (2, 3, keys)).astype(dtype)
    odd = np.where(rng.random((2, 3, keys)) < 0.01, np.nan, rng.standard_normal((2, 3, keys))).astype(dtype)
    odd[0, 0, keys // 2] = np.inf
    rising = np.sort(rng.standard_normal((2, 3, keys))).astype(dtype)  # each key is better than all before it
    for scores in (few, odd, np.zeros_like(few), rising, -rising, rng.standard_normal((2, 3, keys)).astype(dtype)):
        np.testing.assert_array_equal(picked(scores, keep), largest_in_numpy(scores, keep))


def test_nothing_hidden_is_picked():
    scores = RNG(0).standard_normal((2, 300, 310))
    scores[:, :, 7] = -np.inf
    i, j = np.arange(300)[:, None] + 10, np.arange(310)
    for left, right in ((None, 0), (20, 0), (20, 5), (None, None)):
        seen = (j >= i - (999 if left is None else left)) & (j <= i + (999 if right is None else right)) & np.isfinite(scores)
        hidden = np.where(seen, scores, -np.inf)
        np.testing.assert_array_equal(picked(scores, 9, (left, right)), largest_in_numpy(hidden, 9) & seen)


OPTIONS = {
    "causal": {"causal": True}, "window": {"window": (5, 2)}, "pattern": {"mask": masks.sliding_window(9) | masks.first(2)},
    "mask": {"mask": RNG(1).random((4, 33, 70)) < 0.5, "softcap": 2.0}, "sinks": {"sinks": np.ones(4), "scale": -0.3},
    "bias": {"bias": RNG(2).standard_normal((33, 1)), "causal": True}, "alibi": {"bias": alibi(np.array([0.1, 0.2, 0.3, 0.4]))},
    "none seen": {"mask": np.zeros((33, 70), bool), "sinks": np.ones(4)},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_outputs_and_gradients_with_each_option(options):
    rng = RNG(0)
    given = {"q": rng.standard_normal((2, 4, 33, 6)), "k": rng.standard_normal((2, 2, 70, 6)), "v": rng.standard_normal((2, 2, 70, 5))}
    given |= {name: options[name] for name in ("bias", "sinks") if isinstance(options.get(name), np.ndarray)}
    rest = {name: x for name, x in options.items() if name not in given}
    sides = [vjp(lambda t, f=form.top_k_attention: f(**t, keep=7, **rest), given) for form in (definitions, kernels)]
    d_out = rng.standard_normal(sides[0][0].shape)
    np.testing.assert_allclose(sides[1][0], sides[0][0], rtol=1e-11, atol=1e-12)
    for want, got in zip(sides[0][1](d_out).values(), sides[1][1](d_out).values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("options", [{"mask": masks.per_head([masks.causal()] * 3)}, {"bias": alibi(np.ones(3))}, {"bias": np.ones((3, 1, 1))},
                                     {"mask": np.ones((20, 19), bool)}, {"bias": alibi(np.ones(3)), "causal": True}])
def test_what_fits_no_heads_is_refused_in_the_definitions_words(options):
    x, said = np.ones((2, 20, 4)), []
    for form in (definitions, kernels):
        with pytest.raises(ValueError, match=next(iter(options))) as refusal:
            form.top_k_attention(x, x, x, keep=3, **options)
        said.append(str(refusal.value))
    assert said[0] == said[1]


def test_a_learned_table_of_distances_has_its_gradient():
    x = RNG(0).standard_normal((2, 40, 4))
    slopes = [grad(lambda t, f=form.top_k_attention: np.sum(f(x, x, x, keep=5, bias=relative(t, lambda d: d % 3)) ** 2))(np.ones((3, 2)))
              for form in (definitions, kernels)]
    np.testing.assert_allclose(slopes[1], slopes[0], rtol=1e-10)


def test_a_second_derivative_walks_the_gathered_form():
    x = RNG(0).standard_normal((1, 70, 4))

    def curved(f):
        slope = grad(lambda t: np.sum(f(t, x, x, keep=5, causal=True) ** 3))
        return grad(lambda t: np.sum(slope(t) ** 2))(x)

    np.testing.assert_allclose(curved(top_k_attention), curved(definitions.top_k_attention), rtol=1e-9, atol=1e-10)


def check_all(dtype):
    """Raises AssertionError unless picks and gradients are right; called in processes with other settings of Numba."""
    test_the_picks_are_the_largest_and_of_equal_ones_the_earliest(300, 20, dtype)
    x, near = RNG(0).standard_normal((2, 70, 6)).astype(dtype), 1e-11 if dtype == np.float64 else 1e-4
    sides = [vjp(lambda t, f=form.top_k_attention: f(t, t, t, keep=7, causal=True), x) for form in (definitions, kernels)]
    np.testing.assert_allclose(sides[1][0], sides[0][0], rtol=near, atol=near)
    np.testing.assert_allclose(sides[1][1](x), sides[0][1](x), rtol=near, atol=near)


@pytest.fixture
def head_by_head(monkeypatch):
    """Calls are taken one kv head at a time."""
    for module in (picked_keys, top_k):
        monkeypatch.setattr(module, "TOGETHER", 0)


GROUPED = {"q": RNG(5).standard_normal((2, 4, 33, 6)), "k": RNG(6).standard_normal((2, 2, 70, 6)), "v": RNG(7).standard_normal((2, 2, 70, 5))}


def of_groups(door):
    return lambda tree: door(**tree, keep=9, causal=True, softcap=2.0, scale=0.7)


def test_one_head_at_a_time_gives_the_bits_of_all_heads(monkeypatch, request):
    want, pull = vjp(of_groups(kernels.top_k_attention), GROUPED)
    slopes = pull(np.cos(want))
    request.getfixturevalue("head_by_head")
    ran = []
    monkeypatch.setattr(picked_keys, "all_picked", lambda *given, form=picked_keys.all_picked: ran.append(given) or form(*given))
    got, pull = vjp(of_groups(kernels.top_k_attention), GROUPED)
    np.testing.assert_array_equal(got, want)
    for name, slope in pull(np.cos(want)).items():
        np.testing.assert_array_equal(slope, slopes[name], err_msg=name)
    assert len(ran) == 8  # two texts of two kv heads, forward and backward


def test_one_head_at_a_time_has_second_derivatives(head_by_head):
    def second(door):
        return grad(lambda t: sum(np.sum(np.sin(g)) for g in grad(lambda u: np.sum(np.sin(of_groups(door)(u))))(t).values()))(GROUPED)

    for name, slope in second(definitions.top_k_attention).items():
        np.testing.assert_allclose(second(top_k_attention)[name], slope, rtol=1e-9, atol=1e-11, err_msg=name)
