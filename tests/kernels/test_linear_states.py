"""The feature maps and the normaliser inside the kernel of states: lengths around chunks, totals of 0, tokens that are not finite."""

import numpy as np
import pytest

from tests.kernels.slopes import close, slopes
from tinyattn import definitions, kernels, vjp
from tinyattn.ops.features import elu_plus_one, relu_features, taylor_features

MAPS = {"elu + 1": elu_plus_one, "relu": relu_features, "none": None}


def drawn(q_len, kv_len, normalize, dtype=np.float64):
    """Arguments by name, four query heads on two, with a state and its normaliser at first."""
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal((2, heads, n, d)) for name, heads, n, d in (("q", 4, q_len, 5), ("k", 2, kv_len, 5), ("v", 2, kv_len, 3))}
    given["state"] = rng.standard_normal((2, 2, 5, 3))
    if normalize:
        given["total"] = 3 + rng.random((2, 2, 5))
    return {name: x.astype(dtype) for name, x in given.items()}


def side(door, **options):
    def f(p):
        state = (p["state"], p["total"]) if "total" in p else p["state"]
        out, last = door(p["q"], p["k"], p["v"], initial_state=state, normalize="total" in p, return_state=True, **options)
        return (out, *last) if "total" in p else (out, last)

    return f


def check(name, normalize, q_len, kv_len, dtype=np.float64):
    """Compares outputs and gradients with those of the definitions in float64."""
    p = drawn(q_len, kv_len, normalize, dtype)
    if name == "none":  # features may be negative; the total weights of these are not near 0, where means are of any size
        p["q"], p["k"] = 0.1 + np.abs(p["q"]), 0.1 + np.abs(p["k"])
    for options in ({"causal": True, "scale": -0.7}, {"causal": False, "scale": 2.0}):
        options["feature_map"] = MAPS[name]
        definition = definitions.linear_attention_recurrent if options["causal"] else definitions.linear_attention
        truth = slopes(side(definition, **options), {n: x.astype(np.float64) for n, x in p.items()})
        close(slopes(side(kernels.linear_attention, **options), p), truth, dtype)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(("q_len", "kv_len"), [(0, 0), (1, 1), (8, 8), (9, 9), (64, 64), (65, 65), (40, 130)])
def test_all_gradients_are_those_of_the_recurrence(name, normalize, q_len, kv_len):
    check(name, normalize, q_len, kv_len)


def check_waves(q_len, kv_len, dtype=np.float64):
    """Compares cosFormer, whose kernel maps one number to two features, with the definition in float64."""
    p = drawn(q_len, kv_len, True, dtype)
    p["state"], p["total"] = np.concatenate((p["state"], -p["state"]), axis=-2), np.concatenate((p["total"], p["total"]), axis=-1)
    for options in ({"causal": True, "max_length": 200, "start": 7}, {"causal": False, "max_length": 300}):
        truth = slopes(side(definitions.cosformer, **options), {n: x.astype(np.float64) for n, x in p.items()})
        close(slopes(side(kernels.cosformer, **options), p), truth, dtype)


@pytest.mark.parametrize(("q_len", "kv_len"), [(0, 0), (8, 8), (9, 9), (65, 65), (40, 130)])
def test_all_gradients_of_cosformer_are_those_of_the_definition(q_len, kv_len):
    check_waves(q_len, kv_len)


def check_taylor(q_len, kv_len, normalize=True, dtype=np.float64, dim=5):
    """Compares Based, whose kernel holds each pair of channels once, with the definition, on a state whose two halves differ."""
    p, rng = drawn(q_len, kv_len, normalize, dtype), np.random.default_rng(1)
    p["q"], p["k"] = (rng.standard_normal((*p[name].shape[:-1], dim)).astype(dtype) for name in ("q", "k"))
    p["state"] = rng.standard_normal((2, 2, 1 + dim + dim * dim, 3)).astype(dtype)
    if normalize:
        p["total"] = rng.standard_normal(p["state"].shape[:-1]).astype(dtype)
        p["total"][..., 0] = 20 * dim  # so that no total weight is near 0
    for causal in (True, False) if q_len <= kv_len else (False,):
        truth = slopes(side(definitions.based, causal=causal), {n: x.astype(np.float64) for n, x in p.items()})
        close(slopes(side(kernels.based, causal=causal), p), truth, dtype)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("q_len", "kv_len"), [(0, 0), (1, 1), (8, 8), (9, 9), (65, 65), (40, 130), (70, 3)])
