"""Proposals: they change no greedy token and no distribution, and wrong ones are taken back."""

from functools import partial

import numpy as np
import pytest

from tinyattn.caches import GrowingCache
from tinyattn.catalog import find
from tinyattn.models.generate import generate
from tinyattn.models.sampling import probabilities
from tinyattn.models.speculate import judge, speculate

RNG = np.random.default_rng


class Counted:
    """A decoder, and how many tokens it read in each call."""

    def __init__(self, decoder):
        self.decoder, self.embedding, self.blocks, self.calls = decoder, decoder.embedding, decoder.blocks, []

    def __call__(self, tokens, **options):
        self.calls.append(tokens.shape[1])
        return self.decoder(tokens, **options)


class Unused(GrowingCache):
    """A cache that a model of bigrams never fills: all of the text is behind its last token."""

    def truncate(self, length):
        assert length == 0


class Bigram:
    """A model whose next token depends on the last one alone."""

    blocks = (None,)

    def __init__(self, table):
        self.table = self.embedding = table

    def __call__(self, tokens, **options):
        return self.table[tokens]


@pytest.mark.parametrize("name", ["attention", "latent_attention_expanded"])
@pytest.mark.parametrize("ahead", [1, 3, 5])
def test_proposals_change_no_greedy_token(name, ahead, model, near):
    decoder = model(name)
    plain = [*generate(decoder, b"abc", 20)]
    accepted = []
    for draft in (decoder, near(decoder, 1, 0.02), near(decoder, 1, 0.2), model(name, seed=9, layers=1)):
        counted = Counted(decoder)
        assert [*speculate(counted, draft, b"abc", 20, ahead=ahead, cache=find(name).cache)] == plain
        accepted.append(20 - len(counted.calls))
    assert accepted[0] == 20 - -(-20 // (ahead + 1))
    assert accepted[0] > accepted[2] > accepted[3] == 0
    assert accepted[0] >= accepted[1] > 0


def test_a_state_with_check_points_takes_wrong_proposals_back(model, near):
    decoder = model("gated_delta_rule")
    cache = find("gated_delta_rule").cache
    for by in (0.02, 0.5):
        written = [*speculate(decoder, near(decoder, 1, by), b"abc", 18, cache=partial(cache, slack=6))]
        assert written == [*generate(decoder, b"abc", 18)]
    with pytest.raises(ValueError, match="slack=0 says by how many"):
        list(speculate(decoder, near(decoder, 1, 0.5), b"abc", 18, cache=cache))


def test_a_state_takes_proposals_that_are_all_right(model):
    decoder = model("linear_attention")
    cache = find("linear_attention").cache
    assert [*speculate(decoder, decoder, b"abc", 13, cache=cache)] == [*generate(decoder, b"abc", 13)]
    mixed = model("attention", seed=4, layers=1)
    other = model("linear_attention", seed=4, layers=1)
    assert [*speculate(mixed, mixed, b"abc", 1, cache=GrowingCache, draft_cache=cache)] == [*generate(mixed, b"abc", 1)]
    assert next(speculate(mixed, other, b"abc", 2, ahead=1, cache=GrowingCache, draft_cache=cache)) == next(generate(mixed, b"abc", 1))


@pytest.mark.parametrize("options", [{"temperature": 1.0}, {"temperature": 0.6, "top_k": 2}])
def test_proposals_change_no_distribution(options):
    rng, n = RNG(0), 1500
    decoder, draft = Bigram(2 * rng.standard_normal((3, 3))), Bigram(2 * rng.standard_normal((3, 3)))
    table = np.zeros((3, 3, 3))
    for _ in range(n):
        table[tuple(speculate(decoder, draft, bytes([1]), 3, rng, ahead=2, cache=Unused, **options))] += 1 / n
    share = probabilities(decoder.table, **options)
    want = share[1][:, None, None] * share[:, :, None] * share[None]
    assert (np.abs(table - want) <= 5 * np.sqrt(want * (1 - want) / n)).all()  # five standard deviations of a binomial share
    naive = probabilities(draft.table, **options)
    assert (np.abs(naive[1][:, None, None] * naive[:, :, None] * naive[None] - want) > 10 * np.sqrt(want * (1 - want) / n)).any()


def test_a_rejected_token_is_followed_by_what_is_left():
    picked = []

    def pick(share):
        picked.append(share)
        return np.argmax(share)

    guess, true = np.array([0.5, 0.5, 0.0]), np.array([0.1, 0.6, 0.3])
    assert judge([0, 1], [guess, guess], np.stack([true, true, true]), pick) == [2]
    np.testing.assert_allclose(np.concatenate(picked), [0.8, 0.2, 0.0, 0.1, 0.3], rtol=0, atol=1e-15)
    assert judge([1], [guess], np.stack([true, true[::-1]]), pick) == [1, 1]
    assert judge([], [], true[None], pick) == [1]


def test_where_rounding_leaves_nothing_a_rejected_token_follows_the_decoder():
    half, less = np.array([0.5, 0.5]), np.array([np.nextafter(0.5, 0.0), 0.5])
    picks = iter([lambda share: 0, np.argmax])
    assert judge([0], [half], np.stack([less, half]), lambda share: next(picks)(share)) == [1]
