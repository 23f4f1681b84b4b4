"""The comparison on synthetic tasks: one small model per mechanism, task and seed, and the share of questions that it answers."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from typing import Any, NamedTuple

from tinyattn.caches.state import StateCache
from tinyattn.catalog import MIXERS, find_mixer
from tinyattn.catalog.row import Row
from tinyattn.cli import threads
from tinyattn.cli.comparing.learner import learning
from tinyattn.cli.comparing.table import print_table
from tinyattn.cli.comparing.tasks import PAIRS, Asked, tasks
from tinyattn.cli.ends import say
from tinyattn.cli.names import canonical, each
from tinyattn.cli.outputs import Line
from tinyattn.cli.terminal import progress
from tinyattn.layers.inputs import Input, Parameter, between
from tinyattn.ops.activation import sigmoid

SEEDS = 3
# A task is solved from this share of right answers on, and failed up to so much more than a guess is right.
SOLVED, ABOVE = 0.95, 0.1
# What follows the name of a mechanism whose strengths go up to 2, where its row has them up to 1.
TWICE = ", beta to 2"


class Job(NamedTuple):
    """One model: the mechanism, whether its strengths go up to 2, the task with its number of pairs, and the seed."""

    mechanism: str
    twice: bool
    task: str
    pairs: int
    seed: int

    @property
    def name(self) -> str:
        """The mechanism as the table names it."""
        return self.mechanism + (TWICE if self.twice else "")


def mixing_of(row: Row, twice: bool) -> dict[str, Any]:
    """Returns how a model mixes its tokens by a mechanism: without rotary positions where it keeps a state in place of the keys."""
    mixing, kept = row.mixing, row.cache() if row.cache is not None else None
    inputs = tuple(replace(x, activation=between(0.0, 2.0)) if twice and of_strength(x) else x for x in mixing["inputs"])
    return {**mixing, "inputs": inputs, "rotary": mixing["rotary"] and not isinstance(kept, StateCache)}


def learnt(job: Job) -> Line:
    """Trains one model and returns what it answers, after how many steps and seconds."""
    task, started, steps, found = tasks(job.pairs)[job.task], time.perf_counter(), 0, 0.0
    try:
        *_, (steps, found) = learning(task, mixing_of(find_mixer(job.mechanism), job.twice), job.seed)
    except FloatingPointError:
        pass  # the loss left the numbers: the model answers nothing
    return {**job._asdict(), "mechanism": job.name, "accuracy": found, "steps": steps, "seconds": time.perf_counter() - started}


def of_strength(given: Input | Parameter) -> bool:
    """Returns whether an argument weighs what a token writes, once and up to 1; delta products have theirs up to 2 anyway."""
    return isinstance(given, Input) and (given.name, given.axes, given.activation) == ("beta", "kv_heads", sigmoid)


def jobs_of(rows: Sequence[Row], names: Sequence[str], pairs: int, seeds: Sequence[int]) -> list[Job]:
    """Returns all models to train; a mechanism with one strength up to 1 per token is also trained with strengths up to 2."""
    kinds = [(row.name, twice) for row in rows for twice in ((False, True) if any(map(of_strength, row.inputs)) else (False,))]
    return [Job(mechanism, twice, task, pairs, seed) for mechanism, twice in kinds for task in names for seed in seeds]


def quiet_child() -> None:
    """Leaves Ctrl-C to the process that began this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def outcomes(jobs: Sequence[Job], processes: int) -> Iterator[Line]:
    """Yields the outcome of each model as it is there, from as many processes, each with one thread."""
    if processes == 1 or len(jobs) == 1:
        with threads.limited(1):
            yield from map(learnt, jobs)
        return
    before = dict(os.environ)
    os.environ.update({name: "1" for name in (*threads.VARIABLES, "TINYATTN_THREADS")})
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), quiet_child)
    try:
        waiting = [pool.submit(learnt, job) for job in jobs]
        for done in as_completed(waiting):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)
        os.environ.clear()
        os.environ.update(before)


def chosen_tasks(text: str | None, pairs: int) -> list[str]:
    """Returns the names of the tasks to compare on; ValueError for an unknown one."""
    known = tasks(pairs)
    return list(known) if text is None or text.strip().lower() == "all" else each(
        text, lambda name: canonical(name, tuple(known), "task"), "--tasks")


def compare_recall(given: argparse.Namespace, report: dict[str, Any]) -> int:
    """Trains all models and fills the report; prints the table, when interrupted that of the models that are done."""
    pairs, seeds = given.pairs or PAIRS, [given.seed + n for n in range(given.seeds or SEEDS)]
    names, known = chosen_tasks(given.tasks, pairs), tasks(pairs)
    rows = list(MIXERS) if given.mechanisms is None or given.mechanisms.strip().lower() == "all" else each(
        given.mechanisms, find_mixer, "--mechanisms")
    jobs, processes = jobs_of(rows, names, pairs, seeds), threads.cores()
    report["settings"] = {"task": "recall", "seeds": seeds, "pairs": pairs, "tasks": {
        name: {"says": known[name].says, "chance": known[name].chance, "steps": known[name].steps} for name in names}}
    say(f"{len(jobs)} models, {len(names)} tasks, {len(seeds)} seeds, over {min(processes, len(jobs))} processes")
    code, started = 0, time.perf_counter()
    try:
        with progress("training", len(jobs)) as bar:
            for number, line in enumerate(outcomes(jobs, processes), 1):
                report["rows"].append(line)
                bar.step(number, f"{line['mechanism']} {line['task']}")
    except KeyboardInterrupt:
        code = 130
    print_recall(jobs, report, known)
    say(f"took {time.perf_counter() - started:.0f} s")
    return code


def print_recall(jobs: Sequence[Job], report: dict[str, Any], known: Any) -> None:
    """Prints the mean share of right answers per mechanism and task, with a mark where all seeds solve it or all fail."""
    names = list(report["settings"]["tasks"])
    lines = []
    for mechanism in dict.fromkeys(job.name for job in jobs):
        cells = []
        for name in names:
            found = [line["accuracy"] for line in report["rows"] if (line["mechanism"], line["task"]) == (mechanism, name)]
            cells.append(cell(found, known[name]))
        lines.append([mechanism, *cells])
    print_table("mechanism", {name: f"{known[name].says}; a guess, {known[name].guess}, is right with {known[name].chance:.3f}"
                              for name in names}, [*lines, ["(chance)", *(f"{known[name].chance:.2f}  " for name in names)]])
    print(f"\nThe mean share of right answers over {len(report['settings']['seeds'])} seeds. + solved: at least {SOLVED} with every "
          f"seed.\n- failed: at most {ABOVE} above chance with every seed.")


def cell(found: Sequence[float], task: Asked) -> str:
    """Returns the mean of some shares of right answers, with the mark of what all of them are.

    >>> cell([1.0, 0.96], tasks()["parity"]), cell([0.5, 0.96], tasks()["parity"]), cell([0.5, 0.6], tasks()["parity"])
    ('0.98 +', '0.73  ', '0.55 -')
    """
    if not found:
        return ""
    mark = "+" if min(found) >= SOLVED else "-" if max(found) <= task.chance + ABOVE else " "
    return f"{sum(found) / len(found):.2f} {mark}"
