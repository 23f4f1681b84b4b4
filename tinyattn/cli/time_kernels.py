"""The kernels' table: beside other libraries, and beside what the machine gives: its own product and its own reading."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.cli.kernel_cases import CASES, FAR, Case, bytes_moved, operations
from tinyattn.cli.measure import REST, interleaved, limits, ratio
from tinyattn.cli.outputs import write_picture
from tinyattn.cli.peers import peers_of
from tinyattn.cli.time_train import BATCH, train_seconds
from tinyattn.engine import vjp
from tinyattn.models.config import DecoderConfig
from tinyattn.ops.types import Array

# Seconds of one case after which no further round begins.
PATIENCE = 40.0
# The lengths of the picture of growth.
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
FIRST = """
import time; start = time.perf_counter()
import json, numpy as np
from tinyattn import kernels, vjp
loaded = time.perf_counter()
x = np.ones((2, 128, 64), np.float32)
kernels.attention(x, x, x, causal=True); forward = time.perf_counter()
vjp(lambda q: kernels.attention(q, x, x, causal=True), x)[1](x)
print(json.dumps([forward - start, time.perf_counter() - start]))
"""
# Linux keeps the highest resident size, and forgets it when 5 is written: what compiling took does not count.
MEMORY = """
import numpy as np
from tinyattn import kernels, vjp
def slopes(qkv):
    return vjp(lambda t: kernels.attention(*t, causal=True), qkv)[1](qkv[0])
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
rng = np.random.default_rng(0)
slopes(tuple(rng.standard_normal((1, 8, 1024, 64), np.float32) for _ in range(3)))
qkv = tuple(rng.standard_normal((1, 8, 32768, 64), np.float32) for _ in range(3))
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = peak()
slopes(qkv)
print((peak() - before) / (4 * qkv[0].nbytes))
"""


def ours(case: Case, arrays: tuple[Array, ...]) -> Callable[[], Any]:
    """Returns the call of our kernel."""
    from tinyattn import kernels

    attend: Callable[..., Any] = kernels.attention
    options = {"causal": case.causal, "window": case.window, "mask": case.pattern}
    if not case.backward:
        return lambda: attend(*arrays, **options)
    ones = np.ones_like(arrays[0])
    return lambda: vjp(lambda qkv: attend(*qkv, **options), arrays)[1](ones)


def time_kernels(rounds: int) -> tuple[list[dict[str, Any]], tuple[float, float]]:
    """Returns a row a case and library, both their milliseconds and the ratio; and the limits, GFLOP/s and GB/s."""
    from tinyattn.kernels.tiles.threads import thread_count

    product, reading = limits()
    print(f"float32, {thread_count()} threads; limits: a product {product:.0f} GFLOP/s, reading {reading:.1f} GB/s; "
          f"rounds until {rounds} or {PATIENCE:.0f} s a case", flush=True)
    lines = []
    for case in CASES:
        arrays = case.arrays()
        mine = ours(case, arrays)
        for name, theirs in (peers_of(case, arrays) or {"": mine}).items():
            # In pairs: a third library would leave the caches, and the memory that it freed, to one of the two.
            taken = interleaved({"ours": mine, "theirs": theirs}, rounds, warm_up=1, rest=REST, seconds=PATIENCE)
            beside = {"beside": name, "its ms": 1e3 * statistics.median(taken["theirs"]),
                      "times": ratio(taken["theirs"], taken["ours"]), "at least": case.asked.get(name)} if name else {}
            lines.append({"case": str(case), **figures(case, taken["ours"], product, reading), **beside})
    lines += [*growth_rows(rounds), *train_rows(rounds), *process_rows()]
    return [{**line, "dtype": "float32", "threads": thread_count()} for line in lines], (product, reading)


def figures(case: Case, seconds: list[float], product: float, reading: float) -> dict[str, Any]:
    """Returns what our seconds of a case come to: the rate, and its share of what the machine gives."""
    spent = statistics.median(seconds)
    batch, _, kv_heads, q_len, kv_len, dim = case.shape
    step = q_len == 1
    rate = operations(case) / spent / 1e9
    share = rate / product if not step else 8.0 * batch * kv_heads * kv_len * dim / spent / 1e9 / reading
    return {"served by": "decode" if step else "attention", "GFLOP": operations(case) / 1e9, "bytes": bytes_moved(case),
            "ms": 1e3 * spent, "GFLOP/s": rate, "of the limit": share}


def growth_rows(rounds: int) -> list[dict[str, Any]]:
    """Returns what twice the length costs with a window, forward and backward."""
    half = Case((*FAR[:3], FAR[3] // 2, FAR[4] // 2, FAR[5]), backward=True, window=(255, 0))
    whole = replace(half, shape=FAR)
    taken = interleaved({str(case): ours(case, case.arrays()) for case in (half, whole)}, rounds, warm_up=1, rest=REST,
                        seconds=PATIENCE)
    short, long = taken.values()
    return [{"case": str(whole), "served by": "attention", "GFLOP": operations(whole) / 1e9, "ms": 1e3 * statistics.median(long),
             "beside": "half the length", "its ms": 1e3 * statistics.median(short), "times": ratio(long, short), "at most": 2.1}]


def train_rows(rounds: int) -> list[dict[str, Any]]:
    """Returns the training step of the default model, beside PyTorch's where it is there."""
    taken, config = train_seconds(rounds), DecoderConfig()
    mine = taken.pop("tinyattn")
    # A weight takes 6 FLOPs a token, which the table of bytes, being looked up, does not.
    weights = BATCH * config.context * (config.parameters - config.vocab * config.width)
    seen = Case((BATCH, config.heads, config.kv_heads, config.context, config.context, config.head_dim), backward=True)
    spent = (6 * weights + config.layers * operations(seen)) / 1e9
    says = f"training step, {config.layers} layers, width {config.width}, context {config.context}, batch {BATCH}"
    return [{"case": says, "served by": "attention", "GFLOP": spent, "ms": 1e3 * statistics.median(mine), "beside": name,
             "its ms": 1e3 * statistics.median(theirs), "times": ratio(theirs, mine), "at least": 1.0}
            for name, theirs in taken.items()]


