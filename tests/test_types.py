"""What a type checker sees of the library from a user's file: array types, and refusals of arguments that there are not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARRAY = r"numpy\.ndarray\[Any, numpy\.dtype\[Any\]\]"
OWN = r"numpy\.ndarray\[tuple\[(?:Any, \.\.\.|int, int, int)\], numpy\.dtype\[.*\]\]"
HEAD = """\
import numpy as np
import tinyattn
from tinyattn import caches, definitions, kernels, layers, models, ops
q = np.ones((2, 3, 4))
def loss(q: np.ndarray, k: np.ndarray, *, causal: bool = False) -> float:
    return float(tinyattn.attention(q, k, k, causal=causal).sum())
def tree(weights: dict[str, np.ndarray]) -> tuple[float, int]:
    return float(weights["q"].sum()), 3
@tinyattn.primitive
def cube(x: np.ndarray) -> tuple[np.ndarray, int]:
    return x ** 3, 3
"""
# What the user's file does not ask for is skipped, which takes a third of the time.
CONFIG = """\
[mypy]
strict = True
follow_imports = silent
[mypy-numba.*,llvmlite.*,tinyattn.catalog.*,tinyattn.laws.*,tinyattn.plot,tinyattn.testing.*]
follow_imports = skip
"""
REVEALED = {
    "tinyattn.attention(q, q, q)": ARRAY,
    "tinyattn.definitions.attention(q, q, q)": ARRAY,
    "tinyattn.kernels.attention(q, q, q)": ARRAY,
    "kernels.attention(q, q, q)": ARRAY,
    "tinyattn.retention": r"def \(q: " + ARRAY + r", k: .*, \*, log_decay: " + ARRAY + r", .*\).*",
    "tinyattn.attention_with_lse(q, q, q)": rf"tuple\[{ARRAY}, {ARRAY}\]",
    "tinyattn.rotary(q, np.arange(3))": ARRAY,
    "ops.softmax(q)": ARRAY,
    "tinyattn.grad(loss)(q, q, causal=True)": OWN,
    "tinyattn.value_and_grad(loss)(q, q)": rf"tuple\[float, {OWN}\]",
    "tinyattn.value_and_grad(tree, has_aux=True)({'q': q})": rf"tuple\[tuple\[float, int\], dict\[str, {OWN}\]\]",
    "tinyattn.grad(lambda q: tinyattn.attention(q, q, q).sum())(q)": "Any",
    "tinyattn.vjp(tinyattn.attention, q, q, q, causal=True)[0]": ARRAY,
    "tinyattn.vjp(tinyattn.attention, q, q, q, causal=True)[1](q)": OWN,
    "cube(q)": OWN,
    "tinyattn.Tensor(q)": r"tinyattn\.engine\.tensor\.Tensor",
    "tinyattn.Tensor(q).value": r"numpy\.ndarray\[.*\]",
    "tinyattn.Tensor(q).grad": r"numpy\.ndarray\[.*\] \| None",
    "np.sum(tinyattn.Tensor(q))": "Any",
    "tinyattn.attention(tinyattn.Tensor(q), q, q)": ARRAY,
    "(2 * tinyattn.Tensor(q)).backward(q)": "Any",
    "caches.GrowingCache().step(q, q, q)": ARRAY,
    "tinyattn.caches.RingCache(3).view()": rf"tuple\[{ARRAY}, {ARRAY}, {ARRAY}\]",
    "layers.RMSNorm(q)(q)": ARRAY,
    "tinyattn.models.generate": r"def \(decoder: tinyattn\.models\.decoder\.Decoder, prompt: bytes, .*\) -> typing\.Iterator\[int\]",
    "tinyattn.ops.masks.causal() & ops.masks.first(3)": r"tinyattn\.ops\.masks\.pattern\.Pattern",
}
REFUSED = {
    "tinyattn.attention(q, q, q, casual=True)": 'Unexpected keyword argument "casual"',
    "tinyattn.definitions.attention(q, q, q, casual=True)": 'Unexpected keyword argument "casual"',
    "definitions.attention(q, q, q, casual=True)": 'Unexpected keyword argument "casual"',
    "tinyattn.kernels.attention(q, q, q, casual=True)": 'Unexpected keyword argument "casual"',
    "kernels.attention(q, q, q, casual=True)": 'Unexpected keyword argument "casual"',
    "tinyattn.grad(loss)(q, q, casual=True)": 'Unexpected keyword argument "casual"',
    "tinyattn.vjp(tinyattn.attention, q, q, q, casual=True)": 'Unexpected keyword argument "casual"',
    "tinyattn.attention(q, q, q, causal='yes')": 'Argument "causal" .*has incompatible type "str"',
    "tinyattn.attention(q, q)": '(Missing positional argument|Too few arguments)',
    "tinyattn.rotary(q)": "(Missing positional argument|Too few arguments)",
    "cube(y=q)": 'Unexpected keyword argument "y"',
    "tinyattn.atention": 'has no attribute "atention"',
    "caches.RingCache()": "Missing positional argument",
    "models.generate(q, b'', 3)": 'Argument 1 .* has incompatible type',
}
REFUSED |= {f"{door}.{name}(q, q, q, casual=True)": 'Unexpected keyword argument "casual"' for door in ("tinyattn", "definitions")
            for name in ("multi_head_attention", "multi_query_attention", "grouped_query_attention", "streaming_attention",
                         "qk_norm_attention", "softmax_off_by_one_attention")}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What mypy --strict says of each line of a user's file."""
    folder = tmp_path_factory.mktemp("user")
    lines = [*(f"reveal_type({text})" for text in REVEALED), *REFUSED]
    (folder / "mypy.ini").write_text(CONFIG)
    (folder / "user.py").write_text(HEAD + "\n".join(lines) + "\n")
    done = subprocess.run([sys.executable, "-m", "mypy", "--no-error-summary", "user.py"], cwd=folder,
                          env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True)
    found = {line: [] for line in [*HEAD.splitlines(), *lines]}
    for at, text in re.findall(r"^user\.py:(\d+): (.*)$", done.stdout, re.M):
        found[(HEAD.splitlines() + lines)[int(at) - 1]].append(text)
    assert not done.stderr
    return found


@pytest.mark.parametrize("expression", REVEALED)
def test_mypy_reveals(said, expression):
    notes = said[f"reveal_type({expression})"]
    assert len(notes) == 1
    assert re.fullmatch(rf'note: Revealed type is "{REVEALED[expression]}"', notes[0]), notes


@pytest.mark.parametrize("expression", REFUSED)
def test_mypy_refuses(said, expression):
    assert said[expression]
    assert re.match(f"error: .*{REFUSED[expression]}", said[expression][0]), said[expression]


@pytest.mark.parametrize("line", HEAD.splitlines())
def test_mypy_has_nothing_to_say_of_right_code(said, line):
    assert not said[line]
