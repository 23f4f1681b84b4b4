"""The fastest form of each mechanism beside its definition, dense exact attention, and the machine's own product."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.cli.outputs import Line
from tinyattn.cli.timing.measure import REST, interleaved, limits, ratio
from tinyattn.cli.timing.table import Table
from tinyattn.engine import vjp
from tinyattn.laws.law import outputs
from tinyattn.ops import masks
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.masks.published import near_blocks
from tinyattn.ops.norm import unit
from tinyattn.ops.types import Array

HEADS, DIM = 8, 64
# The lengths at which a mechanism is compared with its definition, whose scores are square, and to which it must grow.
LENGTH, LONG = 2048, 8192
# Seconds of one comparison after which no further round begins.
PATIENCE = 10.0
# Work is counted in tiles of this many queries and keys that hold a visible pair, whatever tiles a kernel uses.
TILE = 64
Call = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One mechanism as it is timed: options that are the same for every length or made for one, and which pairs are visible.

    `arguments(q, k, v)` are its arguments by name beside the options. `products` counts the whole products of a tile of tokens,
    forward, where a state stands in the place of the pairs.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    arguments: Callable[..., dict[str, Any]] = lambda q, k, v: {"q": q, "k": k, "v": v}
    seen: Callable[[int], Any] = lambda length: masks.causal()
    times: int = 1
    products: float | None = None


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
                "beta": sigmoid(k[..., 0])}
        return {"q": q, "k": unit(k), "v": v, **{"log_decay" if gate in ("channels", "heads") else gate: made[gate] for gate in gates}}

    return arguments


CASES = (
    Case("attention", {"causal": True}),
    Case("softmax_off_by_one_attention", {"causal": True}),
    Case("qk_norm_attention", {"causal": True}),
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
    Case("native_sparse_attention", {"block": 64, "selected": 16, "window": 512},
         lambda q, k, v: {"q": q, "k": k, "v": v, "gates": sigmoid(q[..., :3])}),
    Case("block_mixture_attention", {"block": 512, "keep": 4}),
    Case("linear_attention", {"causal": True}, products=4),
    Case("retention", {}, gated("heads"), products=4),
    Case("simple_gated_linear_attention", {}, gated("log_decay"), products=4),
    Case("gated_linear_attention", {}, gated("channels"), products=4),
    Case("delta_rule", {}, gated("beta"), products=6.5),
    Case("gated_delta_rule", {}, gated("log_decay", "beta"), products=6.5),
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


def call(case: Case, form: Call, length: int, *, backward: bool) -> Callable[[], Any]:
    """Returns one call of a form of a mechanism, with the gradients of all its arrays if asked."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, HEADS, length, DIM)).astype(np.float32) for _ in range(3))
    given = case.arguments(q, k, v)
    arrays = {name: x for name, x in given.items() if isinstance(x, np.ndarray) and x.dtype != np.bool_}
    fixed = {**case.options, **{name: x for name, x in given.items() if name not in arrays}}
    if not backward:
        return lambda: form(**arrays, **fixed)

    def slopes() -> Any:
        out, pull = vjp(lambda tree: outputs(form(**tree, **fixed))[0], arrays)
        return pull(np.ones_like(out))

    return slopes


def time_mechanisms(rounds: int) -> list[Line]:
    """Returns a row per mechanism and pass: milliseconds, and how they compare."""
    product, _ = limits()
    print(f"float32, (1, {HEADS}, {LENGTH}, {DIM}), causal where it can be; a product gives {product:.0f} GFLOP/s", flush=True)
    lines: list[Line] = []
    for case in CASES:
        fast: Call = getattr(fastest, case.name)
        for backward in (False, True):
            now = partial(call, case, fast, backward=backward)
            dense = call(CASES[0], fastest.attention, LENGTH, backward=backward)
            taken = interleaved({"fast": now(LENGTH), "dense": dense, "definition": call(case, getattr(definitions, case.name), LENGTH,
                                 backward=backward)}, rounds, warm_up=1, rest=REST, seconds=PATIENCE)
            grown = interleaved({"short": now(LENGTH), "long": now(LONG)}, rounds, warm_up=1, rest=REST, seconds=PATIENCE)
            rate = work(case, LONG, backward=backward) / statistics.median(grown["long"]) / 1e9
            lines.append({"mechanism": case.name, "pass": "with backward" if backward else "forward",
                          "ms": 1e3 * statistics.median(taken["fast"]), "times definition": ratio(taken["definition"], taken["fast"]),
                          "of dense": ratio(taken["fast"], taken["dense"]), "growth": ratio(grown["long"], grown["short"]),
                          "GFLOP/s": rate, "of the product": rate / product,
                          "served by": "definition" if fastest.kernel() is None else "kernel"})
    return lines


def shown(line: Line) -> dict[str, str]:
    """Returns a row as text."""
    forms = {"ms": "{:,.1f}", "times definition": "{:.1f}", "of dense": "{:.2f}", "growth": "{:.1f}", "GFLOP/s": "{:.0f}",
             "of the product": "{:.0%}"}
    return {name: forms.get(name, "{}").format(value) for name, value in line.items()}


TABLE = Table("every mechanism beside its definition and dense attention", time_mechanisms, shown)
