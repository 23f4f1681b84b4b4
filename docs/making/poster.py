"""The picture of the README and of the front page: a mechanism, its law and its speed; `python docs/making/poster.py` writes it."""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "docs" / "_static" / "live"), str(ROOT / "docs"), str(ROOT)]

import live  # noqa: E402

from tinyattn import definitions  # noqa: E402
from tinyattn.catalog import find  # noqa: E402
from tinyattn.laws import check  # noqa: E402
from tinyattn.ops import merge  # noqa: E402

WORDS = "the cat sat on the mat because the cat was tired".split()
LAW, CUT = "parts_merge_to_the_whole", 6
# The colours of text, faint text, first part, second part and background, in light and in dark mode.
COLOURS = {"page": ("currentColor", "var(--color-foreground-secondary)", "#2e7abf", "#e0661a", "none"),
           "light": ("#1b1f24", "#57606a", "#1f6fb5", "#c4541a", "#ffffff"),
           "dark": ("#e6e8eb", "#9aa4b0", "#5aa7ee", "#f08a4b", "#131416")}


def measured(readme: str) -> dict[str, float]:
    r"""Returns the milliseconds of the bars: those of the first row of the README's table of speed.

    >>> measured("| case | tinyattn | beside it | times |\n|---|---|---|---|\n| one | 2 ms | PyTorch 3.5 ms, NumPy 7 ms | 1.75 |")
    {'tinyattn': 2.0, 'PyTorch': 3.5, 'NumPy': 7.0}
    """
    ours, beside = re.findall(r"^\| case \|.*\n\|[-|]+\n\|[^|]*\| ([\d.]+) ms \| ([^|]*) \|", readme, re.M)[0]
    return {"tinyattn": float(ours)} | {name: float(ms) for name, ms in re.findall(r"(\w+) ([\d.]+) ms", beside)}


def weights() -> tuple[np.ndarray, float]:
    """Returns the weights of one head of causal attention on the words, and how far two merged parts are from the whole."""
    p, _ = live.example(find("attention"), WORDS, heads=1, shared=1)
    parts = [definitions.attention_with_lse(p.q, p.k, p.v, mask=seen) for seen in halves()]
    whole = definitions.attention(p.q, p.k, p.v, causal=True)
    return live.mixing(definitions.attention, p)[0], float(np.abs(merge(*parts)[0] - whole).max())


def halves() -> tuple[np.ndarray, np.ndarray]:
    """Returns the causal mask of the first keys and of the others."""
    seen, first = np.tri(len(WORDS), dtype=bool), np.arange(len(WORDS)) < CUT
    return seen & first, seen & ~first


def text(x: float, y: float, said: str, size: int, colour: str, *, anchor: str = "start", family: str = "sans-serif",
         weight: int = 400) -> str:
    """Returns a line of text."""
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-family="{family}" '
            f'font-weight="{weight}">{html.escape(said)}</text>')


def cells(matrix: np.ndarray, x: float, y: float, side: int, colours: tuple[str, str], line: str) -> str:
    """Returns a matrix as squares, the keys of the first part in one colour and the others in another; 0 is blank."""
    height, width = matrix.shape
    drawn = [f'<rect x="{x + j * side:g}" y="{y + i * side:g}" width="{side}" height="{side}" fill="{colours[j >= CUT]}" '
             f'fill-opacity="{0.25 + 0.75 * w:.2f}"/>' for (i, j), w in np.ndenumerate(matrix) if w]
    return "".join(drawn) + (f'<rect x="{x:g}" y="{y:g}" width="{width * side}" height="{height * side}" fill="none" '
                             f'stroke="{line}" stroke-opacity="0.6"/>')


