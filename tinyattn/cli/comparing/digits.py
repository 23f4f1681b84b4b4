"""The comparison on digits: one small image model, trained once with each mechanism of a grid."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

import numpy as np

from tinyattn.catalog import find
from tinyattn.catalog.blocks import BLOCKS
from tinyattn.cli.comparing.plan import Job, Plan, Report
from tinyattn.cli.comparing.table import print_table
from tinyattn.cli.ends import say
from tinyattn.cli.names import each
from tinyattn.cli.outputs import Line
from tinyattn.cli.training import Trained, Training
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import parameters
from tinyattn.models.digits import Digits, accuracy, nearest_mean_accuracy, read_digits, train_images
from tinyattn.models.image import ImageConfig, ImageModel
from tinyattn.models.train import Step

LEGEND = {
    "accuracy": "share of held-out images whose digit the model names",
    "parameters": "numbers that the model learns",
    "train/s": "images per second in training",
    "loss": "mean of the last 20 steps, in nats per image",
}
# A text model whose training step takes about as long: where a child process must time a step, it times one of these.
LIKE = DecoderConfig(width=64, layers=2, heads=4, kv_heads=4, hidden=128, context=16)


def chosen_blocks(names: str | None) -> list[str]:
    """Returns the mechanisms to compare; ValueError for a mechanism of which no image model can be built."""
    if names is None or names.strip().lower() == "all":
        return list(BLOCKS)
    rows = each(names, lambda name: find(name, suggested=[find(known) for known in BLOCKS]).name, "--mechanisms")
    for name in rows:
        if name not in BLOCKS:
            raise ValueError(f"{name}: no image model is built of it; known: {', '.join(BLOCKS)}")
    return rows


def digits_plan(given: argparse.Namespace) -> Plan:
    """Returns the plan: each mechanism is trained once and measured."""
    names = chosen_blocks(given.mechanisms)
    say("reading images of digits")
    digits = read_digits()
    images, held = len(digits.images), len(digits.held_images)
    settings = {"task": "digits", "steps": given.steps, "batch": given.batch, "seed": given.seed, "images": images, "held": held,
                "nearest_mean_accuracy": nearest_mean_accuracy(digits)}
    title = f"{held} held digits of {images + held}, {given.steps} steps of {given.batch} images, seed {given.seed}"
    jobs = [Job.of(training(name, digits, given), lambda: 0.0, partial(measured, name, digits, given.batch)) for name in names]
    return Plan(settings, title, LIKE, given.batch, jobs, print_digits, partial(digits_plan, given))


def training(name: str, digits: Digits, given: argparse.Namespace) -> Training:
    """Returns the training of an image model whose blocks are those of this name."""
    def begin(steps: int) -> Iterator[Step[ImageModel]]:
        model = ImageModel.create(ImageConfig(), np.random.default_rng(given.seed), block=BLOCKS[name])
        return train_images(model, digits, steps=steps, batch=given.batch, peak=given.rate,
                            rng=np.random.default_rng([given.seed, 1]))

    return Training(name, given.steps, begin, lambda loss: f"loss {loss:.2f}")


def measured(name: str, digits: Digits, batch: int, trained: Trained) -> Iterator[Line]:
    """Yields the one row of a mechanism."""
    model = trained.last.model
    yield {"mechanism": name, "accuracy": accuracy(model, digits.held_images, digits.held_labels),
           "parameters": sum(array.size for array in parameters(model).values()),
           "train_images_per_s": batch / float(np.median(trained.seconds)), "losses": trained.losses}


def print_digits(report: Report) -> None:
    """Prints what was measured."""
    rows = [[line["mechanism"], f"{line['accuracy']:.1%}", f"{line['parameters']:,}", f"{line['train_images_per_s']:,.0f}",
             f"{np.mean(line['losses'][-20:]):.2f}"] for line in report["rows"]]
    rows.append(["(nearest mean image)", f"{report['settings']['nearest_mean_accuracy']:.1%}", "", "", ""])
    print_table("mechanism", LEGEND, rows)
    if any(line["mechanism"] == "locally_grouped_attention" for line in report["rows"]):
        print("\nThe model of locally_grouped_attention is Twins: every second block attends\n"
              "by global_subsampled_attention instead.")
