"""A model stays in its file: opening it reads almost nothing, and writing text takes little memory beside the mapped weights."""

import json
import tracemalloc

import numpy as np
import pytest

from tinyattn.models import load

WIDTH, HIDDEN, LAYERS, VOCAB = 384, 1024, 4, 4000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A llama of random numbers in bfloat16, 20 MB, with the proportions of a model of 1.5 thousand million."""
    made = tmp_path_factory.mktemp("model")
    shapes = {"model.embed_tokens": (VOCAB, WIDTH), "lm_head": (VOCAB, WIDTH), "model.norm": (WIDTH,)}
    for layer in range(LAYERS):
        parts = {**{f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"}, "mlp.gate_proj": (HIDDEN, WIDTH), "mlp.up_proj": (HIDDEN, WIDTH),
                 "mlp.down_proj": (WIDTH, HIDDEN), "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in parts.items()}
    ends = np.cumsum([2 * int(np.prod(shape)) for shape in shapes.values()]).tolist()
    header = json.dumps({f"{name}.weight": {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
                         for (name, shape), start, end in zip(shapes.items(), [0, *ends], ends, strict=False)}).encode()
    header += b" " * (-len(header) % 8)
    rng = np.random.default_rng(0)
    # Random signs and fractions, and sizes from 2^-7 to 2^-5.
    bits = rng.integers(0, 1 << 16, ends[-1] // 2, dtype=np.uint16) & 0x80FF | 0x3C00
    (made / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes())
    (made / "config.json").write_text(json.dumps({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 6,
        "intermediate_size": HIDDEN, "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": False}))
    return made


def test_opening_and_writing_take_a_tenth_of_the_file_at_most(folder):
    size = (folder / "model.safetensors").stat().st_size
    assert size > 19e6
    [*load(folder).generate(np.arange(3), 1)]  # what is made once per process
    tracemalloc.start()
    try:
        model = load(folder)
        opened = tracemalloc.get_traced_memory()[1]
        written = [*model.generate(np.arange(3), 3)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(written) == 3
    assert opened < 0.01 * size
    assert peak < 0.1 * size
    assert model.nbytes == pytest.approx(size, rel=1e-3)
