"""The cases of the kernels' table: shapes, masks, and how many times as fast as other libraries our kernels are meant to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyattn.ops import masks
from tinyattn.ops.types import Array


@dataclass(frozen=True)
class Case:
    """One case: (batch, heads, kv_heads, q_len, kv_len, head_dim) in float32, its mask, and the ratios asked of it by library."""

    shape: tuple[int, int, int, int, int, int]
    backward: bool = False
    causal: bool = True
    window: tuple[int, int] | None = None
    pattern: Any = None
    asked: dict[str, float] = field(default_factory=dict)

    @property
    def masked(self) -> bool:
        """Whether other libraries need a dense mask for this case."""
        return self.window is not None or self.pattern is not None

    def seen(self) -> Any:
        """Returns the pattern that says which query sees which key."""
        return self.pattern if self.pattern is not None else masks.window(*self.window) if self.window else masks.causal()

    def arrays(self) -> tuple[Array, ...]:
        """Returns q, k, v."""
        batch, heads, kv_heads, q_len, kv_len, dim = self.shape
        rng = np.random.default_rng(0)
        return tuple(rng.standard_normal((batch, h, n, dim)).astype(np.float32)
                     for h, n in ((heads, q_len), (kv_heads, kv_len), (kv_heads, kv_len)))

    def __str__(self) -> str:
        batch, heads, kv_heads, q_len, kv_len, dim = self.shape
        what = "decode" if q_len == 1 else "forward, backward" if self.backward else "forward"
        seen = "window | 16 tokens" if self.pattern is not None else f"window {self.window[0]}" if self.window else "causal"
        return f"{what} ({batch}, {heads}, {kv_heads}, {kv_len}, {dim})" + (f" {seen}" if q_len > 1 else "")


def scores(case: Case) -> int:
    """Returns the number of scores, visible or not."""
    batch, heads, _, q_len, kv_len, _ = case.shape
    return batch * heads * q_len * kv_len


def operations(case: Case) -> float:
    """Returns the FLOPs of a case: 4 head_dim per visible pair, 3.5 times as many with the backward."""
    kv_len, head_dim = case.shape[4:]
    if case.window:
        share = (case.window[0] + 1) / kv_len
    elif case.pattern is not None:
        share = (257 + 2 * 16) / kv_len
    else:
        share = 0.5 if case.causal else 1.0
    return 4.0 * scores(case) * share * head_dim * (3.5 if case.backward else 1)


def bytes_moved(case: Case) -> float:
    """Returns the bytes of q, k, v and out, each moved once; three times as many with the backward, which has their gradients too."""
    batch, heads, kv_heads, q_len, kv_len, head_dim = case.shape
    return 8.0 * batch * head_dim * (heads * q_len + kv_heads * kv_len) * (3 if case.backward else 1)


def described(case: Case, note: str = "") -> dict[str, Any]:
    """Returns the columns that every row of the table has: the case with a note, the kernel that serves it, and its FLOPs."""
    return {"case": f"{case}{note}", "served by": "decode" if case.shape[3] == 1 else "attention", "GFLOP": operations(case) / 1e9}


FAR = (1, 8, 8, 16384, 16384, 64)
GLOBAL = masks.window(128, 128) | masks.global_tokens(range(16))
CASES = (
    Case((1, 8, 8, 2048, 2048, 64), asked={"PyTorch": 2.2}),
    Case((1, 8, 2, 2048, 2048, 64), asked={"PyTorch": 2.2}),
    Case((4, 8, 8, 512, 512, 64), asked={"PyTorch": 2.5}),
    Case((1, 8, 8, 4096, 4096, 128), asked={"PyTorch": 2.2}),
    Case((1, 8, 8, 2048, 2048, 64), backward=True, asked={"PyTorch": 2.5}),
    Case((1, 8, 2, 2048, 2048, 64), backward=True, asked={"PyTorch": 2.5}),
    Case((4, 8, 8, 512, 512, 64), backward=True, asked={"PyTorch": 2.5}),
    Case((1, 8, 8, 4096, 4096, 128), backward=True, asked={"PyTorch": 2.0}),
    Case((1, 32, 8, 1, 8192, 128), causal=False, asked={"PyTorch": 6.0}),
    Case(FAR, window=(255, 0), asked={"PyTorch": 15.0, "flex_attention": 1.5}),
    Case(FAR, window=(255, 0), backward=True, asked={"PyTorch": 15.0}),
    Case(FAR, causal=False, pattern=GLOBAL, asked={"PyTorch": 10.0}),
)
