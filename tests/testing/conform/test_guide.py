"""The guide to the kit: what it shows for other libraries compiles, and its runner notices another verdict than the guide's."""

from pathlib import Path

import pytest

from tests.peers.guide import judged, peers, promised

TEXT = (Path(__file__).parents[3] / "docs" / "guides" / "kernel.md").read_text()
BLOCK = """
from tinyattn.definitions import attention
from tinyattn.testing import conform
print(conform(lambda q, k, v: 0.0 * attention(q, k, v), gradients=False, supports=()))  # {word}
"""


def test_blocks_for_other_libraries_compile_and_promise_a_verdict():
    assert [name for name, _ in peers(TEXT)] == ["torch", "jax", "c", "pytest", "torch"]
    for name, block in peers(TEXT):
        compile(block, name, "exec")
        assert promised(block) == ["CONFORMS"] * block.count("print(conform("), name


def test_a_block_with_another_verdict_than_it_promises_fails():
    judged("mine", BLOCK.format(word="FAILS"))
    with pytest.raises(RuntimeError, match="promises .'CONFORMS'., and its verdicts are .'FAILS'."):
        judged("mine", BLOCK.format(word="CONFORMS"))
