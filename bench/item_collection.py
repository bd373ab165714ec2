"""Simulates what bursts of sign-ups do to the table's one item collection.

A DynamoDB partition accepts 1,000 write units a second. A partition near this limit is hot. If it
stays hot, DynamoDB splits it. This program writes bench/results/item-collection.json and .svg:

    .tools/bench/bin/python bench/item_collection.py

docs/scale.md says which of the simulated rules AWS documents and which are assumptions.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.random import Generator

RESULTS = Path(__file__).parent / "results"
SEED = 20261124

SECONDS_PER_MINUTE = 60
# The functions wait up to 50 ms before the first retry and up to 100 ms before the second
# (shared/src/table.rs). A tick is 25 ms.
TICKS_PER_SECOND = 40
RETRY_TICKS = (2, 4)
# `Partitions.waiting` keeps the retries in slots. The slot with the number `tick % SLOTS` has the
# retries that are due in this tick. No retry waits for more than `max(RETRY_TICKS)` ticks, so a
# slot belongs to only one tick at a time.
SLOTS = max(RETRY_TICKS) + 1

# The keys of the last `OBSERVED_SECONDS` seconds decide where a partition is split.
OBSERVED_SECONDS = 10
# A split is futile if one of its sides would get less than this share of the partition's traffic.
FUTILE_SHARE = 0.1


@dataclass(frozen=True)
class Rules:
    # The write units that a partition gets, as AWS documents them.
    units_per_second: int = 1000
    # How long a partition keeps unused units. AWS keeps them for up to 300 seconds, but advises
    # against relying on that. If the value is 1, a partition never has more units than it gets in
    # one second.
    kept_seconds: int = 1
    # We assume two rules. A window of `window_seconds` is hot if the partition uses at least
    # `hot_share` of the units that it gets in this time. After `hot_windows` hot windows in a row,
    # DynamoDB splits the partition.
    window_seconds: int = 60
    hot_share: float = 0.9
    hot_windows: int = 8
    # AWS documents that DynamoDB avoids splits that would not spread the traffic.
    avoids_futile_splits: bool = True


# A function that makes the sort keys of new users. Its first argument is the users' numbers: a user
# with a larger number was created later. A sort key is a number here, because only the order of the
# keys matters.
Keys = Callable[[np.ndarray, Generator], np.ndarray]


def random_names(numbers: np.ndarray, rng: Generator) -> np.ndarray:
    return rng.random(len(numbers))


def names_in_order(numbers: np.ndarray, _rng: Generator) -> np.ndarray:
    """Names that count up, such as user000001."""
    return numbers.astype(float)


def one_name(numbers: np.ndarray, _rng: Generator) -> np.ndarray:
    """The same name for every create. A create costs a write unit even if its name is taken."""
    return np.zeros(len(numbers))


@dataclass(frozen=True)
class Split:
    point: float
    # After the split, the upper half gets this share of the partition's traffic.
    upper_share: float


def choose_split(latest: np.ndarray, rules: Rules) -> Split | None:
    """Chooses where to split a partition, given its latest keys in order of creation.

    The split is at the median of the earlier half of the keys. If nearly all keys of the later half
    fall on one side, because all keys are equal or in order, the split is futile. If the rules
    avoid futile splits, returns `None` for such a split.
    """
    earlier, later = np.array_split(latest, 2)
    if len(earlier) == 0:
        return None
    point = float(np.median(earlier))
    upper = float(np.mean(later >= point))
    if rules.avoids_futile_splits and min(upper, 1 - upper) < FUTILE_SHARE:
        return None
    return Split(point, upper)


class Partitions:
    """The partitions of the item collection, in the order of their keys."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.lower_bounds = np.array([-np.inf])
        self.units = np.array([float(rules.units_per_second)])
        # How many throttled creates wait for a retry. The axes: the retry (first or second), the
        # slot in which it is due, the partition.
        self.waiting = np.zeros((len(RETRY_TICKS), SLOTS, 1), dtype=np.int64)
        self.accepted_in_window = np.zeros(1, dtype=np.int64)
        self.hot_windows = np.zeros(1, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lower_bounds)

    def of(self, keys: np.ndarray) -> np.ndarray:
        """Returns the index of each key's partition."""
        return np.searchsorted(self.lower_bounds, keys, side="right") - 1

    def play(self, tick: int, creates: np.ndarray, rng: Generator) -> tuple[int, int, int]:
        """Simulates one tick, with the new creates of each partition.

        Returns the numbers of accepted creates, of throttled attempts, and of creates whose last
        attempt was throttled, which get a 503.
        """
        rules = self.rules
        self.units += rules.units_per_second / TICKS_PER_SECOND
        np.minimum(self.units, rules.units_per_second * rules.kept_seconds, out=self.units)

        attempts = np.vstack([creates, self.waiting[:, tick % SLOTS]])
        self.waiting[:, tick % SLOTS] = 0
        total = attempts.sum(axis=0)
        accepted = np.minimum(total, self.units.astype(np.int64))
        self.units -= accepted
        self.accepted_in_window += accepted
        if (accepted == total).all():
            return int(accepted.sum()), 0, 0

        throttled = attempts - pick(attempts, accepted, rng)
        for retry, longest in enumerate(RETRY_TICKS):
            # A retry waits from one tick to `longest` ticks. All these waits are equally likely.
            waits = rng.multinomial(throttled[retry], np.full(longest, 1 / longest))
            for wait in range(1, longest + 1):
                self.waiting[retry, (tick + wait) % SLOTS] += waits[:, wait - 1]
        return int(accepted.sum()), int(throttled.sum()), int(throttled[-1].sum())

    def close_window(self, latest: np.ndarray, rng: Generator) -> None:
        """Splits each partition that was hot in `rules.hot_windows` windows in a row."""
        rules = self.rules
        hot = rules.hot_share * rules.units_per_second * rules.window_seconds
        self.hot_windows = np.where(self.accepted_in_window >= hot, self.hot_windows + 1, 0)
        self.accepted_in_window[:] = 0
        holders = self.of(latest)
        # Start with the last partition, because a split changes the indexes of all later ones.
        for index in np.flatnonzero(self.hot_windows >= rules.hot_windows)[::-1]:
            split = choose_split(latest[holders == index], rules)
            if split is not None and split.point > self.lower_bounds[index]:
                self._split(int(index), split, rng)

    def _split(self, index: int, split: Split, rng: Generator) -> None:
        upper = index + 1
        self.lower_bounds = np.insert(self.lower_bounds, upper, split.point)
        moved = rng.binomial(self.waiting[:, :, index], split.upper_share)
        self.waiting = np.insert(self.waiting, upper, moved, axis=2)
        self.waiting[:, :, index] -= moved
        # After a split, each half has at most the units that a partition gets in one second.
        second = float(self.rules.units_per_second)
        self.units[index] = min(self.units[index], second)
        self.units = np.insert(self.units, upper, second)
        self.accepted_in_window = np.insert(self.accepted_in_window, upper, 0)
        self.hot_windows[index] = 0
        self.hot_windows = np.insert(self.hot_windows, upper, 0)


