"""Layers against the products they stand for, and through the engine."""

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import GrowingCache
from tinyattn.engine import grad
from tinyattn.engine.check import directional
from tinyattn.layers.attention import CrossAttention, SelfAttention
from tinyattn.layers.block import Block
from tinyattn.layers.feed_forward import SwiGLU
from tinyattn.layers.inputs import Input, identity
from tinyattn.layers.linear import normal, project
from tinyattn.layers.norm import RMSNorm
from tinyattn.models.decoder import parameters
from tinyattn.ops.positions.rotary import rotary

RNG = np.random.default_rng
WIDE = [(1, 1, 8, 4, 2), (2, 5, 12, 3, 1), (4, 4, 16, 4, 4)]  # batch, length, width, heads, kv_heads


def wide(layer):
    """The layer with float64 parameters."""
    from tinyattn.engine.tree import map_tree
    return map_tree(lambda a: a.astype(np.float64) if isinstance(a, np.ndarray) else a, layer)


@pytest.mark.parametrize(("batch", "length", "width", "heads", "kv_heads"), WIDE)
def test_self_attention_is_projections_around_heads_one_by_one(batch, length, width, heads, kv_heads):
    layer = wide(SelfAttention.create(RNG(0), width, heads, kv_heads, mechanism=definitions.attention, deviation=0.5))
    x = RNG(1).standard_normal((batch, length, width))
    d, expected = width // heads, []
    places = np.arange(length)
    for b in range(batch):
        outs = []
        for h in range(heads):
            g = h // (heads // kv_heads)
            q = rotary(x[b] @ layer.q[:, h * d : (h + 1) * d], places)
            k = rotary(x[b] @ layer.k[:, g * d : (g + 1) * d], places)
            scores = np.where(np.tri(length, dtype=bool), q @ k.T * d ** -0.5, -np.inf)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            outs.append(weights / weights.sum(axis=1, keepdims=True) @ (x[b] @ layer.v[:, g * d : (g + 1) * d]))
        expected.append(np.concatenate(outs, axis=1) @ layer.out)
    np.testing.assert_allclose(layer(x, causal=True), expected, rtol=1e-12, atol=1e-14)


def test_cross_attention_over_the_tokens_is_self_attention_without_positions():
    mine = wide(SelfAttention.create(RNG(0), 8, 4, 2, mechanism=definitions.attention, base=None))
    other = CrossAttention(mine.q, mine.k, mine.v, mine.out, 4, 2, definitions.attention)
    x = RNG(1).standard_normal((2, 4, 8))
    np.testing.assert_array_equal(other(x, x), mine(x))


def test_cross_attention_reads_a_memory_of_another_length_and_width():
    layer = CrossAttention.create(RNG(0), 8, 4, 2, mechanism=definitions.attention, memory_width=6)
    x, memory = RNG(1).standard_normal((2, 3, 8)), RNG(2).standard_normal((2, 7, 6))
    assert layer(x, memory).shape == (2, 3, 8)
    order = np.array([3, 1, 0, 2, 6, 5, 4])
    np.testing.assert_allclose(layer(x, memory[:, order]), layer(x, memory), rtol=1e-12)


def test_a_distance_is_all_that_rotary_attention_knows_of_positions():
    layer = wide(SelfAttention.create(RNG(0), 8, 4, 2, mechanism=definitions.attention, deviation=0.5))
    x = RNG(1).standard_normal((1, 6, 8))
    here, there = (layer(x, positions=np.arange(6) + start, causal=True) for start in (0, 100))
    np.testing.assert_allclose(here, there, rtol=1e-13)
    assert not np.allclose(here, layer(x, positions=2 * np.arange(6), causal=True))


def test_a_cache_goes_on_where_it_was():
    layer = wide(SelfAttention.create(RNG(0), 8, 4, 2, mechanism=definitions.attention, deviation=0.5))
    x, cache = RNG(1).standard_normal((1, 7, 8)), GrowingCache(definitions.attention)
    pieces = [layer(x[:, a:b], cache=cache) for a, b in ((0, 3), (3, 4), (4, 7))]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), layer(x, causal=True), rtol=1e-12)


