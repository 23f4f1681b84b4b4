"""Values of a config that nothing can be built from are named by their key."""

import json
from pathlib import Path

import pytest

from tinyattn.models.pretrained.build import build
from tinyattn.ops.files.shards import read_folder

FOLDER = Path(__file__).parent / "families"


def read(case):
    return json.loads((FOLDER / case / "config.json").read_text()), read_folder(FOLDER / case)


@pytest.mark.parametrize(("case", "key"), [("granite", key) for key in ("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier")]
                         + [("cohere", "logit_scale"), ("gemma2", "query_pre_attn_scalar"), ("llama", "rms_norm_eps")])
@pytest.mark.parametrize("value", ["absent", None, "a", [], {}, True, 10**400])
def test_numbers_that_a_family_needs_are_named_where_they_are_missing_or_no_numbers(case, key, value):
    config, tensors = read(case)
    changed = {**config, key: value} if value != "absent" else {name: kept for name, kept in config.items() if name != key}
    with pytest.raises((TypeError, ValueError), match=f"config: (lacks )?{key}"):
        build(changed, tensors)


@pytest.mark.parametrize(("case", "key", "value"), [
    ("gemma2", "query_pre_attn_scalar", 0), ("gemma2", "query_pre_attn_scalar", -1), ("granite", "logits_scaling", 0), ("gemma2", "final_logit_softcapping", 0),
    ("gemma2", "layer_types", 3), ("smollm3", "no_rope_layers", [1]), ("smollm3", "no_rope_layers", {"a": 1}), ("llama", "tie_word_embeddings", "no"),
    ("llama", "hidden_act", ["silu"]), ("llama", "model_type", {"llama": 1}), ("llama", "rope_parameters", [1]), ("llama", "head_dim", 1 << 60), ("phi3", "intermediate_size", 1 << 60),
    ("llama", "rope_parameters", {"full_attention": 3}), ("llama", "rope_parameters", {"rope_type": ["linear"]}), ("bert", "type_vocab_size", 1 << 60), ("mistral", "sliding_window", 0),
])
def test_values_of_another_kind_or_range_are_named(case, key, value):
    config, tensors = read(case)
    named = "rope_type" if value == {"rope_type": ["linear"]} else key
    with pytest.raises((TypeError, ValueError), match=f"config: {named}: "):
        build({**config, key: value}, tensors)


@pytest.mark.parametrize("share", [-0.5, 1.5, "a"])
def test_a_share_of_rotated_channels_is_from_0_to_1(share):
    config, tensors = read("phi")
    with pytest.raises((TypeError, ValueError), match="config: partial_rotary_factor: expected a"):
        build({**config, "rope_parameters": {"partial_rotary_factor": share}}, tensors)


def test_heads_that_are_too_many_in_all_are_refused():
    config, tensors = read("phi3")
    with pytest.raises(ValueError, match="65536 heads of 65536 channels; at most 16777216 in all"):
        build({**config, "num_attention_heads": 1 << 16, "head_dim": 1 << 16}, tensors)


def test_sizes_that_are_missing_or_no_ints_are_named():
    config, tensors = read("llama")
    with pytest.raises(ValueError, match="config: lacks hidden_size"):
        build({key: value for key, value in config.items() if key != "hidden_size"}, tensors)
    with pytest.raises(TypeError, match="config: vocab_size"):
        build({**config, "vocab_size": "40"}, tensors)
