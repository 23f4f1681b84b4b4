"""tinyattn compare --task digits: one small image model, trained once with each mechanism of a grid."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from tinyattn.catalog import find
from tinyattn.catalog.blocks import BLOCKS
from tinyattn.cli.compare_table import print_columns, print_legend
from tinyattn.cli.ends import say
from tinyattn.cli.names import each
from tinyattn.cli.plan import Job, Line, Plan
from tinyattn.cli.terminal import progress
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import parameters
from tinyattn.models.digits import Digits, Step, accuracy, nearest_mean_accuracy, read_digits, train_images
from tinyattn.models.image import ImageConfig, ImageModel

LEGEND = {
    "accuracy": "share of held images whose digit is named rightly",
    "parameters": "numbers that are learned",
    "train/s": "images per second in training",
    "loss": "mean of the last 20 steps, in nats per image",
}
# A text model whose step is about as large: by it threads are chosen where a child process must be asked.
LIKE = DecoderConfig(width=64, layers=2, heads=4, kv_heads=4, hidden=128, context=16)


def chosen_blocks(names: str | None) -> list[str]:
    """Returns the mechanisms to compare; ValueError for one that no image model can be built of."""
    if names is None or names.strip().lower() == "all":
        return list(BLOCKS)
    rows = each(names, lambda name: find(name, suggested=[find(known) for known in BLOCKS]).name, "--mechanisms")
    for name in rows:
        if name not in BLOCKS:
            raise ValueError(f"{name}: no image model is built of it; known: {', '.join(BLOCKS)}")
    return rows


def digits_settings(given: argparse.Namespace, digits: Digits) -> dict[str, Any]:
    """Returns what the report says of all rows."""
    return {"task": "digits", "steps": given.steps, "batch": given.batch, "seed": given.seed, "images": len(digits.images),
            "held": len(digits.held_images), "nearest_mean_accuracy": nearest_mean_accuracy(digits)}


def digits_plan(given: argparse.Namespace) -> Plan:
    """Returns the plan: each mechanism trained once and measured."""
    names = chosen_blocks(given.mechanisms)
    say("reading images of digits")
    digits = read_digits()
    settings = digits_settings(given, digits)
    title = (f"{settings['held']} held digits of {settings['images'] + settings['held']}, {given.steps} steps of {given.batch} "
             f"images, seed {given.seed}")
    jobs = [Job(name, stepping_images(name, digits, given), given.steps, lambda: 0.0, partial(measured, name, digits, given))
            for name in names]
    return Plan(settings, title, LIKE, given.batch, jobs, print_digits)


def steps_of(name: str, digits: Digits, given: argparse.Namespace) -> Iterator[Step]:
    """Yields the training steps of a new model."""
    model = ImageModel.create(ImageConfig(), np.random.default_rng(given.seed), block=BLOCKS[name])
    return train_images(model, digits, steps=given.steps, batch=given.batch, peak=given.rate,
                        rng=np.random.default_rng([given.seed, 1]))


def stepping_images(name: str, digits: Digits, given: argparse.Namespace) -> Callable[[], Step]:
    """Returns a function that takes the next training step, of one model after another."""
    steps = (step for _ in count() for step in steps_of(name, digits, given))
    return lambda: next(steps)


def measured(name: str, digits: Digits, given: argparse.Namespace) -> Iterator[Line]:
    """Yields one mechanism's line of the report."""
    losses, seconds = [], []
    with progress(name, given.steps) as bar:
        for step in steps_of(name, digits, given):
            losses.append(step.loss)
            seconds.append(step.seconds)
            bar.step(step.number + 1, f"loss {step.loss:.2f}")
    yield {"mechanism": name, "accuracy": accuracy(step.model, digits.held_images, digits.held_labels),
           "parameters": sum(array.size for array in parameters(step.model).values()),
           "train_images_per_s": given.batch / float(np.median(seconds)), "losses": losses}


def print_digits(report: dict[str, Any]) -> None:
    """Prints what was measured."""
    rows = [[line["mechanism"], f"{line['accuracy']:.1%}", f"{line['parameters']:,}", f"{line['train_images_per_s']:,.0f}",
             f"{np.mean(line['losses'][-20:]):.2f}"] for line in report["rows"]]
    rows.append(["(nearest mean image)", f"{report['settings']['nearest_mean_accuracy']:.1%}", "", "", ""])
    print_columns(["mechanism", *LEGEND], rows)
    print_legend(LEGEND)
    if any(line["mechanism"] == "locally_grouped_attention" for line in report["rows"]):
        print("\nlocally_grouped_attention is Twins: block by block in turn,\n"
              "its windows and the means of global_subsampled_attention")
