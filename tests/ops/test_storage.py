"""float16 and bfloat16 are storage: what is computed is what float32 gives, rounded once."""

import inspect
import math

import ml_dtypes
import numpy as np
import pytest

from tinyattn import catalog, definitions, ops
from tinyattn.engine.grad import grad
from tinyattn.laws.problem import Sizes
from tinyattn.models.sampling import probabilities
from tinyattn.ops.norm import layer_norm, rms_norm, unit
from tinyattn.ops.quantize import dequantize, quantize
from tinyattn.ops.storage import is_half, widened

RNG = np.random.default_rng(5)
HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
X = RNG.standard_normal((2, 3, 4, 8)).astype(np.float32)
ROWS = np.array([7, 0, 2, 5], np.uint8)
WEIGHT = RNG.standard_normal(8).astype(np.float32)

# Every helper that computes something from floating arrays, as a function of one of them.
HELPERS = {
    "sigmoid": ops.sigmoid, "silu": ops.silu, "gelu": ops.gelu, "exact_gelu": ops.exact_gelu, "erf": ops.erf, "softplus": ops.softplus, "relu": ops.relu,
    "relu_squared": ops.relu_squared, "elu_plus_one": ops.elu_plus_one, "relu_features": ops.relu_features,
    "taylor_features": ops.taylor_features, "cosformer_features": lambda x: ops.cosformer_features(x, ROWS, 9),
    "performer_features": lambda x: ops.performer_features(x, projection=np.ones((5, 8), np.float32)),
    "layer_norm": lambda x: ops.layer_norm(x, WEIGHT, bias=WEIGHT), "rms_norm": lambda x: ops.rms_norm(x, weight=WEIGHT),
    "unit": ops.unit, "rotary": lambda x: ops.rotary(x, ROWS), "rotary_2d": lambda x: ops.rotary_2d(x, grid=(2, 2)),
    "causal_convolution": lambda x: ops.causal_convolution(x, X[0, 0, :, :3], bias=X[0, 0, :, 0]),
    "rotary_by": lambda x: ops.rotary_by(x, np.cos(X[0, 0, :, :4]), np.sin(X[0, 0, :, :4])),
    "rotary_sections": lambda x: ops.rotary_sections(x, np.stack([ROWS, ROWS[::-1]]), sections=(1, 3)),
    "xpos_queries": lambda x: ops.xpos_queries(x, ROWS), "xpos_keys": lambda x: ops.xpos_keys(x, ROWS),
    "softmax": ops.softmax, "log_softmax": ops.log_softmax, "logsumexp": ops.logsumexp,
    "merge": lambda x: ops.merge((x, X[..., 0]), (X[::-1], X[..., 1]))[0],
}
# What only moves elements, counts, draws, or takes no floating array.
UNCHANGED = {"split_heads", "merge_heads", "fold_group", "unfold_group", "split_group", "Bias", "Frequencies", "Pattern", "ScoreRule", "alibi", "relative",
             "alibi_slopes", "dynamic_ntk_frequencies", "linear_frequencies", "llama3_frequencies", "ntk_frequencies", "plain_frequencies",
             "yarn_frequencies", "longrope_frequencies", "kerple_log", "kerple_power", "sandwich", "fire_bias", "sinusoidal", "t5_buckets", "lsh_rotations", "performer_projection", "cross_entropy"}


