"""The arguments that one softmax mechanism has beyond those of attention, checked: its definition and its kernel share them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import check_broadcast, is_number, kind_name, real, whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

# Subtracted in LSH attention from a token's score with itself, so that it reads itself only where it sees nothing else.
SELF = 1e5
# The kinds of window in local attention.
MODES = ("sliding", "block", "look_back")
# The axes of latent attention, and its arrays without a heads axis.
LATENT_AXES, LATENT_SHARED = "(i,n),(i,p),(j,r),(j,p)->(i,e)", ("latent", "k_rope")


def check_own_heads(q: Array, k: Array) -> None:
    """Raises ValueError unless every query head has a kv head of its own."""
    heads, kv_heads = q.shape[-3], k.shape[-3]
    if heads != kv_heads:
        raise ValueError(f"k: expected {heads} kv_heads, one for each head of q {q.shape}, got shape {k.shape}; "
                         f"grouped_query_attention shares them")


def check_one_head(q: Array, k: Array) -> None:
    """Raises ValueError unless all query heads share one kv head."""
    if k.shape[-3] != 1:
        raise ValueError(f"k: expected 1 kv_head, shared by all heads of q {q.shape}, got shape {k.shape}; "
                         f"grouped_query_attention takes several")


def check_gate_logits(gate: Any, q: Array, v: Array) -> Array:
    """Returns the logits of a gate as (..., heads, i, 1) or (..., heads, i, e), in the dtype of q."""
    gate = floating("gate", gate)
    a_query, a_channel = q.shape[:-1], (*q.shape[:-1], v.shape[-1])
    if gate.shape not in (a_query, a_channel):
        raise ValueError(f"gate: expected shape {a_query} or {a_channel}, got shape {gate.shape}")
    gate = gate.astype(q.dtype)
    return gate if gate.shape == a_channel else gate[..., None]


def check_per_head(name: str, numbers: Any, q: Array) -> Any:
    """Returns one number for all heads as a number or an array of shape (), one per head as (heads, 1, 1) in the dtype of q."""
    if is_number(numbers):
        return real(name, numbers)
    given = floating(name, numbers)
    if not np.isfinite(given).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or inf")
    if not given.ndim:
        return given.astype(q.dtype)
    if given.shape != q.shape[-3:-2]:
        raise ValueError(f"{name}: expected a number or shape {q.shape[-3:-2]}, one per head, got shape {given.shape}")
    return given.astype(q.dtype)[:, None, None]


def check_latent_weights(q_nope: Array, q_rope: Array, latent: Array, w_uk: Any, w_uv: Any,
                         scale: float | None) -> tuple[Array, Array, float | None]:
    """Returns the weights in the compute dtype, and the scale, whose default counts both parts of a query."""
    heads, width = q_nope.shape[-3], latent.shape[-1]
    w_uk, w_uv = floating("w_uk", w_uk), floating("w_uv", w_uv)
    if w_uk.shape != (heads, width, q_nope.shape[-1]):
        raise ValueError(f"w_uk: expected shape {(heads, width, q_nope.shape[-1])}, got shape {w_uk.shape}")
    if w_uv.ndim != 3 or w_uv.shape[:2] != (heads, width):
        raise ValueError(f"w_uv: expected shape ({heads}, {width}, value_dim), got shape {w_uv.shape}")
    dim = q_nope.shape[-1] + q_rope.shape[-1]
    if dim == 0:
        raise ValueError(f"q_nope: head_dim 0 has no scores, got q_nope {q_nope.shape} and q_rope {q_rope.shape}")
    return w_uk.astype(q_nope.dtype), w_uv.astype(q_nope.dtype), dim ** -0.5 if scale is None else scale


def check_table(blocks: Any, q: Array, k: Array, q_block: int, kv_block: int) -> Array:
    """Returns a boolean table of blocks, (..., ceil(q_len / q_block), ceil(kv_len / kv_block))."""
    if not isinstance(blocks, np.ndarray) or isinstance(blocks, np.ma.MaskedArray) or blocks.dtype != np.bool_:
        raise TypeError(f"blocks: expected a boolean array, got {kind_name(blocks)}")
    counts = -(-q.shape[-2] // q_block), -(-k.shape[-2] // kv_block)
    if blocks.ndim < 2 or blocks.shape[-2:] != counts:
        raise ValueError(f"blocks: expected {counts[0]} x {counts[1]} blocks of {q_block} x {kv_block} for q {q.shape} and "
                         f"k {k.shape}, got shape {blocks.shape}")
    check_broadcast("blocks", blocks.shape, (*q.shape[:-2], *counts))
    return blocks


def check_group(group: int, variant: str, q: Array, k: Array) -> None:
    """Raises ValueError unless a group of shifted sparse attention can be halved and its variant is known."""
    if group % 2:
        raise ValueError(f"group: expected an even number, as half of it is the shift, got {group}")
    if variant not in ("safe", "roll"):
        raise ValueError(f"variant: expected 'safe' or 'roll', got {variant!r}")
    if variant == "roll" and q.shape[-2] != k.shape[-2]:
        raise ValueError(f"q: rolling takes as many queries as keys, got q {q.shape} and k {k.shape}")


def check_widths(window: Any, mode: str, heads: int) -> int | tuple[int, ...]:
    """Returns the width of the windows of all heads, or that of each."""
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    if not isinstance(window, (list, tuple, np.ndarray)) or getattr(window, "shape", None) == ():
        return whole("window", window, 1)
    if len(window) != heads:
        raise ValueError(f"window: expected a number or one for each of {heads} heads, got {len(window)} of them")
    return tuple(whole("window", width, 1) for width in window)


def check_projections(project_k: Any, project_v: Any, q: Array, k: Array) -> tuple[Array, Array]:
    """Returns the projections of Linformer in the dtype of q, both of one rank."""
    e, f = (check_projection(name, p, k).astype(q.dtype) for name, p in (("project_k", project_k), ("project_v", project_v)))
    if e.shape[-2] != f.shape[-2]:
        raise ValueError(f"project_v: expected the rank of project_k {e.shape}, got shape {f.shape}")
    return e, f


def check_projection(name: str, projection: Any, k: Array) -> Array:
    """Returns a projection of the keys' length, for all heads or for each."""
    projection = floating(name, projection)
    kv_heads, kv_len = k.shape[-3], k.shape[-2]
    if projection.ndim not in (2, 3) or projection.shape[-1] != kv_len or projection.shape[:-2] not in ((), (kv_heads,)):
        raise ValueError(f"{name}: expected shape (rank, {kv_len}) or ({kv_heads}, rank, {kv_len}), got shape {projection.shape}")
    checked: Array = projection
    return checked


