"""A library of which nothing is known but DLPack."""

import sys
import types

import numpy as np
import pytest

from tinyattn.definitions import attention
from tinyattn.testing.conform import conform, judge


class Held:
    """An array that can be handed over, and nothing else."""

    def __init__(self, x):
        self.held = np.array(x)

    def __dlpack__(self, **options):
        return self.held.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.held.__dlpack_device__()


def mine(q, k, v, mask=None, causal=False):
    q, k, v = (np.from_dlpack(x) for x in (q, k, v))
    return Held(attention(q, k, v, causal=causal, mask=mask if mask is None else np.from_dlpack(mask)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_arrays_travel_by_dlpack_alone(monkeypatch, dtype):
    library = types.ModuleType("only_dlpack")
    library.from_dlpack = lambda x: Held(np.from_dlpack(x))
    monkeypatch.setitem(sys.modules, "only_dlpack", library)
    monkeypatch.setattr(judge, "PROBLEMS", 4)
    report = conform(mine, arrays="only_dlpack", dtype=dtype)
    assert report.verdict == "CONFORMS", str(report)
    assert {"mask", "causal", "output"} <= set(report.tested)
    assert "no reverse mode" in dict(report.untested)["gradients"]


def test_a_library_without_dlpack_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "no_dlpack", types.ModuleType("no_dlpack"))
    with pytest.raises(ValueError, match="no from_dlpack"):
        conform(mine, arrays="no_dlpack")