def test_every_public_helper_is_on_one_of_the_two_lists():
    assert set(HELPERS) | UNCHANGED == set(ops.__all__)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_is_computed_in_float32_and_rounded_once(name, dtype):
    stored = X.astype(dtype)
    out, want = HELPERS[name](stored), HELPERS[name](stored.astype(np.float32))
    assert want.dtype == np.float32
    assert out.dtype == dtype
    np.testing.assert_array_equal(out.astype(np.float32), want.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("name", HELPERS)
def test_the_gradient_of_a_helper_is_rounded_once(name):
    stored, probe = X.astype(np.float16), RNG.standard_normal(HELPERS[name](X).shape).astype(np.float16)
    loss = lambda t: (HELPERS[name](t).astype(np.float32) * probe.astype(np.float32)).sum()
    got, want = grad(loss)(stored), grad(loss)(stored.astype(np.float32))
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, want, rtol=2 * float(np.finfo(np.float16).eps), atol=float(np.finfo(np.float16).tiny))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_first_floating_array_says_in_what_dtype_the_result_is_stored(dtype):
    half, single = np.ones(8, dtype), np.ones(8, np.float32)
    assert ops.rms_norm(half, single).dtype == dtype
    assert ops.rms_norm(single, half).dtype == np.float32
    assert ops.layer_norm(single, bias=half).dtype == np.float32
    out, lse = ops.merge((half[None], single[:1]), (half[None], single[:1]))
    assert (out.dtype, lse.dtype) == (dtype, np.float32)  # log-sum-exps are added to later
    assert ops.sigmoid(half.astype(dtype.newbyteorder())).dtype == dtype


