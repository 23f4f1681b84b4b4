"""The page of the equivalence graph: every mechanism stands once in its family, below one that a law ties it to."""

import re

import pytest
from making import graph, lawbook

from tinyattn.catalog import ROWS
from tinyattn.catalog.graph import KINDS, edges, families, walk
from tinyattn.laws.law import Law


@pytest.fixture
def markup(monkeypatch):
    """The page without running its laws."""
    monkeypatch.setattr(lawbook, "outcome", lambda row, law: "not run")
    return graph.markup()


def test_every_mechanism_stands_once_in_the_tree_of_its_family(markup):
    trees = re.findall(r'<details class="family" data-family="(\w+)" open>(.*?)</details>', markup)
    assert [name for name, _ in trees] == [family.name for family in families()]
    for (_, tree), family in zip(trees, families(), strict=True):
        assert sorted(re.findall(r'class="node"[^>]*>(\w+)<', tree)) == sorted(row.name for row in family.rows)
    assert [row for family in families() for row in family.rows] == list(ROWS)
    assert re.findall(r"<option>(\w+)<", markup) == [row.name for row in ROWS]


def test_a_law_ties_each_mechanism_to_the_one_above_it_one_step_nearer_to_a_root():
    above, tied = graph.parents(), {name for edge in edges() for name in edge[:2]}
    assert tied - set(above) == set(graph.ROOTS)
    laws = {(frozenset(edge[:2]), edge.law.kind) for edge in edges()}
    for name, (parent, kind) in above.items():
        assert (frozenset((name, parent)), kind) in laws
        steps = [min(len(walk(one, root)) for root in graph.ROOTS) for one in (name, parent)]
        assert steps[1] < steps[0], (name, parent)
    assert {name for name, (_, kind) in above.items() if kind != "exact"} == {"based", "performer"}


def test_all_laws_and_the_kinds_stand_on_the_page(markup):
    ids = re.findall(r'id="([\w-]+)"', markup)
    assert len(ids) == len(set(ids))
    assert {f"edge-{number}" for number in range(len(edges()))} <= set(ids)
    assert set(re.findall(r'href="#([\w-]+)"', markup)) <= set(ids)
    assert [f"<strong>{kind}</strong>: {means}" in markup for kind, means in KINDS.items()] == [True] * len(KINDS)


def test_exact_laws_lead_before_others_and_the_own_family_before_another(monkeypatch):
    def law(kind):
        return Law(name="one", says="One.", draw=len, left=len, right=len, kind=kind)

    found = [graph.Edge(*ends, law(kind)) for *ends, kind in (
        ("mesa", "attention", "approximate"), ("mesa", "retention", "exact"), ("retention", "linear_attention", "exact"),
        ("mlstm", "attention", "exact"), ("rwkv6", "retention", "exact"), ("rwkv6", "mlstm", "exact"), ("based", "mesa", "approximate"))]
    monkeypatch.setattr(graph, "edges", lambda: tuple(found))
    above = graph.parents()
    assert above["mesa"] == ("retention", "exact")
    assert above["rwkv6"] == ("mlstm", "exact")
    assert above["based"] == ("mesa", "approximate")
