"""Commands on trained models: run, perplexity, heads, embed, on tiny models; texts that are given or in a file; refusals in one line."""

import errno
import json
import os
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from tinyattn.catalog.find import find_mixer
from tinyattn.cli import main
from tinyattn.models import Decoder, DecoderConfig, load, save_training

HERE = Path(__file__).parent
FAMILIES = HERE.parent / "models" / "pretrained" / "families"
spec = spec_from_file_location("gguf_written", HERE.parent / "models" / "pretrained" / "gguf_written.py")
made = module_from_spec(spec)
spec.loader.exec_module(made)
TEXT = "ab abc 12 a quick brown fox jumps over a lazy dog 0123456789" * 2  # longer than the 64 tokens of the model


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return str(made.gguf_of(tmp_path_factory.mktemp("models") / "tiny.gguf", made.tokenizer_of()))


def ran(capsys, *arguments):
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("command", ["run", "generate"])
def test_run_streams_the_likeliest_text_and_says_how_fast(capsys, file, tmp_path, command):
    model = load(file)
    wanted = "ab a1" + model.tokenizer.decode([*model.generate("ab a1", 6)]) + "\n"
    code, out, err = ran(capsys, command, file, "--prompt", "ab a1", "--tokens", "6", "--temperature", "0")
    assert (code, out) == (0, wanted)
    assert re.fullmatch(r"3 tokens read in .* s, \d written, .* tokens per second; weights of 0 MiB, [\d,]+ MiB at most in memory\n", err)
    (tmp_path / "prompt").write_text("ab a1")
    for options in (["--cache", "fixed"], ["--no-cache"]):
        assert ran(capsys, command, file, "--prompt", f"@{tmp_path / 'prompt'}", "--tokens", "6", "--temperature", "0", *options)[:2] == (0, wanted)


def test_perplexity_prints_the_loss_and_what_a_change_costs(capsys, file, tmp_path):
    with pytest.warns(UserWarning, match="longer than the 64 tokens"):
        loss = load(file).loss(TEXT)
    code, out, err = ran(capsys, "perplexity", file, TEXT)
    assert err.count("warning: tiny.gguf: the text is longer than the 64 tokens") == 1
    assert code == 0 and out.splitlines()[-1].split() == ["all", f"{loss:.4f}"]
    for options in (["--window", "8", "--first", "2"], ["--cache", "int4"], ["--positions", "yarn:2"], ["--positions", "dual-chunk"]):
        code, out, _ = ran(capsys, "perplexity", file, TEXT, *options, "--json", str(tmp_path / "out.json"))
        first, *_, last = out.splitlines()
        assert code == 0 and first.split() == ["positions", "as", "it", "is", "changed", "KL", "same", "best", "token"]
        tokens = json.loads((tmp_path / "out.json").read_text())
        assert float(last.split()[1]) == pytest.approx(loss, abs=1e-4)
        assert np.mean([token["changed"] for token in tokens]) == pytest.approx(float(last.split()[2]), abs=1e-4)
        assert max(token["divergence"] for token in tokens) > 1e-5


def test_heads_prints_a_table_and_writes_a_page_that_needs_nothing_else(capsys, file, tmp_path):
    page, numbers = tmp_path / "heads.html", tmp_path / "heads.json"
    code, out, _ = ran(capsys, "heads", file, TEXT, "--out", str(page), "--json", str(numbers))
    assert code == 0 and re.search(r"tiny.gguf: \d of 8 heads have a name: \d previous, \d sink, \d local, \d induction", out)
    assert len(json.loads(numbers.read_text())) == 8
    html = page.read_text()
    assert html.count("<tr>") == 9 and "http" not in html and "<script" not in html and html.endswith("</html>\n")


def test_embed_prints_similarities(capsys, monkeypatch, tmp_path):
    vectors = {"a": np.array([3.0, 4.0]), "b": np.array([-4.0, 3.0]), "@": np.array([6.0, 8.0])}
    class Encoder:
        name = "encoder"

        def embed(self, text):
            return vectors[text][None]
    monkeypatch.setattr("tinyattn.cli.embed.opened_model", lambda path: Encoder())
    code, out, _ = ran(capsys, "embed", "FOLDER", "a", "b", "@@", "--json", str(tmp_path / "out.json"))
    assert code == 0
    assert [line.split() for line in out.splitlines()[3:]] == [["1", "a", "1.000", "0.000", "1.000"], ["2", "b", "0.000", "1.000", "0.000"], ["3", "@", "1.000", "0.000", "1.000"]]
    assert json.loads((tmp_path / "out.json").read_text())[2] == {"text": "@", "vector": [6.0, 8.0]}


