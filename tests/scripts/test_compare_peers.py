"""Tests of scripts/peers/compare_peers.py; python3 -m unittest, nothing to install."""

import sys
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path[:0] = [str(SCRIPTS / "peers"), str(SCRIPTS / "reference")]

import compare_peers  # noqa: E402


def rows(name, seconds, tokens=64, routing="a", wrong=0):
    return [{"tokens": tokens, "hidden": 16, "top_k": 2, "experts": 8, "name": name, "phase": phase, "hash": routing,
             "median_seconds": seconds, "wrong_rows": wrong} for phase in compare_peers.PHASES]


class Rounds(unittest.TestCase):
    def test_give_their_median_and_the_most_wrong_rows(self):
        merged = compare_peers.merged([rows("window", 3.0), rows("window", 1.0, wrong=4), rows("window", 1.5)])
        self.assertEqual([(row["phase"], row["median_seconds"], row["wrong_rows"]) for row in merged],
                         [("dispatch", 1.5, 4), ("combine", 1.5, 4), ("total", 1.5, 4)])

    def test_ratios_say_how_many_times_as_long_a_peer_takes(self):
        merged = compare_peers.merged([rows("window", 1.0), rows("packed", 2.0), rows("gloo", 8.0)])
        totals = [one for one in compare_peers.ratios(merged) if one["phase"] == "total"]
        self.assertEqual([(one["ours"], one["peer"], one["ratio"]) for one in totals],
                         [("window", "gloo", 8.0), ("packed", "gloo", 4.0)])

    def test_sides_that_moved_different_routings_are_found(self):
        self.assertEqual(compare_peers.disagreements(rows("window", 1.0) + rows("gloo", 1.0)), [])
        other = rows("gloo", 1.0, tokens=512, routing="b")
        self.assertEqual(compare_peers.disagreements(rows("window", 1.0) + rows("window", 1.0, tokens=512) + other),
                         [(512, 16, 2, 8)])


if __name__ == "__main__":
    unittest.main()
