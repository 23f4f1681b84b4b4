"""tinyattn check module:function: exit codes, files, programs."""

import json
import os
import sys
import time

import numpy as np
import pytest

from tinyattn.cli import main
from tinyattn.definitions import attention
from tinyattn.testing.conform import judge
from tinyattn.testing.conform.command import program

PROGRAM = """
import json, sys
import numpy as np
raw = open(sys.argv[1], "rb").read()
start = 8 + int.from_bytes(raw[:8], "little")
head = json.loads(raw[8:start])
if set(head) - {"__metadata__"} != {"q", "k", "v"} or head.get("__metadata__"):
    sys.exit(64)
q, k, v = (np.frombuffer(raw, "f4", int(np.prod(head[n]["shape"])), start + head[n]["data_offsets"][0]).reshape(head[n]["shape"]) for n in "qkv")
k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
w = np.exp((s := q @ k.mT * np.float32(q.shape[-1] ** -0.5)) - s.max(-1, keepdims=True))
out = np.float32(FACTOR) * (w / w.sum(-1, keepdims=True) @ v)
head = json.dumps({"out": {"dtype": "F32", "shape": out.shape, "data_offsets": [0, out.nbytes]}}).encode()
open(sys.argv[2], "wb").write(len(head).to_bytes(8, "little") + head + out.astype("f4").tobytes())
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
    (["--command", "./kernel"], "{in}"), (["--command", "./kernel ' {in} {out}"], "command: No closing quotation"),
    ([OURS, "--inside", "weights"], "inside, for float32")])
def test_bad_input_is_one_line_and_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(["check", *arguments]))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_a_reader_that_stops_early_does_not_change_the_exit_code(monkeypatch, tmp_path):
    read, written = os.pipe()
    os.close(read)
    with os.fdopen(written, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert main(["check", WRONG, "--json", str(tmp_path / "report.json")]) == 1
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == "FAILS"


def test_known_failures_and_the_report_are_files(tmp_path, capsys):
    (tmp_path / "known.json").write_text(json.dumps({"causal": "https://example.org/1"}))
    assert main(["check", "tests.testing.conform.wrong:top_left", "--known", str(tmp_path / "known.json"),
                 "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "CONFORMS"
    assert report["findings"][0]["known"] == "https://example.org/1"


def test_a_program_reads_and_writes_files(tmp_path):
    (tmp_path / "kernel.py").write_text(PROGRAM.replace("FACTOR", "1.0"))
    kernel = program(f"{sys.executable} {tmp_path}/kernel.py {{in}} {{out}}", time.monotonic() + 60)
    q = np.random.default_rng(0).standard_normal((1, 2, 3, 8)).astype(np.float32)
    np.testing.assert_allclose(kernel(q, q[:, :1], q[:, 1:]), attention(q, q[:, :1], q[:, 1:]), rtol=1e-5)
    with pytest.raises(NotImplementedError, match="not supported"):
        kernel(q, q, q, causal=True)
