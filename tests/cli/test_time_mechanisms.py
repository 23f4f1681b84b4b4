"""tinyattn time mechanisms: its work is that of visible tiles, and every row has all figures."""

import json

import numpy as np
import pytest

import tinyattn
from tinyattn import definitions, fastest
from tinyattn.cli import main
from tinyattn.cli.timing import mechanisms
from tinyattn.cli.timing.mechanism_cases import CASES, call, visible_tiles


def test_work_is_counted_in_tiles_that_hold_a_visible_pair():
    tiles = {case.name: visible_tiles(case, 512) / 8 for case in CASES}
    assert tiles["attention"] == tiles["gated_attention"] == 36  # 8 x 9 / 2
    assert tiles["differential_attention"] == 72
    assert tiles["multi_head_local_attention"] == 4 * 5 + 10
    assert tiles["shifted_sparse_attention"] == (36 + 2 * 10) / 2  # one group in half of the heads, two in the others
    assert tiles["bigbird_attention"] <= 36


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_is_a_call_that_has_gradients(case):
    out = call(case, getattr(tinyattn, case.name), 128, backward=False)()
    assert np.isfinite(out).all()
    slopes = call(case, getattr(tinyattn, case.name), 128, backward=True)()
    assert all(np.isfinite(slope).all() for slope in slopes.values())


def test_the_table(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    monkeypatch.setattr(mechanisms, "LENGTH", 64)
    monkeypatch.setattr(mechanisms, "LONG", 128)
    monkeypatch.setattr(mechanisms, "REST", 0.0)
    monkeypatch.setattr(mechanisms, "limits", lambda: (300.0, 16.0))
    monkeypatch.setattr(mechanisms, "CASES", (CASES[0], CASES[6], CASES[11]))
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
    assert [(line["mechanism"], line["pass"]) for line in lines][:2] == [("attention", "forward"), ("attention", "with backward")]
    assert len(lines) == 6
    for line in lines:
        assert all(line[name] > 0 for name in ("ms", "times definition", "of dense", "growth", "GFLOP/s", "of the product"))
        assert line["times peers"].keys() == ({"itself"} if line["mechanism"] == "attention" else set())
        assert line["served by"] == ("kernel" if fastest.kernel() else "definition")
