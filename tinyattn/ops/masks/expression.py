"""A small language for patterns, `causal & (window(3, 0) | first(2))`: parsed, never evaluated as Python."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable
from typing import Any

from tinyattn.ops.masks import constructors
from tinyattn.ops.masks.batched import documents, padding
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.masks.published import fixed, look_back, shifted_blocks

LONGEST = 1000
NAMES: dict[str, Callable[..., Pattern]] = {
    name: getattr(constructors, name)
    for name in ("causal", "causal_top_left", "window", "sliding_window", "first", "prefix", "strided", "dilated",
                 "block_local", "global_tokens", "random_blocks")} | {
    "documents": documents, "padding": padding, "fixed": fixed, "look_back": look_back, "shifted_blocks": shifted_blocks}


def parse(text: str) -> Pattern:
    """Returns the pattern that an expression describes. `&` binds tighter than `|`, and `causal` means `causal()`.

    Raises:
        ValueError: the text is not an expression for a pattern; the error names the piece, and suggests the nearest names.

    >>> parse("causal & (window(3, 0) | first(2))")
    causal() & (window(3, 0) | first(2))
    """
    if not isinstance(text, str):
        raise TypeError(f"text: expected a str, got {type(text).__name__}")
    if not text.strip():
        raise ValueError("text: cannot read an empty pattern; expected one such as causal & window(3, 0)")
    if len(text) > LONGEST:
        raise ValueError(f"pattern: expected at most {LONGEST} characters, got {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return build(tree, text)
    except SyntaxError as error:
        raise ValueError(f"pattern: cannot read {text!r} at column {error.offset}: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ValueError("pattern: nested too deeply to be a pattern") from None


def build(node: ast.expr, text: str) -> Pattern:
    """Returns the pattern of one node of the syntax tree."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        return build(node.left, text) & build(node.right, text)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return build(node.left, text) | build(node.right, text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return ~build(node.operand, text)
    if isinstance(node, ast.Name):
        return make(node.id, [], {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and all(k.arg for k in node.keywords):
        options = {str(keyword.arg): literal(keyword.value, text) for keyword in node.keywords}
        return make(node.func.id, [literal(argument, text) for argument in node.args], options)
    raise ValueError(f"pattern: {ast.get_source_segment(text.strip(), node)!r} is not a pattern; "
                     f"write {', '.join(sorted(NAMES))} joined by & | ~")


def literal(node: ast.expr, text: str) -> Any:
    """Returns the value of an int, of None, or of a list of them."""
    if isinstance(node, ast.Constant) and (node.value is None or type(node.value) is int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -literal(node.operand, text)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [literal(item, text) for item in node.elts]
    raise ValueError(f"pattern: expected an int, None or a list of them, got "
                     f"{ast.get_source_segment(text.strip(), node)!r}")


def make(name: str, arguments: list[Any], options: dict[str, Any]) -> Pattern:
    """Returns the pattern of a call; raises ValueError that names what is wrong with the call."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(NAMES))}"
        raise ValueError(f"pattern: unknown name {name!r}; {hint}")
    try:
        return NAMES[name](*arguments, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"pattern: {name}: {error}") from None
