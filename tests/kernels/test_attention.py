"""The kernel is the definition: forward and backward, every option, every tile edge; threads and tiles are invisible."""

import sys

import numpy as np
import pytest

from tinyattn import definitions, fastest, kernels
from tinyattn.catalog import find
from tinyattn.engine import grad, vjp
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.tiles import storage
from tinyattn.laws import check
from tinyattn.laws.draw import ALL, draw_sizes, option
from tinyattn.laws.problem import Sizes, arrays
from tinyattn.ops import alibi, masks, relative, t5_buckets
from tinyattn.testing import assert_gradients_within_budget, assert_within_budget
from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.matrix import killed, laws_on

RNG = np.random.default_rng
EDGES = (1, 15, 16, 17, 63, 64, 65, 130)


def composed(seed, dtype="float64"):
    rng = RNG(seed)
    sizes = draw_sizes(rng, dtype=dtype)
    full = (*sizes.leading, sizes.heads, sizes.q_len, sizes.kv_len)
    options = {name: option(name, rng, sizes, full) for name in ALL if rng.random() < 0.4}
    return arrays(rng, sizes, **options)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(storage, "Q_TILE", 1)  # rounded up to one micro tile
    monkeypatch.setattr(storage, "KV_TILE", 1)


def gradients(f, p, seed):
    names = [n for n in ("bias", "sinks") if isinstance(p.options.get(n), np.ndarray)]
    tree = {"q": p.q, "k": p.k, "v": p.v, **{n: p.options[n] for n in names}}
    out, pullback = vjp(lambda t: p.but(**t).call(f), tree)
    rng = RNG(seed)
    d_out, d_lse = (rng.standard_normal(np.shape(x)).astype(x.dtype) for x in out)
    return out, pullback((d_out, np.where(np.isfinite(out[1]), d_lse, 0)))


@pytest.mark.parametrize("law", find("attention").laws, ids=lambda law: law.name)
def test_every_law_of_attention_holds_of_the_kernel(law):
    row = find("attention")
    report = check(law.fitted(row.fit), getattr(kernels, row.definition.__name__), honest=row.definition, rng=RNG(0), examples=6)
    assert report.holds, report.failing


@pytest.mark.parametrize("seed", range(40))
def test_composed_options_forward_and_backward(seed, small_tiles):
    p = composed(seed)
    want, d_want = gradients(definitions.attention_with_lse, p, seed)
    got, d_got = gradients(kernels.attention_with_lse, p, seed)
    for a, b in zip((*want, *d_want.values()), (*got, *d_got.values()), strict=True):
        np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("q_len", EDGES)
