"""Tests of item_collection.py. They need its packages and take two seconds:

.tools/bench/bin/python -m unittest discover bench
"""

import json
import re
import tempfile
import unittest
from functools import cache
from pathlib import Path

import numpy as np
from item_collection import (
    Keys,
    Rules,
    Run,
    Scenario,
    constant,
    names_in_order,
    one_name,
    random_names,
    report,
    simulate,
    write_json,
    write_svg,
)

# With these rules, a partition splits after five hot seconds, so even short runs have splits.
HASTY = Rules(window_seconds=5, hot_windows=1)
BLIND = Rules(window_seconds=5, hot_windows=1, avoids_futile_splits=False)


@cache
def run_of(
    keys: Keys, rate: float = 1800, seconds: int = 10, rules: Rules = HASTY, seed: int = 1
) -> Run:
    return simulate(Scenario("test", "test", keys, constant(rate), seconds, rules), seed)


class Creates(unittest.TestCase):
    def test_every_create_is_accepted_refused_or_still_waiting(self) -> None:
        runs = {
            "no order": run_of(random_names),
            "count up": run_of(names_in_order),
            "one": run_of(one_name),
            "count up, split": run_of(names_in_order, rules=BLIND),
            # This run ends one second after a split. Some creates that were throttled before the
            # split still wait for a retry.
            "no order, split": run_of(random_names, rate=5000, seconds=6),
        }
        for names, run in runs.items():
            with self.subTest(names=names):
                ended = run.accepted.sum() + run.refused.sum()
                self.assertEqual(run.sent.sum(), ended + run.in_flight)
                self.assertGreater(run.refused.sum(), 0)
                # A refused create was throttled three times, and a waiting one at least once.
                least = 3 * run.refused.sum() + run.in_flight
                self.assertGreaterEqual(run.throttled.sum(), least)

    def test_no_create_is_throttled_below_the_limit(self) -> None:
        run = run_of(random_names, rate=800)
        self.assertEqual(run.throttled.sum(), 0)
        self.assertEqual(run.accepted.sum(), run.sent.sum())

    def test_retries_save_some_throttled_creates(self) -> None:
        run = run_of(one_name)
        self.assertLess(3 * run.refused.sum(), 0.99 * run.throttled.sum())


class Partition(unittest.TestCase):
    def test_a_partition_gives_1000_units_a_second_and_no_more(self) -> None:
        run = run_of(one_name, rate=5000)
        # The partition begins with 1,000 units and gets another 1,000 in the first second.
        self.assertLessEqual(run.accepted[0], 2000)
        self.assertEqual(set(run.accepted[1:]), {1000})

    def test_several_partitions_give_at_most_1000_units_a_second_each(self) -> None:
        run = run_of(random_names, rate=5000, seconds=20)
        self.assertEqual(run.partitions[-1], 8)
        given = run.accepted.cumsum()
        at_begin = 1000 * run.partitions
        self.assertTrue((given <= (1000 * run.partitions).cumsum() + at_begin).all())

    def test_a_partition_spends_unused_units_later_if_the_rules_allow_it(self) -> None:
        def late(second: int) -> float:
            return 2000 if second >= 5 else 0

        for kept_seconds, refused in ((1, True), (300, False)):
            with self.subTest(kept_seconds=kept_seconds):
                rules = Rules(kept_seconds=kept_seconds)
                run = simulate(Scenario("", "", one_name, late, 9, rules))
                self.assertEqual(run.refused.any(), refused)


class Splits(unittest.TestCase):
    def test_splits_help_names_in_random_order(self) -> None:
        run = run_of(random_names)
        self.assertEqual(run.partitions.tolist(), [1] * 5 + [2] * 5)
        self.assertLessEqual(run.accepted[:5].sum(), 6000)
        self.assertGreater(run.accepted[5:].sum(), 0.99 * run.sent[5:].sum())

    def test_a_partition_does_not_split_where_it_would_not_help(self) -> None:
        for keys in (names_in_order, one_name):
            with self.subTest(keys=keys.__name__):
                self.assertEqual(run_of(keys).partitions.max(), 1)

    def test_forced_splits_do_not_help_names_that_count_up(self) -> None:
        run = run_of(names_in_order, seconds=20, rules=BLIND)
        self.assertEqual(run.partitions[-1], 4)
        # The names count up, so after a split, all creates go to the new partition, and the old one
        # gets none. So a split adds no units per second, only the 1,000 units with which the new
        # partition begins.
        seconds = np.arange(1, 21)
        self.assertTrue((run.accepted.cumsum() <= 1000 * (seconds + run.partitions)).all())

    def test_a_partition_splits_only_if_it_is_hot(self) -> None:
        self.assertEqual(run_of(random_names, rate=800).partitions.max(), 1)

    def test_a_partition_splits_only_if_it_stays_hot(self) -> None:
        def now_and_then(second: int) -> float:
            return 1800 if second % 10 < 5 else 0

        rules = Rules(window_seconds=5, hot_windows=2)
        run = simulate(Scenario("", "", random_names, now_and_then, 20, rules))
        self.assertEqual(run.partitions.max(), 1)

    def test_the_rules_decide_when_a_partition_splits(self) -> None:
        run = run_of(random_names, rules=Rules(window_seconds=4, hot_windows=2))
        self.assertEqual(run.partitions.tolist(), [1] * 8 + [2] * 2)


class Seeds(unittest.TestCase):
    def test_the_same_seed_gives_the_same_run(self) -> None:
        first = run_of(random_names)
        again = simulate(first.scenario, seed=1)
        for counts in ("sent", "accepted", "throttled", "refused", "partitions"):
            with self.subTest(counts=counts):
                self.assertEqual(getattr(again, counts).tolist(), getattr(first, counts).tolist())

    def test_another_seed_gives_another_run(self) -> None:
        other = run_of(random_names, seed=2)
        self.assertNotEqual(other.sent.tolist(), run_of(random_names).sent.tolist())


class Results(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.run_of_two_minutes = run_of(random_names, rate=900, seconds=120)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.json = Path(folder.name, "results.json")
        cls.svg = Path(folder.name, "results.svg")
        write_json([cls.run_of_two_minutes], cls.json)
        write_svg([cls.run_of_two_minutes] * 6, cls.svg)

    def test_the_results_match_the_run_minute_by_minute(self) -> None:
        run = self.run_of_two_minutes
        written = json.loads(self.json.read_text())["scenarios"]["test"]
        self.assertEqual(written, report(run))
        self.assertEqual(written["sent"], run.sent.sum())
        accepted = written["per_second_by_minute"]["accepted"]
        self.assertEqual(len(accepted), 2)
        self.assertAlmostEqual(60 * sum(accepted), written["accepted"], delta=6)

    def test_the_drawing_has_colors_for_light_and_dark_pages(self) -> None:
        drawing = self.svg.read_text()
        colors = set(re.findall(r"#[0-9a-f]{6}\b", drawing))
        self.assertGreaterEqual(len(colors), 4)
        for color in colors:
            with self.subTest(color=color):
                parts = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
                self.assertGreater(max(parts), 0x70)
                self.assertLess(min(parts), 0xA0)

    def test_the_drawing_does_not_contain_its_creation_time(self) -> None:
        self.assertNotIn("dc:date", self.svg.read_text())


if __name__ == "__main__":
    unittest.main()
