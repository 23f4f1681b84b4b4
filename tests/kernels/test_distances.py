"""Products with vectors of distances, in tiles: read along diagonals, made once for two tiles of keys, one number where all pairs read one row."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.rows import distances, skew
from tinyattn.kernels.softmax import row_blocks
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.ops import masks

RNG = np.random.default_rng
RELATIVE, DISENTANGLED = "relative_position_attention", "disentangled_attention"


@compiled
def skewed(s, p, keys, width, back):
    """Reads along the diagonals, or writes along them."""
    if back:
        skew.take_skewed(s, p, keys, width)
    else:
        skew.add_skewed(s, p, keys, width)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("back", [False, True])
def test_diagonals_are_read_one_by_one(back, dtype):
    for keys, width in ((64, 64), (64, 32), (32, 64)):
        rng = RNG(width)
        s, p = (rng.standard_normal(size).astype(dtype) for size in (keys * width, (keys + width) * width))
        want_s, want_p = s.reshape(keys, width).copy(), p.reshape(-1, width).copy()
        for j, i in np.ndindex(keys, width):
            if back:
                want_p[j - i + width - 1, i] += want_s[j, i]
            else:
                want_s[j, i] += want_p[j - i + width - 1, i]
        plain = s.copy(), p.copy()
        skew.skew_in_numpy(back)(*plain, keys, width)
        skewed(s, p, keys, width, back)
        for got in ((s, p), plain):
            for x, want in zip(got, (want_s, want_p), strict=True):
                np.testing.assert_allclose(x, want.reshape(-1), rtol=1e-6)


def arguments(name, q_len=150, kv_len=200, heads=4, kv_heads=2, span=30, dtype=np.float64):
    rng = RNG(q_len)
    drawn = lambda *shape: rng.standard_normal(shape).astype(dtype)
    arrays = {"q": drawn(2, heads, q_len, 6), "k": drawn(2, kv_heads, kv_len, 6), "v": drawn(2, kv_heads, kv_len, 5)}
    if name == RELATIVE:
        return arrays | {"relative": drawn(heads, q_len + kv_len - 1, 6), "u": drawn(heads, 6), "w": drawn(heads, 6)}, {}
    behind = np.arange(kv_len - q_len, kv_len)[:, None] - np.arange(kv_len)
    return (arrays | {"q_relative": drawn(heads, 2 * span, 6), "k_relative": drawn(heads, 2 * span, 6)},
            {"distance": np.clip(behind + span, 0, 2 * span - 1)})


def slopes(f, arrays, options):
    out, pull = vjp(lambda t: f(**t, **options), arrays)
    return [out, *pull(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype)).values()]


def agree(name, arrays, options):
    want = slopes(getattr(definitions, name), arrays, options)
    for a, b in zip(slopes(getattr(kernels, name), arrays, options), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


OPTIONS = {"whole": {}, "causal": {"causal": True}, "window": {"window": (70, 3), "softcap": 1.5}, "mask": {"mask": RNG(0).random((4, 1, 200)) < 0.6},
           "bias": {"bias": RNG(1).standard_normal((4, 150, 200)), "causal": True, "sinks": np.array([0.5, -np.inf, 1.0, 2.0])}}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", [RELATIVE, DISENTANGLED])
def test_options_reach_every_tile(name, option, monkeypatch):
    arrays, own = arguments(name)
    monkeypatch.setattr(row_blocks, "blocks", None)
    agree(name, arrays, own | OPTIONS[option])


@pytest.mark.parametrize("name", [RELATIVE, DISENTANGLED])
def test_the_gradient_of_sinks(name):
    arrays, own = arguments(name, 40, 70)
    agree(name, arrays | {"sinks": np.array([0.5, -np.inf, 2.0, 0.0])}, own | {"causal": True})


@pytest.mark.parametrize("span", [1, 30, 100, 300])
@pytest.mark.parametrize("missing", ["q_relative", "k_relative", None])
def test_tables_that_end_before_the_keys_and_after(missing, span):
    arrays, own = arguments(DISENTANGLED, 300, 300, 2, 1, span)
    agree(DISENTANGLED, {n: x for n, x in arrays.items() if n != missing}, own | {"causal": True})


@pytest.mark.parametrize("q_len", [1, 64, 130])
def test_a_short_table_of_relative_positions(q_len):
    arrays, _ = arguments(RELATIVE, q_len, 130)
    agree(RELATIVE, arrays | {"relative": arrays["relative"][:, :130]}, {"causal": True})


def test_rows_in_any_order():
    arrays, own = arguments(DISENTANGLED)
    mixed = RNG(0).permutation(60)
    agree(DISENTANGLED, arrays, {"distance": mixed[own["distance"]] // 2, "causal": True})


@pytest.mark.parametrize("name", [RELATIVE, DISENTANGLED])
def test_any_number_of_threads_gives_the_same_bits(name):
    arrays, own = arguments(name, 300, 300, dtype=np.float32)
    every = []
    for number in (1, 2, 3):
        with kernels.threads(number):
            every.append(slopes(getattr(kernels, name), arrays, own | {"causal": True}))
    for other in every[1:]:
        for a, b in zip(other, every[0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [RELATIVE, DISENTANGLED])
@pytest.mark.parametrize("given", ["pattern", "learned bias"])
def test_what_the_kernels_do_not_take_goes_by_rows(name, given, monkeypatch):
    arrays, own = arguments(name, 30, 40)
    if given == "pattern":
        own["mask"] = masks.strided(3)
    else:
        arrays["bias"] = RNG(0).standard_normal((30, 40))
    monkeypatch.setattr(distances, "run", None)
    monkeypatch.setattr(row_blocks, "PART_BYTES", 1)
    agree(name, arrays, own)


@pytest.mark.parametrize("length", [1, 70])
def test_without_tables_it_is_attention(length):
    arrays, options = arguments(DISENTANGLED, length, length)
    del arrays["q_relative"], arrays["k_relative"]
    got, want = slopes(kernels.disentangled_attention, arrays, options), slopes(definitions.attention, arrays, {})
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
