"""Mechanisms are found by any of their names, and models by the name of their mechanism."""

import numpy as np
import pytest

from tinyattn.catalog import MIXERS, ROWS, find, find_mixer, load_model
from tinyattn.catalog.find import key
from tinyattn.models import AdamW, Decoder, DecoderConfig, checkpoint, load_training, save_training
from tinyattn.ops.files import safetensors

CONFIG = DecoderConfig(width=16, layers=1, heads=2, kv_heads=1, hidden=16, context=8)


def test_every_name_is_found_in_every_spelling():
    names = [(name, row) for row in ROWS for name in (row.name, *row.aliases)]
    assert len({key(name) for name, _ in names}) == len({(key(name), row.name) for name, row in names})
    for name, row in names:
        for spelling in (name, name.upper(), name.title(), name.replace(" ", "-"), name.replace("_", " "), f" {name} "):
            assert find(spelling) is row


@pytest.mark.parametrize(("name", "words"), [
    ("retnt", "unknown mechanism 'retnt'; did you mean retnet"), ("ATENTION", "did you mean attention"),
    ("grouped_query_atention", "did you mean"), ("qqq", "known: attention"),
])
def test_a_mixer_is_suggested_where_only_a_mixer_is_taken(name, words):
    with pytest.raises(ValueError, match=words) as refusal:
        find_mixer(name)
    _, _, hint = str(refusal.value).partition("; ")
    offered = hint.removeprefix("did you mean ").removesuffix("?").split(" or ") if hint.startswith("did") else hint.removeprefix("known: ").split(", ")
    assert all(find_mixer(other) in MIXERS for other in offered)


def test_a_mechanism_that_mixes_no_tokens_is_refused_by_name():
    with pytest.raises(ValueError, match="multi_query_attention: is not a causal token mixer.*known: attention"):
        find_mixer("mqa")


@pytest.mark.parametrize("row", MIXERS, ids=lambda row: row.name)
def test_a_model_is_loaded_with_its_mechanism(row, tmp_path):
    decoder = Decoder.create(CONFIG, np.random.default_rng(0), **row.mixing)
    save_training(tmp_path / "m", decoder, CONFIG, mechanism=row.name)
    saved = load_model(tmp_path / "m")
    assert (saved.config, saved.mechanism, saved.state) == (CONFIG, row.name, None)
    tokens = np.arange(6)[None]
    np.testing.assert_array_equal(saved.decoder(tokens), decoder(tokens))


def test_a_model_of_another_mechanism_is_not_run_as_attention(tmp_path):
    row = find("linear_attention")
    save_training(tmp_path / "m", Decoder.create(CONFIG, np.random.default_rng(0), **row.mixing), CONFIG, mechanism=row.name)
    with pytest.raises(ValueError, match="m: the model mixes its tokens by 'linear_attention'.* would run 'attention'; .*load_model"):
        load_training(tmp_path / "m")
    decoder, config, name, state = load_training(tmp_path / "m", mixing=lambda name: find(name).mixing)
    assert (config, name, state) == (CONFIG, "linear_attention", None)
    assert decoder.blocks[0].attention.mechanism is row.mixer


@pytest.mark.parametrize(("metadata", "words"), [
    ({"config": '{"width": "16"}'}, "m: config: width: expected an int, got str"), ({"config": "[]"}, "config: expected a JSON object"),
    ({"config": DecoderConfig(width=8192, hidden=8192, layers=8).to_json()}, r"m: the config asks for \d+ parameters and the file holds \d+"),
    ({"mechanism": "of a later version"}, "unknown mechanism"), ({"mechanism": "mqa"}, "not a causal token mixer"), ({"steps": "many"}, "arrays do not fit"),
])
def test_a_damaged_model_is_refused_by_name(tmp_path, metadata, words):
    checkpoint.save_training(tmp_path / "m", Decoder.create(CONFIG, np.random.default_rng(0)), CONFIG, mechanism="attention")
    arrays, good = safetensors.load_with_metadata(tmp_path / "m")
    safetensors.save(tmp_path / "m", arrays, metadata={**good, **metadata})
    with pytest.raises(ValueError, match=words):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("steps", ["many", "-1", "1.0", "", "9" * 400])
def test_steps_that_are_no_number_are_refused(tmp_path, steps):
    decoder = Decoder.create(CONFIG, np.random.default_rng(0))
    checkpoint.save_training(tmp_path / "m", decoder, CONFIG, mechanism="attention", state=AdamW.create(decoder))
    arrays, good = safetensors.load_with_metadata(tmp_path / "m")
    assert load_model(tmp_path / "m").state.steps == 0
    safetensors.save(tmp_path / "m", arrays, metadata={**good, "steps": steps})
    with pytest.raises(ValueError, match="m: steps: expected a whole number"):
        load_model(tmp_path / "m")


def test_a_name_that_is_no_text_is_refused():
    with pytest.raises(TypeError, match="name: expected a str, got int"):
        find(3)
