"""A folder of safetensors files: index and files agree, or all that differs is named."""

import json
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from tinyattn.ops.files import safetensors
from tinyattn.ops.files.header import SafetensorsError
from tinyattn.ops.files.shards import INDEX, read_folder

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3.0), "c": np.ones((2, 2), np.float16)}
FILES = {"a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}


def write_index(folder, places):
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))


@pytest.fixture
def shards(tmp_path):
    for file in set(FILES.values()):
        safetensors.save(tmp_path / file, {name: array for name, array in ARRAYS.items() if FILES[name] == file})
    write_index(tmp_path, FILES)
    return tmp_path


def test_tensors_of_all_shards_come_back(shards):
    tensors = read_folder(shards)
    assert list(tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(tensors[name].array(np.float64), array)
    assert tensors["b"].array().dtype == np.float64
    assert tensors["c"].array().dtype == np.float32
    assert str(tensors["c"]) == "Stored('model-00002-of-00002.safetensors: c', F16, (2, 2))"


def test_one_file_needs_no_index(tmp_path):
    safetensors.save(tmp_path / "model.safetensors", ARRAYS)
    assert list(read_folder(tmp_path)) == list(ARRAYS)


def missing(folder):
    (folder / FILES["c"]).unlink()


def stray(folder):
    safetensors.save(folder / "other.safetensors", {"d": np.ones(1)})


def beside(folder):
    (folder / INDEX).unlink()
    safetensors.save(folder / "model.safetensors", ARRAYS)


def changed(places):
    return lambda folder: write_index(folder, places)


def content(raw):
    return lambda folder: (folder / INDEX).write_bytes(raw)


BAD = {
    "missing shard": (missing, "model-00002-of-00002.safetensors: in model.safetensors.index.json, and missing"),
    "stray file": (stray, "other.safetensors: in the folder, and not in model"),
    "shards beside the one file": (beside, "model-00001-of-00002.safetensors, model-00002-of-00002.safetensors: beside model.safetensors"),
    "no index": (lambda folder: (folder / INDEX).unlink(), "there is neither; got model-00001"),
    "tensor outside the index": (changed({**FILES, "b": FILES["c"]}), "b stands in model-00001.* and not there in the index; b does not stand in model-00002"),
    "tensor not in the index": (changed({"a": FILES["a"], "c": FILES["c"]}), "differ: b stands in model-00001-of-00002.safetensors and not"),
    "tensor in no file": (changed({**FILES, "d": FILES["c"]}), "differ: d does not stand in model-00002"),
    "a file of another folder": (changed({**FILES, "d": "../x.safetensors"}), "d: expected the name of a safetensors file in the same folder"),
    "an absolute path": (changed({**FILES, "d": "/x.safetensors"}), "d: expected the name"), "no name": (changed({"d": 3}), "d: expected the name .* got '3'"),
    "another kind of file": (changed({"d": "x.bin"}), "d: expected the name .* got 'x.bin'"),
    "no JSON": (content(b"{nope"), "index.json: cannot be read"), "not UTF-8": (content(b'"\xff"'), "index.json: cannot be read"),
    "deep": (content(b"[" * 100_000), "index.json: cannot be read"), "twice": (content(b'{"weight_map": {"a": 1, "a": 1}}'), "the key 'a' occurs twice"),
    "a list": (content(b"[]"), "expected an object with a weight_map"), "no map": (content(b"{}"), "expected an object with a weight_map"),
    "NaN": (content(b'{"weight_map": NaN}'), "NaN is not a JSON number"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_does_not_agree_with_its_index_is_refused(shards, name):
    damage, words = BAD[name]
    damage(shards)
    with pytest.raises(SafetensorsError, match=words) as refusal:
        read_folder(shards)
    assert "\n" not in str(refusal.value)


def test_a_folder_without_weights_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no safetensors file"):
        read_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_folder(tmp_path / "no")


def test_integers_are_refused_when_they_are_read(tmp_path):
    safetensors.save(tmp_path / "model.safetensors", {"ids": np.arange(3), "w": np.ones(2)})
    tensors = read_folder(tmp_path)
    assert tensors["w"].array().tolist() == [1, 1]
    with pytest.raises(ValueError, match="model.safetensors: ids: stored as I64; weights are read from F64, F32"):
        tensors["ids"].array()


def test_a_tensor_of_8_bits_does_not_keep_the_others_from_being_read(tmp_path):
    header = json.dumps({"f8": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]},
                         "w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    mapped = safetensors.load(path, map=True)
    assert (len(mapped), mapped["w"].tolist()) == (2, [0.0])
    with pytest.raises(SafetensorsError, match="model.safetensors: f8: the dtype F8_E4M3 is not read"):
        mapped["f8"]
    with pytest.raises(ValueError, match="f8: stored as F8_E4M3"):
        read_folder(tmp_path)["f8"].rows(0, 1)


def test_bfloat16_is_widened_a_tile_at_a_time(tmp_path):
    rows, width = 4096, 256
    x = np.random.default_rng(0).standard_normal((rows, width)).astype(ml_dtypes.bfloat16)
    safetensors.save(tmp_path / "model.safetensors", {"w": x})
    tracemalloc.start()
    try:
        stored = read_folder(tmp_path)["w"]
        mapped = safetensors.load(tmp_path / "model.safetensors", map=True)
        assert len(mapped) == 1
        for start, tile in stored.tiles(256):
            np.testing.assert_array_equal(tile, x[start : start + 256].astype(np.float32))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < rows * width * 4 / 2
    np.testing.assert_array_equal(mapped["w"], x.astype(np.float32))
