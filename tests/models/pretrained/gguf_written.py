"""The llama of the fixtures as a GGUF file, with what a test changes in it."""

import struct
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np

from tinyattn.ops.files import safetensors

HERE = Path(__file__).parent
FAMILIES = HERE / "families"
spec = spec_from_file_location("written", HERE.parent.parent / "ops" / "files" / "written.py")
written = module_from_spec(spec)
spec.loader.exec_module(written)

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


def scaled(kind, **numbers):
    return [written.entry("llama.rope.scaling.type", 8, written.text(kind)), *(number(f"llama.rope.scaling.{key}", 6, value) for key, value in numbers.items())]
