"""Tests of scripts/studies; python3 -m unittest, nothing to install."""

import contextlib
import io
import itertools
import json
import math
import random
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from studies import experts, information  # noqa: E402


def plain_information(counts):
    """The sum over pairs of p(row, column) log p(row, column) / (p(row) p(column)), each row as likely as the next."""
    rows, columns = range(len(counts)), range(len(counts[0]))
    joint = [[counts[r][c] / sum(counts[r]) / len(counts) for c in columns] for r in rows]
    return sum(joint[r][c] * math.log2(joint[r][c] / (sum(joint[r]) * sum(row[c] for row in joint)))
               for r, c in itertools.product(rows, columns) if joint[r][c])


class MutualInformation(unittest.TestCase):
    def test_agrees_with_the_sum_over_pairs(self):
        rng = random.Random(1)
        for _ in range(20):
            counts = [[rng.choice((0, 1, 5, 70)) for _ in range(5)] + [1] for _ in range(4)]
            self.assertAlmostEqual(information.mutual_information(counts), plain_information(counts))

    def test_is_all_there_is_to_know_when_every_row_has_columns_of_its_own(self):
        self.assertAlmostEqual(information.mutual_information([[3, 0, 0, 3], [0, 8, 0, 0], [0, 0, 1, 0]]), math.log2(3))

    def test_is_nothing_when_rows_have_equal_shares_and_does_not_see_empty_ones(self):
        self.assertAlmostEqual(information.mutual_information([[3, 1, 0], [300, 100, 0], [0, 0, 0]]), 0)

    def test_is_the_entropy_of_two_columns_that_tell_two_of_four_rows(self):
        self.assertAlmostEqual(information.mutual_information([[1, 0], [9, 0], [0, 2], [0, 7]]), 1)


class Jackknife(unittest.TestCase):
    def sample(self, rng, repeats):
        """8 parts of 3 rows, all of one distribution; every draw is counted `repeats` times."""
        def draws():
            row = [0] * 6
            for _ in range(400):
                row[rng.randrange(6)] += repeats
            return row

        return [[draws() for _ in range(3)] for _ in range(8)]

    # (rows - 1) (columns - 1) / (2 N ln 2) is what independent draws have too much (Miller 1955); counting each of them
    # ten times adds nothing to what is known, and must not make the bias smaller.
    def test_bias_is_that_of_independent_draws_also_where_they_are_not(self):
        expected = 2 * 5 / (2 * 8 * 3 * 400 * math.log(2))
        for repeats in (1, 10):
            rng = random.Random(2)
            found = [information.information_of(self.sample(rng, repeats)) for _ in range(60)]
            self.assertAlmostEqual(sum(one.bias for one in found) / 60 / expected, 1, delta=0.2)
            self.assertAlmostEqual(sum(one.bits for one in found) / 60 / expected, 1, delta=0.2)

    def test_error_is_how_much_samples_differ(self):
        rng = random.Random(3)
        weights = ([4, 2, 1, 1], [1, 1, 2, 4])

        def part():
            return [[sum(e == x for x in drawn) for e in range(4)]
                    for drawn in (rng.choices(range(4), w, k=200) for w in weights)]

        found = [information.information_of([part() for _ in range(8)]) for _ in range(200)]
        mean = sum(one.bits for one in found) / 200
        deviation = math.sqrt(sum((one.bits - mean) ** 2 for one in found) / 199)
        self.assertAlmostEqual(sum(one.standard_error for one in found) / 200 / deviation, 1, delta=0.2)

    def test_one_part_tells_no_error(self):
        one = information.information_of([[[1, 0], [0, 1]]])
        self.assertAlmostEqual(one.bits, 1)
        self.assertTrue(math.isnan(one.bias) and math.isnan(one.standard_error))
        one = information.information_of([[[1, 0], [0, 1]], [[1, 0], [0, 0]]])  # nor where it has all of a row
        self.assertTrue(math.isnan(one.bias))


