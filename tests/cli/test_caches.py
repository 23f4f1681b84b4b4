"""Caches on the command line: compared, chosen by name, counted in bytes, and timed beside a step by hand."""

import argparse
import json

import numpy as np
import pytest

from tinyattn.caches import GrowingCache
from tinyattn.catalog import caches, find
from tinyattn.cli import cache_names, cost, main, threads
from tinyattn.cli.comparing.caches import chosen, through
from tinyattn.cli.generate import readable
from tinyattn.cli.presets import PRESETS
from tinyattn.cli.timing.step_by_hand import write_by_hand
from tinyattn.models import checkpoint
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.evaluate import bits_per_byte
from tinyattn.models.generate import generate

RNG = np.random.default_rng
CONFIG = DecoderConfig(width=16, layers=2, heads=4, kv_heads=2, hidden=24, context=16)
SMALL = ["--steps", "2", "--context", "16", "--batch", "2"]


class RoundedCache(GrowingCache):
    """Keeps keys and values in steps of a quarter."""

    exact = False

    def step(self, q, k, v, **options):
        return super().step(q, np.round(4 * k) / 4, np.round(4 * v) / 4, **options)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"the quick brown fox jumps over the lazy dog. " * 60)
    return str(path)


def test_every_cache_is_compared_on_the_same_trained_model(text, tmp_path, capsys, monkeypatch):
    out = tmp_path / "report"
    monkeypatch.setattr(threads, "cores", lambda: 1)
    assert main(["compare", "--caches", "all", "--text", text, "--json", str(out), *SMALL]) == 0
    report = json.loads(out.read_text())
    assert [(row["mechanism"], row["cache"]) for row in report["rows"]] == [
        (row.name, name) for row in (find("attention"), find("linear_attention")) for name in cache_names.caches_of(row, 16)]
    config = DecoderConfig(width=64, layers=2, heads=2, kv_heads=1, context=16)
    sizes = (16, config.kv_heads, config.head_dim, config.head_dim, 4)
    for line in report["rows"]:
        if line["mechanism"] == "attention":
            known, settings = cache_names.settings_for(16)[line["cache"]]
            row = caches.find(known)
            held = row.nbytes(*sizes, **{**row.settings, **settings})
        else:
            held = find("linear_attention").cache_bytes(*sizes)
        assert line["bytes"] == config.layers * held or line["cache"] == "snapkv"  # whose formula is of a prompt
        assert line["bytes_per_token"] == line["bytes"] / 16
        whole = line["cache"] in ("growing", "fixed", "paged", "state")
        assert (line["gap_budgets"] <= 1.0) == (whole or line["cache"].startswith("int"))  # whose newest 32 are as they came
        assert abs(line["bits_lost"]) < 1e-4 or not whole
    assert "the bits above those of the same model" in capsys.readouterr().out


def test_what_a_cache_loses_is_measured():
    decoder = Decoder.create(CONFIG, RNG(0))
    inputs, targets = RNG(1).integers(0, 256, (2, 3, 16))
    full, rounded = through(decoder, {"full": GrowingCache, "rounded": RoundedCache}, inputs, targets)
    assert (full["exact"], rounded["exact"]) == (True, False)
    assert rounded["gap_budgets"] > 10 * full["gap_budgets"]
    assert full["bits_per_byte"] == pytest.approx(bits_per_byte(decoder, inputs, targets), abs=1e-6)
    assert rounded["bits_lost"] == pytest.approx(rounded["bits_per_byte"] - bits_per_byte(decoder, inputs, targets))
    assert abs(rounded["bits_lost"]) > 1e-6
    assert full["bytes"] == 2 * 16 * 2 * (4 + 4) * 4
    assert full["tokens_per_s"] > 0


def test_caches_are_chosen_by_name():
    rows = [find("attention"), find("linear_attention")]
    assert [(row.name, list(made)) for row, made in chosen(rows, "state", 8)] == [("attention", []), ("linear_attention", ["state"])]
    assert [list(made) for _, made in chosen(rows, "int4, growing", 8)] == [["int4", "growing"], []]
    with pytest.raises(ValueError, match="unknown cache 'growin'; did you mean growing"):
        chosen(rows, "growin", 8)
    with pytest.raises(ValueError, match="not a causal token mixer"):
        cache_names.caches_of(find("mqa"), 8)