def test_swiglu_norm_and_block_are_their_formulas():
    x = RNG(1).standard_normal((2, 3, 8))
    feed, norm = wide(SwiGLU.create(RNG(0), 8, 12, deviation=0.5)), wide(RMSNorm.create(8))
    gate = x @ feed.gate
    by_hand = (gate / (1 + np.exp(-gate)) * (x @ feed.up)) @ feed.down
    np.testing.assert_allclose(feed(x), by_hand, rtol=1e-12)
    np.testing.assert_allclose(norm(x), x / np.sqrt((x ** 2).mean(axis=-1, keepdims=True) + 1e-6), rtol=1e-12)
    attention = wide(SelfAttention.create(RNG(0), 8, 4, 2, mechanism=definitions.attention))
    block = Block(norm, attention, norm, feed)
    middle = x + attention(norm(x), causal=True)
    np.testing.assert_allclose(block(x, causal=True), middle + feed(norm(middle)), rtol=1e-12)


def test_a_projection_folds_rows_of_any_number():
    for shape in ((4,), (3, 4), (2, 3, 4), (0, 4), (2, 0, 4)):
        x, w = RNG(0).standard_normal(shape), RNG(1).standard_normal((4, 5))
        np.testing.assert_allclose(project(x, w), x @ w, rtol=1e-12, atol=1e-14)


def test_gradients_reach_every_parameter():
    block = wide(Block(RMSNorm.create(8), SelfAttention.create(RNG(0), 8, 4, 2, mechanism=definitions.attention, deviation=0.5),
                       RMSNorm.create(8), SwiGLU.create(RNG(3), 8, 12, deviation=0.5)))
    x = RNG(1).standard_normal((1, 4, 8))

    def loss(layer):
        return (layer(x, causal=True) ** 2).sum()

    gradients = parameters(grad(loss)(block))
    assert set(gradients) == set(parameters(block))
    assert all(np.abs(g).max() > 0 for g in gradients.values())
    analytic, numeric = directional(loss, block, rng=RNG(4))
    assert analytic == pytest.approx(numeric, rel=1e-6)


def test_normal_weights_come_from_the_generator_alone():
    assert normal(RNG(0), 3, 4).tobytes() == normal(RNG(0), 3, 4).tobytes()
    assert normal(RNG(0), 300, 40, deviation=0.5).std() == pytest.approx(0.5, rel=0.05)
    assert normal(RNG(0), 3, 4).dtype == np.float32


@pytest.mark.parametrize(("mechanism", "name", "axes", "shape"), [
    (definitions.gated_attention, "gate", "heads", (4, 3)), (definitions.delta_rule, "beta", "kv_heads", (2, 3)),
    (definitions.gated_linear_attention, "log_decay", "kv_heads head_dim", (2, 3, 5)),
    (definitions.native_sparse_attention, "gates", "heads 3", (4, 3, 3))])
def test_an_input_has_the_axes_that_its_mechanism_declares(mechanism, name, axes, shape):
    given = Input.of(mechanism, name, identity, 0.5)
    assert (given.name, given.axes, given.initial) == (name, axes, 0.5)
    made = given.create(RNG(0), 20, 4, 2, 5)
    assert made(np.zeros((3, 20), np.float32)).shape == shape
    np.testing.assert_array_equal(made(np.zeros((3, 20), np.float32)), np.float32(0.5))


@pytest.mark.parametrize(("mechanism", "words"), [(definitions.delta_rule, "of beta, got 'gate'"), (len, "of none, got 'gate'")])
def test_an_input_that_its_mechanism_does_not_declare_is_refused(mechanism, words):
    with pytest.raises(ValueError, match=f"name: expected an option with one entry per token, {words}"):
        Input.of(mechanism, "gate", identity, 0.5)


def test_a_block_is_made_around_its_attention():
    attention = SelfAttention.create(RNG(0), 8, 4, 2, mechanism=definitions.attention)
    made, feed = Block.create(RNG(1), attention, 8, 16, deviation=0.5), SwiGLU.create(RNG(1), 8, 16, deviation=0.5)
    x = RNG(2).standard_normal((2, 3, 8)).astype(np.float32)
    np.testing.assert_array_equal(made(x), Block(RMSNorm.create(8), attention, RMSNorm.create(8), feed)(x))
    assert made.feed_forward.down.std() > 0.3
