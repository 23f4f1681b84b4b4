"""Every form of softmax attention, by a name for the test's report."""

from functools import partial

import numpy as np

from tinyattn import definitions, fastest

FORMS = {
    "attention": definitions.attention, "with_lse": lambda *a, **o: definitions.attention_with_lse(*a, **o)[0],
    "weights": lambda q, k, v, **o: definitions.attention_weights(q, k, **o) @ np.repeat(v, q.shape[-3] // max(v.shape[-3], 1), -3),
    "streaming": definitions.streaming_attention, "streaming 1": partial(definitions.streaming_attention, block=1),
    "streaming 3": partial(definitions.streaming_attention, block=3), "grouped": definitions.grouped_query_attention,
    "fastest": fastest.attention,
}
EPS = np.finfo(np.float64).eps
