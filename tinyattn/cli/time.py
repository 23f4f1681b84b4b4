"""tinyattn time: ratios taken in one run, interleaved, with warm-up."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.cli import memory
from tinyattn.cli.terminal import positive, table
from tinyattn.cli.time_kernels import time_kernels
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.text import read_text
from tinyattn.models.train import train
from tinyattn.ops.files.atomic import check_writable, replacing

SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("what", choices=["train", "attention", "import", "kernels"],
                        help="a training step and the kernels beside PyTorch's; the definition beside its formula "
                        "typed by hand; the import")
    parser.add_argument("--rounds", type=positive, default=15, metavar="N", help="interleaved rounds (default 15)")
    parser.add_argument("--json", metavar="FILE", help="write what was measured")


def run(given: argparse.Namespace) -> int:
    """Measures and prints; in a child process without them where variables slow NumPy down."""
    if any(name in os.environ for name in SLOWING):
        print(f"{' and '.join(n for n in SLOWING if n in os.environ)} slow NumPy's products here; "
              f"measured without, in a child process", flush=True)
        clean = {name: value for name, value in os.environ.items() if name not in SLOWING}
        extra = ["--json", given.json] if given.json else []
        return subprocess.run([sys.executable, "-m", "tinyattn", "time", given.what, "--rounds", str(given.rounds),
                               *extra], env=clean, check=False).returncode
    if given.json:
        check_writable(given.json)
    lines = {"train": time_train, "attention": time_attention, "import": time_import,
             "kernels": time_kernels}[given.what](given.rounds)
    table(list(lines[0]), [[str(cell) for cell in line.values()] for line in lines])
    if given.json:
        with replacing(given.json, "w") as file:
            json.dump(lines, file, indent=1)
    return 0


def interleaved(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Returns seconds of each function in each round, all of them run once a round after two rounds of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 2):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if number >= 2:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def time_train(rounds: int) -> list[dict[str, str]]:
    """Returns a training step of the default model, ours and PyTorch's."""
    memory.keep()
    config = DecoderConfig()
    decoder = Decoder.create(config, np.random.default_rng(0))
    steps = train(decoder, read_text(), steps=rounds + 2, context=config.context, batch=8, rng=np.random.default_rng(0))
    functions: dict[str, Callable[[], Any]] = {"tinyattn": lambda: next(steps)}
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed; only our own step is measured")
    else:
        from tinyattn.cli.torch_step import make_step
        functions["PyTorch eager"] = make_step(config, batch=8)
    seconds = interleaved(functions, rounds)
    ours = seconds["tinyattn"]
    return [{"step of": name, "ms": f"{1e3 * statistics.median(s):.1f}",
             "tokens/s": f"{8 * config.context / statistics.median(s):,.0f}",
             "ours / it": f"{statistics.median(a / b for a, b in zip(ours, s, strict=True)):.2f}"}
            for name, s in seconds.items()]


def by_hand(q: Any, k: Any, v: Any) -> Any:
    """The formula of attention, typed out."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = exps / exps.sum(axis=-1, keepdims=True)
    return weights @ v


def time_attention(rounds: int) -> list[dict[str, str]]:
    """Returns definitions.attention beside the formula typed by hand."""
    lines = []
    for shape in ((1, 2, 8, 8), (1, 8, 256, 64), (1, 8, 1024, 64)):
        rng = np.random.default_rng(0)
        q, k, v = (rng.standard_normal(shape).astype(np.float32) for _ in range(3))
        repeat = 200 if shape[2] < 100 else 1
        seconds = interleaved({"definition": lambda: [definitions.attention(q, k, v) for _ in range(repeat)],  # noqa: B023
                               "by hand": lambda: [by_hand(q, k, v) for _ in range(repeat)]}, rounds)  # noqa: B023
        mine, hand = seconds["definition"], seconds["by hand"]
        lines.append({"shape": str(shape), "definition us": f"{1e6 * statistics.median(mine) / repeat:,.0f}",
                      "by hand us": f"{1e6 * statistics.median(hand) / repeat:,.0f}",
                      "ratio": f"{statistics.median(a / b for a, b in zip(mine, hand, strict=True)):.2f}",
                      "more us": f"{1e6 * statistics.median(a - b for a, b in zip(mine, hand, strict=True)) / repeat:,.0f}"})
    return lines


def time_import(rounds: int) -> list[dict[str, str]]:
    """Returns what `import tinyattn` costs over `import numpy`, in fresh processes."""
    code = "import time, numpy; t = time.perf_counter(); import tinyattn; print(time.perf_counter() - t)"
    each = [float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
            for _ in range(max(rounds, 10))]
    return [{"import tinyattn, over numpy": "median", "ms": f"{1e3 * statistics.median(each):.1f}"}]
