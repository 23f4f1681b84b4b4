"""Nothing grows with the length squared: what a mechanism takes for 32,768 tokens, beside its arrays."""

import tracemalloc

import numpy as np
import pytest

from tinyattn import kernels, vjp
from tinyattn.ops import masks

LENGTH, HEADS, DIM = 1 << 15, 2, 32
CALLS = {
    "multi_head_local_attention": {"window": 100}, "bigbird_attention": {"block": 64, "random": 2, "seed": 0, "causal": True},
    "shifted_sparse_attention": {"group": 128}, "gathered_attention": {"mask": masks.sliding_window(100) | masks.first(3)},
    "streaming_llm_attention": {"first": 4, "window": 128}, "axial_attention": {"grid": (256, 128), "axis": 0},
    "shifted_window_attention": {"grid": (128, 256), "window": 8, "shift": 4}, "neighborhood_attention": {"grid": (128, 256), "kernel": 3},
    "locally_grouped_attention": {"grid": (128, 256), "window": 8}, "global_subsampled_attention": {"grid": (128, 256), "ratio": 16},
    "nystrom_attention": {"landmarks": 32}, "block_mixture_attention": {"block": 512, "keep": 4},
    "native_sparse_attention": {"block": 64, "selected": 4, "window": 128, "gates": np.full((HEADS, LENGTH, 3), 0.5, np.float32)},
    "retention": {"log_decay": np.array([-0.1, -0.2], np.float32)},
    "longformer_attention": {"window": 100, "global_tokens": range(5)},
    "block_sparse_attention": {"blocks": (np.arange(512) - np.arange(512)[:, None]) % 64 == 0, "q_block": 64, "kv_block": 64},
    "linformer_attention": dict.fromkeys(("project_k", "project_v"), np.full((64, LENGTH), 1.0 / LENGTH, np.float32)),
    "lsh_attention": {"rotations": np.random.default_rng(1).standard_normal((4, DIM, 64), np.float32), "chunk": 64, "causal": True},
}
# Mechanisms that take other arrays than q, k and v.
OWN = {"longformer_attention": lambda q, k, v: {"q": q, "k": k, "v": v, "q_global": q, "k_global": k, "v_global": v},
       "lsh_attention": lambda q, k, v: {"qk": q, "v": v}}
# Softmax mechanisms that see every earlier token take too long for such a text; what arrays they take beside q, k and v.
DENSE = {
    "forgetting_attention": lambda q: {"log_forget": -abs(q[..., 0])}, "stick_breaking_attention": lambda q: {},
    "sigmoid_attention": lambda q: {}, "sparsemax_attention": lambda q: {}, "entmax_attention": lambda q: {},
    "scalable_softmax_attention": lambda q: {"factor": q[:, 0, 0]}, "cosine_attention": lambda q: {"log_scale": q[:, 0, 0]},
    "talking_heads_attention": lambda q: {"before": np.eye(2, dtype=q.dtype), "after": np.eye(2, dtype=q.dtype)},
    "relative_position_attention": lambda q: {"relative": q, "u": q[:, 0], "w": q[:, 1]},
    "path_attention": lambda q: {"w": q / 8, "beta": q[..., 0], "log_forget": -abs(q[..., 1])},
}
CAUSAL = DENSE.keys() - {"forgetting_attention", "stick_breaking_attention", "path_attention"}


def peak_of(call, tree):
    """Returns the most bytes that a call and its gradients hold at a time."""
    tracemalloc.start()
    try:
        out, pull = vjp(call, tree)
        pull(out)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", DENSE)
def test_four_times_the_tokens_take_at_most_four_times_the_memory(name):
    peaks = []
    for length in (512, 512, 2048):  # the first call compiles
        q = np.random.default_rng(0).standard_normal((2, length, 16), np.float32)
        options = {"causal": True} if name in CAUSAL else {}
        peaks.append(peak_of(lambda t: getattr(kernels, name)(**t, **options), {"q": q, "k": q, "v": q} | DENSE[name](q)))
    assert peaks[2] <= 4.1 * peaks[1], f"{peaks[1]} and {peaks[2]} bytes"


@pytest.mark.parametrize("name", CALLS)
def test_a_long_text_takes_little_beside_its_arrays(name):
    x = np.random.default_rng(0).standard_normal((HEADS, LENGTH, DIM), np.float32)

    def call(tree):
        arrays = OWN.get(name, lambda q, k, v: {"q": q, "k": k, "v": v})
        return getattr(kernels, name)(**arrays(*tree), **CALLS[name])

    peak_of(call, (x, x, x))  # what is compiled, and what is kept for the next call, does not count
    peak = peak_of(call, (x, x, x))
    # Inputs, outputs, gradients and the copies of d_k and d_v; a boolean for every pair would be 128 times the size of v.
    assert peak < 32 * x.nbytes, f"{peak / x.nbytes:.1f} times the size of v"
