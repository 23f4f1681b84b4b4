"""Second forms are second: they share no piece with the first, loop where they may, and repeat no head."""

import ast
import inspect
import tracemalloc

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.definitions.softmax import dot_product, streaming

SHARED = {"tinyattn.ops.heads", "tinyattn.ops.signature", "tinyattn.ops.types", "tinyattn.ops.masks.pattern", "tinyattn.ops.bias"}


def pieces(module):
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tinyattn") and node.module not in SHARED:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_streaming_shares_checks_alone_with_attention():
    shared = pieces(dot_product) & pieces(streaming)
    assert {name.split(".")[-1] for name in shared} == {"Score", "Window", "check_sinks"}


def calls(function):
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(inspect.getsource(inspect.unwrap(function))))
            if isinstance(node, ast.Call)}


def loops(function):
    return [ast.unparse(node.iter) for node in ast.walk(ast.parse(inspect.getsource(inspect.unwrap(function))))
            if isinstance(node, (ast.For, ast.While))]


def test_the_linear_forms_loop_where_they_may():
    assert not loops(definitions.linear_attention_parallel)
    assert ["chunk" in over for over in loops(definitions.linear_attention_chunked)] == [True]
    assert len(loops(definitions.linear_attention_recurrent)) == 1


@pytest.mark.parametrize("form", [definitions.attention, definitions.grouped_query_attention,
                                  definitions.multi_query_attention, definitions.streaming_attention])
def test_grouped_heads_never_exist_repeated(form):
    q, k, v = np.ones((16, 1, 256)), np.ones((1, 2000, 256)), np.ones((1, 2000, 256))
    form(q, k, v)
    tracemalloc.start()
    form(q, k, v)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * k.nbytes < 16 * k.nbytes  # a repetition would be 16 times the keys


def test_streaming_never_holds_the_square():
    x = np.ones((1, 3000, 8))
    tracemalloc.start()
    definitions.streaming_attention(x, x, x, causal=True, block=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 3000 * 8 / 5
