"""GGUF: numbers are bit for bit those of the package gguf, and what is not to the letter is refused by name."""

import struct
import tracemalloc
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from tinyattn.ops.files import gguf
from tinyattn.ops.files.gguf_values import GgufError
from tinyattn.ops.files.stored import BLOCKS, FLOATING, Stored

HERE = Path(__file__).parent
spec = spec_from_file_location("written", HERE / "written.py")
written = module_from_spec(spec)
spec.loader.exec_module(written)

EXPECTED = dict(np.load(HERE / "blocks.npz"))
FOUR = b"\0" * 16


def read(tmp_path, data):
    (tmp_path / "bad.gguf").write_bytes(data)
    return gguf.read(tmp_path / "bad.gguf")


def test_metadata_come_back():
    metadata = gguf.read(HERE / "blocks.gguf").metadata
    lists = {key: metadata.pop(key).tolist() for key in ("a.ints", "a.floats")}
    assert metadata == {"general.architecture": "none", "a.text": "ünïcode", "a.uint8": 255, "a.int64": -(1 << 40), "a.float32": 0.5,
                        "a.float64": 0.1, "a.bool": True, "a.texts": ["", "b", "cc"]}
    assert lists == {"a.ints": [1, -2, 3], "a.floats": [0.5, 0.25]}


def test_every_format_that_is_read_stands_in_the_fixture():
    assert set(EXPECTED) == set(FLOATING) | set(BLOCKS)


@pytest.mark.parametrize("name", EXPECTED)
def test_numbers_are_bit_equal_to_those_of_the_package_gguf(name):
    stored = gguf.read(HERE / "blocks.gguf").tensors[name]
    expected = EXPECTED[name]
    np.testing.assert_array_equal(stored.array(), expected, strict=True)
    np.testing.assert_array_equal(stored.rows(1, 3), expected[1:], strict=True)
    np.testing.assert_array_equal(stored.array(np.float64), expected.astype(np.float64), strict=True)
    tiles = list(stored.tiles(2, np.float32))
    assert [start for start, _ in tiles] == [0, 2]
    np.testing.assert_array_equal(np.concatenate([tile for _, tile in tiles]), expected.astype(np.float32), strict=True)
    assert stored.dtype == expected.dtype
    assert stored.rows(2, 2).shape == (0, expected.shape[1])


