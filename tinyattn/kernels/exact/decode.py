"""Decoding: a few queries against a long cache. Reading memory takes the time, so every key and value is read once, in place."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.scores import cap
from tinyattn.kernels.rules.tiles import call_rule, stand_at
from tinyattn.kernels.tiles.dots import KEYS, LINES, dots, prefetch
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add_few
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_exp, column_max

# Keys between the one that is read and the one that is asked for.
AHEAD = 32
# Exponentials that are summed in their own precision, before the sums are summed in float64.
TOGETHER = 64


@inlined
def score_lines(s, j0, keys, first, lines, kv_head, sizes, rules, mask, mask_at, bias, bias_at, distance):
    """Turns capped products with keys from position j0 on into scores.

    Line c is query c % q_len of the c // q_len-th head of the group; query 0 stands at position `first`.
    """
    width, nowhere = sizes.q_tile, s.dtype.type(-np.inf)
    for c in range(lines):
        head = kv_head * (sizes.heads // sizes.kv_heads) + c // sizes.q_len
        i = c % sizes.q_len
        position = first + i
        if rules.biased:
            at = bias_at[head] + i * rules.bias_row + j0 * rules.bias_column
            for j in range(keys):
                s[j * width + c] += bias[at + j * rules.bias_column]
        if rules.distant:
            at = head % sizes.heads * (sizes.q_len + sizes.kv_len - 1) + position - j0 + sizes.q_len - 1
            for j in range(keys):
                s[j * width + c] += distance[at - j]
        if rules.masked:
            at = mask_at[head] + i * rules.mask_row + j0 * rules.mask_column
            for j in range(keys):
                if not mask[at + j * rules.mask_column]:
                    s[j * width + c] = nowhere
        for j in range(min(keys, position - rules.left - j0)):
            s[j * width + c] = nowhere
        for j in range(max(0, position + rules.right + 1 - j0), keys):
            s[j * width + c] = nowhere


@inlined
def apply_rule(s, j0, keys, first, lines, kv_head, sizes, rule, values, starts, steps, constants, parameters_at, places):
    """Replaces capped products by what a rule gives; to the rule the lines of a group are the queries of one head."""
    width = sizes.q_tile
    for c in range(lines):
        places[c] = first + c % sizes.q_len
    for j in range(keys):
        places[width + j] = j0 + j
    stand_at(parameters_at, kv_head, 0, j0, sizes.batch * sizes.kv_heads, starts, steps)
    call_rule(rule, s, keys, lines, width, places, places[width:], values, parameters_at, steps, constants)


@inlined
def weigh(s, j0, keys, first, lines, kv_head, task, sizes, rules, mask, mask_at, bias, bias_at, distance,
          rule, values, starts, steps, constants, parameters_at, places, shift, spare, part_top, part_total):
    """Turns a chunk's products into exp(s - top), a line's top being its largest score, and keeps the line's top and total."""
    width = sizes.q_tile
    if rules.cap:
        cap(s, keys, sizes, rules, spare)
    if rule:
        apply_rule(s, j0, keys, first, lines, kv_head, sizes, rule, values, starts, steps, constants, parameters_at, places)
    score_lines(s, j0, keys, first, lines, kv_head, sizes, rules, mask, mask_at, bias, bias_at, distance)
    top, part = shift[width:], shift[2 * width :]
    for i in range(width):
        top[i] = -np.inf
    column_max(s, keys, width, top, top)
    for i in range(width):
        shift[i] = top[i] if top[i] > -np.inf else s.dtype.type(0)
    for i in range(lines):
        part_top[task * lines + i] = top[i]
        part_total[task * lines + i] = 0
    for j in range(0, keys, TOGETHER):
        for i in range(width):
            part[i] = 0
        column_exp(s[j * width :], min(TOGETHER, keys - j), width, shift, part)
        for i in range(lines):
            part_total[task * lines + i] += part[i]


@inlined
def all_finite(a, count):
    """Returns whether the first numbers of an array are finite."""
    for x in range(count):
        if a[x] - a[x] != 0:
            return False
    return True


