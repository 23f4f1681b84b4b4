"""The kernel of LSH attention: which tokens share a bucket, what a token that sees only itself gets, and how hashes are merged."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.sparse import hashes, lsh


def test_a_bucket_is_the_direction_with_the_largest_product_and_of_equal_ones_the_first():
    sides = np.random.default_rng(0).integers(-2, 3, (500, 3)).astype(float)
    sides[7, 1] = np.nan
    np.testing.assert_array_equal(hashes.buckets_of(sides), np.argmax(np.concatenate((sides, -sides), axis=-1), axis=-1))


def test_runs_of_equal_numbers_end_where_they_change():
    first, last = hashes.ends_of_runs(np.array([0, 0, 2, 5, 5, 5]))
    np.testing.assert_array_equal(first, [0, 0, 2, 3, 3, 3])
    np.testing.assert_array_equal(last, [1, 1, 2, 5, 5, 5])


@pytest.mark.parametrize("count", [1, 3])
def test_a_token_that_is_alone_in_its_buckets_reads_itself_in_float32(count):
    # Its score is near -1e5, of which float32 keeps two digits behind the point: a log of the number of hashes would be lost.
    rng = np.random.default_rng(0)
    qk, v, d_out = 8 * np.eye(8, dtype=np.float32)[None], *(rng.standard_normal((1, 8, 4), np.float32) for _ in range(2))
    out, pull = vjp(lambda t: kernels.lsh_attention(qk, t, rotations=np.stack([np.eye(8, dtype=np.float32)] * count), chunk=4), v)
    np.testing.assert_allclose(out, v, rtol=1e-6)
    np.testing.assert_allclose(pull(d_out), d_out, rtol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chunk", [1, 13, 64, 100])
def test_chunks_of_any_length_are_those_of_the_definition(chunk, causal):
    rng = np.random.default_rng(chunk)
    arrays = rng.standard_normal((2, 150, 8)), rng.standard_normal((2, 150, 5))
    options = {"rotations": rng.standard_normal((2, 8, 2)), "chunk": chunk, "causal": causal}
    found = []
    for door in (definitions, kernels):
        out, pull = vjp(lambda t, door=door: door.lsh_attention(*t, **options), arrays)
        found.append((out, *pull(np.cos(np.arange(out.size)).reshape(out.shape))))
    for got, want in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("together", "shape", "chunk"), [(1 << 10, (11, 150), 13), (1 << 7, (2, 3, 90), 16),
                                                         (1, (1, 64), 5), (1 << 9, (1, 1), 3)])
def test_parts_of_a_text_are_that_of_the_definition_whatever_they_hold(monkeypatch, together, shape, chunk):
    monkeypatch.setattr(lsh, "TOGETHER", together)
    rng = np.random.default_rng(together)
    arrays = rng.standard_normal((*shape, 8)), rng.standard_normal((*shape, 5))
    arrays[0][..., -1, :] = 0
    options = {"rotations": rng.standard_normal((3, 8, 2)), "chunk": chunk, "causal": True}
    with np.errstate(divide="raise"):
        (got, pull), (want, pull_want) = (vjp(lambda t, door=door: door.lsh_attention(*t, **options), arrays)
                                          for door in (kernels, definitions))
    d_out = np.cos(np.arange(want.size)).reshape(want.shape)
    for mine, theirs in zip((got, *pull(d_out)), (want, *pull_want(d_out)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_keys_have_length_1_where_squares_leave_the_numbers_of_float32(size):
    rng = np.random.default_rng(0)
    qk, v = (rng.standard_normal((2, 40, 8)).astype(np.float32) for _ in range(2))
    options = {"rotations": rng.standard_normal((2, 8, 2)).astype(np.float32), "chunk": 16}
    (got, pull), (want, pull_want) = (vjp(lambda t, door=door: door.lsh_attention(t * np.float32(size), v, **options, scale=1 / size), qk)
                                      for door in (kernels, definitions))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pull(v), pull_want(v), rtol=1e-4, atol=1e-4)


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(0)
    arrays, found = tuple(rng.standard_normal((3, 3000, 32)).astype(np.float32) for _ in range(2)), []
    options = {"rotations": rng.standard_normal((2, 32, 32)).astype(np.float32), "chunk": 32}
    for count in (1, 2, 3):
        with kernels.threads(count):
            out, pull = vjp(lambda t: kernels.lsh_attention(*t, **options), arrays)
            found.append(b"".join(x.tobytes() for x in (out, *pull(out))))
    assert found[0] == found[1] == found[2]
