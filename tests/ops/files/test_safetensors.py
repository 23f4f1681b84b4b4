"""safetensors: what goes in comes out, and what is not to the letter is refused before it is believed."""

import json
import os
import struct
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from tinyattn.ops.files import safetensors
from tinyattn.ops.files.header import SafetensorsError

RNG = np.random.default_rng(0)


def test_arrays_come_back(tmp_path):
    arrays = {"f64": RNG.standard_normal((2, 3)), "f32": np.array([np.nan, np.inf, -0.0], np.float32),
              "f16": np.ones((2, 0, 3), np.float16), "i64": np.arange(3), "i32": np.arange(3, dtype=np.int32),
              "u8": np.arange(7, dtype=np.uint8), "bool": np.array([True, False]), "scalar": np.array(3.5),
              "strided": np.arange(12.0).reshape(3, 4)[::-1, ::2], "fortran": np.asfortranarray(RNG.random((3, 4))),
              "big": np.arange(3, dtype=">f4"), "ünïcode.0": np.zeros(1)}
    arrays["strided"].flags.writeable = False
    safetensors.save(tmp_path / "a", arrays, metadata={"k": "v"})
    for mapped in (False, True):
        back, metadata = safetensors.load_with_metadata(tmp_path / "a", map=mapped)
        assert metadata == {"k": "v"}
        assert list(back) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(back[name], array)
            assert back[name].dtype == array.dtype.newbyteorder("=")
            assert back[name].shape == array.shape
        assert back["f64"].flags.writeable != mapped
    raw = (tmp_path / "a").read_bytes()
    assert struct.unpack("<Q", raw[:8])[0] % 8 == 0


def test_bfloat16_rounds_to_nearest_even(tmp_path):
    x = np.array([1.0, 1.00390625, 1.01171875, -3.14159, np.nan, np.inf, 1e-40, 3.4e38], np.float32)
    safetensors.save(tmp_path / "a", {"x": x}, bfloat16=("x",))
    back = safetensors.load(tmp_path / "a")["x"]
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back[:3], [1.0, 1.0, 1.015625])
    assert np.isnan(back[4])
    assert back[5] == np.inf
    finite = np.abs(x[[0, 1, 2, 3]])
    assert (np.abs(np.abs(back[[0, 1, 2, 3]]) - finite) <= finite * 2.0 ** -8).all()


def test_float64_is_rounded_to_bfloat16_once(tmp_path):
    table = (np.arange(0x7F80, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)  # every one from 0 up
    at = np.concatenate(([0, 1, 2, 0x7E, 0x7F, 0x80, 0x7F7E], RNG.integers(0, len(table) - 1, 40)))
    middles = (table[at] + table[at + 1]) / 2
    x = np.concatenate([middles, np.nextafter(middles, 0), np.nextafter(middles, np.inf), middles * (1 + 2.0 ** -40), table[at]])
    expected = []
    for number in x.tolist():
        above = np.searchsorted(table, number)
        below = above if table[above] == number else above - 1
        gaps = [abs(Fraction(float(table[i])) - Fraction(number)) for i in (below, above)]
        expected.append(table[below if gaps[0] < gaps[1] or (gaps[0] == gaps[1] and below % 2 == 0) else above])
    safetensors.save(tmp_path / "a", {"x": x, "minus": -x, "swapped": x.astype(">f8")}, bfloat16={"x", "minus", "swapped"})
    back = safetensors.load(tmp_path / "a")
    np.testing.assert_array_equal(back["x"], expected)
    np.testing.assert_array_equal(back["minus"], np.negative(expected))
    np.testing.assert_array_equal(back["swapped"], expected)


def test_ends_of_float64_become_bfloat16_without_a_warning(tmp_path):
    largest, beyond = (2.0 - 2.0 ** -7) * 2.0 ** 127, (2.0 - 2.0 ** -8) * 2.0 ** 127  # the middle above it rounds to even
    x = np.array([1e300, -1e300, np.inf, np.nan, 1e-320, -0.0, beyond, np.nextafter(beyond, 0.0), 2.0 ** -133, 2.0 ** -134, 2.0 ** -134 * 1.01])
    quiet = np.frombuffer(b"\xff" * 4, np.float32)
    arrays = {"x": x, "scalar": np.array(1e300), "nan": quiet.reshape(()), "half": np.array([65504.0, 6e-8], np.float16)}
    safetensors.save(tmp_path / "a", arrays, bfloat16=arrays)
    back = safetensors.load(tmp_path / "a")
    np.testing.assert_array_equal(back["x"], [np.inf, -np.inf, np.inf, np.nan, 0.0, 0.0, np.inf, largest, 2.0 ** -133, 0.0, 2.0 ** -133])
    assert np.signbit(back["x"][5])
    assert back["scalar"] == np.inf
    assert np.isnan(back["nan"])
    np.testing.assert_array_equal(back["half"], [65536.0, float(np.float16(6e-8))])


def test_arrays_of_bfloat16_come_back_as_float32(tmp_path):
    x = np.array([[1.0, -2.5, np.inf], [3e38, 1e-40, np.nan]], ml_dtypes.bfloat16)
    arrays = {"x": x, "turned": x.T[::-1], "scalar": x[0, 1:2].reshape(()), "empty": x[:0], "named": x}
    safetensors.save(tmp_path / "a", arrays, bfloat16=("named",))
    back = safetensors.load(tmp_path / "a")
    for name, array in arrays.items():
        assert back[name].dtype == np.float32
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array.astype(np.float32))