def pick(attempts: np.ndarray, accepted: np.ndarray, rng: Generator) -> np.ndarray:
    """Chooses the attempts to accept. First attempts and retries have the same chance."""
    third = rng.hypergeometric(attempts[2], attempts[0] + attempts[1], accepted)
    second = rng.hypergeometric(attempts[1], attempts[0], accepted - third)
    return np.vstack([accepted - third - second, second, third])


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    keys: Keys
    # `rate(second)` is the average number of creates in this second of the run.
    rate: Callable[[int], float]
    seconds: int = 1800
    rules: Rules = Rules()


@dataclass(frozen=True)
class Run:
    """A simulated run. Each array has one number per second of the run."""

    scenario: Scenario
    sent: np.ndarray
    accepted: np.ndarray
    throttled: np.ndarray
    refused: np.ndarray
    partitions: np.ndarray
    # The number of creates that still wait for a retry at the end of the run.
    in_flight: int


def simulate(scenario: Scenario, seed: int = SEED) -> Run:
    rng = np.random.default_rng(seed)
    table = Partitions(scenario.rules)
    latest: deque[np.ndarray] = deque(maxlen=OBSERVED_SECONDS)
    counts = np.zeros((4, scenario.seconds), dtype=np.int64)
    partitions = np.zeros(scenario.seconds, dtype=np.int64)
    for second in range(scenario.seconds):
        # Callers are independent, so the number of creates in a second is Poisson-distributed.
        sent = int(rng.poisson(scenario.rate(second)))
        numbers = counts[0].sum() + np.arange(sent)
        keys = scenario.keys(numbers, rng)
        latest.append(keys)
        counts[0, second] = sent
        partitions[second] = len(table)

        ticks = np.sort(rng.integers(TICKS_PER_SECOND, size=sent))
        cells = np.bincount(
            ticks * len(table) + table.of(keys), minlength=TICKS_PER_SECOND * len(table)
        )
        for tick, creates in enumerate(cells.reshape(TICKS_PER_SECOND, len(table))):
            counts[1:, second] += table.play(second * TICKS_PER_SECOND + tick, creates, rng)
        if (second + 1) % scenario.rules.window_seconds == 0:
            table.close_window(np.concatenate(latest), rng)
    return Run(scenario, *counts, partitions, int(table.waiting.sum()))


def constant(rate: float) -> Callable[[int], float]:
    return lambda _second: rate


def launch(rate: float, start: int = 300, rise: int = 60) -> Callable[[int], float]:
    """No creates until `start`, then a linear rise to `rate` per second within `rise` seconds."""
    return lambda second: rate * min(max((second - start) / rise, 0), 1)


