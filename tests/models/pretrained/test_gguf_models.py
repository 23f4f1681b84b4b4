"""Models in GGUF files: the logits of the folder that they are made from, and what is refused by name."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from tinyattn.models import load
from tinyattn.models.pretrained.gguf_models import config_of
from tinyattn.models.pretrained.tokens import tokenizer_of_gguf
from tinyattn.ops.files import gguf

HERE = Path(__file__).parent
spec = spec_from_file_location("gguf_written", HERE / "gguf_written.py")
made = module_from_spec(spec)
spec.loader.exec_module(made)
VOCABULARY, gguf_of, number, scaled, tokenizer_of, written = made.VOCABULARY, made.gguf_of, made.number, made.scaled, made.tokenizer_of, made.written

TOKENS, LOGITS = (np.load(HERE / "families" / "llama" / "expected.npz")[name] for name in ("tokens", "logits"))


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
    np.testing.assert_allclose(model.attention(1).frequencies.values, np.array([1.0, 0.01]) / divisors, rtol=1e-15)


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


@pytest.mark.parametrize(("key", "value"), [
    ("general.architecture", ["llama"]), ("general.architecture", np.arange(2)), ("llama.embedding_length", "16"), ("llama.block_count", 0), ("llama.feed_forward_length", 1 << 60),
    ("llama.attention.head_count", np.arange(2)), ("llama.attention.head_count", -1), ("llama.attention.head_count_kv", True), ("llama.context_length", 0.5),
    ("llama.rope.freq_base", np.nan), ("llama.attention.layer_norm_rms_epsilon", -1.0), ("llama.rope.dimension_count", [4]), ("llama.rope.scaling.type", np.arange(2)),
])
def test_metadata_of_another_kind_or_range_are_named_by_their_key(tmp_path, key, value):
    content = gguf.read(gguf_of(tmp_path / "a.gguf"))
    with pytest.raises((TypeError, ValueError), match=f"^{key}: "):
        config_of(content._replace(metadata={**content.metadata, key: value}))


@pytest.mark.parametrize(("key", "value"), [
    ("model", np.arange(2)), ("model", 3), ("pre", ["smollm"]), ("tokens", np.arange(3)), ("tokens", ["a", 3]), ("merges", "a b"), ("token_type", 3), ("token_type", [[1]]),
])
def test_a_tokenizer_in_metadata_of_another_kind_is_named_by_its_key(tmp_path, key, value):
    metadata = gguf.read(gguf_of(tmp_path / "a.gguf", tokenizer_of())).metadata
    with pytest.raises(ValueError, match=f"tokenizer.ggml.{key}"):
        tokenizer_of_gguf({**metadata, f"tokenizer.ggml.{key}": value})


@pytest.mark.parametrize("template", ["{{ 1 / 0 }}", "{{ messages[7].content }}", "{% for", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ '%d' % 'a' }}", "{{ '{0}'.format() }}",
                                      "{{ none + 1 }}", "{{ unknown() }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ messages.append(1) }}"])
def test_a_chat_template_that_cannot_be_rendered_or_is_unsafe_is_one_line(tmp_path, template):
    tokenizer = load(gguf_of(tmp_path / "a.gguf", [*tokenizer_of(), written.entry("tokenizer.chat_template", 8, written.text(template))])).tokenizer
    with pytest.raises(ValueError, match=r"^chat: the model's template cannot be rendered: .+$"):
        tokenizer.chat([{"role": "user", "content": "a"}])


@pytest.mark.parametrize("start", [40, 999])
def test_a_first_token_outside_of_the_embedding_is_named(tmp_path, start):
    first = [number("tokenizer.ggml.bos_token_id", 4, start), number("tokenizer.ggml.add_bos_token", 7, True)]
    model = load(gguf_of(tmp_path / "a.gguf", [*tokenizer_of(), *first]))
    with pytest.raises(ValueError, match=f"a.gguf: the tokenizer gives 38 to {start}, and the embedding has 40 tokens"):
        model.loss("ab")