@pytest.mark.parametrize(("arguments", "words"), [
    (["compare", "--caches", "mbzq"], "unknown cache 'mbzq'; known: growing"), (["compare", "--caches", "all", "--plot", "x.png"], "--plot: draws losses"),
    (["cost", "--model", "llama"], "unknown model 'llama'; did you mean llama"), (["cost", "--cache", "growin"], "unknown cache 'growin'"),
    (["cost", "--heads", "8", "--layers", "2"], "--head-dim: missing"), (["cost", "--heads", "8", "--model", "all"], "--model: a model has its own"),
    (["cost", "--heads", "8", "--kv-heads", "3", "--head-dim", "4", "--layers", "1"], "--kv-heads: expected a divisor of the 8 heads, got 3"),
    (["cost", "--model", "llama-3-8b", "--cache", "ring"], "--cache ring"), (["cost", "--length", "0"], "1 or more"),
    (["cost", "--json", "/no/such/file"], "make it first"),
])
def test_bad_input_is_one_line_and_exit_two(capsys, arguments, words):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_writing_takes_a_cache_by_name(tmp_path, capsysbinary, monkeypatch):
    path, prompt = str(tmp_path / "m"), ["--prompt", "abc", "--tokens", "6", "--temperature", "0"]
    decoder = Decoder.create(CONFIG, RNG(0))
    checkpoint.save_training(path, decoder, CONFIG, mechanism="attention")
    made = []
    monkeypatch.setattr("tinyattn.cli.generate.caches_of", lambda row, length: {
        "own": lambda: made.append(("own", length)) or GrowingCache(), "other": lambda: made.append(("other", length)) or GrowingCache()})
    wanted = (readable(bytes([*b"abc", *generate(decoder, b"abc", 6)])) + "\n").encode()
    for option, expected in (([], "own"), (["--cache"], "own"), (["--cache", "other"], "other"), (["--no-cache"], None)):
        made.clear()
        assert main(["generate", path, *prompt, *option]) == 0
        assert capsysbinary.readouterr().out == wanted
        assert made == ([] if expected is None else [(expected, 9)] * 2)
    assert main(["generate", path, *prompt, "--cache", "othr"]) == 2
    assert b"did you mean other" in capsysbinary.readouterr().err


def costs(capsys, tmp_path, *arguments):
    out = tmp_path / "cost"
    assert main(["cost", *arguments, "--json", str(out)]) == 0
    return json.loads(out.read_text())["rows"], capsys.readouterr().out


def test_the_cost_of_a_shape_is_its_formula(capsys, tmp_path):
    shape = ["--heads", "64", "--kv-heads", "8", "--head-dim", "128", "--layers", "80", "--length", "131072"]
    (growing, state, int4), shown = costs(capsys, tmp_path, *shape, "--cache", "growing,state,int4")
    assert int4["bytes"] == 80 * caches.find("QuantizedCache, 4 bits").nbytes(131072, 8, 128, 128, 2, bits=4, group=32, residual=32)
    assert growing["bytes"] == growing["reads_per_token"] == 80 * find("attention").cache_bytes(131072, 8, 128, 128, 2) == 40 * 2 ** 30
    assert growing["bytes_per_token"] == 80 * 8 * 256 * 2
    assert state["bytes"] == 80 * caches.find("StateCache").nbytes(131072, 8, 128, 128, 2)
    assert "40.0 GiB" in shown and "320.0 KiB" in shown
    (growing, ring), _ = costs(capsys, tmp_path, *shape[:4], "--head-dim", "4", "--value-dim", "6", "--layers", "3", "--window", "100", "--length", "1000",
                               "--dtype", "float32")
    assert growing["bytes"] == 3 * 1000 * 8 * 10 * 4
    assert ring["bytes"] == growing["reads_per_token"] == ring["reads_per_token"] == 3 * 100 * 8 * 10 * 4
    (latent,), _ = costs(capsys, tmp_path, "--heads", "128", "--head-dim", "512", "--value-dim", "64", "--layers", "60", "--length", "7", "--cache", "latent")
    assert latent["bytes"] == 7 * 60 * (512 + 64) * 2
    (growing,), _ = costs(capsys, tmp_path, "--heads", "3", "--head-dim", "4", "--layers", "1", "--length", "5", "--cache", "growing")
    assert growing["bytes"] == 5 * 3 * 8 * 2
    (bfloat16,), _ = costs(capsys, tmp_path, "--heads", "3", "--head-dim", "4", "--layers", "1", "--length", "5", "--cache", "growing", "--dtype", "bfloat16")
    assert bfloat16["bytes"] == growing["bytes"]
    (growing, ring), _ = costs(capsys, tmp_path, "--heads", "3", "--head-dim", "4", "--layers", "1", "--length", "5", "--window", "9")
    assert growing["bytes"] == ring["bytes"]


