"""The 8 x 8 digits of scikit-learn, 1,797 images, and the training of an image model on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinyattn.models.given import check_given, check_some, check_tree, label_array
from tinyattn.models.image import ImageModel, image_loss
from tinyattn.models.optimise import AdamW
from tinyattn.models.train import Step, descend
from tinyattn.ops.checks import check_rng, has_axes, real, whole
from tinyattn.ops.types import Array


class Digits(NamedTuple):
    """Images (n, 8, 8) of pixels from 0 to 1 with their mean subtracted, and the digit of each; every fifth is held out.

    >>> images = np.zeros((2, 8, 8), np.float32)
    >>> Digits(images, np.array([3, 5]), images[:1], np.array([3])).labels
    array([3, 5])
    """

    images: Array
    labels: Array
    held_images: Array
    held_labels: Array


def read_digits() -> Digits:
    """Returns the digits.

    Raises:
        ValueError: scikit-learn is not installed.

    >>> read_digits().images.shape
    (1438, 8, 8)
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError("digits: they come with scikit-learn, which is not installed; pip install scikit-learn") from None
    read = load_digits()
    images = (read.images / 16.0).astype(np.float32)
    images, labels = images - images.mean(), read.target.astype(np.int64)
    held = np.arange(len(images)) % 5 == 4
    return Digits(images[~held], labels[~held], images[held], labels[held])


def nearest_mean_accuracy(digits: Digits) -> float:
    """Returns the share of held-out digits whose nearest mean image is that of their own digit: the accuracy that a model must beat.

    Raises:
        TypeError: an object that is not a Digits, labels that are not integers. ValueError: no held-out images, or a digit without an
            image.

    >>> images, labels = np.arange(640.0).reshape(10, 8, 8), np.arange(10)
    >>> nearest_mean_accuracy(Digits(images, labels, images, labels))
    1.0
    """
    check_digits(digits)
    check_some(digits.held_images, "held_images")
    if digits.held_images.shape[1:] != digits.images.shape[1:]:
        raise ValueError(f"digits.held_images: expected images of {digits.images.shape[1:]}, got {digits.held_images.shape[1:]}")
    missing = sorted({*range(10)} - {*digits.labels.tolist()})
    if missing:
        raise ValueError(f"labels: expected every digit at least once, got no {', '.join(map(str, missing))}")
    means = np.stack([digits.images[digits.labels == label].mean(axis=0).reshape(-1) for label in range(10)])
    held = digits.held_images.reshape(len(digits.held_images), -1)
    nearest = ((held[:, None] - means) ** 2).sum(axis=-1).argmin(axis=-1)
    return float(np.mean(nearest == digits.held_labels))


def accuracy(model: ImageModel, images: Array, labels: Array) -> float:
    """Returns the share of images whose largest logit is that of their label.

    Raises:
        TypeError: an object that is not a model, labels that are not integers. ValueError: no images, or labels of another shape.
        IndexError: a label that is not a class.

    >>> images = np.zeros((2, 8, 8), np.float32)
    >>> accuracy(lambda images: np.array([[1.0, 0.0], [0.0, 1.0]]), images, np.array([0, 0]))
    0.5
    """
    check_given("model", model, "an ImageModel")
    check_some(images, "images")
    logits = model(images)
    return float(np.mean(logits.argmax(axis=-1) == label_array("labels", labels, images, logits.shape[:-1], logits.shape[-1])))


def check_digits(digits: Digits) -> None:
    """Raises unless every image of the digits has a label."""
    check_given("digits", digits, "Digits", *Digits._fields)
    for images, labels in (("images", "labels"), ("held_images", "held_labels")):
        given = getattr(digits, images)
        label_array(f"digits.{labels}", getattr(digits, labels), given, has_axes(f"digits.{images}", given, 3)[:-2], 10)


def train_images(model: ImageModel, digits: Digits, *, steps: int, batch: int, rng: np.random.Generator,
                 peak: float = 1e-2) -> Iterator[Step[ImageModel]]:
    """Yields a Step after each step of AdamW on images drawn at random; the same rng gives the same losses.

    The learning rate is that of `train`.

    Raises:
        TypeError: an object that is not a model, a Digits or a Generator, numbers of another kind. ValueError: steps or a batch below
            1, a peak that is not a finite number above 0, no images. FloatingPointError: a loss that is not finite.

    >>> from functools import partial
    >>> from tinyattn import definitions
    >>> from tinyattn.models.image import ImageConfig, attending
    >>> config = ImageConfig(side=4, patch=1, width=8, heads=2, hidden=8)
    >>> block = attending(lambda number: partial(definitions.axial_attention, axis=number))
    >>> model = ImageModel.create(config, np.random.default_rng(0), block=block)
    >>> images, labels = np.eye(4, dtype=np.float32)[None].repeat(2, axis=0), np.array([0, 0])
    >>> digits = Digits(images, labels, images, labels)
    >>> steps = [*train_images(model, digits, steps=9, batch=2, rng=np.random.default_rng(0))]
    >>> steps[-1].loss < steps[0].loss
    True
    """
    check_given("model", model, "an ImageModel")
    check_tree("model", model)
    check_digits(digits)
    check_some(digits.images, "digits.images")
    check_rng(rng)
    steps, batch, peak = whole("steps", steps, 1), whole("batch", batch, 1), real("peak", peak, above=0.0)

    def draw() -> tuple[Array, Array]:
        some = rng.integers(0, len(digits.images), batch)
        return digits.images[some], digits.labels[some]

    return descend(model, image_loss, draw, AdamW.create(model), steps=steps, peak=peak)
