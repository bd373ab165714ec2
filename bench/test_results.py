"""Tests that the documents show the measured results."""

import unittest

import plot


class Results(unittest.TestCase):
    def test_the_documents_show_the_results_of_the_benchmark(self) -> None:
        tables = (plot.RESULTS / "results.md").read_text()
        blocks = tables.rstrip().split("\n\n")
        self.assertEqual(shown("docs/performance.md"), tables)
        self.assertEqual(shown("README.md"), f"{blocks[0]}\n\n{blocks[-1]}\n")


def shown(document: str) -> str:
    text = (plot.ROOT / document).read_text()
    return text.split(plot.START)[1].split(plot.END)[0]


if __name__ == "__main__":
    unittest.main()
