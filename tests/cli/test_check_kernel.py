"""tinyattn check module:function: exit codes, files, programs."""

import json
import sys

import pytest

from tinyattn.cli import main
from tinyattn.testing.conform import judge

PROGRAM = """
import sys
from tinyattn.definitions import attention
from tinyattn.ops.files.safetensors import load, save
given = load(sys.argv[1])
if set(given) != {"q", "k", "v"}:
    sys.exit(64)
save(sys.argv[2], {"out": attention(given["q"], given["k"], given["v"]) * FACTOR})
"""
OURS = "tinyattn.definitions:attention"
WRONG = "tests.testing.conform.wrong:zeros"


@pytest.fixture(autouse=True)
def few_problems(monkeypatch):
    monkeypatch.setattr(judge, "PROBLEMS", 4)
    monkeypatch.setattr(judge, "GRADIENTS", 1)


@pytest.mark.parametrize(("target", "more", "code"), [
    (OURS, ["--supports", "causal"], 0), (OURS, ["--supports", "causal", "--isolate"], 0), (WRONG, [], 1),
    ("tests.testing.conform.wrong:top_left", ["--as", "jax"], 1),
    ("tests.testing.conform.wrong:top_left", ["--dialect", "causal=top-left"], 0)])
def test_the_exit_code_is_the_verdict(target, more, code, capsys):
    assert main(["check", target, *more]) == code
    assert ("CONFORMS" in capsys.readouterr().out) == (code == 0)


@pytest.mark.parametrize(("arguments", "words"), [
    (["no_such_module:f"], "no_such_module"), (["tinyattn.definitions:atention"], "did you mean 'attention'"),
    (["tinyattn.definitions:__name__"], "not a function"), ([OURS, "--dialect", "causal"], "question=word"),
    ([OURS, "--dialect", "causal=topleft"], "did you mean top-left"), ([OURS, "--as", "pytorch"], "did you mean torch"),
    ([OURS, "--json", "/no/such/folder/x.json"], "/no/such/folder"), ([OURS, "--known", "/no/such/file"], "/no/such/file"),
    (["--command", "./kernel"], "{in}")])
def test_bad_input_is_one_line_and_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(["check", *arguments]))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_known_failures_and_the_report_are_files(tmp_path, capsys):
    (tmp_path / "known.json").write_text(json.dumps({"causal": "https://example.org/1"}))
    assert main(["check", "tests.testing.conform.wrong:top_left", "--known", str(tmp_path / "known.json"),
                 "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "CONFORMS"
    assert report["findings"][0]["known"] == "https://example.org/1"


@pytest.mark.parametrize(("factor", "code"), [("1.0", 0), ("1.01", 1)])
def test_a_program_is_judged_through_files(tmp_path, monkeypatch, factor, code):
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    (tmp_path / "kernel.py").write_text(PROGRAM.replace("FACTOR", f"given['q'].dtype.type({factor})"))
    monkeypatch.setattr(judge, "PROBLEMS", 2)
    assert main(["check", "--command", f"{sys.executable} {tmp_path}/kernel.py {{in}} {{out}}"]) == code
