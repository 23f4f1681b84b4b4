"""Writes tiny random attention layers of families whose attention alone is built, with what transformers computes in float64.

    pip install torch transformers
    python tests/models/pretrained/make_attention.py
"""

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "attention"
SIZES = {"vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
         "intermediate_size": 8, "moe_intermediate_size": 8, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32.0, "beta_slow": 1.0}
CASES = {
    "gpt_oss": {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"], "rope_parameters": {**YARN, "truncate": False}, "num_local_experts": 2, "num_experts_per_tok": 1},
    "qwen3_next": {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 4, "linear_value_head_dim": 6, "linear_conv_kernel_dim": 3, "num_experts": 2,
                   "num_experts_per_tok": 1, "layer_types": ["linear_attention", "full_attention"], "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.5}},
    "deepseek_v3": {"num_key_value_heads": 4, "head_dim": 4, "q_lora_rank": 6, "kv_lora_rank": 10, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 6, "rope_interleave": True, "n_routed_experts": 2,
                    "n_group": 1, "topk_group": 1, "num_experts_per_tok": 1, "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}},
}


def main():
    import torch
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    from safetensors.torch import save_file
    from transformers import AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    x = np.random.default_rng(0).standard_normal((2, 9, 16))
    for kind, changes in CASES.items():
        config = CONFIG_MAPPING[kind](**{**SIZES, **changes}, attn_implementation="eager")
        torch.manual_seed(0)
        model = AutoModel.from_config(config, dtype=torch.float64).eval()
        state, expected = {}, {"x": x}
        hidden, length = torch.from_numpy(x), x.shape[1]
        i, j = torch.arange(length)[:, None], torch.arange(length)
        for number, layer in enumerate(model.layers):
            name = "linear_attn" if hasattr(layer, "linear_attn") else "self_attn"
            module = getattr(layer, name)
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.copy_((torch.randn(parameter.shape) * 0.5).to(torch.float16).double())
                if name == "linear_attn":
                    out = module(hidden)
                else:
                    window = getattr(module, "sliding_window", None) or length
                    mask = torch.where((j <= i) & (j > i - window), 0.0, -torch.inf)[None, None]
                    out = module(hidden, model.rotary_emb(hidden, j[None]), mask)[0]
            assert out.dtype == torch.float64
            expected[f"layer{number}"] = out.numpy()
            state.update({f"model.layers.{number}.{name}.{part}": value.to(torch.float16).contiguous() for part, value in module.named_parameters()})
        folder = HERE / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config.to_dict(), default=str))
        save_file(state, folder / "model.safetensors")
        np.savez_compressed(folder / "expected.npz", **expected)
        print(kind, {name: value.shape for name, value in state.items()})


if __name__ == "__main__":
    main()
