"""Rules that are none, through every door: the error names `score` and says what came and what is expected; Tensors reach no kernel."""

import math
import re
from functools import partial

import numpy as np
import pytest

import tinyattn
from tinyattn import caches, definitions, kernels, vjp
from tinyattn.caches import code_reading
from tinyattn.ops import ScoreRule, alibi, masks

RNG = np.random.default_rng
LENGTH = 160
ARRAYS = [RNG(n).standard_normal((1, heads, LENGTH, 32)).astype(np.float32) for n, heads in enumerate((4, 2, 2))]


def kept(make, **options):
    cache = make()
    cache.append(*ARRAYS[1:])
    return cache.attend(ARRAYS[0][..., -1:, :], **options)


def taken(make, **options):
    return make().step(*(x[..., :9, :] for x in ARRAYS), **options)


DOORS = {
    "definition": lambda **options: definitions.attention(*ARRAYS, **options), "kernel": lambda **options: kernels.attention(*ARRAYS, **options),
    "one query": lambda **options: kernels.attention(ARRAYS[0][..., -1:, :], *ARRAYS[1:], **options),
    "fastest": lambda **options: tinyattn.attention(*ARRAYS, **options), "small": lambda **options: tinyattn.attention(*(x[..., :5, :] for x in ARRAYS), **options),
    "growing": partial(kept, caches.GrowingCache), "ring": partial(taken, partial(caches.RingCache, 4)),
    "first and last": partial(taken, partial(caches.RingCache, 4, keep_first=1)), "batch": partial(taken, caches.BatchCache),
    "pages": partial(kept, lambda: caches.PagePool(20, 8).sequence()), "codes": partial(kept, caches.QuantizedCache),
    "evicting": partial(taken, partial(caches.EvictingCache, caches.HeavyHitters(20, 20))), "read": partial(kept, caches.CrossCache),
}
OUTSIDE, LIST = np.ones((4, 3, 7), np.float32), [1.0]


def added(s, i, j):
    s += 1.0
    return s


def set_item(s, i, j):
    s[...] = 0.0
    return s


async def later(s, i, j):
    return s


class Rule:
    def __init__(self, s, i, j):
        self.s = s


