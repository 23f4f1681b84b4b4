"""Channels that cannot fade far within a chunk: kernels compiled for them alone give the bits of those compiled for all."""

import numpy as np
import pytest

from tests.kernels.test_states import READING, drawn, kernel
from tinyattn import vjp
from tinyattn.kernels.states import before_primitive, primitive, reading_primitive
from tinyattn.kernels.states.channels import LEAST


def sizes_for(dtype):
    rows = np.zeros((1, 1, 100, 8), dtype)
    return primitive.sizes_of(rows, rows, rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_chunk_that_fades_to_the_bound_may_fade_far_and_one_of_twice_as_much_may_not(dtype):
    sizes = sizes_for(dtype)
    at_bound = np.full((1, 1, 100, 8), np.log(LEAST) / sizes.kv_tile, dtype)
    mild = np.full_like(at_bound, np.log(2.5 * LEAST) / sizes.kv_tile)
    assert primitive.far_of(at_bound, sizes) and primitive.far_of(np.nextafter(at_bound, dtype(0)), sizes)
    assert primitive.far_of(mild, sizes) is None and primitive.far_of(mild[:, :, :0], sizes) is None
    for one in (-np.inf, np.nan, -2 * sizes.kv_tile):
        mild[0, 0, 70, 3] = one
        assert primitive.far_of(mild, sizes)


def before(p):
    """The kernel whose queries read before their tokens are written."""
    return before_primitive.states_before(p["q"], p["k"], p["v"], p["log_decay"], p["k"][0, :, 0], p["state"], 0.7)


@pytest.mark.parametrize(("kind", "call"), [("channel", kernel), ("channel", before), *((kind, kernel) for kind in READING)])
def test_mild_decays_give_the_same_bits_either_way(kind, call, monkeypatch):
    given = drawn(kind, 70, dtype=np.float32)
    results, asked = [], []
    for answer in (None, True):
        for module in (primitive, before_primitive, reading_primitive):
            monkeypatch.setattr(module, "far_of", lambda *_, answer=answer: asked.append(answer) or answer)
        out, pull = vjp(lambda tree: call(tree)[0], given)
        results.append([out, *pull(np.ones_like(out)).values()])
    assert asked == [None, None, True, True]
    for mild, far in zip(*results, strict=True):
        assert (mild == far).all() and mild.any()