def by_hand(block, number):
    """One weight of a Q4_K block, by the table of the format alone: 6-bit scales spread over 12 bytes."""
    group = number // 32
    scales = block[4:16]
    if group < 4:
        scale, minimum = scales[group] % 64, scales[group + 4] % 64
    else:
        scale = scales[group + 4] % 16 + 16 * (scales[group - 4] // 64)
        minimum = scales[group + 4] // 16 + 16 * (scales[group] // 64)
    byte = block[16 + 32 * (group // 2) + number % 32]
    factor, offset = (np.float32(half) for half in struct.unpack("<ee", block[:4]))
    return factor * np.float32(scale) * np.float32(byte // 16 if group % 2 else byte % 16) - offset * np.float32(minimum)


def test_a_block_with_quantised_scales_is_unpacked_as_by_hand():
    stored = gguf.read(HERE / "blocks.gguf").tensors["Q4_K"]
    block = stored.raw[:144].tobytes()
    np.testing.assert_array_equal(stored.array()[0], [by_hand(block, number) for number in range(256)])


def test_version_2_is_read_and_axes_stand_in_numpys_order(tmp_path):
    data = np.arange(6, dtype="<f4").tobytes()
    content = read(tmp_path, written.gguf(tensors=[written.tensor("w", (3, 2))], data=data, version=2))
    np.testing.assert_array_equal(content.tensors["w"].array(), [[0, 1, 2], [3, 4, 5]])


def test_the_alignment_of_the_file_is_used(tmp_path):
    entries = [written.entry("general.alignment", 4, struct.pack("<I", 128))]
    tensors = [written.tensor("a", (4,)), written.tensor("b", (4,), start=128)]
    data = np.full(4, 1, "<f4").tobytes() + b"\0" * 112 + np.full(4, 2, "<f4").tobytes()
    for end in (b"", b"\0" * 112):  # with and without padding after the last tensor
        content = read(tmp_path, written.gguf(entries, tensors, data + end, alignment=128))
        assert [content.tensors[name].array()[0] for name in "ab"] == [1, 2]


def test_scalars_and_empty_tensors_are_read(tmp_path):
    tensors = [written.tensor("none", (0, 3)), written.tensor("rows", (32, 0), kind=8), written.tensor("one", ())]
    content = read(tmp_path, written.gguf(tensors=tensors, data=np.array(2.5, "<f4").tobytes()))
    assert content.tensors["none"].array().shape == (3, 0)
    assert content.tensors["rows"].array().shape == (0, 32)
    assert content.tensors["one"].array() == 2.5
    with pytest.raises(ValueError, match="one: a scalar has no rows"):
        content.tensors["one"].rows(0, 1)


def test_a_list_of_lists_and_bools_is_read(tmp_path):
    inner = struct.pack("<IQ", 7, 2) + b"\1\0"
    content = read(tmp_path, written.gguf([written.entry("a", 9, struct.pack("<IQ", 9, 2) + inner + inner)]))
    assert content.metadata == {"a": [[True, False], [True, False]]}


@pytest.mark.parametrize(("kind", "code", "shape", "size"), [(24, "I8", (4,), 4), (26, "I32", (4,), 16), (10, "Q2_K", (256,), 84)])
def test_what_is_no_weight_is_refused_when_it_is_read(tmp_path, kind, code, shape, size):
    stored = read(tmp_path, written.gguf(tensors=[written.tensor("x", shape, kind)], data=b"\0" * size)).tensors["x"]
    assert stored.code == code
    with pytest.raises(ValueError, match=f"bad.gguf: x: stored as {code}; weights are read from F64"):
        stored.array()


def test_infinite_scales_raise_no_warning():
    raw = np.array([[0x00, 0x7C] + 32 * [0]], np.uint8).reshape(-1)
    assert np.isnan(Stored("w", "Q8_0", (1, 32), raw).array()).all()
    large = np.array([1e300]).view(np.uint8)
    assert Stored("w", "F64", (1,), large).array(np.float32) == np.inf


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ((0, 4), ValueError, "stop: .* got 4"), ((-1, 2), ValueError, "start: .* got -1"), ((2, 1), ValueError, "start: .* got 2"),
    ((0.0, 1), TypeError, "start"), ((0, 1, np.float16), TypeError, "dtype: expected float32 or float64, got float16"),
])
def test_rows_outside_of_the_tensor_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        gguf.read(HERE / "blocks.gguf").tensors["Q8_0"].rows(*arguments)


HUGE = 1 << 60
TENSOR = written.tensor("x", (4,))
DEEP = b"".join(struct.pack("<IQ", 9, 1) for _ in range(5000))
BAD = {
    "nothing": (b"", "0 bytes are too few"), "short": (b"GGUF\3\0\0\0", "8 bytes are too few"),
    "magic": (written.gguf(magic=b"GGML"), "starts with b'GGML'"), "pickle": (b"\x80\x04" + b"\0" * 40, "starts with"),
    "version 1": (written.gguf(version=1), "version 1 of"), "version 4": (written.gguf(version=4), "version 4 of"),
    "big-endian": (written.gguf(version=3 << 24), "big-endian"),
    "tensors": (written.gguf(counts=(HUGE, 0)), f"{HUGE} tensors do not fit"), "entries": (written.gguf(counts=(0, HUGE)), f"{HUGE} entries of"),
    "one tensor too many": (written.gguf(tensors=[TENSOR], counts=(2, 0), data=FOUR), "tensor 1|two tensors|takes"),
    "key": (written.gguf([struct.pack("<Q", HUGE) + b"abcdef"]), f"the key of entry 0 of the metadata takes {HUGE} bytes"),
    "key twice": (written.gguf([written.entry("a", 0, b"\1")] * 2), "the key 'a' occurs twice"),
    "key not UTF-8": (written.gguf([written.entry(b"\xff", 0, b"\1")]), "the key of entry 0 of the metadata at byte 32 is not UTF-8"),
    "text": (written.gguf([written.entry("a", 8, struct.pack("<Q", HUGE))]), f"'a' takes {HUGE} bytes"),
    "bool": (written.gguf([written.entry("a", 7, b"\2")]), "'a' is a bool, and its byte is 2"),
    "kind": (written.gguf([written.entry("a", 13, b"\0" * 8)]), "'a' is of the unknown kind 13"),
    "kind in a list": (written.gguf([written.entry("a", 9, struct.pack("<IQ", 77, 1) + b"\0" * 8)]), "'a' is of the unknown kind 77"),
    "list": (written.gguf([written.entry("a", 9, struct.pack("<IQ", 4, HUGE))]), f"{HUGE} numbers of 'a' do not fit"),
    "list of texts": (written.gguf([written.entry("a", 9, struct.pack("<IQ", 8, HUGE))]), f"{HUGE} strings of 'a' do not fit"),
    "list of lists": (written.gguf([written.entry("a", 9, struct.pack("<IQ", 9, HUGE))]), f"{HUGE} elements of 'a' do not fit"),
    "text in a list": (written.gguf([written.entry("a", 9, struct.pack("<IQ", 8, 1) + struct.pack("<Q", HUGE))]), f"a string of 'a' takes {HUGE}"),
    "text in a list not UTF-8": (written.gguf([written.entry("a", 9, struct.pack("<IQ", 8, 1) + written.text(b"\xff"))]), "a string of 'a' at byte .* is not UTF-8"),
    "texts end": (written.gguf([written.entry("a", 9, struct.pack("<IQ", 8, 2) + written.text("12345678") + b"\0" * 3)], alignment=1), "do not end before|takes"),
    "deep": (written.gguf([written.entry("a", 9, DEEP)]), "'a' holds lists more than 4 deep"),
    "split": (written.gguf([written.entry("split.count", 2, b"\3\0"), written.entry("split.no", 2, b"\1\0")]), "part 1 .from 0. of a model that is split over 3 files"),
    "alignment 0": (written.gguf([written.entry("general.alignment", 4, b"\0" * 4)]), "general.alignment: .* got 0"),
    "alignment 48": (written.gguf([written.entry("general.alignment", 4, struct.pack("<I", 48))]), "general.alignment: .* got 48"),
    "alignment a text": (written.gguf([written.entry("general.alignment", 8, written.text("32"))]), "general.alignment: .* got 32"),
    "alignment 2^60": (written.gguf([written.entry("general.alignment", 10, struct.pack("<Q", HUGE))]), f"general.alignment: .* got {HUGE}"),
    "name": (written.gguf(tensors=[struct.pack("<Q", HUGE) + b"\0" * 24]), f"the name of tensor 0 takes {HUGE} bytes"),
    "name twice": (written.gguf(tensors=[TENSOR, written.tensor("x", (4,), start=32)], data=FOUR * 3), "two tensors have the name 'x'"),
    "axes": (written.gguf(tensors=[written.tensor("x", (1,) * 5)], data=b"\0" * 4), "'x': 5 axes"),
    "2^32 axes": (written.gguf(tensors=[written.text("x") + b"\xff" * 4 + b"\0" * 24]), "'x': 4294967295 axes"),
    "type": (written.gguf(tensors=[written.tensor("x", (4,), kind=99)], data=FOUR), "'x': the type 99 of its numbers is unknown"),
    "removed type": (written.gguf(tensors=[written.tensor("x", (32,), kind=4)], data=FOUR), "'x': the type 4"),
    "rows": (written.gguf(tensors=[written.tensor("x", (16, 2), kind=8)], data=b"\0" * 34), "'x': rows of Q8_0 hold a multiple of 32 weights"),
    "scalar block": (written.gguf(tensors=[written.tensor("x", (), kind=8)], data=b"\0" * 34), "'x': rows of Q8_0"),
    "size": (written.gguf(tensors=[written.tensor("x", (HUGE, HUGE, 4))], data=FOUR), "'x': F32 .* bytes, and the whole file"),
    "empty and huge": (written.gguf(tensors=[written.tensor("x", (0, HUGE))]), "'x': an array of the shape"),
    "offset": (written.gguf(tensors=[written.tensor("x", (4,), start=HUGE)], data=FOUR), f"'x': starts at byte {HUGE} of the data, where 0"),
    "hole": (written.gguf(tensors=[written.tensor("x", (4,), start=32)], data=FOUR * 3), "'x': starts at byte 32 of the data, where 0"),
    "overlap": (written.gguf(tensors=[TENSOR, written.tensor("y", (4,))], data=FOUR), "'y': starts at byte 0 of the data, where 32"),
    "unaligned": (written.gguf(tensors=[TENSOR, written.tensor("y", (4,), start=16)], data=FOUR * 2), "'y': starts at byte 16 of the data, where 32"),
    "truncated": (written.gguf(tensors=[TENSOR], data=FOUR[:-1]), "take 16 bytes and the file holds 15"),
    "padded": (written.gguf(tensors=[TENSOR], data=FOUR * 2 + b"\0"), "take 16 bytes and the file holds 33"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_to_the_letter_is_refused(tmp_path, name):
    data, words = BAD[name]
    tracemalloc.start()
    try:
        with pytest.raises(GgufError, match=words) as refusal:
            read(tmp_path, data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21  # nothing is allocated because a header says so
    finally:
        tracemalloc.stop()
    assert str(refusal.value).startswith("bad.gguf: ")
    assert "\n" not in str(refusal.value)


def test_a_file_that_ends_at_any_byte_is_refused(tmp_path):
    data = (HERE / "blocks.gguf").read_bytes()
    last = gguf.read(HERE / "blocks.gguf").tensors["Q6_K"]
    end = len(data) - (-last.nbytes % 32)
    for length in [*range(0, 1200), *range(1200, end, 97), end - 1]:
        with pytest.raises(GgufError):
            read(tmp_path, data[:length])


def refusal_of(tmp_path, data):
    try:
        read(tmp_path, data)
    except GgufError as error:
        return str(error)
    return None


def test_a_changed_byte_of_the_header_is_read_or_refused_by_name(tmp_path):
    data = (HERE / "blocks.gguf").read_bytes()
    changed = [data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :] for at in range(0, 1200, 7)]
    refusals = [refusal for refusal in (refusal_of(tmp_path, copy) for copy in changed) if refusal]
    assert len(refusals) > 50
    assert all(refusal.startswith("bad.gguf: ") for refusal in refusals)


def test_a_folder_and_a_missing_file_are_errors_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        gguf.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        gguf.read(tmp_path / "no.gguf")
