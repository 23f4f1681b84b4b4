"""What the numbers are: errors beside an honest evaluation's, scores of any size, NaN and inf where they are seen and where not."""

import numpy as np
import pytest

from tinyattn import definitions, kernels
from tinyattn.engine import vjp
from tinyattn.ops import masks
from tinyattn.ops.options import visible_keys

RNG = np.random.default_rng
TILES, DECODING = (37, 90), (2, 300)


def drawn(seed, q_len, kv_len, dtype=np.float64, spread=1.0, batch=2):
    rng = RNG(seed)
    q, k, v = (rng.standard_normal((batch, heads, n, 64)).astype(dtype) for heads, n in ((4, q_len), (2, kv_len), (2, kv_len)))
    return {"q": q * dtype(spread), "k": k, "v": v}


def results(f, tree, **options):
    """Returns out, lse and the gradients, by name."""
    (out, lse), pull = vjp(lambda t: f(t["q"], t["k"], t["v"], **options, **{n: x for n, x in t.items() if n not in "qkv"}), tree)
    d_out = RNG(9).standard_normal(out.shape).astype(out.dtype)
    slopes = pull((d_out, np.where(np.isfinite(lse), out.dtype.type(0.3), 0).astype(lse.dtype)))
    return {"out": out, "lse": lse, **{f"d_{n}": slope for n, slope in slopes.items()}}


@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("batch", "lengths"), [(2, (64, 64)), (2, (200, 330)), (2, (512, 512)), (32, (1, 1000)), (8, (4, 2100))], ids=str)
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": (70, 5), "softcap": 2.0}], ids=lambda o: "-".join(o) or "plain")
def test_the_largest_error_of_a_head_is_at_most_twice_an_honest_evaluations(spread, batch, lengths, options):
    assert_as_honest(drawn(0, *lengths, np.float32, spread, batch), **options)


def test_the_errors_of_many_tiles_do_not_add_up():
    assert_as_honest(drawn(0, 64, 16384, np.float32, 0.1, batch=1))


def assert_as_honest(tree, **options):
    truth = results(definitions.attention_with_lse, {n: x.astype(np.float64) for n, x in tree.items()}, **options)
    honest, ours = (results(f, tree, **options) for f in (definitions.attention_with_lse, kernels.attention_with_lse))
    for name, true in truth.items():
        # A head may be right by luck, the more so the fewer its rows, which is no error to double: the heads' mean is taken.
        mine, fair = (np.abs(side[name] - true).reshape(4 * len(tree["q"]), -1).max(axis=1).mean() for side in (ours, honest))
        assert mine <= 2 * fair, (name, mine / fair)


@pytest.mark.parametrize("lengths", [TILES, DECODING], ids=str)
@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e17), (np.float64, 1e75)])
def test_scores_of_any_size_choose_one_key(lengths, dtype, size):
    tree = drawn(1, *lengths, dtype)
    tree |= {"q": tree["q"] * dtype(size), "k": tree["k"] * dtype(size)}
    (want, got) = (results(f, tree, causal=True) for f in (definitions.attention_with_lse, kernels.attention_with_lse))
    np.testing.assert_array_equal(got["out"], want["out"])
    np.testing.assert_allclose(got["d_v"], want["d_v"], rtol=1e-6, atol=1e-6)
    assert all(np.isfinite(x).all() for x in got.values())


def test_equal_keys_of_any_size_share():
    tree = {"q": np.full((1, 20, 4), 1e70), "k": np.full((1, 30, 4), 1e70), "v": RNG(2).standard_normal((1, 30, 4))}
    got = results(kernels.attention_with_lse, tree)
    np.testing.assert_allclose(got["out"], np.broadcast_to(tree["v"].mean(axis=1, keepdims=True), (1, 20, 4)), rtol=1e-13)
    np.testing.assert_allclose(got["d_v"].sum(axis=1), RNG(9).standard_normal((1, 20, 4)).sum(axis=1), rtol=1e-12)


def test_a_sink_of_minus_infinity_has_no_effect():
    tree = drawn(3, 90, 70) | {"sinks": np.array([-np.inf, 0.0, -np.inf, 1.0])}
    want, got = (results(f, tree, causal=True) for f in (definitions.attention_with_lse, kernels.attention_with_lse))
    for name, x in want.items():
        np.testing.assert_allclose(got[name], x, rtol=1e-10, atol=1e-12, err_msg=name)


