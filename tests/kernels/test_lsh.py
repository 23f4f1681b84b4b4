"""The kernel of LSH attention: which tokens share a bucket, what a token that sees only itself gets, and how hashes are merged."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.sparse import lsh


def test_a_bucket_is_the_direction_with_the_largest_product_and_of_equal_ones_the_first():
    sides = np.random.default_rng(0).integers(-2, 3, (500, 3)).astype(float)
    sides[7, 1] = np.nan
    np.testing.assert_array_equal(lsh.buckets_of(sides), np.argmax(np.concatenate((sides, -sides), axis=-1), axis=-1))


def test_runs_of_equal_numbers_end_where_they_change():
    first, last = lsh.ends_of_runs(np.array([0, 0, 2, 5, 5, 5]))
    np.testing.assert_array_equal(first, [0, 0, 2, 3, 3, 3])
    np.testing.assert_array_equal(last, [1, 1, 2, 5, 5, 5])


@pytest.mark.parametrize("hashes", [1, 3])
def test_a_token_that_is_alone_in_its_buckets_reads_itself_in_float32(hashes):
    # Its score is near -1e5, of which float32 keeps two digits behind the point: a log of the number of hashes would be lost.
    rng = np.random.default_rng(0)
    qk, v, d_out = 8 * np.eye(8, dtype=np.float32)[None], *(rng.standard_normal((1, 8, 4), np.float32) for _ in range(2))
    out, pull = vjp(lambda t: kernels.lsh_attention(qk, t, rotations=np.stack([np.eye(8, dtype=np.float32)] * hashes), chunk=4), v)
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