class Cut(unittest.TestCase):
    def test_parts_are_whole_windows_of_the_text(self):
        for size, parts in ((1, 1), (256, 1), (257, 2), (8 * 256, 8), (10001, 8), (100 * 256 + 3, 8)):
            text = random.Random(size).randbytes(size)
            found = experts.cut(text, 256)
            self.assertEqual(b"".join(found), text)
            self.assertEqual(len(found), parts)
            self.assertTrue(all(part and len(part) % 256 == 0 for part in found[:-1]))
            windows = [-(-len(part) // 256) for part in found]
            self.assertLessEqual(max(windows) - min(windows), 1)


def evaluation(loads, loss):
    """As `expar eval --json` writes it; `loads`: {domain.part: [layers][experts]}, 10 tokens each."""
    return json.dumps({"domains": [{"domain": name, "tokens": 10, "loss": loss[name.split(".")[0]], "expert_loads": layers}
                                   for name, layers in loads.items()]})


class Report(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.study = Path(folder.name)
        for name in ("parts", "evaluated"):
            (self.study / name).mkdir()
        for domain, byte in (("a", b"x"), ("b", b"y")):
            (self.study / "parts" / f"{domain}.0.txt").write_bytes(byte * 10)
        # Layer 0 tells the domains apart, layer 1 does not.
        loads = {"a.0": [[20, 0], [10, 10]], "a.1": [[20, 0], [10, 10]], "b.0": [[0, 20], [10, 10]]}
        for seed in (1, 2):
            for model, nats in (("moe", 1.0), ("dense", 1.2)):
                (self.study / f"{model}-{seed}").mkdir()
                (self.study / f"{model}-{seed}" / "summary.json").write_text(json.dumps(
                    {"steps": 7, "tokens": 70, "parameters_total": 90 if model == "moe" else 50,
                     "parameters_active": 52 if model == "moe" else 50}))
                (self.study / "evaluated" / f"{model}-{seed}.json").write_text(
                    evaluation(loads if model == "moe" else dict.fromkeys(loads, []),
                               {"a": seed * nats * math.log(2), "b": 4 * math.log(2)}))

    def test_compares_by_seed_and_knows_what_experts_choose_by(self):
        report = experts.study_report(self.study)
        self.assertEqual((report["experts"], report["top_k"], report["seeds"]), (2, 2, [1, 2]))
        a, b, whole = report["domains"]
        self.assertAlmostEqual(a["difference"]["mean"], -0.3)
        self.assertAlmostEqual(a["moe"]["highest"], 2)
        self.assertTrue(a["ranges_overlap"])
        rows = experts.domain_rows([{"a": 1.0}, {"a": 1.1}], [{"a": 1.2}, {"a": 1.3}])
        self.assertFalse(rows[0]["ranges_overlap"])
        self.assertAlmostEqual(b["difference"]["highest"], 0)
        self.assertAlmostEqual(whole["moe"]["lowest"], (2 * 1 + 4) / 3)
        self.assertEqual([round(row["bits"]["mean"], 9) for row in report["layers"]], [1, 0])
        self.assertAlmostEqual(report["byte"]["bits"], 1)

    def test_takes_the_seeds_that_both_models_have(self):
        (self.study / "evaluated" / "dense-2.json").unlink()
        report = experts.study_report(self.study)
        self.assertEqual(report["seeds"], [1])
        self.assertIsNone(report["domains"][0]["ranges_overlap"])
        (self.study / "evaluated" / "moe-1.json").unlink()
        with self.assertRaisesRegex(SystemExit, "holds no seed's"):
            experts.study_report(self.study)

    def test_prints_both_tables(self):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            experts.print_report(experts.study_report(self.study))
        self.assertRegex(text.getvalue(), r"differ by the routers' 2, 4\.00 %")
        self.assertRegex(text.getvalue(), r"(?m)^a +1\.500 \(1\.000 to 2\.000\) +1\.800 .*-0\.300 \(-0\.400 to -0\.200\) +overlap$")
        self.assertRegex(text.getvalue(), r"(?m)^0 +1\.000 \(1\.000 to 1\.000\)")


if __name__ == "__main__":
    unittest.main()
