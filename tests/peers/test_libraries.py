"""Attention written in libraries that have no attention of their own: outputs and gradients by their own reverse mode."""

import numpy as np
import pytest

from tinyattn.testing.conform import conform, judge

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]


def in_numpy_words(xp):
    def kernel(q, k, v, causal=False):
        groups = q.shape[-3] // k.shape[-3]
        k, v = xp.repeat(k, groups, axis=1), xp.repeat(v, groups, axis=1)  # autograd errs on the gradient for axis=-3
        scores = xp.matmul(q, xp.swapaxes(k, -1, -2)) * q.shape[-1] ** -0.5
        if causal:
            scores = xp.where(np.tri(q.shape[-2], k.shape[-2], k.shape[-2] - q.shape[-2], dtype=bool), scores, -1e30)
        exps = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        return xp.matmul(exps / xp.sum(exps, axis=-1, keepdims=True), v)
    return kernel


def in_tinygrad(tinygrad):
    def kernel(q, k, v):
        groups = q.shape[-3] // k.shape[-3]
        k, v = (x.repeat_interleave(groups, -3) for x in (k, v))
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v
    return kernel


@pytest.mark.parametrize(("arrays", "module", "make", "words"), [
    ("autograd", "autograd.numpy", in_numpy_words, {}), ("mygrad", "mygrad", in_numpy_words, {"dtype": "float64"}),
    ("tinygrad", "tinygrad", in_tinygrad, {})])
def test_its_arrays_and_its_gradients(monkeypatch, arrays, module, make, words):
    library, few = pytest.importorskip(module), arrays == "tinygrad"
    if few:
        try:
            library.Tensor([1.0]).numpy()
        except RuntimeError as error:
            pytest.skip(f"tinygrad: {error}; it needs clang")
    monkeypatch.setattr(judge, "PROBLEMS", 3 if few else 12)
    monkeypatch.setattr(judge, "GRADIENTS", 1 if few else 4)
    report = conform(make(library), arrays=arrays, dialect={"empty": "mean", **words}, supports=set() if few else {"causal"}, seconds=300)
    assert report.verdict == "CONFORMS", str(report)
    assert {"output", "gradients"} <= set(report.tested), str(report)


@pytest.mark.parametrize("like", ["attention", "retention"])
def test_an_output_on_a_device_without_numbers_is_said(like):
    torch = pytest.importorskip("torch")
    report = conform(lambda q, k, v, **options: torch.empty((*q.shape[:-1], v.shape[-1]), device="meta"), arrays="torch", like=like)
    assert "cannot be read" in report.findings[0].says
