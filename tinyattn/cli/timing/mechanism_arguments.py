"""What the mechanisms that are timed take beside queries, keys and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.cli.timing.mechanism_case import DIM, HEADS, TILE
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.draws import lsh_rotations, performer_projection
from tinyattn.ops.norm import unit
from tinyattn.ops.types import Array


def table_of(q: Array, k: Array, v: Array) -> dict[str, Any]:
    """Returns the arguments of block-sparse attention, with about an eighth of all blocks in the table."""
    return {"q": q, "k": k, "v": v, "blocks": chosen(q.shape[-2] // TILE)}


def chosen(count: int) -> Array:
    """Returns a table of blocks, one in eight on average, those on the diagonal always."""
    return (np.random.default_rng(0).random((count, count)) < 0.125) | np.eye(count, dtype=bool)


def latent(q: Array, k: Array, v: Array) -> dict[str, Any]:
    """Returns the arguments of latent attention with a latent vector as wide as two heads."""
    rng = np.random.default_rng(0)
    w_uk, w_uv = (rng.standard_normal((HEADS, 2 * DIM, width)).astype(q.dtype) / DIM for width in (DIM, DIM))
    return {"q_nope": q, "q_rope": q[..., :16], "latent": np.concatenate((k, v), axis=-1)[:, 0], "k_rope": k[:, 0, :, :16],
            "w_uk": w_uk, "w_uv": w_uv}


def gated(*gates: str) -> Callable[..., dict[str, Any]]:
    """Returns the arguments of a recurrence with these gates, on keys of length 1."""
    def arguments(q: Array, k: Array, v: Array) -> dict[str, Any]:
        made = {"log_decay": -0.1 * np.abs(q[..., 0]), "channels": -0.1 * np.abs(q), "heads": -0.1 * np.abs(q[0, :, 0, 0]),
                "slopes": 0.1 * np.abs(q[0, :, 0, 0]), "beta": sigmoid(k[..., 0]), "read": -unit(k), "write": 0.5 * unit(k),
                "removal": unit(k), "rate": sigmoid(q), "bonus": np.abs(q[0, :, 0]), "input_gate": k[..., 0],
                "forget_gate": 4 + q[..., 0], "ridge": 1 + np.abs(q[0, :, 0])}
        return {"q": q, "k": unit(k), "v": v, **{"log_decay" if gate in ("channels", "heads") else gate: made[gate] for gate in gates}}

    return arguments


def with_heads(count: int) -> Callable[..., dict[str, Any]]:
    """Returns the arguments of attention with so many heads of keys and values."""
    return lambda q, k, v: {"q": q, "k": k[:, :count], "v": v[:, :count]}


def indexed(q: Array, k: Array, v: Array) -> dict[str, Any]:
    """Returns the arguments of attention to the keys that an indexer of 4 heads of 32 chooses."""
    return {"q": q, "k": k, "v": v, "q_index": q[:, :4, :, :32], "k_index": k[:, 0, :, :32], "weights": v[:, :4, :, 0]}


def factors(q: Array, k: Array, v: Array) -> dict[str, Any]:
    """Returns the factors of queries of rank 6, and of keys and values of rank 2."""
    of_q, of_k, of_v = (np.swapaxes(x, 1, 2) for x in (q, k, v))  # (1, length, HEADS, DIM), to be cut along the rank
    return {"q_factors": (of_k[..., :6, :HEADS], of_q[..., :6, :]), "k_factors": (of_v[..., :2, :HEADS], of_k[..., :2, :]),
            "v_factors": (of_q[..., 6:, :HEADS], of_v[..., :2, :])}


def by_distance(q: Array, k: Array, v: Array) -> dict[str, Any]:
    """Returns the arguments of disentangled attention: DeBERTa's tables of 512 distances and the row that each pair reads."""
    place, span = np.arange(q.shape[-2], dtype=np.int16), 256
    rng = np.random.default_rng(0)
    q_relative, k_relative = (rng.standard_normal((HEADS, 2 * span, DIM)).astype(q.dtype) for _ in range(2))
    return {"q": q, "k": k, "v": v, "q_relative": q_relative, "k_relative": k_relative,
            "distance": np.clip(place[:, None] - place + span, 0, 2 * span - 1)}


def hashed(q: Array, k: Array, v: Array) -> dict[str, Any]:
    """Returns the arguments of LSH attention: 4 hashes, into as many buckets as there are chunks of 64 tokens."""
    return {"qk": q, "v": v, "rotations": lsh_rotations(np.random.default_rng(0), 4, DIM, q.shape[-2] // TILE).astype(q.dtype)}


def projected(q: Array, k: Array, v: Array) -> dict[str, Any]:
    """Returns the arguments of Linformer attention, of rank 256."""
    rng, length = np.random.default_rng(0), q.shape[-2]
    down_k, down_v = ((rng.standard_normal((256, length)) / length ** 0.5).astype(q.dtype) for _ in range(2))
    return {"q": q, "k": k, "v": v, "project_k": down_k, "project_v": down_v}


def directions(q: Array, k: Array, v: Array) -> dict[str, Any]:
    """Returns the arguments of Performer attention, with 128 features, on queries and keys whose products are small."""
    projection = performer_projection(np.random.default_rng(0), 2 * DIM, DIM).astype(q.dtype)
    return {"q": unit(q), "k": unit(k), "v": v, "projection": projection}


def two_keys(q: Array, k: Array, v: Array) -> dict[str, Any]:
    """Returns the arguments of a delta product of two steps per token."""
    keys, values = (np.concatenate(pair, axis=-2) for pair in ((k, v), (v, k)))
    return {"q": q, "k": unit(keys), "v": values, "beta": sigmoid(keys[..., 0]), "log_decay": -0.1 * np.abs(q[..., 0])}
