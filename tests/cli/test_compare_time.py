"""tinyattn compare and time: what it says it will take, and why it took longer."""

import pytest

from tinyattn.cli import threads
from tinyattn.cli.comparing import plan
from tinyattn.models.config import DecoderConfig


def jobs(*names, steps=3, log=None):
    log = [] if log is None else log
    return [plan.Job(name, lambda name=name: log.append(("step", name)), steps, lambda: 5.0,
                     lambda name=name: iter([{"mechanism": name}])) for name in names]


def planned(*names, **options):
    return plan.Plan({}, "title", DecoderConfig(), 8, jobs(*names, **options), print, lambda: None)


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
