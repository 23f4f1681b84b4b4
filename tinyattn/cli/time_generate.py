"""A decoding step of the default model, through each of its caches, beside the same step typed out in NumPy."""

from __future__ import annotations

import statistics
from functools import partial

import numpy as np

from tinyattn.catalog import find
from tinyattn.cli.cache_names import caches_of
from tinyattn.cli.measure import interleaved, ratio
from tinyattn.cli.step_by_hand import write_by_hand
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.text import read_text

# Steps in a round; in each, ours and the other take turns.
STEPS, WARM_UP = 8, 8
ASKED = 1.5


def time_generate(rounds: int) -> list[dict[str, str]]:
    """Returns a row a cache: microseconds of our step and of the one by hand, and how many times of it ours takes."""
    config = DecoderConfig()
    decoder = Decoder.create(config, np.random.default_rng(0))
    prompt, steps = read_text()[: config.context // 2].tobytes(), rounds * STEPS
    tokens = 1 + WARM_UP + steps
    lines = []
    for name, make in caches_of(find("attention"), len(prompt) + tokens).items():
        ours, theirs = generate(decoder, prompt, tokens, cache=make), write_by_hand(decoder, config, prompt, tokens)
        next(ours), next(theirs)  # which read the prompt
        taken = interleaved({"ours": partial(next, ours), "by hand": partial(next, theirs)}, steps, warm_up=WARM_UP)
        lines.append({"cache": name, "ours us": f"{1e6 * statistics.median(taken['ours']):,.0f}",
                      "by hand us": f"{1e6 * statistics.median(taken['by hand']):,.0f}",
                      "ours / by hand": f"{ratio(taken['ours'], taken['by hand']):.2f}", "asked": f"at most {ASKED:g}",
                      "tokens/s": f"{1 / statistics.median(taken['ours']):,.0f}"})
    return lines
