"""The public doors to stored keys: what reaches memory is checked, and half width is storage."""

import ml_dtypes
import numpy as np
import pytest

from tinyattn import Tensor, definitions, kernels
from tinyattn.kernels.tiles.lanes import columns, lanes
from tinyattn.ops import alibi
from tinyattn.ops.quantize import dequantize, quantize

RNG = np.random.default_rng
ROWS = 2


def paged(**changes):
    """Arguments of two rows of 6 and 9 tokens in pages of 4, behind which lies NaN."""
    rng = RNG(0)
    keys, values = rng.standard_normal((2, 6, 2, 4, 32))
    keys[1, :, 1:], values[1, :, 1:], keys[0, :, 2:], values[0, :, 2:] = [np.nan] * 4
    given = {"q": rng.standard_normal((ROWS, 4, 1, 32)), "keys": keys, "values": values, "tables": np.array([[5, 0, 4], [2, 3, 1]]),
             "lengths": np.array([6, 9])}
    return given | {name: change(given[name]) if callable(change) else change for name, change in changes.items()}


def gathered(q, keys, values, tables, lengths, **options):
    """The same by the definition, a row at a time."""
    rows = [[np.concatenate([x[page] for page in table], axis=-2)[:, :length] for x in (keys, values)]
            for table, length in zip(tables, lengths, strict=True)]
    return np.stack([definitions.attention(q[row], *pair, causal=True, **options) for row, pair in enumerate(rows)])


def put(index, number):
    def change(array):
        array = array.copy()
        array[index] = number
        return array

    return change


@pytest.mark.parametrize("changes", [
    {}, {"lengths": np.array([0, 9])}, {"lengths": np.array([1, 1]), "q": lambda q: np.repeat(q, 3, axis=2)}, {"lengths": np.array([12, 9])},
    {"q": lambda q: q[:0], "tables": lambda t: t[:0], "lengths": lambda n: n[:0]}, {"q": lambda q: q[:, :, :0]}, {"lengths": np.zeros(2, int)},
    {"tables": lambda t: t.astype(np.uint8)}, {"lengths": lambda n: n.astype(np.uint64)}, {"keys": np.asfortranarray}, {"values": lambda v: v.astype(">f8")},
    {"q": lambda q: np.repeat(q, 8, axis=1)}, {"window": (2 ** 70, 0)}, {"window": (np.uint8(3), 0)}, {"bias": alibi(np.linspace(0.1, 1.0, 4))},
    {"values": lambda v: np.tile(v, 2)}], ids=" ".join)
