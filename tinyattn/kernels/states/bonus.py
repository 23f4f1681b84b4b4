"""What each token reads of itself where queries read before their tokens are written: by the bonus of every channel."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.states.rows import add_scaled, dot, dot_of_three
from tinyattn.kernels.tiles.jit import inlined, reassociated


@inlined
def own_scores(scores, queries, keys, bonus, bonus_at, rows, sizes):
    """Fills the diagonal of the scores."""
    width = sizes.head_width
    for i in range(rows):
        scores[i * sizes.kv_tile + i] = dot_of_three(queries, i * width, bonus, bonus_at, keys, i * width, sizes.head_dim)


@reassociated
def through_weight(d_query, d_key, d_bonus, query, key, at, bonus, bonus_at, slope, dim):
    """Adds to the gradients of a query, its key and the bonus what the gradient of their product gives them."""
    for c in range(dim):
        asked, own, factor = query[at + c], key[at + c], slope * bonus[bonus_at + c]
        d_query[at + c] += factor * own
        d_key[at + c] += factor * asked
        d_bonus[c] += slope * asked * own


@inlined
def bonus_slopes(d_x, d_queries, d_keys, d_bonus, queries, keys, x_rows, d_tile, bonus, bonus_at, rows, sizes):
    """Adds to the gradients of all that the diagonal was made of, dX in panels, what it gives them."""
    chunk, width, tall, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    for i in range(rows):
        slope = dot(d_tile, i * tall, x_rows, i * tall, sizes.value_dim)
        own = dot_of_three(queries, i * width, bonus, bonus_at, keys, i * width, sizes.head_dim)
        for c in range(0, tall, micro):
            add_scaled(d_x, c * chunk + i * micro, d_tile, i * tall + c, own, micro)
        through_weight(d_queries, d_keys, d_bonus, queries, keys, i * width, bonus, bonus_at, slope, sizes.head_dim)
