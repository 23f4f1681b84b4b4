"""Every row that can mix a decoder's tokens: it learns, its cache gives the full computation, and the bytes of its formula are right."""

import numpy as np
import pytest

from tinyattn.catalog import ROWS, find
from tinyattn.laws.problem import Sizes
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, parameters
from tinyattn.models.evaluate import gap_in_budgets
from tinyattn.models.train import train

RNG = np.random.default_rng
CONFIG = DecoderConfig(width=32, layers=1, heads=4, kv_heads=2, hidden=16, context=16)
TEXT = np.frombuffer(b"abcdefgh" * 40, np.uint8)
MIXERS = [row for row in ROWS if row.mixer is not None]


@pytest.mark.parametrize("row", MIXERS, ids=[row.name for row in MIXERS])
def test_a_mixer_learns_and_its_cache_is_the_full_computation(row):
    decoder = Decoder.create(CONFIG, RNG(0), **row.mixing)
    steps = list(train(decoder, TEXT, steps=12, context=16, batch=2, rng=RNG(1)))
    assert steps[-1].loss < steps[0].loss - 0.5
    before, after = parameters(decoder), parameters(steps[-1].decoder)
    still = [name for name in before if np.array_equal(before[name], after[name])]
    # 16 tokens are seen whole, and a span that sees all has no slope.
    assert still == (["blocks.0.attention.inputs.0.offset"] if row.name == "dynamic_contextual_attention" else [])
    tokens = RNG(2).integers(0, 256, (1, 9))
    assert gap_in_budgets(steps[-1].decoder, tokens, row.cache, RNG(3)) <= 1.0
    caches = [row.cache()]
    decoder(tokens, caches=caches)
    assert caches[0].nbytes == row.cache_bytes(9, CONFIG.kv_heads, CONFIG.head_dim, CONFIG.head_dim, 4, heads=CONFIG.heads)


@pytest.mark.parametrize(("name", "kv_heads"), [("multi_head_attention", 4), ("multi_query_attention", 1), ("grouped_query_attention", 2)])
def test_the_cache_of_heads_is_as_large_as_it_says(name, kv_heads):
    row = find(name)
    sizes = row.fit(Sizes((), kv_heads, 4 // kv_heads, 9, 9, head_dim=4, value_dim=3))
    p, cache = row.sample(RNG(0), sizes), row.cache()
    cache.append(p.k, p.v)
    assert sizes.kv_heads == kv_heads
    assert cache.nbytes == row.cache_bytes(9, kv_heads, 4, 3, 8) == 9 * kv_heads * 7 * 8
