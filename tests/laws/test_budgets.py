"""Budgets that count what right ways to compute a mechanism round, where the definition happens to round nothing."""

from dataclasses import replace

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.catalog import find
from tinyattn.engine import vjp
from tinyattn.engine.primitive import primitive
from tinyattn.laws import judge
from tinyattn.laws.budget import errors_of_draws, per_row
from tinyattn.laws.draw.linear import SCALAR
from tinyattn.laws.draw.relative import COSINE_SLOPES, TALKING_SLOPES
from tinyattn.laws.draw.states import EXPONENTIAL
from tinyattn.laws.gradient import floating, gradients
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


def test_a_gradient_is_as_exact_as_the_terms_that_cancel_in_it():
    one = ("simple_gated_linear_attention", "gradients_equal_the_definition")
    sizes = Sizes(q_len=7, kv_len=7)
    right, bare = ([spent(*one, by_flow(False), sizes, seed, **changes) for seed in range(40)] for changes in ({}, {"terms": None}))
    assert max(right) < 1 < max(bare)
    assert min(spent(*one, by_flow(True), sizes, seed) for seed in range(10)) > 100


def test_what_flows_is_summed_over_the_tokens_of_a_kv_head():
    p = SCALAR(np.random.default_rng(0), Sizes(q_len=4))
    found = gradients(definitions.simple_gated_linear_attention, p)
    flows = [sum(np.abs(x[0, part] * d[0, part]).sum() for x, d, part in zip((p.q, p.k, p.v), found, parts, strict=False))
             for parts in ((np.s_[:2], 0, 0), (np.s_[2:], 1, 1))]
    *others, of_decay = terms_of_gradients(definitions.simple_gated_linear_attention, p, found)
    assert not any(np.any(term) for term in others)
    np.testing.assert_allclose(of_decay, np.full((1, 2, 7), max(flows)), rtol=1e-12)


def test_the_gates_of_a_memory_gather_what_flows_too():
    p = EXPONENTIAL(np.random.default_rng(0), Sizes(q_len=4))
    found = gradients(definitions.mlstm, p)
    terms = dict(zip(floating(p), terms_of_gradients(definitions.mlstm, p, found), strict=True))
    assert np.min(terms["forget_gate"]) > 0
    np.testing.assert_allclose(terms["input_gate"], np.vecdot(np.abs(p.k), np.abs(found[1])))
    assert not np.any(terms["v"])


def test_a_difference_of_two_results_is_as_exact_as_both():
    p = arrays(np.random.default_rng(0), Sizes())
    turned = p.v[..., ::-1, :]
    law = next(law for law in find("attention").laws if law.name == "linear_in_the_values")
    sizes, = law.terms(definitions.attention, p, ())
    both = [np.abs(definitions.attention(p.q, p.k, v)) for v in (p.v, turned)]
    np.testing.assert_allclose(sizes, 2 * both[0] + 3 * both[1])


def test_the_terms_below_a_cap_are_those_without_its_derivative():
    p = arrays(np.random.default_rng(0), Sizes(groups=1, q_len=4, kv_len=4), softcap=1e6)
    p = p.but(q=0 * p.q + np.eye(4), k=0 * p.k + np.eye(4), scale=0.3)  # each gradient is that of one score, times the scale
    found = gradients(definitions.attention, p)
    terms = terms_of_gradients(definitions.attention, p, found)
    for term, slope in zip(terms[:2], found[:2], strict=True):
        np.testing.assert_allclose(term, np.abs(slope), rtol=1e-9)
    assert not np.any(terms[2])
    assert not any(np.any(term) for term in terms_of_gradients(definitions.attention, p.without("softcap"), found))
    # Far above the cap little is left of a gradient, but its terms are as large as before.
    far = p.but(q=50 + p.q, softcap=0.7)
    found = gradients(definitions.attention, far)
    assert np.max(np.abs(found[0])) < 1e-6 < np.min(terms_of_gradients(definitions.attention, far, found)[0])


def test_a_weight_is_as_exact_as_its_exponent():
    def in_two_factors(q, k, v, *, offset, **options):  # it rounds two smaller exponents
        return definitions.sigmoid_attention(q, k, v * np.exp(offset / 3), offset=2 * offset / 3, **options)

    def a_little_more(q, k, v, *, offset, **options):
        return in_two_factors(q, k, v, offset=offset + 1e-4, **options)

    one, sizes = ("sigmoid_attention", "equals_exponentials"), Sizes(leading=(2, 2), kv_heads=3, head_dim=1, value_dim=1, kv_len=13)
    right, bare = ([spent(*one, in_two_factors, sizes, seed, **changes) for seed in range(20)] for changes in ({}, {"terms": None}))
    assert max(right) < 1 < max(bare)
    assert min(spent(*one, a_little_more, sizes, seed) for seed in range(10)) > 1e6


def test_a_score_that_a_rule_makes_is_as_exact_as_its_size():
    def capped_a_little_higher(q, k, v, *, softcap=None, **options):  # as a tanh that is right to two units of the last place
        cap = softcap and softcap * (1 + 2 * np.finfo(q.dtype).eps)
        return definitions.attention(q, k, v, softcap=cap, **options)

    one, sizes = ("attention", "a_rule_stands_between_cap_and_bias"), Sizes(leading=(4,), kv_heads=3, groups=4, kv_len=1, regime="spiky")
    right, bare = ([spent(*one, capped_a_little_higher, sizes, seed, **changes) for seed in (3, 8, 23)]
                   for changes in ({}, {"terms": None}))
    assert max(right) < 1 < max(bare)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_another_right_way_rounds_counts(dtype):
    sizes = Sizes(q_len=13, kv_len=13, head_dim=1, regime="spiky", dtype=dtype)
    path = ("path_attention", "equals_the_definition", relative.reflections_at_once, sizes)
    right, bare = ([spent(*path, seed, **changes) for seed in range(30)] for changes in ({}, {"rounded_as": ()}))
    assert max(right) < 1 < max(bare)


@pytest.mark.parametrize(("sizes", "draws"), [((3, 40), 24), ((64, 0), 8), ((64, 3), 24), ((70, 80), 8)])
def test_a_small_output_beside_a_large_one_is_measured_on_more_draws(sizes, draws):
    def side(f, p):
        return tuple(np.resize(p.v, size) for size in sizes)

    p = arrays(np.random.default_rng(0), Sizes())
    assert len([*errors_of_draws((side,), None, p, np.random.default_rng(1), side(None, p), reorder=False, pool=per_row)]) == draws


def test_gradients_are_compared_where_neither_cap_nor_softmax_saturates():
    for seed in range(40):
        cosine, talking = (draw(np.random.default_rng(seed), Sizes()) for draw in (COSINE_SLOPES, TALKING_SLOPES))
        if cosine.options.get("softcap"):
            assert np.max(np.exp(cosine.options["log_scale"])) <= 3.001 * cosine.options["softcap"]
        assert np.std(talking.options["before"]) < 0.6
    for name, draw in (("cosine_attention", COSINE_SLOPES), ("talking_heads_attention", TALKING_SLOPES)):
        assert all(law.draw is draw for law in find(name).laws if law.name.startswith("gradients_equal"))