@pytest.mark.parametrize("option", [["--window", "8"], ["--cache", "int8"], ["--positions", "yarn:2"]])
def test_a_change_of_attention_is_refused_for_a_model_without_it(capsys, tmp_path, option):
    config, row = DecoderConfig(width=16, layers=1, heads=2, hidden=24, context=16), find_mixer("gated_delta_rule")
    path = str(tmp_path / "model.safetensors")
    save_training(path, Decoder.create(config, np.random.default_rng(0), **row.mixing), config, mechanism=row.name)
    assert ran(capsys, "perplexity", path, "ab abc", *option) == (
        2, "", f"tinyattn perplexity: {option[0]}: layer 0 of model.safetensors mixes its tokens by another mechanism than attention\n")


@pytest.mark.parametrize("place", ["FILE", "FOLDER"])
def test_a_model_that_memory_cannot_hold_is_one_line(capsys, file, monkeypatch, place):
    path = {"FILE": file, "FOLDER": str(FAMILIES / "llama")}[place]

    def refused(*args, **options):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(np, "memmap", refused)
    for command in (["run", path, "--prompt", "a"], ["perplexity", path, "abc"], ["heads", path, TEXT]):
        assert ran(capsys, *command) == (2, "", f"tinyattn {command[0]}: not enough memory; {path} cannot be mapped\n")
    with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
        load(path)


def test_memory_that_runs_out_while_a_model_computes_is_one_line(capsys, file, monkeypatch):
    def refused(*args, **options):
        raise MemoryError("Unable to allocate 7 GiB")

    monkeypatch.setattr("tinyattn.models.pretrained.transformer.Transformer.hidden", refused)
    for command in (["run", file, "--prompt", "ab"], ["perplexity", file, "ab abc"]):
        code, out, err = ran(capsys, *command)
        assert (code, out.strip(), err) == (2, "ab" if command[0] == "run" else "", f"tinyattn {command[0]}: not enough memory; Unable to allocate 7 GiB\n")


@pytest.mark.parametrize(("arguments", "words"), [
    (["run", "/no/such"], "does not exist"), (["heads", "/no/such", "a"], "does not exist"), (["heads", "/dev/null", "a"], "neither a folder nor a regular file"),
    (["run", "FOLDER", "--prompt", "a"], "no tokenizer.json in it; give tokens, not text"), (["run", "EMPTY"], "not a model file that can be read: no config.json"),
    (["run", "FILE", "--prompt", ""], "--prompt: expected at least one character"), (["run", "FILE", "--prompt", "@/no/such"], "/no/such: no such file"),
    (["run", "FILE", "--chat", "--prompt", "a"], "no chat template"), (["run", "FILE", "--prompt", "ü"], "text: expected a string or tokens"),
    (["run", "FILE", "--cache", "int9"], "unknown cache 'int9'; did you mean int8"), (["perplexity", "FILE", "a"], "expected at least two tokens"),
    (["perplexity", "FILE", "abc", "--first", "2"], "give --window too"), (["perplexity", "FILE", "abc", "--window", "2", "--cache", "int8"], "leave one of them out"),
    (["perplexity", "FILE", "abc", "--window", "4"], "expected more than the 4 first"), (["perplexity", "FILE", "abc", "--positions", "yarn"], "expected yarn:2"),
    (["perplexity", "FILE", "abc", "--positions", "yarn:0.5"], "a factor of 1 or more"), (["perplexity", "FILE", "abc", "--positions", "dual-chunk", "--cache", "int8"], "leave one"),
    (["heads", "FILE", "abc"], "expected at least 16 tokens"), (["embed", "FILE", "abc"], "no encoder"), (["heads", "FILE", "LATIN"], "not UTF-8 at byte 1"),
    (["embed", "FILE"], "TEXT"),
])
def test_what_is_wrong_is_said_in_one_line(capsys, file, tmp_path, arguments, words):
    (tmp_path / "latin").write_bytes(b"a\xff")
    (tmp_path / "empty").mkdir()
    places = {"FILE": file, "FOLDER": str(FAMILIES / "llama"), "EMPTY": str(tmp_path / "empty"), "LATIN": f"@{tmp_path / 'latin'}"}
    code, out, err = ran(capsys, *(places.get(word, word) for word in arguments))
    assert (code, out) == (2, "")
    assert err.startswith(f"tinyattn {arguments[0]}") and err.count("\n") == 1 and words in err
