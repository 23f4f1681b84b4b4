"""What every definition does with options: unknown ones are refused by the public name, learned numbers have gradients."""

import inspect

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.catalog import ROWS
from tinyattn.engine import Tensor, grad
from tinyattn.laws.problem import Sizes
from tinyattn.ops import masks
from tinyattn.ops.options import check_window
from tinyattn.ops.signature import mechanism_name

X = np.random.default_rng(0).standard_normal((2, 3, 4))


def arrays(name):
    """An array for each place of the signature, and for each array that is given by name."""
    function = getattr(definitions, name)
    cores = function.signature.split("->")[0].count("(")
    parameters = list(inspect.signature(function).parameters.values())[:cores]
    placed = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return [X] * len(placed), {p.name: X for p in parameters[len(placed):]}


@pytest.mark.parametrize("name", definitions.__all__)
def test_an_unknown_option_is_refused_by_the_public_name(name):
    placed, named = arrays(name)
    function = getattr(definitions, name)  # which may be another name of a form, as retention is of retention_parallel
    assert getattr(definitions, function.__name__) is function
    with pytest.raises(TypeError, match=rf"^{mechanism_name(function)}: unexpected keyword 'colour'; "):
        function(*placed, **named, colour=1)


@pytest.mark.parametrize("name", [name for name in definitions.__all__ if "causal" in inspect.signature(getattr(definitions, name)).parameters])
def test_a_misspelt_option_is_told_the_nearest(name):
    (placed, named), function = arrays(name), getattr(definitions, name)
    with pytest.raises(TypeError, match=rf"^{mechanism_name(function)}: unexpected keyword 'casual'; did you mean causal\?$"):
        function(*placed, **named, casual=True)


def test_a_mechanism_without_score_rules_says_who_takes_one():
    for name in ("talking_heads_attention", "cosine_attention", "linear_attention"):
        (placed, named), function = arrays(name), getattr(definitions, name)
        with pytest.raises(TypeError, match=f"^{mechanism_name(function)}: unexpected keyword 'score'; only attention, its grouped forms and streaming_"):
            function(*placed, **named, score=lambda s, i, j: s)


