"""Test vectors: what the files hold, and the readers in other languages, where a compiler is there."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tinyattn.catalog import find
from tinyattn.cli import main
from tinyattn.definitions import attention
from tinyattn.ops.files.safetensors import load
from tinyattn.testing.conform.vectors import FLAGS

READERS = Path(__file__).parents[3] / "docs" / "vectors"
COMPILE = {"check.mjs": ("node", []), "check.cpp": ("g++", ["-O2", "-std=c++17"]), "check.rs": ("rustc", ["--edition", "2021", "-O"])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    assert main(["vectors", str(folder), "--like", "attention", "gated_delta_rule"]) == 0
    return folder


def test_the_files_hold_what_the_schema_says(folder):
    schema = json.loads((folder / "schema.json").read_text())
    assert schema["version"] == 1
    for entry in schema["mechanisms"].values():
        assert hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        for case in entry["cases"]:
            assert set(case["flags"]) <= set(schema["flags"])
    told = {flag for case in schema["mechanisms"]["attention"]["cases"] for flag in case["flags"]}
    assert told == set(FLAGS) - {"drawn"}


@pytest.mark.parametrize("name", ["attention", "gated_delta_rule"])
def test_the_definition_holds_its_own_vectors_and_a_wrong_one_does_not(folder, name):
    entry, arrays = json.loads((folder / "schema.json").read_text())["mechanisms"][name], load(folder / f"{name}.safetensors")
    mechanism, wrong = find(name).mechanism, 0
    for case in entry["cases"]:
        n = case["case"]
        given = {key: arrays[f"{n}/{key}"] for key in case["arrays"]}
        options = {key: tuple(x) if isinstance(x, list) else x for key, x in case["options"].items()}
        q, k, v = (given.pop(key) for key in "qkv")
        out = mechanism(q, k, v, **given, **options)
        out = out[0] if isinstance(out, tuple) else out
        assert np.all(np.abs(out - arrays[f"{n}/out"]) <= arrays[f"{n}/allowed/out"])
        wrong += not np.all(np.abs(1.001 * out - arrays[f"{n}/out"]) <= arrays[f"{n}/allowed/out"])
    assert wrong == len(entry["cases"])


@pytest.mark.parametrize("reader", COMPILE)
def test_a_reader_in_another_language_holds_the_vectors_and_sees_a_wrong_number(folder, reader, tmp_path):
    compiler, flags = COMPILE[reader]
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    program = [compiler, str(READERS / reader)]
    if compiler != "node":
        subprocess.run([compiler, *flags, str(READERS / reader), "-o", str(tmp_path / "check")], check=True, capture_output=True)
        program = [str(tmp_path / "check")]
    told = subprocess.run([*program, str(folder / "attention.safetensors")], check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(told) >= 7
    assert all(line.endswith("holds") for line in told)
    wrong = bytearray((folder / "attention.safetensors").read_bytes())
    at = 8 + int.from_bytes(wrong[:8], "little")
    wrong[at + 3] ^= 0x80  # the sign of the first number of q of the first case
    (tmp_path / "wrong.safetensors").write_bytes(wrong)
    told = subprocess.run([*program, str(tmp_path / "wrong.safetensors")], check=True, capture_output=True, text=True).stdout.splitlines()
    assert told[0].endswith("FAILS")
    assert all(line.endswith("holds") for line in told[1:])


def test_a_reader_is_short():
    for reader in (*COMPILE, "kernel.rs"):
        assert len((READERS / reader).read_text().splitlines()) <= 30


def test_attention_is_the_first_and_only_default(tmp_path):
    assert main(["vectors", str(tmp_path / "new")]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["attention.safetensors", "schema.json"]
    assert attention is find("attention").definition
