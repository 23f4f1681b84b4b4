"""tinyattn compare --task digits: one small image model, trained once with each mechanism of a grid."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyattn.catalog import find
from tinyattn.catalog.blocks import BLOCKS
from tinyattn.cli.terminal import progress, table
from tinyattn.models.decoder import parameters
from tinyattn.models.digits import Digits, accuracy, nearest_mean_accuracy, read_digits, train_images
from tinyattn.models.image import ImageConfig, ImageModel

HEADER = ["mechanism", "accuracy", "parameters", "train img/s", "last loss"]


def chosen_blocks(names: str | None) -> list[str]:
    """Returns the mechanisms to compare; ValueError for one that no image model can be built of."""
    if names in (None, "all"):
        return list(BLOCKS)
    rows = [find(name.strip()).name for name in str(names).split(",")]
    for name in rows:
        if name not in BLOCKS:
            raise ValueError(f"{name}: no image model is built of it; known: {', '.join(BLOCKS)}")
    return rows


def digits_settings(given: argparse.Namespace, digits: Digits) -> dict[str, Any]:
    """Returns what the report says of all rows."""
    return {"task": "digits", "steps": given.steps, "batch": given.batch, "seed": given.seed, "images": len(digits.images),
            "held": len(digits.held_images), "nearest_mean_accuracy": nearest_mean_accuracy(digits)}


def compare_digits(given: argparse.Namespace) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Returns the settings, and the lines of the report as they are measured."""
    names, digits = chosen_blocks(given.mechanisms), read_digits()
    return digits_settings(given, digits), (measured(name, digits, given) for name in names)


def measured(name: str, digits: Digits, given: argparse.Namespace) -> dict[str, Any]:
    """Returns one mechanism's line of the report."""
    model = ImageModel.create(ImageConfig(), np.random.default_rng(given.seed), block=BLOCKS[name])
    losses, seconds = [], []
    with progress(name, given.steps) as bar:
        for step in train_images(model, digits, steps=given.steps, batch=given.batch, rng=np.random.default_rng([given.seed, 1])):
            model = step.model
            losses.append(step.loss)
            seconds.append(step.seconds)
            bar.step(step.number + 1, f"loss {step.loss:.2f}")
    return {"mechanism": name, "accuracy": accuracy(model, digits.held_images, digits.held_labels),
            "parameters": sum(array.size for array in parameters(model).values()),
            "train_images_per_s": given.batch / float(np.median(seconds)), "losses": losses}


def print_digits(report: dict[str, Any]) -> None:
    """Prints what was measured."""
    settings = report["settings"]
    rows = [[line["mechanism"], f"{line['accuracy']:.1%}", f"{line['parameters']:,}", f"{line['train_images_per_s']:,.0f}",
             f"{np.mean(line['losses'][-20:]):.2f}"] for line in report["rows"]]
    rows.append(["(nearest mean image)", f"{settings['nearest_mean_accuracy']:.1%}", "", "", ""])
    images = settings["images"] + settings["held"]
    table(HEADER, rows, title=f"{settings['held']} held digits of {images}, {settings['steps']} steps of {settings['batch']} images, "
                              f"seed {settings['seed']}")
    print("\nlocally_grouped_attention is Twins: its windows and global_subsampled_attention's means, block by block in turn")
