"""Bad inputs: each refused by name, with what came and what was expected, before anything is computed."""

import numpy as np
import pytest

from tinyattn import definitions, fastest
from tinyattn.ops import masks

Q, K, V = np.ones((2, 4, 5, 3)), np.ones((2, 2, 7, 3)), np.ones((2, 2, 7, 6))
FORMS = {"attention": definitions.attention, "with_lse": definitions.attention_with_lse, "fastest": fastest.attention,
         "streaming": definitions.streaming_attention, "grouped": definitions.grouped_query_attention}

SHAPES = [
    ({"q": np.ones((2, 4, 5, 8))}, ValueError, ("k: expected d = 8", "(2, 4, 5, 8)", "(2, 2, 7, 3)")),
    ({"v": np.ones((2, 2, 6, 6))}, ValueError, ("v: expected j = 7", "(2, 2, 6, 6)")),
    ({"q": np.ones((2, 6, 5, 3)), "k": np.ones((2, 4, 7, 3)), "v": np.ones((2, 4, 7, 6))}, ValueError,
     ("k: expected kv_heads dividing the 6 heads", "(2, 4, 7, 3)")),
    ({"k": np.ones((2, 8, 7, 3)), "v": np.ones((2, 8, 7, 6))}, ValueError, ("dividing the 4 heads", "8")),
    ({"v": np.ones((2, 1, 7, 6))}, ValueError, ("v: expected the kv_heads of k", "(2, 1, 7, 6)")),
    ({"k": np.ones((1, 2, 7, 3))}, ValueError, ("k: expected the leading axes of q", "(1, 2, 7, 3)")),
    ({"k": np.ones((2, 7, 3))}, ValueError, ("k: expected the leading axes", "(2, 7, 3)")),
    ({"q": np.ones(3)}, ValueError, ("q: expected at least", "(3,)")),
    ({"q": np.ones((2, 4, 5, 0)), "k": np.ones((2, 2, 7, 0))}, ValueError, ("head_dim 0", "(2, 4, 5, 0)")),
    ({"mask": np.ones((2, 7), bool)}, ValueError, ("mask: expected a shape that broadcasts", "(2, 4, 5, 7)", "(2, 7)")),
    ({"mask": np.ones((7, 5), bool)}, ValueError, ("mask", "(7, 5)")),
    ({"mask": np.ones((5, 6), bool)}, ValueError, ("mask", "(5, 6)")),
    ({"mask": np.ones((2, 5, 7), bool)}, ValueError, ("mask", "(2, 5, 7)")),
    ({"mask": np.ones((3, 1, 1, 5, 7), bool)}, ValueError, ("mask", "(3, 1, 1, 5, 7)")),
    ({"mask": np.ones((5, 7), np.int64)}, TypeError, ("mask: expected a boolean array", "int64")),
    ({"mask": np.ones((5, 7))}, TypeError, ("mask", "float64")), ({"mask": [[True]]}, TypeError, ("mask", "list")),
    ({"mask": np.array([None])}, TypeError, ("mask", "object")),
    ({"mask": masks.padding(np.array([1, 2, 3]))}, ValueError, ("mask", "(3, 1, 5, 7)")),
    ({"mask": masks.documents(np.zeros(4, int))}, ValueError, ("ids", "(4,)")),
    ({"bias": np.ones((5, 7), bool)}, TypeError, ("bias", "bool", "mask=")), ({"bias": np.ones((5, 7), int)}, TypeError, ("bias", "int64")),
    ({"bias": np.ones((4, 7))}, ValueError, ("bias", "(4, 7)")), ({"bias": 1.0}, TypeError, ("bias", "float")),
    ({"sinks": np.ones(3)}, ValueError, ("sinks: expected shape (4,)", "(3,)")), ({"sinks": [1.0]}, TypeError, ("sinks", "list")),
    ({"window": (-1, 0)}, ValueError, ("window (left)", "got -1")), ({"window": 3}, TypeError, ("window", "int")),
    ({"window": (1, 2, 3)}, ValueError, ("window", "(1, 2, 3)")), ({"window": (1.0, 0)}, TypeError, ("window (left)", "float")),
    ({"window": (True, 0)}, TypeError, ("window",)), ({"causal": 1}, TypeError, ("causal", "int")),
    ({"causal": None}, TypeError, ("causal", "NoneType")),
    ({"scale": float("nan")}, ValueError, ("scale", "nan")), ({"scale": np.inf}, ValueError, ("scale", "inf")),
    ({"scale": np.ones(2)}, TypeError, ("scale", "ndarray")), ({"scale": "1"}, TypeError, ("scale", "str")),
    ({"softcap": 0.0}, ValueError, ("softcap", "0.0")), ({"softcap": -1.0}, ValueError, ("softcap", "-1.0")),
    ({"softcap": 1e-310}, ValueError, ("softcap", "1e-310")), ({"softcap": np.nan}, ValueError, ("softcap", "nan")), ({"softcap": True}, TypeError, ("softcap", "bool")),
]
KINDS = [(f"{name} {kind}", {name: kind(array)}, TypeError, (f"{name}: expected",))
         for name, array in (("q", Q), ("k", K), ("v", V))
         for kind in (lambda a: a.astype(int), lambda a: a.astype(complex), lambda a: a.astype(bool), lambda a: a.astype(object),
                      lambda a: a.astype(np.longdouble), lambda a: a.tolist(), lambda a: a.astype(str), lambda a: None,
                      lambda a: np.ma.masked_array(a), lambda a: a.astype("M8[s]"), lambda a: 3.0)]
