"""The text of a pattern is the expression that makes it."""

from tinyattn.ops.masks import causal, first


def test_what_is_inverted_stands_in_brackets():
    assert str(~(causal() & first(2))) == "~(causal() & first(2))"
    assert str(causal() & first(2) & first(3)) == "causal() & first(2) & first(3)"
    assert str(~(causal() | first(2)) & first(3)) == "~(causal() | first(2)) & first(3)"
