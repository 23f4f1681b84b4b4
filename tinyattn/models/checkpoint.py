"""A trained model in a file: parameters by name, the config and the optimiser beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinyattn.caches.files import check_path
from tinyattn.engine.tree import map_tree, named_leaves
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, parameters
from tinyattn.models.given import check_given
from tinyattn.models.optimise import AdamW
from tinyattn.ops.checks import function_or_none
from tinyattn.ops.files import safetensors
from tinyattn.ops.types import Array

# The mechanism that a decoder has unless another is given.
PLAIN = "attention"
# A model of so few parameters is made whatever the file holds, so that all tensors that do not fit are named.
SMALL = 1 << 22
DIGITS = 18
# What the optimiser's second tree holds. A file that does not say so is older: its mean squares, read as roots, would be wrong.
ROOTS = "roots of mean squares"


def save(path: str | os.PathLike[str], decoder: Decoder, config: DecoderConfig, *, mechanism: str,
         state: AdamW | None = None) -> None:
    """Writes a model as safetensors, with its config, its mechanism's name and, if given, the optimiser's state."""
    check_given("decoder", decoder, "a Decoder", "embedding", "blocks")
    check_path(path)
    if not isinstance(config, DecoderConfig):
        raise TypeError(f"config: expected a DecoderConfig, got {type(config).__name__}")
    sizes, told = (*decoder.embedding.shape, len(decoder.blocks)), (config.vocab, config.width, config.layers)
    if sizes != told:
        raise ValueError(f"config: expected the decoder's vocab, width and layers, {sizes}, got {told}")
    if not isinstance(mechanism, str):
        raise TypeError(f"mechanism: expected its name, got {type(mechanism).__name__}")
    if state is not None:
        check_given("state", state, "an AdamW or None", "first", "second", "steps")
    arrays = {f"model.{name}": array for name, array in parameters(decoder).items()}
    metadata = {"config": config.to_json(), "mechanism": mechanism}
    if state is not None:
        arrays |= {f"first.{name}": array for name, array in parameters(state.first).items()}
        arrays |= {f"second.{name}": array for name, array in parameters(state.second).items()}
        metadata |= {"steps": str(state.steps), "second": ROOTS}
    safetensors.save(path, arrays, metadata=metadata)


class Saved(NamedTuple):
    """What a file holds: the model, its config, the name of its mechanism, and the optimiser's state or None."""

    decoder: Decoder
    config: DecoderConfig
    mechanism: str
    state: AdamW | None


def load(path: str | os.PathLike[str], *, mixing: Callable[[str], Mapping[str, Any]] | None = None) -> Saved:
    """Returns (decoder, config, mechanism, state) of a file written by `save`.

    `mixing` gives for a mechanism's name what `Decoder.create` takes besides the config: mechanism, inputs, rotary, layer.
    Without it only a model of softmax attention can be built; `tinyattn.catalog.load_model` finds every mechanism by its name.

    Raises:
        ValueError: a file that is not safetensors or lacks its config, an optimiser's state written by an older version, a
            mechanism other than attention without `mixing`, and every tensor that does not fit the config, in one error.
        OSError: a file that cannot be read.
    """
    check_path(path)
    function_or_none("mixing", mixing)
    arrays, metadata = safetensors.load_with_metadata(path)
    if "config" not in metadata:
        raise ValueError(f"{path}: no config in it; was it written by tinyattn train?")
    config, name = config_of(path, metadata["config"]), metadata.get("mechanism", PLAIN)
    if mixing is None and name != PLAIN:
        raise ValueError(f"{path}: the model mixes its tokens by {name!r}, and without mixing= it would run {PLAIN!r}; "
                         f"open it with tinyattn.catalog.load_model")
    check_size(path, config, arrays)
    blank = Decoder.create(config, np.random.default_rng(0), **({} if mixing is None else mixing(name)))
    shapes = {leaf: array.shape for leaf, array in parameters(blank).items()}
    parts = ["model", "first", "second"] if "steps" in metadata else ["model"]
    safetensors.match({f"{part}.{leaf}": shape for part in parts for leaf, shape in shapes.items()}, arrays)
    if "steps" in metadata and metadata.get("second") != ROOTS:
        raise ValueError(f"{path}: the optimiser's state was written by another version: it does not say that its second tree "
                         f"holds {ROOTS}, as this version reads it; train the model anew")
    trees = [filled(blank, part, arrays) for part in parts]
    state = AdamW(trees[1], trees[2], steps_of(path, metadata["steps"])) if len(trees) == 3 else None
    return Saved(trees[0], config, name, state)


def config_of(path: str | os.PathLike[str], text: str) -> DecoderConfig:
    """Returns the config that a file holds; ValueError also for sizes of a wrong type."""
    try:
        return DecoderConfig.from_json(text)
    except TypeError as error:
        raise ValueError(f"{path}: config: {error}") from None


def check_size(path: str | os.PathLike[str], config: DecoderConfig, arrays: Mapping[str, Array]) -> None:
    """Raises ValueError for a config of far more numbers than the file holds, before a model of that size is made."""
    held = sum(array.size for array in arrays.values())
    if config.parameters > max(2 * held, SMALL):
        raise ValueError(f"{path}: the config asks for {config.parameters} parameters and the file holds {held}")


def steps_of(path: str | os.PathLike[str], text: str) -> int:
    """Returns how many steps a file says the optimiser has taken."""
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise ValueError(f"{path}: steps: expected a whole number of 0 or more, got {text[:60]!r}")
    return int(text)


def filled(tree: Any, part: str, arrays: dict[str, Array]) -> Any:
    """Returns the tree with its arrays replaced by those of a file."""
    names = iter([name for name, leaf in named_leaves(tree) if isinstance(leaf, np.ndarray)])
    return map_tree(lambda leaf: arrays[f"{part}.{next(names)}"] if isinstance(leaf, np.ndarray) else leaf, tree)
