"""Draws bench/results/comparison.svg, and copies tables of results.md into two documents.

The documents are README.md and docs/performance.md. The figure has no background and uses
mid-tone colors, so that it is readable on light and on dark pages.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]

# A document has the results between these two comments.
START = "<!-- results of make bench -->\n"
END = "<!-- end of the results -->\n"

TEXT = "#808080"
OTHERS = "#8da0b5"
THIS = "#e07b39"


def start_up(figures: dict[str, Any]) -> float:
    return figures["init"]["median"] + figures["first"]["median"]


PANELS = [
    ("Start-up: from the start of the\nprocess to its first answer, ms", start_up),
    ("A warm create, ms", lambda it: it["warm"]["median"]),
    ("Cost: processor time of a\ncold start, ms", lambda it: it["cold_cpu"]["median"]),
]


def draw(axes: Axes, title: str, values: dict[str, float]) -> None:
    colors = [THIS if name == "this project" else OTHERS for name in values]
    bars = axes.barh(list(values), list(values.values()), color=colors, height=0.7)
    axes.bar_label(bars, [f" {value:.3g}" for value in values.values()], color=TEXT, fontsize=9)
    # Leave room for the values to the right of the bars.
    axes.set_xlim(0, max(values.values()) * 1.25)
    axes.set_title(title, color=TEXT, fontsize=10)
    axes.invert_yaxis()
    axes.tick_params(colors=TEXT, labelsize=9, length=0)
    axes.tick_params(axis="x", which="both", labelbottom=False, bottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def put_into(document: Path, text: str) -> None:
    before, rest = document.read_text().split(START)
    _, after = rest.split(END)
    document.write_text(before + START + text + END + after)


def main() -> None:
    tables = (RESULTS / "results.md").read_text()
    put_into(ROOT / "docs" / "performance.md", tables)
    # The first block has the figures of a create at full speed, and the last block names the date
    # and the machine of the measurement.
    blocks = tables.strip().split("\n\n")
    put_into(ROOT / "README.md", f"{blocks[0]}\n\n{blocks[-1]}\n")
    # Labels are text in the SVG file, not curves. With a fixed salt, the same results give the same
    # ids of SVG elements, so the file changes only if the results change.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "users-api"})
    results = json.loads((RESULTS / "results.json").read_text())
    [create] = [
        comparison["figures"]
        for comparison in results["comparisons"]
        if comparison["operation"] == "create" and comparison["quota"] is None
    ]
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    figure.patch.set_alpha(0)
    for axes, (title, figure_of) in zip(
        figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True
    ):
        axes.patch.set_alpha(0)
        draw(axes, title, {it["name"]: figure_of(it) for it in create})
    figure.savefig(RESULTS / "comparison.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
