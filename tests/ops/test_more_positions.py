"""Positions of published models, each against its formula in loops: LongRoPE, YaRN's factors, sections, XPos, KERPLE, Sandwich, FIRE."""

import math
from functools import partial

import numpy as np
import pytest

from tinyattn import Tensor, definitions, grad, ops
from tinyattn.engine.check import directional

RNG = np.random.default_rng(0)
EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize(("length", "which"), [(1, "short"), (64, "short"), (65, "long"), (4096, "long")])
def test_longrope_divides_each_frequency_by_its_own_factor(length, which):
    lists = {"short": np.array([1.0, 1.5, 2.0]), "long": np.array([1.0, 3.0, 9.0])}
    made = ops.longrope_frequencies(6, **lists, length=length, original_length=64, factor=32.0, base=500.0)
    for i in range(3):
        assert abs(made.values[i] - 1.0 / (lists[which][i] * 500.0 ** (2 * i / 6))) <= 4 * EPS * made.values[i]
    assert made.attention_factor == math.sqrt(1 + math.log(32.0) / math.log(64.0))
    assert ops.longrope_frequencies(6, **lists, length=length, original_length=64, factor=1.0).attention_factor == 1.0
    assert ops.longrope_frequencies(6, **lists, length=length, original_length=64, factor=4.0, attention_factor=0.5).attention_factor == 0.5


def test_longrope_with_one_factor_is_linear_and_with_ones_is_plain():
    ones, twos = np.ones(4), np.full(4, 2.0)
    options = {"original_length": 8, "factor": 1.0, "base": 100.0}
    for given, length, want in ((twos, 4, ops.linear_frequencies(8, factor=2.0, base=100.0)), (ones, 9, ops.plain_frequencies(8, base=100.0))):
        np.testing.assert_array_equal(ops.longrope_frequencies(8, short=given, long=given, length=length, **options).values, want.values)


def test_yarns_factor_of_cosines_is_chosen_by_its_arguments():
    made = partial(ops.yarn_frequencies, 8, factor=40.0, original_length=4096)
    plain = made()
    assert plain.attention_factor == pytest.approx(0.1 * math.log(40.0) + 1.0, rel=1e-15)
    assert made(attention_factor=0.75).attention_factor == 0.75
    both = made(mscale=0.707, mscale_all_dim=0.5).attention_factor
    assert both == pytest.approx((0.0707 * math.log(40.0) + 1.0) / (0.05 * math.log(40.0) + 1.0), rel=1e-15)
    assert made(mscale=1.0, mscale_all_dim=1.0).attention_factor == 1.0  # as in DeepSeek V3, whose attention scales its scores instead
    np.testing.assert_array_equal(made(mscale=0.7, mscale_all_dim=0.1).values, plain.values)
    for given, words in (({"mscale": 1.0}, "mscale, mscale_all_dim: expected both or neither, got 1.0 and None"),
                         ({"attention_factor": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}, "attention_factor, mscale: expected one of them")):
        with pytest.raises(ValueError, match=words):
            made(**given)


@pytest.mark.parametrize("interleaved", [False, True])
def test_each_section_of_pairs_is_turned_by_its_own_axis(interleaved):
    sections, x = (1, 0, 2), RNG.standard_normal((2, 3, 5, 8))
    positions = RNG.integers(-40, 40, (3, 2, 1, 5))
    out = ops.rotary_sections(x, positions, sections=sections, base=50.0, interleaved=interleaved)
    axis_of = [0, 2, 2]
    for at in np.ndindex(2, 3, 5):
        for pair, axis in enumerate(axis_of):
            a, b = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + 3)
            turned = complex(x[*at, a], x[*at, b]) * np.exp(1j * positions[axis, at[0], 0, at[2]] * 50.0 ** (-2 * pair / 6))
            assert abs(complex(out[*at, a], out[*at, b]) - turned) <= 1e-14
    np.testing.assert_array_equal(out[..., 6:], x[..., 6:])


