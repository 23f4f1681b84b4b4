"""Pictures, compared by the data that is drawn and not by pixels."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinyattn import definitions, plot
from tinyattn.caches import GrowingCache, StateCache
from tinyattn.ops import masks


def axes():
    return Figure().subplots()


def cells(ax) -> np.ma.MaskedArray:
    (image,) = ax.get_images()
    return image.get_array()


@pytest.fixture
def weights() -> np.ndarray:
    rng = np.random.default_rng(0)
    return definitions.attention_weights(rng.standard_normal((3, 4, 2)), rng.standard_normal((3, 5, 2)), causal=True)


def test_one_head_is_drawn_as_it_is_and_the_unseen_is_blank(weights):
    ax = axes()
    assert plot.attention_map(weights, head=1, ax=ax) is ax
    drawn = cells(ax)
    np.testing.assert_array_equal(drawn.filled(0.0), weights[1])
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), ~masks.causal().dense(4, 5))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("key", "query", "head 1")


def test_tokens_name_rows_and_columns(weights):
    ax = plot.attention_map(weights[0, :, 1:], tokens=list("abcd"))
    assert [label.get_text() for label in ax.get_xticklabels()] == list("abcd")
    with pytest.raises(ValueError, match=r"tokens: .*\(4, 5\), got 4"):
        plot.attention_map(weights, tokens=list("abcd"))


def test_negative_weights_have_zero_in_the_middle(weights):
    ax = plot.attention_map(weights - 0.5)
    (image,) = ax.get_images()
    low, high = image.get_clim()
    assert low == -high < 0
    assert plot.attention_map(weights).get_images()[0].get_clim()[0] == 0.0


def test_all_heads_stand_side_by_side_on_one_scale(weights):
    ax = plot.attention_heads(weights, columns=2, ax=axes())
    drawn = cells(ax).filled(0.0)
    assert drawn.shape == (2 * 4 + 1, 2 * 5 + 1)
    np.testing.assert_array_equal(drawn[:4, :5], weights[0])
    np.testing.assert_array_equal(drawn[:4, 6:], weights[1])
    np.testing.assert_array_equal(drawn[5:, :5], weights[2])
    assert not drawn[5:, 6:].any()
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2"]
    corners = [(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in ax.patches]
    assert corners == [(0, 0), (6, 0), (0, 5)]


def test_several_sequences_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\)"):
        plot.attention_heads(np.ones((2, 3, 4, 4)))
    with pytest.raises(ValueError, match="columns: expected 1 or more, got 0"):
        plot.attention_heads(np.ones((4, 4)), columns=0)
    assert cells(plot.attention_map(np.ones((1, 1, 2, 3)))).shape == (2, 3)


def test_a_mask_is_the_patterns_dense_array():
    pattern = masks.causal() & masks.window(2, 0)
    ax = plot.mask(pattern, 5, 7)
    np.testing.assert_array_equal(cells(ax).filled(0.0), pattern.dense(5, 7))
    assert ax.get_title() == repr(pattern)
    np.testing.assert_array_equal(cells(plot.mask(np.tri(3, dtype=bool))).filled(0.0), np.tri(3))


@pytest.mark.parametrize(("wrong", "error", "words"), [
    ((masks.causal(),), ValueError, "q_len, kv_len"), ((np.ones((2, 2)),), TypeError, "float64"), ((3,), TypeError, "int"),
    ((masks.per_head([masks.causal(), masks.first(1)]), 3, 3), ValueError, r"\(2, 3, 3\)")])
def test_what_is_no_mask_is_refused(wrong, error, words):
    with pytest.raises(error, match=words):
        plot.mask(*wrong)


def test_occupancy_has_a_box_for_every_position_held():
    full, empty, state = GrowingCache(), GrowingCache(), StateCache()
    x = np.ones((2, 5, 4))
    full.append(x, x)
    full.truncate(3)
    state.append(x, x)
    ax = plot.occupancy({"full": full, "empty": empty, "state": state}, ax=axes())
    boxes = [[path.vertices[:, 0].min() for path in row.get_paths()] for row in ax.collections]
    assert boxes == [[0, 1, 2], [], []]
    said = [text.get_text() for text in ax.texts]
    assert said == [f"{cache.nbytes:,} of {cache.allocated:,} bytes" for cache in (full, empty, state)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["full", "empty", "state"]
    assert ax.get_xlim() == (0, 5)


def test_growth_draws_each_curve_at_its_lengths():
    ax = plot.growth({"a": {2: 1.0, 4: 3.0}, "b": {4: 2.0}}, ylabel="s", ax=axes())
    assert {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()} == {"a": [[2, 1], [4, 3]], "b": [[4, 2]]}
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "s")


def test_lengths_that_are_near_each_other_have_one_label():
    ax = plot.growth({"a": {36: 1.0, 72: 3.0, 144: 4.0}, "b": {64: 2.0, 1024: 3.0}}, ylabel="s", ax=axes())
    assert [label.get_text() for label in ax.get_xticklabels()] == ["36", "64", "144", "1,024"]


def test_a_pattern_shows_itself_in_a_notebook_escaped():
    shown = (masks.Pattern(lambda i, j: i == j, text="<b>&")._repr_html_())
    assert shown.startswith("<svg")
    assert "&lt;b&gt;&amp;" in shown
    assert "<b>" not in shown
    assert shown.count("h12v12") == 16  # the diagonal of 16 cells, a run each


@pytest.mark.parametrize("page", [(1.0, 1.0, 1.0), (0.075, 0.078, 0.086)], ids=["light", "dark"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_weight_next_to_nothing_differs_from_nothing_on_light_and_dark_pages(page, signed):
    cells = np.array([[1e-9, 1.0], [0.0, -1e-9 if signed else 0.5]])
    image = plot.attention_map(cells, ax=axes()).get_images()[0]
    shown = image.to_rgba(image.get_array(), norm=True)
    over = shown[..., :3] * shown[..., 3:] + np.array(page) * (1 - shown[..., 3:])
    differs = np.abs(over - page).sum(axis=-1)
    assert differs[1, 0] == 0.0
    assert differs[differs > 0].size == 3
    assert differs[differs > 0].min() > 0.15  # with an opacity of 0.12 it is 0.14 on the dark page, and hard to see
