"""Bad inputs that several mechanisms refuse."""

from __future__ import annotations

import numpy as np

from tinyattn.catalog.row import BadInput

MASK = BadInput({"mask": np.ones((3, 3), np.int64)}, TypeError, ("mask", "int64"))
WINDOW = BadInput({"window": (-1, 0)}, ValueError, ("window", "(-1, 0)"))
SCALE = BadInput({"scale": float("nan")}, ValueError, ("scale", "nan"))
SOFTCAP = BadInput({"softcap": 0.0}, ValueError, ("softcap", "0.0"))
SINKS = BadInput({"sinks": np.ones(99)}, ValueError, ("sinks", "(99,)"))
WITHOUT_SINKS = (MASK, WINDOW, SCALE, SOFTCAP)
SOFTMAX = (*WITHOUT_SINKS, SINKS)
STATE = BadInput({"initial_state": np.ones(1), "normalize": True}, TypeError, ("initial_state", "pair"))
GROWING_DECAY = BadInput({"log_decay": np.array(1.0)}, ValueError, ("log_decay",))
BETA = BadInput({"beta": np.ones((1, 1))}, ValueError, ("beta", "(1, 1)"))
GRID = BadInput({"grid": (97,)}, ValueError, ("grid", "(97,)"))
BLOCK = BadInput({"block": 0}, ValueError, ("block", "0"))
CAUSAL = BadInput({"causal": True}, TypeError, ("causal",))
FEWER_KEYS = BadInput({"k": np.ones((1, 2, 3, 4)), "v": np.ones((1, 2, 3, 3))}, ValueError, ("q_len <= kv_len", "(1, 2, 3, 4)"))
