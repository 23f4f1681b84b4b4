"""Tables of a comparison: 80 columns wide at most, no name broken, a line of explanation per column, and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 80
GAP = "  "
# Lines of a sample that are printed; the report has all of it.
SHOWN = 6

LEGEND = {
    "bits": "bits per byte of held text; fewer are better, (bigram) is to beat",
    "train/s": "bytes per second in training",
    "write/s": "bytes per second in writing through a cache, behind {behind}",
    "full/s": "the same without a cache: all of the text is read again for each byte",
    "B/token": "bytes that the caches of all layers hold, per byte of that text",
    "gap": "largest error of the cached logits; up to 1 is rounding alone",
}


def print_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a header, names to the left and numbers to the right; a row of one cell is a title of those below.

    Rows that would be wider than 80 columns are turned: each becomes a few lines, a column on each.
    """
    full = [row for row in rows if len(row) > 1]
    widths = [max(len(line[i]) for line in (header, *full)) for i in range(len(header))]
    if sum(widths) + len(GAP) * (len(widths) - 1) > WIDTH:
        for row in rows:
            print(row[0])
            for name, cell in zip(header[1:], row[1:], strict=False):
                if cell:
                    print(f"{GAP}{name:<{max(map(len, header))}}{GAP}{cell}")
        return
    for line in (header, ["-" * width for width in widths], *rows):
        print(GAP.join(cell.ljust(width) if i == 0 else cell.rjust(width)
                       for i, (cell, width) in enumerate(zip(line, widths, strict=False))).rstrip())


def print_legend(legend: Mapping[str, str]) -> None:
    """Prints what each column says, a line per column."""
    print()
    for name, says in legend.items():
        print(f"{name:<{max(map(len, legend))}}{GAP}{says}")


def measure(number: float) -> str:
    """Returns a number of budgets in few characters.

    >>> measure(0.2534), measure(12345678.0)
    ('0.25', '1.2e+07')
    """
    return f"{number:.2f}" if number < 1000 else f"{number:.1e}"


def visible(text: str) -> list[str]:
    r"""Returns the lines of a text, each cut where it would pass the right margin, with other signs than ASCII's as escapes.

    >>> visible("a\tb\nc")
    ['a\\tb', 'c']
    """
    room, lines = WIDTH - 2 * len(GAP), []
    for line in text.split("\n"):
        shown = "".join(sign if sign.isascii() and sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)
        lines += [shown[start : start + room] for start in range(0, max(len(shown), 1), room)]
    return lines


def print_text(report: dict[str, Any]) -> None:
    """Prints what was measured on text, and what each model wrote."""
    settings = report["settings"]
    rows = [[line["mechanism"], f"{line['bits_per_byte']:.3f}", f"{line['train_tokens_per_s']:,.0f}",
             f"{line['decode_cached_tokens_per_s']:,.0f}", f"{line['decode_uncached_tokens_per_s']:,.0f}",
             f"{line['cache_bytes_per_token']:,.0f}", measure(line["gap_budgets"])] for line in report["rows"]]
    rows.append(["(bigram)", f"{settings['bigram_bits_per_byte']:.3f}", "", "", "", "", ""])
    print_columns(["mechanism", *LEGEND], rows)
    print_legend({name: says.format(behind=f"{settings['behind']:,} bytes") for name, says in LEGEND.items()})
    if report["rows"]:
        print(f"\nSamples at temperature {settings['temperature']}, seed {settings['seed']}, behind this held text:")
        print_indented(settings["prompt"])
    for line in report["rows"]:
        print(f"\n{line['mechanism']} writes:")
        print_indented(line["sample"], SHOWN)


def print_indented(text: str, most: int | None = None) -> None:
    """Prints a text as lines that stand in from the margin, at most so many; blank lines are left out."""
    for line in [line for line in visible(text) if line.strip()][:most]:
        print(f"{2 * GAP}{line}".rstrip())
