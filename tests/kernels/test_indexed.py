"""The keys that the compiled indexer chooses beside those of the definition, and masks and biases that are turned in memory."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp

RNG = np.random.default_rng


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("heads", "queries", "keys", "keep"), [(4, 200, 200, 7), (2, 70, 131, 64), (1, 3, 300, 1), (3, 90, 40, 64)])
def test_the_choice_is_the_definitions_with_ties_and_what_is_not_finite(heads, queries, keys, keep, causal):
    rng = RNG(keys)
    q, k = rng.standard_normal((2, heads, queries, 5)), rng.standard_normal((2, keys, 5))
    weights, odd = rng.standard_normal((2, heads, queries)), k.copy()
    odd[0, keys // 2], odd[1, keys // 3] = np.nan, np.inf
    few = tuple(np.round(x) for x in (q, k, weights))
    for case, (queries_of, keys_of, weighed) in {"plain": (q, k, weights), "ties": few, "odd": (q, odd, weights)}.items():
        want, got = (form.lightning_indexer(queries_of, keys_of, weights=weighed, keep=keep, causal=causal)
                     for form in (definitions, kernels))
        np.testing.assert_array_equal(got, want, err_msg=case)


def test_a_mask_and_a_bias_that_are_turned_in_memory_change_nothing():
    rng = RNG(0)
    q, k, v = (rng.standard_normal((2, 70, 4)) for _ in range(3))
    mask, bias, d_out = rng.random((70, 70)) < 0.5, rng.standard_normal((70, 70)), rng.standard_normal((2, 70, 4))
    outs, slopes = [], []
    for order in ("C", "F"):
        def masked(t, order=order):
            return kernels.attention(q, k, v, mask=np.asarray(mask, order=order), bias=t)

        out, pull = vjp(masked, np.asarray(bias, order=order))
        outs.append(out)
        slopes.append(pull(d_out))
    np.testing.assert_array_equal(outs[1], outs[0])
    np.testing.assert_array_equal(slopes[1], slopes[0])