def process_rows() -> list[dict[str, Any]]:
    """Returns what is measured in processes of their own: the peak of memory, and first calls."""
    def told(code: str, **environment: str) -> Any:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                              env={**os.environ, **environment})
        return json.loads(done.stdout)

    lines: list[dict[str, Any]] = []
    if sys.platform == "linux":
        large = Case((1, 8, 8, 32768, 32768, 64), backward=True)
        lines.append({"case": f"{large}, peak", "served by": "attention", "GFLOP": operations(large) / 1e9,
                      "beside": "bytes of q, k, v, out", "times": told(MEMORY), "at most": 5.0})
    with tempfile.TemporaryDirectory() as folder:
        for says, asked in (("first call ever", (6.0, 15.0)), ("first call, compiled before", (0.6, 1.0))):
            for backward, seconds, most in zip((False, True), told(FIRST, NUMBA_CACHE_DIR=folder), asked, strict=True):
                small = Case((1, 2, 2, 128, 128, 64), backward=backward)
                lines.append({"case": f"{small}, {says}", "served by": "attention", "GFLOP": operations(small) / 1e9,
                              "ms": 1e3 * seconds, "beside": "1 s", "times": seconds, "at most": most})
    return lines


def shown(line: dict[str, Any]) -> dict[str, str]:
    """Returns a row as text; a figure that is not there is left empty."""
    asked = {"asked": next((f"{word} {line[word]:g}" for word in ("at least", "at most") if line.get(word)), None)}
    forms = {"ms": "{:,.1f}", "its ms": "{:,.1f}", "GFLOP": "{:,.2f}", "GFLOP/s": "{:.0f}", "of the limit": "{:.0%}",
             "times": "{:.2f}"}
    names = ("case", "ms", "beside", "its ms", "times", "asked", "GFLOP", "GFLOP/s", "of the limit", "dtype", "threads", "served by")
    line = line | asked
    return {name: "" if line.get(name) is None else forms.get(name, "{}").format(line[name]) for name in names}


def points_of(lines: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Returns (FLOPs a byte, GFLOP/s) of each case, as measured beside the first library: a later one may leave less memory."""
    points: dict[str, tuple[float, float]] = {}
    for line in lines:
        if line.get("GFLOP/s"):
            points.setdefault(line["case"], (1e9 * line["GFLOP"] / line["bytes"], line["GFLOP/s"]))
    return points


def draw_kernels(path: str, lines: list[dict[str, Any]], limits: tuple[float, float], rounds: int) -> None:
    """Writes a picture: the cases under the machine's roofline, and the growth of milliseconds with length."""
    from tinyattn import plot

    curves: dict[str, dict[int, float]] = {}
    for length in LENGTHS:
        for says, window in (("causal", None), ("window 255", (255, 0))):
            case = Case((1, 8, 8, length, length, 64), window=window)
            arrays = case.arrays()
            for name, call in {"tinyattn": ours(case, arrays), **peers_of(case, arrays)}.items():
                taken = interleaved({name: call}, rounds, warm_up=1, rest=REST, seconds=5.0)
                curves.setdefault(f"{name}, {says}", {})[length] = 1e3 * statistics.median(taken[name])
    figure = plot.page(2)
    plot.roofline(points_of(lines), *limits, ax=figure.axes[0])
    plot.growth(curves, ylabel="ms", ax=figure.axes[1])
    write_picture(figure, path)
