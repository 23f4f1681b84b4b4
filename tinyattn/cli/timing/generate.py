"""A decoding step of the default model through each cache, beside the same step typed out in NumPy."""

from __future__ import annotations

import statistics
from itertools import islice

import numpy as np

from tinyattn.catalog import find
from tinyattn.cli.cache_names import caches_of
from tinyattn.cli.outputs import Line
from tinyattn.cli.timing.measure import interleaved, ratio
from tinyattn.cli.timing.step_by_hand import write_by_hand
from tinyattn.cli.timing.table import Table
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.text import read_text

# Tokens per turn of either, and turns per round: turns are short, as other work may interrupt any of them.
STEPS, TURNS, WARM_UP = 2, 8, 4
ASKED = 1.5


def time_generate(rounds: int) -> list[Line]:
    """Returns a row per cache: microseconds of our step and of the step by hand, and their ratio."""
    config = DecoderConfig()
    decoder = Decoder.create(config, np.random.default_rng(0))
    prompt = read_text()[: config.context // 2].tobytes()
    tokens = 1 + STEPS * (rounds * TURNS + WARM_UP)
    lines: list[Line] = []
    for name, make in caches_of(find("attention"), len(prompt) + tokens).items():
        ours, theirs = generate(decoder, prompt, tokens, cache=make), write_by_hand(decoder, config, prompt, tokens)
        next(ours), next(theirs)  # these read the prompt
        taken = interleaved({"ours": lambda: [*islice(ours, STEPS)], "by hand": lambda: [*islice(theirs, STEPS)]},  # noqa: B023
                            rounds * TURNS, warm_up=WARM_UP)
        mine, hand = (statistics.median(seconds) / STEPS for seconds in taken.values())
        lines.append({"cache": name, "ours us": f"{1e6 * mine:,.0f}", "by hand us": f"{1e6 * hand:,.0f}",
                      "ours / by hand": f"{ratio(taken['ours'], taken['by hand']):.2f}",
                      "asked": "" if lines else f"at most {ASKED:g}",
                      "tokens/s": f"{1 / mine:,.0f}"})
    return lines


TABLE = Table("a decoding step of the default model through each cache, beside the step typed out in NumPy", time_generate)
