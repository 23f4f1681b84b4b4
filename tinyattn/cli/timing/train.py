"""A training step of the default model, beside the same step in PyTorch."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.cli import memory
from tinyattn.cli.outputs import Line
from tinyattn.cli.timing.measure import interleaved, ratio
from tinyattn.cli.timing.table import Table
from tinyattn.cli.timing.torch_step import make_step
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.text import read_text
from tinyattn.models.train import train

BATCH = 8


def train_seconds(rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of each training step of the default model, ours and, where PyTorch is installed, PyTorch's."""
    memory.keep()
    config = DecoderConfig()
    decoder = Decoder.create(config, np.random.default_rng(0))
    steps = train(decoder, read_text(), steps=rounds + 2, context=config.context, batch=BATCH, rng=np.random.default_rng(0))
    functions: dict[str, Callable[[], Any]] = {"tinyattn": lambda: next(steps)}
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed; only our own step is measured")
    else:
        functions["PyTorch eager"] = make_step(config, batch=BATCH)
    return interleaved(functions, rounds)


def time_train(rounds: int) -> list[Line]:
    """Returns a row per library: milliseconds, tokens per second, and the ratio of our seconds to its own."""
    tokens = BATCH * DecoderConfig().context
    seconds = train_seconds(rounds)
    return [{"step of": name, "ms": f"{1e3 * statistics.median(s):.1f}", "tokens/s": f"{tokens / statistics.median(s):,.0f}",
             "ours / it": f"{ratio(seconds['tinyattn'], s):.2f}"} for name, s in seconds.items()]


TABLE = Table("a training step of the default model beside PyTorch's", time_train)