@inlined
def is_shown(j, first, lines, kv_head, sizes, rules, mask, mask_at):
    """Returns whether some line sees the key at position j, by mask and window."""
    for c in range(lines):
        head, i = kv_head * (sizes.heads // sizes.kv_heads) + c // sizes.q_len, c % sizes.q_len
        if -rules.left <= j - first - i <= rules.right and mask[mask_at[head] + i * rules.mask_row + j * rules.mask_column]:
            return True
    return False


@inlined
def take_shown(tile, v, at, v_row, value_dim, j0, keys, first, lines, kv_head, sizes, rules, mask, mask_at):
    """Copies the values of some keys from position j0 on into a tile, those that no line sees as zeros.

    The weight of such a value is 0, and 0 times NaN is NaN.
    """
    for x in range(keys):
        seen = is_shown(j0 + x, first, lines, kv_head, sizes, rules, mask, mask_at)
        for e in range(value_dim):
            tile[x * value_dim + e] = v[at + x * v_row + e] if seen else v.dtype.type(0)


@compiled
def decode(counter, chunks, held, origin, first, sizes, rules, mask, mask_at, bias, bias_at, distance,
           rule, values, starts, steps, constants, q, k, k_at, k_row, v, v_at, v_row, part, part_top, part_total):
    """Fills the partial results of every chunk of `held` keys: part [kv head][chunk][line][value_dim], its top and total.

    A task is a chunk of one kv head's keys. Its lines are the queries of all heads of the group: q [kv head][line]
    [head_dim], padded with zeros to q_tile lines and scaled. Key 0 stands at position `origin`, query 0 at `first`; k has
    KEYS rows at least. NaN in values that a mask hides is looked for in the result: a pass over all values would take as long
    again as reading them.
    """
    width, value_dim = sizes.q_tile, sizes.value_dim
    lines = sizes.heads // sizes.kv_heads * sizes.q_len
    s = np.zeros((held // chunks + KEYS) * width, q.dtype)
    parameters_at, places = np.empty(steps.size // 2, np.int64), np.zeros(width + s.size // width, q.dtype)
    a, shift, spare = np.empty(width * value_dim, q.dtype), np.empty(3 * width, q.dtype), np.zeros(width, q.dtype)
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.kv_heads * chunks:
            break
        kv_head, j0 = task // chunks, held * (task % chunks) // chunks
        keys = held * (task % chunks + 1) // chunks - j0
        for x in range(width * value_dim):
            a[x] = 0
        for j in range(0, keys, KEYS):
            for x in range(KEYS):
                for y in range(0, sizes.head_dim, sizes.lanes):
                    prefetch(k, k_at[kv_head] + (j0 + j + AHEAD + x) * k_row + y)
            begin = max(0, min(j, keys - KEYS))  # the last few keys are computed with those before them
            for line in range(0, lines, LINES):
                dots(s, begin * width + line, width, q, (kv_head * width + line) * sizes.head_dim, sizes.head_dim,
                     k, k_at[kv_head] + (j0 + begin) * k_row, k_row, sizes.head_dim)
        weigh(s, origin + j0, keys, first, lines, kv_head, task, sizes, rules, mask, mask_at, bias, bias_at, distance,
              rule, values, starts, steps, constants, parameters_at, places, shift, spare, part_top, part_total)
        for j in range(0, keys, sizes.kv_tile):
            for x in range(sizes.kv_tile):
                for y in range(0, value_dim, sizes.lanes):
                    prefetch(v, v_at[kv_head] + (j0 + j + sizes.kv_tile + x) * v_row + y)
            product_add_few(a, 0, value_dim, s, j * width, 1, width, v, v_at[kv_head] + (j0 + j) * v_row, v_row, lines, value_dim,
                            min(sizes.kv_tile, keys - j), sizes.micro_columns)
        if rules.masked and not all_finite(a, lines * value_dim):
            tile = np.zeros(sizes.kv_tile * value_dim, q.dtype)
            for x in range(width * value_dim):
                a[x] = 0
            for j in range(0, keys, sizes.kv_tile):
                take_shown(tile, v, v_at[kv_head] + (j0 + j) * v_row, v_row, value_dim, origin + j0 + j, min(sizes.kv_tile, keys - j),
                           first, lines, kv_head, sizes, rules, mask, mask_at)
                product_add_few(a, 0, value_dim, s, j * width, 1, width, tile, 0, value_dim, lines, value_dim,
                                min(sizes.kv_tile, keys - j), sizes.micro_columns)
        for x in range(lines * value_dim):
            part[task * lines * value_dim + x] = a[x]


@compiled
def join(chunks, lines, value_dim, sinks, part, part_top, part_total, out, lse):
    """Merges the chunks' partial results in their order, a sink last, into out and lse, head by head.

    Each partial result is (m, l, a): together m = max m_c, l = sum_c exp(m_c - m) l_c, and a the same way.
    """
    nowhere, none = part.dtype.type(-np.inf), part.dtype.type(0)
    sums = np.empty(value_dim)
    for line in range(out.size // value_dim if value_dim else lse.size):
        begin = line // lines * chunks * lines + line % lines
        top = nowhere
        for c in range(chunks):
            top = max(top, part_top[begin + c * lines])
        if sinks.size:
            top = max(top, sinks[line])
        shift = top if top > nowhere else none
        total = np.exp(np.float64(sinks[line]) - shift) if sinks.size else 0.0
        for e in range(value_dim):
            sums[e] = 0
        for c in range(chunks):
            at = begin + c * lines
            factor = np.exp(np.float64(part_top[at]) - shift)
            total += factor * part_total[at]
            for e in range(value_dim):
                sums[e] += factor * part[at * value_dim + e]
        weight = 1 / total if total != 0 else 0.0
        for e in range(value_dim):
            out[line * value_dim + e] = sums[e] * weight
        lse[line] = shift + np.log(total) if total != 0 else nowhere
