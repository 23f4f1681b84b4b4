"""How the fastest forms are called, at a size of the kernel; the definitions are the reference."""

from functools import partial
from types import SimpleNamespace

from door import Door
from samples_kernels import OPTIONS, attention

from tinyattn import definitions, fastest

NAMES = ("attention", "attention_with_lse", "grouped_query_attention", "multi_head_attention", "multi_query_attention", "streaming_attention")
MODULE = SimpleNamespace(__all__=NAMES, **{name: getattr(fastest, name) for name in NAMES})


def arguments(kv_heads):
    """Arguments with so many kv heads."""
    made = attention(24, 40)
    index = {1: [0], 2: [0, 1], 4: [0, 0, 1, 1]}[kv_heads]
    return made | {"k": made["k"][:, index], "v": made["v"][:, index]}


KV_HEADS = {"multi_head_attention": 4, "multi_query_attention": 1}
DOORS = {name: Door(partial(arguments, KV_HEADS.get(name, 2)), reference=getattr(definitions, name), optional=OPTIONS) for name in NAMES}
