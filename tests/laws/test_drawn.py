"""Drawn problems: how large they may be, which values of their options occur, and what a change of a problem does to its numbers."""

from dataclasses import replace

import numpy as np
import pytest

from tinyattn.laws import linear as law_sides
from tinyattn.laws import masking
from tinyattn.laws.draw import caches, draw_sizes, grid, linear, lowrank, options, sizes, sparse, variants
from tinyattn.laws.draw.softmax import sloped, softmax
from tinyattn.laws.problem import REGIMES, Sizes, arrays, values

SIZES = Sizes(leading=(4,), kv_heads=3, groups=4, q_len=8, kv_len=13)


def drawn(draw, count, given=SIZES):
    return [draw(np.random.default_rng(seed), given) for seed in range(count)]


@pytest.mark.parametrize(("draw", "option", "choices"), [
    (sparse.MIXTURE, "block", {1, 2, 4}), (sparse.MIXTURE, "keep", {1, 2, 3}), (sparse.TOP, "keep", {1, 2, 3, 5}),
    (sparse.STATIC, "block", {1, 2, 3, 16}), (sparse.STATIC_BACK, "block", {1, 2, 3, 16}), (sparse.HASHED, "chunk", {1, 2, 3, 13}),
    (sparse.SHARDS, "size", {1, 2, 3}), (sparse.SHARDS, "local", {1, 2}), (sparse.SHARDS, "stride", {1, 2, 3, 4}),
    (sparse.TIED, "window", {0, 1, 2}), (sparse.BIGBIRD, "block", {1, 2, 3}), (sparse.BIGBIRD, "random", {0, 1, 2}),
    (sparse.BIGBIRD, "seed", {0, 1}), (sparse.BIGBIRD, "causal", {False, True}), (sparse.BIGBIRD_CAUSAL, "causal", {True}),
    (sparse.STREAMING, "first", {0, 1, 2, 3}), (sparse.STREAMING, "window", {1, 2, 4}), (sparse.GROUPS, "group", {2, 4, 6}),
    (sparse.NATIVE, "block", {1, 2, 4}), (sparse.NATIVE, "selected", {1, 3, 4, 5}), (sparse.NATIVE, "window", {1, 2, 4}),
    (sparse.tables, "q_block", {1, 2, 3}), (sparse.tables, "kv_block", {1, 2, 3}), (variants.SPAN, "ramp", {0.5, 1.0, 2.5}),
    (variants.INTEGER_SPANS, "ramp", {0.5, 1.0}), (variants.DUAL, "chunk", {1, 2, 3, 5}), (variants.DUAL, "local", {1, 2, 3}),
    (variants.DUAL, "clamp", {"paper", "code"}), (variants.DUAL, "interleaved", {False, True}),
    (variants.DUAL, "base", {10.0, 10000.0}), (variants.LOCAL, "mode", {"sliding", "block", "look_back"}),
    (linear.NEAR, "max_length", {16, 100}), (linear.AWAY, "start", {0, 5}), (lowrank.LANDMARKS, "landmarks", {1, 2, 3}),
    (caches.CAUSAL, "causal", {True}), (grid.CAUSAL_LINE, "causal", {True})])
def test_every_choice_of_an_option_occurs_and_no_other(draw, option, choices):
    assert {p.options[option] for p in drawn(draw, 60)} == choices


def test_a_learned_table_is_shorter_or_longer_than_the_text():
    assert {p.options["embedding"].shape[0] for p in drawn(variants.COUNTS, 40)} == {2, 3, 16}


def test_a_mask_per_head_is_what_the_shards_see_and_another_pattern():
    for p in drawn(sparse.OF_HEADS, 10):
        shards = sparse.masks.sharded(p.q.shape[-3], size=2, local=1, stride=3).dense(*p.full()[-2:])
        assert (p.options["mask"].dense(*p.full()[-2:]) >= shards).all()


def test_few_heads_and_rows_are_few():
    for seed in range(40):
        given = draw_sizes(np.random.default_rng(seed))
        few = sizes.few_rows(given)
        assert len(few.leading) <= 1
        assert max((*few.leading, few.kv_heads, few.groups)) <= 2
        assert 1 <= few.q_len <= max(few.kv_len, 1)
    assert sizes.few_heads(SIZES) == replace(SIZES, leading=(2,), kv_heads=2, groups=2)


def test_sizes_are_raised_as_far_as_it_takes():
    short = replace(SIZES, q_len=1, kv_len=1)
    assert sizes.at_least_seven(short) == replace(SIZES, q_len=7, kv_len=7)
    assert sizes.at_least_seven(SIZES) == SIZES
    assert [sizes.multiple_of_three(replace(SIZES, kv_len=n)).kv_len for n in (1, 3, 4)] == [3, 3, 6]
    assert [sizes.groups_of_four(replace(SIZES, kv_len=n)).q_len for n in (1, 8, 13)] == [8, 8, 12]
    assert [sizes.even(replace(SIZES, head_dim=n)).head_dim for n in (1, 2, 5)] == [2, 2, 6]
    p, = drawn(options.long(softmax()), 1, short)
    assert p.q.shape[-2] == p.k.shape[-2] == 4


