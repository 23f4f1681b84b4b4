"""Loading a model: a folder with a config and safetensors files, a GGUF file, or a file that tinyattn has written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches.files import check_path
from tinyattn.layers.affine import Affine
from tinyattn.layers.attention import SelfAttention
from tinyattn.layers.block import Block
from tinyattn.layers.mixed import FeedForward, ResidualBlock, same
from tinyattn.layers.trained_attention import TrainedAttention
from tinyattn.models import checkpoint
from tinyattn.models.decoder import parameters
from tinyattn.models.pretrained.build import build
from tinyattn.models.pretrained.gguf_models import config_of, tensors_of
from tinyattn.models.pretrained.model import Model
from tinyattn.models.pretrained.pooling import Pooling, pooling_of
from tinyattn.models.pretrained.tokens import Bytes, Tokenizer, tokenizer_of_file, tokenizer_of_gguf
from tinyattn.models.pretrained.transformer import Transformer
from tinyattn.models.pretrained.weights import check_finite as check_weights
from tinyattn.ops.activation import silu
from tinyattn.ops.checks import truth
from tinyattn.ops.files import gguf
from tinyattn.ops.files.header import SafetensorsError, json_of
from tinyattn.ops.files.shards import read_folder
from tinyattn.ops.files.stored import Stored
from tinyattn.ops.positions.frequencies import plain_frequencies

GGUF = b"GGUF"
# The most bytes of a config or a tokenizer.
LONGEST = 1 << 28


def load(path: str | os.PathLike[str], *, dtype: Any = np.float32, check_finite: bool = False,
         mixing: Callable[[str], Mapping[str, Any]] | None = None) -> Model:
    """Returns the model in a folder or a file. Nothing is downloaded, and nothing in a file is executed.

    A folder holds config.json and safetensors files, as transformers writes them; a file is a GGUF file or one that tinyattn has
    written. Matrices stay in their mapped files as they are stored, and `dtype`, float32 or float64, is that of the computation.
    Another program that shortens a mapped file can end this process. Numbers that are not finite are named when they are first
    met, or at once with `check_finite`. `mixing` is that of `load_training`, for tinyattn's files of other mechanisms.

    Raises:
        ValueError: a file that is not valid; a type of model, scaling, activation or layer that is not known; in one error all
            tensors that are missing, have another shape, or are not used. TypeError: a dtype that is not float32 or float64.
        OSError: a file that cannot be read.

    >>> import tempfile
    >>> from tinyattn.models import Decoder, DecoderConfig, save_training
    >>> config = DecoderConfig(width=8, layers=1, heads=2, hidden=8)
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save_training(path, Decoder.create(config, np.random.default_rng(0)), config, mechanism="attention")
    >>> load(path)(np.array([97, 98])).shape
    (2, 256)
    """
    check_path(path)
    kind = checked_dtype(dtype)
    path, looked = Path(path), truth("check_finite", check_finite)
    if path.is_dir():
        model = from_folder(path, kind)
    else:
        with open(path, "rb") as file:
            start = file.read(4)
        model = from_gguf(path, kind) if start == GGUF else from_training(path, kind, mixing)
    if looked:
        check_weights(model.weights)
    return model


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    """Returns float32 or float64; raises TypeError for others."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype: expected float32 or float64, got {dtype!r:.60}") from None
    if dtype is None or kind not in (np.float32, np.float64):
        raise TypeError(f"dtype: expected float32 or float64, got {dtype!r:.60}")
    return kind


def from_folder(folder: Path, dtype: np.dtype[Any]) -> Model:
    """Returns the model of a folder."""
    config, tensors = read_json(folder / "config.json"), read_folder(folder)
    network = build(config, tensors, dtype=dtype)
    generation = read_json(folder / "generation_config.json", {})
    ends = [*listed(config.get("eos_token_id")), *listed(generation.get("eos_token_id"))]
    return Model(network, folder.name, config.get("max_position_embeddings", config.get("n_positions")), frozenset(ends),
                 cache(partial(folder_tokenizer, folder)), tensors, None if network.head else folder_pooling(folder))


