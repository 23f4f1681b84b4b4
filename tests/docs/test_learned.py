"""The table of what small models learn: every mixer that was measured once, by family, and numbers in the text that are its own."""

import re
from pathlib import Path

import pytest
from making import learned

from tinyattn.catalog import MIXERS

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"


def test_every_mixer_that_was_measured_stands_in_the_table_once_with_its_bits():
    read = learned.report()
    found = re.findall(r"^\| \[(\w+)\]\(../mechanisms/\1.md\) \| ([\d.]+) \|", learned.table(read), re.M)
    assert len(found) == len(dict(found)) >= 51
    assert dict(found).keys() <= {row.name for row in MIXERS}  # one that is added later has a row once it is measured
    assert dict(found) == {line["mechanism"]: f"{line['bits_per_byte']:.3f}" for line in read["rows"]}
    assert learned.table(read).splitlines()[-1].startswith("| *bigram* | 3.267 |")


def test_a_family_begins_with_its_best_and_one_without_models_is_left_out():
    read = learned.report()
    few = [line for line in read["rows"] if line["mechanism"] in ("delta_rule", "retention", "attention")]
    names = re.findall(r"^\| (\*\*[^*]+\*\*|\[\w+\])", learned.table({**read, "rows": few}), re.M)
    assert names == ["**Exact softmax attention**", "[attention]", "**Linear attention**", "[delta_rule]", "[retention]"]


@pytest.mark.parametrize("page", ["learned", "mechanism"])
def test_numbers_in_the_text_are_those_of_the_table(page):
    bits = {line["mechanism"]: f"{line['bits_per_byte']:.2f}" for line in learned.report()["rows"]}
    said = re.findall(r"`(\w+)` \((\d\.\d\d)\)", (GUIDES / f"{page}.md").read_text())
    assert len(said) >= 3
    assert said == [(name, bits[name]) for name, _ in said]
