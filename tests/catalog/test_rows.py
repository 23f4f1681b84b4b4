"""The catalog is rows: they take keywords, refuse what is missing, and keep loops, drawings and formulas elsewhere."""

import ast
from dataclasses import fields, replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import tinyattn
from tinyattn.catalog import ROWS, Row, caches, find
from tinyattn.catalog.find import FAMILIES
from tinyattn.laws.law import plain
from tinyattn.laws.problem import Sizes

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


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_takes_its_dtypes_and_keeps_them(row):
    p = row.sample(np.random.default_rng(0), row.fit(Sizes()))
    assert np.dtype("bfloat16") == ml_dtypes.bfloat16
    for name in row.dtypes:
        assert plain(row.mechanism, p.astype(name))[0].dtype == name


def test_a_row_is_named_after_its_definition_unless_it_has_another_name():
    assert find("gqa").name == find("gqa").definition.__name__ == "grouped_query_attention"
    assert (find("retention").name, find("retention").definition.__name__) == ("retention", "retention_parallel")


def test_a_row_without_a_cache_has_no_formula():
    row = find("axial")
    assert (row.cache_bytes, row.cache_formula) == (None, "none")
    with pytest.raises(ValueError, match="axial_attention: is not a causal token mixer"):
        row.mixing  # noqa: B018


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__.rpartition(".")[2])
def test_a_file_of_rows_defines_only_what_makes_rows_and_laws(family):
    tree = ast.parse(Path(family.__file__).read_text())
    made = {node.name: ast.unparse(node.returns) for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(made.values()) <= {"Row", "tuple[Law, ...]"}, made


def test_a_formula_of_bytes_is_typed_once():
    formula = find("attention").cache_formula
    assert sum(path.read_text().count(f'"{formula}"') for path in PACKAGE.rglob("*.py")) == 1
