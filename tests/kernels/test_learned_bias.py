"""The gradient of a learned bias: right however the bias is repeated, the same bits for any threads, and one copy where none is shared."""

import numpy as np
import pytest

from tests.kernels.peak import peak_of
from tests.kernels.slopes import close
from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.exact.tasks import TASKS, shares_of
from tinyattn.kernels.tiles.storage import sizes_of

FULL = (2, 3, 4, 70, 130)
SHAPES = [FULL, FULL[1:], FULL[2:], FULL[3:], (2, 1, 4, 70, 130), (2, 3, 1, 70, 130), (3, 1, 70, 130), (4, 1, 130), (4, 70, 1), (1, 1), (130,)]
ONE_COPY = {FULL: (1, 12), FULL[1:]: (2, 12), FULL[2:]: (4, 8), SHAPES[4]: (4, 8)}


def drawn(shape, dtype=np.float64):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((*FULL[:2], *tail)).astype(dtype) for tail in ((4, 70, 8), (2, 130, 8), (2, 130, 8)))
    return {"q": q, "k": k, "v": v, "bias": rng.standard_normal(shape).astype(dtype)}


def slopes(f, given, **options):
    """The output and the gradients of all arrays."""
    out, pull = vjp(lambda tree: f(**tree, **options), given)
    return out, *pull(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype)).values()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_is_that_of_the_definition(shape, kv_heads):
    given = drawn(shape)
    given |= {name: np.repeat(given[name], 2, axis=-3)[..., :kv_heads, :, :] for name in "kv"}
    close(slopes(kernels.attention, given, causal=True), slopes(definitions.attention, given, causal=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_threads_change_no_bit(shape):
    found = []
    for threads in (1, 3):
        with kernels.threads(threads):
            found.append(slopes(kernels.attention, drawn(shape, np.float32)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_bias_that_no_heads_share_needs_one_copy(shape):
    given = drawn(shape)
    shares = shares_of(sizes_of(*(given[name] for name in "qkv")), 1, adds=False, bias=shape, full=FULL)
    assert shares == ((*ONE_COPY[shape], 1) if shape in ONE_COPY else (1, TASKS, TASKS))


@pytest.mark.parametrize("shape", [(2, 4, 512, 512), (4, 512, 512)], ids=["per text", "for all texts"])
def test_no_copies_of_the_scores_are_held(shape):
    rng = np.random.default_rng(0)
    q = rng.standard_normal((2, 4, 512, 8), np.float32)
    given = {"q": q, "k": q, "v": q, "bias": rng.standard_normal(shape).astype(np.float32)}
    few = {name: x[..., :100, :100] for name, x in given.items()}
    slopes(kernels.attention, few)  # what is compiled does not count
    peak, _ = peak_of(lambda: slopes(kernels.attention, given))
    bias = given["bias"].nbytes
    # The bias as it is recorded and its gradient.
    assert peak <= 3 * bias + 20 * q.nbytes, f"{peak / bias:.2f} times the bias"
