"""The experiments on small numbers: what each measures equals the same measured in another way; and the page of their numbers."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import QuantizedCache, RingCache
from tinyattn.models import load
from tinyattn.models.pretrained.compared import base_of, extended
from tinyattn.models.pretrained.experiments import beyond, coded_caches, first_tokens, streaming
from tinyattn.ops import rotary

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def model():
    return load(HERE / "trained" / "model.safetensors", dtype=np.float64)


def text(period, length, seed=0):
    letters = np.random.default_rng(seed).integers(ord("a"), ord("z") + 1, period)
    return np.concatenate(([ord("\n")], np.resize(letters, length - 1)))


def test_first_tokens_that_are_kept_are_what_a_ring_decodes(model):
    tokens, dims_and_base = text(9, 40), base_of(model)
    found = [*first_tokens(model, tokens, [6, 16], [0, 2])]
    assert [(kept.window, kept.first) for kept in found] == [(6, 0), (6, 2), (16, 0), (16, 2)]
    turn = partial(rotary, base=dims_and_base[1])
    for kept in found:
        last = {"window": kept.window - kept.first, "keep_first": kept.first}
        plain = model.losses(tokens, cache=lambda last=last: RingCache(**last))
        rebased = model.replace(rotate=False).losses(tokens, cache=lambda last=last: RingCache(**last, rotate=turn))
        assert kept.loss == pytest.approx(plain[19:].mean(), abs=1e-12)
        assert kept.rebased == pytest.approx(rebased[19:].mean(), abs=1e-12)
    assert abs(found[1].loss - found[1].rebased) > 1e-3
    whole = next(first_tokens(model, tokens, [40], [4]))
    assert whole.loss == pytest.approx(model.losses(tokens)[19:].mean(), abs=1e-12) == whole.rebased


def test_a_coded_cache_costs_what_its_codes_change(model):
    tokens = text(9, 40)
    eight, four = coded_caches(model, tokens, group=8, residual=8)
    assert (eight.bits, four.bits) == (8, 4)
    assert eight.loss == four.loss == pytest.approx(model.loss(tokens), abs=1e-12)
    assert 0 < eight.divergence < four.divergence / 10
    assert four.changed == pytest.approx(model.loss(tokens, cache=lambda: QuantizedCache(bits=4, group=8, residual=8)), abs=1e-12)
    # 39 tokens are read, 24 of them as codes: in each of 2 layers 2 heads with 32 channels for keys and as many for values.
    assert eight.plain_nbytes == 2 * 2 * 39 * 64 * 8
    assert eight.nbytes == 2 * 2 * (24 * 64 + 2 * 8 * (3 * 32 + 24 * 4) + 15 * 64 * 8)
    assert four.nbytes == eight.nbytes - 2 * 2 * 24 * 32
    exact, = coded_caches(model, tokens, bits=[4], residual=64)
    assert exact.divergence <= 1e-12 and exact.agreement == 1.0


def test_beyond_the_trained_length_every_way_is_named_with_its_losses(model):
    tokens = text(20, 128)
    found = {one.kind: one.losses for one in beyond(model, tokens, [0, 64, 127])}
    assert list(found) == ["plain", "window", "linear", "ntk", "yarn", "dual-chunk"]
    cut = model.replace(mechanism=partial(definitions.attention, window=(63, 0)))
    for kind, changed in (("plain", model), ("window", cut), ("ntk", extended(model, "ntk", 2.0))):
        with pytest.warns(UserWarning, match="longer than the 64 tokens"):
            losses = changed.losses(tokens)
        assert found[kind] == pytest.approx((losses[:64].mean(), losses[64:].mean()), abs=1e-12)
    assert found["plain"][0] == pytest.approx(found["window"][0], abs=1e-12)  # nothing is forgotten there
    # The model fails beyond its length as it is, and not with a window of that length.
    assert found["plain"][1] - found["window"][1] > 0.5


@pytest.mark.parametrize(("call", "words"), [
    (lambda m: next(first_tokens(m, text(9, 20), [4], [4])), "window: expected more than the 4 first tokens that are kept, got 4"),
    (lambda m: streaming(m, 2, 3), "window: expected more than the 3 first tokens that are kept, got 2"),
    (lambda m: streaming(m.replace(rotate=False), 4, 1), "has no rotary positions to scale"),
    (lambda m: next(beyond(m, text(9, 64), [0, 63])), "text: expected more tokens than model.safetensors was trained for, 64, got 64"),
    (lambda m: next(coded_caches(m, text(9, 20), bits=[3])), "bits: expected 8 or 4, got 3"),
])
def test_what_cannot_be_measured_is_named(model, call, words):
    with pytest.raises(ValueError, match=words):
        call(model)
