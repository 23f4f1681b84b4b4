"""Checks of what callers give as a model, an optimiser, caches, images or labels; errors name the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyattn.engine.tensor import Tensor
from tinyattn.engine.tree import differentiable, named_leaves
from tinyattn.layers.checks import check_cache
from tinyattn.ops.checks import has_axes, integers
from tinyattn.ops.types import Array


def check_given(name: str, value: Any, expected: str, *attributes: str) -> None:
    """Raises TypeError unless a value has these attributes or, where none is named, can be called.

    >>> check_given("decoder", "seven", "a Decoder", "embedding")
    Traceback (most recent call last):
        ...
    TypeError: decoder: expected a Decoder, got str
    """
    if not (all(hasattr(value, attribute) for attribute in attributes) if attributes else callable(value)):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")


def check_tree(name: str, tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by name; TypeError unless it holds at least one floating array, and no Tensor or masked array.

    >>> check_tree("params", {"w": 1})
    Traceback (most recent call last):
        ...
    TypeError: params: expected a tree with at least one floating array, got dict
    """
    found = dict(named_leaves(tree))
    if not any(differentiable(leaf) for leaf in found.values()):
        raise TypeError(f"{name}: expected a tree with at least one floating array, got {type(tree).__name__}")
    for place, leaf in found.items():
        if isinstance(leaf, (Tensor, np.ma.MaskedArray)):
            raise TypeError(f"{name}: expected plain arrays, got a {type(leaf).__name__}" + (f" at {place!r}" if place else ""))
    return found


def check_blocks(blocks: Any) -> None:
    """Raises TypeError unless blocks are a tuple or a list of layers."""
    if not isinstance(blocks, (tuple, list)):
        raise TypeError(f"blocks: expected a tuple of layers, got {type(blocks).__name__}")
    for number, block in enumerate(blocks):
        check_given(f"blocks[{number}]", block, "a layer")


def check_caches(caches: Any, layers: int) -> None:
    """Raises TypeError for an object that is not a list of caches, ValueError unless there is one per layer, none of them twice."""
    if not isinstance(caches, Sequence):
        raise TypeError(f"caches: expected a list of {layers}, one for each layer, got {type(caches).__name__}")
    for number, cache in enumerate(caches):
        if cache is None:
            raise TypeError(f"caches[{number}]: expected a cache, got NoneType")
        check_cache(cache, f"caches[{number}]")
    if len(caches) != layers:
        raise ValueError(f"caches: expected {layers}, one for each layer, each its own, got {len(caches)}")
    if len({id(cache) for cache in caches}) < layers:
        raise ValueError(f"caches: expected {layers}, one for each layer, each its own, got one object twice")


def check_some(images: Any, name: str) -> None:
    """Raises TypeError for an object that is not an array of images, ValueError for an array without images."""
    if not has_axes(name, images, 3)[0]:
        raise ValueError(f"{name}: expected at least one, got shape {images.shape}")


def label_array(name: str, labels: Any, images: Array, shape: tuple[int, ...], classes: int) -> Array:
    """Returns the labels of images as int64.

    Raises:
        TypeError: labels that are not integers. ValueError: labels of another shape. IndexError: a label that is not a class.

    >>> label_array("labels", np.array([3]), np.zeros((1, 8, 8)), (1,), 3)
    Traceback (most recent call last):
        ...
    IndexError: labels: expected 0 to 2, got 3 to 3
    """
    found = integers(name, labels, least_axes=0)
    if found.shape != shape:
        raise ValueError(f"{name}: expected shape {shape} for images of shape {np.shape(images)}, got {found.shape}")
    if found.size and not 0 <= found.min() <= found.max() < classes:
        raise IndexError(f"{name}: expected 0 to {classes - 1}, got {int(found.min())} to {int(found.max())}")
    return found
