"""A trained model in a file: its parameters by name, its config, and the state of the optimiser."""

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

# The mechanism that a decoder has by default.
PLAIN = "attention"
# A model with at most this many parameters is made even if the file holds fewer, so that every tensor that does not fit is named.
SMALL = 1 << 22
# The most digits of a number of steps.
DIGITS = 18
# What the second tree of the optimiser holds. Files of older versions do not say so and hold mean squares, not their roots.
ROOTS = "roots of mean squares"


def save_training(path: str | os.PathLike[str], decoder: Decoder, config: DecoderConfig, *, mechanism: str,
         state: AdamW | None = None) -> None:
    """Writes a model as safetensors, with its config, the name of its mechanism and, if given, the state of the optimiser.

    >>> import tempfile
    >>> from pathlib import Path
    >>> config = DecoderConfig(width=8, layers=1, heads=2, hidden=8)
    >>> decoder = Decoder.create(config, np.random.default_rng(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_training(Path(folder) / "model", decoder, config, mechanism="attention")
    ...     load_training(Path(folder) / "model").config == config
    True
    """
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
    """The content of a file: the model, its config, the name of its mechanism, and the state of the optimiser or None.

    >>> config = DecoderConfig(width=8, layers=1, heads=2, hidden=8)
    >>> Saved(Decoder.create(config, np.random.default_rng(0)), config, "attention", None).mechanism
    'attention'
    """

    decoder: Decoder
    config: DecoderConfig
    mechanism: str
    state: AdamW | None


def load_training(path: str | os.PathLike[str], *, mixing: Callable[[str], Mapping[str, Any]] | None = None) -> Saved:
    """Returns (decoder, config, mechanism, state) of a file written by `save_training`.

    `mixing` returns for the name of a mechanism the options of `Decoder.create` that make it: mechanism, inputs, rotary, layer.
    Without it only a model of softmax attention can be built; `tinyattn.catalog.load_model` knows every mechanism by name.

    Raises:
        ValueError: a file that is not safetensors or lacks its config, an optimiser's state written by an older version, a
            mechanism other than attention without `mixing`, and every tensor that does not fit the config, in one error.
        OSError: a file that cannot be read.

    >>> import tempfile
    >>> from pathlib import Path
    >>> config = DecoderConfig(width=8, layers=1, heads=2, hidden=8)
    >>> decoder = Decoder.create(config, np.random.default_rng(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_training(Path(folder) / "model", decoder, config, mechanism="attention", state=AdamW.create(decoder))
    ...     load_training(Path(folder) / "model").state.steps
    0
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
    """Returns the config of a file; ValueError also for sizes of a wrong type."""
    try:
        return DecoderConfig.from_json(text)
    except TypeError as error:
        raise ValueError(f"{path}: config: {error}") from None


def check_size(path: str | os.PathLike[str], config: DecoderConfig, arrays: Mapping[str, Array]) -> None:
    """Raises ValueError for a config with far more parameters than the file has, before a model of that size is made."""
    held = sum(array.size for array in arrays.values())
    if config.parameters > max(2 * held, SMALL):
        raise ValueError(f"{path}: the config asks for {config.parameters} parameters and the file holds {held}")


def steps_of(path: str | os.PathLike[str], text: str) -> int:
    """Returns the number of steps that the optimiser has taken, according to a file."""
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise ValueError(f"{path}: steps: expected a whole number of 0 or more, got {text[:60]!r}")
    return int(text)


def filled(tree: Any, part: str, arrays: dict[str, Array]) -> Any:
    """Returns the tree with its arrays replaced by the arrays of a file."""
    names = iter([name for name, leaf in named_leaves(tree) if isinstance(leaf, np.ndarray)])
    return map_tree(lambda leaf: arrays[f"{part}.{next(names)}"] if isinstance(leaf, np.ndarray) else leaf, tree)
