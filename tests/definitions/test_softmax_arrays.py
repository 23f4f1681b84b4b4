"""Softmax attention on arrays of every dtype and layout, with and without a heads axis."""


import numpy as np
import pytest
from softmax_forms import EPS, FORMS

from tinyattn import definitions


@pytest.mark.parametrize("name", FORMS)
def test_dtypes(name):
    rng = np.random.default_rng(9)
    q, k, v = (rng.standard_normal((2, 4, 3)).astype(np.float32) for _ in range(3))
    want = FORMS[name](*(a.astype(np.float64) for a in (q, k, v)), causal=True)
    single = FORMS[name](q, k, v, causal=True)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, want, atol=3e-6)
    assert FORMS[name](q, k, v, bias=np.ones((4, 4)), sinks=np.zeros(2)).dtype == np.float32
    if name == "weights":
        return
    half = FORMS[name](*(a.astype(np.float16) for a in (q, k, v)), causal=True)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, want, atol=4e-3)
    large = np.full((1, 1, 64), 100.0, np.float16)
    assert np.isfinite(FORMS[name](large, large, large)).all()  # q . k is 640,000, beyond float16


def test_float16_sums_far_beyond_its_range():
    ones = np.ones((1, 70_000, 1), np.float16)
    assert definitions.attention(ones[:, :1], ones, ones) == 1.0
    out, lse = definitions.attention_with_lse(ones[:, :1], ones, ones)
    assert (out.dtype, lse.dtype) == (np.float16, np.float32)


def layouts(a, tmp_path):
    strided = np.repeat(np.repeat(a, 2, axis=-1), 2, axis=-2)[..., ::2, ::2]
    negative = np.flip(np.flip(a, -1).copy(), -1)
    packed = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    packed[...] = a
    frozen = a.copy()
    frozen.flags.writeable = False
    np.save(tmp_path / "a.npy", a)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    return {"strided": strided, "negative": negative, "fortran": np.asfortranarray(a), "unaligned": packed, "read-only": frozen,
            "mapped": mapped, "big-endian": a.astype(a.dtype.newbyteorder(">")), "matrix of rows": a.view(np.ndarray)}


@pytest.mark.parametrize("name", FORMS)
def test_layouts_give_the_numbers_of_the_plain_copy_and_are_not_written(name, tmp_path):
    rng = np.random.default_rng(10)
    q, k, v = rng.standard_normal((2, 4, 3)), rng.standard_normal((1, 5, 3)), rng.standard_normal((1, 5, 2))
    want = FORMS[name](q, k, v, causal=True)
    for kind, other in layouts(q, tmp_path).items():
        before = other.tobytes()
        out = FORMS[name](other, k, v, causal=True)
        np.testing.assert_allclose(out, want, rtol=0, atol=8 * EPS, err_msg=kind)
        assert out.dtype.isnative
        assert other.tobytes() == before
    for kind, other in layouts(k, tmp_path).items():
        np.testing.assert_allclose(FORMS[name](q, other, v, causal=True), want, rtol=0, atol=8 * EPS, err_msg=kind)
    spread = np.broadcast_to(k[:, :1], k.shape)
    np.testing.assert_allclose(FORMS[name](q, spread, v), FORMS[name](q, spread.copy(), v), rtol=0, atol=8 * EPS)


@pytest.mark.parametrize("name", FORMS)
def test_two_axes_are_one_head(name):
    rng = np.random.default_rng(11)
    q, k, v = rng.standard_normal((3, 2)), rng.standard_normal((4, 2)), rng.standard_normal((4, 5))
    if name == "weights":
        return
    np.testing.assert_array_equal(FORMS[name](q, k, v, causal=True, sinks=np.zeros(1)),
                                  FORMS[name](q[None], k[None], v[None], causal=True, sinks=np.zeros(1))[0])
