"""Every family against the logits that transformers computes in float64 from a tiny random model of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinyattn import grad
from tinyattn.caches import GrowingCache
from tinyattn.models.pretrained.build import Builder, build
from tinyattn.models.pretrained.compared import extended
from tinyattn.models.pretrained.families import FAMILIES
from tinyattn.models.pretrained.model import Model
from tinyattn.models.pretrained.scaling import frequencies_of
from tinyattn.ops.files.shards import read_folder
from tinyattn.ops.files.stored import Stored

FOLDER = Path(__file__).parent / "families"
CASES = sorted(path.name for path in FOLDER.iterdir())
DECODERS = [case for case in CASES if case != "bert"]


def read(case):
    return json.loads((FOLDER / case / "config.json").read_text()), read_folder(FOLDER / case)


def expected(case):
    held = np.load(FOLDER / case / "expected.npz")
    return held["tokens"], held["logits"]


def test_every_family_has_a_case():
    assert {case.split("-")[0] for case in CASES} == set(FAMILIES)


@pytest.mark.parametrize("case", DECODERS)
def test_logits_are_those_of_transformers(case):
    config, tensors = read(case)
    tokens, logits = expected(case)
    model = build(config, tensors, dtype=np.float64)
    full = model(tokens)
    assert np.abs(full - logits).max() <= 1e-13  # 7.4e-15 was the most that was measured
    model = model.of_length(tokens.shape[1])
    caches = [GrowingCache() for _ in model.blocks]
    pieces = [model(tokens[:, :5], caches=caches), *(model(tokens[:, i : i + 1], caches=caches) for i in range(5, tokens.shape[1]))]
    assert np.abs(np.concatenate(pieces, axis=1) - full).max() <= 1e-13
    single = build(config, tensors)(tokens)
    assert single.dtype == np.float32
    assert np.abs(single - logits).max() <= 2e-5


def test_hidden_states_of_an_encoder_are_those_of_transformers():
    config, tensors = read("bert")
    tokens, hidden = expected("bert")
    assert np.abs(build(config, tensors, dtype=np.float64)(tokens) - hidden).max() <= 1e-13  # 1.3e-15 was measured
    assert np.abs(build(config, tensors)(tokens) - hidden).max() <= 2e-5
    model = build(config, {name.removeprefix("bert."): stored for name, stored in tensors.items()}, dtype=np.float64)
    assert np.abs(model(tokens) - hidden).max() <= 1e-13
    tanh = build({**config, "hidden_act": "gelu_new"}, tensors, dtype=np.float64)
    assert np.abs(tanh(tokens) - hidden).max() > 1e-6
    with pytest.raises(ValueError, match="position_embedding_type = relative_key is not built"):
        build({**config, "position_embedding_type": "relative_key"}, tensors)


# What each change of a config or of the tensors is caught by: the logits of the case differ by far more than the limit.
TWINS = {
    "norm plus one twice": ("gemma", lambda config: {**config, "model_type": "llama", "tie_word_embeddings": True}),
    "epsilon": ("llama", lambda config: {**config, "rms_norm_eps": 1e-2}),
    "erf for tanh": ("starcoder2", lambda config: {**config, "hidden_act": "gelu"}),
    "tanh for erf": ("gpt_neox", lambda config: {**config, "hidden_act": "gelu_new"}),
    "window off by one": ("mistral", lambda config: {**config, "sliding_window": config["sliding_window"] + 1}),
    "base 10000": ("llama-linear", lambda config: {**config, "rope_parameters": {**config["rope_parameters"], "rope_theta": 10000.0}}),
    "scaling parsed and unused": ("llama-yarn", lambda config: {**config, "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}}),
    "factors of short texts": ("phi3-longrope-long", lambda config: {**config, "rope_parameters": {**config["rope_parameters"], "long_factor": config["rope_parameters"]["short_factor"]}}),
    "factors of long texts": ("phi3-longrope-short", lambda config: {**config, "rope_parameters": {**config["rope_parameters"], "short_factor": config["rope_parameters"]["long_factor"]}}),
    "no factor of the angles": ("phi3-longrope-long", lambda config: {**config, "rope_parameters": {**config["rope_parameters"], "factor": 1.0}}),
    "no cap": ("gemma2", lambda config: {**config, "attn_logit_softcapping": None}),
    "rotated everywhere": ("smollm3", lambda config: {**config, "no_rope_layers": [1, 1]}),
    "serial": ("gpt_neox", lambda config: {**config, "use_parallel_residual": False}),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_model_that_is_read_wrongly_gives_other_logits(name):
    case, change = TWINS[name]
    config, tensors = read(case)
    tokens, logits = expected(case)
    assert np.abs(build(change(config), tensors, dtype=np.float64)(tokens) - logits).max() > 1e-6


@pytest.mark.parametrize(("case", "fused"), [("gpt_neox", "stacked"), ("gpt2", "by head")])
def test_a_fused_matrix_that_is_cut_wrongly_gives_other_logits(case, fused):
    config, tensors = read(case)
    tokens, logits = expected(case)
    wrong = {case: replace(FAMILIES[case], fused=fused)}
    made = Builder({**config, "num_key_value_heads": None}, tensors, np.float64, wrong).model()
    assert np.abs(made(tokens) - logits).max() > 0.1


@pytest.mark.parametrize("case", ["gpt_neox", "phi3"])
def test_a_head_that_is_tied_wrongly_is_refused_and_would_give_other_logits(case):
    config, tensors = read(case)
    tokens, logits = expected(case)
    tied = {**config, "tie_word_embeddings": True}
    head = f"{FAMILIES[case].names['head']}.weight"
    with pytest.raises(ValueError, match=f"{head}: differs from the embedding, and the config ties both"):
        build(tied, tensors)
    without = {name: stored for name, stored in tensors.items() if name != head}
    assert np.abs(build(tied, without, dtype=np.float64)(tokens) - logits).max() > 1.0
    with pytest.raises(ValueError, match=f"missing {head}"):  # a head under another name does not fall back to the embedding
        build(config, without)


def test_all_tensors_that_do_not_fit_are_named_at_once():
    config, tensors = read("llama")
    del tensors["model.norm.weight"]
    tensors["model.layers.1.mlp.up_proj.weight"] = Stored("a", "F32", (3, 2), np.zeros(24, np.uint8))
    tensors["other"] = Stored("a", "F32", (1,), np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match="tensors do not fit the config") as refusal:
        build(config, tensors)
    for words in ("missing model.norm.weight (16,)", "unused other (1,)", "model.layers.1.mlp.up_proj.weight: expected (24, 16), got (3, 2)"):
        assert words in str(refusal.value)


def test_a_head_beside_a_tied_embedding_must_be_a_copy_of_it():
    config, tensors = read("llama")
    tokens, logits = expected("llama")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    assert np.abs(build(config, tensors, dtype=np.float64)(tokens) - logits).max() <= 1e-13
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].reordered(np.arange(40)[::-1])
    with pytest.raises(ValueError, match="lm_head.weight: differs from the embedding, and the config ties both"):
        build(config, tensors)


def test_an_untied_head_must_be_there():
    config, tensors = read("llama")
    with pytest.raises(ValueError, match="missing lm_head.weight"):
        build({**config, "tie_word_embeddings": False}, tensors)


@pytest.mark.parametrize(("case", "change", "words"), [
    ("llama", {"model_type": "mamba"}, "the model type 'mamba' is not known; llama, "), ("llama", {"model_type": None}, "model type 'None'"),
    ("llama", {"hidden_act": "mish"}, "the activation 'mish' is not known"), ("llama", {"num_hidden_layers": 1 << 23}, "8388608 layers, and the file holds 20 tensors"),
    ("llama", {"rope_parameters": {"rope_type": "spiral"}}, "the rotary scaling 'spiral' is not known"),
    ("phi3", {"rope_parameters": {"rope_type": "longrope", "long_factor": [1, 2]}}, "the rotary scaling 'longrope' lacks 'short_factor'"),
    ("phi3", {"rope_parameters": {"rope_type": "longrope", "short_factor": [1, 1], "long_factor": [1, 2, 3]}}, "long_factor: expected 2 finite numbers above 0, got shape"),
    ("phi3", {"rope_parameters": {"rope_type": "longrope", "short_factor": [1, 0], "long_factor": [1, 2]}}, "short_factor: expected 2 finite numbers above 0"),
    ("phi3", {"rope_parameters": {"rope_type": "longrope", "short_factor": ["many", 1], "long_factor": [1, 2]}}, "short_factor: expected 2 numbers above 0, got .'many', 1"),
    ("phi3", {"rope_parameters": {"rope_type": "longrope", "short_factor": [1, 1], "long_factor": [1, 2], "phase": 1}}, "'longrope' has the unknown parameters phase"),
    ("llama", {"rope_parameters": {"rope_type": "linear"}}, "the rotary scaling 'linear' lacks 'factor'"),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "phase": 1}}, "'linear' has the unknown parameters phase"),
    ("qwen3", {"layer_types": ["full_attention", "linear_attention"]}, "layer_types: expected 2 of sliding_attention and full_attention"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True is not built"),
    ("phi", {"qk_layernorm": True}, "qk_layernorm = True is not built"),
])
def test_what_is_not_known_is_refused_by_name(case, change, words):
    config, tensors = read(case)
    with pytest.raises(ValueError, match=words):
        build({**config, **change}, tensors)


def test_scalings_are_read_from_both_places():
    new = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}}
    old = {"rope_theta": 100.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    np.testing.assert_array_equal(frequencies_of(new, 8).values, frequencies_of(old, 8).values)


def test_norms_of_a_loaded_model_can_be_tuned():
    config, tensors = read("llama")
    tokens, _ = expected("llama")
    model = build(config, tensors, dtype=np.float64)
    weight = model.norm.weight
    def square(weight):
        return np.sum(replace(model, norm=replace(model.norm, weight=weight))(tokens) ** 2)
    found, along = grad(square)(weight), np.random.default_rng(0).standard_normal(weight.shape)
    step = 1e-6
    difference = (square(weight + step * along) - square(weight - step * along)) / (2 * step)
    assert abs(difference - np.sum(found * along)) <= 1e-7 * np.abs(found).sum()


def test_positions_that_were_not_learned_are_refused():
    config, tensors = read("gpt2")
    with pytest.raises(ValueError, match="tokens: expected at most 64 positions, which the model has learned, got 65"):
        build(config, tensors)(np.zeros((1, 65), int))


def test_a_text_that_grows_beyond_the_short_factors_is_rotated_anew():
    config, tensors = read("phi3-longrope-long")
    tokens, logits = expected("phi3-longrope-long")
    network = build(config, tensors, dtype=np.float64)
    assert network.of_length(8).blocks[0].attention.frequencies is not network.of_length(9).blocks[0].attention.frequencies
    caches = [GrowingCache() for _ in network.blocks]
    first = network(tokens[:, :8], caches=caches)
    np.testing.assert_array_equal(first, network(tokens[:, :8]))
    assert np.abs(first - logits[:, :8]).max() > 1e-3
    with pytest.raises(ValueError, match="its 8 tokens were rotated as those of a text of at most 8, and with 9 tokens all are"):
        network(tokens[:, 8:9], caches=caches)
    model = Model(network, "phi3", 64, frozenset(), lambda: None)
    assert [*model.generate(tokens[0, :5], 7)] == [*model.generate(tokens[0, :5], 7, cache=None)]
    assert np.abs(model.losses(tokens[0], cache=GrowingCache) - model.losses(tokens[0])).max() <= 1e-13
    with pytest.raises(ValueError, match="scales its rotary positions already"):
        extended(model, "yarn", 2.0)


def test_older_configs_call_longrope_su():
    config, _ = read("phi3-longrope-long")
    lists = {name: config["rope_parameters"][f"{name}_factor"] for name in ("short", "long")}
    old = {"max_position_embeddings": 64, "original_max_position_embeddings": 8, "rope_theta": 1000.0,
           "rope_scaling": {"type": "su", **{f"{name}_factor": factors for name, factors in lists.items()}}}
    for length in (8, 9):
        found, same = (frequencies_of(one, 4).of(length) for one in (old, config))
        np.testing.assert_array_equal(found.values, same.values)
        assert found.attention_factor == same.attention_factor == (1 + np.log(8) / np.log(8)) ** 0.5