def test_what_is_half_wide():
    assert [is_half(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i2", "u2", "V2")] == [True, False, False, False, False, False]
    assert is_half(np.dtype(ml_dtypes.bfloat16))
    assert not is_half(np.float16)  # a type is not a dtype
    assert not is_half("float16")


def test_the_decorator_keeps_name_signature_and_what_is_not_an_array():
    assert str(inspect.signature(rms_norm)).startswith("(x: ")
    assert rms_norm.__name__ == "rms_norm"

    @widened
    def given(*args, **options):
        seen.extend([*args, *options.values()])
        return args[0]

    seen = []
    text, pair = "float16", (np.ones(2, np.float16), [np.ones(1, ml_dtypes.bfloat16), 3])
    assert given(np.ones(2, np.float16), text, pair, count=3).dtype == np.float16
    assert seen[1] is text and seen[3] == 3
    assert seen[2][0].dtype == seen[2][1][0].dtype == np.float32 and seen[2][1][1] == 3


def test_sums_and_squares_that_float16_cannot_hold():
    h = np.float16
    assert rms_norm(np.full(4096, 5, h))[0] == 1
    x = np.array([300, -300, 200, 100])
    np.testing.assert_array_equal(layer_norm(x.astype(h)), layer_norm(x.astype(np.float32)).astype(h))
    np.testing.assert_array_equal(unit(np.full(3, 300, h)), np.full(3, 3 ** -0.5, h))
    np.testing.assert_array_equal(ops.softmax(np.zeros((1, 70000), h)), np.full((1, 70000), 1 / 70000, h))
    assert grad(lambda t: ops.gelu(t).sum())(np.array([300], h)) == 1


ENDS = [1e-40, 1e-38, 1e-30, 1e-23, 1e-10, 1.0, 1e10, 1e19, 1e25, 3e38]


@pytest.mark.parametrize("size", ENDS)
@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
def test_norms_at_the_ends_of_float32_are_those_of_float64(size, epsilon):
    rows = np.array([[1.0, -1.0, 0.5, 0.25], [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.5]]) * size
    x = rows.astype(np.float32)
    wide, eps = x.astype(np.float64), float(np.finfo(np.float32).eps)
    mean_square = np.mean(wide * wide, axis=-1, keepdims=True)
    centred = wide - wide.mean(axis=-1, keepdims=True)
    for got, want in ((rms_norm(x, epsilon=epsilon), wide / np.sqrt(mean_square + epsilon)),
                      (layer_norm(x, epsilon=epsilon), centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + epsilon)),
                      (unit(x), wide / np.sqrt(np.sum(wide * wide, axis=-1, keepdims=True)))):
        np.testing.assert_allclose(got, want, rtol=8 * eps, atol=8 * eps * np.abs(want).max() + float(np.finfo(np.float32).tiny))
    alone = np.stack([rms_norm(row, epsilon=epsilon) for row in x])  # one row takes another way
    np.testing.assert_allclose(alone, wide / np.sqrt(mean_square + epsilon), rtol=8 * eps, atol=float(np.finfo(np.float32).tiny))


@pytest.mark.parametrize("f", [unit, lambda t: rms_norm(t, epsilon=0.0), lambda t: layer_norm(t, epsilon=0.0)])
@pytest.mark.parametrize("size", [1e-12, 1e25])
def test_gradients_of_norms_at_the_ends_of_float32(f, size):
    x = (np.array([1.0, -1.0, 0.5, 0.25]) * size).astype(np.float32)
    loss = lambda t: (f(t) * np.array([1.0, 2.0, 3.0, -1.0], t.dtype)).sum()
    want = grad(loss)(x.astype(np.float64))
    np.testing.assert_allclose(grad(loss)(x), want, rtol=1e-5, atol=1e-6 * np.abs(want).max())


def test_rows_of_zeros_of_no_width_and_with_nan_or_inf_beside_others():
    x = np.array([[0.0, 0.0], [3.0, 4.0], [1e30, 1e30], [np.nan, 1.0], [np.inf, 1.0]], np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(unit(x)[:3], [[0, 0], [0.6, 0.8], [0.5 ** 0.5, 0.5 ** 0.5]], rtol=1e-6)
        np.testing.assert_allclose(rms_norm(x)[:3], [[0, 0], [3 / 12.5 ** 0.5, 4 / 12.5 ** 0.5], [1, 1]], rtol=1e-6)
    for f in (unit, rms_norm, layer_norm):
        with np.errstate(invalid="ignore"):
            assert np.isnan(f(x)[3:, 0]).all()
        assert f(np.zeros((3, 0), np.float32)).shape == (3, 0)
        assert f(np.zeros((0, 3))).shape == (0, 3)


# These rows are a public helper and a mechanism, one after the other: what the helper gives is rounded too.
COMPOSED = {"contextual_position_bias", "cosformer", "decomposed_position_bias", "rotary_2d"}


def half_problem(row, dtype, seed):
    sizes = row.fit(Sizes(leading=(2,), dtype="float32"))
    return row.sample(np.random.default_rng(seed), sizes).map(lambda array: array.astype(dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("row", [row for row in catalog.ROWS if row.name not in COMPOSED], ids=lambda row: row.name)
def test_every_definition_stores_halves_and_computes_in_float32(row, dtype):
    stored = half_problem(row, dtype, 3)

    def to_single(item):
        if isinstance(item, tuple):
            return tuple(map(to_single, item))
        return item.astype(np.float32) if is_half(getattr(item, "dtype", None)) else item

    single = stored.but(q=to_single(stored.q), k=to_single(stored.k), v=to_single(stored.v),
                        **{name: to_single(option) for name, option in stored.options.items()})
    got, want = (p.call(row.mechanism) for p in (stored, single))
    got, want = (out[0] if isinstance(out, tuple) else out for out in (got, want))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.astype(np.float32), want.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_contextual_positions_of_halves(dtype):
    q, table = X.astype(dtype), X[0, 0].astype(dtype)
    got = definitions.contextual_position_bias(q, q, embedding=table)
    want = definitions.contextual_position_bias(q.astype(np.float32), q.astype(np.float32), embedding=table.astype(np.float32))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.astype(np.float32), want.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_only_the_first_result_is_narrowed(dtype):
    q, k = X.astype(dtype), X[..., ::-1, :].astype(dtype)
    out, lse = definitions.attention_with_lse(q, k, k)
    assert (out.dtype, lse.dtype) == (dtype, np.float32)
    out, state = definitions.retention(q, k, k, log_decay=np.zeros(3, dtype), return_state=True)
    assert (out.dtype, state.dtype) == (dtype, np.float32)
    again = definitions.retention(q, k, k, log_decay=np.zeros(3, dtype), initial_state=state.astype(dtype))
    assert again.dtype == dtype


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_codes_and_probabilities_of_halves(dtype):
    x = X[0, 0].astype(dtype)
    packed = quantize(x, bits=8, group=4, axis=-1)
    assert packed.scale.dtype == np.float32
    np.testing.assert_array_equal(dequantize(packed), dequantize(quantize(x.astype(np.float32), bits=8, group=4, axis=-1)))
    np.testing.assert_array_equal(probabilities(x), probabilities(x.astype(np.float64)))
    assert math.isclose(probabilities(x)[0].sum(), 1.0)
