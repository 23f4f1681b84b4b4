"""The rotary frequencies that the config of a model asks for; a scaling that is not known is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinyattn.models.pretrained.config_values import an_object, checked
from tinyattn.ops.checks import whole
from tinyattn.ops.positions import (
    Frequencies,
    linear_frequencies,
    llama3_frequencies,
    longrope_frequencies,
    plain_frequencies,
    yarn_frequencies,
)
from tinyattn.ops.positions.frequencies import FrequenciesByLength
from tinyattn.ops.types import Array

# Keys that say nothing about the frequencies.
OTHER = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
KNOWN = {"default": set(), "linear": {"factor"},
         "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
         "divided": {"divisors"},
         "yarn": {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor", "truncate", "mscale",
                  "mscale_all_dim"},
         "longrope": {"short_factor", "long_factor", "factor", "original_max_position_embeddings", "attention_factor"}}
# What older configs call a scaling.
OLDER = {"su": "longrope"}


def parameters_of(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Returns the rotary parameters of layers of one kind, from either of the places where configs have them.

    >>> parameters_of({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}, "full_attention")
    {'rope_theta': 500000.0, 'rope_type': 'linear', 'type': 'linear', 'factor': 2.0}
    """
    given = config.get("rope_parameters") or {}
    given = given.get(kind, given)
    an_object(f"config: rope_parameters: {kind}", given)
    scaling = config.get("rope_scaling") or {}
    base = config.get("rope_theta", config.get("rotary_emb_base", 10000.0))
    found = {"rope_theta": base, "rope_type": scaling.get("type", "default"), **scaling, **given}
    for name in ("partial_rotary_factor", "original_max_position_embeddings"):
        if name in config:
            found.setdefault(name, config[name])
    if "rotary_pct" in config:
        found.setdefault("partial_rotary_factor", config["rotary_pct"])
    return checked(found)


def frequencies_of(config: Mapping[str, Any], head_dim: int, kind: str = "full_attention") -> Frequencies | FrequenciesByLength:
    """Returns the frequencies of layers of one kind, one per pair of channels that is rotated; longrope has two of them.

    Raises:
        ValueError: a scaling that is not known, or one that lacks a parameter or has one that is not known.

    >>> frequencies_of({"rope_theta": 100.0}, 4).values
    array([1. , 0.1])
    """
    parameters = parameters_of(config, kind)
    name, base, given = parameters["rope_type"], parameters["rope_theta"], dict(parameters)
    name = OLDER.get(name, name)
    if name not in KNOWN:
        raise ValueError(f"config: the rotary scaling {name!r} is not known; {', '.join(KNOWN)} are")
    unknown = set(given) - OTHER - KNOWN[name] - {"original_max_position_embeddings"}
    if unknown:
        raise ValueError(f"config: the rotary scaling {name!r} has the unknown parameters {', '.join(sorted(unknown))}")
    dims = int(head_dim * given.get("partial_rotary_factor", 1.0))
    try:
        if name == "linear":
            return linear_frequencies(dims, factor=given["factor"], base=base)
        if name == "divided":
            return divided(plain_frequencies(dims, base=base), given["divisors"])
        if name == "llama3":
            return llama3_frequencies(dims, factor=given["factor"], original_length=given["original_max_position_embeddings"],
                                      low=given["low_freq_factor"], high=given["high_freq_factor"], base=base)
        if name == "yarn":
            return yarn_of(config, dims, base, given)
        if name == "longrope":
            return longrope_of(config, dims, base, given)
    except KeyError as error:
        raise ValueError(f"config: the rotary scaling {name!r} lacks {error}") from None
    return plain_frequencies(dims, base=base)


def divided(plain: Frequencies, divisors: Any) -> Frequencies:
    """Returns the frequencies, each divided by its own number, as GGUF files store the scaling of Llama 3."""
    return Frequencies(plain.values / divisors_of("divisors", divisors, len(plain.values)))


def divisors_of(name: str, given: Any, count: int) -> Array:
    """Returns so many numbers above 0, one per pair of channels.

    >>> divisors_of("short_factor", [1, 2.5], 2)
    array([1. , 2.5])
    """
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"config: {name}: expected {count} numbers above 0, got {str(given)[:60]}") from None
    if found.shape != (count,) or not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f"config: {name}: expected {count} finite numbers above 0, got shape {found.shape}")
    return found


def longrope_of(config: Mapping[str, Any], dims: int, base: float, given: Mapping[str, Any]) -> FrequenciesByLength:
    """Returns LongRoPE's frequencies of short and of long texts; the factor is that of both lengths unless the config has one."""
    trained = config.get("max_position_embeddings")
    start = whole("config: original_max_position_embeddings", given.get("original_max_position_embeddings", trained), 2)
    factor = given.get("factor")
    if factor is None:
        factor = max(whole("config: max_position_embeddings", trained, 1) / start, 1.0)
    lists = {name: divisors_of(f"{name}_factor", given[f"{name}_factor"], dims // 2) for name in ("short", "long")}
    short, long = (longrope_frequencies(dims, **lists, length=length, original_length=start, factor=factor, base=base,
                                        attention_factor=given.get("attention_factor")) for length in (start, start + 1))
    return FrequenciesByLength(short, long, start)


def yarn_of(config: Mapping[str, Any], dims: int, base: float, given: Mapping[str, Any]) -> Frequencies:
    """Returns YaRN's frequencies, with the attention factor of the config where it has one."""
    length = given.get("original_max_position_embeddings", config.get("max_position_embeddings"))
    of_angles, of_all = given.get("mscale"), given.get("mscale_all_dim")
    factor = given.get("attention_factor")
    both = {"mscale": of_angles, "mscale_all_dim": of_all} if factor is None and of_angles and of_all else {}
    return yarn_frequencies(dims, factor=given["factor"], original_length=length, base=base,
                            beta_fast=given.get("beta_fast") or 32.0, beta_slow=given.get("beta_slow") or 1.0,
                            truncate=given.get("truncate", True), attention_factor=factor, **both)
