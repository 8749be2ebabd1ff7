"""Tests of scripts/plots/run_data.py and scripts/plot_run.py; python3 -m unittest, nothing to install."""

import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from plots import run_data  # noqa: E402


class Metrics(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name) / "metrics.jsonl"

    def test_a_last_line_cut_short_is_left_out_and_said(self):
        self.path.write_text('{"step": 1}\n{"step": 2}\n{"st')
        lines, notes = run_data.read_metrics(self.path)
        self.assertEqual([line["step"] for line in lines], [1, 2])
        self.assertEqual(len(notes), 1)

    def test_damage_before_the_last_line_is_refused_with_its_number(self):
        for text, said in (('{"step": 1}\n{"st\n{"step": 3}\n', "line 2 is no JSON"), ("", "no step"),
                           ("[1]\n", "without a step"), ('{"loss": 1}\n', "without a step")):
            self.path.write_text(text)
            with self.assertRaisesRegex(run_data.Unreadable, said):
                run_data.read_metrics(self.path)

    def test_the_script_refuses_a_folder_without_metrics_with_one_line(self):
        run = subprocess.run([sys.executable, "-B", str(SCRIPTS / "plot_run.py"), self.folder.name],
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 2)
        self.assertRegex(run.stderr, r"^plot_run.py: \S+metrics.jsonl: No such file or directory\n$")

    def test_a_missing_value_is_a_gap(self):
        first, second = run_data.column([{"a": 1.5}, {"a": None}], "a")
        self.assertEqual(first, 1.5)
        self.assertTrue(math.isnan(second))


class Curves(unittest.TestCase):
    def test_running_mean_takes_fewer_values_at_the_ends(self):
        self.assertEqual(run_data.running_mean([3, 6, 9, 12], 3), [4.5, 6, 9, 10.5])

    def test_bins_cover_every_step_once(self):
        for count, most in ((10, 240), (5000, 240), (241, 240), (1, 1)):
            bins = run_data.bins_of(count, most)
            self.assertEqual([step for begin, end in bins for step in range(begin, end)], list(range(count)))
            self.assertEqual(len(bins), min(count, most))
            self.assertLessEqual(max(end - begin for begin, end in bins) - min(end - begin for begin, end in bins), 1)


class Phases(unittest.TestCase):
    # "rare" takes part in one step of three: its median is 0, so it is none of a typical step.
    def test_are_medians_longest_first_with_their_share_of_the_median_step(self):
        lines = [{"step": n, "seconds": 2.0, "phase_seconds": {"short": 0.5, "long": 1.0}} for n in (1, 2)]
        lines.append({"step": 3, "seconds": 9.0, "phase_seconds": {"short": 7.0, "long": 1.2, "rare": 0.1}})
        phases = run_data.phases_of(lines)
        self.assertEqual([(p.name, p.seconds, p.share) for p in phases], [("long", 1.0, 0.5), ("short", 0.5, 0.25)])

    def test_beyond_the_most_are_summed_up(self):
        lines = [{"step": 1, "seconds": 10.0, "phase_seconds": {f"p{n}": float(n) for n in range(1, 5)}}]
        phases = run_data.phases_of(lines, most=3)
        self.assertEqual([(p.name, p.seconds) for p in phases], [("p4", 4.0), ("p3", 3.0), ("2 more", 3.0)])

    def test_are_none_where_nothing_was_recorded(self):
        self.assertEqual(run_data.phases_of([{"step": 1, "seconds": 1.0}]), [])


class Specialisation(unittest.TestCase):
    def test_is_one_bit_when_two_domains_have_an_expert_each(self):
        one = run_data.specialisation_of([[10, 0], [0, 70]], 0)
        self.assertEqual(one.ratio, [[2, 0], [0, 2]])
        self.assertAlmostEqual(one.bits, 1)

    def test_is_nothing_when_all_choose_alike_however_many_they_are(self):
        one = run_data.specialisation_of([[30, 10], [300, 100], [3, 1]], 0)
        self.assertAlmostEqual(one.bits, 0)
        for row in one.ratio:
            for ratio in row:
                self.assertAlmostEqual(ratio, 1)

    def test_leaves_out_a_domain_without_choices_and_an_expert_that_nobody_chose(self):
        one = run_data.specialisation_of([[4, 4, 0], [0, 0, 0], [4, 4, 0]], 0)
        self.assertTrue(math.isnan(one.ratio[0][2]) and math.isnan(one.ratio[1][0]))
        self.assertEqual(one.ratio[2][:2], [1, 1])

    def test_needs_two_domains(self):
        self.assertEqual(run_data.specialisations({"a": [[1, 2]]}), [])
        both = run_data.specialisations({"a": [[1, 2], [1, 1]], "b": [[1, 0], [1, 1]]})
        self.assertEqual([one.layer for one in both], [0, 1])

    def test_evaluated_files_stand_for_the_validation_of_the_run(self):
        summary = {"validation": [{"domain": "own", "expert_loads": [[1, 2]]}, {"domain": "older"}]}
        self.assertEqual(run_data.domain_loads(summary, []), {"own": [[1, 2]]})
        self.assertEqual(run_data.domain_loads(None, []), {})
        with tempfile.TemporaryDirectory() as folder:
            for name, loads in (("a", [[1, 2]]), ("b", [[3, 4]])):
                text = json.dumps({"domains": [{"domain": name, "expert_loads": loads}]})
                (Path(folder) / f"{name}.json").write_text(text)
            self.assertEqual(run_data.domain_loads(summary, [Path(folder)]), {"a": [[1, 2]], "b": [[3, 4]]})
            (Path(folder) / "b.json").write_text('{"domains": [{"domain": "b", "expert_loads": [[3, 4], [5, 6]]}]}')
            with self.assertRaisesRegex(run_data.Unreadable, "several models"):
                run_data.domain_loads(summary, [Path(folder)])


if __name__ == "__main__":
    unittest.main()
