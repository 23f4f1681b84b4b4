"""Every law of every row holds of its definition, and fails on wrong ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn import definitions
from tinyattn.catalog import ROWS, find
from tinyattn.laws import SOFTMAX_LAWS, check
from tinyattn.laws.draw import draw_sizes
from tinyattn.laws.problem import Sizes

CASES = [(row, law) for row in ROWS for law in row.laws]


@pytest.mark.parametrize(("row", "law"), CASES, ids=[f"{row.name}-{law.name}" for row, law in CASES])
@given(seed=st.integers(0, 2 ** 32))
def test_a_law_holds(row, law, seed):
    report = check(law.fitted(row.fit), row.definition, honest=row.definition, rng=np.random.default_rng(seed), examples=1)
    assert report.holds, report.failing


def polarity(q, k, v, *, mask=None, **o):
    return definitions.attention(q, k, v, mask=~mask if isinstance(mask, np.ndarray) else mask, **o)


def window_off(q, k, v, *, window=None, **o):
    return definitions.attention(q, k, v, window=None if window is None else tuple(w if w is None else w + 1 for w in window), **o)


def top_left(q, k, v, *, causal=False, mask=None, **o):
    if not causal:
        return definitions.attention(q, k, v, mask=mask, **o)
    tri = np.tri(q.shape[-2], k.shape[-2], dtype=bool)
    return definitions.attention(q, k, v, mask=tri if mask is None else tri & (mask if isinstance(mask, np.ndarray) else
                                 mask.dense(q.shape[-2], k.shape[-2])), **o)


def tiled_heads(q, k, v, **o):
    order = np.arange(q.shape[-3]) % k.shape[-3]
    return definitions.attention(q, k[..., order, :, :], v[..., order, :, :], **o)


def scaled(q, k, v, *, scale=None, **o):
    return definitions.attention(q, k, v, scale=(q.shape[-1] ** -0.5 if scale is None else scale) * 1.01, **o)


def own_scale(q, k, v, *, scale=None, **o):
    return definitions.attention(q, k, v, scale=v.shape[-1] ** -0.5 if scale is None else scale, **o)


def writes(q, k, v, **o):
    out = definitions.attention(q, k, v, **o)
    if isinstance(q, np.ndarray) and q.flags.writeable and q.size:
        q *= 2.0
    return out


def mean_of_empty(q, k, v, *, mask=None, **o):
    out = definitions.attention(q, k, v, mask=mask, **o)
    if not isinstance(mask, np.ndarray):
        return out
    mean = np.repeat(v, q.shape[-3] // k.shape[-3], axis=-3).mean(axis=-2, keepdims=True)
    return np.where(np.broadcast_to(mask, (*q.shape[:-1], k.shape[-2])).any(axis=-1)[..., None], out, mean)


def wide(q, k, v, **o):
    return definitions.attention(q, k, v, **o).astype(np.float64)


def leaks(q, k, v, *, causal=False, window=None, **o):
    left = None if window is None else window[0]
    return definitions.attention(q, k, v, window=(left, 1), **o) if causal else definitions.attention(q, k, v, window=window, **o)


@pytest.mark.parametrize(("twin", "law"), [
    (polarity, "a_mask_says_who_attends"), (window_off, "window_counts_the_others"), (top_left, "causal_is_bottom_right"),
    (tiled_heads, "a_head_reads_its_group"), (scaled, "scores_are_scale_cap_bias_in_that_order"),
    (own_scale, "default_scale_is_the_root_of_head_dim"), (writes, "inputs_are_not_written"),
    (mean_of_empty, "nothing_seen_gives_zero"), (wide, "a_dtype_stays"), (leaks, "later_tokens_change_nothing_earlier"),
])
def test_a_wrong_attention_breaks_the_law_of_its_fault(twin, law):
    found = next(x for x in SOFTMAX_LAWS if x.name == law)
    report = check(found, twin, honest=definitions.attention, rng=np.random.default_rng(0), examples=40)
    assert not report.holds


def test_names_are_found_and_near_ones_offered():
    assert find("mqa").name == "multi_query_attention"
    with pytest.raises(ValueError, match="did you mean attention"):
        find("atention")


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_bad_inputs_of_a_row_are_refused(row):
    p = row.sample(np.random.default_rng(0), row.fit(Sizes()))
    for bad in row.bad_inputs:
        with pytest.raises(bad.error) as refusal:
            p.but(**bad.changes).call(row.definition)
        assert all(word in str(refusal.value) for word in bad.words)


def test_sizes_reach_zero_one_and_coincide():
    drawn = [draw_sizes(np.random.default_rng(seed)) for seed in range(300)]
    assert any(s.q_len == 0 for s in drawn)
    assert any(s.q_len > s.kv_len for s in drawn)
    assert any(s.leading == (s.heads,) for s in drawn)
    assert any(s.q_len == s.head_dim for s in drawn)
