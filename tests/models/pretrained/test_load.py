"""Loading models: folders and our own files; what each is refused for, in one line; and what a loaded model does."""

import json
import shutil
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tinyattn import attention, definitions
from tinyattn.caches import GrowingCache, QuantizedCache, RingCache
from tinyattn.catalog import find
from tinyattn.models import Decoder, DecoderConfig, generate, load, save_training
from tinyattn.models.pretrained.compared import compared, extended, windowed
from tinyattn.models.pretrained.heads import head_table, heads_of
from tinyattn.ops import linear_frequencies
from tinyattn.ops.files import safetensors
from tinyattn.ops.masks import sliding_window

HERE = Path(__file__).parent
FAMILIES = HERE / "families"
TOKENS, LOGITS = (np.load(FAMILIES / "llama" / "expected.npz")[name] for name in ("tokens", "logits"))


def copied(tmp_path, case="llama", **changes):
    """A fixture's folder with its config changed."""
    folder = tmp_path / case
    shutil.copytree(FAMILIES / case, folder)
    (folder / "expected.npz").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def own(tmp_path, mechanism="attention"):
    config = DecoderConfig(width=16, layers=2, heads=4, kv_heads=2, hidden=24, context=32)
    decoder = Decoder.create(config, np.random.default_rng(0), **find(mechanism).mixing, deviation=0.3)
    save_training(tmp_path / "own", decoder, config, mechanism=mechanism)
    return decoder, tmp_path / "own"


def test_a_folder_gives_the_logits_of_its_model():
    model = load(FAMILIES / "llama", dtype=np.float64)
    assert np.abs(model(TOKENS) - LOGITS).max() <= 1e-13
    np.testing.assert_array_equal(model(TOKENS[0]), model(TOKENS[:1])[0])
    held = {len(stored.shape): 0 for stored in model.weights.values()}
    for stored in model.weights.values():
        held[len(stored.shape)] += stored.nbytes
    assert model.nbytes == held[2] + 4 * held[1]  # matrices stay float16, norms are float64
    assert model.end == {2} and model.context == 64


@pytest.mark.parametrize(("change", "words"), [
    (lambda folder: (folder / "config.json").unlink(), "no config.json in it"), (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    (lambda folder: (folder / "config.json").write_text("[]"), "expected a JSON object"), (lambda folder: (folder / "config.json").write_text('{"a": 1, "a": 2}'), "occurs twice"),
    (lambda folder: (folder / "config.json").write_text('{"a": NaN}'), "NaN is not a JSON number"), (lambda folder: (folder / "model.safetensors").unlink(), "no safetensors file"),
    (lambda folder: shutil.copy(folder / "model.safetensors", folder / "stray.safetensors"), "stray.safetensors: beside model.safetensors"),
    (lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-5]), "truncated"),
])
def test_a_folder_that_is_not_whole_is_refused(tmp_path, change, words):
    folder = copied(tmp_path)
    change(folder)
    with pytest.raises((ValueError, OSError), match=words):
        load(folder)


def test_families_whose_experts_are_not_built_are_refused_with_the_reason(tmp_path):
    for kind in ("gpt_oss", "qwen3_next", "deepseek_v3"):
        with pytest.raises(ValueError, match=f"the feed-forward layers of {kind} are experts, which are not built; load_attention gives"):
            load(copied(tmp_path / kind, model_type=kind))


@pytest.mark.parametrize("dtype", [None, np.float16, np.longdouble, int, "no dtype"])
def test_only_two_dtypes_are_computed_in(dtype):
    with pytest.raises(TypeError, match="dtype: expected float32 or float64"):
        load(FAMILIES / "llama", dtype=dtype)


