"""The comparison on synthetic tasks: one small model per mechanism, task and seed, and the share of questions that it answers."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tinyattn.caches.state import StateCache
from tinyattn.catalog import MIXERS, find_mixer
from tinyattn.catalog.row import Row
from tinyattn.cli import threads
from tinyattn.cli.comparing.learner import SIZES, learning
from tinyattn.cli.comparing.plan import duration
from tinyattn.cli.comparing.pool import processes_for, workers
from tinyattn.cli.comparing.table import print_table
from tinyattn.cli.comparing.tasks import PAIRS, tasks
from tinyattn.cli.ends import say
from tinyattn.cli.names import canonical, each
from tinyattn.cli.outputs import Line, replaceable, write_json
from tinyattn.cli.terminal import paragraph, progress
from tinyattn.layers.inputs import Input, Parameter, between
from tinyattn.ops.activation import sigmoid

SEEDS = 3
# A task is solved from this share of right answers on, and failed up to so much more than a guess is right.
SOLVED, ABOVE = 0.95, 0.1
# What follows the name of a mechanism whose strengths go up to 2, where its row has them up to 1.
TWICE = ", beta to 2"
MARKS = {"solved": "+", "failed": "-", "between": "~", "unfinished": "?"}
# The report is written anew after so many seconds.
PATIENCE = 10.0


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


def outcomes(jobs: Sequence[Job], processes: int) -> Iterator[Line]:
    """Yields the outcome of each model as it is there, from as many processes, each with one thread."""
    if processes == 1:
        with threads.limited(1):
            yield from map(learnt, jobs)
        return
    with workers(processes) as each:
        for _, line in each(learnt, jobs):
            yield line


def chosen_tasks(text: str | None, pairs: int) -> list[str]:
    """Returns the names of the tasks to compare on; ValueError for an unknown one."""
    known = tasks(pairs)
    return list(known) if text is None or text.strip().lower() == "all" else each(
        text, lambda name: canonical(name, tuple(known), "task"), "--tasks")


def settings_of(given: argparse.Namespace) -> dict[str, Any]:
    """Returns what the report says of the models: seeds, sizes, and the tasks with their chance and their steps."""
    pairs, seeds = given.pairs or PAIRS, [given.seed + n for n in range(given.seeds or SEEDS)]
    names, known = chosen_tasks(given.tasks, pairs), tasks(pairs)
    return {"task": "recall", "seeds": seeds, "pairs": pairs, "model": SIZES, "solved": SOLVED, "failed_above_chance": ABOVE,
            "tasks": {name: {"says": known[name].says, "chance": known[name].chance, "steps": known[name].steps} for name in names}}


def finished(file: str, settings: Mapping[str, Any], jobs: Sequence[Job]) -> list[Line]:
    """Returns those of the models that are in a report already; ValueError for a report of other models."""
    with open(file, encoding="utf-8") as opened:
        try:
            report = json.load(opened)
            before, rows = report["settings"], report["rows"]
            tasks_before = {**before["tasks"]}
            found = {(line["mechanism"], line["task"], line["pairs"], line["seed"]): line for line in rows}
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"--resume: {file} is not a report of compare --task recall") from None
    same = {"pairs": settings["pairs"], "model": settings["model"],
            "tasks": {name: says for name, says in settings["tasks"].items() if name in tasks_before}}
    other = {**before, "tasks": {name: says for name, says in tasks_before.items() if name in settings["tasks"]}}
    for name, value in same.items():
        if other.get(name) != value:
            raise ValueError(f"--resume: {file} has other models: its {name} are {other.get(name)}, these have {value}")
    wanted = [(job.name, job.task, job.pairs, job.seed) for job in jobs]
    return [found[key] for key in wanted if key in found]


def compare_recall(given: argparse.Namespace, report: dict[str, Any]) -> int:
    """Trains all models and fills the report; prints the table, when interrupted that of the models that are done."""
    settings = report["settings"] = settings_of(given)
    rows = list(MIXERS) if given.mechanisms is None or given.mechanisms.strip().lower() == "all" else each(
        given.mechanisms, find_mixer, "--mechanisms")
    jobs = jobs_of(rows, [*settings["tasks"]], settings["pairs"], settings["seeds"])
    if given.resume:
        report["rows"] += finished(given.resume, settings, jobs)
        say(f"{len(report['rows'])} of {len(jobs)} models are in {given.resume}")
    done = {(line["mechanism"], line["task"], line["seed"]) for line in report["rows"]}
    missing = [job for job in jobs if (job.name, job.task, job.seed) not in done]
    processes, code, started = processes_for(len(missing)), 0, time.perf_counter()
    say(f"{len(missing)} models, {len(settings['tasks'])} tasks, {len(settings['seeds'])} seeds, over {processes} processes")
    try:
        with progress("training", max(len(missing), 1)) as bar:
            written = started
            for number, line in enumerate(outcomes(missing, processes), 1):
                report["rows"].append(line)
                bar.step(number, f"{line['mechanism']} {line['task']}")
                if given.json and time.perf_counter() - written > PATIENCE and replaceable(given.json):
                    write_json(report, given.json)
                    written = time.perf_counter()
    except KeyboardInterrupt:
        code = 130
    report["table"] = table_of(jobs, report)
    print_recall(report)
    say(f"took {duration(time.perf_counter() - started)}")
    return code


def table_of(jobs: Sequence[Job], report: Mapping[str, Any]) -> list[Line]:
    """Returns per mechanism and task the mean share of right answers over the seeds, None without any, and what it amounts to."""
    settings, found = report["settings"], dict[tuple[str, str], list[float]]()
    for line in report["rows"]:
        found.setdefault((line["mechanism"], line["task"]), []).append(line["accuracy"])
    table = []
    for name in dict.fromkeys(job.name for job in jobs):
        for task, says in settings["tasks"].items():
            shares = found.get((name, task), [])
            table.append({"mechanism": name, "task": task, "accuracy": sum(shares) / len(shares) if shares else None,
                          "verdict": verdict(shares, says["chance"], len(settings["seeds"]))})
    return table


def print_recall(report: Mapping[str, Any]) -> None:
    """Prints the mean share of right answers per mechanism and task, with the mark of its verdict."""
    settings, lines = report["settings"], dict[str, list[str]]()
    known = {name: tasks(settings["pairs"])[name] for name in settings["tasks"]}
    for line in report["table"]:
        shown = "" if line["accuracy"] is None else f"{line['accuracy']:.2f} {MARKS[line['verdict']]}"
        lines.setdefault(line["mechanism"], [line["mechanism"]]).append(shown)
    legend = {name: f"{task.says}; a guess, {task.guess}, is right with {task.chance:.3f}" for name, task in known.items()}
    print_table("mechanism", legend, [*lines.values(), ["(chance)", *(f"{task.chance:.2f}  " for task in known.values())]])
    print()
    seeds = len(settings["seeds"])
    paragraph(f"The mean share of right answers over {seeds} seed{'s' * (seeds > 1)}. + solved: at least {SOLVED} with every seed. "
              f"- failed: at most {ABOVE} above chance with every seed. ~ between: neither. ? not every seed is trained yet.")


def verdict(found: Sequence[float], chance: float, seeds: int) -> str:
    """Returns what the shares of right answers of all seeds amount to.

    >>> verdict([1.0, 0.95], 0.5, 2), verdict([0.5, 0.96], 0.5, 2), verdict([0.5, 0.6], 0.5, 2), verdict([1.0], 0.5, 2)
    ('solved', 'between', 'failed', 'unfinished')
    """
    if len(found) < seeds:
        return "unfinished"
    return "solved" if min(found) >= SOLVED else "failed" if max(found) <= chance + ABOVE else "between"
