"""tinyattn compare: trains one small model with each mechanism, on real text or on images of digits, and compares them."""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.catalog import MIXERS, find_mixer
from tinyattn.catalog.row import Row
from tinyattn.cli import memory, threads
from tinyattn.cli.comparing.caches import caches_plan
from tinyattn.cli.comparing.caches import chosen as chosen_caches
from tinyattn.cli.comparing.decoders import Task
from tinyattn.cli.comparing.digits import digits_plan
from tinyattn.cli.comparing.plan import Clock, Plan, first_steps, lines, lines_of_workers
from tinyattn.cli.comparing.pool import processes_for
from tinyattn.cli.comparing.recall import SEEDS, compare_recall
from tinyattn.cli.comparing.tasks import PAIRS
from tinyattn.cli.comparing.text import text_plan
from tinyattn.cli.ends import REFUSED, reason, say
from tinyattn.cli.names import each
from tinyattn.cli.outputs import check_outputs, check_picture, write_json, write_picture
from tinyattn.cli.terminal import positive, seed
from tinyattn.models import text as texts
from tinyattn.models.config import DecoderConfig

# With these, two mechanisms take under two minutes on two slow cores and end well below the bigram.
WIDTH, LAYERS, CONTEXT, STEPS, RATE = 64, 2, 128, 1000, 8e-3
# Two heads of 32 channels learn more in the same time than four of 16; a base of 10,000 hardly turns them within 128 tokens.
HEADS, KV_HEADS, BASE = 2, 1, 1000.0
# Bytes of text per step, unless a batch is given.
BYTES = 1024
DIGITS = {"batch": 32, "steps": 300, "rate": 1e-2}


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--task", type=str.lower, choices=("text", "digits", "recall"), default="text",
                        help="text (the default), the 8 x 8 digits of scikit-learn (needs the extra data), or recall: synthetic tasks")
    parser.add_argument("--mechanisms", metavar="A,B",
                        help="names separated by commas, or 'all'; default: attention,linear_attention; "
                        "on digits and recall: all")
    parser.add_argument("--tasks", metavar="A,B",
                        help="with --task recall: some of recall, copy, induction, parity, s3, needle (default: all)")
    parser.add_argument("--pairs", type=positive, metavar="N", help=f"with --task recall: keys in a text (default {PAIRS})")
    parser.add_argument("--seeds", type=positive, metavar="N",
                        help=f"with --task recall: models per mechanism and task (default {SEEDS})")
    parser.add_argument("--resume", metavar="FILE",
                        help="with --task recall: a report written by --json, whose models are not trained again")
    parser.add_argument("--caches", metavar="A,B", help="decode through each of these caches, or 'all', and compare them")
    parser.add_argument("--steps", type=positive, metavar="N", help=f"training steps (default {STEPS}; on digits {DIGITS['steps']})")
    parser.add_argument("--context", type=positive, metavar="N", help=f"bytes per sequence (default {CONTEXT})")
    parser.add_argument("--batch", type=positive, metavar="N",
                        help=f"sequences per step (default: as many as have {BYTES:,} bytes); on digits, images per step "
                        f"(default {DIGITS['batch']})")
    parser.add_argument("--width", type=positive, metavar="N", help=f"width of the model, a multiple of {2 * HEADS} (default {WIDTH})")
    parser.add_argument("--layers", type=positive, metavar="N", help=f"layers of the model (default {LAYERS})")
    parser.add_argument("--rate", type=rate, metavar="R",
                        help=f"highest learning rate (default {RATE:g}; on digits {DIGITS['rate']:g})")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="seed of weights, batches and samples (default 0)")
    parser.add_argument("--text", metavar="FILE", help="a file, or 'shakespeare'; default: the standard library's source")
    parser.add_argument("--json", metavar="FILE", help="write everything that is measured to this file")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the losses (needs matplotlib)")


