"""Reading a prompt and writing tokens by the same model in other libraries. Each is imported when it is measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinyattn.cli.timing.peers import installed
from tinyattn.models import Model
from tinyattn.models.pretrained.gguf_models import config_of
from tinyattn.models.pretrained.load import read_json
from tinyattn.ops.files import gguf
from tinyattn.ops.types import Array

# Reads a prompt and writes so many tokens after it: the seconds of the prompt, and of each token but the first.
Writes = Callable[[Array, int], tuple[float, float]]


def transformers(path: Path, model: Model) -> Writes | None:
    """Returns the model in transformers, in float32, with our weights; for folders and GGUF files."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if path.is_file() and not model.weights:
        return None
    config = read_json(path / "config.json") if path.is_dir() else config_of(gguf.read(path))
    made = AutoModelForCausalLM.from_config(CONFIG_MAPPING[config["model_type"]](**config)).float().eval()
    state = {name: torch.from_numpy(np.array(stored.array(np.float32))) for name, stored in model.weights.items()}
    made.load_state_dict(state, strict=False)
    made.tie_weights()

    def writes(prompt: Array, count: int) -> tuple[float, float]:
        with torch.no_grad():
            started = time.perf_counter()
            found = made(torch.from_numpy(prompt)[None], use_cache=True, logits_to_keep=1)
            read = time.perf_counter()
            for _ in range(count):
                found = made(found.logits[:, -1:].argmax(-1), past_key_values=found.past_key_values, use_cache=True)
            return read - started, (time.perf_counter() - read) / count
    return writes


def llama_cpp(path: Path, model: Model) -> Writes | None:
    """Returns the model in llama.cpp, by the package xllamacpp, which says its own times; for GGUF files."""
    if path.is_dir() or not model.weights:
        return None
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.n_ctx, settings.verbosity = str(path), 4096, 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = os.cpu_count()
    server = xllamacpp.Server(settings)

    def writes(prompt: Array, count: int) -> tuple[float, float]:
        told = server.handle_completions({"prompt": prompt.tolist(), "n_predict": count + 1, "temperature": 0, "ignore_eos": True,
                                          "cache_prompt": False})["timings"]
        return told["prompt_ms"] / 1e3, told["predicted_ms"] / 1e3 / told["predicted_n"]
    return writes


PEERS: dict[str, tuple[str, Callable[[Path, Model], Writes | None]]] = {
    "transformers": ("transformers", transformers), "llama.cpp": ("xllamacpp", llama_cpp)}


def peers_of(path: Path, model: Model, prompt: Array) -> dict[str, Writes]:
    """Returns one function per library that is installed and takes the file, called once before; one that fails is named."""
    found: dict[str, Writes] = {}
    for name, (module, make) in PEERS.items():
        if not installed(module):
            continue
        try:
            writes = make(path, model)
            if writes is not None:
                writes(prompt, 1)
                found[name] = writes
        except Exception as error:  # whatever a library raises
            print(f"{name} does not run here: {type(error).__name__}: {' '.join(str(error).split())[:80]}")
    return found