def test_regimes_change_what_they_name_and_nothing_else():
    def of(regime, role):
        return values(np.random.default_rng(0), (5, 3), regime, role=role)

    x = of("plain", "q")
    for regime in REGIMES:
        want = {"spiky": (4 * x, 4 * x, x), "ties": (np.round(x), np.round(x), x), "offset": (x, x + 30, x + 30),
                "tiny": (x / 1000, x / 1000, x), "flat": (0 * x, x, x)}.get(regime, (x, x, x))
        for role, expected in zip("qkv", want, strict=True):
            np.testing.assert_allclose(of(regime, role), expected, rtol=1e-15, atol=0.0)


def test_linear_attention_is_not_drawn_with_queries_that_are_spiky_or_flat():
    for regime in ("spiky", "offset", "flat"):
        hard, plain = (drawn(linear.linear, 1, replace(SIZES, regime=each))[0] for each in (regime, "plain"))
        np.testing.assert_array_equal(hard.q, plain.q)
        np.testing.assert_array_equal(hard.k, plain.k)


@pytest.mark.parametrize("draw", [lowrank.projections, lowrank.LANDMARKS, variants.SPAN_ORDINARY, variants.COUNTS_SLOPES])
def test_ordinary_problems_are_plain_whatever_the_regime(draw):
    flat = replace(SIZES, regime="flat", head_dim=1)
    plain = replace(flat, regime="plain", head_dim=2)
    np.testing.assert_array_equal(drawn(draw, 1, flat)[0].q, drawn(draw, 1, plain)[0].q)
    assert np.abs(drawn(draw, 1, flat)[0].q).max() > 0.1


def test_numbers_in_eighths_are_near_what_they_were():
    p, = drawn(softmax(), 1)
    changed = sparse.eighths(p)
    for before, after in ((p.q, changed.q), (p.k, changed.k)):
        np.testing.assert_array_equal(8 * after, np.round(8 * after))
        assert np.abs(after - before).max() <= 1 / 16


def test_long_vectors_are_long():
    p, = drawn(variants.QK, 1)
    long = variants.long_vectors(p)
    assert min(np.linalg.norm(x, axis=-1).min() for x in (long.q, long.k)) > 1e6
    assert (long.options["softcap"], long.options["scale"]) == (None, None)


def test_saturated_gates_have_a_score_of_a_hundred():
    p, = drawn(softmax(), 1)
    for sign in (1.0, -1.0):
        full = variants.saturated_gates(sign)(p)
        np.testing.assert_allclose(full.q[:, 0, :, :1] @ full.k[:, 0, :, :1].mT * p.q.shape[-1] ** -0.5, sign * 100.0, rtol=1e-14)
        np.testing.assert_array_equal(full.q[..., 1:], p.q[..., 1:])
        np.testing.assert_array_equal(full.k[..., 1:], p.k[..., 1:])


def test_landmarks_are_told_apart_by_a_channel_of_their_own():
    p = lowrank.separated(drawn(lowrank.LANDMARKS, 3)[2])
    assert p.options["iterations"] == 6
    count = p.options["landmarks"]
    own = np.arange(p.k.shape[-2]) * count // p.k.shape[-2]
    np.testing.assert_array_equal(p.k.mean(axis=(0, 1))[:, :count].argmax(axis=-1), own)


def test_images_have_one_token_per_cell():
    for draw in (grid.shifted_windows, grid.neighbourhoods, grid.lines, grid.windows, grid.placed_cells, grid.cells_one_wide):
        for p in drawn(draw, 20):
            assert p.q.shape[-2] == p.k.shape[-2] == p.v.shape[-2] == np.prod(p.options["grid"])
            assert p.q.shape[-3] <= 2 * p.k.shape[-3]
    assert all(p.q.shape[-1] == p.k.shape[-1] == 4 * SIZES.head_dim for p in drawn(grid.placed_cells, 3))
    assert {len(p.options["grid"]) for p in drawn(grid.neighbourhoods, 20)} == {1, 2}
    assert {len(p.options["grid"]) for p in drawn(grid.CAUSAL_LINE, 20)} == {1}
    assert {len(p.options["grid"]) for p in drawn(grid.lines, 40)} == {1, 2, 3}
    assert {min(p.options["grid"]) for p in drawn(grid.cells_one_wide, 20)} == {1}


def test_a_hidden_draw_has_a_row_that_sees_nothing_and_a_key_that_nobody_sees():
    for seed in range(20):
        seen = masking.hidden_draw(np.random.default_rng(seed), Sizes()).visible()
        assert not seen[..., 0, :].any()
        assert not seen[..., -1].any()


def test_a_sloped_draw_has_a_query_that_sees_two_keys():
    draw = sloped("mask", "causal", "window")
    for seed in range(60):
        assert draw(np.random.default_rng(seed), Sizes(kv_heads=1, groups=1, q_len=2, kv_len=3)).visible().sum(axis=-1).max() > 1


def test_a_text_in_two_parts_is_cut_at_a_third_of_its_tokens():
    lengths = []

    def mechanism(q, k, v, return_state=False, initial_state=None):
        lengths.append(k.shape[-2])
        return v, v

    problem = arrays(np.random.default_rng(0), Sizes(kv_heads=2, groups=1, q_len=12, kv_len=12))
    law_sides.in_two_parts(mechanism, problem)
    assert lengths == [4, 8]


def test_every_pair_has_its_own_verdict():
    problem = arrays(np.random.default_rng(0), Sizes(leading=(3,), kv_heads=2, groups=2, q_len=5, kv_len=7))
    assert law_sides.true_everywhere(None, problem)[0].shape == (3, 4, 5, 7)
