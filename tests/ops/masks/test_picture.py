"""Pictures of masks, to the character: doctests do not see white space."""

import re

import numpy as np
import pytest

from tinyattn.ops.masks import causal, picture
from tinyattn.ops.masks.picture import SIDE


def test_text_to_the_character():
    assert picture.text(np.tri(2, 3, 1, dtype=bool)) == "    0 1 2\n 0  ■ ■ ·\n 1  ■ ■ ■"
    assert picture.text(np.zeros((1, 1), bool)) == "    0\n 0  ·"
    lines = picture.text(causal().dense(101, 12)[:, :]).split("\n")
    assert lines[0] == "     0 1 2 3 4 5 6 7 8 9 0 1"
    assert lines[1] == "  0  · · · · · · · · · · · ·"
    assert lines[-1] == "100  ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■"
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(("shape", "lines"), [((0, 3), ["    0 1 2"]), ((2, 0), ["", " 0  ", " 1  "]), ((0, 0), [""])])
def test_text_of_nothing(shape, lines):
    assert picture.text(np.zeros(shape, bool)).split("\n") == lines


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (1, 1), (0, 2)])
def test_later_keys_are_counted_pair_by_pair(shape):
    rows, columns = shape
    visible = np.random.default_rng(0).random(shape) < 0.5
    assert picture.later_keys(visible) == sum(visible[i, j] for i in range(rows) for j in range(columns) if j > i + columns - rows)
    assert picture.later_keys(causal().dense(rows, columns)) == 0



def test_an_svg_has_a_line_at_every_edge_and_a_cell_for_every_run():
    visible = np.array([[True, True, False], [False, True, True]])
    drawn = picture.svg(visible, title="a < b")
    width, height = 3 * SIDE, 2 * SIDE
    assert f'width="{width + 2}" height="{height + 2}" viewBox="-1 -1 {width + 2} {height + 2}"' in drawn
    assert "<title>a &lt; b</title>" in drawn
    cells, grid = re.findall(r'<path d="([^"]*)"', drawn)
    assert cells == f"M0 0h{2 * SIDE}v{SIDE}H0zM{SIDE} {SIDE}h{2 * SIDE}v{SIDE}H{SIDE}z"
    assert grid == (f"M0 0V{height}M{SIDE} 0V{height}M{2 * SIDE} 0V{height}M{width} 0V{height}"
                    f"M0 0H{width}M0 {SIDE}H{width}M0 {height}H{width}")


def test_an_svg_of_nothing_has_its_border():
    cells, grid = re.findall(r'<path d="([^"]*)"', picture.svg(np.zeros((0, 2), bool)))
    assert (cells, grid) == ("", f"M0 0V0M{SIDE} 0V0M{2 * SIDE} 0V0M0 0H{2 * SIDE}")


@pytest.mark.parametrize("visible", [np.ones(3, bool), np.ones((1, 2, 2), bool), np.ones((2, 2))])
def test_what_is_no_boolean_matrix_is_refused(visible):
    for draw in (picture.text, picture.svg, picture.later_keys):
        with pytest.raises(ValueError, match="visible: expected a boolean matrix"):
            draw(visible)
