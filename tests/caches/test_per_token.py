"""What a mechanism declares per token is enough: state caches and batches read the option from the declaration."""

from functools import partial

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import BatchCache, GrowingCache, StateCache
from tinyattn.ops.signature import shapes

RNG = np.random.default_rng(0)
Q, K, V = (RNG.standard_normal((3, heads, 6, dim)) for heads, dim in ((4, 4), (2, 4), (2, 5)))
GAIN = RNG.random((3, 2, 6))


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"gain": "(j)"}, states=("initial_state",))
def gained(q, k, v, *, gain=None, causal=False, initial_state=None, return_state=False):
    v = v if gain is None else v * gain[..., None]
    return definitions.linear_attention_chunked(q, k, v, causal=causal, initial_state=initial_state, return_state=return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def tabled(q, k, v, *, table, causal=False):
    return definitions.attention(q, k, v, causal=causal) + table.sum()


@pytest.mark.parametrize("append", [False, True])
def test_a_new_gate_is_cut_kept_saved_and_folded_again(append, tmp_path):
    cache, want = StateCache(gained, slack=2), gained(Q, K, V, gain=GAIN, causal=True)
    for a, b in ((0, 1), (1, 5), (5, 6)):
        if append:
            cache.append(K[..., a:b, :], V[..., a:b, :], gain=GAIN[..., a:b])
        else:
            out = cache.step(*(x[..., a:b, :] for x in (Q, K, V)), gain=GAIN[..., a:b])
            np.testing.assert_allclose(out, want[..., a:b, :], rtol=1e-13, atol=1e-14)
    cache.truncate(5)
    cache.save(tmp_path / "gained")
    for again in (cache, StateCache.load(tmp_path / "gained", mechanism=gained)):
        np.testing.assert_allclose(again.attend(Q[..., 4:5, :]), want[..., 4:5, :], rtol=1e-13, atol=1e-14)
        out = again.step(*(x[..., 5:, :] for x in (Q, K, V)), gain=GAIN[..., 5:])
        np.testing.assert_allclose(out, want[..., 5:, :], rtol=1e-13, atol=1e-14)


def test_a_gate_with_the_wrong_number_of_tokens_is_refused_by_its_name():
    with pytest.raises(ValueError, match="^gain: expected one entry for each of the chunk's 6 tokens, got shape"):
        StateCache(gained).step(Q, K, V, gain=GAIN[..., :3])


def test_each_row_gets_its_part_of_a_new_gate():
    out = BatchCache([6, 2, 4], partial(StateCache, gained)).step(Q, K, V, gain=GAIN)
    for b, n in enumerate((6, 2, 4)):
        alone = gained(*(x[b : b + 1, :, :n] for x in (Q, K, V)), gain=GAIN[b : b + 1, :, :n], causal=True)
        np.testing.assert_allclose(out[b : b + 1, :, :n], alone, rtol=1e-13, atol=1e-14)


def test_an_array_that_is_not_declared_goes_to_every_row_whole():
    table = RNG.standard_normal((3, 2, 6))
    out = BatchCache([6, 2, 4], partial(GrowingCache, tabled)).step(Q, K, V, table=table)
    alone = tabled(*(x[1:2, :, :2] for x in (Q, K, V)), table=table, causal=True)
    np.testing.assert_allclose(out[1:2, :, :2], alone, rtol=1e-13, atol=1e-14)
