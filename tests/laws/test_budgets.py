"""Budgets that count what right ways to compute a mechanism round, where the definition happens to round nothing."""

from dataclasses import replace

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.catalog import find
from tinyattn.engine import vjp
from tinyattn.engine.primitive import primitive
from tinyattn.laws import judge
from tinyattn.laws.gradient import gradients
from tinyattn.laws.oracles import relative
from tinyattn.laws.problem import Sizes, arrays
from tinyattn.laws.terms import terms_of_gradients


def spent(name, law_of_row, mechanism, sizes, seed, **changes):
    """Returns the budgets that a mechanism spends on one problem of a law of the catalog, of which some fields may be changed."""
    row = find(name)
    law = next(replace(law, **changes) for law in row.laws if law.name == law_of_row)
    problem = law.draw(np.random.default_rng(seed), sizes)
    return judge(law, mechanism, problem, honest=row.mechanism, rng=np.random.default_rng(seed)).spent


def by_flow(late):
    """Returns simple gated linear attention whose gradient of a decay is what later tokens read less what they wrote."""
    @primitive
    def mechanism(q, k, v, *, log_decay):
        return definitions.simple_gated_linear_attention(q, k, v, log_decay=log_decay), (q, k, v, log_decay)

    @mechanism.backward
    def _(d_out, saved):
        q, k, v, log_decay = saved
        _, pull = vjp(lambda t: definitions.simple_gated_linear_attention(*t.values(), log_decay=log_decay), {"q": q, "k": k, "v": v})
        d = pull(d_out)
        flow = np.sum(q * d["q"], axis=-1).reshape(*k.shape[:-2], -1, k.shape[-2]).sum(axis=-2) - np.sum(k * d["k"], axis=-1)
        slope = np.flip(np.cumsum(np.flip(flow, -1), -1), -1)
        return {**d, "log_decay": slope - flow if late else slope}

    return mechanism


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gradient_is_as_exact_as_the_terms_that_cancel_in_it(dtype):
    one = ("simple_gated_linear_attention", "gradients_equal_the_definition")
    sizes = Sizes(q_len=7, kv_len=7, dtype=dtype)
    right, bare = ([spent(*one, by_flow(False), sizes, seed, **changes) for seed in range(40)] for changes in ({}, {"terms": None}))
    assert max(right) < 1 < max(bare)
    assert min(spent(*one, by_flow(True), sizes, seed) for seed in range(10)) > 100


@pytest.mark.parametrize("softcap", [0.7, None])
def test_the_terms_of_a_gradient_are_those_without_the_derivative_of_the_cap(softcap):
    p = arrays(np.random.default_rng(0), Sizes(), softcap=softcap)
    p = p.but(q=20 + np.abs(p.q), k=1 + np.abs(p.k), bias=np.zeros(p.full()))  # every score is far above the cap
    found = gradients(definitions.attention, p)
    terms = terms_of_gradients(definitions.attention, p, found)
    assert [np.any(term) for term in terms] == [softcap is not None] * 2 + [False] * (len(found) - 2)
    if softcap is not None:
        assert np.all(np.abs(found[0]) <= terms[0])
        assert np.all(np.abs(found[1]) <= terms[1])
        assert np.min(terms[0]) > 1e6 * np.max(np.abs(found[0]))


def test_a_weight_is_as_exact_as_its_exponent():
    def in_two_factors(q, k, v, *, offset, **options):  # it rounds two smaller exponents
        return definitions.sigmoid_attention(q, k, v * np.exp(offset / 3), offset=2 * offset / 3, **options)

    def a_little_more(q, k, v, *, offset, **options):
        return in_two_factors(q, k, v, offset=offset + 1e-4, **options)

    one, sizes = ("sigmoid_attention", "equals_exponentials"), Sizes(leading=(2, 2), kv_heads=3, head_dim=1, value_dim=1, kv_len=13)
    right, bare = ([spent(*one, in_two_factors, sizes, seed, **changes) for seed in range(20)] for changes in ({}, {"terms": None}))
    assert max(right) < 1 < max(bare)
    assert min(spent(*one, a_little_more, sizes, seed) for seed in range(10)) > 1e6


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_another_right_way_rounds_counts(dtype):
    sizes = Sizes(q_len=13, kv_len=13, head_dim=1, regime="spiky", dtype=dtype)
    path = ("path_attention", "equals_the_definition", relative.reflections_at_once, sizes)
    right, bare = ([spent(*path, seed, **changes) for seed in range(30)] for changes in ({}, {"rounded_as": ()}))
    assert max(right) < 1 < max(bare)
