"""tinyattn time: what it counts, what it measures beside, and what it says when a library does not run."""

import json
import time

import numpy as np
import pytest

from tinyattn import plot
from tinyattn.cli import main
from tinyattn.cli.timing import caches, fresh, kernels, measure, model_peers, peers, step, step_parts
from tinyattn.cli.timing.kernel_cases import CASES, Case, operations
from tinyattn.models import Decoder, DecoderConfig, save_training
from tinyattn.ops import masks

SMALL = (Case((1, 2, 2, 16, 16, 8), asked={"itself": 0.01}), Case((1, 2, 1, 16, 16, 8), backward=True, window=(3, 0)),
         Case((1, 8, 2, 1, 256, 64), causal=False),
         Case((1, 1, 1, 16, 16, 8), causal=False, pattern=masks.window(2, 2) | masks.global_tokens(range(1))))


@pytest.mark.parametrize("case", [case for case in CASES if not case.backward], ids=str)
def test_operations_are_four_a_visible_pair(case):
    batch, heads, _, q_len, kv_len, dim = case.shape
    positions = np.split(np.arange(kv_len - q_len, kv_len), max(1, q_len // 1024))
    visible = sum(np.count_nonzero(case.seen().visible(some, np.arange(kv_len))) for some in positions)
    visible = visible if case.causal or case.pattern is not None else q_len * kv_len
    assert operations(case) == pytest.approx(4 * batch * heads * dim * visible * (3.5 if case.backward else 1), rel=0.02)


def test_rounds_are_interleaved_after_a_warm_up():
    told = []
    taken = measure.interleaved({"a": lambda: told.append("a"), "b": lambda: told.append("b")}, 3, warm_up=1)
    assert "".join(told) == "abababab"
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3}
    slow = measure.interleaved({"a": lambda: time.sleep(0.01)}, 100, seconds=0.001)
    assert len(slow["a"]) == measure.LEAST_ROUNDS
    once = measure.interleaved({"a": lambda: time.sleep(0.01)}, 100, warm_up=0, seconds=0.001, least=1)
    assert len(once["a"]) == 1
    assert measure.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0


def test_a_library_that_does_not_run_is_named_and_left_out(monkeypatch, capsys):
    def broken(case, arrays):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(peers, "PEERS", {"good": ("numpy", lambda case, arrays: lambda: None), "bad": ("numpy", broken),
                                         "absent": ("no_such_library", broken), "silent": ("numpy", lambda case, arrays: None)})
    assert list(peers.peers_of(SMALL[0], SMALL[0].arrays())) == ["good"]
    assert "bad does not run here: RuntimeError" in capsys.readouterr().out


def test_the_table_of_kernels_and_its_picture(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    monkeypatch.setattr(kernels, "CASES", SMALL)
    monkeypatch.setattr(kernels, "FAR", (1, 1, 1, 64, 64, 8))
    monkeypatch.setattr(kernels, "LENGTHS", (16, 32))
    monkeypatch.setattr(kernels, "limits", lambda: (300.0, 16.0))
    monkeypatch.setattr(fresh, "MEMORY", "print(2.5)")
    monkeypatch.setattr(fresh, "FIRST", "print([0.25, 0.5])")  # compiling takes a core for a minute
    monkeypatch.setattr(peers, "PEERS", {"itself": ("numpy", kernels.ours)})
    report, picture = tmp_path / "k.json", tmp_path / "k.svg"
    assert main(["time", "kernels", "--rounds", "1", "--json", str(report), "--plot", str(picture)]) == 0
    shown = capsys.readouterr().out
    for words in ("limits: a product 300 GFLOP/s", "at least 0.01", "at most 2.1", "half the length", "first call ever", "decode"):
        assert words in shown
    lines = json.loads(report.read_text())
    assert {line["beside"] for line in lines} >= {"itself", "half the length", "1 s", "bytes of q, k, v, out"}
    assert all(line["times"] > 0 and line["GFLOP"] > 0 and line["dtype"] == "float32" and line["threads"] >= 1 for line in lines)
    assert {line["served by"] for line in lines} == {"attention", "decode"}
    assert picture.read_text().startswith("<?xml")


def test_a_first_call_is_timed(capsys):
    exec(fresh.FIRST, {})
    forward, both = json.loads(capsys.readouterr().out)
    assert 0.0 < forward < both


@pytest.mark.parametrize("name", ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"])
def test_variables_that_slow_numpy_are_named_and_left_out(name, monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1024")
    monkeypatch.delenv({"OPENBLAS_CORETYPE": "OPENBLAS_L2_SIZE"}.get(name, "OPENBLAS_CORETYPE"))
    report = tmp_path / "import.json"
    assert main(["time", "import", "--rounds", "1", "--json", str(report)]) == 0
    said = capfd.readouterr().out
    assert said.count(f"{name} slow NumPy's products here; measured without, in a child process") == 1  # the child says nothing
    assert "import tinyattn, over numpy" in said
    assert json.loads(report.read_text())


def test_every_cache_of_a_long_text_stands_beside_the_kernel_alone(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    monkeypatch.setattr(caches, "LENGTH", 256)
    report = tmp_path / "caches.json"
    assert main(["time", "caches", "--rounds", "3", "--json", str(report)]) == 0
    assert "256 tokens, one more per step" in capsys.readouterr().out
    lines = {line["cache"]: line for line in json.loads(report.read_text())}
    assert list(lines) == [caches.BARE, "fixed", "pages of 64", "pages of 16", "int8", "int4"]
    assert set(caches.ASKED) == set(lines) - {caches.BARE}
    assert lines[caches.BARE]["of no cache"] == lines["fixed"]["of fixed"] == lines["int8"]["of int8"] == "1.00"
    held = 255 + 2 + 3  # tokens given, warmed up, measured
    assert float(lines["fixed"]["MB"]) == round(held * 8 * 2 * 128 * 4 / 1e6, 1)
    assert float(lines["int4"]["MB"]) < float(lines["int8"]["MB"]) < float(lines["fixed"]["MB"])


def test_only_kernels_are_drawn(capfd, tmp_path):
    assert main(["time", "import", "--plot", str(tmp_path / "x.png")]) == 2
    assert "--plot: only kernels and mechanisms are drawn" in capfd.readouterr().err  # of a child, where variables slow NumPy


def test_a_case_is_drawn_as_it_ran_beside_the_first_library():
    beside = [{"case": "a", "GFLOP": 2.0, "bytes": 1e9, "GFLOP/s": rate} for rate in (90.0, 50.0)]
    assert kernels.points_of([*beside, {"case": "first call", "GFLOP": 1.0}]) == {"a": (2.0, 90.0)}


def test_what_the_pictures_draw():
    roof = plot.roofline({"one": (10.0, 100.0), "two": (200.0, 250.0)}, 300.0, 20.0)
    line, *points = roof.lines
    assert line.get_xydata()[1].tolist() == [15.0, 300.0]
    assert [point.get_xydata().tolist() for point in points] == [[[10.0, 100.0]], [[200.0, 250.0]]]
    grown = plot.growth({"causal": {256: 1.0, 512: 4.0}, "window": {256: 1.0, 512: 2.0}}, ylabel="ms")
    assert [drawn.get_xydata().tolist() for drawn in grown.lines] == [[[256, 1.0], [512, 4.0]], [[256, 1.0], [512, 2.0]]]
    assert [text.get_text() for text in grown.get_xticklabels()] == ["256", "512"]


def test_the_parts_of_a_step_are_those_of_the_step(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    small = DecoderConfig(width=16, layers=2, heads=2, kv_heads=1, hidden=24, context=8)
    monkeypatch.setattr(step, "DecoderConfig", lambda: small)
    monkeypatch.setattr(step, "train_seconds", lambda rounds: {"tinyattn": [0.5] * rounds, "PyTorch eager": [1.0] * rounds})
    monkeypatch.setattr(step, "find_spec", lambda name: object())
    monkeypatch.setattr(step, "torch_parts", lambda config, batch: dict.fromkeys(step_parts.parts(config, batch), lambda: time.sleep(1e-3)))
    report = tmp_path / "step.json"
    assert main(["time", "step", "--rounds", "3", "--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    rows = {row["part"]: row for row in json.loads(report.read_text())}
    assert list(rows) == [*step_parts.parts(small, 8), "everything else", "the whole step"]
    assert sum(row["share"] for name, row in rows.items() if name != "the whole step") == pytest.approx(1.0)
    assert rows["the whole step"]["ours_to_pytorch"] == 0.5
    monkeypatch.setattr(step, "train_seconds", lambda rounds: {"tinyattn": [0.5] * rounds})
    assert main(["time", "step", "--rounds", "3"]) == 0
    assert "PyTorch" in capsys.readouterr().out


def test_a_trained_model_is_measured_beside_other_libraries(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    config, path, report = DecoderConfig(width=16, layers=1, heads=2, hidden=8, context=24), tmp_path / "model", tmp_path / "rows.json"
    save_training(path, Decoder.create(config, np.random.default_rng(0)), config, mechanism="attention")
    asked = []

    def broken(path, model):
        raise RuntimeError("no such file format")

    def slow(path, model):
        return lambda prompt, count: asked.append((len(prompt), count)) or (1e3, 1e2)

    monkeypatch.setattr(model_peers, "PEERS", {"slow": ("numpy", slow), "bad": ("numpy", broken), "absent": ("no_such_library", broken),
                                               "silent": ("numpy", lambda path, model: None)})
    assert main(["time", "model", "--file", str(path), "--rounds", "2", "--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert "bad does not run here: RuntimeError: no such file format" in out
    assert "a prompt of 8 random tokens, 16 tokens after it" in out
    assert asked == [(8, 1), *[(8, 16)] * 3]  # once to see that it runs, once to warm up
    prompt, token = json.loads(report.read_text())
    assert (prompt["what"], token["what"]) == ("prompt", "token")
    assert (prompt["slow ms"], token["slow ms"]) == ("1,000,000.0", "100,000.0")
    assert float(prompt["of slow"]) > 10 and float(token["of slow"]) > 10
    assert [key for key in prompt if "absent" in key or "silent" in key] == []


@pytest.mark.parametrize(("arguments", "words"), [
    (["model"], "--file: give the model to measure, as `tinyattn time model --file FILE`"),
    (["caches", "--file", "m"], "--file: only model measures a file, not 'caches'"), (["model", "--file", "/no/such"], "/no/such: does not exist")])
def test_a_table_of_a_model_needs_its_file(monkeypatch, capsys, arguments, words):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    assert main(["time", *arguments]) == 2
    assert capsys.readouterr().err == f"tinyattn time: {words}\n"
