"""Names and options: in any case, no contradictions, and checked before any work."""

import os
from pathlib import Path

import numpy as np
import pytest

from tinyattn.catalog import MIXERS, find
from tinyattn.cli import COMMANDS, cache_names, cost, main, names
from tinyattn.cli.generate import readable
from tinyattn.cli.presets import PRESETS
from tinyattn.models import AdamW, Decoder, DecoderConfig, checkpoint
from tinyattn.ops.files import safetensors
from tinyattn.testing.broken import MUSEUM

CONFIG = DecoderConfig(width=16, layers=1, heads=2, kv_heads=1, hidden=16, context=16)


@pytest.fixture
def model(tmp_path):
    row, path = find("linear_attention"), tmp_path / "model"
    decoder = Decoder.create(CONFIG, np.random.default_rng(0), **row.mixing)
    checkpoint.save_training(path, decoder, CONFIG, mechanism=row.name, state=AdamW.create(decoder))
    return str(path)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text").write_bytes(b"the quick brown fox jumps over the lazy dog. " * 60)
    return str(tmp_path / "text")


@pytest.mark.parametrize("arguments", [["LIST"], ["Show", "GQA"], ["picture", "causal"], ["cost", "--model", "PALM-540B", "--cache", "INT8", "--dtype", "FLOAT32"],
                                       ["cost", "--model", "All", "--cache", "ALL"], ["check", "Attention-With LSE", "--examples", "1"],
                                       ["cost", "--model", "llama_3_8B", "--cache", "INT8"]])