def check_rotations(rotations: Any, qk: Array) -> Array:
    """Returns the directions of all hashes, (hashes, d, buckets // 2), in the dtype of qk."""
    rotations = floating("rotations", rotations)
    if rotations.ndim != 3 or rotations.shape[1] != qk.shape[-1] or 0 in rotations.shape:
        raise ValueError(f"rotations: expected shape (hashes, {qk.shape[-1]}, buckets // 2), got shape {rotations.shape}")
    return check_gate("rotations", rotations, rotations.shape, qk.dtype)


def check_span(span: Any, q: Array) -> Array:
    """Returns spans of shape (..., heads, i), or of one that broadcasts to it, in the dtype of q."""
    span = np.full(1, span, q.dtype) if is_number(span) else floating("span", span)
    check_broadcast("span", span.shape, q.shape[:-1], "(..., heads, q_len)")
    if not np.all(np.isfinite(span)) or np.any(span < 0):
        raise ValueError("span: expected finite numbers of 0 or more, as a token sees itself")
    checked: Array = span.reshape(1) if not span.ndim else span
    return checked.astype(q.dtype)


def check_embedding(embedding: Any, q: Array) -> Array:
    """Returns one vector for each contextual position, (positions, d), in the dtype of q."""
    embedding = floating("embedding", embedding)
    if embedding.ndim != 2 or embedding.shape[-1] != q.shape[-1] or not embedding.shape[0]:
        raise ValueError(f"embedding: expected shape (positions, {q.shape[-1]}), got shape {embedding.shape}")
    return embedding.astype(q.dtype)


def check_index(q_index: Any, k_index: Any, q: Array, k: Array) -> tuple[Array, Array]:
    """Returns the queries (..., index heads, i, c) and keys (..., j, c) of an indexer; their axes must be those of q and k.

    Raises:
        TypeError: no floating array. ValueError: other leading axes, lengths or channels; no index head.
    """
    q_index, k_index = floating("q_index", q_index), floating("k_index", k_index)
    lead = q.shape[:-3]
    if q_index.ndim != q.ndim or (q_index.shape[:-3], q_index.shape[-2]) != (lead, q.shape[-2]) or not q_index.shape[-3]:
        raise ValueError(f"q_index: expected shape ({', '.join(map(str, (*lead, 'index heads', q.shape[-2], 'c')))}) for q {q.shape}, "
                         f"got shape {q_index.shape}")
    if k_index.shape != (wanted := (*lead, k.shape[-2], q_index.shape[-1])):
        raise ValueError(f"k_index: expected shape {wanted} for k {k.shape} and q_index {q_index.shape}, got shape {k_index.shape}")
    if k_index.dtype != q_index.dtype:
        raise TypeError(f"k_index: expected the dtype of q_index, {q_index.dtype}, got {k_index.dtype}")
    return q_index, k_index
