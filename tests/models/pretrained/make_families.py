"""Writes one tiny random model per family, with the logits that transformers computes from it in float64.

    pip install torch transformers
    python tests/models/pretrained/make_families.py [CASE ...]

What transformers computes in float32 whatever the dtype of the model (RMS norms, angles) is widened by replacing torch.float32.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "families"
SIZES = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
ROPE = {"rope_theta": 1000.0}
CASES = {
    "llama": {"tie_word_embeddings": True},
    "llama-biases": {"attention_bias": True, "mlp_bias": True, "head_dim": 6},
    "llama-linear": {"rope_parameters": {**ROPE, "rope_type": "linear", "factor": 2.0}},
    "llama-llama3": {"rope_parameters": {**ROPE, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}},
    "llama-yarn": {"rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
    "mistral": {"sliding_window": 5}, "qwen2": {"tie_word_embeddings": True}, "qwen3": {"head_dim": 8},
    "smollm3": {"no_rope_layers": [1, 0]},
    "granite": {"embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.3},
    "gemma": {"head_dim": 8}, "gemma2": {"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 5, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 3.0},
    "gemma3_text": {"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 5, "layer_types": ["sliding_attention", "full_attention"]},
    "olmo": {"clip_qkv": 0.5}, "olmo2": {}, "phi": {"num_key_value_heads": 4}, "phi3": {"sliding_window": 6}, "gpt2": {},
    **{f"phi3-longrope-{name}": {"original_max_position_embeddings": length, "rope_parameters": {**ROPE, "rope_type": "longrope", "short_factor": [1.1, 1.3], "long_factor": [1.7, 9.5], "original_max_position_embeddings": length}}
       for name, length in (("long", 8), ("short", 16))},
    "gpt_neox": {"rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "rope_type": "default"}}, "gpt_neox-serial": {"use_parallel_residual": False, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "rope_type": "default"}},
    "cohere": {"logit_scale": 0.5}, "starcoder2": {}, "stablelm": {"use_qkv_bias": True, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "rope_type": "default"}},
    "bert": {"hidden_act": "gelu", "num_key_value_heads": None},
}


def main():
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    chosen = sys.argv[1:] or list(CASES)
    tokens = np.random.default_rng(0).integers(0, 40, (2, 12))
    for case, changes in ((case, CASES[case]) for case in chosen):
        kind = case.split("-")[0]
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 24, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2} if kind == "gpt2" else SIZES
        config = CONFIG_MAPPING[kind](**{**sizes, **changes}, attn_implementation="eager")
        torch.manual_seed(0)
        made = AutoModel if kind == "bert" else AutoModelForCausalLM
        model = made.from_config(config, dtype=torch.float64).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_((torch.randn(parameter.shape, dtype=torch.float64) * (0.3 if parameter.ndim > 1 else 0.5)).to(torch.float16).double())
            found = model(torch.from_numpy(tokens))
            logits = (found.last_hidden_state if kind == "bert" else found.logits).numpy()
        folder = HERE / case
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config.to_dict(), default=str))
        # Transformers calls the head of gpt_neox lm_head in memory, and published files have embed_out.
        head = "embed_out.weight" if kind == "gpt_neox" else "lm_head.weight"
        state = {head if name == "lm_head.weight" else name: value.to(torch.float16).contiguous() for name, value in model.named_parameters()}
        save_file(state, folder / "model.safetensors")
        np.savez_compressed(folder / "expected.npz", tokens=tokens, logits=logits)


if __name__ == "__main__":
    main()