def test_numbers_that_are_not_finite_are_named(tmp_path):
    folder = copied(tmp_path)
    arrays = dict(safetensors.load(folder / "model.safetensors"))
    arrays["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    safetensors.save(folder / "model.safetensors", arrays)
    with pytest.raises(ValueError, match="NaN or infinite numbers in model.layers.1.mlp.up_proj.weight"):
        load(folder, check_finite=True)
    model = load(folder)
    for use in (lambda: model(TOKENS), lambda: list(model.generate(TOKENS[0], 1)), lambda: model.loss(TOKENS[0])):
        with pytest.raises(ValueError, match="NaN or infinite numbers in model.layers.1.mlp.up_proj.weight"), np.errstate(all="ignore"):
            use()


def test_a_text_that_is_longer_than_the_model_knows_is_a_warning_once():
    model = load(FAMILIES / "llama")
    with pytest.warns(UserWarning, match="llama: the text is longer than the 64 tokens") as seen:
        list(model.generate(np.arange(60) % 40, 10))
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(np.zeros(64, int))


def test_tokens_outside_the_vocabulary_and_texts_without_tokens_are_refused():
    model = load(FAMILIES / "llama")
    with pytest.raises(IndexError, match="text: expected 0 to 39, got 40 to 40"):
        model.loss(np.array([40]))
    for use in (lambda: model.loss(np.zeros(0, int)), lambda: model.loss(np.zeros(1, int)), lambda: model.generate(np.zeros((1, 1), int), 1)):
        with pytest.raises(ValueError, match="text: expected"):
            use()
    with pytest.raises(ValueError, match="no tokenizer.json in it; give tokens, not text"):
        model.loss("a")


def test_generating_is_the_same_with_and_without_a_cache_and_ends_at_the_end():
    model = load(FAMILIES / "llama", dtype=np.float64)
    plain = [*model.generate(TOKENS[0], 8, cache=None)]
    assert plain == [*model.generate(TOKENS[0], 8)]
    assert plain == [*model.generate(TOKENS[0], 8, cache=lambda: RingCache(64))]
    last = plain[3]
    stopped = [*replace(model, end=frozenset({last})).generate(TOKENS[0], 8)]
    assert stopped == plain[: plain.index(last) + 1]
    assert np.abs(model.losses(TOKENS[0], cache=GrowingCache) - model.losses(TOKENS[0])).max() <= 1e-13


def test_attention_can_be_replaced_in_some_layers():
    model = load(FAMILIES / "llama", dtype=np.float64)
    same = model.replace(mechanism=definitions.attention)
    assert np.abs(same(TOKENS) - LOGITS).max() <= 1e-13
    short = model.replace(mechanism=partial(attention, mask=sliding_window(3)), layers=[1])
    assert short.network.blocks[0] is model.network.blocks[0]
    np.testing.assert_array_equal(short(TOKENS)[:, :3], model(TOKENS)[:, :3])
    assert np.abs(short(TOKENS) - model(TOKENS))[:, 4:].max() > 1e-3
    with pytest.raises(ValueError, match="cache: a GrowingCache computes attention, and the mechanism of layer 1 is another"):
        short.generate(TOKENS[0], 1)
    assert len([*short.generate(TOKENS[0], 2, cache=None)]) == 2
    slow = model.replace(positions=linear_frequencies(4, factor=2.0))
    assert np.abs(slow(TOKENS) - LOGITS).max() > 1e-3
    assert np.abs(slow.replace(positions=model.attention(0).frequencies)(TOKENS) - LOGITS).max() <= 1e-13
    assert np.abs(model.replace(rotate=False)(TOKENS) - LOGITS).max() > 1e-3
    np.testing.assert_array_equal(windowed(model, 12, 2)(TOKENS), model.replace(mechanism=attention)(TOKENS))
    with pytest.raises(ValueError, match="window: expected more than the 4 first tokens"):
        windowed(model, 4, 4)


@pytest.mark.parametrize("kind", ["linear", "ntk", "yarn", "dual-chunk"])
def test_positions_are_scaled_for_longer_texts(kind):
    model = load(FAMILIES / "llama", dtype=np.float64)
    found = np.array([*compared(model, extended(model, kind, 2.0), TOKENS[0])])
    np.testing.assert_allclose(found[:, 0], model.losses(TOKENS[0]), rtol=0, atol=1e-12)
    assert (found[:, 2].max() > 1e-6) == (kind != "dual-chunk")  # which changes nothing within a chunk
    with pytest.raises(ValueError, match="positions: gpt2 has no rotary positions"):
        extended(load(FAMILIES / "gpt2"), kind, 2.0)
    with pytest.raises(ValueError, match="scales its rotary positions already"):
        extended(load(FAMILIES / "llama-yarn"), kind, 2.0)


def test_weights_are_those_that_the_layer_uses():
    for case in ("llama", "gemma2", "bert"):
        model = load(FAMILIES / case, dtype=np.float64)
        weights = model.attention_weights(TOKENS[0], 1)
        assert weights.shape == (4, 12, 12)
        np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-14)
        layer, block = model.attention(1), model.network.blocks[1]
        x = model.network.hidden(TOKENS[:1], layers=1)
        x = x if block.order == "after" else block.attention_norm(x)
        v = layer.parts(x)[2]
        values = weights.reshape(2 if v.shape[1] == 2 else 4, -1, 12, 12) @ v[0][:, None]
        merged = values.reshape(4, 12, -1).swapaxes(0, 1).reshape(1, 12, -1)
        np.testing.assert_allclose(layer.out(merged), layer(x, causal=model.network.causal), rtol=0, atol=1e-12)


