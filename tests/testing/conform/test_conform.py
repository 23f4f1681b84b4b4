"""The conformance kit: right kernels conform, wrong ones do not, and other dialects differ until they are declared."""

import json
import multiprocessing
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.testing.conform import wrong
from tinyattn.definitions import attention, attention_with_lse, retention, streaming_attention
from tinyattn.testing.conform import conform, judge, likeness
from tinyattn.testing.conform.report import VERDICTS


@pytest.fixture(autouse=True)
def fewer_problems(request, monkeypatch):
    """Sixteen problems reach the lengths around 64, and show each of the faults here; right kernels get them all."""
    if "right" not in request.node.name:
        monkeypatch.setattr(judge, "PROBLEMS", 16)
        monkeypatch.setattr(judge, "GRADIENTS", 5)


SOFTMAX = ("causal", "window", "mask", "bias", "scale", "softcap", "sinks")


def blocks(q, k, v, **options):
    return streaming_attention(q, k, v, block=16, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_a_right_kernel_conforms(dtype):
    report = conform(blocks, dtype=dtype, gradients=dtype == "float32")
    assert report.verdict == "CONFORMS", str(report)
    assert set(SOFTMAX) <= set(report.tested)
    assert report.worst < 0.8
    assert report.inside == "float32"
    assert ("gradients" in report.tested) == (dtype == "float32")


@pytest.mark.parametrize("name", wrong.WRONG)
def test_a_wrong_kernel_does_not_conform(name):
    report = conform(wrong.WRONG[name], gradients=False)
    assert report.verdict != "CONFORMS"
    assert str(report).startswith(report.verdict)


@pytest.mark.parametrize(("kernel", "question", "word"), [
    (wrong.top_left, "causal", "top-left"), (wrong.length_first, "layout", "BTHD"), (wrong.mask_inverted, "mask", "hides"),
    (wrong.tiled_heads, "groups", "tiled"), (wrong.window_one_long, "window", "one-more"), (wrong.sink_twice, "sinks", "twice")])
def test_a_dialect_differs_until_it_is_declared(kernel, question, word):
    report = conform(kernel, gradients=False)
    assert report.verdict == "DIFFERS", str(report)
    assert f"dialect={{{question!r}: {word!r}}}" in report.of(question)[0].says
    assert conform(kernel, dialect={question: word}, gradients=False).verdict == "CONFORMS"


def test_an_option_that_changes_nothing_is_ignored_and_one_that_raises_is_untested():
    ignored = conform(wrong.swallows_options, gradients=False)
    assert {finding.question for finding in ignored.findings if finding.verdict == "IGNORES"} == {
        "scale", "mask", "bias", "window", "softcap", "sinks"}
    untested = conform(wrong.top_left, dialect={"causal": "top-left"}, gradients=False)
    assert {"mask", "bias", "window", "softcap", "sinks"} <= {name for name, _ in untested.untested}
    assert conform(wrong.top_left, dialect={"causal": "top-left"}, supports={"causal", "window"}, gradients=False).verdict == "REFUSES"


def test_a_failure_is_small_and_its_script_shows_it(tmp_path):
    report = conform(wrong.last_block_dropped, gradients=False)
    finding = report.of("output")[0]
    assert "1 query, 65 keys, 1 query head, 1 key head" in finding.says
    lines = finding.script.splitlines()
    assert len(lines) <= 10
    assert not any("tinyattn" in line for line in lines)
    (tmp_path / "mine.py").write_text("from tests.testing.conform.wrong import last_block_dropped as mine\n")
    script = finding.script.replace(lines[1], "from mine import mine")
    printed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": ":".join(sys.path)}, text=True,
                             capture_output=True, check=True).stdout
    error, allowed = float(printed.split()[0]), float(printed.split()[2])
    assert error > 100 * allowed


def test_the_log_sum_exp_has_a_base():
    def base_2(q, k, v, **options):
        out, lse = attention_with_lse(q, k, v, **options)
        return out, lse / np.log(2.0).astype(lse.dtype)

    assert conform(attention_with_lse, like="attention_with_lse", supports={"causal"}, gradients=False).verdict == "CONFORMS"
    report = conform(base_2, like="attention_with_lse", supports={"causal"}, gradients=False)
    assert [(f.verdict, f.question) for f in report.findings] == [("DIFFERS", "lse")]


