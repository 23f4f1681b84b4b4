"""The values of a config, checked by their keys before anything is built from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tinyattn.ops.checks import real, text, truth, whole

# The largest size that is accepted; the largest vocabularies that are published have 2 ** 18 tokens.
LARGEST = 1 << 24


class Config(dict[str, Any]):
    """A config whose values have been checked; a key that it lacks and that is needed is named by a ValueError."""

    def __missing__(self, key: str) -> Any:
        raise ValueError(f"config: lacks {key}")


def a_list(name: str, value: Any) -> None:
    """Raises TypeError for a value that is not a list."""
    if not isinstance(value, list):
        raise TypeError(f"{name}: expected a list, got {type(value).__name__}")


def an_object(name: str, value: Any) -> None:
    """Raises TypeError for a value that is not a JSON object."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected an object, got {type(value).__name__}")


size: Callable[[str, Any], int] = partial(whole, least=1, most=LARGEST)
positive: Callable[[str, Any], float] = partial(real, above=0.0)
least_0: Callable[[str, Any], float] = partial(real, least=0.0)
CHECKS: dict[str, Callable[[str, Any], object]] = {
    **dict.fromkeys(("hidden_size", "n_embd", "num_hidden_layers", "n_layer", "num_attention_heads", "n_head", "vocab_size",
                     "num_key_value_heads", "head_dim", "intermediate_size", "n_inner", "type_vocab_size", "n_positions"), size),
    **dict.fromkeys(("max_position_embeddings", "original_max_position_embeddings", "sliding_window"), partial(whole, least=1)),
    "max_window_layers": partial(whole, least=0),
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "clip_qkv", "mscale", "mscale_all_dim",
                     "rotary_pct", "partial_rotary_factor"), least_0),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "logits_scaling",
                     "attention_factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow"), positive),
    **dict.fromkeys(("rope_theta", "rotary_emb_base"), partial(real, above=1.0)), "factor": partial(real, least=1.0),
    **dict.fromkeys(("embedding_multiplier", "residual_multiplier", "attention_multiplier", "logit_scale"), real),
    **dict.fromkeys(("tie_word_embeddings", "attention_bias", "mlp_bias", "use_bias", "use_qkv_bias", "use_parallel_residual",
                     "use_sliding_window", "truncate"), truth),
    **dict.fromkeys(("model_type", "hidden_act", "activation_function", "rope_type", "type"), text),
    **dict.fromkeys(("layer_types", "no_rope_layers", "short_factor", "long_factor"), a_list),
    **dict.fromkeys(("rope_parameters", "rope_scaling"), an_object)}


def checked(config: Mapping[str, Any]) -> Config:
    """Returns a config without the keys whose value is null, which are the same as keys that it lacks.

    Raises:
        TypeError, ValueError: a value of another kind or range than its key has. Keys that are not known are not looked at.

    >>> checked({"hidden_size": 8, "head_dim": None})
    {'hidden_size': 8}
    """
    found = Config((key, value) for key, value in config.items() if value is not None)
    for key, value in found.items():
        if key in CHECKS:
            CHECKS[key](f"config: {key}", value)
    for key in ("rotary_pct", "partial_rotary_factor"):
        if found.get(key, 0) > 1:
            raise ValueError(f"config: {key}: expected a number from 0 to 1, got {found[key]}")
    return found
