"""The notes beside the code of a mechanism's page: they stand beside lines that are there."""

import inspect
import re
from pathlib import Path

import pytest
from making import margin, pages

from tinyattn.catalog import ROWS, find

WRITTEN = Path(__file__).resolve().parents[2] / "docs" / "mechanisms"


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_margin_stands_beside_lines_that_are_there(row):
    told = pages.fragments((WRITTEN / f"{row.name}.md").read_text())["Line by line"]
    found = margin.notes(row, told)
    assert len(found) == len(re.findall(r"^- ", told, re.M))
    assert 3 <= len(found) <= 7
    code = [margin.lines(function) for function in margin.shown(row)]
    for note in found:
        assert sum(note.code.removesuffix(" …") in line for text in code for line in text) == 1, f"{note.code} could be several lines"
    with pytest.raises(ValueError, match="has no no_such_line"):
        margin.notes(row, told + "\n- `no_such_line`: why")


def test_a_marked_line_is_the_one_that_its_note_is_about():
    page = margin.code(find("lsh_attention"), "- `back = np.argsort(`: why\n- `if not qk.shape[-2]:`: no tokens")
    first, second = re.findall(r":pyobject: (\w+)\n.*\n:emphasize-lines: (\d+)\n", page)
    for (name, line), piece in zip((first, second), ("if not qk.shape[-2]:", "back = np.argsort("), strict=True):
        function = next(one for one in margin.shown(find("lsh_attention")) if one.__name__ == name)
        assert piece in inspect.getsource(function).splitlines()[int(line) - 1]
    assert page.index("| `if not qk.shape[-2]:` | no tokens |") < page.index("| `back = np.argsort( …` | why |")
