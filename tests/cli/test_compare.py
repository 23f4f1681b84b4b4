"""tinyattn compare: what it refuses before it begins, what it says of its own time, and tables of 80 columns."""

import json

import numpy as np
import pytest

from tinyattn import fastest
from tinyattn.catalog import ROWS
from tinyattn.catalog.blocks import BLOCKS
from tinyattn.cli import cache_names, compare, main, terminal
from tinyattn.cli.comparing import text as comparing_text
from tinyattn.cli.comparing.caches import print_caches
from tinyattn.cli.comparing.digits import print_digits
from tinyattn.models.config import DecoderConfig

SMALL = ["--steps", "2", "--context", "16", "--batch", "2"]
NAMES = [row.name for row in ROWS if row.mixer is not None]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"the quick brown fox jumps over the lazy dog.\n" * 60)
    return str(path)


@pytest.mark.parametrize(("options", "words"), [
    (["--context", "1"], "--context: expected 2 or more"), (["--mechanisms", "attention,attention"], "attention is named twice"),
    (["--mechanisms", "attention, retention,retention ,attention"], "retention is named twice"),
    (["--caches", "growing,growing"], "growing is named twice"), (["--caches", "all", "--context", "1"], "--context"),
    (["--caches", "state", "--mechanisms", "attention"], "unknown cache 'state'"), (["--width", "6"], "--width: expected a multiple of 4"),
    (["--batch", "1000000000"], "--batch: 1000000000 sequences"), (["--rate", "0"], "finite number above 0"), (["--rate", "nan"], "got 'nan'"),
    (["--rate", "inf"], "got 'inf'"), (["--rate", "fast"], "got 'fast'"), (["--width", "1000000", "--context", "2"], "bytes of parameters"),
    (["--task", "digits", "--mechanisms", "axial,axial_attention"], "axial_attention is named twice"),
    (["--task", "digits", "--width", "64"], "leave --caches"), (["--task", "digits", "--layers", "2"], "leave --caches"),
    (["--json", "DIR/x", "--plot", "DIR/x"], "is the file of --json"),
])
def test_what_cannot_be_is_said_before_any_step(options, words, text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "first_steps", lambda plan: pytest.fail("a step was taken"))
    given = [option.replace("DIR", str(tmp_path)) for option in options]
    assert main(["compare", *given, *([] if "digits" in given else ["--text", text])]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_a_step_has_1024_bytes_unless_told(text, monkeypatch):
    batches = {}
    for context in (64, 200, 4096):
        monkeypatch.setattr(compare, "planned", lambda given: batches.update({given.context: given.batch}) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(["compare", "--context", str(context), "--text", text])
    assert batches == {64: 16, 200: 5, 4096: 1}


def line_of(name):
    return {"mechanism": name, "bits_per_byte": 12.3456, "train_tokens_per_s": 99999.0, "decode_cached_tokens_per_s": 12345.0,
            "decode_uncached_tokens_per_s": 1234.0, "cache_bytes_per_token": 123456.0, "gap_budgets": 123.4, "losses": [1.0],
            "sample": "a\tb\x1b[0m\x00\ufffd\n" + 300 * "x"}


def test_the_table_fits_80_columns_with_every_name_whole(capsys):
    settings = {"bigram_bits_per_byte": 3.2671, "behind": 1024, "temperature": 0.8, "seed": 3, "prompt": "def f(x):\n    é"}
    comparing_text.print_text({"settings": settings, "rows": [line_of(name) for name in NAMES]})
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    assert shown.isascii()
    assert "\x1b" not in shown
    table = lines[: lines.index("")]
    assert [line.split()[0] for line in table] == ["mechanism", table[1].split()[0], *NAMES, "(bigram)"]
    assert all(len(line.split()) == len(table[0].split()) for line in table[:-1])
    legend = lines[lines.index("") + 1 :][: len(comparing_text.LEGEND)]
    assert [line.split()[0] for line in legend] == table[0].split()[1:]
    assert "after 1,024 bytes" in shown
    assert f"    a\\tb\\x1b[0m\\x00\\ufffd\n    {72 * 'x'}" in shown  # the room between two margins of 4
    assert "    def f(x):\n        \\xe9\n" in shown


def test_a_sample_is_a_handful_of_lines_of_which_none_is_blank(capsys):
    sample = "\n\n  first\n   \n" + "\n".join(f"{number}" for number in range(9))
    settings = {"bigram_bits_per_byte": 3.2671, "behind": 1024, "temperature": 0.8, "seed": 3, "prompt": "import this\n"}
    comparing_text.print_text({"settings": settings, "rows": [{**line_of("attention"), "sample": sample}]})
    shown = capsys.readouterr().out
    assert shown.endswith("after this held-out text:\n    import this\n\nattention writes:\n      first\n    0\n    1\n    2\n    3\n    4\n")


def test_rows_too_wide_are_printed_as_blocks(capsys):
    rows = [["title"], ["a" * 60, "1" * 20, ""], ["b", "2", "3" * 63], ["c", "4", "5"], ["d", "6", "7" * 64]]
    terminal.plain_table(["name", "one", "other"], rows, 80)
    assert capsys.readouterr().out == (f"title\n{'a' * 60}\n  one: {'1' * 20}\nb\n  one: 2  other: {'3' * 63}\n"
                                       f"c\n  one: 4  other: 5\nd\n  one: 6\n  other: {'7' * 64}\n")
    terminal.plain_table(["name", "one"], [["title"], ["a", "10"], ["bb", ""]], 80)
    assert capsys.readouterr().out == "name  one\n----  ---\ntitle\na      10\nbb\n"


def test_the_tables_of_caches_and_of_digits_fit(capsys):
    rows = [{"mechanism": name, "cache": cache, "exact": cache != "int4", "bytes": 12345678, "bytes_per_token": 123456.0, "tokens_per_s": 12345.0,
             "gap_budgets": 1e6, "bits_per_byte": 12.3456, "bits_lost": -0.12345}
            for name in ("attention", "simple_gated_linear_attention") for cache in cache_names.settings_for(16)]
    print_caches({"settings": {}, "rows": rows})
    shown = capsys.readouterr().out
    assert "\nsimple_gated_linear_attention\n  growing  " in shown
    assert "window  12,345,678" in shown
    assert shown.count("12.346  -0.1235\n") == len(rows)
    digits = [{"mechanism": name, "accuracy": 0.98765, "parameters": 123456, "train_images_per_s": 12345.0, "losses": [0.5]} for name in BLOCKS]
    print_digits({"settings": {"nearest_mean_accuracy": 0.9}, "rows": digits})
    other = capsys.readouterr().out
    assert all(f"\n{name}  " in other for name in BLOCKS)
    assert "98.8%     123,456   12,345  0.50\n" in other
    assert max(map(len, (shown + other).splitlines())) <= 80


def test_the_sample_is_drawn_from_the_seed_at_a_temperature(text, tmp_path, monkeypatch, capsys):
    asked, drawn, real = [], [], comparing_text.generate

    def recorded(decoder, prompt, tokens, rng, **options):
        asked.append((prompt, tokens, options["temperature"]))
        drawn.append(rng.bit_generator.state["state"]["state"])
        return real(decoder, prompt, tokens, rng, **options)

    monkeypatch.setattr(comparing_text, "generate", recorded)
    samples = []
    for seed in ("0", "0", "1"):
        out = tmp_path / "r"
        assert main(["compare", "--mechanisms", "attention", "--text", text, "--seed", seed, "--json", str(out), *SMALL]) == 0
        report = json.loads(out.read_text())
        samples.append(report["rows"][0]["sample"])
        assert report["settings"]["prompt"] == asked[-1][0].decode() == "the "  # a quarter of the context, from the first whole line on
    assert samples[0] == samples[1] != samples[2]
    assert drawn[0] == drawn[1] != drawn[2]
    assert asked == [(b"the ", 12, 0.8)] * 3
    assert "attention writes:" in capsys.readouterr().out


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), FloatingPointError("linear_attention: the loss is nan")])
def test_rows_are_in_the_order_asked_and_kept_whatever_ends_the_work(error, text, tmp_path, monkeypatch, capsys):
    def lines(plan, processes, clock):
        yield from map(line_of, ("retention", "attention"))
        if error is not None:
            raise error

    monkeypatch.setattr(compare, "processes_for", lambda jobs: 2)
    monkeypatch.setattr(compare, "lines_of_workers", lines)
    out, names = tmp_path / "r", "attention,linear_attention,retention"
    code = main(["compare", "--mechanisms", names, "--text", text, "--json", str(out), *SMALL])
    assert code == {type(None): 0, KeyboardInterrupt: 130, FloatingPointError: 2}[type(error)]
    assert [row["mechanism"] for row in json.loads(out.read_text())["rows"]] == ["attention", "retention"]
    shown = capsys.readouterr()
    assert shown.out.index("\nattention") < shown.out.index("\nretention")
    assert shown.err.count("tinyattn compare: linear_attention: the loss is nan") == (code == 2)


