"""The catalog is rows: they take keywords, refuse what is missing, and keep loops, drawings and formulas elsewhere."""

import ast
from dataclasses import fields, replace
from pathlib import Path

import pytest

import tinyattn
from tinyattn.catalog import Row, caches, find
from tinyattn.catalog.find import FAMILIES

PACKAGE = Path(tinyattn.__file__).parent


def test_rows_take_keywords_alone():
    row = find("attention")
    given = {field.name: getattr(row, field.name) for field in fields(Row)}
    assert Row(**given).name == "attention"
    with pytest.raises(TypeError, match="positional"):
        Row(*given.values())
    with pytest.raises(TypeError, match="positional"):
        caches.CacheRow("GrowingCache")


@pytest.mark.parametrize(("change", "words"), [
    ({"laws": ()}, "a row needs laws"), ({"papers": ()}, "a row needs papers"), ({"says": ""}, "a row needs says"),
    ({"bad_inputs": ()}, "a row needs bad_inputs"), ({"kind": "roughly"}, "'roughly'"), ({"cache": None}, "needs a cache"),
    ({"cache_size": None}, "needs a cache and its size")])
def test_a_row_that_lacks_something_is_refused(change, words):
    with pytest.raises(ValueError, match=f"^attention: .*{words}"):
        replace(find("attention"), **change)


def test_a_row_without_a_cache_has_no_formula():
    row = find("axial")
    assert (row.cache_bytes, row.cache_formula) == (None, "none")
    with pytest.raises(ValueError, match="axial_attention: cannot mix the tokens of a decoder"):
        row.mixing  # noqa: B018


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__.rpartition(".")[2])
def test_a_file_of_rows_defines_only_what_makes_rows_and_laws(family):
    tree = ast.parse(Path(family.__file__).read_text())
    made = {node.name: ast.unparse(node.returns) for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(made.values()) <= {"Row", "tuple[Law, ...]"}, made


def test_a_formula_of_bytes_is_typed_once():
    formula = find("attention").cache_formula
    assert sum(path.read_text().count(f'"{formula}"') for path in PACKAGE.rglob("*.py")) == 1