def test_equal_axes_are_rotary_and_a_wrong_order_of_sections_is_seen():
    x, text = RNG.standard_normal((4, 6, 8)), np.arange(6)
    frequencies = ops.yarn_frequencies(8, factor=4.0, original_length=16)
    np.testing.assert_array_equal(ops.rotary_sections(x, np.stack([text] * 3), sections=(2, 1, 1), frequencies=frequencies), ops.rotary(x, text, frequencies=frequencies))
    grid = np.stack([text * 0, text // 3, text % 3])
    right = ops.rotary_sections(x, grid, sections=(2, 1, 1))
    # Frequencies that begin again in each section, and sections that are dealt out in turns, are other functions.
    assert np.abs(right - np.concatenate([ops.rotary(x[..., a : a + n], at) for a, n, at in ((0, 4, grid[0]), (4, 2, grid[1]), (6, 2, grid[2]))], axis=-1)).max() > 0.1
    assert np.abs(right - ops.rotary_sections(x, grid[::-1], sections=(2, 1, 1))).max() > 0.1
    a, b = directional(lambda x: ops.rotary_sections(x, grid, sections=(2, 1, 1)), x, RNG)
    assert abs(a - b) < 1e-7


@pytest.mark.parametrize("interleaved", [False, True])
def test_xpos_scores_are_those_of_its_formula(interleaved):
    q, k = RNG.standard_normal((2, 2, 4, 6))
    at, scale_base, base = np.array([0, 3, 10, 700]), 64.0, 20.0
    scores = ops.xpos_queries(q, at, base=base, scale_base=scale_base, interleaved=interleaved) @ ops.xpos_keys(
        k, at, base=base, scale_base=scale_base, interleaved=interleaved).mT
    for h, i, j in np.ndindex(2, 4, 4):
        total = 0.0
        for pair in range(3):
            a, b = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + 3)
            zeta = (2 * pair / 6 + 0.4) / 1.4
            turned = complex(q[h, i, a], q[h, i, b]) * complex(k[h, j, a], -k[h, j, b]) * np.exp(1j * (at[i] - at[j]) * base ** (-2 * pair / 6))
            total += zeta ** ((at[i] - at[j]) / scale_base) * turned.real
        # In the worst of these cases the powers of query and key are 3e5 apart; both are rounded.
        assert abs(scores[h, i, j] - total) <= 1e-10 * max(1.0, abs(total))


def test_xpos_depends_on_distances_alone_and_is_rotary_for_a_large_scale_base():
    q, k = RNG.standard_normal((2, 5, 6))
    at = np.arange(5)
    scores = [ops.xpos_queries(q, at + s) @ ops.xpos_keys(k, at + s).mT for s in (0, 300, -300)]
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores[2], scores[0], rtol=0, atol=1e-12)
    plain = ops.rotary(q, at) @ ops.rotary(k, at).mT
    np.testing.assert_allclose(ops.xpos_queries(q, at, scale_base=1e12) @ ops.xpos_keys(k, at, scale_base=1e12).mT, plain, rtol=0, atol=1e-9)
    assert np.abs(ops.xpos_queries(q, at) @ ops.xpos_queries(k, at).mT - scores[0]).max() > 1e-3  # keys that are scaled as queries are
    # The score of a query with itself falls with the distance at which it stands from its copy, in every pair.
    ones = np.ones((1, 2))
    decays = [float((ops.xpos_queries(ones, np.array([n])) * ops.xpos_keys(ones, np.array([0]))).sum() / (2 * np.cos(n))) for n in (0, 1, 7, 512)]
    np.testing.assert_allclose(decays, [(0.4 / 1.4) ** (n / 512) for n in (0, 1, 7, 512)], rtol=1e-12)
    with pytest.raises(ValueError, match="positions: expected positions whose powers float32 can hold, at most 36261 from 0 at this scale_base, got 0 to 40000"):
        ops.xpos_queries(q.astype(np.float32), np.array([0, 1, 2, 3, 40000]))
    a, b = directional(lambda k: ops.xpos_keys(k, at, scale_base=8.0), k, RNG)
    assert abs(a - b) < 1e-7


def looped(bias, q_len, kv_len, heads):
    """The bias of every head, query and key by a function of the head and of both positions."""
    return np.array([[[bias(h, i + kv_len - q_len, j) for j in range(kv_len)] for i in range(q_len)] for h in range(heads)])


def test_kerples_biases_are_those_of_their_formulas():
    strength, slope, exponent = np.array([0.5, 2.0, 1e-3]), np.array([1.0, 0.1, 30.0]), np.array([1.0, 2.0, 0.25])
    log, power = ops.kerple_log(strength, slope), ops.kerple_power(strength, exponent)
    want = looped(lambda h, i, j: -strength[h] * math.log(1 + slope[h] * abs(i - j)), 3, 7, 3)
    np.testing.assert_allclose(log.dense(3, 7), want, rtol=4 * EPS, atol=0)
    want = looped(lambda h, i, j: -strength[h] * abs(i - j) ** exponent[h], 3, 7, 3)
    np.testing.assert_allclose(power.dense(3, 7), want, rtol=8 * EPS, atol=0)
    np.testing.assert_allclose(ops.kerple_power(strength, np.ones(3)).dense(3, 7), ops.alibi(strength).dense(3, 7), rtol=4 * EPS, atol=0)
    np.testing.assert_array_equal(log.tile(np.arange(5, 7), np.arange(2, 5)), log.dense(7, 7)[:, 5:7, 2:5])