def rate(text: str) -> float:
    """Returns an option as a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0.0):
        raise argparse.ArgumentTypeError(f"expected a finite number above 0, got {text!r}")
    return number


def chosen(names: str) -> list[Row]:
    """Returns the rows to compare; ValueError for a name that is unknown, given twice, or not of a causal token mixer."""
    return [*MIXERS] if names.strip().lower() == "all" else each(names, find_mixer, "--mechanisms")


def run(given: argparse.Namespace) -> int:
    """Trains, measures and prints the table; when interrupted, the rows that are done."""
    check(given)
    clock = Clock()
    memory.keep()
    if given.task == "recall":
        return recalled(given)
    plan = digits_plan(with_defaults(given)) if given.task == "digits" else planned(with_defaults(given))
    report: dict[str, Any] = {"settings": plan.settings, "machine": machine(), "rows": []}
    code = 0
    clock.processes = plan.settings["processes"] = processes_for(len(plan.jobs))
    try:
        if clock.processes > 1:
            rows = lines_of_workers(plan, clock.processes, clock)
        else:
            taken = first_steps(plan)
            if not threads.limitable() and len(taken) > 1 and threads.chosen(taken) == 1:
                return threads.again(given)
            rows = lines(plan, taken, clock)
        for line in rows:
            report["rows"].append(line)
    except KeyboardInterrupt:
        code = 130
    except (FloatingPointError, ChildProcessError) as error:
        if not report["rows"]:
            raise
        code = REFUSED
        say(f"tinyattn compare: {reason(error)}")
    names = [job.name for job in plan.jobs]
    report["rows"].sort(key=lambda line: names.index(line["mechanism"]))
    print(plan.title)
    if clock.processes > 1:
        print(f"speeds: of one thread, while {clock.processes} models were at work")
    plan.show(report)
    if given.json:
        write_json(report, given.json)
    if given.plot and report["rows"]:
        plot(report, given.plot)
    return code


def recalled(given: argparse.Namespace) -> int:
    """Compares on the synthetic tasks and writes the report."""
    report: dict[str, Any] = {"machine": machine(), "rows": []}
    code = compare_recall(given, report)
    if given.json:
        write_json(report, given.json)
    return code


def check(given: argparse.Namespace) -> None:
    """Raises ValueError for options that contradict each other, and for files that cannot be written."""
    check_outputs(json=given.json, plot=given.plot)
    check_picture(given.plot)
    if given.plot and given.caches:
        raise ValueError("--plot: draws losses, which --caches does not compare; leave one of them out")
    of_text = ("caches", "text", "context", "width", "layers")
    only = [name for name in ("tasks", "pairs", "seeds", "resume") if getattr(given, name)]
    if only and given.task != "recall":
        raise ValueError(f"--{only[0]}: is an option of --task recall")
    fixed = [name for name in (*of_text, "steps", "batch", "rate", "plot") if getattr(given, name)]
    if given.task == "recall" and fixed:
        raise ValueError(f"--task recall: each task has texts and a model of its own; leave --{fixed[0]} out")
    if given.task == "digits" and any(getattr(given, name) for name in of_text):
        raise ValueError("--task digits: images have no caches and no text, and a model of their own; "
                         "leave --caches, --text and --context out, and --width and --layers")


def with_defaults(given: argparse.Namespace) -> argparse.Namespace:
    """Returns the options, with the defaults of the task for those that were not given."""
    if given.task == "digits":
        defaults: dict[str, Any] = DIGITS
    else:
        context = given.context or CONTEXT
        defaults = {"mechanisms": "attention,linear_attention", "context": context, "batch": max(BYTES // context, 1),
                    "steps": STEPS, "rate": RATE, "width": WIDTH, "layers": LAYERS}
    return argparse.Namespace(**{name: defaults.get(name) if value is None else value for name, value in vars(given).items()})


def planned(given: argparse.Namespace) -> Plan:
    """Returns the plan of a comparison on text, with every option checked before anything is trained."""
    if given.context < 2:
        raise ValueError(f"--context: expected 2 or more, as a single byte has nothing to attend to, got {given.context}")
    if given.width % (2 * HEADS):
        raise ValueError(f"--width: expected a multiple of {2 * HEADS}, for {HEADS} heads with even head_dim, got {given.width}")
    memory.check_batch(given.batch, given.context)
    rows = chosen(given.mechanisms)
    config = DecoderConfig(width=given.width, layers=given.layers, heads=HEADS, kv_heads=KV_HEADS, hidden=2 * given.width,
                           context=given.context, base=BASE)
    if given.caches:
        chosen_caches(rows, given.caches, config.context)
    say(f"reading {given.text or 'the source of the standard library'}")
    training, held = texts.split(texts.read_text(given.text), context=config.context)
    settings = {"steps": given.steps, "context": config.context, "batch": given.batch, "rate": given.rate, "seed": given.seed,
                "text": given.text or "standard library", "width": config.width, "layers": config.layers,
                "parameters": config.parameters, "bigram_bits_per_byte": texts.bigram_bits_per_byte(training, held)}
    title = (f"{config.parameters:,} parameters, {given.steps} steps of {given.batch} x {config.context} bytes, seed {given.seed}\n"
             f"text: {settings['text']}")
    made = caches_plan if given.caches else text_plan
    return made([row.name for row in rows], Task(config, training, held, given), settings, title)


def machine() -> dict[str, Any]:
    """Returns the date, the machine and the versions that the report names."""
    return {"date": f"{datetime.date.today()}", "processor": platform.machine(), "processors": os.cpu_count(),
            "python": platform.python_version(), "numpy": np.__version__, "kernels": fastest.kernel() is not None}


def plot(report: dict[str, Any], path: str) -> None:
    """Draws the losses of all mechanisms."""
    from tinyattn.plot import losses
    figure = losses({line["mechanism"]: line["losses"] for line in report["rows"]}, bar=report["settings"].get("bigram_bits_per_byte"),
                    unit="byte" if "bigram_bits_per_byte" in report["settings"] else "digit")
    write_picture(figure, path)
