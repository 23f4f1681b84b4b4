"""The kernels beside PyTorch's attention, and beside what the machine gives: its own product and its own reading."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine import Tensor
from tinyattn.ops import masks

# The threads of one library spin for a while after its call; the next is measured when they rest.
REST = 0.06


class Case(NamedTuple):
    """A row of the table: (batch, heads, kv_heads, q_len, kv_len, head_dim), what is done, the mask."""

    shape: tuple[int, int, int, int, int, int]
    backward: bool = False
    causal: bool = True
    window: tuple[int, int] | None = None
    pattern: Any = None


SHAPES = ((1, 8, 8, 2048, 2048, 64), (1, 8, 2, 2048, 2048, 64), (4, 8, 8, 512, 512, 64), (1, 8, 8, 4096, 4096, 128))
FAR = (1, 8, 8, 16384, 16384, 64)
CASES = (*(Case(shape, backward) for backward in (False, True) for shape in SHAPES),
         Case((1, 32, 8, 1, 8192, 128), causal=False),
         *(Case(FAR, backward, window=(255, 0)) for backward in (False, True)),
         Case(FAR, causal=False, pattern=masks.window(128, 128) | masks.global_tokens(range(16))))


def operations(case: Case) -> float:
    """Returns the FLOPs of a case: 4 head_dim a visible pair, and 2.5 times that once more for the backward."""
    batch, heads, _, q_len, kv_len, head_dim = case.shape
    if case.window:
        pairs: float = q_len * (case.window[0] + 1)
    elif case.pattern is not None:
        pairs = q_len * (257 + 2 * 16)
    else:
        pairs = q_len * kv_len / (2 if case.causal else 1)
    return 4.0 * batch * heads * pairs * head_dim * (3.5 if case.backward else 1)


def ours(case: Case, arrays: tuple[Any, ...]) -> Callable[[], Any]:
    """Returns the call of our kernel."""
    from tinyattn import kernels

    attend: Callable[..., Any] = kernels.attention
    options = {"causal": case.causal, "window": case.window, "mask": case.pattern}
    if not case.backward:
        return lambda: attend(*arrays, **options)
    ones = np.ones_like(arrays[0])
    return lambda: attend(*map(Tensor, arrays), **options).backward(ones)


def torchs(case: Case, arrays: tuple[Any, ...]) -> Callable[[], Any]:
    """Returns PyTorch's call; a window or a pattern is the equivalent dense mask."""
    import torch

    tensors = [torch.from_numpy(array).requires_grad_(case.backward) for array in arrays]
    masked = case.window is not None or case.pattern is not None
    seen = case.pattern if case.pattern is not None else masks.window(*(case.window or (0, 0)))
    mask = torch.from_numpy(seen.dense(case.shape[3], case.shape[4]).copy()) if masked else None

    def call() -> Any:
        out = torch.nn.functional.scaled_dot_product_attention(
            *tensors, attn_mask=mask, is_causal=case.causal and not masked, enable_gqa=case.shape[1] != case.shape[2])
        if case.backward:
            out.backward(torch.ones_like(out))
    return call


def limits() -> tuple[float, float]:
    """Returns NumPy's product of two 2048 x 2048 matrices in GFLOP/s, and reading 256 MiB in two threads in GB/s."""
    square, long = np.ones((2048, 2048), np.float32), np.ones(1 << 26, np.float32)
    product = median(lambda: square @ square, 5)
    with ThreadPoolExecutor(2) as pool:
        reading = median(lambda: list(pool.map(np.max, np.split(long, 2))), 5)
    return 2 * 2048 ** 3 / product / 1e9, long.nbytes / reading / 1e9


def median(call: Callable[[], Any], rounds: int) -> float:
    """Returns the median of the seconds of a call, after one that is not counted."""
    call()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def time_kernels(rounds: int) -> list[dict[str, str]]:
    """Returns a row a case: milliseconds of both, their ratio, our rate and its share of the limit."""
    from tinyattn.kernels.threads import thread_count

    product, reading = limits()
    print(f"float32, {thread_count()} threads; limits: a product {product:.0f} GFLOP/s, reading {reading:.1f} GB/s")
    peer = importlib.util.find_spec("torch") is not None
    if not peer:
        print("PyTorch is not installed; only our own kernels are measured")
    lines = []
    for case in CASES:
        batch, heads, kv_heads, q_len, kv_len, dim = case.shape
        rng = np.random.default_rng(0)
        arrays = tuple(rng.standard_normal((batch, h, n, dim)).astype(np.float32)
                       for h, n in ((heads, q_len), (kv_heads, kv_len), (kv_heads, kv_len)))
        calls = {"ours": ours(case, arrays), **({"torch": torchs(case, arrays)} if peer else {})}
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(rounds + 1):
            for name, call in calls.items():
                time.sleep(REST)
                started = time.perf_counter()
                call()
                if number:
                    seconds[name].append(time.perf_counter() - started)
        mine, theirs = seconds["ours"], seconds.get("torch")
        spent = statistics.median(mine)
        rate = operations(case) / spent / 1e9
        share = rate / product if q_len > 1 else 8.0 * batch * kv_heads * kv_len * dim / spent / 1e9 / reading
        what = "decode" if q_len == 1 else "forward and backward" if case.backward else "forward"
        seen = str(case.pattern) if case.pattern is not None else f"window {case.window}" if case.window else "causal" * case.causal
        lines.append({"case": f"{what} ({batch}, {heads}, {kv_heads}, {kv_len}, {dim}) {seen[:24]}", "ms": f"{1e3 * spent:.1f}",
                      "PyTorch ms": f"{1e3 * statistics.median(theirs):.1f}" if theirs else "",
                      "times PyTorch": f"{statistics.median(b / a for a, b in zip(mine, theirs, strict=True)):.2f}" if theirs else "",
                      "GFLOP": f"{operations(case) / 1e9:.1f}", "GFLOP/s": f"{rate:.0f}", "of the limit": f"{share:.0%}"})
    return lines
