"""The gradients of what was given, from those of the vectors that tokens read and write along."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.states.onward import onward
from tinyattn.kernels.states.rows import dot, store_rows
from tinyattn.kernels.tiles.jit import inlined, reassociated


@reassociated
def through_correction(d_log_decay, decay_at, d_reads, reads, decay, width, dim):
    """Adds to a token's row of gradients of its log decays what comes by -beta times the decays times the key.

    The row of d_reads becomes its gradient before that key: times the decays.
    """
    for c in range(dim):
        d_log_decay[decay_at + c] += reads[c] * d_reads[c]
    for c in range(width):
        d_reads[c] *= decay[c]


@reassociated
def take_off(x, y, factor, count):
    """Takes factor times y off x."""
    for c in range(count):
        x[c] -= factor * y[c]


@reassociated
def through_rates(d_reads, d_writes, removal, rate, at, dim):
    """Replaces the gradients of -r and of a r, the removal r and its rate a, by those of r and of a."""
    for c in range(dim):
        written = d_writes[c]
        d_reads[c] = rate[at + c] * written - d_reads[c]
        d_writes[c] = removal[at + c] * written


@inlined
def store_slopes(d_k, d_v, d_log_decay, d_read, d_write, d_beta, d_keys, d_reads, d_rows, reads, keys, decay, v, v_at, v_step, read,
                 write, beta, token, rows, sizes):
    """Fills the gradients of keys, values and what else was given; d_keys [sides][..] has those of K last, d_rows those of V."""
    width, tall, dim, columns, micro = sizes.head_width, sizes.value_width, sizes.head_dim, sizes.value_dim, sizes.micro_columns
    one, at, last = d_keys.dtype.type(1), token * sizes.head_dim, 0
    if read is None:
        if beta is not None:  # else Numba compiles it where there is neither
            for i in range(rows):
                row, strength = d_reads[i * width : (i + 1) * width], beta[token + i]
                through_correction(d_log_decay, at + i * dim, row, reads[i * width : (i + 1) * width],
                                   decay[i * width : (i + 1) * width], width, dim)
                d_beta[token + i] = (dot(d_rows, i * tall, v, v_at + i * v_step, columns)
                                     - dot(d_reads, i * width, keys, i * width, width))
                take_off(d_keys[i * width : (i + 1) * width], row, strength, width)
                for e in range(i * tall, (i + 1) * tall):
                    d_rows[e] *= strength
    else:
        if beta is not None:
            last = sizes.kv_tile * width
            for i in range(rows):
                through_rates(d_reads[i * width : (i + 1) * width], d_keys[i * width : (i + 1) * width], read, beta, at + i * dim, dim)
            store_rows(d_beta, at, d_keys, width, rows, dim, one, micro)
        elif write is not None:
            last = sizes.kv_tile * width
            store_rows(d_write, at, d_keys, width, rows, dim, one, micro)
        store_rows(d_read, at, d_reads, width, rows, dim, one, micro)
    store_rows(d_k, at, onward(d_keys, last), width, rows, dim, one, micro)
    store_rows(d_v, token * columns, d_rows, tall, rows, columns, one, micro)