@pytest.mark.parametrize(("change", "caught"), [
    (lambda d_q, d_k, d_v: (d_q, d_k, d_v), False), (lambda d_q, d_k, d_v: (1.001 * d_q, d_k, d_v), True),
    (lambda d_q, d_k, d_v: (d_q, d_k, d_v[..., ::-1, :]), True), (lambda d_q, d_k, d_v: (d_q, d_k[..., :1, :], d_v), True)])
def test_a_backward_of_ones_own_is_judged(change, caught):
    from tinyattn.engine import vjp

    def backward(q, k, v, d_out, **options):
        return change(*vjp(lambda t: attention(*t, **options), (q, k, v))[1](d_out))

    report = conform(attention, supports={"causal"}, backward=backward)
    assert "gradients" in report.tested or report.of("gradients")
    assert (report.verdict == "FAILS") == caught, str(report)


def test_a_crash_is_one_finding_and_the_run_goes_on():
    report = conform(wrong.dies_when_causal, isolate=True, gradients=False)
    assert report.verdict == "CRASHED"
    assert [(f.verdict, f.question) for f in report.findings] == [("CRASHED", "causal")]
    assert "SIGSEGV" in report.findings[0].says
    assert "output" in report.tested
    assert not multiprocessing.active_children()


def test_a_call_that_hangs_is_ended():
    report = conform(wrong.hangs, isolate=True, seconds=1.5)
    assert report.verdict == "CRASHED"
    assert "does not return" in str(report)
    assert report.seconds < 30  # the limit and what it takes to end a process on a busy machine


def test_a_run_whose_time_is_over_is_no_crash_and_keeps_what_it_found():
    def slow_and_hot(q, k, v):
        time.sleep(0.05)
        return attention(q, k, v, scale=1.1 * q.shape[-1] ** -0.5)

    report = conform(slow_and_hot, isolate=True, seconds=2.0)
    assert report.verdict == "FAILS"
    assert {finding.verdict for finding in report.findings} == {"FAILS"}, str(report)
    assert "the time limit was reached" in str(report)


def test_a_known_failure_must_fail():
    known = {"causal": "https://example.org/1"}
    assert conform(wrong.top_left, known=known, gradients=False).verdict == "CONFORMS"
    passes = conform(attention, known=known, supports={"causal"}, gradients=False)
    assert passes.verdict == "FAILS"
    assert "remove it from `known`" in str(passes)


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({"dialect": {"causl": "top-left"}}, ValueError, "did you mean causal"), ({"dialect": "pytorch"}, ValueError, "did you mean torch"),
    ({"dialect": {"causal": "topleft"}}, ValueError, "did you mean top-left"), ({"dialect": 3}, TypeError, "got int"),
    ({"arrays": "no_such_library"}, ValueError, "no_such_library"), ({"supports": {"masks"}}, ValueError, "did you mean mask"),
    ({"dtype": "float8"}, ValueError, "dtype"), ({"inside": "weights"}, ValueError, "inside"), ({"like": "atention"}, ValueError, "attention"),
    ({"known": {"windows": "x"}}, ValueError, "did you mean window"), ({"seconds": 0}, ValueError, "seconds"), ({"seed": -1}, ValueError, "seed"),
    ({"backward": 3}, TypeError, "backward")])
def test_a_bad_argument_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        conform(attention, **arguments)


@pytest.mark.parametrize(("kernel", "words"), [
    (lambda: None, "TypeError"), (lambda q, k, v: None, "NoneType"), (lambda q, k, v: q[..., :1], "shape"), (lambda q, k, v: (q, k), "1 output"),
    (lambda q, k, v: np.full((*q.shape[:-1], v.shape[-1]), np.nan), "no layout")])
def test_what_is_no_attention_is_said(kernel, words):
    report = conform(kernel)
    assert report.verdict in ("FAILS", "CRASHED")
    assert words in str(report)


@pytest.mark.parametrize(("kernel", "like"), [(attention, "attention"), (retention, "retention")])
@pytest.mark.parametrize(("given", "verdict", "words"), [
    (lambda q, k, v: (q, k, v, q, k), "FAILS", "got 5"), (lambda q, k, v: (q, k), "FAILS", "got 2"), (lambda q, k, v: None, "FAILS", "got NoneType"),
    (lambda q, k, v: {"q": q, "k": k}, "FAILS", "got q, k"), (lambda q, k, v: ("q", k, v), "FAILS", "got str"),
    (lambda q, k, v: (q, np.stack([k, k]), v), "FAILS", "d_k of shape"), (lambda q, k, v: (q, k, v[..., None]), "FAILS", "d_v of shape"),
    (lambda q, k, v: [][0], "REFUSES", "IndexError")])
