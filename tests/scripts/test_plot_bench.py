"""Tests of scripts/plots/bench_data.py and scripts/plot_bench.py; python3 -m unittest, nothing to install."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from plots import bench_data  # noqa: E402


def row(dispatcher="window", tokens=64, seconds=1e-3, **more):
    values = {"workload": "uniform", "top_k": 2, "experts": 8, "dtype": "bf16", "tokens": tokens, "hidden": 16,
              "dispatcher": dispatcher, "exchange": "native", "combine_order": "exact", "direction": "forward",
              "phase": "dispatch", "cached_plan": False, "median_seconds": seconds, "ci_low_seconds": 0.9 * seconds,
              "ci_high_seconds": 1.1 * seconds, "bound_seconds": 0.5e-3, "efficiency": 0.5, "wrong_rows": 0}
    return {**values, **more}


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "rows.json"

    def refusal(self, text: str, *arguments: str) -> str:
        self.path.write_text(text)
        run = subprocess.run([sys.executable, "-B", str(SCRIPTS / "plot_bench.py"), str(self.path), *arguments],
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        return run.stderr

    def test_what_cannot_be_drawn_is_refused_with_one_line(self):
        self.assertIn("no JSON", self.refusal('{"rows": ['))
        self.assertIn("has no rows", self.refusal('{"steps": []}'))
        self.assertIn("has no row yet", self.refusal('{"rows": []}'))
        self.assertIn("no row has a time or a rate", self.refusal('{"rows": [{"phase": "plan"}]}'))
        one = json.dumps({"rows": [row()]})
        self.assertIn("top_k is one of 2", self.refusal(one, "--where", "top_k=8"))
        self.assertIn("pigeons is one of no setting", self.refusal(one, "--where", "pigeons=8"))

    def test_a_file_that_is_not_there_is_named(self):
        run = subprocess.run([sys.executable, "-B", str(SCRIPTS / "plot_bench.py"), str(self.path)],
                             capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stderr), (2, f"plot_bench.py: {self.path}: No such file or directory\n"))


class Points(unittest.TestCase):
    def test_bytes_are_those_of_a_ranks_rows(self):
        self.assertEqual(bench_data.points_of([row(tokens=64)])[0].size, 64 * 16 * 2)
        self.assertEqual(bench_data.size_of({"bytes": 4096, "algorithm": "ring"}), 4096)

    def test_rows_without_a_time_are_left_out(self):
        self.assertEqual(bench_data.points_of([row(median_seconds=None), row(median_seconds=0)]), [])

    def test_algorithms_are_named_by_what_differs(self):
        rows = [row("window"), row("packed"), row("packed", exchange="spread")]
        names = [point.algorithm for point in bench_data.points_of(rows)]
        self.assertEqual(names, ["window · native", "packed · native", "packed · spread"])
        self.assertEqual([point.algorithm for point in bench_data.points_of([row("window"), row("packed")])],
                         ["window", "packed"])

    def test_a_cached_plan_is_named_only_where_there_is_one_without(self):
        rows = [row(), row(direction="backward", cached_plan=True)]
        self.assertEqual({point.algorithm for point in bench_data.points_of(rows)}, {"window"})
        rows.append(row(cached_plan=True))
        self.assertEqual({point.algorithm for point in bench_data.points_of(rows)}, {"measured", "plan cached"})

    def test_panels_are_whole_movements_in_the_order_of_a_layer(self):
        rows = [row(phase=phase, direction=direction) for direction in ("backward", "forward")
                for phase in ("plan", "combine", "dispatch", "total")]
        points = bench_data.points_of(rows)
        self.assertEqual(bench_data.panels_of(points),
                         ["forward dispatch", "forward combine", "backward combine", "backward dispatch"])
        self.assertEqual(bench_data.crossover_panels(points), ["backward total", "forward total"])
        self.assertEqual(bench_data.panels_of(bench_data.points_of([row(phase="total")])), ["forward total"])

    def test_settings_are_told_apart_by_what_differs(self):
        first, second = bench_data.settings_of(bench_data.points_of([row(), row(), row(top_k=8)]))
        self.assertEqual(bench_data.describe_setting(second, [first]), "top_k=8")


class Winners(unittest.TestCase):
    def test_are_fastest_and_sure_where_intervals_are_apart(self):
        times = {"window": 1.0, "packed": 3.0, "naive": 4.0}
        points = bench_data.points_of([row(name, seconds=seconds) for name, seconds in times.items()])
        self.assertEqual(bench_data.winners(points, "forward dispatch"),
                         {(64, 16): bench_data.Winner("window", 3.0, True)})
        points = bench_data.points_of([row("window", seconds=1.0), row("packed", seconds=1.1)])
        self.assertFalse(bench_data.winners(points, "forward dispatch")[64, 16].sure)

    def test_have_no_wrong_rows(self):
        points = bench_data.points_of([row("window", seconds=1.0, wrong_rows=1), row("packed", seconds=3.0)])
        self.assertEqual(bench_data.winners(points, "forward dispatch"),
                         {(64, 16): bench_data.Winner("packed", None, False)})


class Rates(unittest.TestCase):
    def test_are_the_patterns_of_a_probe(self):
        rows = [{"pattern": "copy", "bytes": 16, "gb_per_second": 20.5}, {"pattern": "barrier", "gb_per_second": None}]
        self.assertEqual(bench_data.rates_of(rows), [bench_data.Rate("copy", 16, 20.5)])


if __name__ == "__main__":
    unittest.main()