@pytest.mark.parametrize("make", [ops.kerple_log, ops.kerple_power])
def test_kerples_numbers_are_learned_through_attention(make):
    q, k, v = RNG.standard_normal((3, 2, 5, 4))

    def value(parts):
        return definitions.attention(q, k, v, causal=True, bias=make(*parts)).sum(axis=(0, 1)) @ np.arange(4.0)

    parts = np.array([[0.5, 1.5], [0.7, 1.2]])
    found, along, step = grad(value)(parts), RNG.standard_normal((2, 2)), 1e-6
    difference = (value(parts + step * along) - value(parts - step * along)) / (2 * step)
    assert np.isfinite(found).all()
    assert abs(difference - (found * along).sum()) <= 1e-8


def test_sandwich_is_the_product_of_sinusoids():
    table = ops.sinusoidal(np.arange(9), 12)
    want = (table @ table.T)[None] / (8.0 * np.arange(1, 4) / 3)[:, None, None]
    np.testing.assert_allclose(ops.sandwich(3, width=12).dense(9, 9), want, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ops.sandwich(3, width=12).dense(2, 9), want[:, 7:], rtol=0, atol=1e-13)
    assert ops.sandwich(8).dense(1, 1)[-1, 0, 0] == 64 / 8.0
    assert ops.sandwich(2, width=2, base=7.0).dense(0, 0).shape == (2, 0, 0)
    with pytest.raises(ValueError, match="width: sines and cosines come in pairs"):
        ops.sandwich(2, width=3)


def fires(hidden=(4,), heads=3):
    sizes = [1, *hidden, heads]
    return [(RNG.standard_normal((b, a)), RNG.standard_normal(b)) for a, b in zip(sizes, sizes[1:], strict=False)]


@pytest.mark.parametrize(("q_len", "kv_len"), [(6, 6), (2, 6), (0, 3), (1, 1), (0, 0)])
@pytest.mark.parametrize("hidden", [(), (4,), (3, 5)])
def test_fires_bias_is_that_of_its_formula(q_len, kv_len, hidden):
    layers, c, threshold = fires(hidden), 0.3, 2.5

    def bias(h, i, j):
        x = [math.log(c * max(i - j, 0) + 1) / math.log(c * max(threshold, i) + 1)]
        for n, (weight, shift) in enumerate(layers):
            x = [max(y, 0.0) for y in x] if n else x
            x = [sum(weight[row, col] * x[col] for col in range(len(x))) + shift[row] for row in range(len(shift))]
        return x[h]

    out = ops.fire_bias(q_len, kv_len, c=c, threshold=np.array(threshold), layers=layers)
    assert out.shape == (3, q_len, kv_len)
    np.testing.assert_allclose(out, looped(bias, q_len, kv_len, 3).reshape(out.shape), rtol=0, atol=1e-13)


def test_fire_is_learned_decodes_alike_and_looks_at_no_later_key():
    layers = fires()
    full = ops.fire_bias(7, 7, c=0.3, threshold=2.0, layers=layers)
    np.testing.assert_array_equal(ops.fire_bias(2, 7, c=0.3, threshold=2.0, layers=layers), full[:, 5:])
    np.testing.assert_array_equal(ops.fire_bias(5, 5, c=0.3, threshold=2.0, layers=layers), full[:, :5, :5])

    def value(tree):
        made = ops.fire_bias(4, 6, c=tree["c"], threshold=tree["threshold"], layers=tree["layers"])
        return (made * np.arange(72.0).reshape(3, 4, 6)).sum()

    tree = {"c": np.array([0.3]), "threshold": np.array([3.5]), "layers": layers}
    scalars = lambda tree: {**tree, "c": tree["c"][0], "threshold": tree["threshold"][0]}
    found = grad(lambda tree: value(scalars(tree)))(tree)
    step = 1e-6
    for name in ("c", "threshold"):
        up, down = (value(scalars({**tree, name: tree[name] + sign * step})) for sign in (1, -1))
        assert found[name][0] == pytest.approx((up - down) / (2 * step), rel=1e-6)
        assert abs(found[name][0]) > 1e-3
    assert np.abs(found["layers"][0][0]).max() > 1e-3


def test_what_is_stored_in_16_bits_is_computed_in_float32():
    halves = [(w.astype(np.float16), b.astype(np.float16)) for w, b in fires()]
    assert ops.fire_bias(2, 3, c=0.5, threshold=2.0, layers=halves).dtype == np.float32
    strength = np.array([0.5, 0.25], np.float16)
    assert ops.kerple_log(strength, strength).dense(2, 3).dtype == np.float32
    tensor = Tensor(np.array([0.5, 3.0]))
    with pytest.raises(ValueError, match="exponent: expected numbers of at most 2"):
        ops.kerple_power(tensor, tensor)
