"""Loading models: folders, GGUF files and our own; what each is refused for, in one line; and what a loaded model does."""

import json
import shutil
import struct
import warnings
from dataclasses import replace
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
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
spec = spec_from_file_location("written", HERE.parent.parent / "ops" / "files" / "written.py")
written = module_from_spec(spec)
spec.loader.exec_module(written)

TOKENS, LOGITS = (np.load(FAMILIES / "llama" / "expected.npz")[name] for name in ("tokens", "logits"))
VOCABULARY = ["<end>", "Ġ", *"abcdefghijklmnopqrstuvwxyz", *"0123456789", "ab", "Ġa"]
THEIRS = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
          "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def number(key, kind, value):
    return written.entry(key, kind, struct.pack({4: "<I", 6: "<f", 7: "<?"}[kind], value))


def texts(key, values):
    return written.entry(key, 9, struct.pack("<IQ", 8, len(values)) + b"".join(map(written.text, values)))


def gguf_of(path, tokenizer=(), extra=(), heads=4, kv_heads=2, change=lambda tensors: tensors):
    """The llama of the fixtures as a GGUF file, its rows of queries and keys interleaved as such files have them."""
    arrays = dict(safetensors.load(FAMILIES / "llama" / "model.safetensors"))
    tensors = {}
    for name, array in arrays.items():
        if "layers" in name:
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            if part in ("self_attn.q_proj", "self_attn.k_proj"):
                count = 4 if "q_proj" in part else 2
                array = array.reshape(count, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
            tensors[f"blk.{layer}.{THEIRS[part]}.weight"] = array
        else:
            tensors[{"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]] = array
    sizes = {"embedding_length": 16, "block_count": 2, "feed_forward_length": 24, "attention.head_count": heads, "attention.head_count_kv": kv_heads, "context_length": 64}
    base, epsilon = 10000.0, 1e-6
    entries = [written.entry("general.architecture", 8, written.text("llama")), *(number(f"llama.{key}", 4, value) for key, value in sizes.items()),
               number("llama.rope.freq_base", 6, base), number("llama.attention.layer_norm_rms_epsilon", 6, epsilon), *tokenizer, *extra]
    data, places = b"", []
    for name, array in change(tensors).items():
        data += b"\0" * (-len(data) % 32)
        places.append(written.tensor(name, array.shape[::-1], 0, len(data)))
        data += np.ascontiguousarray(array, "<f4").tobytes()
    path.write_bytes(written.gguf(entries, places, data))
    return path


def tokenizer_of(pre="smollm", kind="gpt2", vocabulary=VOCABULARY, merges=("a b", "Ġ a"), **numbers):
    return [written.entry("tokenizer.ggml.model", 8, written.text(kind)), written.entry("tokenizer.ggml.pre", 8, written.text(pre)),
            texts("tokenizer.ggml.tokens", vocabulary), texts("tokenizer.ggml.merges", merges), number("tokenizer.ggml.eos_token_id", 4, 0)]


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


def test_a_gguf_file_gives_the_same_model_and_its_tokenizer(tmp_path):
    model = load(gguf_of(tmp_path / "a.gguf", tokenizer_of()), dtype=np.float64)
    assert np.abs(model(TOKENS) - LOGITS).max() <= 1e-6  # the epsilon and the base of the file are float32
    assert model.tokenizer.encode("ab a12").tolist() == [VOCABULARY.index(token) for token in ("ab", "Ġa", "1", "2")]
    assert model.tokenizer.decode(model.tokenizer.encode("ab a12")) == "ab a12"
    assert model.loss("ab a12") == pytest.approx(model.loss(model.tokenizer.encode("ab a12")))
    with pytest.raises(ValueError, match="no chat template"):
        model.tokenizer.chat([])


def other(tmp_path, **options):
    return np.abs(load(gguf_of(tmp_path / "b.gguf", **options), dtype=np.float64)(TOKENS) - LOGITS).max()


# What a wrong reading of a GGUF file would compute, each far from the right logits.
def test_rows_of_queries_and_keys_are_put_in_order_each_by_its_own_heads(tmp_path, monkeypatch):
    module = "tinyattn.models.pretrained.gguf_models"
    from tinyattn.models.pretrained import gguf_models
    right = gguf_models.in_halves
    for wrong in (lambda stored, heads: stored, lambda stored, heads: right(stored, 4) if stored.shape[0] == 8 else right(stored, heads)):
        monkeypatch.setattr(f"{module}.in_halves", wrong)
        assert other(tmp_path) > 1e-3


def test_the_divisors_of_a_gguf_file_scale_its_frequencies(tmp_path):
    divisors = np.array([1.0, 4.0])
    def with_divisors(tensors):
        return {**tensors, "rope_freqs.weight": divisors}
    assert other(tmp_path) <= 1e-6
    assert other(tmp_path, change=with_divisors) > 1e-3
    model = load(tmp_path / "b.gguf")
    np.testing.assert_allclose(model.attention(1).frequencies.values, np.array([1.0, 0.01]) / divisors)


def scaled(kind, **numbers):
    return [written.entry("llama.rope.scaling.type", 8, written.text(kind)), *(number(f"llama.rope.scaling.{key}", 6, value) for key, value in numbers.items())]


@pytest.mark.parametrize(("make", "words"), [
    (lambda path: path.write_bytes(b""), "too few|truncated|not"), (lambda path: path.write_bytes(b"GGUF"), "4 bytes are too few"),
    (lambda path: gguf_of(path, extra=scaled("longrope", factor=2.0)), "the rotary scaling 'longrope' lacks 'short_factor'"),
    (lambda path: gguf_of(path, extra=scaled("linear")), "the rotary scaling 'linear' lacks 'factor'"),
    (lambda path: gguf_of(path, heads=5), "heads"),
    (lambda path: gguf_of(path, kv_heads=3), "multiple of twice the 3 heads"),
    (lambda path: gguf_of(path, extra=[number("llama.rope.dimension_count", 4, 2)]), "rope.dimension_count: 2 is not built"),
    (lambda path: gguf_of(path, change=lambda tensors: {**tensors, "blk.0.odd.weight": np.ones((1, 4))}), "a.gguf: tensors do not fit the config: unused blk.0.odd.weight"),
    (lambda path: gguf_of(path, change=lambda tensors: {name: x for name, x in tensors.items() if name not in ("output_norm.weight", "blk.1.ffn_up.weight")}),
     "missing model.layers.1.mlp.up_proj.weight .24, 16.; missing model.norm.weight"),
    (lambda path: gguf_of(path, change=lambda tensors: {**tensors, "token_embd.weight": np.ones((40, 17))}), "model.embed_tokens.weight: expected .40, 16., got .40, 17."),
    (lambda path: path.write_bytes(written.gguf([written.entry("general.architecture", 8, written.text("mamba"))])), "general.architecture: 'mamba' is not known"),
    (lambda path: path.write_bytes(written.gguf([written.entry("general.architecture", 8, written.text("llama"))])), "metadata: missing llama.embedding_length"),
])
def test_a_gguf_file_that_is_no_model_of_ours_is_refused(tmp_path, make, words):
    make(tmp_path / "a.gguf")
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "a.gguf")


@pytest.mark.parametrize(("options", "words"), [
    ({"pre": "mine"}, "tokenizer.ggml.pre: 'mine' is not known; gpt-2, smollm, llama-bpe, qwen2 are"), ({"kind": "llama"}, "tokenizer.ggml.model: 'llama' is not known"),
    ({"merges": ["a b c"]}, "two pieces"), ({"merges": ["a ü"]}, "tokenizer.ggml.merges: "),
    ({"vocabulary": [*VOCABULARY, "zz"]}, "the tokenizer has 41 tokens and the embedding 40"),
])
def test_a_tokenizer_that_is_not_known_is_refused_when_it_is_needed(tmp_path, options, words):
    model = load(gguf_of(tmp_path / "a.gguf", tokenizer_of(**options)))
    assert model(TOKENS).shape == LOGITS.shape
    with pytest.raises(ValueError, match=words):
        model.loss("ab")


@pytest.mark.parametrize(("pre", "pieces"), [("gpt-2", ["a", "12", "34"]), ("smollm", ["a", "1", "2", "3", "4"]), ("llama-bpe", ["a", "12", "3", "4"]), ("qwen2", ["a", "1", "2", "3", "4"])])
def test_digits_are_cut_as_the_file_says(tmp_path, pre, pieces):
    vocabulary = ["12" if token == "ab" else "34" if token == "Ġa" else token for token in VOCABULARY]
    model = load(gguf_of(tmp_path / "a.gguf", tokenizer_of(pre=pre, vocabulary=vocabulary, merges=("1 2", "3 4"))))
    assert model.tokenizer.encode("a1234").tolist() == [vocabulary.index(piece) for piece in pieces]


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
        np.testing.assert_allclose(weights.sum(-1), 1.0)
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