# A rule, and what the definition and the doors that compile it say of it; None where the definition takes it.
BAD = {
    "outside": (lambda s, i, j: s + OUTSIDE, r"the rule raised ValueError: operands.*arrays of shape \(", "reads an array of shape .4, 3, 7. from outside"),
    "a list": (lambda s, i, j: s + LIST, "the dtype of s, float32, got float64", "calls np.add with list"),
    "shape": (lambda s, i, j: np.sum(s, axis=-1), r"the shape of s, \(.*got shape \(", "calls np.sum, which is not elementwise"),
    "one number": (lambda s, i, j: 1.0, "what the rule returns: expected .*got float", "returns float, and not one number for each score"),
    "nothing": (lambda s, i, j: None, "what the rule returns: expected .*got NoneType", "returns NoneType"),
    "ints": (lambda s, i, j: s.astype(int), "what the rule returns: expected .*got int64", "converts to int64"),
    "bool": (lambda s, i, j: s > 0, "what the rule returns: expected .*got bool", "returns a bool"),
    "dtype": (lambda s, i, j: s * np.float64(2.0), "float32, got float64; a Python number keeps", "float32, got float64; a Python number keeps"),
    "narrow": (lambda s, i, j: s.astype(np.float16), "float32, got float16$", "float32, got float16$"),
    "adds": (added, "the rule writes into an array", "writes into an array"), "sets": (set_item, "the rule writes into an array", "sets elements"),
    "all keys": (lambda s, i, j: s - s.max(axis=-1, keepdims=True), None, "uses .max, which is not elementwise"),
    "norm": (lambda s, i, j: s / np.linalg.norm(s), None, "calls np.linalg.norm, which is not elementwise"),
    "no derivative": (lambda s, i, j: s * np.gcd(3, 6) * np.bitwise_count(i), "the rule raised .*bitwise_count", "calls np.bitwise_count, which has no derivative"),
    "math": (lambda s, i, j: s * math.exp(s), "the rule raised TypeError: only .*those of math do not$", "makes a Python number"),
    "round": (lambda s, i, j: round(s), "the rule raised TypeError: .*round", "makes a Python number"),
    "branch": (lambda s, i, j: s if s > 0 else -s, "the rule raised ValueError: The truth value.*np.where chooses", "branches on data; np.where chooses"),
    "its own": (lambda s, i, j: s + "1", "the rule raised .*", "the rule calls np.add with str"),
    "unhashable": (lambda s, i, j: {s: 1}[s], "the rule raised TypeError: unhashable", "the rule raised TypeError: unhashable"),
    "two": (lambda s, i: s, r"takes s, i, j and 0 parameters, got one that takes \(s, i\)", "takes s, i, j and 0 parameters"),
    "four": (lambda s, i, j, p: s, r"takes s, i, j and 0 parameters, got one that takes \(s, i, j, p\)", "takes s, i, j and 0 parameters"),
    "a class": (Rule, "expected a function .*got the class Rule", "got the class Rule"), "ScoreRule": (ScoreRule, "got the class ScoreRule", "got the class ScoreRule"),
    "a word": ("alibi", "expected a function .*got str", "got str"), "a bias": (alibi(np.ones(4)), "got Bias", "got Bias"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("door", DOORS)
def test_a_bad_rule_is_refused_in_words(door, name):
    rule, defined, compiled = BAD[name]
    words = defined if door == "definition" else compiled
    if words is None:
        assert DOORS[door](score=rule).shape == ARRAYS[0].shape
        return
    with pytest.raises((TypeError, ValueError), match=f"^score: .*{words}") as refusal:
        DOORS[door](score=rule)
    assert "Tracer" not in str(refusal.value) or name == "unhashable"


PARAMETERS = {
    "shape": (np.ones(3), r"^score.* got (one of )?shape \(3,\)$"), "heads": (np.ones((3, 1, 1)), r"^score parameter 1: expected a shape that broadcasts .*got shape \(3, 1, 1\)$"),
    "rows": (np.ones((3, 1, 1, 1)), r"^(a )?score.* got shape \((3, 1, 1, 1|3,)\)$"),
    "ints": (np.ones((4, 1, 1), int), "^score parameter 1: expected a float16.* got int64$"), "a number": (2.0, "^score parameter 1: .*got float$"),
    "list": ([1.0], "^score parameter 1: .*got list$"), "NaN": (np.full((4, 1, 1), np.nan), "^score parameter 1: expected numbers, got NaN$"),
    "masked": (np.ma.ones((4, 1, 1)), "^score parameter 1: expected a plain array"),
}


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("door", DOORS)
def test_a_bad_parameter_is_refused_in_words(door, name):
    parameter, words = PARAMETERS[name]
    with pytest.raises((TypeError, ValueError), match=words):
        DOORS[door](score=ScoreRule(lambda s, i, j, p: s * p, parameter))


@pytest.mark.parametrize("door", sorted(set(DOORS) - {"evicting", "batch"}))
def test_rows_that_see_nothing_are_zero_and_a_rule_meets_no_empty_array(door):
    def rule(s, i, j):
        return s * np.log(i - j - 1000.0)  # NaN everywhere

    hidden = DOORS[door](score=rule, mask=np.zeros((), bool))
    assert not hidden.any()
    np.testing.assert_array_equal(DOORS[door](score=rule, mask=masks.first(0)), hidden)


@pytest.mark.parametrize("bad", [RNG(0).random((4, 1, 5)) < 0.5, RNG(0).random((3, 9, 9)) < 0.5])
def test_a_ring_refuses_a_mask_of_another_shape_by_name(bad):
    for keep_first in (0, 1):
        with pytest.raises(ValueError, match=rf"^mask: expected a shape that broadcasts to .*, got shape {re.escape(str(bad.shape))}$"):
            taken(partial(caches.RingCache, 4, keep_first=keep_first), mask=bad)
        with pytest.raises(TypeError, match="^mask: expected a boolean array"):
            taken(partial(caches.RingCache, 4, keep_first=keep_first), mask=tinyattn.Tensor(np.ones((9, 9))))


NUMBERS = {
    "sinks": (np.linspace(-1.0, 1.0, 4), lambda x: {"sinks": x}), "bias": (np.linspace(-1.0, 1.0, 4 * LENGTH).reshape(4, 1, LENGTH), lambda x: {"bias": x}),
    "slopes": (np.linspace(0.1, 0.4, 4), lambda x: {"bias": alibi(x)}), "bias of rows": (np.ones((1, 4, 1, LENGTH)), lambda x: {"bias": x}),
    "parameter": (np.linspace(0.5, 1.0, 4)[:, None, None], lambda x: {"score": ScoreRule(lambda s, i, j, p: s * p, x)}),
    "parameter of rows": (np.linspace(0.5, 1.0, LENGTH).reshape(1, 1, 1, LENGTH), lambda x: {"score": ScoreRule(lambda s, i, j, p: s * p, x)}),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("door", ["pages", "codes", "growing"])
def test_a_tensor_beside_stored_keys_gets_its_gradient(door, name, monkeypatch):
    monkeypatch.setattr(code_reading, "FEW", 0)
    make = {"pages": lambda: caches.PagePool(20, 8).sequence(), "codes": caches.QuantizedCache, "growing": caches.GrowingCache}[door]
    cache, (number, options) = make(), NUMBERS[name]
    q, k, v = (x.astype(np.float64) for x in ARRAYS)
    cache.append(k, v)
    q, (k, v, _), found = q[..., -1:, :], cache.view(), []
    for attend in (lambda x: definitions.attention(q, k, v, causal=True, **options(x)), lambda x: cache.attend(q, **options(x))):
        out, pull = vjp(attend, number)
        found.append((out, pull(np.cos(out))))
    for want, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 1, 4, 1, 1), (3, 1, 1, 9), (1, 1, 4, 1, 9)])
@pytest.mark.parametrize("options", [lambda x: {"bias": x}, lambda x: {"score": ScoreRule(lambda s, i, j, p: s * p, x)}], ids=["bias", "parameter"])
def test_a_tensor_with_several_axes_of_sequences_beside_pages(shape, options):
    q, k, v = (RNG(n).standard_normal((2, 3, heads, 9, 32)) for n, heads in enumerate((4, 2, 2)))
    cache, number, found = caches.PagePool(20, 8).sequence(), RNG(3).standard_normal(shape), []
    cache.append(k, v)
    for attend in (lambda x: definitions.attention(q, k, v, causal=True, **options(x)), lambda x: cache.attend(q, **options(x))):
        out, pull = vjp(attend, number)
        found.append((out, pull(np.cos(out))))
    for want, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