def listed(value: Any) -> list[int]:
    """Returns the ints in a value that is an int or a list of ints.

    >>> listed(3), listed([1, 2]), listed(None)
    ([3], [1, 2], [])
    """
    return [number for number in (value if isinstance(value, list) else [value]) if type(number) is int]


def folder_tokenizer(folder: Path) -> Tokenizer:
    """Returns the tokenizer of a folder."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{folder}: no tokenizer.json in it; give tokens, not text")
    template = read_json(folder / "tokenizer_config.json", {}).get("chat_template")
    separate = folder / "chat_template.jinja"
    if separate.is_file():
        template = separate.read_text("utf-8")
    return tokenizer_of_file(path, template)


def folder_pooling(folder: Path) -> Pooling:
    """Returns the pooling that a folder names; without one, the mean, scaled to unit length."""
    path = folder / "modules.json"
    if not path.is_file():
        return Pooling()
    modules = read_json(path)
    found = modules if isinstance(modules, list) else []
    kinds = [str(module.get("type")).rsplit(".", 1)[-1] for module in found if isinstance(module, dict)]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise ValueError(f"{path}: expected Transformer, Pooling and perhaps Normalize, got {', '.join(kinds) or 'none'}")
    return pooling_of(read_json(folder / "1_Pooling" / "config.json"), len(kinds) == 3)


def read_json(path: Path, absent: Any = None) -> Any:
    """Returns the content of a JSON file, or `absent` where there is none.

    Raises:
        ValueError: a file that is not valid JSON, or too long, or an object where a key stands twice. FileNotFoundError: no file,
            and nothing given in its place.
    """
    if not path.is_file():
        if absent is None:
            raise FileNotFoundError(f"{path.parent}: no {path.name} in it")
        return absent
    if (size := path.stat().st_size) > LONGEST:
        raise ValueError(f"{path}: {size} bytes, at most {LONGEST} are read")
    try:
        found = json_of(path.read_bytes())
    except SafetensorsError as error:
        raise ValueError(f"{path}: {error}") from None
    if path.name != "modules.json" and not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


def from_gguf(path: Path, dtype: np.dtype[Any]) -> Model:
    """Returns the model of a GGUF file."""
    content = gguf.read(path)
    try:
        config = config_of(content)
        tensors = tensors_of(content, config)
        network = build(config, tensors, dtype=dtype)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    ends = (content.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot"))
    return Model(network, path.name, config["max_position_embeddings"], frozenset(end for end in ends if type(end) is int),
                 cache(partial(tokenizer_of_gguf, content.metadata)), tensors)


def from_training(path: Path, dtype: np.dtype[Any], mixing: Callable[[str], Mapping[str, Any]] | None) -> Model:
    """Returns the model of a file that tinyattn has written."""
    saved = checkpoint.load_training(path, mixing=mixing)
    decoder = saved.decoder.astype(dtype)
    blocks = tuple(residual(block, plain=saved.mechanism == checkpoint.PLAIN) for block in decoder.blocks)
    network = Transformer(decoder.embedding, None, blocks, decoder.norm, Affine(decoder.head.T), dtype)
    code = "F64" if dtype == np.float64 else "F32"
    weights = {name: Stored(name, code, array.shape, np.ascontiguousarray(array).reshape(-1).view(np.uint8))
               for name, array in parameters(decoder).items()}
    return Model(network, path.name, saved.config.context, frozenset(), Bytes, weights)


def residual(block: Block, *, plain: bool) -> ResidualBlock:
    """Returns a block of a decoder as a block of a loaded model; plain attention becomes a `TrainedAttention`."""
    attention, forward = block.attention, block.feed_forward
    mixed: Any = attention
    if plain and isinstance(attention, SelfAttention) and attention.k is not None and attention.v is not None:
        q, k, v, out = (Affine(weight.T) for weight in (attention.q, attention.k, attention.v, attention.out))
        dims, base = attention.q.shape[1] // attention.heads, attention.base
        mixed = TrainedAttention(q, k, v, out, attention.heads, attention.kv_heads, fastest.attention,
                                 None if base is None else plain_frequencies(dims, base=base))
    gated = FeedForward(Affine(forward.up.T), Affine(forward.down.T), silu, Affine(forward.gate.T))
    return ResidualBlock(block.attention_norm, mixed, same, block.feed_forward_norm, gated, same)