@pytest.mark.parametrize(("given", "error", "words"), [
    ({"metadata": {"epoch": 3}}, TypeError, r"metadata\['epoch'\]: expected a string, got 3"),
    ({"metadata": {"note": None}}, TypeError, r"metadata\['note'\]: expected a string, got None"),
    ({"metadata": {3: "a"}}, TypeError, "metadata: expected strings as keys, got 3"),
    ({"metadata": [("a", "b")]}, TypeError, "metadata: expected a mapping from names, got list"),
    ({"metadata": {"a": "\ud800"}}, ValueError, r"metadata\['a'\]: .*half of a surrogate pair"),
    ({"metadata": {"\udfff": "a"}}, ValueError, "half of a surrogate pair"),
    ({"arrays": {3: np.ones(1)}}, TypeError, "arrays: expected strings as names, got 3"),
    ({"arrays": {"a\ud800": np.ones(1)}}, ValueError, "arrays: the name .*half of a surrogate pair"),
    ({"arrays": {"__metadata__": np.ones(1)}}, ValueError, "__metadata__"),
    ({"arrays": [np.ones(1)]}, TypeError, "arrays: expected a mapping from names, got list"),
    ({"arrays": {"x": np.ones((1,) * 33)}}, ValueError, "x: expected at most 32 axes, got 33"),
    ({"arrays": {"x": np.ones(1, ml_dtypes.float8_e4m3fn)}}, TypeError, "x: expected a bfloat16.*got float8_e4m3fn"),
    ({"bfloat16": ("gat",)}, ValueError, "bfloat16: no array is named 'gat'"),
    ({"bfloat16": ("gate", "up", 3)}, ValueError, "bfloat16: no array is named 'up', 3"),
    ({"bfloat16": "gate_proj"}, TypeError, "bfloat16: expected a collection of names .* got 'gate_proj'"),
    ({"bfloat16": None}, TypeError, "bfloat16: expected a collection of names .* got None"),
    ({"bfloat16": iter(["gate"])}, TypeError, "bfloat16: expected a collection of names"),
    ({"bfloat16": ["ids"]}, TypeError, "bfloat16: ids: expected a floating array, got int64"),
    ({"bfloat16": ["flags"]}, TypeError, "bfloat16: flags: expected a floating array, got bool"),
])
def test_whatever_the_writer_refuses_leaves_the_old_file(tmp_path, given, error, words):
    safetensors.save(tmp_path / "a", {"w": np.ones(3)}, metadata={"run": "a"})
    before = (tmp_path / "a").read_bytes()
    arrays = {"gate": np.ones(2, np.float32), "gate_proj": np.ones(2, np.float32), "ids": np.array([16777217, 3]), "flags": np.ones(2, bool)}
    with pytest.raises(error, match=words):
        safetensors.save(tmp_path / "a", **{"arrays": arrays, **given})
    assert (tmp_path / "a").read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]


def test_only_the_names_given_are_rounded(tmp_path):
    x = np.array([1.0 + 2.0 ** -20], np.float32)
    safetensors.save(tmp_path / "a", {"gate": x, "gate_proj": x}, bfloat16=["gate_proj"])
    back = safetensors.load(tmp_path / "a")
    assert (back["gate"], back["gate_proj"]) == (x, 1.0)


