"""Problems for caches, all of them causal."""

from __future__ import annotations

from typing import Any

from tinyattn.laws.draw.options import given, on
from tinyattn.laws.draw.sizes import even, fixed
from tinyattn.laws.draw.softmax import softmax
from tinyattn.laws.law import Draw


def causal(*names: str, **sizes: Any) -> Draw:
    """Returns the drawing of causal problems with these options, some of whose sizes are fixed."""
    return given(softmax(*names, fit=fixed(**sizes)), causal=True)


CAUSAL = causal("scale", "softcap", "sinks")
# Equal weights would be told apart by their rounding alone.
UNTIED = causal("scale", "softcap", "sinks", regime="plain", kv_heads=2, groups=2)
EVEN = on(causal("scale"), even)
ONE_BATCH, SCALED_BATCH = causal("scale", "softcap", "sinks", leading=(2,)), causal("scale", leading=(2,))