# What the papers and model cards say of their own caches, in numbers a token.
@pytest.mark.parametrize(("name", "numbers"), [
    ("llama-2-7b", 2 * 32 * 4096), ("llama-3-70b", 2 * 80 * 1024), ("falcon-7b", 2 * 32 * 64), ("palm-540b", 2 * 118 * 256),
    ("deepseek-v2", 60 * (512 + 64)), ("deepseek-v3", 61 * (512 + 64)), ("gpt-3-175b", 2 * 96 * 12288), ("qwen2.5-7b", 2 * 28 * 512),
])
def test_presets_hold_what_their_papers_say(name, numbers):
    assert cost.bytes_of(PRESETS[name], "growing", 7, 1) == (7 * numbers, 7 * numbers)


def test_presets_are_whole():
    for name, shape in PRESETS.items():
        assert "arXiv:" in shape.source, name
        assert all(shape.heads % part.kv_heads == 0 and part.count > 0 for part in shape.layers), name
        held, read = cost.bytes_of(shape, "ring", 1 << 20, 2)
        assert held == read <= cost.bytes_of(shape, "growing", 1 << 20, 2)[0]
    layers = {name: sum(part.count for part in PRESETS[name].layers) for name in ("gemma-2-9b", "gemma-2-27b", "gemma-3-27b", "gpt-oss-20b", "gpt-oss-120b")}
    assert layers == {"gemma-2-9b": 42, "gemma-2-27b": 46, "gemma-3-27b": 62, "gpt-oss-20b": 24, "gpt-oss-120b": 36}


def test_all_models_are_a_table_and_a_picture(capsys, tmp_path, monkeypatch):
    rows, shown = costs(capsys, tmp_path, "--length", "4096")
    assert {row["model"] for row in rows} == set(PRESETS)
    assert "deepseek-v2: DeepSeek-V2, arXiv:2405.04434" in shown
    assert "gemma-2-9b, gemma-2-27b: Gemma 2" in shown
    drawn = []

    class Axes:
        class figure:
            def savefig(file, format):
                file.write(b"drawn as " + format.encode())

    monkeypatch.setattr("tinyattn.plot.growth", lambda curves, ylabel: drawn.append(curves) or Axes)
    assert main(["cost", "--model", "gpt-oss-20b", "--length", "3000", "--plot", str(tmp_path / "x.png")]) == 0
    curves, = drawn
    assert (tmp_path / "x.png").read_bytes() == b"drawn as png"
    assert [*curves] == ["gpt-oss-20b, growing", "gpt-oss-20b, ring"]
    assert [*curves["gpt-oss-20b, ring"]] == [1024, 2048, 3000]
    for name, held in (("growing", 24 * 3000), ("ring", 12 * 3000 + 12 * 128)):
        assert curves[f"gpt-oss-20b, {name}"][3000] == held * 8 * 128 * 2 / 2 ** 30


def test_the_picture_is_written(tmp_path):
    assert main(["cost", "--model", "gpt-oss-20b", "--length", "500", "--plot", str(tmp_path / "x.svg")]) == 0
    assert (tmp_path / "x.svg").read_text().startswith("<?xml")


def test_the_step_by_hand_is_the_model():
    decoder = Decoder.create(CONFIG, RNG(3)).astype(np.float64)
    assert [*write_by_hand(decoder, CONFIG, b"abc", 12)] == [*generate(decoder, b"abc", 12)]


def test_the_table_of_a_decoding_step(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    written = []

    def timed(functions, rounds, warm_up):
        written.append([[function() for function in functions.values()] for _ in range(rounds + warm_up)])
        return {"ours": [4e-3, 8e-3, 18e-3], "by hand": [2e-3, 4e-3, 2e-3]}

    monkeypatch.setattr("tinyattn.cli.timing.generate.interleaved", timed)
    monkeypatch.setattr("tinyattn.cli.timing.generate.caches_of", lambda row, length: {"one": GrowingCache, "other": RoundedCache})
    out = tmp_path / "t"
    assert main(["time", "generate", "--rounds", "1", "--json", str(out)]) == 0
    lines = json.loads(out.read_text())
    assert [line["cache"] for line in lines] == ["one", "other"]
    assert [line["asked"] for line in lines[1:]] == [""] * (len(lines) - 1)
    assert lines[0] | {"cache": ""} == {"cache": "", "ours us": "4,000", "by hand us": "1,000", "ours / by hand": "2.00", "asked": "at most 1.5", "tokens/s": "250"}
    assert all([[len(tokens) for tokens in pair] for pair in pairs] == [[2, 2]] * 12 for pairs in written)
    assert "at most 1.5" in capsys.readouterr().out


def test_no_shape_is_every_model():
    given = argparse.Namespace(heads=None, kv_heads=None, head_dim=None, value_dim=None, layers=None, window=None, model=None)
    assert cost.shapes_of(given) == PRESETS
