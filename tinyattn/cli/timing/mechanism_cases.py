"""The mechanisms as they are timed: their arguments, and the work that their visible pairs take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyattn.engine import vjp
from tinyattn.laws.law import outputs
from tinyattn.ops import alibi, masks
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.masks.published import near_blocks
from tinyattn.ops.neighbours import Axis, neighbours
from tinyattn.ops.norm import unit
from tinyattn.ops.types import Array

HEADS, DIM = 8, 64
# The longest length in the table; a mechanism with a greatest length gets positions up to it.
LONG = 8192
# Work is counted in tiles of this many queries and keys that hold a visible pair, whatever tiles a kernel uses.
TILE = 64
Call = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One mechanism as it is timed: its options, fixed or made for a length, and which pairs are visible.

    `arguments(q, k, v)` are its arguments by name beside the options. `products` is the number of matrix products per tile of
    tokens, forward, of a mechanism that has a state instead of pairs. `label` tells rows of one mechanism apart.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    arguments: Callable[..., dict[str, Any]] = lambda q, k, v: {"q": q, "k": k, "v": v}
    seen: Callable[[int], Any] = lambda length: masks.causal()
    times: int = 1
    products: float | None = None
    grid: bool = False
    label: str = ""

    def all_options(self, length: int) -> dict[str, Any]:
        """Returns the options of a call on so many tokens, with the grid that they fill where the mechanism has one."""
        return self.options | ({"grid": grid_of(length)} if self.grid else {})


def grid_of(length: int) -> tuple[int, int]:
    """Returns the rows and columns of a grid of so many cells, a power of two."""
    rows = 1 << (length.bit_length() - 1) // 2
    return rows, length // rows


def near_cells(length: int) -> Any:
    """Returns which cell of a grid is in the 7 x 7 neighbourhood of which."""
    rows, columns = (neighbours(Axis(side, 7, 1, 1, False))[0] for side in grid_of(length))
    width = len(columns)

    def see(i: Array, j: Array) -> Array:
        down, along = (table[own][..., [0, -1]] for table, own in ((rows, i // width), (columns, i % width)))
        seen: Array = (down[..., 0] <= j // width) & (j // width <= down[..., 1])
        return seen & (along[..., 0] <= j % width) & (j % width <= along[..., 1])

    return masks.Pattern(see)


def causal(pattern: Any) -> Any:
    """Returns a pattern without later keys."""
    return masks.causal() & pattern


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
                "forget_gate": 4 + q[..., 0]}
        return {"q": q, "k": unit(k), "v": v, **{"log_decay" if gate in ("channels", "heads") else gate: made[gate] for gate in gates}}

    return arguments


CASES = (
    Case("attention", {"causal": True}),
    Case("attention", {"causal": True, "softcap": 20.0}, label="attention, softcap"),
    Case("attention", {"causal": True, "bias": alibi(np.linspace(0.1, 0.8, HEADS, dtype=np.float32))}, label="attention, ALiBi"),
    Case("attention", {"causal": True, "score": lambda s, i, j: 0.9 * s - 0.1 * abs(i - j)}, label="attention, a rule"),
    Case("dynamic_contextual_attention", {"ramp": 32.0}, lambda q, k, v: {"q": q, "k": k, "v": v, "span": np.abs(q[..., 0]) * 512}),
    Case("contextual_position_attention", {}, lambda q, k, v: {"q": q, "k": k, "v": v, "embedding": q[0, 0, :64]}),
    Case("softmax_off_by_one_attention", {"causal": True}),
    Case("qk_norm_attention", {"causal": True}),
    Case("forgetting_attention", {}, lambda q, k, v: {"q": q, "k": k, "v": v, "log_forget": -0.01 * np.abs(q[..., 0])}),
    Case("scalable_softmax_attention", {"causal": True, "factor": 0.3}),
    Case("sigmoid_attention", {"causal": True}),
    Case("stick_breaking_attention", {}),
    Case("sparsemax_attention", {"causal": True}),
    Case("entmax_attention", {"causal": True}),
    Case("cosine_attention", {"causal": True}, lambda q, k, v: {"q": q, "k": k, "v": v, "log_scale": q[0, :, 0, 0]}),
    Case("talking_heads_attention", {"causal": True},
         lambda q, k, v: {"q": q, "k": k, "v": v, "before": q[0, 0, :HEADS, :HEADS], "after": q[0, 1, :HEADS, :HEADS]}),
    Case("gated_attention", {"causal": True}, lambda q, k, v: {"q": q, "k": k, "v": v, "gate": q[..., 0]}),
    Case("differential_attention", {"causal": True, "lambda_": 0.3},
         lambda q, k, v: {"q1": q, "k1": k, "q2": k, "k2": q, "v": v}, times=2),
    Case("latent_attention_expanded", {"causal": True}, latent),
    Case("latent_attention_absorbed", {"causal": True}, latent),
    Case("dual_chunk_attention", {"chunk": 2048, "local": 512}),
    Case("multi_head_local_attention", {"window": 256}, seen=lambda length: masks.sliding_window(256)),
    Case("longformer_attention", {"window": 256, "global_tokens": range(64)},
         lambda q, k, v: {"q": q, "k": k, "v": v, "q_global": q, "k_global": k, "v_global": v},
         lambda length: masks.window(256, 256) | masks.global_tokens(range(64))),
    Case("bigbird_attention", {"block": 64, "random": 3, "seed": 0, "causal": True},
         seen=lambda length: causal(near_blocks(64) | masks.random_blocks(64, 3, 0) | masks.first(64))),
    Case("block_sparse_attention", {"q_block": TILE, "kv_block": TILE, "causal": True}, table_of,
         lambda length: causal(masks.Pattern(lambda i, j: chosen(length // TILE)[i // TILE, j // TILE]))),
    Case("gathered_attention", {"mask": masks.sliding_window(256)}, seen=lambda length: masks.sliding_window(256)),
    Case("shifted_sparse_attention", {"group": 512}, seen=lambda length: causal(masks.per_head(
        [masks.block_local(512)] * (HEADS // 2) + [masks.shifted_blocks(512, 256)] * (HEADS // 2)))),
    Case("streaming_llm_attention", {"first": 4, "window": 1024}, seen=lambda length: causal(masks.window(1023, 0) | masks.first(4))),
    # Counted by tiles of 64 keys: 16 chosen ones, a window of 8 and the means of blocks; half of its own block of 8, and three whole.
    Case("native_sparse_attention", {"block": 64, "selected": 16, "window": 512},
         lambda q, k, v: {"q": q, "k": k, "v": v, "gates": sigmoid(q[..., :3])}, products=50),
    Case("top_k_attention", {"keep": 64, "causal": True}),
    Case("block_mixture_attention", {"block": 512, "keep": 4}, products=57),
    Case("neighborhood_attention", {"kernel": 7}, seen=near_cells, grid=True),
    Case("shifted_window_attention", {"window": 8}, products=2, grid=True),
    Case("linear_attention", {"causal": True}, products=4),
    Case("retention", {}, gated("heads"), products=4),
    Case("simple_gated_linear_attention", {}, gated("log_decay"), products=4),
    Case("gated_linear_attention", {}, gated("channels"), products=4),
    Case("delta_rule", {}, gated("beta"), products=6.5),
    Case("gated_delta_rule", {}, gated("log_decay", "beta"), products=6.5),
    Case("lightning_attention", {}, gated("slopes"), products=4),
    Case("rwkv6", {}, gated("channels", "bonus"), products=4),
    Case("mlstm", {}, gated("input_gate", "forget_gate"), products=4),
    Case("kimi_delta_attention", {}, gated("channels", "beta"), products=6.5),
    Case("generalized_delta_rule", {}, gated("channels", "read", "write"), products=6.5),
    Case("rwkv7", {}, gated("channels", "removal", "rate"), products=6.5),
    Case("log_linear_attention", {}, lambda q, k, v: gated("log_decay")(q, k, v) | {
        "level_scales": sigmoid(q[..., :1] + np.zeros(1 + (q.shape[-2] - 1).bit_length(), q.dtype))}, products=4),
    Case("cosformer", {"causal": True, "max_length": LONG}, products=7),
)


def visible_tiles(case: Case, length: int) -> float:
    """Returns how many tiles of all heads hold a visible pair."""
    if case.products is not None:
        return HEADS * length / TILE * case.products / 2
    starts = np.arange(0, length, TILE)
    count = 0
    for start in starts:
        seen = case.seen(length).visible(np.arange(start, start + TILE), np.arange(length))
        by_tile = seen.reshape(*seen.shape[:-2], TILE, len(starts), TILE).any(axis=(-3, -1))
        count += int(by_tile.sum()) * (HEADS if by_tile.ndim == 1 else 1)
    return count * case.times


def work(case: Case, length: int, *, backward: bool) -> float:
    """Returns the FLOPs of the tiles that hold a visible pair: two products of a tile, and five more with a backward."""
    return visible_tiles(case, length) * TILE * TILE * 4 * DIM * (3.5 if backward else 1.0)


def drawn(length: int) -> tuple[Array, Array, Array]:
    """Returns random queries, keys and values."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, HEADS, length, DIM)).astype(np.float32) for _ in range(3))
    return q, k, v


def call(case: Case, form: Call, length: int, *, backward: bool) -> Callable[[], Any]:
    """Returns one call of a form of a mechanism, with the gradients of all its arrays if asked."""
    given = case.arguments(*drawn(length))
    arrays = {name: x for name, x in given.items() if isinstance(x, np.ndarray) and x.dtype != np.bool_}
    fixed = {**case.all_options(length), **{name: x for name, x in given.items() if name not in arrays}}
    if not backward:
        return lambda: form(**arrays, **fixed)

    def slopes() -> Any:
        out, pull = vjp(lambda tree: outputs(form(**tree, **fixed))[0], arrays)
        return pull(np.ones_like(out))

    return slopes