@pytest.mark.parametrize("kv_len", EDGES)
def test_tile_edges(q_len, kv_len):
    p = arrays(RNG(q_len * kv_len), Sizes((2,), 2, 2, q_len, kv_len, 5, 3), causal=True, window=(20, 0))
    d_out = RNG(1).standard_normal((2, 4, q_len, 3))
    want, pull = vjp(lambda t: p.but(**t).call(definitions.attention), {"q": p.q, "k": p.k, "v": p.v})
    got, pull_kernel = vjp(lambda t: p.but(**t).call(kernels.attention), {"q": p.q, "k": p.k, "v": p.v})
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    for a, b in zip(pull(d_out).values(), pull_kernel(d_out).values(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("q_len", [1, 3])
@pytest.mark.parametrize("kv_len", [128, 131, 1025, 2049])
@pytest.mark.parametrize("options", [{}, {"window": (100, 0)}, {"softcap": 2.0, "sinks": 1}, {"bias": 1, "mask": 1}, {"alibi": 1},
                                     {"pattern": 1}], ids=lambda o: "-".join(o) or "plain")
def test_decoding(q_len, kv_len, options):
    rng = RNG(kv_len)
    p = arrays(rng, Sizes((2,), 2, 4, q_len, kv_len, 64, 32), causal=True)
    made = {"sinks": rng.standard_normal(8), "bias": rng.standard_normal((8, q_len, kv_len)),
            "mask": rng.random((q_len, kv_len)) < 0.5, "alibi": alibi(np.linspace(0.01, 0.3, 8)), "pattern": masks.strided(3)}
    names = {"alibi": "bias", "pattern": "mask"}
    p = p.but(**{names.get(name, name): made.get(name, value) for name, value in options.items()})
    assert exact.few(storage.sizes_of(p.q, p.k, p.v))
    want, d_want = gradients(definitions.attention_with_lse, p, 0)
    got, d_got = gradients(kernels.attention_with_lse, p, 0)
    for a, b in zip((*want, *d_want.values()), (*got, *d_got.values()), strict=True):
        np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(6))
def test_within_the_measured_budget(seed, dtype):
    p = composed(seed, dtype)
    assert_within_budget(kernels.attention_with_lse, p, honest=definitions.attention_with_lse, rng=RNG(0))

    def backward(problem, d_out):
        _, pullback = vjp(lambda t: problem.but(**t).call(kernels.attention), {"q": problem.q, "k": problem.k, "v": problem.v})
        return pullback(d_out)

    d_out = RNG(seed).standard_normal((*p.q.shape[:-1], p.v.shape[-1])).astype(dtype)
    assert_gradients_within_budget(backward, p, d_out, honest=definitions.attention, rng=RNG(0))


def test_bits_are_the_same_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.tiles.threads"], "LEAST_WORK", 1)  # the package's attribute is the function
    p = arrays(RNG(0), Sizes((1,), 1, 4, 200, 200, 16, 16, dtype="float32"), causal=True)
    p = p.but(bias=RNG(1).standard_normal((200, 200)).astype(np.float32))

    def bits(number):
        with kernels.threads(number):
            out, slopes = gradients(kernels.attention_with_lse, p, 0)
        return [np.asarray(x).tobytes() for x in (*out, *slopes.values())]

    assert bits(1) == bits(2) == bits(5) == bits(64)


def test_a_bias_of_distances_has_a_gradient():
    p = arrays(RNG(0), Sizes((2,), 2, 2, 70, 90, 8, 8))
    slopes = np.linspace(0.1, 0.4, 4)

    def loss(slopes, f):
        return np.sum(np.sin(p.but(bias=alibi(slopes)).call(f)))

    np.testing.assert_allclose(grad(loss)(slopes, kernels.attention), grad(loss)(slopes, definitions.attention), rtol=1e-9)


def test_hidden_slots_may_hold_anything():
    p = arrays(RNG(0), Sizes((2,), 2, 2, 40, 70, 8, 8), mask=RNG(1).random((40, 70)) < 0.5)
    hidden = np.zeros(70, bool)
    hidden[[3, 69]] = True
    p = p.but(mask=p.options["mask"] & ~hidden)
    poisoned = p.but(k=np.where(hidden[:, None], np.nan, p.k), v=np.where(hidden[:, None], np.inf, p.v))
    for a, b in zip(gradients(kernels.attention_with_lse, p, 0), gradients(kernels.attention_with_lse, poisoned, 0), strict=True):
        for x, y in zip(*(z.values() if isinstance(z, dict) else z for z in (a, b)), strict=True):
            np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_a_visible_nan_comes_out_as_one():
    p = arrays(RNG(0), Sizes((1,), 1, 1, 4, 6, 4, 4))
    k = p.k.copy()
    k[0, 0, 2, 1] = np.nan
    assert np.isnan(p.but(k=k).call(kernels.attention)).all()


@pytest.mark.parametrize("twin", [t for t in MUSEUM if t.row == "attention" and t.cache is None], ids=lambda t: t.name)
def test_a_twin_is_killed_when_the_kernel_stands_under_it(twin):
    laws = {law.name: law for law in laws_on(twin)}
    assert any(killed(twin, laws[name], mechanism=kernels.attention) or killed(twin, laws[name], mechanism=kernels.attention_with_lse)
               for name in twin.killed_by)


def test_the_kernel_calls_no_definition_and_no_product_of_numpy(monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("called")

    for name in ("matmul", "dot", "einsum", "tensordot"):
        monkeypatch.setattr(np, name, forbidden)
    for name in definitions.__all__:
        monkeypatch.setattr(definitions, name, forbidden)
    p = composed(3)
    assert p.call(kernels.attention).shape == (*p.q.shape[:-1], p.v.shape[-1])


def test_refusals_are_the_definitions():
    q = np.ones((2, 4, 8))
    for options in ({"scale": np.nan}, {"softcap": 0.0}, {"mask": np.ones((4, 3), bool)}, {"mask": np.ones((4, 4))},
                    {"bias": np.ones((3, 4, 4))}, {"window": (-1, 0)}, {"sinks": np.ones(3)}, {"causal": 1}):
        said = []
        for f in (definitions.attention, kernels.attention):
            with pytest.raises((TypeError, ValueError)) as refusal:
                f(q, q, q, **options)
            said.append((refusal.type, str(refusal.value)))
        assert said[0] == said[1]


def test_half_precision_is_computed_in_single_and_returned_as_half():
    p = arrays(RNG(0), Sizes((2,), 2, 2, 40, 70, 8, 8, dtype="float16"), causal=True)
    want, d_want = gradients(definitions.attention_with_lse, p, 0)
    got, d_got = gradients(kernels.attention_with_lse, p, 0)
    assert [x.dtype for x in got] == [x.dtype for x in want] == [np.float16, np.float32]
    for a, b in zip((*want, *d_want.values()), (*got, *d_got.values()), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=2e-3, atol=2e-3)  # two units in the last place of half precision


@pytest.mark.parametrize("q_len", [1, 40])
def test_arrays_that_stand_oddly_in_memory(q_len):
    p = arrays(RNG(0), Sizes((2,), 2, 2, q_len, 260, 64, 32), causal=True)
    want = p.call(kernels.attention)

    def turned(x):
        other = np.ascontiguousarray(x.swapaxes(-3, -2)).swapaxes(-3, -2)
        other.setflags(write=False)
        return other

    for other in (turned, lambda x: np.repeat(x, 2, axis=-1)[..., ::2], lambda x: x[..., ::-1].copy()[..., ::-1], np.asfortranarray):
        np.testing.assert_array_equal(p.but(q=other(p.q), k=other(p.k), v=other(p.v)).call(kernels.attention), want)


@pytest.mark.parametrize("dim", [16, 20])
def test_gradients_are_arrays_of_their_own(dim):
    p = arrays(RNG(0), Sizes((2,), 2, 2, 49, 49, dim, dim), causal=True)
    given = {"q": p.q, "k": p.k, "v": p.v, "bias": RNG(1).standard_normal((49, 49))}
    out, pullback = vjp(lambda t: p.but(**t).call(kernels.attention), given)
    found = [*pullback(out).values(), *pullback(out).values()]
    assert all(x.flags.c_contiguous and x.flags.writeable for x in found)
    others = [*found, *given.values(), out]
    assert not any(np.shares_memory(x, y) for n, x in enumerate(found) for y in others[n + 1 :])


def test_more_queries_than_keys():
    p = arrays(RNG(0), Sizes((2,), 2, 2, 90, 70, 8, 8), causal=True)
    (want, lse), d_want = gradients(definitions.attention_with_lse, p, 0)
    (got, lse_of_kernel), d_got = gradients(kernels.attention_with_lse, p, 0)
    assert np.isneginf(lse[..., :20]).all()
    for a, b in zip((want, lse, *d_want.values()), (got, lse_of_kernel, *d_got.values()), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11)


def test_a_table_of_relative_biases_has_a_gradient():
    p = arrays(RNG(0), Sizes((2,), 2, 2, 70, 90, 8, 8))
    table = RNG(1).standard_normal((8, 4))

    def loss(table, f):
        bias = relative(table, lambda distance: t5_buckets(distance, buckets=8, max_distance=40, causal=False))
        return np.sum(np.sin(p.but(bias=bias).call(f)))

    np.testing.assert_allclose(grad(loss)(table, kernels.attention), grad(loss)(table, definitions.attention), rtol=1e-9)


def test_the_door_is_the_function_and_the_fastest_takes_it():
    import tinyattn.kernels.softmax.dot_product

    assert callable(tinyattn.kernels.attention)
    p = arrays(RNG(0), Sizes((1,), 2, 2, 64, 64, 16, 16), causal=True)
    np.testing.assert_array_equal(p.call(fastest.attention), p.call(kernels.attention))
