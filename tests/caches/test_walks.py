"""A decoding step through a cache makes few calls, and no cache class stands deep below another."""

import importlib.util
from pathlib import Path

import pytest

from tinyattn import caches
from tinyattn.caches.base import Base

_spec = importlib.util.spec_from_file_location("walks", Path(__file__).with_name("walks.py"))
walks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(walks)


@pytest.mark.parametrize(("name", "most"), [("RingCache", 45), ("RingCache, first kept", 50), ("RingCache, re-based", 115),
                                           ("QuantizedCache", 110), ("QuantizedCache, 4 bits", 110)])
@pytest.mark.parametrize("width", walks.WIDTHS.values(), ids=walks.WIDTHS)
def test_a_step_of_one_token_makes_few_calls(name, most, width):
    step = walks.last_step(name, width)
    cache = step.func.__self__
    assert 0 < len(walks.walk(step)) < most
    assert cache.length == walks.TOKENS + 1


def test_no_cache_is_more_than_three_classes_below_the_protocol():
    depths = {name: [kind for kind in getattr(caches, name).__mro__ if issubclass(kind, Base)] for name in caches.__all__
              if isinstance(getattr(caches, name), type)}
    assert max(map(len, depths.values())) == 3, depths
