"""How commands end: interrupted, into a closed pipe, without rich, with outputs that cannot be written."""

import json
import os
import subprocess
import sys

import pytest

from tinyattn.cli import main

SMALL = ["--context", "16", "--batch", "2"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"the quick brown fox jumps over the lazy dog. " * 100)
    return str(path)


def start(*arguments, **options):
    return subprocess.Popen([sys.executable, "-u", "-m", "tinyattn", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, **options)


def test_an_interrupt_prints_the_table_so_far(text, tmp_path, monkeypatch, capsys):
    def interrupted(line):
        if line.startswith("linear_attention: 1/"):  # the first mechanism is done when the second one has begun
            raise KeyboardInterrupt

    monkeypatch.setattr("tinyattn.cli.terminal.say", interrupted)
    monkeypatch.setattr("tinyattn.cli.threads.cores", lambda: 1)
    out = tmp_path / "report.json"
    assert main(["compare", "--steps", "2", "--text", text, "--json", str(out), *SMALL]) == 130
    shown = capsys.readouterr().out
    assert "\nattention" in shown
    assert "(bigram)" in shown
    assert "linear_attention writes" not in shown
    assert [row["mechanism"] for row in json.loads(out.read_text())["rows"]] == ["attention"]


def test_an_interrupted_training_leaves_no_file(text, tmp_path, monkeypatch):
    def interrupted(decoder, *inputs, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tinyattn.models.decoder.Decoder.__call__", interrupted)
    assert main(["train", "--steps", "2", "--text", text, "--out", str(tmp_path / "model"), *SMALL]) == 130
    assert os.listdir(tmp_path) == ["text"]


def test_a_closed_pipe_is_no_error():
    process = start("show", "attention")
    process.stdout.close()
    assert process.wait() == 0
    with process.stderr as error:
        assert error.read() == ""


def test_tables_are_plain_without_rich(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["list"]) == 0
    assert "grouped_query_attention" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["compare", "--json", "DIR"], ["compare", "--plot", "DIR/no/x.png"], ["train", "--out", "DIR"],
                                     ["picture", "causal", "--svg", "DIR"]])
def test_outputs_that_cannot_be_written_are_said_before_the_work(command, tmp_path, capsys):
    assert main([part.replace("DIR", str(tmp_path)) for part in command]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path) in error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("content", "words"), [(b"", "empty"), (b"short", "at least 170")])
def test_texts_too_short_say_how_long(content, words, tmp_path, capsys):
    (tmp_path / "t").write_bytes(content)
    assert main(["compare", "--text", str(tmp_path / "t"), "--context", "16"]) == 2
    assert words in capsys.readouterr().err


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "tinyattn", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.count(".") == 2


def test_the_museum_of_one(capsys):
    assert main(["museum", "mask_inverted", "--examples", "1"]) == 0
    assert "wrong versions: 1; caught by no law: none" in capsys.readouterr().out
    assert main(["museum", "no_such"]) == 2
