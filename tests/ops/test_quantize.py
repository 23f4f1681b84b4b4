"""Codes: near what they stand for, exact where that is asked, packed without loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn.ops.quantize import dequantize, pack, quantize, spread, unpack

CASES = [(bits, axis) for bits in (4, 8) for axis in (-2, -1)]


def drawn(seed, group, axis, dtype=np.float64):
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(0, 4)) * group if axis == -2 else int(rng.integers(0, 5))
    scale = 10.0 ** rng.integers(-3, 4)
    return (scale * rng.standard_normal((*(2,) * int(rng.integers(0, 3)), rows, int(rng.integers(1, 8))))).astype(dtype)


@pytest.mark.parametrize(("bits", "axis"), CASES)
@given(seed=st.integers(0, 2 ** 32), group=st.sampled_from([1, 2, 3, 32]), dtype=st.sampled_from([np.float64, np.float32, np.float16]))
def test_no_number_is_off_by_more_than_half_a_scale(bits, axis, seed, group, dtype):
    x = drawn(seed, group, axis, dtype)
    packed = quantize(x, bits=bits, group=group, axis=axis)
    back = dequantize(packed)
    assert back.shape == x.shape
    assert back.dtype == packed.scale.dtype == np.promote_types(dtype, np.float32)
    half = spread(packed.scale, x.shape[axis], group, axis) / 2
    rounding = 4 * np.finfo(packed.scale.dtype).eps * np.abs(x.astype(np.float64)).max(initial=0.0)
    assert (np.abs(back - x.astype(np.float64)) <= half + rounding).all()


@pytest.mark.parametrize(("bits", "axis"), CASES)
def test_groups_are_one_by_one(bits, axis):
    x = np.random.default_rng(0).standard_normal((2, 6, 5))
    packed = quantize(x, bits=bits, group=3, axis=axis)
    levels = 2 ** bits - 1
    back, lines = dequantize(packed), np.moveaxis(x, axis, -1)
    for line, got in zip(lines.reshape(-1, lines.shape[-1]), np.moveaxis(back, axis, -1).reshape(-1, lines.shape[-1]), strict=True):
        for start in range(0, len(line), 3):
            group = line[start : start + 3]
            low, step = min(group), (max(group) - min(group)) / levels
            want = [low + round((number - low) / step) * step if step else number for number in group]
            np.testing.assert_allclose(got[start : start + 3], want, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(("bits", "axis"), CASES)
def test_what_is_equal_is_exact_and_so_are_the_ends(bits, axis):
    for number in (0.0, 1e4, -3.7, 5e-324):
        x = np.full((4, 6), number)
        np.testing.assert_array_equal(dequantize(quantize(x, bits=bits, group=2, axis=axis)), x)
    x = np.zeros((4, 6))
    x[1, 2] = 1e4  # one outlier
    back = dequantize(quantize(x, bits=bits, group=4, axis=axis))
    np.testing.assert_array_equal(back, x)
    tiny = np.array([[0.0, 1e-323], [1e-323, 0.0]])
    np.testing.assert_allclose(dequantize(quantize(tiny, bits=bits, group=2, axis=axis)), tiny, rtol=0, atol=1e-322)


@pytest.mark.parametrize(("bits", "axis"), CASES)
def test_what_is_quantised_is_a_fixed_point(bits, axis):
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 2 ** bits, (8, 8)).astype(np.float64)
    codes[::4], codes[1::4] = 0, 2 ** bits - 1
    codes[:, ::4], codes[:, 1::4] = 0, 2 ** bits - 1
    x = codes * 0.25 - 3.0
    packed = quantize(x, bits=bits, group=4, axis=axis)
    np.testing.assert_array_equal(dequantize(packed), x)
    for part, again in zip(packed[:3], quantize(dequantize(packed), bits=bits, group=4, axis=axis)[:3], strict=True):
        np.testing.assert_array_equal(part, again)


@given(codes=st.lists(st.integers(0, 15), max_size=9))
def test_packing_loses_nothing(codes):
    packed = pack(np.array([codes], np.uint8))
    assert packed.shape == (1, -(-len(codes) // 2))
    assert unpack(packed, len(codes)).tolist() == [codes]


def test_every_byte_is_a_pair_of_codes():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(pack(unpack(every, 512)), every)


def test_order_in_a_group_of_tokens_leaves_its_scale():
    x = np.random.default_rng(0).standard_normal((4, 3))
    one, two = (quantize(y, bits=4, group=4, axis=-2) for y in (x, x[::-1]))
    np.testing.assert_array_equal(one.scale, two.scale)
    np.testing.assert_array_equal(one.codes, two.codes[::-1])


def test_rows_are_cut_with_their_groups():
    x = np.random.default_rng(0).standard_normal((2, 6, 5))
    for axis in (-2, -1):
        packed = quantize(x, bits=4, group=2, axis=axis)
        np.testing.assert_array_equal(dequantize(packed.rows(2, 4)), dequantize(packed)[..., 2:4, :])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_would_spoil_a_group_is_refused(bad):
    x = np.zeros((2, 4))
    x[0, 1] = bad
    for spoilt in (x, np.array([[-1.7e308, 1.7e308, 0.0, 0.0]])):
        with pytest.raises(ValueError, match="x: expected finite numbers"):
            quantize(spoilt, bits=8, group=2, axis=-1)
    with pytest.raises(ValueError, match=r"x: expected finite numbers.*\(2, 4\)"):
        quantize(x, bits=8, group=2, axis=-1)
    with pytest.raises(ValueError, match=r"whole groups of 4 tokens, got shape \(2, 4\)"):
        quantize(np.zeros((2, 4)), bits=8, group=4, axis=-2)
