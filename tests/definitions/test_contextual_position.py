"""Positions counted by gates against loops over pairs, written from their formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import CLOSE, LENGTHS, drawn

from tinyattn import definitions
from tinyattn.engine import vjp


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), positions=st.sampled_from([1, 2, 3, 20]), causal=st.booleans(),
       scale=st.sampled_from([None, 3.0]), more=st.booleans())
def test_contextual_positions(seed, lengths, positions, causal, scale, more):
    q, k, _, rng = drawn(seed, *lengths)
    embedding, mask = rng.standard_normal((positions, 4)), rng.random((*q.shape[:-1], lengths[1])) < 0.7
    want, sees = np.zeros((*q.shape[:-1], lengths[1])), np.zeros(q.shape[:-1], bool)
    for b, h, i in np.ndindex(q.shape[:-1]):
        p, count = i + lengths[1] - lengths[0], 0.0
        for j in reversed(range(lengths[1])):
            seen = (j <= p or not causal) and ((mask[b, h, i, j] and p - j <= 3) or not more)
            s = (scale or 0.5) * sum(float(x) * float(y) for x, y in zip(q[b, h, i], k[b, h // 2, j], strict=True))
            count += 1 / (1 + math.exp(-s)) if seen else 0.0
            sees[b, h, i] |= seen
            place = min(count, positions - 1)
            low, high = math.floor(place), math.ceil(place)
            at = [sum(float(x) * float(y) for x, y in zip(q[b, h, i], embedding[n], strict=True)) for n in (low, high)]
            want[b, h, i, j] = at[1] * (place - low) + at[0] * (1 - place + low)
    others = {"mask": mask, "window": (3, None)} if more else {}
    got = definitions.contextual_position_bias(q, k, embedding=embedding, causal=causal, scale=scale, **others)
    np.testing.assert_allclose(got[sees], want[sees], **CLOSE)  # a query that sees nothing has no scores to add to


def counts(q, k, **options):
    """The positions themselves: read off embeddings n e_0 by queries that begin with 1."""
    table = np.zeros((99, q.shape[-1]))
    table[:, 0] = np.arange(99)
    return definitions.contextual_position_bias(q, k, embedding=table, **options)


def test_counts_fall_by_at_most_one_a_key():
    q, k, _, _ = drawn(0, 6, 9)
    q[..., 0] = 1.0
    seen = counts(q, k)
    fall = seen[..., :-1] - seen[..., 1:]
    assert np.all((fall >= -1e-12) & (fall <= 1 + 1e-12))
    assert np.all(seen[..., 0, 4:] == 0.0)  # of what is still to come nothing is counted
    q[..., 1:] = 0.0
    k[..., 0] = 200.0
    np.testing.assert_array_equal(counts(q, k)[0, 0, -1], np.arange(9, 0, -1))
    np.testing.assert_array_equal(counts(q, -k), 0.0)


def test_without_its_mask_a_gate_counts_the_future():
    q, k, v, rng = drawn(0, 8, 8)
    embedding, other = rng.standard_normal((5, 4)), k.copy()
    other[..., 5:, :] += 1.0
    for counted_causally in (True, False):
        a, b = (definitions.attention(q, x, v, causal=True, bias=definitions.contextual_position_bias(
            q, x, embedding=embedding, causal=counted_causally))[..., :5, :] for x in (k, other))
        assert np.array_equal(a, b) == counted_causally


def test_a_slot_that_nobody_counts_may_hold_anything():
    q, k, _, rng = drawn(0, 4, 6)
    mask, embedding = np.arange(6) < 4, rng.standard_normal((3, 4))
    poisoned = np.where(mask[:, None], k, np.nan)
    for keys in (k, poisoned):
        got = vjp(lambda t: definitions.contextual_position_bias(*t, embedding=embedding, causal=False, mask=mask), (q, keys))
        gradients = got[1](np.ones((2, 4, 4, 6)))
        assert all(np.isfinite(g).all() for g in (got[0], *gradients))
    np.testing.assert_array_equal(got[0], definitions.contextual_position_bias(q, k, embedding=embedding, causal=False, mask=mask))


@pytest.mark.parametrize(("embedding", "error", "words"), [
    (np.ones((0, 4)), ValueError, r"embedding: expected shape \(positions, 4\), got shape \(0, 4\)"),
    (np.ones((3, 5)), ValueError, r"embedding: .*\(3, 5\)"), (np.ones(4), ValueError, "embedding"),
    ([[1.0]], TypeError, "embedding: .*list"), (np.ones((3, 4), int), TypeError, "embedding: .*int64")])
def test_embeddings_are_refused_by_name(embedding, error, words):
    with pytest.raises(error, match=words):
        definitions.contextual_position_bias(np.ones((4, 3, 4)), np.ones((2, 5, 4)), embedding=embedding)
