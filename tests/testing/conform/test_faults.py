"""Wrong kernels are caught, named and caught fast; `python -m tests.testing.conform.faults` prints the whole table."""

import time

import ml_dtypes
import numpy as np
import pytest

from tests.testing.conform import classes, faults, wrong
from tinyattn.catalog import ROWS, find
from tinyattn.definitions import attention, attention_with_lse
from tinyattn.engine import vjp
from tinyattn.laws.precision import rounded
from tinyattn.testing.conform import budgets, conform, judge, likeness
from tinyattn.testing.conform.cases import Case
from tinyattn.testing.conform.dialect import OURS

TWINS = faults.museum()


@pytest.fixture(autouse=True)
def fewer_problems(monkeypatch):
    """Fewer problems than a user's run, and of each mechanism two: the faults here show in most problems."""
    monkeypatch.setattr(judge, "PROBLEMS", 12)
    monkeypatch.setattr(judge, "GRADIENTS", 4)
    monkeypatch.setattr(likeness, "PROBLEMS", 2)
    monkeypatch.setattr(likeness, "GRADIENTS", 1)


@pytest.mark.parametrize("name", ["causal_sees_the_next", "window_one_long", "one_key_too_many", "kv_heads_tiled"])
def test_the_nearest_bug_has_the_name_of_the_twin(name):
    report, named = faults.judged(TWINS[name][0], gradients=False)
    assert report.verdict in ("FAILS", "DIFFERS")
    assert named == name


@pytest.mark.parametrize(("name", "question"), [
    ("window_differs_in_decode", "window"), ("lse_of_an_empty_row_is_zero", "mask"), ("lse_before_the_sink", "sinks"),
    ("sink_clipped", "sinks"), ("always_float64", "dtype"), ("d_k_of_one_head", "gradients"), ("rows_dot_forgotten", "gradients")])
def test_a_fault_that_few_calls_show_is_caught(name, question, monkeypatch):
    monkeypatch.setattr(judge, "PROBLEMS", 28)
    kernel, like = TWINS[name]
    report = conform(kernel, like=like, gradients=question == "gradients", supports={"causal", "window", "mask", "sinks"})
    assert report.verdict in ("FAILS", "DIFFERS")
    assert report.of(question), str(report)


@pytest.mark.parametrize(("kernel", "question", "problems"), [
    (wrong.random_numbers, "same again", 2), (wrong.changes_its_keys, "arguments", 2), (TWINS["sink_clipped"][0], "sinks", 2),
    (wrong.last_block_dropped, "output", 32)])
def test_sixteen_bits_hide_no_small_fault_that_is_not_rounding(kernel, question, problems, monkeypatch):
    monkeypatch.setattr(judge, "PROBLEMS", problems)
    report, _ = faults.judged(kernel, dtype="bfloat16", supports={"sinks", "causal"} if question == "sinks" else set())
    assert report.of(question), str(report)


@pytest.mark.parametrize(("inside", "verdict"), [("float32", "FAILS"), ("weights", "CONFORMS")])
def test_scores_a_thousandth_too_large_show_in_bfloat16_where_float32_is_promised_inside(inside, verdict):
    report, _ = faults.judged(wrong.WRONG["0.1 % too hot"], dtype="bfloat16", inside=inside, supports=set())
    assert report.verdict == verdict, str(report)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["last_block_dropped", "weights_do_not_add_up", "cap_not_multiplied_back"])
def test_sixteen_bits_hide_no_large_fault(name, dtype):
    report, _ = faults.judged(TWINS[name][0], dtype=dtype)
    assert report.verdict == "FAILS", str(report)


def every_number_in_bfloat16(q, k, v, *, sinks=None):
    def kept(x):
        return rounded(x, "bfloat16")

    q, k, v = (x.astype(np.float32) for x in (q, k, v))
    k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    scores = kept(kept(q @ k.mT) * kept(np.float32(q.shape[-1] ** -0.5)))
    logits = np.full(q.shape[-3], -np.inf) if sinks is None else sinks.astype(np.float32)
    largest = np.maximum(scores.max(axis=-1, keepdims=True), logits[:, None, None])
    exps = kept(np.exp(kept(scores - largest)))
    total = kept(kept(exps.sum(axis=-1, keepdims=True)) + kept(np.exp(kept(logits[:, None, None] - largest))))
    return kept(kept(exps @ v) / total).astype(ml_dtypes.bfloat16)


def test_a_kernel_that_rounds_each_difference_from_the_largest_score_is_no_false_alarm():
    for seed in range(20):
        p = Case(seed, 1, 1, 1, 1, 1, options=(("sinks", 10.0),)).problem("bfloat16")
        budget = budgets.of_outputs(p, OURS, "all", "bfloat16", np.random.default_rng(seed))
        assert budget.spent((p.astype(np.float32).call(every_number_in_bfloat16).astype(np.float64),)) <= 1.0, seed


def through_the_largest(q, k, v):
    scores = q @ k.mT * np.float32(q.shape[-1] ** -0.5)
    exps = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return exps / np.sum(exps, axis=-1, keepdims=True) @ v