@pytest.mark.parametrize("name", definitions.__all__)
def test_every_parameter_has_a_name_of_its_own(name):
    kinds = {p.kind for p in inspect.signature(getattr(definitions, name)).parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


def test_an_array_that_is_given_twice():
    with pytest.raises(TypeError, match="^attention: k is given twice"):
        definitions.attention(X, X, X, k=X)
    np.testing.assert_array_equal(definitions.attention(X, k=X, v=X), definitions.attention(X, X, X))
    with pytest.raises(TypeError, match="v: missing"):
        definitions.attention(X, X)


def test_an_option_that_is_missing_is_named_whatever_the_form():
    for mechanism in (definitions.gated_linear_attention, definitions.gated_linear_attention_recurrent):
        with pytest.raises(TypeError, match="^log_decay: missing; gated_linear_attention takes it by name$"):
            mechanism(X, X, X)
    with pytest.raises(TypeError, match="^beta, log_decay: missing; gated_delta_rule takes them by name$"):
        definitions.gated_delta_rule(X, X, X)


def test_a_message_shows_shapes_as_they_were_given():
    weights = {"w_uk": np.ones((2, 4, 4)), "w_uv": np.ones((2, 4, 4))}
    latent = np.ones((3, 5, 4))
    with pytest.raises(ValueError, match=r"latent: expected the leading axes of q_nope \(2, 5, 4\) without its heads, got shape \(3, 5, 4\);"):
        definitions.latent_attention_expanded(np.ones((2, 5, 4)), np.ones((2, 5, 4)), latent, latent, **weights)
    with pytest.raises(ValueError, match=r"v: expected j = 5 as in k \(5, 4\), got shape \(6, 4\);"):
        definitions.attention(np.ones((5, 4)), np.ones((5, 4)), np.ones((6, 4)))


def test_a_pattern_that_was_not_called_is_refused():
    with pytest.raises(TypeError, match=r"^mask: .*got a function; calling it makes a Pattern, as in causal\(\)$"):
        definitions.attention(X, X, X, mask=masks.causal)


@pytest.mark.parametrize("number", [0.25, np.float32(0.25), np.array(0.25), np.array(0.25, np.float32), np.full(2, 0.25), np.array(0.25, np.float16)])
def test_lambda_is_a_number_an_array_of_one_or_one_per_head(number):
    want = definitions.attention(X, X, X) - 0.25 * definitions.attention(X * 2, X, X)
    np.testing.assert_array_equal(definitions.differential_attention(X, X, X * 2, X, X, lambda_=number), want)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_lambda_has_a_gradient(shape):
    loss = lambda number: definitions.differential_attention(X, X, X * 2, X, X, lambda_=number).sum()
    gradient, second = grad(loss)(np.full(shape, 0.25)), definitions.attention(X * 2, X, X)
    np.testing.assert_allclose(gradient, -(second.sum() if not shape else second.sum(axis=(1, 2))), rtol=1e-14)
    assert gradient.shape == shape
    leaf = Tensor(np.full(shape, 0.25))
    loss(leaf).backward()
    np.testing.assert_array_equal(leaf.grad, gradient)


@pytest.mark.parametrize(("number", "error"), [(np.nan, ValueError), (np.array(np.inf), ValueError), (np.array([0.25, np.nan]), ValueError),
                                               (np.ones(3), ValueError), (np.ones((2, 1)), ValueError), (True, TypeError), ("1", TypeError),
                                               (None, TypeError), ([0.25, 0.25], TypeError), (np.array(1), TypeError)])
def test_lambda_refuses(number, error):
    with pytest.raises(error, match="lambda_"):
        definitions.differential_attention(X, X, X, X, X, lambda_=number)


@pytest.mark.parametrize("left", [1 << 60, 1 << 62, 1 << 63, 1 << 200, np.uint64(2 ** 64 - 1), np.int64(2 ** 63 - 1)])
def test_a_window_beyond_any_position_is_unbounded(left):
    assert check_window((left, left)) == (None, None)
    for f in (definitions.attention, definitions.streaming_attention, definitions.grouped_query_attention):
        np.testing.assert_array_equal(f(X, X, X, window=(left, 0)), f(X, X, X, causal=True))


@pytest.mark.parametrize("kind", [np.uint8, np.uint64, np.int8, np.int64])
def test_a_window_of_another_integer_is_the_same_window(kind):
    assert check_window((kind(1), kind(0))) == (1, 0)
    for f in (definitions.attention, definitions.streaming_attention):
        np.testing.assert_array_equal(f(X, X, X, window=(kind(1), kind(0))), f(X, X, X, window=(1, 0)))


DAMAGED = ["text", None, 1.5, True, -1, 0, np.nan, [1], {}, np.array([None]), np.arange(3), np.ones((2, 3)), np.ones((9, 9, 9, 9, 9)), 1 << 70,
           np.ma.masked_array(np.ones(3)), (), ("a",), (None,), lambda x: 3]
FORMS = [(row, form) for row in ROWS for form in dict.fromkeys((row.definition, *row.forms.values()))]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("row", "form"), FORMS, ids=[f"{row.name}-{getattr(form, '__name__', 'form')}" for row, form in FORMS])
def test_a_damaged_option_is_named_or_taken(row, form):
    problem = row.sample(np.random.default_rng(0), row.fit(Sizes(leading=(2,))))
    problem.call(row.called(form))
    options = {p.name for p in inspect.signature(row.definition).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for name in sorted({*problem.options, *options} - {"start"}):  # where a text starts is a number of the catalog's own
        for value in DAMAGED:
            refusals = [name]
            try:
                problem.but(**{name: value}).call(row.called(form))
            except (TypeError, ValueError) as refusal:
                refusals.append(str(refusal))
            assert name in refusals[-1], (value, refusals[-1])


@pytest.mark.parametrize(("steps", "error"), [("text", TypeError), (None, TypeError), (1.5, TypeError), (True, TypeError), ([2], TypeError),
                                               (0, ValueError), (-1, ValueError), (5, ValueError), (1 << 70, ValueError)])
@pytest.mark.parametrize("form", [definitions.delta_product_recurrent, definitions.delta_product_chunked])
def test_steps_that_are_damaged_are_named(form, steps, error):
    # The catalog's problems hold the steps of a token side by side, and its wrapper gives their number.
    with pytest.raises(error, match="steps: expected|multiple of steps"):
        form(X[:, :1], X[:, :2], X[:, :2], beta=np.ones((2, 2)), steps=steps)


SCALED = [(row, form) for row, form in FORMS if "scale" in inspect.signature(row.definition).parameters]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e308, -1e308])
@pytest.mark.parametrize(("row", "form"), SCALED, ids=[f"{row.name}-{getattr(form, '__name__', 'form')}" for row, form in SCALED])
def test_scores_that_overflow_are_no_numbers_in_the_result_and_raise_no_warning(row, form, scale):
    problem = row.sample(np.random.default_rng(0), row.fit(Sizes(leading=(2,), q_len=9, kv_len=9)))
    out = problem.but(scale=scale, q=problem.q * 1e9).call(row.called(form))
    assert not all(np.isfinite(part).all() for part in (out if isinstance(out, tuple) else (out,)))
