"""What only a new process can measure of the kernels: the peak of memory, and the first calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from tinyattn.cli.outputs import Line
from tinyattn.cli.timing.kernel_cases import Case, described

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
# Linux keeps the highest resident size and forgets it when 5 is written, so that the memory of compiling does not count.
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


def told(code: str, **environment: str) -> Any:
    """Returns what a new process prints, read as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, **environment})
    return json.loads(done.stdout)


def fresh_rows() -> list[Line]:
    """Returns the rows of the peak of memory, on Linux, and of the first calls, compiled and from the files of an earlier one."""
    lines: list[Line] = []
    if sys.platform == "linux":
        large = Case((1, 8, 8, 32768, 32768, 64), backward=True)
        lines.append({**described(large, ", peak"), "beside": "bytes of q, k, v, out", "times": told(MEMORY), "at most": 5.0})
    with tempfile.TemporaryDirectory() as folder:
        for says, asked in (("first call ever", (6.0, 15.0)), ("first call, compiled before", (0.6, 1.0))):
            for backward, seconds, most in zip((False, True), told(FIRST, NUMBA_CACHE_DIR=folder), asked, strict=True):
                small = Case((1, 2, 2, 128, 128, 64), backward=backward)
                lines.append({**described(small, f", {says}"), "ms": 1e3 * seconds, "beside": "1 s", "times": seconds,
                              "at most": most})
    return lines