HIDING = {"dense": lambda q, kv: RNG(4).random((2, 1, q, kv)) < 0.1, "padding": lambda q, kv: masks.padding(np.array([kv // 3, kv // 2])),
          "per head": lambda q, kv: masks.per_head([masks.first(9)] * 2 + [masks.window(5, 0)] * 2),
          "documents": lambda q, kv: masks.documents(np.repeat([[0, 1, 2], [0, 0, 2]], -(-kv // 3), axis=1)[:, :kv]) & masks.first(kv // 2),
          "window": lambda q, kv: None}


@pytest.mark.parametrize(("name", "lengths"), [(name, lengths) for name in ("dense", "padding", "per head", "window")
                                               for lengths in (TILES, DECODING, (100, 60))] + [("documents", (90, 90))])
@pytest.mark.parametrize("learned", [False, True])
def test_hidden_slots_may_hold_anything(lengths, name, learned):
    mask, tree = HIDING[name](*lengths), drawn(5, *lengths)
    if learned:
        tree |= {"bias": RNG(6).standard_normal((4, *lengths)), "sinks": RNG(7).standard_normal(4)}
    options = {"mask": mask, "window": (20, 0), "softcap": 3.0}
    seen = np.broadcast_to(visible_keys(mask, False, (20, 0), (2, 4, *lengths)), (2, 4, *lengths))
    keys, queries = ~seen.any(axis=-2).reshape(2, 2, 2, -1).any(axis=-2), ~seen.any(axis=-1)
    assert keys.any() or queries.any()
    poisoned = tree | {n: np.where(hidden[..., None], poison, tree[n])
                       for n, hidden, poison in (("q", queries, -np.inf), ("k", keys, np.nan), ("v", keys, np.inf))}
    clean, got = (results(kernels.attention_with_lse, t, **options) for t in (tree, poisoned))
    for n, x in clean.items():
        np.testing.assert_array_equal(got[n], x, err_msg=n)
    assert not got["d_k"][keys].any()
    assert not got["d_v"][keys].any()
    assert not got["d_q"][queries].any()


@pytest.mark.parametrize("lengths", [TILES, DECODING], ids=str)
@pytest.mark.parametrize("name", ["q", "k", "v", "bias", "sinks"])
@pytest.mark.parametrize("options", [{}, {"causal": True, "window": (250, 0)}, {"softcap": 3.0}, {"mask": masks.strided(2)}],
                         ids=lambda o: "-".join(o) or "plain")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_comes_out_where_it_is_seen(lengths, name, options, value):
    q_len, kv_len = lengths
    tree = drawn(8, *lengths) | {"bias": RNG(6).standard_normal((4, *lengths)), "sinks": RNG(7).standard_normal(4)}
    clean = results(kernels.attention_with_lse, tree, **options)
    key = kv_len - q_len  # the first query's own
    place = {"q": (0, 1, 0, 3), "k": (0, 0, key, 3), "v": (0, 0, key, 3), "bias": (1, 0, key), "sinks": (1,)}[name]
    if name in ("bias", "sinks") or (name in "qk" and "softcap" in options):
        value = np.nan  # one bias of +inf is all the weight, and the cap of an infinite score is finite
    if name == "k":
        value *= np.sign(tree["q"][0, 1, 0, 3])  # a score of -inf is a weight of 0
    tree[name] = tree[name].copy()
    tree[name][place] = value
    with np.errstate(all="ignore"):
        got = results(kernels.attention_with_lse, tree, **options)
    reached = {"v": (0, 1, 0, 3)}.get(name, (0, 1, 0))
    assert not np.isfinite(got["out"][reached]).any()
    assert not np.isfinite(got["d_q"][0, 1, 0]).any()
    if name != "v":
        assert not np.isfinite(got["lse"][0, 1, 0])
        assert np.isnan(got["d_v"][0, 0, key]).all()
    assert np.isnan(got["d_k"][0, 0, key]).any()
    np.testing.assert_array_equal(got["out"][0, 2:], clean["out"][0, 2:])  # another key head


def test_kernels_run_under_any_seterr():
    rng = RNG(10)
    with np.errstate(all="raise"):
        for dtype in ("float64", "float32"):
            for lengths in (TILES, DECODING):
                tree = {n: x.astype(dtype) for n, x in drawn(11, *lengths, spread=100.0).items()}
                assert np.isfinite(results(kernels.attention_with_lse, tree, causal=True, softcap=50.0)["d_k"]).all()
    q = (rng.standard_normal((1, 40, 8)) * 1e-4).astype(np.float16)
    with np.errstate(all="raise"):
        assert kernels.attention(q, q, q).dtype == np.float16