def test_heads_are_called_by_what_they_look_at():
    length, half = 32, 8
    def onto(column):
        weights = np.zeros((length, length))
        for i in range(length):
            weights[i, max(0, min(i, column(i)))] = 1.0
        return weights
    weights = np.stack([onto(lambda i: i - 1), onto(lambda i: 0), onto(lambda i: i - 7), onto(lambda i: i - 8), onto(lambda i: 0)])
    repeated = np.zeros((5, 2 * half, 2 * half))
    for i in range(half, 2 * half - 1):
        repeated[4, i, i - half + 1] = 1.0
    found = heads_of(3, weights, repeated)
    assert [head.names for head in found] == [("previous", "local"), ("sink",), ("local",), (), ("sink", "induction")]
    assert found[0].previous == 1.0 and found[2].local == 1.0 and found[3].local == 0.0 and found[4].induction > 0.8
    model = load(FAMILIES / "llama")
    heads = [head for layer in head_table(model, np.arange(20), np.random.default_rng(0)) for head in layer]
    assert [(head.layer, head.head) for head in heads] == [(layer, head) for layer in range(2) for head in range(4)]
    np.testing.assert_allclose(heads[5].sink, model.attention_weights(np.arange(20), 1)[1, 1:, 0].mean(), rtol=1e-5)


@pytest.mark.parametrize("mechanism", ["attention", "retention"])
def test_our_own_files_give_the_same_logits_and_texts(tmp_path, mechanism):
    decoder, path = own(tmp_path, mechanism)
    model = load(path, mixing=lambda name: find(name).mixing)
    tokens = np.frombuffer(b"hello", np.uint8).astype(int)
    np.testing.assert_allclose(model(tokens), decoder(tokens[None])[0], rtol=0, atol=2e-5)
    assert model.tokenizer.decode(model.tokenizer.encode("hé")) == "hé"
    assert [*model.generate("hello", 5, cache=None)] == [*generate(decoder, b"hello", 5)]
    assert model.nbytes == sum(array.nbytes for array in map(np.asarray, (stored.array() for stored in model.weights.values())))
    with pytest.raises(ValueError, match="no encoder"):
        model.embed("a")


def test_a_cache_of_fewer_bits_costs_little():
    model = load(FAMILIES / "qwen3")
    found = np.array([*compared(model, model, np.arange(30), cache=lambda: QuantizedCache(bits=8, group=8, residual=8))])
    assert 1e-9 < found[:, 2].max() < 1e-2
    np.testing.assert_allclose([*compared(model, model, np.arange(30), cache=GrowingCache)], [*compared(model, model, np.arange(30))], rtol=0, atol=1e-5)