def test_a_file_of_no_arrays_comes_back(tmp_path):
    safetensors.save(tmp_path / "a", {}, metadata={})
    assert safetensors.load_with_metadata(tmp_path / "a") == ({}, {})


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def raw(header, data=b"\0" * 4, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


BAD = {
    "nothing": (b"", "too few"), "short": (b"\1\0", "too few"), "pickle": (b"\x80\x04\x95" + b"\0" * 20, "pickle"),
    "npz": (b"PK\x03\x04" + b"\0" * 20, "npz"), "npy": (b"\x93NUMPY" + b"\0" * 20, "npy"),
    "huge header": (raw({}, length=2 ** 63), "header of 9223372036854775808"), "zero header": (raw({}, length=0), "header of 0"),
    "header beyond": (raw({}, length=500), "truncated"), "over the cap": (raw({}, length=100_000_001), "at most 100000000"),
    "no JSON": (raw(b"{nope"), "cannot be read"), "list": (raw(b"[]"), "does not start"),
    "not utf-8": (raw(b'{"\xff\xfe": 1}'), "cannot be read"), "bom": (raw(b"\xef\xbb\xbf{}"), "does not start"),
    "NaN": (raw(b'{"x": NaN}'), "NaN is not a JSON"), "Infinity": (raw(b'{"x": -Infinity}'), "Infinity"),
    "deep": (raw(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "cannot be read"),
    "digits": (raw(b'{"x":' + b"9" * 10_000 + b"}"), "cannot be read"),
    "twice": (raw(b'{"x":1,"x":2}'), "'x' occurs twice"), "metadata": (raw({"__metadata__": {"a": 1}}, b""), "__metadata__"),
    "fields": (raw({"x": {"dtype": "F32"}}), "x: expected dtype, shape"), "no object": (raw({"x": 3}), "x: expected"),
    "dtype": (raw({"x": entry("F9_E4M4")}), "x: dtype 'F9_E4M4'"), "F8": (raw({"x": entry("F8_E4M3", (4,))}), "x: the dtype F8_E4M3 is not read"),
    "F4 in whole bytes": (raw({"x": entry("F4", (9,))}), "x: F4 .* takes 5 bytes"), "axes": (raw({"x": entry(shape=(0, 2 ** 60), offsets=(0, 0))}), "x: an array of the shape"),
    "dtype list": (raw({"x": entry([1])}), "x: dtype"),
    "negative": (raw({"x": entry(offsets=(-4, 0))}), "x: data_offsets"), "float": (raw({"x": entry(offsets=(0.0, 4))}), "x: data_offsets"),
    "bool": (raw({"x": entry(offsets=(False, 4))}), "x: data_offsets"), "three": (raw({"x": entry(offsets=(0, 4, 8))}), "x: data_offsets"),
    "reversed": (raw({"x": entry(offsets=(4, 0))}), "x: F32"), "shape": (raw({"x": entry(shape=(-1,))}), "x: shape"),
    "product": (raw({"x": entry(shape=(2 ** 40, 2 ** 40))}), "takes 4835703278458516698824704 bytes"),
    "wraps": (raw({"x": entry(shape=(2 ** 62, 4, 1))}), "takes 73786976294838206464 bytes"),
    "size": (raw({"x": entry(shape=(2,))}), "takes 8 bytes, its range holds 4"),
    "hole": (raw({"x": entry(offsets=(4, 8))}, b"\0" * 8), "x: starts at byte 4 where 0"),
    "overlap": (raw({"x": entry(), "y": entry(offsets=(2, 6))}, b"\0" * 6), "y: starts at byte 2 where 4"),
    "truncated": (raw({"x": entry()}, b"\0" * 3), "take 4 bytes and the file holds 3"),
    "polyglot": (raw({"x": entry()}, b"\0" * 4 + b"extra"), "holds 9"),
    "boolean": (raw({"x": entry("BOOL", (4,))}, b"\0\1\2\0"), "bad.safetensors: x: a BOOL byte that is neither 0 nor 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_to_the_letter_is_refused(tmp_path, name):
    data, words = BAD[name]
    (tmp_path / "bad.safetensors").write_bytes(data)
    with pytest.raises(SafetensorsError, match=words):
        safetensors.load(tmp_path / "bad.safetensors")


def test_two_empty_tensors_may_share_an_offset(tmp_path):
    (tmp_path / "a").write_bytes(raw({"x": entry(shape=(0,), offsets=(0, 0)), "y": entry(shape=(0, 3), offsets=(0, 0))}, b""))
    assert {name: a.shape for name, a in safetensors.load(tmp_path / "a").items()} == {"x": (0,), "y": (0, 3)}


@pytest.mark.parametrize("array", [np.array([None]), np.ones(1, complex), np.zeros(1, "f4,f4"), np.array(["a"]), [1.0],
                                   np.ones(1, np.longdouble), np.ones(1, np.uint16)])
def test_what_cannot_be_saved_is_named(tmp_path, array):
    with pytest.raises(TypeError, match="weird: expected"):
        safetensors.save(tmp_path / "a", {"weird": array})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch, call, error):
    safetensors.save(tmp_path / "a", {"x": np.ones(3)})
    before = (tmp_path / "a").read_bytes()

    def fail(*args):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        safetensors.save(tmp_path / "a", {"x": np.zeros(30)})
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]


def test_every_difference_is_listed_at_once():
    expected = {"a": (2, 3), "b": (4,), "c": (5,)}
    with pytest.raises(ValueError, match="a: expected") as refusal:
        safetensors.match(expected, {"a": np.zeros((3, 2)), "b": np.zeros(5), "d": np.zeros(1)})
    for words in ("transposed", "b: expected (4,), got (5,)", "missing c (5,)", "unexpected d (1,)"):
        assert words in str(refusal.value)


def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path):
    lengths = set()
    for n in range(40):
        path = tmp_path / str(n)
        safetensors.save(path, {"x" * (8 * n + 1): np.arange(3.0)})
        lengths.add(path.read_bytes()[0])
        np.testing.assert_array_equal(next(iter(safetensors.load(path).values())), np.arange(3.0))
    assert 0x80 in lengths