SCENARIOS = (
    Scenario("random-500", "500/s, names in random order", random_names, constant(500)),
    Scenario("random-2000", "2,000/s, names in random order", random_names, constant(2000)),
    Scenario("random-5000", "5,000/s, names in random order", random_names, constant(5000)),
    Scenario("launch-3000", "a launch: from 0 to 3,000/s", random_names, launch(3000)),
    Scenario("ordered-2000", "2,000/s, names that count up", names_in_order, constant(2000)),
    Scenario("one-name-2000", "2,000/s, one name", one_name, constant(2000)),
)
# A launch whose results are in the JSON file but not in the figure.
KEPT_UNITS = Scenario(
    "launch-3000-kept-units",
    "a launch, with unused units kept",
    random_names,
    launch(3000),
    rules=Rules(kept_seconds=300),
)


def by_minute(values: np.ndarray) -> list[float]:
    """Takes one value per second. Returns one average per minute."""
    return np.round(values.reshape(-1, SECONDS_PER_MINUTE).mean(axis=1), 1).tolist()


def report(run: Run) -> dict[str, Any]:
    refused = np.flatnonzero(run.refused)
    return {
        "rules": asdict(run.scenario.rules),
        "sent": int(run.sent.sum()),
        "accepted": int(run.accepted.sum()),
        "throttled_attempts": int(run.throttled.sum()),
        "answered_503": int(run.refused.sum()),
        "in_flight_at_the_end": run.in_flight,
        "last_503_in_minute": int(refused[-1]) // SECONDS_PER_MINUTE + 1 if len(refused) else None,
        "per_second_by_minute": {
            "sent": by_minute(run.sent),
            "accepted": by_minute(run.accepted),
            "throttled_attempts": by_minute(run.throttled),
            "answered_503": by_minute(run.refused),
        },
        "partitions_by_minute": run.partitions[::SECONDS_PER_MINUTE].tolist(),
    }


def write_json(runs: list[Run], path: Path) -> None:
    """Writes the runs as JSON, with each list of numbers on one line."""
    scenarios = {run.scenario.name: report(run) for run in runs}
    text = json.dumps({"seed": SEED, "scenarios": scenarios}, indent=2)
    text = re.sub(r"\[[\d\s.,]*\]", lambda found: " ".join(found[0].split()), text)
    path.write_text(text + "\n", encoding="utf-8")


# A gray that is readable on white and on black.
INK = "#808080"
# The lines of each panel. Later lines are drawn over earlier lines. The first line is the thickest,
# so it stays visible under the others.
LINES = (
    ("accepted", "created (201)", {"color": "#1a9a6c", "linewidth": 3.5}),
    ("sent", "sent", {"color": INK, "linestyle": (0, (3, 2)), "linewidth": 1.2}),
    ("refused", "refused (503)", {"color": "#e0603a", "linewidth": 1.5}),
    ("throttled", "throttled attempts", {"color": "#9a74c8", "linestyle": (0, (1, 1))}),
)
STYLE = {
    # Labels are text in the SVG file, not curves.
    "svg.fonttype": "none",
    # The salt of the ids in the file. By default, it is random, so the same runs would give
    # different files.
    "svg.hashsalt": "item-collection",
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}


def write_svg(runs: list[Run], path: Path) -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 5.6), layout="constrained")
        for run, axes in zip(runs, figure.subplots(2, 3).flat, strict=True):
            for name, label, look in LINES:
                values = by_minute(getattr(run, name))
                axes.stairs(values, baseline=None, label=label, **look)
            top = 1.2 * axes.get_ylim()[1]
            for second in np.flatnonzero(np.diff(run.partitions, prepend=0)):
                minute = second / SECONDS_PER_MINUTE
                axes.axvline(minute, color=INK, linewidth=0.5)
                axes.text(minute + 0.4, 0.97 * top, str(run.partitions[second]), va="top")
            axes.set_title(run.scenario.title, fontsize=9)
            axes.set_xlim(0, len(run.sent) // SECONDS_PER_MINUTE)
            axes.set_ylim(0, top)
            axes.yaxis.set_major_formatter("{x:,.0f}")
        figure.supxlabel("minutes (numbers at the top: partitions)", fontsize=9)
        figure.supylabel("a second", fontsize=9)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(LINES), frameon=False)
        figure.savefig(path, transparent=True, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write to")
    folder = parser.parse_args().results
    folder.mkdir(parents=True, exist_ok=True)

    runs = [simulate(scenario) for scenario in SCENARIOS]
    kept_units = simulate(KEPT_UNITS)
    write_json([*runs, kept_units], folder / "item-collection.json")
    write_svg(runs, folder / "item-collection.svg")
    for run in [*runs, kept_units]:
        summary = report(run)
        print(
            f"{run.scenario.title:32} {summary['answered_503']:>9,} of {summary['sent']:>9,}"
            f" creates refused, the last one in minute {summary['last_503_in_minute']};"
            f" {run.partitions[-1]} partitions"
        )


if __name__ == "__main__":
    main()
