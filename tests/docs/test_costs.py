"""The table of a mechanism's costs: rows of the command as they are written, explained, and none where nothing was measured."""

import json
import re

import pytest
from making import costs

from tinyattn.catalog import ROWS, find
from tinyattn.cli.timing import mechanisms
from tinyattn.cli.timing.mechanism_cases import CASES


def line(mechanism="path_attention", which="forward", variant="", **given):
    """Returns a row as `tinyattn time mechanisms --json` writes it."""
    return {"mechanism": mechanism, "variant": variant, "pass": which, "ms": 1234.5, "tokens": 2048, "GFLOP/s": 90.0,
            "of the product": 0.304, "times definition": 17.26, "tokens of definition": 1024, "of dense": 1.236, "growth": 15.94,
            "long": 8192, "times peers": {}, "served by": "kernel", "date": "2026-01-31", "cores": 2, "vector bits": 512} | given


def page(tmp_path, name, *lines):
    """Returns the table of a mechanism from a file of these rows."""
    file = tmp_path / "measured.json"
    file.write_text(json.dumps(lines))
    return costs.table(find(name), file)


def cells(text):
    """Returns the cells of a table's lines."""
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", text, re.M)]


def test_a_row_becomes_a_line_per_pass(tmp_path):
    text = page(tmp_path, "path_attention", line(), line(which="with backward", ms=3.456, **{"of the product": 0.009}),
                line("attention"))
    assert cells(text) == [["pass", *costs.COLUMNS], ["---", *["---:"] * 5], ["forward", "1,234.5", "30 %", "17.3", "1.24", "15.9"],
                           ["with backward", "3.46", "1 %", "17.3", "1.24", "15.9"]]
    for words in ("Measured on 2026-01-31 with 2 cores and vector registers of 512 bits:", "for 1,024 tokens", "4 if it grows", "16 if with"):
        assert words in text
    assert all(f"*{column[0].upper()}{column[1:]}*" in text or f"*{column}*" in text for column in costs.COLUMNS)


def test_forms_without_a_page_of_their_own_stand_on_the_page_of_their_mechanism(tmp_path):
    merged = line("dual_chunk_attention_merged", date="2026-02-01", **{"tokens of definition": 128})
    text = page(tmp_path, "dual_chunk_attention", line("dual_chunk_attention"), merged)
    assert [row[:2] for row in cells(text)[2:]] == [["`dual_chunk_attention`", "forward"], ["`dual_chunk_attention_merged`", "forward"]]
    assert "Measured from 2026-01-31 to 2026-02-01 with" in text
    assert "for 128 to 1,024 tokens" in text


def test_variants_of_a_mechanism_are_told_apart(tmp_path):
    text = page(tmp_path, "attention", line("attention"), line("attention", variant="softcap"))
    assert [row[0] for row in cells(text)[2:]] == ["`attention`", "`attention`, softcap"]


def test_the_command_writes_what_the_table_reads(monkeypatch, tmp_path):
    for attribute, value in {"LENGTH": 64, "LONG": 128, "limits": lambda: (300.0, 16.0), "beside_peers": lambda *_, **__: {},
                        "interleaved": lambda functions, *_, **__: {name: [0.5] for name in functions}}.items():
        monkeypatch.setattr(mechanisms, attribute, value)
    row = next(mechanisms.time_mechanisms(1, ["mesa"]))
    assert row.keys() == line().keys()
    assert cells(page(tmp_path, "mesa", row))[2][:2] == ["forward", "500.0"]


def test_a_mechanism_without_rows_has_no_table(tmp_path):
    assert page(tmp_path, "mesa", line()) == ""
    assert costs.table(find("mesa"), tmp_path / "absent.json") == ""


@pytest.mark.parametrize("other", [{"cores": 4}, {"vector bits": 256}, {"long": 4096}])
def test_rows_of_different_machines_are_refused(other, tmp_path):
    with pytest.raises(ValueError, match=r"path_attention .* measured on different machines .* --only path_attention"):
        page(tmp_path, "path_attention", line(), line(which="with backward", **other))


def test_without_numba_the_machine_is_told_by_its_cores(tmp_path):
    assert "with 2 cores: the fastest" in page(tmp_path, "mesa", line("mesa", **{"vector bits": None}))


def test_every_mechanism_that_is_timed_stands_on_one_page():
    held = [name for row in ROWS for name in costs.names(row)]
    assert len(set(held)) == len(held)
    assert {case.name for case in CASES} <= set(held)


def test_the_committed_rows_make_a_table_on_the_page_of_each_of_their_mechanisms():
    committed = {row["mechanism"] for row in costs.measured(costs.FILE)}
    assert committed <= {case.name for case in CASES}
    assert [row.name for row in ROWS if bool(costs.table(row)) != bool(costs.names(row) & committed)] == []
