"""tinyattn time: ratios taken in one run, interleaved, with warm-up."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.cli.ends import INTERRUPTED
from tinyattn.cli.measure import interleaved, ratio
from tinyattn.cli.outputs import check_outputs, check_picture, write_json
from tinyattn.cli.terminal import positive, table
from tinyattn.cli.time_caches import time_caches
from tinyattn.cli.time_generate import time_generate
from tinyattn.cli.time_kernels import draw_kernels, shown, time_kernels
from tinyattn.cli.time_mechanisms import shown_mechanism, time_mechanisms
from tinyattn.cli.time_train import time_train

SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("what", type=str.lower, choices=["train", "generate", "caches", "attention", "import", "kernels", "mechanisms"],
                        help="a training step and the kernels beside PyTorch's; every mechanism beside its definition and dense attention; a decoding step and the definition "
                        "beside what they are typed by hand; a long text's caches beside the kernel alone; the import")
    parser.add_argument("--rounds", type=positive, default=15, metavar="N", help="interleaved rounds (default 15)")
    parser.add_argument("--json", metavar="FILE", help="write what was measured")
    parser.add_argument("--plot", metavar="FILE", help="kernels: draw the roofline and the growth with length (png, svg, pdf)")


def run(given: argparse.Namespace) -> int:
    """Measures and prints; in a child process without them where variables slow NumPy down."""
    if any(name in os.environ for name in SLOWING):
        print(f"{' and '.join(n for n in SLOWING if n in os.environ)} slow NumPy's products here; "
              f"measured without, in a child process", flush=True)
        clean = {name: value for name, value in os.environ.items() if name not in SLOWING}
        extra = [word for name in ("json", "plot") if getattr(given, name) is not None for word in (f"--{name}", getattr(given, name))]
        try:
            return subprocess.run([sys.executable, "-m", "tinyattn", "time", given.what, "--rounds", str(given.rounds),
                                   *extra], env=clean, check=False).returncode
        except KeyboardInterrupt:
            return INTERRUPTED  # the child has said so
    if given.plot is not None and given.what != "kernels":
        raise ValueError(f"--plot: only kernels are drawn, not {given.what!r}")
    check_outputs(json=given.json, plot=given.plot)
    check_picture(given.plot)
    try:
        if given.what == "kernels":
            lines, limits = time_kernels(given.rounds)
            texts = [shown(line) for line in lines]
        elif given.what == "mechanisms":
            lines = time_mechanisms(given.rounds)
            texts = [shown_mechanism(line) for line in lines]
        else:
            lines = texts = {"train": time_train, "generate": time_generate, "caches": time_caches, "attention": time_attention,
                             "import": time_import}[given.what](given.rounds)
    except subprocess.CalledProcessError as failed:
        says = os.fsdecode(failed.stderr)[-200:]
        raise ValueError(f"a process that measures failed with code {failed.returncode}: {says}") from None
    table(list(texts[0]), [list(text.values()) for text in texts])
    if given.json is not None:
        write_json(lines, given.json)
    if given.plot is not None:
        draw_kernels(given.plot, lines, limits, given.rounds)
    return 0


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
                      "ratio": f"{ratio(mine, hand):.2f}",
                      "more us": f"{1e6 * statistics.median(a - b for a, b in zip(mine, hand, strict=True)) / repeat:,.0f}"})
    return lines


def time_import(rounds: int) -> list[dict[str, str]]:
    """Returns what `import tinyattn` costs over `import numpy`, in fresh processes."""
    code = "import time, numpy; t = time.perf_counter(); import tinyattn; print(time.perf_counter() - t)"
    each = [float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
            for _ in range(max(rounds, 10))]
    return [{"import tinyattn, over numpy": "median", "ms": f"{1e3 * statistics.median(each):.1f}"}]
