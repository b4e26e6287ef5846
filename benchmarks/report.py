"""The page of all benchmarks: docs/benchmarks.md, made of what each of them has measured last.

Each benchmark publishes its row: lines for the table at the top, its own table, and bars. With
QUICK=1 it only tries itself, and the page stays as it is.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, DATA, PICTURES = DOCS / "benchmarks.md", DOCS / "benchmarks.json", DOCS / "benchmarks"
#: Whether a benchmark is only to be tried: few repeats, small sizes, nothing written.
IS_QUICK = os.environ.get("QUICK") == "1"
#: What the page says around the tables.
TEMPLATE = Path(__file__).with_name("report.md")
ROWS = tuple(f"B{number}" for number in range(1, 14))


@dataclass(frozen=True)
class Line:
    """A line of the table at the top."""

    what: str
    ours: str
    beside: str
    goal: str


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median of values, and the least and the most."""
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def seconds(act: Callable[[], object], repeats: int) -> list[float]:
    """Return what each of some repeats takes, after one that is not counted."""
    act()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        act()
        taken.append(time.perf_counter() - begun)
    return taken


def publish(
    row: str, lines: Sequence[Line], table: Sequence[str], bars: Mapping[str, float], unit: str
) -> None:
    """Print a row's table, and put it into the page, with its bars as a picture."""
    print("\n".join(table), flush=True)
    if IS_QUICK:
        print(f"{row} was only tried (QUICK=1): too briefly for figures that compare.", flush=True)
        return
    known = json.loads(DATA.read_text()) if DATA.exists() else {}
    known[row] = {"lines": [asdict(line) for line in lines], "table": list(table)}
    DATA.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    _draw(row, bars, unit)
    PAGE.write_text(_page(known))


def _page(known: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| # | what | ours | beside | goal |", "|---|---|---|---|---|"]
    parts = {}
    for row in ROWS:
        measured = known.get(row, {"lines": [], "table": ["Not measured yet."]})
        for each in measured["lines"]:
            line = Line(**each)
            lines.append(f"| {row} | {line.what} | {line.ours} | {line.beside} | {line.goal} |")
        picture = f"![{row}](benchmarks/{row}.svg)\n\n" if row in known else ""
        parts[row] = picture + "\n".join(measured["table"])
    return TEMPLATE.read_text().format(lines="\n".join(lines), **parts)


def _draw(row: str, bars: Mapping[str, float], unit: str) -> None:
    """Draw bars, ours in another color."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = row
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.35 * len(bars)))
    colors = ["#2563eb" if name.startswith("Chronos") else "#9ca3af" for name in bars]
    drawn = axes.barh(list(bars), list(bars.values()), color=colors)
    written = [f"{each:,.0f}" if each >= 100 else f"{each:.2f}" for each in bars.values()]
    axes.bar_label(drawn, written, padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / f"{row}.svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
