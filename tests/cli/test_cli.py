"""The command line: what it prints, what it refuses, and how it ends."""

import json
import math

import pytest

from tinyattn.cli import main, threads


def test_list_show_check_and_pictures(capsys, tmp_path):
    assert main(["list"]) == 0
    assert main(["show", "gqa"]) == 0
    assert main(["check", "attention_with_lse", "--examples", "2"]) == 0
    assert main(["picture", "causal & window(1, 0)", "--q-len", "3", "--kv-len", "3"]) == 0
    shown = capsys.readouterr().out
    for words in ("grouped_query_attention", "arXiv:2305.13245", "def grouped_query_attention", "holds", " 2  · ■ ■"):
        assert words in shown
    assert main(["picture", "causal", "--svg", str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(("arguments", "words"), [
    (["show", "atention"], "did you mean attention"), (["compare", "--mechanisms", "atention"], "did you mean attention"),
    (["compare", "--mechanisms", "mqa"], "not a causal token mixer"), (["compare", "--text", "/no/such"], "does not exist"),
    (["compare", "--json", "/no/such/file"], "make it first"), (["picture", "casual"], "did you mean causal"),
    (["generate", "/no/such"], "does not exist"), (["compare", "--steps", "0"], "1 or more"), (["nonsense"], "unknown command 'nonsense'; known: compare, train"),
])
def test_bad_input_is_one_line_and_exit_two(capsys, arguments, words):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_compare_writes_what_it_measured_and_finds_the_same_with_any_number_of_processes(capsys, tmp_path, monkeypatch):
    text = tmp_path / "t"
    text.write_bytes(b"the quick brown fox jumps over the lazy dog. " * 60)
    found = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        monkeypatch.setattr(threads, "cores", lambda number=processes: number)
        assert main(["compare", "--steps", "3", "--context", "16", "--batch", "2", "--text", str(text), "--json", str(out)]) == 0
        report = json.loads(out.read_text())
        assert set(report) == {"settings", "machine", "rows"}
        assert set(report["rows"][0]) == {"mechanism", "bits_per_byte", "train_tokens_per_s", "decode_cached_tokens_per_s",
                                          "decode_uncached_tokens_per_s", "cache_bytes_per_token", "gap_budgets", "sample", "losses"}
        assert all(row["gap_budgets"] <= 1.0 and math.isfinite(row["bits_per_byte"]) for row in report["rows"])
        assert report["settings"]["processes"] == processes
        found.append([(row["mechanism"], row["losses"], row["bits_per_byte"], row["sample"]) for row in report["rows"]])
    assert found[0] == found[1]
    shown = capsys.readouterr()
    assert "bits per byte" in shown.out
    assert shown.out.count("speeds: of one thread, while 2 models were at work") == 1
    assert "training: 2/2" in shown.err


def test_train_resume_generate(capsys, tmp_path):
    text, model = tmp_path / "t", str(tmp_path / "m")
    text.write_bytes(b"abcdefgh " * 300)
    assert main(["train", "--steps", "2", "--context", "16", "--batch", "2", "--text", str(text), "--out", model]) == 0
    assert main(["train", "--steps", "1", "--batch", "2", "--text", str(text), "--resume", model, "--out", model]) == 0
    assert "3 steps" in capsys.readouterr().out
    assert main(["generate", model, "--prompt", "abc", "--tokens", "3", "--temperature", "0"]) == 0


@pytest.mark.parametrize(("expression", "line"), [
    ("causal & (window(1, 0) | first(1))", None), ("causal", None), ("window(1, 0)", None), ("~causal & causal", None),
    ("causal & window(1, 0) | first(2)", "not causal: 1 of these pairs show a query a key that comes after it; & binds before |, so write a & (b | c)"),
    ("window(1, 1)", "not causal: 3 of these pairs show a query a key that comes after it"),
])
def test_a_picture_says_who_sees_the_future(expression, line, capsys, tmp_path):
    for out in ([], ["--svg", str(tmp_path / "a.svg")]):
        assert main(["picture", expression, "--q-len", "4", "--kv-len", "4", *out]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [other for other in lines if "causal: " in other and other != lines[0]] == ([] if line is None else [line])


def test_fewer_queries_than_keys_stand_at_the_end(capsys):
    assert main(["picture", "causal | first(2)", "--q-len", "2", "--kv-len", "4"]) == 0
    assert "not causal" not in capsys.readouterr().out
    assert main(["picture", "causal_top_left(2, 4)", "--q-len", "2", "--kv-len", "4"]) == 0
    assert capsys.readouterr().out == ("causal_top_left(2, 4): 3 of 8 pairs; one row per query, ■ sees\n"
                                       "    0 1 2 3\n 0  ■ · · ·\n 1  ■ ■ · ·\n")
