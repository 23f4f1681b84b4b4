"""tinyattn cost --ranks: the numbers of the schemes on a machine of three numbers, and what it refuses."""

import json

from tinyattn.cli import main

MACHINE = ["--flops", "400e12", "--bandwidth", "50e9", "--latency", "1e-5"]
SHAPE = ["--heads", "32", "--kv-heads", "8", "--head-dim", "128", "--layers", "2"]


def rows(tmp_path, *given):
    assert main(["cost", *SHAPE, *MACHINE, "--json", str(tmp_path / "rows.json"), *given]) == 0
    return {row["scheme"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}


def test_the_numbers_of_a_million_tokens(tmp_path, capsys):
    found = rows(tmp_path, "--length", "1M", "--ranks", "8")
    assert "1,048,576 tokens over 8 ranks" in capsys.readouterr().out
    ring, zigzag, heads = found["ring contiguous"], found["ring zigzag"], found["heads"]
    tokens, layers = 1 << 17, 2
    assert ring["sends"] == zigzag["sends"] == layers * 8 * tokens * 256 * (2 * 7 * 2 + 8 * 4)  # keys twice, gradients in float32
    assert (ring["messages"], heads["messages"]) == (layers * (14 + 14 + 16), layers * 4 * 7)
    # A layer takes 4 x 128 FLOP forward and 10 x 128 backward for each of the half square's pairs; balanced, an eighth of them.
    least = layers * 14 * 128 * 32 * ((1 << 20) ** 2 / 2) / 8 / 400e12
    assert least < zigzag["seconds"] < 1.03 * least
    assert least < heads["seconds"] < 1.05 * least
    assert ring["seconds"] > 1.8 * least
    assert [row["scheme"] for row in found.values() if row.get("best")] == ["ring zigzag"]
    assert all(row["no_overlap"] >= row["seconds"] for row in found.values())
    assert zigzag["balance"] > 0.999
    assert (ring["hidden_from"], zigzag["hidden_from"]) == (2000, 4000)  # s G F / (2 H bandwidth) with s = 2 for half, and 4 below


def test_more_ranks_than_heads_leave_ranks_idle(tmp_path):
    found = rows(tmp_path, "--length", "1M", "--ranks", "64")
    assert found["heads"]["balance"] == 0.5
    assert found["heads"]["seconds"] > 1.5 * found["ring zigzag"]["seconds"]


def test_what_is_missing_or_has_no_meaning_is_refused(capsys):
    for given, said in ((["--ranks", "2", "--flops", "1e9"], "--bandwidth, --latency: missing"), (["--flops", "1e9"], "--flops: only with --ranks"),
                        (["--ranks", "2", "--flops", "nan"], "expected a finite number above 0"), (["--ranks", "0"], "--ranks"),
                        (["--length", "M"], "--length")):
        assert main(["cost", *SHAPE, *given]) == 2
        assert said in capsys.readouterr().err


def test_a_picture_over_ranks(tmp_path):
    rows(tmp_path, "--length", "4K", "--ranks", "4", "--plot", str(tmp_path / "p.svg"))
    assert "<svg" in (tmp_path / "p.svg").read_text()
