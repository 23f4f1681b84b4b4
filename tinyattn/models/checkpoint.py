"""A trained model in a file: parameters by name, the config and the optimiser beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn.engine.tree import map_tree, named_leaves
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, parameters
from tinyattn.models.optimise import AdamW
from tinyattn.ops.files import safetensors
from tinyattn.ops.types import Array


def save(path: str | os.PathLike[str], decoder: Decoder, config: DecoderConfig, *, mechanism: str,
         state: AdamW | None = None) -> None:
    """Writes a model as safetensors, with its config, its mechanism's name and, if given, the optimiser's state."""
    arrays = {f"model.{name}": array for name, array in parameters(decoder).items()}
    metadata = {"config": config.to_json(), "mechanism": mechanism}
    if state is not None:
        arrays |= {f"first.{name}": array for name, array in parameters(state.first).items()}
        arrays |= {f"second.{name}": array for name, array in parameters(state.second).items()}
        metadata["steps"] = str(state.steps)
    safetensors.save(path, arrays, metadata=metadata)


def load(path: str | os.PathLike[str], *, mixing: Callable[[str], Mapping[str, Any]] = lambda name: {},
         ) -> tuple[Decoder, DecoderConfig, str, AdamW | None]:
    """Returns (model, config, mechanism's name, optimiser's state or None).

    `mixing` gives for a mechanism's name what `Decoder.create` takes besides the config: mechanism, inputs, rotary.

    Raises:
        ValueError: a file that is not safetensors or lacks its config, and every tensor that does not fit it, in one
            error.
    """
    arrays, metadata = safetensors.load_with_metadata(path)
    if "config" not in metadata:
        raise ValueError(f"{path}: no config in it; was it written by tinyattn train?")
    config, name = DecoderConfig.from_json(metadata["config"]), metadata.get("mechanism", "attention")
    blank = Decoder.create(config, np.random.default_rng(0), **mixing(name))
    shapes = {leaf: array.shape for leaf, array in parameters(blank).items()}
    parts = ["model", "first", "second"] if "steps" in metadata else ["model"]
    safetensors.match({f"{part}.{leaf}": shape for part in parts for leaf, shape in shapes.items()}, arrays)
    trees = [filled(blank, part, arrays) for part in parts]
    state = AdamW(trees[1], trees[2], int(metadata["steps"])) if len(trees) == 3 else None
    return trees[0], config, name, state


def filled(tree: Any, part: str, arrays: dict[str, Array]) -> Any:
    """Returns the tree with its arrays replaced by those of a file."""
    names = iter([name for name, leaf in named_leaves(tree) if isinstance(leaf, np.ndarray)])
    return map_tree(lambda leaf: arrays[f"{part}.{next(names)}"] if isinstance(leaf, np.ndarray) else leaf, tree)
