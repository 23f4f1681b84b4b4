"""What every table of rotary frequencies checks alike: its base and the channels that it turns."""

import numpy as np
import pytest

from tinyattn import ops

TABLES = {
    "plain": ops.plain_frequencies,
    "linear": lambda dims, **base: ops.linear_frequencies(dims, factor=2.0, **base),
    "ntk": lambda dims, **base: ops.ntk_frequencies(dims, factor=2.0, **base),
    "dynamic_ntk": lambda dims, **base: ops.dynamic_ntk_frequencies(dims, factor=2.0, original_length=8, length=16, **base),
    "yarn": lambda dims, **base: ops.yarn_frequencies(dims, factor=2.0, original_length=64, **base),
    "llama3": lambda dims, **base: ops.llama3_frequencies(dims, factor=2.0, original_length=64, **base),
}
EACH = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@EACH
@pytest.mark.parametrize("base", [1.0, 0.5, 0.0, -2.0, float("nan"), float("inf")])
def test_a_base_that_is_no_finite_number_above_one_is_refused(table, base):
    with pytest.raises(ValueError, match=f"base: expected a finite number above 1, got {base}"):
        table(8, base=base)


@EACH
@pytest.mark.parametrize("base", [True, np.True_, "10000", None, 1 + 2j, [10.0]])
def test_a_base_that_is_no_number_is_refused(table, base):
    with pytest.raises(TypeError, match=f"base: expected a number, got {type(base).__name__}"):
        table(8, base=base)


@EACH
def test_a_base_just_above_one_and_of_any_kind_of_number_is_taken(table):
    assert np.all(table(8, base=np.nextafter(1.0, 2.0)).values > 0.0)
    for base in (100, np.int32(100), np.float32(100.0)):
        np.testing.assert_array_equal(table(8, base=base).values, table(8, base=100.0).values)


@EACH
def test_the_default_base_is_ten_thousand_and_the_base_counts(table):
    np.testing.assert_array_equal(table(8).values, table(8, base=10000.0).values)
    assert np.all(table(8, base=100.0).values[1:-1] > table(8).values[1:-1])


@EACH
@pytest.mark.parametrize(("dims", "error", "words"), [
    (7, ValueError, "dims: expected an even number, as rotary positions rotate pairs of channels, got 7"), (-2, ValueError, "dims"),
    (True, TypeError, "dims: expected an int, got bool"), (8.0, TypeError, "dims: expected an int, got float")])
def test_dims_are_an_even_int(table, dims, error, words):
    with pytest.raises(error, match=words):
        table(dims)


def test_an_original_length_may_be_one():
    np.testing.assert_array_equal(ops.dynamic_ntk_frequencies(4, factor=2.0, original_length=1, length=1).values,
                                  ops.linear_frequencies(4, factor=1.0).values)