def test_pages_are_read_as_the_definition_reads_them(changes):
    given = paged(**changes)
    if (given["lengths"] > 9).any():
        given["keys"], given["values"] = np.nan_to_num(given["keys"]), np.nan_to_num(given["values"])
    out = kernels.paged_attention(**given)
    want = gathered(**given) if len(given["q"]) else np.zeros(given["q"].shape)
    assert out.shape == want.shape
    np.testing.assert_allclose(out, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("name", "change", "error", "says"), [
    ("tables", put((1, 2), 10 ** 6), ValueError, "pages 0 to 5"), ("tables", put((1, 1), -1), ValueError, "pages 0 to 5"),
    ("tables", put((1, 2), 6), ValueError, "pages 0 to 5"), ("tables", lambda t: np.full(t.shape, 2 ** 64 - 1, np.uint64), ValueError, "pages 0 to 5"),
    ("tables", lambda t: t.astype(float), TypeError, "integer"), ("tables", lambda t: t > 0, TypeError, "bool"), ("tables", lambda t: t[:1], ValueError, "2 rows"),
    ("tables", lambda t: t[0], ValueError, "rows, blocks"), ("tables", lambda t: t.tolist(), TypeError, "list"), ("tables", lambda t: t[:, :2], ValueError, "lengths"),
    ("lengths", put(1, 40), ValueError, "0 to 12"), ("lengths", put(1, 13), ValueError, "0 to 12"), ("lengths", put(0, -1), ValueError, "0 to 12"),
    ("lengths", lambda n: np.full(2, 2 ** 63, np.uint64), ValueError, "0 to 12"), ("lengths", lambda n: n.astype(float), TypeError, "integer"),
    ("lengths", lambda n: n[:1], ValueError, "2 rows"), ("lengths", lambda n: n[:, None], ValueError, "rows"), ("lengths", 6, TypeError, "int"),
    ("q", lambda q: q[..., :16], ValueError, "q"), ("q", lambda q: q.astype(np.float32), TypeError, "dtype of q"), ("q", lambda q: q[:, :3], ValueError, "q"),
    ("q", lambda q: np.repeat(q, 9, axis=1), ValueError, "at most 16"), ("q", lambda q: q[0], ValueError, "rows, heads"), ("q", Tensor, TypeError, "no gradient"),
    ("keys", lambda k: k[:, :, :3], ValueError, "keys"), ("keys", lambda k: k[:3], ValueError, "keys"), ("keys", lambda k: k[0], ValueError, "pages, kv_heads"),
    ("keys", lambda k: k[:, :0], ValueError, "keys"), ("keys", lambda k: np.ones(k.shape, int), TypeError, "keys"), ("values", lambda v: v[:, :1], ValueError, "keys"),
    ("values", lambda v: v[..., :5], ValueError, f"multiple of {columns(8)}"), ("values", lambda v: v.astype(np.float32), TypeError, "values"),
    ("bias", np.full((4, 1, 9), np.inf), ValueError, r"\+inf"), ("bias", np.zeros((3, 1, 9)), ValueError, "broadcasts"), ("bias", np.zeros(9, bool), TypeError, "bool"),
    ("bias", Tensor(np.zeros(9)), TypeError, "no gradient"), ("bias", alibi(np.zeros(3)), ValueError, r"= \(2, 4, 1, 9\), got shape \(3, 1, 9\)"), ("sinks", np.zeros(3), ValueError, "sinks"),
    ("sinks", Tensor(np.zeros(4)), TypeError, "no gradient"), ("sinks", np.full(4, np.inf), ValueError, r"\+inf")])
def test_what_the_pages_kernel_cannot_read_is_refused_by_name(name, change, error, says):
    given = paged(**{name: change} if name in ("q", "keys", "values", "tables", "lengths") else {})
    given |= {} if name in given else {name: change}
    with pytest.raises(error, match=says) as caught:
        kernels.paged_attention(**given)
    assert name in str(caught.value)


def test_rows_narrower_than_registers_are_refused():
    narrow = lanes(8) - 1
    given = paged(q=lambda q: q[..., :narrow], keys=lambda k: k[..., :narrow])
    with pytest.raises(ValueError, match=f"q: expected a width that is a multiple of {lanes(8)}"):
        kernels.paged_attention(**given)


def test_infinite_bias_of_rows_of_one_length_is_the_definitions():
    given = paged(lengths=np.array([9, 9]), keys=np.nan_to_num, values=np.nan_to_num)
    bias = np.zeros((4, 1, 9))
    bias[..., 3] = np.inf
    np.testing.assert_allclose(kernels.paged_attention(**given, bias=bias), gathered(**given, bias=bias), rtol=1e-11)


def quantized(bits=8, **changes):
    rng = RNG(1)
    x, new = rng.standard_normal((2, 2, 16, 32)), rng.standard_normal((2, 2, 2, 4, 32))
    given = {"q": rng.standard_normal((2, 4, 2, 32)), "keys": quantize(x, bits=bits, group=8, axis=-2),
             "values": quantize(x, bits=bits, group=32, axis=-1), "new_keys": new[0], "new_values": new[1]}
    return given | {name: change(given[name]) if callable(change) else change for name, change in changes.items()}


def unpacked(q, keys, values, new_keys, new_values, **options):
    k, v = (np.concatenate((dequantize(old), new), axis=-2) for old, new in ((keys, new_keys), (values, new_values)))
    return definitions.attention(q, k, v, causal=True, **options)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("changes", [
    {}, {"window": (2 ** 70, 0)}, {"q": lambda q: q[:, :, :0]}, {"new_keys": lambda x: x[:, :, :0], "new_values": lambda x: x[:, :, :0], "q": lambda q: q[:, :, :1]},
    {"keys": lambda p: p.rows(0, 0), "values": lambda p: p.rows(0, 0)}, {"q": lambda q: np.repeat(q, 8, axis=1)}], ids=" ".join)
