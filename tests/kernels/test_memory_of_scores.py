"""What a mechanism that scores all earlier tokens takes for a long text beside its arrays, in sizes of its values."""


import numpy as np
import pytest

from tests.kernels.peak import peak_of
from tinyattn import kernels, vjp
from tinyattn.cli.timing.mechanism_case import DIM, HEADS
from tinyattn.kernels.rows import mixtures
from tinyattn.laws.law import outputs

LENGTH, SPAN = 1 << 11, 256
PLACE = np.arange(LENGTH, dtype=np.int16)
CALLS = {
    "attention": lambda q: {"causal": True},
    "softmax_off_by_one_attention": lambda q: {"causal": True},
    "qk_norm_attention": lambda q: {"causal": True},
    "cosine_attention": lambda q: {"causal": True, "log_scale": q[0, :, 0, 0]},
    "scalable_softmax_attention": lambda q: {"causal": True, "factor": q[0, :, 0, 0]},
    "sigmoid_attention": lambda q: {"causal": True},
    "sparsemax_attention": lambda q: {"causal": True},
    "entmax_attention": lambda q: {"causal": True},
    "stick_breaking_attention": lambda q: {},
    "gated_attention": lambda q: {"causal": True, "gate": q[..., 0]},
    "forgetting_attention": lambda q: {"log_forget": -abs(q[..., 0])},
    "dynamic_contextual_attention": lambda q: {"ramp": 32.0, "span": abs(q[..., 0]) * 512},
    "contextual_position_attention": lambda q: {"embedding": q[0, 0, :64]},
    "differential_attention": lambda q: {"causal": True, "lambda_": q[0, :, 0, 0]},
    "talking_heads_attention": lambda q: {"causal": True, "before": q[0, 0, :HEADS, :HEADS], "after": q[0, 1, :HEADS, :HEADS]},
    "relative_position_attention": lambda q: {"causal": True, "relative": q[0], "u": q[0, :, 0], "w": q[0, :, 1]},
    "disentangled_attention": lambda q: {"causal": True, "q_relative": q[0, :, : 2 * SPAN], "k_relative": q[0, :, -2 * SPAN :],
                                         "distance": np.clip(PLACE[:, None] - PLACE + SPAN, 0, 2 * SPAN - 1)},
}
TOKENS = {"differential_attention": ("q1", "k1", "q2", "k2", "v")}
# Two sizes of v may be saved. What a thread writes in between is the tiles of a few queries, an eighth of v here for most.
SAVED, ROOM = 2.0, 0.25
# What these hold beside it is taken from the 64 MiB of each of two threads, which are two sizes of v at 32,768 tokens: the gradient of an
# array that was made from another is there until it has become the other's, and two results of attention beside their difference.
# Talking heads copy the gradients of keys and values once, and hold three tiles of all heads.
MORE = {"qk_norm_attention": 1.0, "cosine_attention": 1.0, "scalable_softmax_attention": 1.0, "differential_attention": 1.0,
        "relative_position_attention": 1.0, "talking_heads_attention": 1.25}


def is_real(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def taken(name, length):
    """Returns the most that a call and its gradients hold, and what is given, its gradients and the result take, in sizes of v."""
    q = np.random.default_rng(0).standard_normal((1, HEADS, length, DIM), np.float32)
    given = dict.fromkeys(TOKENS.get(name, "qkv"), q) | CALLS[name](q)
    if "distance" in given:
        given["distance"] = given["distance"][:length, :length]
    arrays = {key: np.array(x) for key, x in given.items() if is_real(x)}
    fixed = {key: x for key, x in given.items() if key not in arrays}

    def slopes():
        out, pull = vjp(lambda tree: outputs(getattr(kernels, name)(**tree, **fixed))[0], arrays)
        pull(out)
        return out

    peak, out = peak_of(slopes)
    return peak / q.nbytes, (2 * sum(x.nbytes for x in arrays.values()) + out.nbytes) / q.nbytes


@pytest.mark.parametrize("name", CALLS)
def test_two_sizes_of_v_are_saved_beside_the_arrays(name, monkeypatch):
    # As for 32,768 tokens: one copy of the gradients of keys and values, and as large a share of the tiles is held.
    monkeypatch.setattr(mixtures, "SPLIT", 1)
    monkeypatch.setattr(mixtures, "COPIED_BYTES", 0)
    monkeypatch.setattr(mixtures, "HELD_BYTES_BACK", mixtures.HELD_BYTES_BACK >> 4)
    with kernels.threads(1):
        taken(name, 512)  # what is compiled does not count
        peak, arrays = taken(name, LENGTH)
    assert peak <= arrays + SAVED + ROOM + MORE.get(name, 0.0), f"{peak - arrays:.2f} sizes of v beside the arrays"
