"""What the tokens of a chunk read along, write along and add, made of what was given as it is brought into tiles."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.states.channels import times
from tinyattn.kernels.states.onward import onward
from tinyattn.kernels.states.rows import load_rows, scale_rows
from tinyattn.kernels.tiles.jit import inlined, reassociated


@reassociated
def corrected(reads, keys, decay, beta, token, rows, width):
    """Fills reads with -beta times the decays times the keys: along these a token of the delta rule reads what it takes off."""
    for i in range(rows):
        factor, row, key, fading = (-beta[token + i], reads[i * width : (i + 1) * width], keys[i * width : (i + 1) * width],
                                    decay[i * width : (i + 1) * width])
        for c in range(width):
            row[c] = factor * fading[c] * key[c]


@inlined
def sides_of(read, write, beta):
    """Returns 1 where what is read is written along the keys too, else 2: along vectors of its own and along the keys."""
    return 1 if write is None and (read is None or beta is None) else 2


@inlined
def load_vectors(keys, reads, decay, k, k_at, k_step, read, write, beta, token, rows, sizes):
    """Fills keys [sides][chunk][head_width], the last of which is K, and reads, with rows of zeros after the last.

    Without `read` it is the delta rule, whose `beta` is a number per token; with both, `beta` is a rate per channel.
    """
    chunk, width, dim, micro, at = sizes.kv_tile, sizes.head_width, sizes.head_dim, sizes.micro_columns, token * sizes.head_dim
    one, last = keys.dtype.type(1), (sides_of(read, write, beta) - 1) * chunk * width
    load_rows(onward(keys, last), width, chunk, k, k_at, k_step, rows, dim, one, micro)
    if read is None:
        for x in range(rows * width, (chunk + 1) * width):
            reads[x] = 0
        if beta is not None:  # else Numba compiles it where there is neither
            corrected(reads, keys, decay, beta, token, rows, width)
    elif beta is None:
        load_rows(reads, width, chunk + 1, read, at, dim, rows, dim, one, micro)
        if write is not None:
            load_rows(keys, width, chunk, write, at, dim, rows, dim, one, micro)
    else:
        load_rows(reads, width, chunk + 1, read, at, dim, rows, dim, -one, micro)
        load_rows(keys, width, chunk, beta, at, dim, rows, dim, -one, micro)
        times(keys, 0, keys, 0, reads, 0, rows * width)


@inlined
def load_values(values, v, v_at, v_step, read, beta, token, rows, sizes):
    """Fills values [chunk][value_width] with V, times beta where it is the delta rule."""
    load_rows(values, sizes.value_width, sizes.kv_tile, v, v_at, v_step, rows, sizes.value_dim, values.dtype.type(1),
              sizes.micro_columns)
    if beta is not None:
        if read is None:
            scale_rows(values, sizes.value_width, rows, onward(beta, token), sizes.micro_columns)
