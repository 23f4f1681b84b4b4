"""The questions that readers ask: each answer leads to a page and a heading that are there."""

import re
from pathlib import Path

import pytest

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"
TEXT = (GUIDES / "questions.md").read_text()
ROWS = re.findall(r"^### (.+\?)\n\n(.+) See (\[.+\]\(.+\))\.$", TEXT, re.M)


def anchors(path: Path) -> set[str]:
    """Returns the anchors of a page's headings, as MyST makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_there_are_at_least_twenty_questions():
    assert len(ROWS) >= 20
    assert len(ROWS) == TEXT.count("\n### ")


@pytest.mark.parametrize(("question", "answer", "more"), ROWS, ids=[question for question, *_ in ROWS])
def test_an_answer_leads_to_a_heading_that_is_there(question, answer, more):
    (name, anchor), = re.findall(r"^\[.+\]\((.+?\.md)(?:#(.+))?\)$", more)
    page = (GUIDES / name).resolve()
    assert page.exists(), name
    assert not anchor or anchor in anchors(page), f"{name} has no heading {anchor}"


def test_a_heading_that_is_not_there_is_noticed():
    assert "what-true-means-in-a-mask" in anchors(GUIDES.parent / "conventions.md")
    assert "whose-true-attends" not in anchors(GUIDES.parent / "conventions.md")
