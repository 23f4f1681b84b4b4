"""Cross-entropy with an ignored target: what does not count, and what is refused."""

import ml_dtypes
import numpy as np
import pytest

from tinyattn import ops
from tinyattn.engine import grad
from tinyattn.engine.check import directional

LOGITS = np.random.default_rng(0).standard_normal((2, 3, 5))


def test_ignored_targets_count_neither_in_the_sum_nor_in_the_mean():
    targets = np.array([[1, -100, 4], [-100, 0, 2]])
    counted = targets != -100
    want = ops.cross_entropy(LOGITS[counted], targets[counted])
    assert ops.cross_entropy(LOGITS, targets, ignore=-100) == want
    assert ops.cross_entropy(LOGITS, np.where(counted, targets, 3), ignore=None) != want
    padded = np.where(counted[..., None], LOGITS, np.nan)  # what stands in ignored places does not matter
    assert ops.cross_entropy(padded, targets, ignore=-100) == want
    g = grad(lambda t: ops.cross_entropy(t, targets, ignore=-100))(padded)
    np.testing.assert_array_equal(g[~counted], 0.0)
    a, b = directional(lambda t: ops.cross_entropy(t, targets, ignore=-100), LOGITS, np.random.default_rng(1))
    assert abs(a - b) < 1e-8


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_an_ignored_token_of_the_vocabulary_and_small_integers(dtype):
    targets = np.array([[1, 0, 4], [3, 0, 2]], dtype)
    keep = targets != 0
    assert ops.cross_entropy(LOGITS, targets, ignore=0) == ops.cross_entropy(LOGITS[keep], targets[keep])
    assert ops.cross_entropy(LOGITS, targets, ignore=-100) == ops.cross_entropy(LOGITS, targets)
    assert ops.cross_entropy(LOGITS, targets, ignore=np.int64(300)) == ops.cross_entropy(LOGITS, targets)


def test_what_is_refused():
    targets = np.array([[1, -100, 4], [-100, 0, 9]])
    with pytest.raises(IndexError, match="targets: expected 0 to 4, got 0 to 9"):
        ops.cross_entropy(LOGITS, targets, ignore=-100)
    with pytest.raises(IndexError, match="targets: expected 0 to 4, got -100 to 9"):
        ops.cross_entropy(LOGITS, targets)
    with pytest.raises(ValueError, match="targets: all of them equal the ignored -100"):
        ops.cross_entropy(LOGITS, np.full((2, 3), -100), ignore=-100)
    for ignore in (True, 1.5, "pad", [0]):
        with pytest.raises(TypeError, match="ignore: expected an int"):
            ops.cross_entropy(LOGITS, np.zeros((2, 3), int), ignore=ignore)
    for logits in ([[0.0, 1.0]], np.ones((1, 2), int), np.ones((1, 2), complex)):
        with pytest.raises(TypeError, match="logits: expected a float16"):
            ops.cross_entropy(logits, np.zeros(1, int))
    with pytest.raises(ValueError, match="logits: expected"):
        ops.cross_entropy(np.array(1.0), np.array(0))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = np.zeros((2, 70_000), dtype)  # their exponentials add up to 70,000, which float16 does not hold
    loss = ops.cross_entropy(logits, np.array([0, 69_999]))
    assert loss.dtype == dtype
    assert loss == np.asarray(np.log(70_000.0), dtype)
    g = grad(lambda t: ops.cross_entropy(t, np.array([0, 69_999])))(logits)
    assert g.dtype == dtype
    assert g[0, 0] == np.asarray((1 / 70_000 - 1) / 2, dtype)
