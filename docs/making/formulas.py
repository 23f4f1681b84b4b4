"""Formulas of several statements, one statement per line, so that they fit on a phone."""

from __future__ import annotations

import re

# A formula, or a block of code, in which a formula is shown as it is written.
DISPLAYED = re.compile(r"^(`{3,}).*?^\1$|\$\$(.+?)\$\$", re.S | re.M)
PARTS = re.compile(r"\\(?:begin|left)\b|\\(?:end|right)\b|\\qquad|\\quad|\\.|[{}]|[^\\{}]+", re.S)


def statements(formula: str) -> list[str]:
    r"""Returns the statements of a formula: a wide space, or a space after a comma, ends one unless it stands inside of braces.

    >>> statements(r"a = b, \quad c = {d, \quad e} \qquad f")
    ['a = b,', 'c = {d, \\quad e}', 'f']
    """
    found, depth = [""], 0
    for part in PARTS.findall(formula):
        opens = part == "{" or part.startswith((r"\begin", r"\left"))
        depth += opens - (part == "}" or part.startswith((r"\end", r"\right")))
        if depth == 0 and (part == r"\qquad" or (part == r"\quad" and found[-1].rstrip().endswith(","))):
            found.append("")
        else:
            found[-1] += part
    return [line.strip() for line in found]


def broken(text: str) -> str:
    r"""Returns a page whose displayed formulas have one line per statement.

    >>> print(broken("$$a = b, \\qquad c = d$$"))
    $$& a = b, \\
    & c = d$$
    >>> print(broken("```\n$$a, \\qquad b$$\n```\n$$a = b$$"))
    ```
    $$a, \qquad b$$
    ```
    $$a = b$$
    """
    def lines(match: re.Match[str]) -> str:
        found = statements(match[2] or "")
        return match[0] if len(found) == 1 else "$$" + " \\\\\n".join(f"& {line}" for line in found) + "$$"

    return DISPLAYED.sub(lines, text)