def test_codes_are_read_as_the_definition_reads_their_numbers(bits, changes):
    given = quantized(bits, **changes)
    np.testing.assert_allclose(kernels.quantized_attention(**given), unpacked(**given), rtol=1e-11, atol=1e-12)


REPACKED = {"fewer scales": lambda p: p._replace(scale=p.scale[..., :1, :]), "fewer zeros": lambda p: p._replace(zero=p.zero[:, :1]),
            "a group that does not divide": lambda p: p._replace(group=5), "other bits": lambda p: p._replace(bits=4), "5 bits": lambda p: p._replace(bits=5),
            "the other axis": lambda p: p._replace(axis=-3 - p.axis), "another width": lambda p: p._replace(width=16), "one head": lambda p: p._replace(codes=p.codes[:, :1]),
            "codes of int64": lambda p: p._replace(codes=p.codes.astype(int)), "scales of float32": lambda p: p._replace(scale=p.scale.astype(np.float32)),
            "fewer tokens": lambda p: p._replace(codes=p.codes[..., :8, :]), "a tuple": tuple, "a group of 0": lambda p: p._replace(group=0),
            "a group of True": lambda p: p._replace(group=True), "half a width": lambda p: p._replace(width=32.0), "no axes": lambda p: p._replace(codes=p.codes[0, 0, 0])}


@pytest.mark.parametrize("name", ["keys", "values"])
@pytest.mark.parametrize("wrong", REPACKED)
def test_codes_that_do_not_belong_together_are_refused(name, wrong):
    with pytest.raises((TypeError, ValueError), match=f"{name}: expected"):
        kernels.quantized_attention(**quantized(**{name: REPACKED[wrong]}))


def test_codes_that_the_kernel_does_not_unpack_are_refused():
    x, new = RNG(2).standard_normal((2, 16, 32)), RNG(3).standard_normal((2, 4, 32))
    keys, values = quantize(x, bits=8, group=8, axis=-2), quantize(x[:, :15], bits=4, group=3, axis=-1)
    with pytest.raises(ValueError, match="values: expected a width and groups of whole registers"):
        kernels.quantized_attention(x[:, :1], keys, values, new, new)
    with pytest.raises(ValueError, match="values: expected the 8 bits and 16 tokens of keys, got 4 bits"):
        kernels.quantized_attention(x[:, :1], keys, quantize(x, bits=4, group=32, axis=-1), new, new)
    few = quantize(x[:, :8], bits=8, group=32, axis=-1)
    with pytest.raises(ValueError, match="values: expected the 8 bits and 16 tokens of keys, got 8 bits and 8 tokens"):
        kernels.quantized_attention(x[:, :1], keys, few, new, new)


@pytest.mark.parametrize("half", [np.float16, ml_dtypes.bfloat16])
def test_half_width_is_storage(half):
    given = {name: x.astype(half) if x.dtype == np.float64 else x for name, x in paged().items()}
    wide = {name: x.astype(np.float32) if x.dtype == half else x for name, x in given.items()}
    out = kernels.paged_attention(**given)
    assert out.dtype == half
    np.testing.assert_array_equal(out, kernels.paged_attention(**wide).astype(half))
    with pytest.raises(TypeError, match="keys: expected the dtype of q"):
        kernels.paged_attention(**given | {"keys": wide["keys"]})
    packed = quantized()
    x = RNG(4).standard_normal((2, 2, 16, 32)).astype(np.float32)
    packed |= {"keys": quantize(x, bits=8, group=8, axis=-2), "values": quantize(x, bits=8, group=32, axis=-1)}
    given = {name: x.astype(half) if isinstance(x, np.ndarray) else x for name, x in packed.items()}
    wide = {name: x.astype(np.float32) if isinstance(x, np.ndarray) else x for name, x in given.items()}
    out = kernels.quantized_attention(**given)
    assert out.dtype == half
    np.testing.assert_array_equal(out, kernels.quantized_attention(**wide).astype(half))
