"""The graph of mechanisms: its edges are laws, its page is the one that the command writes, and every mechanism is in it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tinyattn import definitions
from tinyattn.catalog import ROWS, find, graph
from tinyattn.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "equivalences.md"


def test_the_page_is_what_the_command_writes(capsys, tmp_path):
    assert main(["equivalences", "--out", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text() == PAGE.read_text(), "run: tinyattn equivalences --out docs/equivalences.md"
    assert main(["equivalences"]) == 0
    assert "`delta_rule` | `linear_attention`" in capsys.readouterr().out


@pytest.mark.parametrize(("change", "words"), [({"to": "nobody"}, "'nobody'"), ({"kind": "roughly"}, "'roughly'")])
def test_an_edge_to_nowhere_is_refused(monkeypatch, change, words):
    row = find("delta_rule")
    laws = tuple(replace(law, **change) if law.to else law for law in row.laws)
    monkeypatch.setattr(graph, "ROWS", (replace(row, laws=laws), find("linear_attention")))
    with pytest.raises(ValueError, match=words):
        graph.edges()


def test_every_public_definition_has_a_row_or_is_a_form_of_one():
    known = {f for row in ROWS for f in (row.definition, *row.forms.values())}
    # What attention multiplies the values by, and what it takes the softmax of.
    known |= {definitions.attention_weights, definitions.attention_scores}
    assert not [name for name in definitions.__all__ if getattr(definitions, name) not in known]