def test_the_machine_says_whether_kernels_ran(monkeypatch):
    assert compare.machine()["kernels"] == (fastest.kernel() is not None)


def test_a_prompt_begins_a_line_and_leaves_room():
    config = DecoderConfig(width=16, layers=1, heads=2, kv_heads=1, hidden=16, context=8)
    held = np.frombuffer(b"ab\ncdefghijklm", np.uint8)
    assert comparing_text.short_prompt(held, config) == b"cd"
    assert comparing_text.short_prompt(held[3:], config) == b"cd"
    longer = DecoderConfig(width=16, layers=1, heads=2, kv_heads=1, hidden=16, context=40)
    for text, prompt in ((b"rest\nof\n\n    indented\n\n# a sign\n\nword\nand\n  more of it", b"word\nand\n"), (b"   of\n   it\n\tx\nmargin", b"margin"),
                         (b"a\r\n\r\n\r\nb c d e f g h i j k", b"b c d e f "), (b"\n\n\n", b"\n\n\n"), (b"\n\nnine", b"nine")):
        assert comparing_text.short_prompt(np.frombuffer(text, np.uint8), longer) == prompt
    assert comparing_text.long_prompt(held, config) == held.tobytes()
    assert len(comparing_text.long_prompt(np.zeros(5000, np.uint8), config)) == comparing_text.BEHIND
