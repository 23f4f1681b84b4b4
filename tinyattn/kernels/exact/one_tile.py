"""Exact attention of heads whose queries and keys are one tile, as those of windows are: nothing is packed or carried on."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.backward import add_bias_gradient
from tinyattn.kernels.exact.scores import add_bias, hide
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.listed import WHOLE
from tinyattn.kernels.tiles.product import TOGETHER
from tinyattn.kernels.tiles.small import column_plus, column_weight, lines_each, micro_tiles, product_small
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_exp, column_max, column_slope, column_weighed, scale_row, transpose_rows


@inlined
def scale_rows(x, at, count, factor, micro):
    """Multiplies rows that stand one after the other, `count` numbers in all, by a factor."""
    for place in range(at, at + count, micro):
        scale_row(x, place, x, place, factor)


@inlined
def score(s, head, sizes, rules, none, pairs, mask, mask_at, bias, bias_at):
    """Turns a tile of products into scores: the bias added, -inf where unseen. A bias in rows of whole registers is added by them."""
    if rules.biased:
        if rules.bias_row == 1 and rules.bias_column == sizes.q_tile:
            column_plus(s, bias[bias_at[head] :], sizes.kv_len, sizes.q_tile, none, none)
        else:
            add_bias(s, bias, bias_at[head], sizes.q_len, sizes.kv_len, sizes, rules)
    hide(s, head, WHOLE, 0, 0, sizes.q_len, sizes.kv_len, sizes, rules, pairs, mask, mask_at)


@inlined
def forward_in_turn(counter, share, sizes, rules, pairs, mask, mask_at, bias, bias_at, sinks, q, k, v, out, tops, totals, spaces):
    """Does the tasks of `forward_one_tile` that no other thread has taken, in the spaces that it made for them."""
    kind_of = q.dtype.type
    nowhere = kind_of(-np.inf)
    s, q_t, top, shift, part, none = spaces
    width, micro, heads, q_len, kv_len = sizes.q_tile, sizes.micro_columns, sizes.batch * sizes.heads, sizes.q_len, sizes.kv_len
    d, e = sizes.head_dim, sizes.value_dim
    scoring, mixing = micro_tiles(kv_len, width, micro), micro_tiles(q_len, e, micro)
    while True:
        first = next_task(counter) * share
        if first >= heads:
            break
        last = min(first + share, heads)
        for head in range(first, last):
            q_at, k_at, v_at, out_at = head * q_len * d, head * kv_len * d, head * kv_len * e, head * q_len * e
            transpose_rows(q_t, width, q, q_at, d, q_len, kind_of(rules.factor), sizes.lanes, micro)
            product_small(s, 0, width, micro, k, k_at, d, 1, q_t, 0, micro, d * micro, kv_len, width, d, micro, TOGETHER,
                          out, out_at, k, k_at + kv_len * d, lines_each(max(q_len * e, kv_len * d), q.itemsize, scoring))
            score(s, head, sizes, rules, none, pairs, mask, mask_at, bias, bias_at)
            begin = sinks[head % sizes.heads] if sinks.size else nowhere
            for i in range(width):
                top[i] = begin
                part[i] = 0
            column_max(s, kv_len, width, top, top)
            for i in range(width):
                shift[i] = top[i] if top[i] > nowhere else kind_of(0)  # exp(-inf - -inf) would be NaN
            column_exp(s, kv_len, width, shift, part)
            product_small(out, out_at, e, micro, s, 0, 1, width, v, v_at, e, micro, q_len, e, kv_len, micro, kv_len,
                          q, q_at + q_len * d, v, v_at + kv_len * e, lines_each(max(q_len * d, kv_len * e), q.itemsize, mixing))
            for i in range(q_len):
                row, total = head * q_len + i, np.float64(part[i])
                if sinks.size:
                    total += np.exp(np.float64(begin) - shift[i])
                tops[row], totals[row] = top[i], total
                scale_rows(out, out_at + i * e, e, kind_of(1 / total if total != 0 else 0.0), micro)


@compiled
def forward_one_tile(counter, share, sizes, rules, pairs, mask, mask_at, bias, bias_at, sinks, q, k, v, out, tops, totals):
    """Fills what `forward` fills; a task is `share` heads, one after the other: S^T = K Q^T, P = exp(S - max S), out = P V / sum P."""
    control, width, dtype = flush_small(), sizes.q_tile, q.dtype
    spaces = (np.empty(sizes.kv_len * width, dtype), np.empty(sizes.head_dim * width, dtype), np.empty(width, dtype),
              np.empty(width, dtype), np.empty(width, dtype), np.zeros(width, dtype))
    forward_in_turn(counter, share, sizes, rules, pairs, mask, mask_at, bias, bias_at, sinks, q, k, v, out, tops, totals, spaces)
    restore(control)


@inlined
def backward_in_turn(counter, share, sizes, rules, pairs, mask, mask_at, bias, bias_at, scale, q, k, v, tops, totals, d_out, d_lse,
                     d_q, d_k, d_v, delta, d_bias, d_bias_step, spaces):
    """Does the tasks of `backward_one_tile` that no other thread has taken, in the spaces that it made for them."""
    kind_of = q.dtype.type
    p, d_s, q_t, d_out_t, shift, weights, sums, none = spaces
    width, micro, heads, q_len, kv_len = sizes.q_tile, sizes.micro_columns, sizes.batch * sizes.heads, sizes.q_len, sizes.kv_len
    d, e = sizes.head_dim, sizes.value_dim
    scoring, by_key = micro_tiles(kv_len, width, micro), micro_tiles(kv_len, e, micro)
    while True:
        task = next_task(counter)
        first = task * share
        if first >= heads:
            break
        last = min(first + share, heads)
        for head in range(first, last):
            q_at, k_at, v_at, out_at = head * q_len * d, head * kv_len * d, head * kv_len * e, head * q_len * e
            transpose_rows(q_t, width, q, q_at, d, q_len, kind_of(rules.factor), sizes.lanes, micro)
            transpose_rows(d_out_t, width, d_out, out_at, e, q_len, kind_of(1), sizes.lanes, micro)
            for i in range(q_len):
                row = head * q_len + i
                shift[i] = tops[row] if tops[row] > -np.inf else kind_of(0)
                weights[i] = 1 / totals[row] if totals[row] != 0 else 0.0
            product_small(p, 0, width, micro, k, k_at, d, 1, q_t, 0, micro, d * micro, kv_len, width, d, micro, TOGETHER,
                          d_v, v_at, k, k_at + kv_len * d, lines_each(kv_len * max(d, e), q.itemsize, scoring))
            score(p, head, sizes, rules, none, pairs, mask, mask_at, bias, bias_at)
            column_weight(p, kv_len, width, shift, weights)
            product_small(d_v, v_at, e, micro, p, 0, width, 1, d_out, out_at, e, micro, kv_len, e, q_len, micro, q_len,
                          q, q_at + q_len * d, v, v_at + kv_len * e, lines_each(max(q_len * d, kv_len * e), q.itemsize, by_key))
            product_small(d_s, 0, width, micro, v, v_at, e, 1, d_out_t, 0, micro, e * micro, kv_len, width, e, micro, TOGETHER,
                          d_q, q_at, d_k, k_at, lines_each(max(q_len, kv_len) * d, q.itemsize, scoring))
            for i in range(width):
                sums[i] = 0
            column_weighed(p, d_s, kv_len, width, none, sums)
            for i in range(q_len):
                row = head * q_len + i
                sums[i] -= d_lse[row]
                delta[row] = sums[i]
            column_slope(d_s, p, kv_len, width, sums, none)
            if d_bias_step:
                at = task * d_bias_step + bias_at[head]
                if rules.bias_row == 1 and rules.bias_column == width:
                    column_plus(d_bias[at:], d_s, kv_len, width, none, none)
                else:
                    add_bias_gradient(d_s, d_bias, at, q_len, kv_len, sizes, rules)
            product_small(d_k, k_at, d, micro, d_s, 0, width, 1, q, q_at, d, micro, kv_len, d, q_len, micro, q_len,
                          d_out, out_at + q_len * e, d_out, out_at + q_len * e, lines_each(q_len * e, q.itemsize, by_key))
            product_small(d_q, q_at, d, micro, d_s, 0, 1, width, k, k_at, d, micro, q_len, d, kv_len, micro, kv_len, q, 0, q, 0, 0)
            scale_rows(d_k, k_at, kv_len * d, kind_of(scale), micro)
            scale_rows(d_q, q_at, q_len * d, kind_of(scale), micro)


@compiled
def backward_one_tile(counter, share, sizes, rules, pairs, mask, mask_at, bias, bias_at, scale, q, k, v, tops, totals, d_out, d_lse,
                      d_q, d_k, d_v, delta, d_bias, d_bias_step):
    """Fills what `backward` fills, and adds to the gradient of the bias; a task is `share` heads and owns a copy of that.

    With the weights P = exp(S - m) / l: dP^T = V dO^T, delta = sum P dP - d_lse, dS = P (dP - delta), dV = P^T dO,
    dK = dS^T Q, dQ = dS K.
    """
    control, width, dtype = flush_small(), sizes.q_tile, q.dtype
    spaces = (np.empty(sizes.kv_len * width, dtype), np.empty(sizes.kv_len * width, dtype), np.empty(sizes.head_dim * width, dtype),
              np.empty(sizes.value_dim * width, dtype), np.zeros(width, dtype), np.zeros(width, dtype), np.empty(width, dtype),
              np.zeros(width, dtype))
    backward_in_turn(counter, share, sizes, rules, pairs, mask, mask_at, bias, bias_at, scale, q, k, v, tops, totals, d_out, d_lse,
                     d_q, d_k, d_v, delta, d_bias, d_bias_step, spaces)
    restore(control)
