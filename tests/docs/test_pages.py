"""The pages: each mechanism has one, with all its sections; the numbers on them are what comes out."""

import ast
import doctest
import re
from pathlib import Path

import build
import numpy as np
import pytest
from making import api, costs, formulas, graph, lawbook, learned, margin, measured, pages, pictures, poster, told

import tinyattn
from tinyattn.catalog import ROWS, find
from tinyattn.models import load

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = ROOT / "docs" / "mechanisms"
# The guide's example is of a mechanism that is not there: test_contributing.py runs it where it is.
SITE = sorted(set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs" / "contributing.md"})


def examples(path: Path) -> list[str]:
    """Returns the examples with prompts of a page."""
    return re.findall(r"^```(?:pycon|python)\n(>>> .*?)^```", path.read_text(), re.S | re.M)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_has_a_page_with_every_section(row):
    path = WRITTEN / f"{row.name}.md"
    assert path.exists(), f"docs/mechanisms/{row.name}.md is missing; docs/contributing.md says what stands in it"
    written = pages.fragments(path.read_text())
    assert "$$" in written["Formula"]
    assert examples(path), "Only here: no number that is run"
    assert written["Only here"].count("```pycon")
    assert len(re.findall(r"[.!?](?:\s|$)", written["Idea"])) == 2, "Idea: two sentences"
    assert "](" in written["Neighbours"], "Neighbours: no link to one"
    uses = written["When to use it"]
    assert re.findall(r"^\S+ ", uses, re.M) == ["- "] * 3, "When to use it: three lines"
    assert re.findall(r"^- \*\*(.+?)\*\*", uses, re.M) == ["Use it", "Avoid it", "Instead"]
    assert "](" in uses.partition("- **Instead**")[2], "When to use it: no link to another mechanism"


def test_no_page_is_left_of_a_row_that_is_gone():
    assert {path.stem for path in WRITTEN.glob("*.md")} == {row.name for row in ROWS}


def test_no_two_pages_show_the_same_number():
    every = [example for path in WRITTEN.glob("*.md") for example in examples(path)]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("path", [path for path in SITE if examples(path)], ids=lambda path: str(path.relative_to(ROOT / "docs")))
def test_the_examples_of_a_page_run(path):
    names = {"__name__": path.stem}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for at, example in enumerate(examples(path)):
        said: list[str] = []
        block = doctest.DocTestParser().get_doctest(example, names, f"{path.name} {at}", str(path), 0)
        runner.run(block, out=said.append, clear_globs=False)
        names = block.globs  # what one block defines the next one knows
        assert not runner.failures, "".join(said)


@pytest.mark.parametrize(("text", "words"), [("# Idea\nTwo.\n", "got Idea"), ("", "got $"), (
    "\n".join(f"# {name}\nx" for name in reversed(pages.WRITTEN)), "got Elsewhere")])
def test_a_page_without_its_sections_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        pages.fragments(text)


def test_the_forms_of_a_mechanism_are_calls_that_are_there():
    for row in ROWS:
        for part, name in re.findall(r"`tinyattn\.(definitions|ops)\.(\w+)`", pages.ways(row) + pages.facts(row)):
            assert hasattr(getattr(tinyattn, part), name)
        assert ("`tinyattn.kernels." in pages.ways(row)) == bool(row.kernel)


def test_places_in_papers_belong_to_papers_of_the_catalog():
    assert set(pages.WHERE) <= {paper.arxiv for row in ROWS for paper in row.papers}


def test_a_difference_is_taken_from_the_sources():
    shown = pages.differences("before\n@diff multi_query_attention multi_head_attention\nafter")
    assert shown.startswith("before\n```diff\n--- multi_query_attention\n+++ multi_head_attention\n")
    assert "+    return weights @ v" in shown
    assert '"""' not in shown


def test_a_page_has_its_sections_in_order_and_every_law_as_a_link(monkeypatch):
    monkeypatch.setattr(pictures, "LENGTHS", (8, 16))
    row = find("multi_query_attention")
    text = pages.mechanism(row, (WRITTEN / "multi_query_attention.md").read_text())
    assert tuple(re.findall(r"^## (.+)$", text, re.M)) == pages.SECTIONS
    for law in row.laws:
        assert f"- [{law.says}](#law-" in text
    assert text.count("<svg") == 3
    assert "Cache bytes: `length (head_dim + value_dim) itemsize`" in text
    assert f":pyobject: {row.definition.__name__}" in text


@pytest.mark.parametrize(("name", "tokens", "unit"), [("shifted_window_attention", 24, "tokens"), ("axial_attention", 18, "tokens"),
                                                       ("nystrom_attention", 9, "tokens"), ("spatial_gate", 25, "places")])
def test_what_draws_its_own_sizes_grows_by_repeated_tokens(monkeypatch, name, tokens, unit):
    monkeypatch.setattr(pictures, "LENGTHS", (16, 48))
    row = find(name)
    assert list(pictures.curve(row, row.mechanism)) == [tokens, 3 * tokens]
    assert f"from {tokens} to {3 * tokens} {unit} " in pictures.growth(row)[1]


TOKENS = [row for row in ROWS if row.name != "spatial_gate"]  # which gates an image and reads no token


@pytest.mark.parametrize("row", TOKENS, ids=[row.name for row in TOKENS])
def test_every_row_of_tokens_is_drawn(row):
    from live import example, mixing
    p, _ = example(row, list("abcde"))
    weights = mixing(row.mechanism, p)
    assert weights.ndim == 3
    assert np.all(np.isfinite(weights))
    assert np.any(weights != 0)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_every_row_grows_with_the_text(monkeypatch, row):
    monkeypatch.setattr(pictures, "LENGTHS", (16, 32))
    short, long = pictures.longer(row)
    short.call(row.mechanism)
    long.call(row.mechanism)
    assert long.q.size > short.q.size


def test_a_gate_on_an_image_is_drawn_as_its_map():
    svg, words = pictures.flow(find("spatial_gate"))
    assert "the map M" in svg
    assert "query" not in svg + words


def test_what_is_drawn_is_the_matrix_that_a_mechanism_is():
    from live import example, mixing
    row = find("grouped_query_attention")
    p, _ = example(row, list("abcde"), softcap=2.0, window=3)
    weights = mixing(row.mechanism, p)
    np.testing.assert_allclose(weights @ np.repeat(p.v, 2, axis=0), p.call(row.mechanism), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(weights == 0, ~p.visible())


def test_every_law_has_a_page():
    asked = re.findall(r"^laws/(\w+)$", (ROOT / "docs" / "laws.md").read_text(), re.M)
    assert set(lawbook.shelves()) == set(asked) == set(lawbook.SHELVES)
    assert sum(lawbook.shelves().values()) == len(lawbook.entries())
    for name in asked:
        assert f"<!-- made: laws {name} -->" in (ROOT / "docs" / "laws" / f"{name}.md").read_text()


def test_every_part_of_the_package_has_its_reference():
    asked = set(re.findall(r"<!-- made: reference (?:[\w ]+ )?(tinyattn[\w.]*) -->", "".join(path.read_text() for path in SITE)))
    assert asked == set(api.PARTS)
    assert {f"tinyattn.{part}" for part in tinyattn._PARTS} <= asked | {"tinyattn.kernels"}


def test_every_public_definition_and_option_is_named_in_its_reference():
    text = api.part("tinyattn.definitions")
    assert sorted(re.findall(r"(?:auto|py:)function:: tinyattn\.definitions\.(\w+)", text)) == sorted(tinyattn.definitions.__all__)


@pytest.mark.parametrize("part", ["tinyattn.definitions", "tinyattn.models"])
def test_a_part_on_several_pages_has_every_name_on_one_of_them(part):
    pattern = re.compile(rf":: {part}\.(\w+)$", re.M)
    folders = re.findall(rf"<!-- made: reference ([\w ]+) {part} -->", "".join(path.read_text() for path in SITE))
    assert len(folders) > 1
    named = [name for folder in folders for name in pattern.findall(api.part(part, folder))]
    assert sorted(named) == sorted(pattern.findall(api.part(part)))


def test_a_page_of_the_reference_begins_with_what_is_used_first():
    names = re.findall(r"autoclass:: tinyattn\.caches\.(\w+)", api.part("tinyattn.caches"))
    assert names.index("GrowingCache") < names.index("RingCache") < names.index("BatchCache")
    assert "growing.py" not in api.part("tinyattn.caches")


def test_a_function_with_the_docstring_of_its_definition_is_one_row():
    text = api.part("tinyattn.fastest")
    assert "| {py:func}`tinyattn.attention <tinyattn.definitions.attention>` |" in text
    assert "autofunction:: tinyattn.fastest.attention" not in text
    assert "Another name of :py:func:`tinyattn.definitions.delta_rule_recurrent`" in api.part("tinyattn.definitions", "linear")


@pytest.mark.parametrize("module", [pages, costs, formulas, margin, api, graph, lawbook, learned, measured, poster, told, build], ids=lambda module: module.__name__)
def test_the_examples_of_the_makers_run(module):
    assert doctest.testmod(module).failed == 0


def test_the_page_of_measurements_has_every_section_with_its_numbers(monkeypatch):
    model = load(ROOT / "tests" / "models" / "pretrained" / "trained" / "model.safetensors")
    for name, value in (("TOKENS", 40), ("WINDOWS", (12, 64)), ("FIRSTS", (0, 2))):
        monkeypatch.setattr(measured, name, value)
    tokens = np.resize(np.frombuffer(b"\nqwertzuiop", np.uint8), 96)
    steps = [*measured.page(model, tokens, "letters")]
    page, written = steps[-1], (ROOT / "docs" / "reading" / "measured.md").read_text()
    titles = re.findall(r"^## (.+)$", page, re.M)
    assert len(titles) == len(measured.SECTIONS) == len(steps)
    assert re.findall(r"^## (.+)$", written, re.M) == titles
    assert [page.startswith(step) for step in steps] == [True] * 4
    assert "| window | 4 of" not in page and "| 12 | 2 | " in page and "| 64 | " not in page  # a window as long as the text shows nothing
    assert f"Full attention: {model.losses(tokens[:40])[19:].mean():.3f}." in page
    assert "| positions | 0 to 64 | 64 to 80 | 80 to 95 |\n|---|---|---|---|\n| plain | " in page
    claims = re.findall(r"^Claim\b", page, re.M), re.findall(r"^Measured\b", page, re.M)
    assert [len(found) for found in claims] == [4, 4]
    assert re.search(r"on \d{4}-\d\d-\d\d with Python \d", written)


def test_plain_text_of_a_docstring_is_no_markup():
    lines = ["(*leading, i_) is `x * y` and |z|", ">>> a * b", "6"]
    api.as_rst(None, "", "", None, None, lines)
    assert lines == [r"(\*leading, i\_) is ``x * y`` and \|z\|", ">>> a * b", "6"]


def shown() -> list[tuple[str, str, str]]:
    """Returns page, file and object of every inclusion of code on the pages that are written by hand."""
    pattern = r"```\{literalinclude\} (\S+)\n((?::.*\n)*)"
    return [(path.name, name, options) for path in SITE for name, options in re.findall(pattern, path.read_text())]


@pytest.mark.parametrize(("page", "name", "options"), shown(), ids=[f"{page} {name}" for page, name, _ in shown()])
def test_what_a_page_shows_by_inclusion_is_there(page, name, options):
    path = ROOT / "docs" / name.lstrip("/") if name.startswith("/") else ROOT / "docs" / name
    text = path.read_text()
    for kind, wanted in re.findall(r"^:(pyobject|start-at|end-at): (.+)$", options, re.M):
        if kind == "pyobject":
            tree = ast.parse(text)
            for part in wanted.split("."):
                (tree,) = [node for node in tree.body if getattr(node, "name", None) == part]
        else:
            assert wanted in text