def test_reverse_mode_through_the_largest_score_is_no_false_alarm():
    for seed in range(6):
        case = Case(seed, 1, 1, 1, 9, 1500, 8, 8, offset=3.0)
        p, d_out = case.problem("float32"), rounded(case.array(6, (1, 1, 9, 8)), "float32").astype(np.float64)
        single = p.astype(np.float32)
        got = vjp(lambda t: through_the_largest(*t), (single.q, single.k, single.v))[1](d_out.astype(np.float32))
        budget = budgets.of_gradients(p, d_out, OURS, "float32", "float32", np.random.default_rng(0))
        assert budget.spent(tuple(np.asarray(x, np.float64) for x in got)) <= 0.8, seed


@pytest.mark.parametrize("name", ["base 2", "10 % too hot", "zeros"])
def test_a_wrong_softmax_is_caught_in_the_first_second(name):
    report = conform(wrong.WRONG[name], seconds=1, gradients=False)
    assert report.verdict == "FAILS"


def test_a_bias_whose_gradient_is_not_summed_over_its_heads_is_caught():
    def backward(q, k, v, d_out, *, bias=None, **options):
        given = {"q": q, "k": k, "v": v} | ({} if bias is None else {"bias": bias})
        found = vjp(lambda t: attention(**t, **options), given)[1](d_out)
        if bias is not None:
            found["bias"] = vjp(lambda b: attention(q[:, :1], k[:, :1], v[:, :1], bias=b, **options), bias)[1](d_out[:, :1])
        return found

    report = conform(attention, supports={"bias"}, backward=backward)
    assert [(finding.verdict, finding.question) for finding in report.findings] == [("FAILS", "gradients")], str(report)


def test_a_log_sum_exp_in_mixed_units_is_caught():
    def mixed(q, k, v, **options):
        out, lse = attention_with_lse(q, k, v, **options)
        top = (q @ np.repeat(k, q.shape[-3] // k.shape[-3], axis=-3).mT * q.shape[-1] ** -0.5).max(axis=-1)
        return out, (top * np.float32(np.log2(np.e)) + (lse - top)).astype(lse.dtype)

    report = conform(mixed, like="attention_with_lse", supports=set(), gradients=False)
    assert report.of("lse")[0].verdict == "FAILS"


def test_a_hazard_names_the_queries_that_it_reaches():
    report = conform(wrong_for_hidden_nan, supports={"mask", "causal", "bias"}, gradients=False)
    assert report.verdict == "CONFORMS", str(report)
    assert "NaN in the last of 5 keys and values reaches queries 0, 1, 2, 3, 4, from which `mask` hides it" in report.hazards
    assert "NaN in the last of 5 keys and values reaches queries 0, 1, 2, 3, from which `causal` hides it" in report.hazards
    assert not conform(attention, supports={"mask", "bias"}, gradients=False).hazards


def wrong_for_hidden_nan(q, k, v, mask=None, causal=False, bias=None):
    out = attention(q, k, v, mask=mask, causal=causal, bias=bias)
    return out + 0 * v.sum(axis=(-1, -2))[..., :1, None, None].astype(out.dtype)


def test_no_time_is_no_verdict_in_favour():
    report = conform(attention, seconds=1e-6)
    assert report.verdict == "CRASHED"
    assert "allow more seconds" in str(report)
    assert "output" not in report.tested


def test_too_few_problems_are_no_verdict_in_favour():
    def slow(q, k, v):
        time.sleep(0.1)
        return attention(q, k, v)

    report = conform(slow, seconds=1.0, gradients=False)
    assert report.verdict == "CRASHED"
    assert "allow more seconds" in str(report)


def hot(row):
    def kernel(*arrays, **options):
        out = row.definition(*arrays, **options)
        return (out[0] * np.float32(1.001), *out[1:]) if isinstance(out, tuple) else out * np.float32(1.001)
    return kernel


LIKE = [row for row in ROWS if row.name not in judge.SOFTMAX]


@pytest.mark.parametrize("row", LIKE, ids=[row.name for row in LIKE])
def test_every_mechanism_of_the_catalog_may_be_what_a_kernel_is_like(row):
    report = conform(row.definition, like=row.name)
    assert report.verdict == "CONFORMS", str(report)
    assert {"output", "gradients"} <= set(report.tested)
    assert conform(hot(row), like=row.name, gradients=False).verdict == "FAILS"


def test_the_gradient_of_a_gate_is_judged():
    twin = next(twin for twin in faults.MUSEUM if twin.name == "gates_do_not_learn_in_retention")
    report = conform(twin.breaks(find("retention").definition), like="retention")
    assert [(finding.verdict, finding.question) for finding in report.findings] == [("FAILS", "gradients")]


@pytest.mark.parametrize(("dtype", "own", "stricter"), [("bfloat16", "weights", "float32"), ("bfloat16", "all", "weights"),
                                                        ("float16", "all", "weights"), ("float32", "tf32", "float32")])
def test_a_class_of_arithmetic_holds_its_own_kernel_and_no_looser_one(dtype, own, stricter):
    assert classes.worst(dtype, own, own, 64) <= 0.8
    assert classes.worst(dtype, own, stricter, 64) > 1.0
