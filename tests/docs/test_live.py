"""The live page's computation, in CPython: every mechanism takes every setting, and what is drawn is what is computed."""

import json

import live
import numpy as np
import pytest

from tinyattn.catalog import ROWS
from tinyattn.laws.law import outputs

NAMES = [row.name for row in ROWS if live.reads_tokens(row)]
OTHERS = ({}, {"window": 1, "softcap": 0.5, "causal": False, "heads": 8, "shared": 4},
          {"sentence": "one", "heads": 1, "shared": 1, "window": None})
# Longformer's tokens of global sight read values of their own, and a token of a delta product has several values.
BESIDE = {"delta_product", "longformer_attention"}


@pytest.mark.parametrize("name", NAMES)
def test_a_mechanism_takes_every_setting(name):
    for change in OTHERS:
        answer = json.loads(live.page(json.dumps({**live.FIRST, "mechanism": name, **change})))
        assert "refused" not in answer, answer
        numbers = answer["numbers"]
        heads, rows, columns = np.shape(numbers["weights"])
        assert heads >= 1
        assert (len(numbers["rows"]), len(numbers["words"]), len(numbers["norms"])) == (rows, columns, rows)
        assert np.isfinite(numbers["weights"]).all()
        assert answer["html"].count("<svg") == heads + 1


WORDS = "a b c d e f".split()
VALUED = [row for row in ROWS if row.name not in BESIDE and live.has_values(live.example(row, WORDS)[0])]


def test_few_mechanisms_have_no_values():
    assert set(NAMES) - {row.name for row in VALUED} - BESIDE == {"latent_attention_expanded"}


def test_a_gate_on_an_image_is_not_offered_and_refused():
    assert {row.name for row in ROWS} - set(NAMES) == {"spatial_gate"}
    answer = json.loads(live.page(json.dumps({**live.FIRST, "mechanism": "spatial_gate"})))
    assert "reads tokens, got spatial_gate" in answer["refused"]


@pytest.mark.parametrize("row", VALUED, ids=[row.name for row in VALUED])
def test_the_matrix_that_is_drawn_gives_the_output(row):
    p, _ = live.example(row, WORDS)
    weights, out = live.mixing(row.mechanism, p), outputs(p.call(row.mechanism))[0]
    values = np.repeat(p.v, out.shape[-3] // p.v.shape[-3], axis=-3)
    # Each channel of a convolution has taps, and so a matrix, of its own: that of the first is drawn.
    drawn = slice(0, 1 if row.name == "causal_convolution" else None)
    np.testing.assert_allclose((weights @ values.reshape(-1, *values.shape[-2:]))[..., drawn], out.reshape(-1, *out.shape[-2:])[..., drawn],
                               rtol=1e-9, atol=1e-11)


def test_settings_change_the_numbers_as_they_say():
    wide = live.compute({**live.FIRST, "window": None})
    narrow = live.compute({**live.FIRST, "window": 2})
    assert (np.count_nonzero(narrow["weights"], axis=-1) == np.minimum(np.arange(11) + 1, 3)).all()  # two besides its own
    assert (np.count_nonzero(wide["weights"], axis=-1) == np.arange(11) + 1).all()
    capped = live.compute({**live.FIRST, "window": None, "softcap": 0.1})
    assert np.max(capped["weights"][0][10]) < np.max(wide["weights"][0][10])
    assert live.compute({**live.FIRST, "shared": 4})["cache_bytes"][0] * 2 == wide["cache_bytes"][0]


def test_a_refusal_is_the_librarys_own_words_and_text_is_escaped():
    assert "expected at least one word" in json.loads(live.page(json.dumps({**live.FIRST, "sentence": " "})))["refused"]
    assert "did you mean attention" in json.loads(live.page(json.dumps({**live.FIRST, "mechanism": "atention"})))["refused"]
    shown = json.loads(live.page(json.dumps({**live.FIRST, "sentence": "<b> & \"x\""})))["html"]
    assert "<b>" not in shown
    assert "&lt;" in shown


def test_a_window_is_what_the_library_calls_a_window():
    local = live.compute({**live.FIRST, "mechanism": "multi_head_local_attention", "window": 2})
    assert np.count_nonzero(local["weights"], axis=-1).max() == 2
    both = live.compute({**live.FIRST, "window": 2, "causal": False})
    assert np.count_nonzero(both["weights"], axis=-1).max() == 5


def test_heads_that_cannot_share_are_refused():
    answer = json.loads(live.page(json.dumps({**live.FIRST, "heads": 1, "shared": 2})))
    assert answer == {"refused": "heads: expected a multiple of the 2 that share a key head, got 1"}


@pytest.mark.parametrize(("length", "said"), [(24, ""), (25, "Of 25 words and signs the first 24 are used.")])
def test_a_text_that_is_cut_says_so(length, said):
    answer = json.loads(live.page(json.dumps({**live.FIRST, "sentence": "word " * length})))
    assert (answer["cut"], len(answer["numbers"]["words"])) == (said, 24)


def test_every_row_and_column_of_a_map_is_labelled():
    shown = json.loads(live.page(json.dumps({**live.FIRST, "sentence": "alpha beta"})))["html"]
    for drawing in shown.split("<figure>")[1:]:
        assert (drawing.count(">alpha</text>"), drawing.count(">beta</text>")) == (2, 2)


def test_slopes_of_one_channel_are_the_weights():
    row = next(row for row in ROWS if row.name == "attention")
    p, _ = live.example(row, WORDS)
    by_slope = live.slopes(lambda v: p.but(v=v).call(row.mechanism), p.v, lambda g: g[..., 0])
    np.testing.assert_allclose(by_slope, live.mixing(row.mechanism, p), rtol=1e-12, atol=1e-14)