def test_a_backward_that_gives_something_else_is_said(kernel, like, given, verdict, words, monkeypatch):
    monkeypatch.setattr(judge, "PROBLEMS", 1)
    monkeypatch.setattr(likeness, "PROBLEMS", 1)
    report = conform(kernel, like=like, supports=set(), backward=lambda q, k, v, d_out, **options: given(q, k, v))
    assert report.verdict == verdict
    assert [words in finding.says for finding in report.findings] == [True], str(report)


def test_other_mechanisms_are_judged_by_their_definitions():
    from tinyattn.definitions import gated_delta_rule

    assert conform(gated_delta_rule, like="gated_delta_rule", gradients=False).verdict == "CONFORMS"
    report = conform(lambda q, k, v, **o: gated_delta_rule(q, k, v, **o) * np.float32(1.01), like="gated_delta_rule", gradients=False)
    assert report.verdict in ("FAILS", "CRASHED")


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_gradients_of_other_mechanisms_are_judged(factor):
    from tinyattn.engine import vjp

    def backward(q, k, v, d_out, **options):
        d_q, d_k, d_v = vjp(lambda t: retention(*t, **options), (q, k, v))[1](d_out)
        return d_q, np.float32(factor) * d_k, d_v

    report = conform(retention, like="retention", backward=backward)
    assert "gradients" in report.tested
    assert report.verdict == ("CONFORMS" if factor == 1.0 else "FAILS"), str(report)


def test_a_failure_of_another_mechanism_is_small_and_its_script_runs():
    report = conform(wrong.hot_retention, like="retention", gradients=False)
    finding, = report.findings
    assert "kv_len=1" in finding.says
    assert "find('retention')" in finding.script
    printed = subprocess.run([sys.executable, "-c", finding.script], env={"PYTHONPATH": ":".join(sys.path)}, text=True,
                             capture_output=True, check=True).stdout
    assert printed.strip()


def test_a_failure_that_one_option_is_left_of_has_its_question_and_may_be_known():
    def wide(q, k, v, window=None):
        window = window if window is None or k.shape[-2] < 40 else tuple(w if w is None else w + 1 for w in window)
        return attention(q, k, v, window=window)

    report = conform(wide, gradients=False)
    assert {finding.question for finding in report.findings} == {"window"}, str(report)
    assert conform(wide, gradients=False, known={"window": "https://example.org/2"}).verdict == "CONFORMS"


def test_shapes_that_a_kernel_does_not_take_are_untested_until_they_are_declared():
    def narrow(q, k, v, causal=False):
        if q.shape[-2] != k.shape[-2] or q.shape[-3] != k.shape[-3] or k.shape[-1] != v.shape[-1]:
            raise ValueError("all shapes must be equal")
        return attention(q, k, v, causal=causal)

    report = conform(narrow, gradients=False)
    assert report.verdict == "CONFORMS", str(report)
    assert {"groups", "lengths", "widths"} <= {name for name, _ in report.untested}
    refused = conform(narrow, supports={"causal", "groups"}, gradients=False)
    assert [(finding.verdict, finding.question) for finding in refused.findings] == [("REFUSES", "groups")]


def test_a_bias_may_replace_causal():
    def replaced(q, k, v, causal=False, bias=None):
        return attention(q, k, v, causal=causal and bias is None, bias=bias)

    report = conform(replaced, gradients=False)
    assert [(finding.verdict, finding.question) for finding in report.findings] == [("DIFFERS", "combined_bias")]
    assert conform(replaced, dialect={"combined_bias": "bias-alone"}, gradients=False).verdict == "CONFORMS"


def test_the_report_is_json():
    report = conform(attention, supports={"causal"}, gradients=False)
    again = json.loads(json.dumps(report.as_dict()))
    assert again["verdict"] == report.verdict
    assert again["verdict"] in VERDICTS
    assert json.loads(json.dumps(conform(lambda q, k, v: np.full((*q.shape[:-1], v.shape[-1]), np.nan)).as_dict(), allow_nan=False))["worst"] is None
    assert again["dialect"]["causal"] == "bottom-right"
