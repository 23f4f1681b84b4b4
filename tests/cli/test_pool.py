"""Worker processes of tinyattn compare: how many there are, what they yield, and that no one outlives an interrupt."""

import multiprocessing
import os
import time

import pytest

from tinyattn.cli import threads
from tinyattn.cli.comparing import plan
from tinyattn.cli.comparing.pool import processes_for, workers
from tinyattn.models.config import DecoderConfig


@pytest.mark.parametrize(("cores", "chosen", "jobs", "processes"), [
    (4, None, 3, 3), (4, None, 9, 4), (4, "1", 9, 4), (4, "4", 9, 1), (1, None, 9, 1), (4, None, 0, 1)])
def test_there_is_one_process_per_core_unless_the_user_wants_several_threads(cores, chosen, jobs, processes, monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "cores", lambda: cores)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    assert processes_for(jobs) == processes


def test_an_interrupt_ends_workers_in_the_middle_of_their_job_and_keeps_what_is_done():
    before, started, done = dict(os.environ), time.perf_counter(), []
    with pytest.raises(KeyboardInterrupt), workers(2) as each:
        for job, outcome in each(time.sleep, [0, 600]):
            done.append((job, outcome))
            raise KeyboardInterrupt
    assert done == [(0, None)]
    assert time.perf_counter() - started < 300
    assert multiprocessing.active_children() == []
    assert dict(os.environ) == before


def test_the_error_of_a_job_is_raised_and_a_worker_that_dies_is_no_riddle():
    with pytest.raises(ChildProcessError, match="a worker process was killed"), workers(1) as each:
        assert [*each(abs, [-3])] == [(-3, 3)]
        with pytest.raises(TypeError, match="bad operand"):
            [*each(abs, ["3"])]
        [*each(os._exit, [1])]


def planned(*works):
    jobs = [plan.Job(f"job{number}", lambda: None, 3, lambda: 5.0, work) for number, work in enumerate(works)]
    return plan.Plan({}, "title", DecoderConfig(), 8, jobs, print, lambda: planned(*works))


def diverging():
    yield {"row": 1}
    raise FloatingPointError("the loss is nan")


def test_a_job_that_diverges_does_not_keep_the_others_from_their_work(monkeypatch, capsys):
    in_place(monkeypatch, [])
    made = planned(diverging, lambda: iter([{"row": 2}]))
    for rows in (plan.lines(made, {1: 0.5}, plan.Clock()), plan.lines_of_workers(made, 2, plan.Clock())):
        found = []
        with pytest.raises(FloatingPointError, match="^job0: the loss is nan$"):
            for line in rows:
                found.append(line)
        assert found == [{"row": 1}, {"row": 2}]


def test_workers_begin_with_the_longest_job_and_the_estimate_divides_the_work(monkeypatch, capsys):
    log = []
    in_place(monkeypatch, log)
    monkeypatch.setattr(plan, "seconds_in_worker", lambda again, number: [10.0, 30.0, 20.0][number])
    monkeypatch.setattr(plan.time, "perf_counter", lambda: 100.0)
    clock = plan.Clock(began=100.0)
    assert [*plan.lines_of_workers(planned(*(lambda n=n: iter([n]) for n in range(3))), 2, clock)] == [1, 2, 0]
    assert log == [[0, 1, 2], [1, 2, 0]]
    assert clock.said == 30.0
    said = capsys.readouterr().err
    assert "2 models at a time, each in a process of its own with one thread" in said
    assert "this will take about 30 s" in said


def in_place(monkeypatch, log):
    """Lets jobs run in this process, in place of workers, and logs their order."""
    def each(function, jobs):
        log.append([*jobs])
        return ((job, function(job)) for job in log[-1])

    class Workers:
        def __init__(self, processes):
            pass

        def __enter__(self):
            return each

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(plan, "workers", Workers)
