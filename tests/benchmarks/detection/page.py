"""The results page: tables between markers are written anew, the prose around them stays."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "detection.md"


def table(head, rows) -> str:
    """A table of Markdown, padded so that it reads as text too."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def put(page: str, name: str, text: str) -> str:
    """Return the page with what stands between the markers of `name` replaced."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    changed, count = pattern.subn(lambda m: f"{m[1]}\n{text}\n{m[2]}", page)
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} places for {name!r}, not one")
    return changed
