"""tinyattn compare and time: what it says it will take, why it took longer, and on how many threads it runs."""

import argparse
import signal
import sys

import pytest

from tinyattn.cli import compare, main, plan, threads
from tinyattn.models.config import DecoderConfig

SMALL = ["--steps", "2", "--context", "16", "--batch", "2"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"the quick brown fox jumps over the lazy dog.\n" * 60)
    return str(path)


def jobs(*names, steps=3, log=None):
    log = [] if log is None else log
    return [plan.Job(name, lambda name=name: log.append(("step", name)), steps, lambda: 5.0,
                     lambda name=name: iter([{"mechanism": name}])) for name in names]


def planned(*names, **options):
    return plan.Plan({}, "title", DecoderConfig(), 8, jobs(*names, **options), print)


def test_the_estimate_adds_up_steps_and_the_rest(monkeypatch, capsys):
    log = []
    monkeypatch.setattr(threads, "seconds_of", lambda step: step() or 2.0)
    assert plan.estimated(planned("a", "b", log=log, steps=7), 1.0) == 7 * 1.0 + 5.0 + 7 * 2.0 + 5.0
    assert log == [("step", "b"), ("step", "b")]  # the first is not timed, as it compiles and finds memory
    monkeypatch.setattr(plan.time, "perf_counter", lambda: 200.0)
    clock = plan.Clock(began=100.0)
    assert [*plan.lines(planned("a", "b"), {2: 0.5}, clock)] == [{"mechanism": "a"}, {"mechanism": "b"}]
    assert clock.said == 100.0 + 3 * 0.5 + 5.0 + 3 * 2.0 + 5.0
    said = capsys.readouterr().err
    assert "this will take about 1 min 58 s, 1 min 40 s of which are over" in said
    assert said.splitlines()[-1] == "took 1 min 40 s"


@pytest.mark.parametrize(("said", "took", "worked", "words"), [
    (10.0, 14.9, 1.0, "took 15 s"), (10.0, 21.0, 9.0, "took 21 s, 2.1 times the estimate: the machine was busy, and this program had a processor for 43% of that time"),
    (10.0, 21.0, 20.0, "took 21 s, 2.1 times the estimate: the machine was busy with other work, or its processor slower than when the first steps were timed"),
    (0.1, 1.0, 1.0, "took 1 s"),
])
def test_what_took_longer_says_why(said, took, worked, words, monkeypatch):
    clock = plan.Clock(said, began=100.0, worked=50.0)
    monkeypatch.setattr(plan.time, "perf_counter", lambda: 100.0 + took)
    monkeypatch.setattr(plan.time, "process_time", lambda: 50.0 + worked)
    assert clock.verdict() == words


def test_threads_are_timed_one_and_all_and_the_faster_kept(monkeypatch, capsys):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    now = []
    step = plan.Job("a", lambda: now.append(limits()), 1, lambda: 0.0, lambda: iter([{"in": limits()}]))
    made = plan.Plan({}, "title", DecoderConfig(), 8, [step], print)
    taken = plan.first_steps(made)
    assert sorted(taken) == [1, 2]
    assert now[1] == [1, 1]  # the first is before any limit
    assert now[-1] == [2, 2]
    for seconds, number in (({1: 1.0, 2: 0.9}, 1), ({1: 1.0, 2: 0.5}, 2), ({1: 16.0, 2: 67.0}, 1)):
        assert [*plan.lines(made, seconds, plan.Clock())] == [{"in": [number, number]}]
        assert f"threads: {number} of 2; a step of a takes {1e3 * seconds[1]:.0f} ms with 1" in capsys.readouterr().err


def limits():
    """Returns the threads that products and kernels may use now."""
    from threadpoolctl import threadpool_info

    from tinyattn.kernels.threads import thread_count
    return [max(part["num_threads"] for part in threadpool_info() if part["user_api"] == "blas"), thread_count()]


def test_what_the_user_set_stands(monkeypatch, capsys):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    taken = plan.first_steps(planned("a"))
    assert len(taken) == 1
    assert [*plan.lines(planned("a"), taken, plan.Clock())] == [{"mechanism": "a"}]
    assert "threads: as OPENBLAS_NUM_THREADS says" in capsys.readouterr().err


def test_without_threadpoolctl_a_child_is_asked_and_may_do_the_work(text, capfd, monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert not threads.limitable()
    asked = []
    monkeypatch.setattr(threads, "in_child", lambda sizes: asked.append(sizes) or 1e-9)
    assert main(["compare", "--mechanisms", "attention", "--text", text, "--rate", "0.002", *SMALL]) == 0
    assert (asked[0]["context"], asked[0]["batch"], asked[0]["width"]) == (16, 2, compare.WIDTH)
    shown = capfd.readouterr()
    assert "threads: as OPENBLAS_NUM_THREADS says" in shown.err  # in the child
    assert shown.out.count("attention writes:") == 1
    monkeypatch.setattr(threads, "in_child", lambda sizes: 1e9)
    monkeypatch.setattr(threads, "again", lambda given: pytest.fail("all threads were faster"))
    assert main(["compare", "--mechanisms", "attention", "--text", text, *SMALL]) == 0


def test_a_child_times_a_step():
    sizes = {"width": 16, "layers": 1, "heads": 2, "kv_heads": 1, "hidden": 16, "context": 8, "batch": 2}
    assert 0.0 < threads.in_child(sizes) < float("inf")
    assert threads.in_child({**sizes, "width": 3}) == float("inf")  # sizes of which no model can be made


def test_an_interrupt_reaches_the_child_once(monkeypatch):
    sent = []

    class Process:
        waits = iter([KeyboardInterrupt, 130])

        def wait(self):
            what = next(self.waits)
            if what is KeyboardInterrupt:
                raise what
            return what

        send_signal = sent.append

    made = []
    monkeypatch.setattr(threads.subprocess, "Popen", lambda arguments, **options: made.append((arguments, options)) or Process())
    given = argparse.Namespace(command="compare", version=False, steps=3, json=None, text="a b")
    assert threads.again(given) == 130
    assert sent == [signal.SIGINT]
    (arguments, options), = made
    assert arguments[1:] == ["-m", "tinyattn", "compare", "--steps=3", "--text=a b"]
    assert options["env"]["OPENBLAS_NUM_THREADS"] == options["env"]["TINYATTN_THREADS"] == "1"
