"""tinyattn equivalences NAME [OTHER]: the laws of one mechanism, and those that lead from one to another."""

import pytest

from tinyattn.catalog import ROWS, graph
from tinyattn.cli import main


def said(capsys, *words):
    assert main(["equivalences", *words]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_walk_leads_by_laws_from_one_mechanism_to_another(capsys):
    out = said(capsys, "rwkv7", "linear attention")
    assert out.startswith("1. rwkv7 -> ")
    assert out.index("rwkv7 (exact): With removal k") < out.index("-> linear_attention delta_rule (exact)")


@pytest.mark.parametrize("start", [row.name for row in ROWS][::9])
@pytest.mark.parametrize("goal", ["attention", "linear_attention", "rotary_2d"])
def test_each_law_of_a_walk_begins_where_the_last_ended_and_no_walk_is_shorter(start, goal):
    found = graph.walk(start, goal)
    ties = {frozenset(edge[:2]) for edge in graph.edges()}
    reached, steps = {start}, 0
    while goal not in reached:
        further = reached | {name for tie in ties if tie & reached for name in tie}
        if further == reached:
            assert found is None
            return
        reached, steps = further, steps + 1
    here = start
    for edge in found:
        assert here in edge[:2]
        here = edge.to if edge.mechanism == here else edge.mechanism
    assert (here, len(found)) == (goal, steps)


def test_the_laws_of_one_mechanism_are_its_own_and_those_of_others(capsys):
    out = said(capsys, "gqa")
    assert "multi_query_attention (exact)" in out
    assert out.count("grouped_query_attention - ") == len(graph.neighbours("grouped_query_attention"))


def test_what_is_not_tied_says_so(capsys, monkeypatch):
    assert "same mechanism" in said(capsys, "mqa", "multi-query attention")
    monkeypatch.setattr(graph, "edges", lambda: ())
    assert said(capsys, "mqa") == "No law ties multi_query_attention to another mechanism."
    assert said(capsys, "mqa", "gqa") == "No laws lead from multi_query_attention to grouped_query_attention."


@pytest.mark.parametrize(("words", "error"), [(["gqq"], "did you mean gqa"), (["gqa", "gqq"], "did you mean gqa"),
                                              (["gqa", "--out", "x.md"], "--out: writes the page of all laws")])
def test_unknown_names_are_refused(words, error, capsys):
    assert main(["equivalences", *words]) == 2
    assert error in capsys.readouterr().err
