"""Corners of definitions that the general tests do not reach: states without a normaliser, blocks that see nothing."""

import numpy as np

from tinyattn import definitions, ops
from tinyattn.definitions.sparse import bigbird
from tinyattn.ops.masks import FULL, PARTIAL

RNG = np.random.default_rng(0)


def test_the_state_is_a_pair_where_it_normalises_and_one_array_where_not():
    q, k, v = RNG.standard_normal((2, 5, 3)), RNG.standard_normal((2, 5, 3)), RNG.standard_normal((2, 5, 4))
    for normalize, shapes in ((True, [(2, 3, 4), (2, 3)]), (False, [(2, 3, 4)])):
        for form in (definitions.linear_attention_recurrent, definitions.linear_attention_chunked):
            state = form(q, k, v, causal=True, normalize=normalize, return_state=True)[1]
            assert [np.shape(x) for x in (state if normalize else [state])] == shapes


def test_queries_of_a_block_that_sees_nothing_give_zero_in_every_sequence():
    q, k, v = RNG.standard_normal((3, 2, 8, 4)), RNG.standard_normal((3, 2, 8, 4)), RNG.standard_normal((3, 2, 8, 5))
    mask = ops.masks.window(0, 0) & ~ops.masks.first(4)
    out = definitions.gathered_attention(q, k, v, mask=mask, block=4)
    np.testing.assert_array_equal(out[..., :4, :], np.zeros((3, 2, 4, 5)))
    np.testing.assert_array_equal(out[..., 4:, :], v[..., 4:, :])


def test_the_ends_of_a_text_are_decided_by_the_corners_of_blocks():
    kinds = bigbird.ends(4, 16).blocks(16, 16, 4, 4)
    assert (kinds[[0, -1]] == FULL).all()
    assert (kinds[1:-1, 1:-1] != FULL).all()
    assert not (kinds == PARTIAL).any()
