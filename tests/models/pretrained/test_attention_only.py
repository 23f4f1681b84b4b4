"""The attention of families whose feed-forward layers are experts, against that module of transformers in float64."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinyattn import grad
from tinyattn.caches import GrowingCache, LatentCache
from tinyattn.layers import Affine
from tinyattn.models import load, load_attention
from tinyattn.ops.files import safetensors

HERE = Path(__file__).parent / "attention"
FAMILIES = HERE.parent / "families"
KINDS = ["gpt_oss", "qwen3_next", "deepseek_v3"]
CASES = [(kind, layer) for kind in KINDS for layer in (0, 1)]


def expected(kind):
    return np.load(HERE / kind / "expected.npz")


@pytest.mark.parametrize(("kind", "layer"), CASES)
def test_a_layer_gives_what_transformers_computes(kind, layer):
    held = expected(kind)
    made = load_attention(HERE / kind, layer, dtype=np.float64)
    assert np.abs(made(held["x"], causal=True) - held[f"layer{layer}"]).max() <= 1e-12  # 1.1e-14 was the most that was measured
    single = load_attention(HERE / kind, layer)(held["x"].astype(np.float32), causal=True)
    assert single.dtype == np.float32 and np.abs(single - held[f"layer{layer}"]).max() <= 1e-4


@pytest.mark.parametrize(("kind", "layer", "cache"), [("gpt_oss", 0, GrowingCache), ("gpt_oss", 1, GrowingCache), ("qwen3_next", 1, GrowingCache), ("deepseek_v3", 0, LatentCache)])
def test_a_layer_decodes_through_a_cache(kind, layer, cache):
    held, made, through = expected(kind), load_attention(HERE / kind, layer, dtype=np.float64), cache()
    x = held["x"]
    pieces = [made(x[:, :4], cache=through, causal=True), *(made(x[:, i : i + 1], cache=through, causal=True) for i in range(4, 9))]
    assert np.abs(np.concatenate(pieces, axis=1) - held[f"layer{layer}"]).max() <= 1e-12


def test_a_delta_layer_decodes_through_its_state(tmp_path):
    held, made = expected("qwen3_next"), load_attention(HERE / "qwen3_next", 0, dtype=np.float64)
    x, wanted, through = held["x"], held["layer0"], made.cache()
    pieces = [made(x[:, at : at + n], cache=through, causal=True) for at, n in ((0, 1), (1, 1), (2, 4), (6, 1), (7, 2))]
    assert np.abs(np.concatenate(pieces, axis=1) - wanted).max() <= 1e-12
    # 4 value heads of 4 x 6 numbers, and 2 x (2 x 4 + 2 x 6) channels of which the convolution keeps 2 inputs, in each of 2 rows.
    assert through.nbytes == 2 * (4 * 4 * 6 + 40 * 2) * 8
    assert through.length == 9
    twin = through.fork()
    after = made(x[:, :1], cache=twin)
    through.reorder(np.array([1, 0]))
    np.testing.assert_array_equal(made(x[::-1, :1], cache=through), after[::-1])
    through.save(tmp_path / "state")
    again = type(through).load(tmp_path / "state", mechanism=made.mixed)
    np.testing.assert_array_equal(made(x[:, :2], cache=again), made(x[:, :2], cache=through))


def test_a_delta_layer_is_cut_back_within_its_slack():
    held, made = expected("qwen3_next"), load_attention(HERE / "qwen3_next", 0, dtype=np.float64)
    x, through = held["x"], made.cache(slack=3)
    made(x[:, :8], cache=through)
    through.truncate(5)
    assert np.abs(made(x[:, 5:], cache=through) - held["layer0"][:, 5:]).max() <= 1e-12
    with pytest.raises(ValueError, match="can be cut to lengths"):
        through.truncate(1)
    before = through.length
    with pytest.raises(ValueError, match="this cache holds"):
        made(x[:1], cache=through)
    assert through.length == before


@pytest.mark.parametrize(("given", "error", "words"), [({"causal": False}, ValueError, "causal: this layer is always causal"), ({"cache": GrowingCache}, TypeError, "cache: expected a cache, got the class")])
def test_what_a_delta_layer_does_not_take_is_named(given, error, words):
    with pytest.raises(error, match=words):
        load_attention(HERE / "qwen3_next", 0)(np.zeros((1, 2, 16), np.float32), **given)


# What each wrong reading of a config gives is far from the right numbers.
@pytest.mark.parametrize(("kind", "layer", "change"), [
    ("gpt_oss", 0, {"sliding_window": 5}), ("gpt_oss", 1, {"rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}}), ("gpt_oss", 1, {"rope_parameters": {"factor": 2.0}}),
    ("qwen3_next", 1, {"rope_parameters": {"partial_rotary_factor": 1.0}}), ("qwen3_next", 1, {"rms_norm_eps": 1e-2}), ("qwen3_next", 0, {"rms_norm_eps": 1e-2}),
    ("deepseek_v3", 0, {"rope_interleave": False}), ("deepseek_v3", 0, {"rope_parameters": {"mscale": 0.5}}), ("deepseek_v3", 0, {"rope_parameters": {"mscale_all_dim": 1.0}}),
])
def test_a_config_that_is_read_wrongly_gives_other_numbers(tmp_path, kind, layer, change):
    folder = changed(tmp_path, kind, change)
    held = expected(kind)
    assert np.abs(load_attention(folder, layer, dtype=np.float64)(held["x"], causal=True) - held[f"layer{layer}"]).max() > 1e-6


def changed(tmp_path, kind, change):
    folder = tmp_path / kind
    shutil.copytree(HERE / kind, folder)
    (folder / "expected.npz").unlink()
    config = json.loads((folder / "config.json").read_text())
    for key, value in change.items():
        nested = isinstance(value, dict) and "rope_type" not in value
        config[key] = {**config[key], **value} if nested else value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_what_is_missing_in_a_layer_is_named_at_once(tmp_path):
    folder = changed(tmp_path, "gpt_oss", {})
    arrays = dict(safetensors.load(folder / "model.safetensors"))
    del arrays["model.layers.1.self_attn.sinks"], arrays["model.layers.1.self_attn.k_proj.bias"]
    safetensors.save(folder / "model.safetensors", arrays)
    with pytest.raises(ValueError, match="missing model.layers.1.self_attn.k_proj.bias .16,.; missing model.layers.1.self_attn.sinks .4,."):
        load_attention(folder, 1)
    with pytest.raises(ValueError, match="layer"):
        load_attention(folder, 2)
    with pytest.raises(ValueError, match="are experts, which are not built; load_attention gives its attention"):
        load(folder)
    with pytest.raises(ValueError, match="layer_types: expected 2 of linear_attention and full_attention"):
        load_attention(changed(tmp_path, "qwen3_next", {"layer_types": ["linear_attention", "sliding_attention"]}), 0)


def test_the_attention_of_other_families_is_that_of_their_model():
    model = load(FAMILIES / "qwen3", dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((1, 5, 16))
    np.testing.assert_array_equal(load_attention(FAMILIES / "qwen3", 1, dtype=np.float64)(x, causal=True), model.network.blocks[1].attention(x, causal=True))


def test_a_lora_of_rank_4_and_the_norms_are_tuned():
    network, rng = load(FAMILIES / "llama", dtype=np.float64).network, np.random.default_rng(0)
    tokens = rng.integers(0, 40, (2, 9))
    tree = {"norm": network.norm.weight, "down": rng.standard_normal((4, 16)) * 0.1, "up": np.zeros((16, 4))}

    def loss(tree):
        first = network.blocks[0]
        added, q = tree["up"] @ tree["down"], first.attention.q.weight.array(np.float64)
        block = replace(first, attention=replace(first.attention, q=Affine(q + added)))
        tuned = replace(network, norm=replace(network.norm, weight=tree["norm"]), blocks=(block, *network.blocks[1:]))
        logits = tuned(tokens[:, :-1])
        shifted = logits - np.max(logits, axis=-1, keepdims=True)
        log_p = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
        return -np.mean(np.take_along_axis(log_p, tokens[:, 1:, None], axis=-1))

    before = float(loss(tree))
    slopes = grad(loss)(tree)
    assert np.abs(slopes["down"]).max() == 0.0 and np.abs(slopes["up"]).max() > 0.0  # as the product starts at 0
    for _ in range(20):
        slopes = grad(loss)(tree)
        tree = {name: value - 0.2 * slopes[name] for name, value in tree.items()}
    assert float(loss(tree)) < before - 0.05
    step, along = 1e-6, {name: rng.standard_normal(value.shape) for name, value in tree.items()}
    there, back = ({name: value + sign * step * along[name] for name, value in tree.items()} for sign in (1, -1))
    slopes = grad(loss)(tree)
    assert abs((loss(there) - loss(back)) / (2 * step) - sum(np.sum(slopes[name] * along[name]) for name in tree)) < 1e-7
