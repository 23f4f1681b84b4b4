"""Threads of tinyattn compare and train: one or all, whichever makes a step faster, or as the user set them."""

import argparse
import signal
import sys
import threading

import pytest

from tinyattn.cli import compare, main, terminal, threads
from tinyattn.cli.comparing import plan
from tinyattn.models.config import DecoderConfig

SMALL = ["--steps", "2", "--context", "16", "--batch", "2"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"the quick brown fox jumps over the lazy dog.\n" * 60)
    return str(path)


def planned(step, work):
    return plan.Plan({}, "title", DecoderConfig(), 8, [plan.Job("a", step, 1, lambda: 0.0, lambda: iter([work()]))], print, lambda: None)


def test_threads_are_timed_one_and_all_and_the_faster_kept(monkeypatch, capsys):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    now = []
    made = planned(lambda: now.append(limits()), lambda: {"in": limits()})
    taken = plan.first_steps(made)
    assert sorted(taken) == [1, 2]
    assert now[1] == [1, 1]  # the first is before any limit
    assert now[-1] == [2, 2]
    for seconds, number in (({1: 1.0, 2: 0.9}, 1), ({1: 1.0, 2: 0.5}, 2), ({1: 16.0, 2: 67.0}, 1)):
        assert [*plan.lines(made, seconds, plan.Clock())] == [{"in": [number, number]}]
        assert f"threads: {number} of 2; a step of a takes {1e3 * seconds[1]:.0f} ms with 1" in capsys.readouterr().err


def test_all_threads_are_not_timed_for_longer_than_one(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    now, taken = [0.0], []

    def step():
        taken.append(limits()[0])
        now[0] += {1: 0.125, 2: lengths}[limits()[0]]

    monkeypatch.setattr(threads.time, "perf_counter", lambda: now[0])
    for lengths, steps in ((4.0, 1), (0.25, 2), (0.0625, 3)):
        taken.clear()
        assert threads.timed(step, "a") == {1: 0.125, 2: lengths}
        assert taken == [1] * 4 + [2] * steps  # of those of one thread the first is not timed


def test_what_takes_long_is_said_and_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr("tinyattn.kernels.tiles.jit.cache_folder", lambda: tmp_path)
    said = threading.Event()
    monkeypatch.setattr(terminal, "SILENCE", 0.0)
    monkeypatch.setattr(terminal, "say", lambda line: print(line) or said.set())
    for compiled in (False, True):
        assert threads.compiling() is not compiled
        said.clear()
        threads.timed(lambda: said.wait(30), "a")
        assert ("kernels are compiled first" in capsys.readouterr().out) is not compiled
        (tmp_path / "kernel.nbi").write_bytes(b"")
    monkeypatch.setattr("tinyattn.cli.threads.fastest.kernel", lambda name=None: None)
    assert not threads.compiling()


def limits():
    """Returns the threads that products and kernels may use now."""
    from threadpoolctl import threadpool_info

    from tinyattn.kernels.tiles.threads import thread_count
    return [max(part["num_threads"] for part in threadpool_info() if part["user_api"] == "blas"), thread_count()]


def test_what_the_user_set_stands(monkeypatch, capsys):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    made = planned(lambda: None, lambda: {"mechanism": "a"})
    taken = plan.first_steps(made)
    assert len(taken) == 1
    assert [*plan.lines(made, taken, plan.Clock())] == [{"mechanism": "a"}]
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
