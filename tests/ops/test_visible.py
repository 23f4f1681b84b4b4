"""Which keys a query sees by causal and window: at once and block by block, pair by pair as the definition says."""

from itertools import product

import numpy as np
import pytest

from tinyattn.ops.options import visible_keys
from tinyattn.ops.tiles import seen_tile

SIDES = (None, 0, 1, 3)


@pytest.mark.parametrize(("q_len", "kv_len"), list(product((0, 1, 2, 4), repeat=2)))
def test_windows_count_keys_besides_the_query_at_bottom_right_positions(q_len, kv_len):
    shift = kv_len - q_len
    for left, right, causal in product(SIDES, SIDES, (False, True)):
        last = 0 if causal else right
        want = [[(left is None or j >= i + shift - left) and (last is None or j <= i + shift + last) for j in range(kv_len)]
                for i in range(q_len)]
        want = np.array(want, bool).reshape(q_len, kv_len)
        seen = visible_keys(None, causal, (left, right), (2, q_len, kv_len))
        np.testing.assert_array_equal(np.ones((q_len, kv_len), bool) if seen is None else seen, want)
        for start in range(0, kv_len, 2):
            keys = np.arange(kv_len)[start : start + 2]
            tile = seen_tile(None, left, last, np.arange(q_len) + shift, keys, (2, q_len, kv_len))
            np.testing.assert_array_equal(tile, want[:, start : start + 2])


def test_a_mask_is_cut_to_the_block():
    mask = np.array([[True, False, True, False]])
    for given, want in ((mask, [[True, False]]), (mask[:, :1], [[True, True]]), (np.array(False), [[False, False]])):
        np.testing.assert_array_equal(seen_tile(given, None, None, np.array([3]), np.array([2, 3]), (1, 1, 4)), want)