def test_names_match_in_upper_and_lower_case(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""


# What each command takes by name, with a name that is nearly one of them.
@pytest.mark.parametrize(("known", "kind"), [
    (tuple(COMMANDS), "command"), (tuple(PRESETS), "model"), (tuple(cost.known_caches()), "cache"), (tuple(twin.name for twin in MUSEUM[::12]), "twin"),
    (tuple(cache_names.caches_of(find("attention"), 8)), "cache"),
])
def test_a_suggestion_is_accepted(known, kind):
    suggested = 0
    for name in known:
        with pytest.raises(ValueError, match=f"unknown {kind}") as refusal:
            names.canonical(name.upper() + "q", known, kind)
        _, _, hint = str(refusal.value).partition("; did you mean ")
        offered = hint.removesuffix("?").split(" or ") if hint else []
        assert name in offered or not offered
        assert all(names.canonical(other, known, kind) == other for other in offered)
        suggested += bool(offered)
    assert suggested > len(known) // 2


def test_a_long_list_is_cut(capsys):
    assert main(["museum", "qqqqqqqqq"]) == 2
    error = capsys.readouterr().err
    assert f" and {len(MUSEUM) - names.SHOWN} more" in error
    assert len(error) < 800
    assert names.some("abc") == "a, b, c"
    assert names.some("x" * names.SHOWN).count("x") == names.SHOWN


def test_an_unknown_option_leads_to_the_help_of_its_command(capsys):
    assert main(["vectors", "NEW", "--nosuch", "1"]) == 2
    assert capsys.readouterr().err == "tinyattn vectors: unknown arguments: --nosuch 1; see tinyattn vectors --help\n"


def test_show_prints_what_the_definition_calls_in_its_file(capsys):
    assert main(["show", "reformer"]) == 0
    shown = capsys.readouterr().out
    assert [shown.count(f"    def {name}(") for name in ("lsh_attention", "one_hash", "rows_at", "with_chunk_before")] == [1, 1, 1, 1]


@pytest.mark.parametrize(("arguments", "words"), [
    (["generate", "MODEL", "--cache", "state", "--no-cache"], "--no-cache: --cache was given too"),
    (["generate", "MODEL", "--cache", "--no-cache"], "--no-cache: --cache was given too"),
    (["train", "--out", "NEW", "--text", "TEXT", "--resume", "MODEL", "--mechanism", "attention"],
     "--mechanism attention: the model of --resume mixes its tokens by linear_attention"),
    (["train", "--out", "NEW", "--text", "TEXT", "--resume", "MODEL", "--context", "8"], "--context 8: the model of --resume has a context of 16"),
    (["train", "--out", "TEXT", "--text", "TEXT"], "TEXT is the text itself"),
    (["cost", "--model", "palm-540b, PaLM-540B"], "--model: PaLM-540B is named twice"), (["cost", "--cache", "int8,INT8"], "--cache: INT8 is named twice"),
    (["cost", "--model", "palm-540b,"], "--model: expected names separated by commas, got 'palm-540b,'"),
    (["cost", "--json", "NEW", "--plot", "NEW"], "--plot: NEW is the file of --json too"),
    (["cost", "--plot", "NEW.xyz"], "--plot: expected a name that ends with png, svg, pdf, got NEW.xyz"),
    (["time", "kernels", "--plot", "NEW.xyz"], "--plot: expected a name that ends with png, svg, pdf"),
    (["train", "--out", "NEW", "--mechanism", "mqa"], "multi_query_attention: is not a causal token mixer"),
    (["train", "--out", "NEW", "--mechanism", "atention"], "unknown mechanism 'atention'; did you mean attention"),
    (["train", "--out", "NEW", "--resume", "NEW"], "NEW: does not exist"), (["train", "--out", "NEW", "--text", "TEXT", "--context", "1000"], "too few"),
    (["generate", "MODEL", "--cache", "int8"], "unknown cache 'int8'; known: state"), (["generate", "MODEL", "--prompt", ""], "prompt: expected at least one byte"),
    (["generate", "MODEL", "--top-p", "nan"], "top_p"), (["generate", "MODEL", "--temperature", "inf"], "temperature"),
    (["generate", "MODEL", "--tokens", "9" * 30], "at most 1099511627776"), (["museum", "mask_invertd"], "did you mean mask_inverted"),
    (["compare", "--caches", "growin"], "unknown cache 'growin'; did you mean growing"), (["compare", "--context", "1"], "--context: expected 2 or more"),
    (["compare", "--text", "TEXT", "--batch", "100000000000"], "GiB of logits"), (["compare", "--mechanisms", "atention"], "did you mean attention"),
    (["compare", "--task", "DIGITS", "--mechanisms", "retention"], "retention: no image model is built of it"),
    (["compare", "--json", ""], "json: expected at least one character, got none; see tinyattn compare"), (["compare", "--caches", ""], "caches: expected at least one"),
    (["compare", "--plot", ""], "plot: expected at least one"), (["train", "--out", ""], "out: expected at least one"), (["generate", ""], "file: expected at least one"),
    (["equivalences", "--out", "FOLDER"], "FOLDER is a folder"), (["picture", "padding([])"], "padding: lengths"),
])
def test_what_is_refused_is_one_line_before_any_work(arguments, words, model, text, tmp_path, capfd, monkeypatch):
    def works(*args, **options):
        raise AssertionError("the work has begun")

    monkeypatch.setattr("tinyattn.cli.train.train", works)
    places = {"NEW": str(tmp_path / "new"), "MODEL": model, "TEXT": text, "FOLDER": str(tmp_path)}
    for name, place in places.items():
        arguments = [part.replace(name, place) for part in arguments]
        words = words.replace(name, place)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert main(arguments) == 2
    error = capfd.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_a_model_goes_on_with_what_it_has(model, text, capsys):
    same = ["--mechanism", "Linear Attention", "--context", "16", "--seed", "3"]
    assert main(["train", "--out", model, "--text", text, "--resume", model, "--steps", "1", "--batch", "1", *same]) == 0
    assert "1 steps" in capsys.readouterr().out
    assert checkpoint.load_training(model, mixing=lambda name: find(name).mixing).mechanism == "linear_attention"




@pytest.mark.parametrize("kind", ["empty", "text", "short text", "zip", "pickle", "truncated", "no config", "other tensors", "folder", "unreadable", "fifo"])
@pytest.mark.parametrize("command", [["generate", "FILE"], ["train", "--out", "NEW", "--resume", "FILE"]])
def test_another_file_is_not_a_model_file(kind, command, model, tmp_path, capsys, monkeypatch):
    whole = Path(model).read_bytes()
    contents = {"empty": b"", "text": b"a text that is no model, long enough for a header", "short text": b"a", "zip": b"PK\3\4" + bytes(40),
                "pickle": b"\x80\4" + bytes(40), "truncated": whole[:-7]}
    path = tmp_path / "file"
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "unreadable":
        path.write_bytes(whole)

        def refused(*args):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("tinyattn.ops.files.safetensors.load_with_metadata", refused)
    else:
        arrays, metadata = safetensors.load_with_metadata(model)
        del arrays["model.head"]
        safetensors.save(path, arrays, metadata={} if kind == "no config" else metadata)
    assert main([part.replace("FILE", str(path)).replace("NEW", str(tmp_path / "new")) for part in command]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tinyattn {command[0]}: {path}: not a model file")
    assert error.count("\n") == 1
    assert error.count(str(path)) == 1


def test_the_text_of_a_model_moves_no_cursor(model, capsysbinary, monkeypatch):
    monkeypatch.setattr("tinyattn.cli.generate.generate", lambda *args, **options: iter(b"\x1b[2J\r\0\x7f\xff\xc2\x9b\xc3\xa9\n\tz\xe2\x82"))
    assert main(["generate", model, "--prompt", "é\udcff"]) == 0
    shown = capsysbinary.readouterr().out
    assert shown == "é\\xff\\x1b[2J\\x0d\\x00\\x7f\\xff\\x9bé\n\tz\\xe2\\x82\n".encode()
    assert readable(bytes(range(32, 127))) == bytes(range(32, 127)).decode()


def test_every_mixer_is_suggested_by_train(tmp_path, capsys):
    assert main(["train", "--out", str(tmp_path / "m"), "--mechanism", "swin"]) == 2
    assert capsys.readouterr().err.rstrip().endswith(", ".join(row.name for row in MIXERS[-3:]))


def test_a_definition_is_shown_with_its_file(capsys):
    assert main(["show", "gqa"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("file "))
    path = line.removeprefix("file").strip()
    assert path.endswith(os.path.join("tinyattn", "definitions", "softmax", "grouped_query.py"))
    assert "def grouped_query_attention(" in Path(path).read_text()