def test_all_gradients_of_based_are_those_of_the_definition(q_len, kv_len, normalize):
    check_taylor(q_len, kv_len, normalize)


@pytest.mark.parametrize("dim", [1, 2, 33])
def test_all_gradients_of_based_are_right_for_any_number_of_channels(dim):
    check_taylor(70, 70, dim=dim)


def test_the_features_of_based_can_be_scaled():
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 70, 4))
    options = {"feature_map": taylor_features, "causal": True, "normalize": False, "scale": -0.7}
    close((kernels.linear_attention(q, k, v, **options),), (definitions.linear_attention(q, k, v, **options),))


def test_more_queries_than_keys_stand_before_the_first_key_of_cosformer():
    q, k, v = (np.random.default_rng(0).standard_normal((2, n, 4)) for n in (70, 65, 65))
    close(kernels.cosformer(q, k, v, max_length=100), definitions.cosformer(q, k, v, max_length=100))


@pytest.mark.parametrize("length", [0, 1, 40])
def test_all_gradients_of_performer_are_those_of_the_definition_over_several_blocks(length):
    rng = np.random.default_rng(0)
    p = {"q": rng.standard_normal((2, length, 3)), "k": rng.standard_normal((1, length, 3)), "v": rng.standard_normal((1, length, 2)),
         "projection": rng.standard_normal((4096, 3))}  # 8 rows of 4096 features are a block

    def f(door):
        return lambda p: (door.performer(p["q"], p["k"], p["v"], projection=p["projection"], causal=False),)

    close(slopes(f(kernels), p), slopes(f(definitions), p))


def check_all(dtype):
    """What `test_states` runs uncompiled, and with narrow registers and bounds checked."""
    for name in ("elu + 1", "relu"):
        check(name, True, 40, 66, dtype)
    check_waves(40, 66, dtype)
    check_taylor(40, 66, dtype=dtype)


@pytest.mark.parametrize("name", ["elu + 1", "relu"])
def test_in_float32_the_errors_are_those_of_float32(name):
    check(name, True, 500, 700, np.float32)


def test_in_float32_the_errors_of_based_are_those_of_float32():
    check_taylor(200, 300, dtype=np.float32)


@pytest.mark.parametrize("scale", [1.0, 0.0])
@pytest.mark.parametrize("length", [8, 90])
def test_a_total_weight_of_0_gives_0_and_finite_gradients(length, scale):
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, length, 4))
    q[:, 3:7], k[:, :2] = -np.abs(q[:, 3:7]), -np.abs(k[:, :2])  # queries, and first keys, whose features are all 0
    found = [vjp(lambda t, door=door: door.linear_attention(*t, feature_map=relu_features, causal=True, scale=scale), (q, k, v))
             for door in (definitions, kernels)]
    np.testing.assert_array_equal(found[1][0][:, :2], 0)
    assert scale == 0 or found[1][0][:, 2:].any()
    close((found[1][0], *found[1][1](np.cos(v))), (found[0][0], *found[0][1](np.cos(v))))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["q", "k", "v"])
@pytest.mark.parametrize("name", ["elu + 1", "relu", "taylor"])
def test_what_is_not_finite_changes_no_earlier_row(name, which, bad):
    arrays, options = list(np.random.default_rng(0).standard_normal((3, 2, 130, 5))), {"feature_map": {**MAPS, "taylor": taylor_features}[name], "causal": True}
    clean = kernels.linear_attention(*arrays, **options)
    arrays[which] = arrays[which].copy()
    arrays[which][:, 69, 2] = bad
    with np.errstate(invalid="ignore"):
        got, want = (door.linear_attention(*arrays, **options) for door in (kernels, definitions))
    close((got[:, :69],), (clean[:, :69],))
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))


def test_a_feature_map_that_cannot_be_hashed_is_called():
    class Doubled:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, x):
            return x * x

    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 70, 4))
    close((kernels.linear_attention(q, k, v, feature_map=Doubled()),), (definitions.linear_attention(q, k, v, feature_map=Doubled()),))


def test_where_total_weights_cancel_sums_are_not_divided_and_weights_have_no_gradient():
    signs = np.where(np.arange(90) % 2, -1.0, 1.0)[None, :, None]
    v = np.random.default_rng(0).standard_normal((1, 90, 3))
    found = [vjp(lambda t, door=door: door.linear_attention(*t, feature_map=None, causal=True), (np.abs(signs), signs, v))
             for door in (definitions, kernels)]
    close((found[1][0], *found[1][1](np.cos(v))), (found[0][0], *found[0][1](np.cos(v))))
