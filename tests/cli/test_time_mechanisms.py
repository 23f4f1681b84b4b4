"""tinyattn time mechanisms: its work is that of visible tiles, and every row has all figures."""

import json
from dataclasses import replace

import numpy as np
import pytest

import tinyattn
from tinyattn import definitions, fastest, kernels
from tinyattn.cli import main
from tinyattn.cli.timing import mechanisms
from tinyattn.cli.timing.mechanism_case import LONG, call, visible_tiles
from tinyattn.cli.timing.mechanism_cases import CASES, WITHOUT_ROW


def test_work_is_counted_in_tiles_that_hold_a_visible_pair():
    tiles = {case.name: visible_tiles(case, 512) / 8 for case in CASES}
    assert tiles["attention"] == tiles["gated_attention"] == 36  # 8 x 9 / 2
    assert tiles["differential_attention"] == 72
    assert tiles["multi_head_local_attention"] == 4 * 5 + 10
    assert tiles["shifted_sparse_attention"] == (36 + 2 * 10) / 2  # one group in half of the heads, two in the others
    assert tiles["bigbird_attention"] <= 36


def test_work_is_counted_in_products_where_a_mechanism_has_no_visible_pairs():
    tiles = {case.name: visible_tiles(case, LONG) for case in CASES if case.products is not None}
    per_tile = {name: count / (8 * LONG / 64) for name, count in tiles.items()}
    assert per_tile["locally_grouped_attention"] == per_tile["axial_attention"] == 1  # windows and columns of 64 cells
    assert per_tile["global_subsampled_attention"] == (64 // 8) * (128 // 8) / 64  # one mean per 8 x 8 cells of 64 x 128
    assert per_tile["linformer_attention"] == 2 * 256 / 64  # queries read 256 combinations, which are made of as many products
    assert per_tile["lsh_attention"] == 4 * 2
    assert visible_tiles(next(case for case in CASES if case.name == "lightning_indexer"), 512) == 8 * 36 / 2


def test_every_kernel_has_a_row_or_a_reason_to_have_none():
    rows = {case.name for case in CASES}
    assert rows.isdisjoint(WITHOUT_ROW)
    assert rows | set(WITHOUT_ROW) == set(kernels.__all__)


def test_no_two_rows_are_told_apart_by_nothing():
    assert len({case.label for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_every_case_is_a_call_that_has_gradients(case):
    out = call(case, getattr(tinyattn, case.name), 128, backward=False)()
    assert np.isfinite(out).all()
    if not case.gradients:
        assert out.dtype == bool
        return
    slopes = call(case, getattr(tinyattn, case.name), 128, backward=True)()
    assert all(np.isfinite(x).all() for slope in slopes.values() for x in (slope if isinstance(slope, tuple) else (slope,)))


@pytest.fixture
def small(monkeypatch):
    """Makes a whole run small: few tokens, three mechanisms, no rest, a machine whose limits are known."""
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    for name, value in {"LENGTH": 64, "LONG": 128, "REST": 0.0, "limits": lambda: (300.0, 16.0), "absent": lambda: [],
                        "peers_of": lambda case, length, *, backward: {}}.items():
        monkeypatch.setattr(mechanisms, name, value)
    chosen = (CASES[0], next(case for case in CASES if case.variant), next(case for case in CASES if not case.gradients))
    monkeypatch.setattr(mechanisms, "CASES", [replace(case, defined=32) for case in chosen])


def test_the_table(small, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(mechanisms, "absent", lambda: ["no_such_library"])
    monkeypatch.setattr(mechanisms, "peers_of", lambda case, length, *, backward: {"itself": call(case, definitions.attention, length,
                        backward=backward)} if case.name == "attention" else {})
    report, picture = tmp_path / "m.json", tmp_path / "m.svg"
    assert main(["time", "mechanisms", "--rounds", "1", "--json", str(report), "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "a product gives 300 GFLOP/s" in out
    assert "left out: no_such_library" in out
    assert max(map(len, out.splitlines())) <= 80
    assert picture.read_text().startswith("<?xml")
    lines = json.loads(report.read_text())
    assert [(line["mechanism"], line["variant"], line["pass"]) for line in lines] == [
        ("attention", "", "forward"), ("attention", "", "with backward"), ("attention", "softcap", "forward"),
        ("attention", "softcap", "with backward"), ("lightning_indexer", "", "forward")]
    for line in lines:
        assert all(line[name] > 0 for name in ("ms", "times definition", "of dense", "growth", "GFLOP/s", "of the product", "cores"))
        assert (line["tokens"], line["long"], line["tokens of definition"]) == (64, 128, 32)
        assert line["times peers"].keys() == ({"itself"} if line["mechanism"] == "attention" else set())
        assert line["served by"] == ("kernel" if fastest.kernel() else "definition")
        assert line["vector bits"] in ((128, 256, 512) if fastest.kernel() else (None,))


def told(report):
    """Returns what tells the rows of a file apart, and their milliseconds."""
    return {tuple(line[name] for name in mechanisms.TABLE.key): line["ms"] for line in json.loads(report.read_text())}


def test_a_later_run_measures_some_rows_anew_and_keeps_the_others(small, tmp_path):
    report = tmp_path / "m.json"
    report.write_text(json.dumps([dict(zip(mechanisms.TABLE.key, row, strict=True), ms=0.0) for row in (
        ("lightning_indexer", "", "forward"), ("attention", "", "forward"), ("gone", "", "forward"))]))
    assert main(["time", "mechanisms", "--rounds", "1", "--only", "Lightning-Indexer", "--json", str(report)]) == 0
    now = told(report)
    assert [name for name, _, _ in now] == ["lightning_indexer", "attention", "gone"]
    assert [ms > 0 for ms in now.values()] == [True, False, False]


def test_an_interrupted_run_leaves_the_rows_that_it_finished(small, monkeypatch, tmp_path):
    report, left = tmp_path / "m.json", iter([1.0, 2.0])

    def measured(*_given, **_options):
        ms = next(left, None)
        if ms is None:
            raise KeyboardInterrupt
        return {"ms": ms}

    monkeypatch.setattr(mechanisms, "measured", measured)
    assert main(["time", "mechanisms", "--json", str(report)]) == 130
    assert told(report) == {("attention", "", "forward"): 1.0, ("attention", "", "with backward"): 2.0}


def test_rows_go_to_standard_output_as_one_document(small, capfd):
    assert main(["time", "mechanisms", "--rounds", "1", "--only", "lightning_indexer", "--json", "/dev/stdout"]) == 0
    out = capfd.readouterr().out
    assert [line["mechanism"] for line in json.loads(out[out.index("[\n"):])] == ["lightning_indexer"]


@pytest.mark.parametrize("content", ["{}", "[1]", "not JSON", '[{"mechanism": "attention"}]'])
def test_a_file_of_anything_else_is_refused_before_the_work_and_stays(content, small, monkeypatch, capsys, tmp_path):
    report = tmp_path / "m.json"
    report.write_text(content)
    monkeypatch.setattr(mechanisms, "limits", lambda: pytest.fail("measured"))
    assert main(["time", "mechanisms", "--json", str(report)]) == 2
    assert "holds no rows of this table" in capsys.readouterr().err
    assert report.read_text() == content


@pytest.mark.parametrize(("arguments", "words"), [
    (["mechanisms", "--only", "atention"], "unknown mechanism 'atention'; did you mean"),
    (["mechanisms", "--only", "attention,"], "--only: expected names separated by commas"),
    (["kernels", "--only", "attention"], "--only: only mechanisms has rows to choose from, not 'kernels'")])
def test_names_of_rows_are_checked(arguments, words, monkeypatch, capsys):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    assert main(["time", *arguments]) == 2
    assert words in capsys.readouterr().err