KINDS += [("k float32", {"k": K.astype(np.float32)}, TypeError, ("k: expected the dtype of q, float64, got float32",)),
          ("v float16", {"v": V.astype(np.float16)}, TypeError, ("v: expected the dtype of q, float64, got float16",))]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("changes", "error", "words"), SHAPES + [case[1:] for case in KINDS])
def test_a_bad_input_is_named(name, changes, error, words):
    given = {"q": Q, "k": K, "v": V, **changes}
    with pytest.raises(error) as refusal:
        FORMS[name](given.pop("q"), given.pop("k"), given.pop("v"), **given)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("name", FORMS)
def test_calls_that_cannot_be(name):
    with pytest.raises(TypeError, match="casual"):
        FORMS[name](Q, K, V, casual=True)
    with pytest.raises(TypeError):
        FORMS[name](Q, K)
    with pytest.raises(TypeError):
        FORMS[name](Q, K, V, None)


def test_heads_that_a_form_does_not_take():
    with pytest.raises(ValueError, match=r"k: expected 4 kv_heads.*\(2, 2, 7, 3\)"):
        definitions.multi_head_attention(Q, K, V)
    with pytest.raises(ValueError, match=r"k: expected 1 kv_head.*\(2, 2, 7, 3\)"):
        definitions.multi_query_attention(Q, K, V)
    for block, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="block"):
            definitions.streaming_attention(Q, K, V, block=block)


def test_lengths_and_heads_of_zero():
    for shape in ((0, 4, 5), (2, 0, 5), (2, 4, 0)):
        q, k = np.ones((*shape, 3)), np.ones((shape[0], shape[1] // 2, 7, 3))
        for form in FORMS.values():
            out = form(q, k, k)
            assert (out[0] if isinstance(out, tuple) else out).shape == (*shape, 3)
    for form in FORMS.values():
        out = form(Q, K[..., :0, :], V[..., :0, :])
        np.testing.assert_array_equal(out[0] if isinstance(out, tuple) else out, np.zeros((2, 4, 5, 6)))


@pytest.mark.parametrize("form", [definitions.linear_attention_parallel, definitions.linear_attention_recurrent,
                                  definitions.linear_attention_chunked])
def test_linear_attention_refuses(form):
    state = np.ones((2, 2, 3, 6))
    for changes, error, words in (
            ({"q": np.ones((2, 4, 9, 3)), "causal": True}, ValueError, r"q: .*q_len <= kv_len.*\(2, 4, 9, 3\)"),
            ({"scale": np.nan}, ValueError, "scale"), ({"scale": np.ones(1)}, TypeError, "scale"),
            ({"initial_state": state}, TypeError, "initial_state.*pair"),
            ({"initial_state": (state, np.ones((2, 2, 4)))}, ValueError, r"initial_state.*normaliser.*\(2, 2, 3\).*\(2, 2, 4\)"),
            ({"initial_state": (state[:1], np.ones((2, 2, 3)))}, ValueError, "initial_state.*state"),
            ({"initial_state": (state.astype(np.float32), np.ones((2, 2, 3)))}, TypeError, "initial_state.*float32"),
            ({"initial_state": ([1.0], np.ones((2, 2, 3)))}, TypeError, "initial_state"),
            ({"k": K.astype(np.float32)}, TypeError, "k: expected the dtype"), ({"k": np.ones((2, 3, 7, 3))}, ValueError, "kv_heads")):
        given = {"q": Q, "k": K, "v": V, **changes}
        with pytest.raises(error, match=words):
            form(given.pop("q"), given.pop("k"), given.pop("v"), **given)
    with pytest.raises(ValueError, match="chunk: expected 1 or more"):
        definitions.linear_attention_chunked(Q, K, V, chunk=0)
