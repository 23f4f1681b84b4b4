"""When the kernels of one tile are called, and with what."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.exact.one_tile import backward_one_tile, forward_one_tile
from tinyattn.kernels.exact.scores import Rules
from tinyattn.kernels.tiles.listed import LISTS
from tinyattn.kernels.tiles.storage import Sizes, work
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array

# Queries and keys from which on a head is worth a kernel of its own; below, micro tiles do not come out even.
LEAST = 16
# Heads of a task: fewer are not worth another thread.
SHARE = 32


def fits(sizes: Sizes, rules: Rules) -> bool:
    """Returns whether each head is one tile of keys of its own, with nothing but a bias between products and scores."""
    return (LEAST <= min(sizes.q_len, sizes.kv_len) and sizes.q_len <= sizes.q_tile and sizes.kv_len <= sizes.kv_tile
            and sizes.heads == sizes.kv_heads and sizes.head_dim == sizes.head_width > 0
            and sizes.value_dim == sizes.value_width > 0 and not (rules.cap or rules.listed or rules.distant))


def in_registers(rules: Rules, bias: Array, bias_at: Array, sizes: Sizes) -> tuple[Rules, Array, Array]:
    """Returns a bias that stands turned, [key][query], in rows as long as those of a tile, and the rules and places that fit."""
    if rules.bias_row != 1 or rules.bias_column != sizes.q_len or sizes.q_len == sizes.q_tile:
        return rules, bias, bias_at
    wide = np.zeros((bias.size // sizes.q_len, sizes.q_tile), bias.dtype)
    wide[:, : sizes.q_len] = bias.reshape(-1, sizes.q_len)
    return rules._replace(bias_column=sizes.q_tile), wide.reshape(-1), bias_at // sizes.q_len * sizes.q_tile


def solve_one_tile(sizes: Sizes, rules: Rules, arrays: list[Any], *rest: Array) -> None:
    """Calls the forward with the arrays that `scoring` returned; the rest is sinks, q, k, v, and what is filled."""
    pairs, mask, mask_at, bias, bias_at, _ = arrays[LISTS - 1 :]
    rules, bias, bias_at = in_registers(rules, bias, bias_at, sizes)
    heads = sizes.batch * sizes.heads
    run(forward_one_tile, -(-heads // SHARE), work(sizes), SHARE, sizes, rules, pairs, mask, mask_at, bias, bias_at, *rest)


def pull_one_tile(sizes: Sizes, rules: Rules, arrays: list[Any], slots: int, *rest: Any) -> Array:
    """Calls the backward, and returns the gradient of the bias, if it is learned: at most so many copies, to be summed.

    The rest is the scale, q, k, v, tops, totals, d_out, d_lse, and what is filled: d_q, d_k, d_v, delta.
    """
    pairs, mask, mask_at, bias, bias_at, _ = arrays[LISTS - 1 :]
    wide_rules, wide, wide_at = in_registers(rules, bias, bias_at, sizes)
    heads = sizes.batch * sizes.heads
    share = max(SHARE, -(-heads // slots)) if slots else SHARE
    tasks = -(-heads // share)
    d_bias = np.zeros((tasks, wide.size) if slots else (0, 0), wide.dtype)
    run(backward_one_tile, tasks, 3 * work(sizes), share, sizes, wide_rules, pairs, mask, mask_at, wide, wide_at, *rest,
        d_bias.reshape(-1), d_bias.shape[1])
    return d_bias.reshape(tasks, -1, sizes.q_tile)[..., : sizes.q_len].reshape(tasks, -1) if wide.size != bias.size else d_bias