def drawn(mode: str, times: dict[str, float]) -> str:
    """Returns the three panels side by side, without the frame of an SVG."""
    ink, faint, blue, orange, _ = COLOURS[mode]
    matrix, error = weights()
    report = check(next(law for law in find("attention_with_lse").laws if law.name == LAW), definitions.attention_with_lse,
                   honest=definitions.attention_with_lse, rng=np.random.default_rng(0), examples=20)
    first, rest = halves()

    def lines(x: float, y: float, said: str, colour: str = faint) -> list[str]:
        return [text(x, y + 17 * at, line, 13, colour) for at, line in enumerate(said.split("\n"))]

    def part(x: float, seen: np.ndarray) -> str:
        return cells(matrix * seen, x, 62, 8, (blue, orange), faint)

    titles = ((24, "a definition that you can read"), (336, "a law that it obeys"), (690, "a kernel that is fast"))
    head = [text(x, 26, title, 17, ink, weight=600) for x, title in titles]
    labels = [text(94, 60 + 15 * i, word, 12, ink, anchor="end", family="monospace") for i, word in enumerate(WORDS)]
    mechanism = [*labels, cells(matrix, 100, 49, 15, (blue, blue), faint),
                 *lines(24, 236, "each word averages its own value and those\nof the words before it, by these weights")]
    law = [part(336, first), text(435, 112, "+", 22, ink, anchor="middle"), part(446, rest),
           text(545, 112, "=", 22, ink, anchor="middle"), part(556, first | rest),
           *lines(336, 180, "Attention to some keys, merged with\nattention to the others, is attention to all.", ink),
           *lines(336, 219, f"Here the two differ by {error:.0e}; on 20 drawn problems\n"
                  f"by at most {report.worst:.2f} of the error budget, which is\nmeasured on each of them.")]
    most = max(times.values())
    speed = lines(690, 219, "Exact causal attention, forward and backward,\n"
                  "8 heads of width 64, 2,048 tokens, float32,\nCPU time on one core")
    for at, (name, ms) in enumerate(sorted(times.items(), key=lambda pair: pair[1])):
        y, mine = 62 + 46 * at, name == "tinyattn"
        speed += [text(690, y, f"{name}: {ms:g} ms", 14, ink, weight=600 if mine else 400),
                  f'<rect x="690" y="{y + 7}" width="{250 * ms / most:.1f}" height="14" fill="{blue if mine else faint}"/>']
    return "".join(head + mechanism + law + speed)


def described(times: dict[str, float]) -> list[str]:
    """Returns what each panel shows, for readers who do not see it."""
    return ["The weights of causal attention between eleven words.",
            "Attention to some keys, merged with attention to the others, is attention to all.",
            "CPU time of the same call: " + ", ".join(f"{name} {ms:g} ms" for name, ms in times.items()) + "."]


def framed(inside: str, left: int, width: int, said: str, *, css: str = "", back: str = "none") -> str:
    """Returns a part of the drawing as an SVG."""
    return (f'<svg xmlns="http://www.w3.org/2000/svg"{css} viewBox="{left} 0 {width} 270" width="{width}" height="270" role="img" '
            f'aria-label="{said}"><title>{said}</title><rect x="{left}" width="{width}" height="270" fill="{back}"/>{inside}</svg>')


def svg(mode: str, times: dict[str, float]) -> str:
    """Returns the picture in one mode."""
    return framed(drawn(mode, times), 0, 1000, " ".join(described(times)), back=COLOURS[mode][-1]) + "\n"


def panels(times: dict[str, float]) -> str:
    """Returns the picture as three, in the colours of the page, which stand below each other where the screen is narrow."""
    inside = drawn("page", times)
    parts = zip((10, 322, 676), (300, 340, 300), described(times), strict=True)
    drawings = [framed(inside, left, width, said, css=' class="figure"') for left, width, said in parts]
    return f'<div class="poster">{"".join(drawings)}</div>'


if __name__ == "__main__":
    bars = measured((ROOT / "README.md").read_text())
    for name in ("light", "dark"):
        (ROOT / "docs" / "_static" / f"poster-{name}.svg").write_text(svg(name, bars))
